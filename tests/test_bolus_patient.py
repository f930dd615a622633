"""Boluses in the patient model: apart from the density until a beam's own are put on."""

from __future__ import annotations

import numpy as np
import pytest
from builders_structures import box

from dosecalc.errors import PatientError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.bolus import with_boluses
from dosecalc.patient.build import build_patient
from dosecalc.patient.ct import CtImage
from dosecalc.patient.hu import load_curve
from dosecalc.patient.materials import AIR_DENSITY_G_CM3
from dosecalc.patient.model import Patient
from dosecalc.patient.resample import patient_on_grid
from dosecalc.patient.structures import Structure, StructureSet

GRID = Grid((-39.5, -39.5, -39.5), (1.0, 1.0, 1.0), (80, 80, 80))
WATER = load_curve("water-equivalent")
BODY = box((-30, -30, -30), (30, 30, 30), step_mm=2, name="BODY", kind="EXTERNAL", number=1)
AIR_AROUND = np.where(np.abs(GRID.y_mm)[:, None] < 30, 0.0, -1000.0)
FLOAT32 = 2e-6  # sums of float32 voxels


def bolus(number: int = 6, top: float = -34.5, half: float = 10.0, **more: object) -> Structure:
    """A slab on the body's anterior face."""
    return box(
        (-half, top, -10), (half, -30, 10), step_mm=2, name=f"Bolus {number}", kind="BOLUS", number=number, **more
    )


def ct(hu: float | np.ndarray) -> CtImage:
    return CtImage(Volume(GRID, np.broadcast_to(np.float32(hu), GRID.shape)), "HFS", "1.2.3", "1.2.4", "1.2.5")


def patient_with(*structures: Structure, hu: float | np.ndarray = AIR_AROUND, **densities: float) -> Patient:
    stated = {name.replace("_", " "): value for name, value in densities.items()}
    return build_patient(ct(hu), StructureSet((BODY, *structures)), curve=WATER, density_overrides=stated)


def mass_g(patient: Patient) -> float:
    return float(patient.density.values.sum(dtype=np.float64)) * patient.density.grid.voxel_volume_cm3


def at(patient: Patient, x: float, y: float, z: float) -> tuple[float, str]:
    k, j, i = (int(np.argmin(np.abs(c - v))) for c, v in ((GRID.z_mm, z), (GRID.y_mm, y), (GRID.x_mm, x)))
    return float(patient.density.values[k, j, i]), patient.materials[int(patient.material[k, j, i])]


def test_without_a_beam_that_uses_it_a_bolus_is_air_whatever_the_ct_shows() -> None:
    patient = patient_with(bolus(), hu=0.0)
    assert at(patient, 0, -32, 0)[0] == pytest.approx(AIR_DENSITY_G_CM3)
    assert [b.number for b in patient.boluses] == [6]
    assert with_boluses(patient, ()) is patient


def test_a_stated_density_fills_the_bolus_and_nothing_else() -> None:
    patient = patient_with(bolus(), Bolus_6=1.1)
    on = with_boluses(patient, {6})
    assert at(on, 0, -32, 0)[0] == pytest.approx(1.1)
    assert on.materials[-1] and at(on, 0, -32, 0)[1] != "air_dry"
    # 20 x 4.5 x 20 mm of 1.1 g/cm3 where there was air
    assert mass_g(on) - mass_g(patient) == pytest.approx(1.8 * (1.1 - AIR_DENSITY_G_CM3), rel=1e-4)  # small of large
    changed = on.density.values != patient.density.values
    assert np.count_nonzero(changed) == 20 * 5 * 20
    np.testing.assert_array_equal(on.density.values[~changed], patient.density.values[~changed])
    assert on.boluses == ()


def test_half_a_voxel_of_bolus_has_half_its_mass() -> None:
    on = with_boluses(patient_with(bolus(), Bolus_6=1.0), {6})
    assert at(on, 0, -34.5, 0)[0] == pytest.approx((1.0 + AIR_DENSITY_G_CM3) / 2, rel=FLOAT32)


