"""Fluence of the head on every backend: against naive oracles, against Numba, whatever the launch."""

from dataclasses import replace

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from builders_engine import bare_machine, dynamic, leaf_bank
from numpy.testing import assert_allclose, assert_array_equal
from oracle import transmission
from scipy.special import ndtr

from dosecalc.machine.model import ContaminationElectrons, ExtraFocalSource, LeafSides, LeafTip, PrimarySource
from dosecalc.photon.contamination import electron_map
from dosecalc.photon.fluence import HeadFluence
from dosecalc.photon.segments import split_beam
from dosecalc_kernels import registry

CPU = registry.backend("cpu")


def case(rng, layers, tips, rows=14, pixels=37, pairs=6, segments=1):
    """Jaws and leaves that move against each other, strips between leaves, rows beyond the last leaf."""
    own = rng.integers(-1, pairs, (layers, rows))
    neighbour = np.where(rng.random((layers, rows)) < 0.4, np.minimum(own + 1, pairs - 1), own)
    even = np.linspace(-60, 60, 4 * pixels + 1)
    cuts = rng.uniform(-60, 60, 20)
    edges = np.unique(np.concatenate([even, cuts]))
    return {
        "edges": edges, "first": np.searchsorted(edges, even[::4]).astype(np.int64),
        "across": np.linspace(-40, 40, rows),
        "jaw_along": np.sort(rng.uniform(-50, 50, (segments, 2, 2)), axis=2),
        "jaw_across": np.sort(rng.uniform(-50, 50, (segments, 2, 2)), axis=2),
        "jaw_transmission": rng.uniform(0, 0.1, 4),
        "pair_of_row": np.stack([own, neighbour], 1).astype(np.int64).reshape(layers, 2, rows),
        "closed": np.sort(rng.uniform(0, 0.3, (layers, 2, rows)), axis=1),
        "leaves": np.sort(rng.uniform(-50, 50, (segments, 2, layers, pairs, 2)), axis=4),
        "tip_mm": np.sort(rng.uniform(-1, 2, (layers, tips)), axis=1),
        "tip_share": rng.dirichlet(np.ones(tips), layers),
        "weight": rng.uniform(0.2, 1.0, segments),
    }  # fmt: skip


def averaged(backend, c):
    """The map that the backend adds to what was there, with that taken away."""
    out = np.full((len(c["across"]), len(c["first"]) - 1), 0.25)
    backend.kernel("add_transmission")(out, *c.values())
    return out - 0.25


def sampled(c, samples):
    """The same by the oracle: densely in meterset, at the middle of each piece."""
    middle, length = (c["edges"][1:] + c["edges"][:-1]) / 2, np.diff(c["edges"])
    first = c["first"]
    total = 0.0
    for s, weight in enumerate(c["weight"]):
        points = transmission(
            middle, c["across"], c["jaw_along"][s], c["jaw_across"][s], c["jaw_transmission"], c["pair_of_row"],
            c["closed"], c["leaves"][s, 0], c["leaves"][s, 1], c["tip_mm"], c["tip_share"], weight, samples,
        )  # fmt: skip
        total = total + np.add.reduceat(points * length, first[:-1], axis=1)
    return total / np.diff(c["edges"][first])


CASES = [(0, 1), (1, 1), (1, 8), (2, 8), (1, 11)]


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize(("layers", "tips"), CASES[1:4])
def test_mean_agrees_with_dense_sampling_of_the_segments(backend, layers, tips):
    c = case(np.random.default_rng(31), layers, tips, segments=2)
    samples = 4000
    # each of the changes (two per jaw, two per leaf end) is caught to one sample of its time, in each segment
    assert_allclose(averaged(backend, c), sampled(c, samples), rtol=0, atol=2 * 8 / samples)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_pixels_that_no_edge_passes_agree_with_dense_sampling(backend):
    """Collimators that hardly move: most pixels are sampled once, those beside an edge in all their pieces."""
    c = case(np.random.default_rng(34), 1, 6, segments=2)
    for name in ("jaw_along", "jaw_across", "leaves"):
        c[name][:, 1] = c[name][:, 0] + 0.7
    samples = 4000
    assert_allclose(averaged(backend, c), sampled(c, samples), rtol=0, atol=2 * 8 / samples)


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize(("layers", "tips"), CASES)
def test_means_agree_with_numba(backend, layers, tips):
    c = case(np.random.default_rng(32), layers, tips, rows=40, pixels=30, segments=3)
    # the same sums in float64 in the same order
    assert_allclose(averaged(backend, c), averaged(CPU, c), rtol=0, atol=1e-14)


