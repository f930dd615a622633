"""Contamination electrons against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders_engine import bare_machine, box, field, plan_of
from scipy.special import erf

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Volume
from dosecalc.machine.model import ContaminationElectrons
from dosecalc.photon.spectral import spectral_model

ELECTRONS = ContaminationElectrons(surface_dose=0.3, depth_gcm2=0.7, sigma_mm=40.0, source="test")


def with_electrons(machine, electrons=ELECTRONS):
    energy = machine.energies[0].model_copy(update={"electrons": electrons})
    return machine.model_copy(update={"energies": (energy,)})


def electron_dose(patient, beam, electrons=ELECTRONS):
    """What the electrons add to the same beam without them."""
    machine = bare_machine()
    settings = DoseSettings(grid=patient.density.grid)
    doses = [
        compute_dose(patient, plan_of(beam), m, settings).total_gy.astype(np.float64)
        for m in (with_electrons(machine, electrons), machine)
    ]
    return doses[0] - doses[1]


def surface(machine, electrons=ELECTRONS):
    kerma = spectral_model(machine.energies[0], ("water",), "water_equivalent").release_kerma.sum()
    return electrons.surface_dose * kerma


def test_dose_is_the_closed_form_on_and_off_the_axis():
    patient = box((160, 60, 160), (4, 2, 4))
    g = patient.density.grid
    added = electron_dose(patient, field(50.0, 30.0)) / surface(bare_machine())
    depth = (g.y_mm - g.lower_mm[1]) / 10
    for x, z in ((2.0, 2.0), (42.0, -22.0)):
        k, i = np.argmin(np.abs(g.z_mm - z)), np.argmin(np.abs(g.x_mm - x))
        below = 1000 + g.y_mm
        r2 = below**2 + g.x_mm[i] ** 2 + g.z_mm[k] ** 2
        bx, by = g.x_mm[i] * 1000 / below, g.z_mm[k] * 1000 / below
        spread = 1.0
        for at, half in ((bx, 50), (by, 30)):
            spread = spread * 0.5 * (erf((at + half) / np.sqrt(2) / 40) - erf((at - half) / np.sqrt(2) / 40))
        oblique = np.sqrt(r2) / below
        expected = spread * 1e6 / r2 * np.exp(-depth * oblique / 0.7)
        near = depth < 5
        # pixels of a sixth of the Gaussian's width, bilinear; small differences of float32 doses
        np.testing.assert_allclose(added[k, near, i], expected[near], rtol=5e-3, atol=3e-6)


def test_dose_grows_with_the_field_and_ends_with_the_depth():
    patient = box((160, 160, 160), (8, 4, 8))
    small, large = (electron_dose(patient, field(h, h))[:, :, 8:12].max((0, 2)) for h in (20.0, 60.0))
    assert large[0] / small[0] == pytest.approx((erf(60 / 40 / 2**0.5) / erf(20 / 40 / 2**0.5)) ** 2, rel=0.03)
    assert np.abs(large[20:]).max() < 1e-3 * large[0]  # 8 cm
    assert (np.diff(large[:12]) < 0).all()


def test_depth_is_in_mass_and_air_gets_no_dose():
    patient = box((120, 120, 120), (8, 4, 8))
    density = patient.density.values.copy()
    density[:, :10] = 0.001  # air above
    density[:, 10:16] = 0.25  # 24 mm of lung
    layered = replace(patient, density=Volume(patient.density.grid, density))
    added = electron_dose(layered, field(40, 40))
    middle = added[7, :, 7]
    assert (middle[:10] == 0).all()
    # from the middle of the first voxel of lung to that of the first of water: 22 mm of lung, 2 mm of water
    distance = 1000 + patient.density.grid.y_mm
    ratio = middle[16] / middle[10] * (distance[16] / distance[10]) ** 2
    # the spread field grows with the distance, too: 2.4 % of its width
    assert ratio == pytest.approx(np.exp(-(2.2 * 0.25 + 0.2) / 0.7), rel=0.03)


def test_electrons_turn_with_the_gantry():
    patient = box((120, 120, 120), (6, 6, 6))
    front, left = (electron_dose(patient, field(30, 20, gantry=g)) for g in (0.0, 90.0))
    # from the patient's left (+x) what came from anterior (-y) before
    np.testing.assert_allclose(left, np.rot90(front, -1, axes=(1, 2)), atol=2e-3 * front.max())
