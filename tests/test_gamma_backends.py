"""Gamma on every backend: against a search by brute force, against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, host_backends, needs_compiler

from dosecalc.dose.gamma import gamma
from dosecalc.dose.gamma_offsets import everywhere, search_offsets
from dosecalc.geometry import Grid, Volume
from dosecalc_kernels import registry

#: two results that are float32 of the same double arithmetic
FLOAT = 2e-6
#: how far backends may be apart: 1e-4 of the maximum, which is 2
AGREE = 1e-4 * 2.0


def case(rng, kind, offset=0.0, shape=(6, 8, 11), other=(6, 7, 12)):
    """A reference and an evaluated dose on grids that overlap partly; smooth doses or noise about 50 Gy."""
    planes = [n == 1 for n in other]
    ref = [np.arange(n) * 2.5 for n in shape]
    nodes = [np.arange(n) * 2.5 + (0.0 if lone else offset) for n, lone in zip(other, planes, strict=True)]
    per_cell = np.array([0.0 if lone else 0.4 for lone in planes])

    def dose(axes, by):
        z, y, x = np.meshgrid(*axes, indexing="ij")
        smooth = 50 / (1 + np.exp((np.hypot(np.hypot(z - 6 - by, y - 8), x - 12 + by) - 9) / 2.0))
        return smooth if kind == "smooth" else 50 + 1.5 * rng.standard_normal(smooth.shape)

    reference, evaluated = dose(ref, 0.0), 1.01 * dose(nodes, 0.8)
    points = np.flatnonzero(reference > 5.0)
    distance = np.array([2.0, 3.0])
    criterion = np.array([[1.0], [1.5]]) * np.linspace(0.9, 1.1, len(points))
    return reference, points, evaluated, nodes, per_cell, ref, criterion, distance


def gammas(backend, c, sampling, max_gamma=2.0):
    reference, points, evaluated, nodes, per_cell, ref, criterion, distance = c
    axes = tuple(len(n) > 1 for n in nodes)
    o = everywhere() if sampling is None else search_offsets(axes, sampling, max_gamma)
    return backend.kernel("gamma_of_points")(
        reference, points, evaluated, *nodes, per_cell, *ref, criterion, distance, max_gamma,
        o.near, o.offsets, o.block_start, o.blocks, o.block_at, o.edge,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("offset", [0.0, 0.9], ids=["aligned", "between"])
@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize("sampling", [None, 5])
def test_backends_agree(backend, kind, offset, sampling):
    c = case(np.random.default_rng(3), kind, offset)
    found, known = gammas(backend, c, sampling), gammas(registry.backend("cpu"), c, sampling)
    assert np.array_equal(np.isnan(found), np.isnan(known))
    apart = np.abs(found - known)[~np.isnan(found)]
    assert apart.max() <= AGREE
    assert np.mean(apart <= FLOAT) > 0.99  # nearly everywhere to rounding


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("shape", [(1, 8, 11), (1, 1, 11)], ids=["plane", "line"])
@pytest.mark.parametrize("sampling", [None, 5])
def test_planes_and_lines(backend, shape, sampling):
    c = case(np.random.default_rng(4), "noise", 0.6, shape, shape)
    found, known = gammas(backend, c, sampling), gammas(registry.backend("cpu"), c, sampling)
    assert np.array_equal(np.isnan(found), np.isnan(known))
    assert np.nanmax(np.abs(found - known)) <= AGREE


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_samples_are_those_of_brute_force(backend):
    """Every offset at every point, with scipy's interpolation."""
    from scipy.interpolate import RegularGridInterpolator

    c = case(np.random.default_rng(5), "noise", 0.7)
    reference, points, evaluated, nodes, _, ref, criterion, distance = c
    dose = RegularGridInterpolator(nodes, evaluated, bounds_error=False, fill_value=np.inf)
    offsets = search_offsets((True, True, True), 5, 2.0).offsets
    at = np.stack(np.meshgrid(*ref, indexing="ij"), -1).reshape(-1, 3)[points]
    found = gammas(backend, c, 5)
    for m, mm in enumerate(distance):
        for p in range(0, len(points), 17):
            e = (dose(at[p] + mm * offsets[:, :3]) - reference.flat[points[p]]) / criterion[m, p]
            least = np.sqrt(np.min(offsets[:, 3] + e * e))
            if np.isfinite(found[m, p]):
                assert min(least, 2.0) - FLOAT <= found[m, p] <= min(least, 2.0) + AGREE


@needs_compiler
@pytest.mark.parametrize("sampling", [None, 5])
def test_bits_do_not_depend_on_the_launch(sampling):
    c = case(np.random.default_rng(6), "noise", 0.3)
    every = [gammas(b, c, sampling) for b in host_backends()]
    for other in every[1:]:
        assert np.array_equal(every[0], other, equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_device_is_chosen_by_name(backend):
    grid = Grid((0, 0, 0), (2.5, 2.5, 2.5), (6, 6, 6))
    rng = np.random.default_rng(8)
    a, b = (Volume(grid, 50 + rng.standard_normal(grid.shape)) for _ in range(2))
    there, here = (gamma(a, b, "2%/2mm", sampling=None, device=d) for d in (backend.name, "cpu"))
    assert np.abs(there.maps[0].values - here.maps[0].values).max() <= AGREE