# ---- extra-focal source ---------------------------------------------------------------------------------------------


def source_case(rng, layers, segments=2, strips=9, pairs=7, points=12, moves=True):
    """Jaws and leaves that pass each other before a source of a few millimetres, strips beyond the last leaf."""
    jaw = np.sort(rng.uniform(-30, 30, (segments, 2, 2)), axis=2)
    tips = np.sort(rng.uniform(-30, 30, (segments, 2, layers, pairs, 2)), axis=4)
    if not moves:
        jaw[:, 1], tips[:, 1] = jaw[:, 0], tips[:, 0]
    return {
        "points": np.linspace(-80, 80, points), "jaw": jaw, "jaw_transmission": np.array([0.02, 0.0]),
        "pair_of_strip": rng.integers(-1, pairs, (layers, strips)),
        "transmission": rng.uniform(0, 0.2, (layers, strips)), "tips": tips,
        "image": np.array([[-0.02, 0.05], [-0.03, 0.06]]), "weight": rng.uniform(0.2, 1.0, segments),
    }  # fmt: skip


def source_share(backend, c):
    out = np.full((c["pair_of_strip"].shape[1] if c["pair_of_strip"].size else 9, len(c["points"])), 0.5)
    backend.kernel("add_source_share")(out, *c.values())
    return out - 0.5


