"""Contamination electrons on every backend: twins against Numba, whatever the launch."""

import numpy as np
import pytest
from backends import BACKENDS, TWINS, host_backends, needs_compiler
from builders_engine import bare_machine, box, field, plan_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.machine.model import ContaminationElectrons
from dosecalc_kernels import registry

SPACING = np.array([3.0, 2.5, 4.0])
#: gantry 0: rays along y in the middle, so that some components of their directions vanish
STRAIGHT = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
OBLIQUE = Rotation.from_euler("xyz", (-63, 21, 8), degrees=True).as_matrix()


def dosed(backend, density, rotation, surface_dose=0.3, limit=5.6):
    rng = np.random.default_rng(41)
    dose = np.ones(density.shape, np.float32)
    release = np.where(density > 0.01, 0, -1).astype(np.int16)
    values = rng.random((19, 23))
    origin = -SPACING * (np.array(density.shape[::-1]) - 1) / 2
    backend.kernel("add_contamination")(
        dose, density, release, origin, SPACING, rotation.T @ [0.0, 0.0, 1000.0], rotation, 1000.0, values,
        np.array([-36.0, -33.0]), 3.5, surface_dose, 0.7, limit,
    )  # fmt: skip
    return dose


def matter(shape=(21, 27, 25)):
    density = np.random.default_rng(42).uniform(0.1, 1.9, shape).astype(np.float32)
    density[:, 5:8] = 0.0012
    return density


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize("rotation", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_twins_agree_with_numba_everywhere(backend, rotation):
    expected, found = (dosed(b, matter(), rotation) for b in (registry.backend("cpu"), backend))
    assert (expected > 1.01).mean() > 0.1 and (expected == 1).any()
    # float64 sums in the same order, rounded to float32 once. The target for twins is 1e-4 of the maximum
    assert_allclose(found, expected, rtol=2e-7, atol=0)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_dose_falls_with_the_mass_above(backend):
    """Behind layers of different density, on the axis of an even map: exp(-depth / 0.7)."""
    density = np.zeros((5, 24, 5), np.float32)
    density[:, :10], density[:, 10:] = 0.3, 1.2
    dose = np.zeros(density.shape, np.float32)
    origin = -SPACING * (np.array(density.shape[::-1]) - 1) / 2
    backend.kernel("add_contamination")(
        dose, density, np.zeros(density.shape, np.int16), origin, SPACING, STRAIGHT.T @ [0.0, 0.0, 1000.0], STRAIGHT,
        1000.0, np.ones((9, 9)), np.array([-40.0, -40.0]), 10.0, 0.3, 0.7, 2.9,
    )  # fmt: skip
    faces = np.concatenate([[0.0], np.cumsum(density[2, :, 2] * 0.25)])
    depth = (faces[1:] + faces[:-1]) / 2
    r = 1000.0 + origin[1] + 2.5 * np.arange(24)
    expected = np.where(depth <= 2.9, 0.3 * (1000.0 / r) ** 2 * np.exp(-depth / 0.7), 0.0)
    assert (expected == 0).any() and (expected > 0).any()
    assert_allclose(dose[2, :, 2], expected, rtol=1e-6)


@needs_compiler
def test_bits_do_not_depend_on_the_launch():
    first, *others = [dosed(b, matter((7, 9, 11)), OBLIQUE) for b in host_backends()]
    for other in others:
        assert_array_equal(other, first)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_a_lost_density_shows(backend):
    density = matter()
    density[10, 0, 12] = np.nan  # a wrong input must not become a plausible dose
    dose = dosed(backend, density, STRAIGHT)
    assert np.isnan(dose[10, 1, 12])  # behind it; the lost voxel itself counts as air


@pytest.mark.parametrize("backend", TWINS, indirect=True)
@pytest.mark.parametrize("engine", ["collapsed_cone", "pencil_beam"])
def test_engines_add_them_on_their_device(backend, engine):
    patient = box((60.0, 60.0, 60.0), (5.0, 5.0, 5.0))
    machine = bare_machine()
    electrons = ContaminationElectrons(surface_dose=0.3, depth_gcm2=0.7, sigma_mm=40.0, source="test")
    energy = machine.energies[0].model_copy(update={"electrons": electrons})
    contaminated = machine.model_copy(update={"energies": (energy,)})

    def dose_of(device, machine=contaminated):
        settings = DoseSettings(engine=engine, device=device, grid=patient.density.grid)
        return compute_dose(patient, plan_of(field(15.0, 20.0, gantry=30.0)), machine, settings).total_gy

    expected, found = dose_of("cpu"), dose_of(backend.name)
    # the target for twins is 1e-4 of the maximum, everywhere
    assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())
    assert (found - dose_of(backend.name, machine)).max() > 0.02 * expected.max()  # they are there
