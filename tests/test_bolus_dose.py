"""Dose with boluses and couches: as if they were painted in, for the beams that see them and for no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders_engine import bare_machine, field, plan_of
from builders_structures import box

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import PatientError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.build import build_patient
from dosecalc.patient.ct import CtImage
from dosecalc.patient.hu import load_curve
from dosecalc.patient.model import Patient
from dosecalc.patient.structures import Structure, StructureSet
from dosecalc.plan import Accessories, Beam, Bolus

GRID = Grid((-62.0, -62.0, -62.0), (4.0, 4.0, 4.0), (32, 32, 32))
BODY = box((-48, -40, -48), (48, 40, 48), step_mm=4, name="BODY", kind="EXTERNAL", number=1)
BOLUS = box((-24, -52, -24), (24, -40, 24), step_mm=4, name="Bolus", kind="BOLUS", number=6)
COUCH = box((-60, 44, -60), (60, 56, 60), step_mm=4, name="Couch", kind="SUPPORT", number=7)
DENSITIES = {"BODY": 1.0, "Bolus": 1.0}


def patient(*structures: Structure, **densities: float) -> Patient:
    ct = CtImage(Volume(GRID, np.full(GRID.shape, -1000.0, np.float32)), "HFS", "1.2.3", "1.2.4", "1.2.5")
    stated = {**DENSITIES, **densities}
    names = {s.name for s in (BODY, *structures)}
    chosen = {name: value for name, value in stated.items() if name in names}
    return build_patient(
        ct, StructureSet((BODY, *structures)), curve=load_curve("water-equivalent"), density_overrides=chosen
    )


def on_bolus(beam: Beam, number: int = 6) -> Beam:
    return replace(beam, accessories=Accessories(boluses=(Bolus(number, "B"),)))


def doses(who: Patient, *beams: Beam) -> list[np.ndarray]:
    result = compute_dose(who, plan_of(*beams), bare_machine(), DoseSettings(grid=GRID))
    return [b.dose_gy for b in result.beams]


AP = field(30.0, 30.0, isocentre=(0.0, 0.0, 0.0), number=1)
PA = field(30.0, 30.0, gantry=180.0, number=2)


def test_a_beam_on_bolus_gives_the_dose_of_the_slab_painted_into_the_patient() -> None:
    # the same slab as part of the body: an External that holds it
    painted = patient_of(replace(BODY, contours=(*BODY.contours, *BOLUS.contours)))
    (with_bolus,) = doses(patient(BOLUS), on_bolus(AP))
    (as_body,) = doses(painted, AP)
    np.testing.assert_allclose(with_bolus, as_body, rtol=1e-5, atol=1e-6 * as_body.max())  # float32 masks


def patient_of(external: Structure) -> Patient:
    ct = CtImage(Volume(GRID, np.full(GRID.shape, -1000.0, np.float32)), "HFS", "1.2.3", "1.2.4", "1.2.5")
    return build_patient(
        ct, StructureSet((external,)), curve=load_curve("water-equivalent"), density_overrides={"BODY": 1.0}
    )


def test_beams_without_the_bolus_are_untouched_to_the_last_bit() -> None:
    plain = doses(patient(), AP, PA)
    mixed = doses(patient(BOLUS), on_bolus(AP), PA)
    np.testing.assert_array_equal(mixed[1], plain[1])
    assert not np.array_equal(mixed[0], plain[0])
    # 12 mm of water bring the build-up into the bolus: the skin gets more, 8 cm down there is less
    skin, deep = (16, 6, 16), (16, 24, 16)
    assert mixed[0][skin] > 1.1 * plain[0][skin]
    assert mixed[0][deep] < 0.97 * plain[0][deep]


def test_the_order_of_beams_stays_that_of_the_plan() -> None:
    who = patient(BOLUS)
    one, two, three = on_bolus(AP), PA, on_bolus(replace(AP, number=3, name="B3"))
    result = compute_dose(who, plan_of(one, two, three), bare_machine(), DoseSettings(grid=GRID))
    assert [b.number for b in result.beams] == [1, 2, 3]
    np.testing.assert_array_equal(result.beams[0].dose_gy, result.beams[2].dose_gy)


def test_a_bolus_that_no_beam_uses_is_said_to_be_left_out() -> None:
    result = compute_dose(patient(BOLUS), plan_of(AP), bare_machine(), DoseSettings(grid=GRID))
    assert any("Bolus" in warning and "left out" in warning for warning in result.warnings)
    np.testing.assert_array_equal(result.beams[0].dose_gy, doses(patient(), AP)[0])


def test_progress_never_falls_when_densities_change_between_beams() -> None:
    seen: list[float] = []
    compute_dose(
        patient(BOLUS), plan_of(on_bolus(AP), PA), bare_machine(), DoseSettings(grid=GRID),
        progress=lambda p: seen.append(p.fraction),
    )  # fmt: skip
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(("reason", "who", "number"), [("BOLUS_UNKNOWN", (), 6), ("BOLUS_UNKNOWN", (BOLUS,), 8)])
def test_a_bolus_that_is_not_there_is_an_error_that_names_the_beam(reason: str, who: tuple, number: int) -> None:
    with pytest.raises(PatientError) as caught:
        compute_dose(patient(*who), plan_of(PA, on_bolus(AP, number)), bare_machine(), DoseSettings(grid=GRID))
    assert caught.value.reason == reason
    assert caught.value.where["beam"] == "1 (B1)"


def test_a_couch_weakens_the_beams_that_pass_it_and_no_other() -> None:
    plain = doses(patient(), AP, PA)
    couched = doses(patient(COUCH, Couch=0.5), AP, PA)
    middle = (16, 16, 16)
    # 12 mm of 0.5 g/cm3 water: 0.6 g/cm2, about 0.05 cm2/g at 6 MV with scatter; the exit side sees back scatter alone
    assert couched[1][middle] / plain[1][middle] == pytest.approx(np.exp(-0.05 * 0.6), abs=0.01)
    assert couched[0][middle] / plain[0][middle] == pytest.approx(1.0, abs=2e-3)