def source_share_sampled(c, samples=600, cells=1200):
    """What the points see of a source cut into cells, at many moments."""
    cell = np.linspace(-8, 8, cells + 1)
    share = np.diff(ndtr(cell))
    place = (cell[1:] + cell[:-1]) / 2
    t = (np.arange(samples) + 0.5) / samples
    layers, strips = c["pair_of_strip"].shape
    out = np.zeros((strips, len(c["points"])))

    def lets_through(lower, upper, below, above):
        """Mean over the moments for each cell, [time, cell]."""
        seen = np.ones((samples, cells))
        seen *= np.where(place < lower[:, None], below, 1.0)
        return seen * np.where(place > upper[:, None], above, 1.0)

    for s, weight in enumerate(c["weight"]):
        for j, point in enumerate(c["points"]):

            def image(which, edges, point=point):
                factors = c["image"][which]
                return factors[0] * point + factors[1] * (edges[0] + (edges[1] - edges[0]) * t)

            jaws = lets_through(*(image(0, c["jaw"][s, :, i]) for i in (0, 1)), *c["jaw_transmission"])
            for k in range(strips):
                seen = jaws
                for layer in range(layers):
                    pair, closed = c["pair_of_strip"][layer, k], c["transmission"][layer, k]
                    ends = [image(1, c["tips"][s, :, layer, pair, i]) for i in (0, 1)]
                    seen = seen * (closed if pair < 0 else lets_through(*ends, closed, closed))
                out[k, j] += weight * float(seen.mean(0) @ share)
    return out


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("layers", [1, 2])
def test_share_of_the_source_agrees_with_dense_sampling(backend, layers):
    c = source_case(np.random.default_rng(41), layers, strips=3, points=3)
    # an edge is caught to one sample of its time and one cell (0.5 % of the source at most, with both ends of a gap)
    assert_allclose(source_share(backend, c), source_share_sampled(c), rtol=0, atol=6e-3)


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_shares_of_the_source_agree_with_numba(backend, layers, moves):
    c = source_case(np.random.default_rng(42), layers, moves=moves)
    if not layers:
        c["pair_of_strip"], c["transmission"] = np.zeros((0, 9), np.int64), np.zeros((0, 9))
    # the same sums in float64 in the same order; erfc and exp may differ in their last bits, and the mean over a way
    # of 1e-3 divides what they differ by
    assert_allclose(source_share(backend, c), source_share(CPU, c), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_integral_image_sums_what_lies_below_and_left(backend):
    values = np.random.default_rng(43).random((37, 53))
    out = np.full((38, 54), np.nan)
    backend.kernel("integral_image")(out, values)
    # float64 sums of 2000 numbers
    assert_allclose(out[1:, 1:], values.cumsum(0).cumsum(1), rtol=1e-13)
    assert not out[0].any() and not out[:, 0].any()


# ---- whole maps -----------------------------------------------------------------------------------------------------


def head_of(axis, sides):
    """A beam with rounded leaf ends and moving jaws before a focal spot and an extra-focal source, and its head."""
    rng = np.random.default_rng(44)
    mlc = leaf_bank(axis)
    machine = bare_machine(mlc=mlc, leaf_transmission=0.02, jaw_transmission=0.01)
    leaves = machine.mlc.model_copy(
        update={
            "tip": LeafTip(radius_mm=80.0, thickness_mm=60.0, attenuation_per_mm=0.085, source="test"),
            "sides": LeafSides(width_mm=0.8, transmission=0.13, interleaf_transmission=0.03, source="test"),
            "tip_offset_mm": 0.4,
            "distance_mm": 490.0,
        }
    )
    extra = ExtraFocalSource(fraction=0.1, sigma_mm=20, distance_mm=125, collimator_distance_mm=400, source="test")
    energy = machine.energies[0].model_copy(
        update={"extra_focal": extra, "primary_source": PrimarySource(sigma_mm=1.2, source="test")}
    )
    machine = machine.model_copy(update={"mlc": leaves, "energies": (energy,)})
    beam = dynamic(
        [0.0, 0.4, 1.0], [np.sort(rng.uniform(-40, 40, (40, 2)), 1) for _ in range(3)], mlc=mlc,
        gantry=[0.0, 2.0, 4.0],
    )  # fmt: skip
    points = tuple(
        replace(p, jaw_x_mm=(-45.0 - sides * i, 45.0), jaw_y_mm=(-50.3 + 5 * sides * i, 50.1))
        for i, p in enumerate(beam.control_points)
    )
    return replace(beam, control_points=points), machine


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize(("axis", "sides"), [("X", 0.0), ("X", 1.0), ("Y", 1.0)])
def test_maps_are_made_on_the_device_and_agree_with_the_cpu(backend, axis, sides):
    beam, machine = head_of(axis, sides)
    views = [view for group in split_beam(beam, 2.5, 5.0) for view in group.views]
    maps = {b: HeadFluence(beam, machine, machine.energies[0], 2.0, b) for b in (CPU, backend)}
    for view in views:
        expected, found = maps[CPU].map(view), maps[backend].map(view)
        assert backend.launcher.is_device_array(found.values)
        assert_array_equal(found.x_mm, expected.x_mm)
        # float64 throughout: products of matrices and library functions differ in their last bits
        assert_allclose(backend.get(found.values), expected.values, rtol=0, atol=1e-12)
        assert_allclose(backend.get(found.integral(backend)), expected.integral(CPU), rtol=0, atol=1e-8)
        electrons = ContaminationElectrons(surface_dose=0.3, depth_gcm2=0.7, sigma_mm=30.0, source="test")
        spread = electron_map(found, electrons, backend)
        assert backend.launcher.is_device_array(spread.values)
        assert_allclose(backend.get(spread.values), electron_map(expected, electrons, CPU).values, rtol=0, atol=1e-12)


@needs_compiler
def test_bits_of_the_maps_do_not_depend_on_the_launch():
    many = case(np.random.default_rng(33), 2, 8, segments=2)
    source = source_case(np.random.default_rng(45), 2)
    values = np.random.default_rng(46).random((40, 60))

    def results(backend):
        integral = np.empty((41, 61))
        backend.kernel("integral_image")(integral, values)
        return averaged(backend, many), source_share(backend, source), integral

    first, *others = [results(b) for b in host_backends()]
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert_array_equal(a, b)