def test_a_bolus_that_was_scanned_has_the_density_of_the_ct() -> None:
    on = with_boluses(patient_with(bolus(), hu=30.0), {6})
    assert at(on, 0, -32, 0)[0] == pytest.approx(1.03)


def test_the_structure_sets_own_density_is_used() -> None:
    on = with_boluses(patient_with(bolus(physical={"REL_MASS_DENSITY": 1.02})), {6})
    assert at(on, 0, -32, 0)[0] == pytest.approx(1.02)


def test_each_bolus_is_put_on_by_itself_and_two_share_a_voxel() -> None:
    patient = patient_with(bolus(6), bolus(7, top=-33.5, half=5.0), Bolus_6=1.0, Bolus_7=1.2)
    assert at(with_boluses(patient, {7}), 0, -32, 0)[0] == pytest.approx(1.2)
    assert at(with_boluses(patient, {7}), 8, -32, 0)[0] == pytest.approx(AIR_DENSITY_G_CM3)
    both = with_boluses(patient, {6, 7})
    # the second lies inside the first, where no room is left: nothing weighs twice
    assert at(both, 0, -32, 0)[0] == pytest.approx(1.0, rel=FLOAT32)
    assert both.density.values.max() == pytest.approx(1.0, rel=FLOAT32)


def test_bolus_and_body_within_one_voxel_add_up() -> None:
    body = box((-30, -29.5, -30), (30, 30, 30), step_mm=2, name="BODY", kind="EXTERNAL", number=1)
    slab = box((-10, -34.5, -10), (10, -29.5, 10), step_mm=2, name="Bolus 6", kind="BOLUS", number=6)
    patient = build_patient(
        ct(0.0), StructureSet((body, slab)), curve=WATER, density_overrides={"BODY": 1.0, "Bolus 6": 1.0}
    )
    assert at(patient, 0, -29.5, 0)[0] == pytest.approx((1.0 + AIR_DENSITY_G_CM3) / 2, rel=FLOAT32)
    assert at(with_boluses(patient, {6}), 0, -29.5, 0)[0] == pytest.approx(1.0, rel=FLOAT32)


@pytest.mark.parametrize(
    ("reason", "structure", "number"),
    [
        ("BOLUS_WITHOUT_DENSITY", bolus(), 6),
        ("BOLUS_UNKNOWN", bolus(), 7),
        ("BOLUS_UNKNOWN", bolus(), 1),  # the body is no bolus
        ("BOLUS_INSIDE_PATIENT", bolus(top=-20.0, physical={"REL_MASS_DENSITY": 1.0}), 6),
        ("BOLUS_OUTSIDE_CT", box((-9, -99, -9), (9, -90, 9), step_mm=2, name="Far", kind="BOLUS", number=6), 6),
    ],
)  # fmt: skip
def test_a_bolus_that_cannot_be_used_is_an_error_for_the_beam_that_needs_it(
    reason: str, structure: Structure, number: int
) -> None:
    patient = patient_with(structure)  # no error yet: perhaps nobody needs it
    with pytest.raises(PatientError) as caught:
        with_boluses(patient, {number})
    assert caught.value.reason == reason


def test_without_a_ct_the_grid_holds_the_bolus() -> None:
    structures = StructureSet((BODY, bolus()))
    patient = build_patient(
        None, structures, density_overrides={"BODY": 1.0, "Bolus 6": 1.0}, bulk_spacing_mm=(1, 1, 1)
    )
    gained = mass_g(with_boluses(patient, {6})) - mass_g(patient)
    assert gained == pytest.approx(1.8 * (1.0 - AIR_DENSITY_G_CM3), rel=1e-4)  # small of large


def test_another_grid_takes_what_was_put_on() -> None:
    patient = patient_with(bolus(), Bolus_6=1.0)
    coarse = Grid((-36.0, -36.0, -36.0), (8.0, 8.0, 8.0), (10, 10, 10))
    on = patient_on_grid(with_boluses(patient, {6}), coarse)
    off = patient_on_grid(patient, coarse)
    assert off.boluses == ()
    assert mass_g(on) - mass_g(off) == pytest.approx(1.8 * (1.0 - AIR_DENSITY_G_CM3), rel=1e-4)
