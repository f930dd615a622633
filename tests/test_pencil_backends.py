"""Pencil beams on every backend: radiological depths against closed forms, twins against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from dosecalc.photon.fluence import FluenceMap
from dosecalc.photon.pencil_basis import RATES_CM
from dosecalc.photon.pencil_maps import basis_maps
from dosecalc_kernels import registry

SAD = 1000.0
#: gantry 0: the source in front of the patient, at lower y
STRAIGHT = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
OBLIQUE = Rotation.from_euler("xyz", (-63, 21, 8), degrees=True).as_matrix()
FIRST, PITCH = np.array([-40.0, -35.0]), 5.0


def fan_of(backend, density, spacing, rotation, *, lateral=True, softening=(0.0, 0.0, 0.0), nodes=50, step=4.0):
    """A fan over a volume whose centre is the isocentre; nodes begin 100 mm in front of it."""
    spacing = np.asarray(spacing, float)
    origin = -spacing * (np.array(density.shape[::-1]) - 1) / 2
    fan = np.full((15, 17, nodes, 4), np.nan, np.float32)
    backend.kernel("trace_fan")(
        fan, density, origin, spacing, rotation.T @ [0.0, 0.0, SAD], rotation, SAD, FIRST, PITCH, SAD - 100.0, step,
        0.01, lateral, np.array([0.5, 10.0]), 20.0, np.array(softening), -0.05 * np.arange(400) * 0.25, 0.25,
    )  # fmt: skip
    return fan


def slabs(layers, shape=(40, 40, 40)):
    """Density by plane of y: (first plane, density) in order."""
    density = np.zeros(shape, np.float32)
    for first, rho in layers:
        density[:, first:] = rho
    return density


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_depth_through_slabs_is_the_sum_of_their_slant_thicknesses(backend):
    density = slabs([(0, 1.0), (12, 0.25), (26, 1.8)])
    fan = fan_of(backend, density, (4, 4, 4), STRAIGHT)
    x, y = FIRST[0] + PITCH * np.arange(17), FIRST[1] + PITCH * np.arange(15)
    slant = np.sqrt(1 + (x[None] ** 2 + y[:, None] ** 2) / SAD**2)
    behind = np.arange(50) * 4.0 - 100.0 + 80.0  # of the front face, along the axis
    faces = np.array([0.0, 48.0, 104.0, 160.0])
    crossed = np.clip(behind[:, None] - faces[:-1], 0, np.diff(faces)) / 10 @ [1.0, 0.25, 1.8]
    assert_allclose(fan[..., 0], slant[..., None] * crossed, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_widths_are_those_of_even_matter_and_move_from_one_slab_to_the_next(backend):
    for rho in (0.25, 1.0, 2.5):
        fan = fan_of(backend, slabs([(0, rho)]), (4, 4, 4), STRAIGHT)
        matter = fan[..., 0] > 0
        assert_allclose(fan[..., 1:3][matter], 1 / rho, rtol=1e-5)
        assert_array_equal(fan[..., 1:3][~matter], 1.0)
    fan = fan_of(backend, slabs([(0, 1.0), (20, 0.25)]), (4, 4, 4), STRAIGHT)
    near, far = fan[7, 8, :, 1], fan[7, 8, :, 2]
    lung = slice(26, 45)
    # the electrons' reach is 0.5 g/cm2, the scattered photons' 10: one forgets the water, the other does not
    assert (np.diff(near[lung]) > 0).all() and near[44] > 3.9
    assert (np.diff(far[lung]) > 0).all() and far[44] < 2.5


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_widths_stay_those_of_water_when_they_are_not_wanted(backend):
    fan = fan_of(backend, slabs([(0, 0.25)]), (4, 4, 4), STRAIGHT, lateral=False)
    assert_array_equal(fan[..., 1:3], 1.0)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_softening_attenuates_as_the_softened_path_does(backend):
    fan = fan_of(backend, slabs([(0, 1.0)]), (4, 4, 4), STRAIGHT, softening=(0.01, 0.0, 0.0))
    x, y = FIRST[0] + PITCH * np.arange(17), FIRST[1] + PITCH * np.arange(15)
    theta = np.degrees(np.arctan(np.hypot(x[None], y[:, None]) / SAD))
    # the table falls with 0.05 per g/cm2
    assert_allclose(fan[..., 3], np.exp(-0.05 * 0.01 * theta[..., None] * fan[..., 0]), rtol=1e-6)


def scene(rng, rotation):
    """A heterogeneous volume with air, a fan through it, maps and tables of noise: nothing that a symmetry hides."""
    density = rng.uniform(0.1, 1.9, (21, 26, 31)).astype(np.float32)
    density[:, 8:11] = 0.0012
    spacing = np.array([3.0, 2.5, 4.0])
    fan = fan_of(registry.backend("cpu"), density, spacing, rotation, softening=(0.004, -0.0002, 0.00001))
    release = np.where(density > 0.01, rng.integers(0, 3, density.shape), -1).astype(np.int16)
    maps = [rng.random(s, np.float32) for s in ((30, 26, 8), (24, 28, 4))]
    tables = [rng.random((61, 20, 8), np.float32) for _ in range(2)]
    return (
        release, -spacing * (np.array(density.shape[::-1]) - 1) / 2, spacing, rotation.T @ [0.0, 0.0, SAD], rotation,
        SAD, fan, FIRST, PITCH, SAD - 100.0, 4.0, maps[0], np.array([-20.0, -22.0]), 1.5, maps[1],
        np.array([-52.0, -45.0]), 4.0, *tables, 20.0, 0.1, 0.8 / 19, rng.uniform(0.8, 1.1, (3, 2)).astype(np.float32),
    )  # fmt: skip


def dosed(backend, arguments):
    dose = np.ones(arguments[0].shape, np.float32)
    backend.kernel("add_pencil_dose")(dose, *arguments)
    return dose


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize("rotation", [STRAIGHT, OBLIQUE])
def test_twins_agree_with_numba_everywhere(backend, rotation):
    rng = np.random.default_rng(31)
    density = rng.uniform(0.0, 1.9, (21, 26, 31)).astype(np.float32)
    cpu = registry.backend("cpu")
    for kwargs in ({}, {"lateral": False, "softening": (0.004, -0.0002, 0.00001)}):
        a, b = (fan_of(x, density, (3.0, 2.5, 4.0), rotation, **kwargs) for x in (cpu, backend))
        assert (a[..., 0] > 0).mean() > 0.1
        # float64 sums in the same order, rounded to float32 once
        assert_allclose(b, a, rtol=1e-6, atol=1e-6)
    arguments = scene(rng, rotation)
    a, b = dosed(cpu, arguments), dosed(backend, arguments)
    assert (a > 1).mean() > 0.3 and (a == 1).any()
    # float32 throughout; a voxel whose place rounds across a pixel's edge changes by that rounding's part of a pixel.
    # The target for twins is 1e-4 of the maximum
    assert_allclose(b, a, rtol=0, atol=2e-5 * a.max())


@needs_compiler
def test_bits_do_not_depend_on_the_launch():
    rng = np.random.default_rng(32)
    density = rng.uniform(0.0, 1.9, (11, 16, 21)).astype(np.float32)
    arguments = scene(rng, OBLIQUE)
    fans = [fan_of(b, density, (3.0, 2.5, 4.0), OBLIQUE) for b in host_backends()]
    doses = [dosed(b, arguments) for b in host_backends()]
    for fan, dose in zip(fans[1:], doses[1:], strict=True):
        assert_array_equal(fan, fans[0])
        assert_array_equal(dose, doses[0])


def convolved(backend, size=(90, 130)):
    """Maps of a fluence without symmetry, float64 as the engine makes it, that a small reach and a long one need."""
    rng = np.random.default_rng(33)
    fluence = rng.random(size) * (np.arange(size[1]) % 17 > 5)
    axes = [np.arange(n) - (n - 1) / 2 for n in size[::-1]]
    return basis_maps(FluenceMap(fluence, *axes), RATES_CM, (2.5, 3.1), (40.0, 210.0), 1000.0, backend)


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_maps_are_convolved_on_the_device_and_agree_with_the_cpu(backend):
    expected, found, again = convolved(registry.backend("cpu")), convolved(backend), convolved(backend)
    for name in ("near", "far"):
        a, b, c = (getattr(maps, name) for maps in (expected, found, again))
        assert backend.launcher.is_device_array(b) and b.flags.c_contiguous
        assert b.dtype == a.dtype == np.float32
        # float32 transforms of 200 by 400 pixels by two libraries. The target for twins is 1e-4 of the maximum
        assert_allclose(backend.get(b), a, rtol=0, atol=2e-6 * a.max())
        assert_array_equal(backend.get(c), backend.get(b))
    assert (expected.near_first_mm, expected.far_first_mm) == (found.near_first_mm, found.far_first_mm)
