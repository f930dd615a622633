"""Ray tracing on every backend: against a naive oracle, against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from numpy.testing import assert_allclose, assert_array_equal
from oracle import released_energy
from scipy.spatial.transform import Rotation

from dosecalc_kernels import registry

SAD = 1000.0


def case(rng, shape, rotation, sad_mm=SAD, floor=0.0):
    """Two materials and air, a rotated beam, a map of leaves that leaves part of the volume dark."""
    spacing, source_distance = np.array([3.0, 2.5, 4.0]), sad_mm
    density = rng.uniform(0.1, 1.9, shape)
    density[:, shape[1] // 3 : shape[1] // 2] = 0.0012
    material = rng.integers(0, 3, shape)
    share = np.array([[1.0, 0.0], [0.4, 0.7], [-0.1, 1.2]])
    basis = (density[..., None] * share[material]).astype(np.float32)
    release = np.where(density > 0.01, material, -1).astype(np.int16)
    centre = spacing * (np.array(shape[::-1]) - 1) / 2 * [1, 0.7, 1.1]
    source = centre + rotation.T @ [0.0, 0.0, source_distance]
    fluence = rng.uniform(0.2, 1.0, (40, 50))
    fluence[:, 10:30] = 0.0
    fluence += floor
    energies = np.linspace(0.2, 6.0, 12)
    mu = 0.08 / np.sqrt(energies)
    return {
        "basis_a": np.ascontiguousarray(basis[..., 0]), "basis_b": np.ascontiguousarray(basis[..., 1]),
        "release_index": release, "origin_mm": np.zeros(3), "spacing_mm": spacing, "source_mm": source,
        "bld_from_grid": rotation, "sad_mm": sad_mm, "fluence": fluence,
        "map_origin_mm": np.array([-26.0, -19.0]), "pitch_mm": 1.0, "cutoff": 1e-4,
        "mu_a": (mu * np.log2(np.e)).astype(np.float32), "mu_b": (mu * 1.3 * np.log2(np.e)).astype(np.float32),
        "release_kerma": rng.random((3, 12)).astype(np.float32),
        "release_scerma": rng.random((3, 12)).astype(np.float32),
        "softening": np.array([0.004, -0.0002, 0.00001]),
    }  # fmt: skip


def traced(backend, c):
    """Kerma and scerma that the backend adds to what was there: ones and twos."""
    integral = np.zeros(np.array(c["fluence"].shape) + 1)
    integral[1:, 1:] = c["fluence"].cumsum(0).cumsum(1)
    kerma, scerma = (np.full(c["basis_a"].shape, v, np.float32) for v in (1, 2))
    rest = {k: v for k, v in c.items() if k not in ("fluence", "pitch_mm", "map_origin_mm", "cutoff", "mu_a", "mu_b")}
    names = ("basis_a", "basis_b", "release_index", "origin_mm", "spacing_mm", "source_mm", "bld_from_grid", "sad_mm")
    backend.kernel("add_terma")(
        kerma, scerma, *(rest[n] for n in names), integral, c["map_origin_mm"], c["pitch_mm"], c["cutoff"],
        c["mu_a"], c["mu_b"], c["release_kerma"], c["release_scerma"], c["softening"],
    )  # fmt: skip
    return kerma, scerma


def turned(*angles):
    """From the grid to a frame whose -z is the beam's axis, at odd angles."""
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


ROTATIONS = [turned(-90, 0, 0), turned(-63, 21, 8), turned(10, 170, 33)]


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_released_energy_agrees_with_the_oracle(backend, rotation):
    c = case(np.random.default_rng(21), (9, 10, 13), rotation)
    expected = released_energy(**c)
    assert min((e > 0).mean() for e in expected) > 0.1
    for found, start, e in zip(traced(backend, c), (1, 2), expected, strict=True):
        # float32 sums over twelve energies upon a start of 1 or 2, whose own step is 1.2e-7 of it
        assert_allclose(found, start + e, rtol=3e-6, atol=0)


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_ray_tracing_agrees_with_numba_everywhere(backend, rotation):
    c = case(np.random.default_rng(22), (20, 31, 45), rotation)
    cpu, twin = traced(registry.backend("cpu"), c), traced(backend, c)
    for found, expected in zip(twin, cpu, strict=True):
        # the target for twins is 1e-4 of the maximum
        assert_allclose(found, expected, rtol=2e-6, atol=0)


@needs_compiler
def test_bits_of_the_ray_tracing_do_not_depend_on_the_launch():
    c = case(np.random.default_rng(23), (12, 13, 30), ROTATIONS[1])
    results = [traced(b, c) for b in host_backends()]
    for result in results[1:]:
        assert_array_equal(result, results[0])


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_a_source_within_the_volume_and_a_grid_along_the_axis(backend):
    # rays along an axis of the grid divide by no direction; a source inside starts in the middle of the matter
    c = case(np.random.default_rng(24), (9, 11, 13), turned(0, 0, 0), sad_mm=30.0, floor=1e-3)
    c["source_mm"] = np.round(c["source_mm"] / c["spacing_mm"]) * c["spacing_mm"]
    c["source_mm"][2] = 25.0
    for found, start, e in zip(traced(backend, c), (1, 2), released_energy(**c), strict=True):
        assert_allclose(found, start + e, rtol=3e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_a_lost_density_shows_behind_it(backend):
    c = case(np.random.default_rng(25), (9, 10, 13), ROTATIONS[0], floor=0.5)
    c["basis_a"][4, 5, 6] = np.nan
    for found in traced(backend, c):
        assert np.isnan(found).any()
