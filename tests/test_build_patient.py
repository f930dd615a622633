"""The patient's density and material, in mass and voxel by voxel, from CT, structures and both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders_structures import box, circle, prism

from dosecalc.errors import PatientError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.build import build_patient
from dosecalc.patient.ct import CtImage
from dosecalc.patient.hu import load_curve
from dosecalc.patient.materials import AIR, AIR_DENSITY_G_CM3
from dosecalc.patient.model import Patient
from dosecalc.patient.structures import Structure, StructureSet

FLOAT32 = 2e-6  # sums of float32 voxels
GRID = Grid((-39.5, -39.5, -39.5), (1.0, 1.0, 1.0), (80, 80, 80))
WATER = load_curve("water-equivalent")
BODY = box((-30, -30, -30), (30, 30, 30), step_mm=2, name="BODY", kind="EXTERNAL", number=1)


def _ct(hu: float | np.ndarray, grid: Grid = GRID) -> CtImage:
    return CtImage(Volume(grid, np.broadcast_to(np.float32(hu), grid.shape)), "FFP", "1.2.3", "1.2.4", "1.2.5")


def _mass_g(patient: Patient) -> float:
    return float(patient.density.values.sum(dtype=np.float64)) * patient.density.grid.voxel_volume_cm3


def _mass_of(volume_cm3: float, density: float, grid: Grid = GRID) -> float:
    """A body in a grid full of air."""
    return volume_cm3 * density + (grid.size * grid.voxel_volume_cm3 - volume_cm3) * AIR_DENSITY_G_CM3


def _at(patient: Patient, x: float, y: float, z: float) -> tuple[float, str]:
    grid = patient.density.grid
    k, j, i = (int(np.argmin(np.abs(c - v))) for c, v in ((grid.z_mm, z), (grid.y_mm, y), (grid.x_mm, x)))
    return float(patient.density.values[k, j, i]), patient.materials[int(patient.material[k, j, i])]


def _noted(patient: Patient, *words: str) -> bool:
    return any(all(w in note for w in words) for note in patient.notes)


def test_outside_the_external_is_air() -> None:
    patient = build_patient(_ct(50.0), StructureSet((BODY,)), curve=WATER)
    assert _mass_g(patient) == pytest.approx(_mass_of(216.0, 1.05), rel=FLOAT32)
    assert _at(patient, 0, 0, 0) == (pytest.approx(1.05), "water")
    assert _at(patient, 35, 0, 0) == (pytest.approx(AIR_DENSITY_G_CM3), AIR)
    assert _noted(patient, "'BODY'", "air")
    assert _noted(patient, "generic")
    assert patient.patient_position == "FFP"
    assert patient.frame_of_reference_uid == "1.2.3" and patient.study_uid == "1.2.5"
    assert "water-equivalent" in patient.density_source and WATER.sha256[:12] in patient.density_source


def test_a_water_phantom_keeps_its_mass_where_the_external_cuts_voxels() -> None:
    # the CT shows water beyond the External too: all of that is cut off, at any angle to the voxels
    body = prism(circle(25.3, (0.37, -1.21)), np.arange(-20.2, 20, 1.7), name="BODY", kind="EXTERNAL")
    patient = build_patient(_ct(0.0), StructureSet((body,)), curve=WATER)
    volume = np.pi * 25.3**2 * len(body.contours) * 1.7 / 1000
    assert _mass_g(patient) == pytest.approx(_mass_of(volume, 1.0), rel=FLOAT32)


def test_a_skin_that_the_scanner_blended_is_not_thinned_twice() -> None:
    """Water box whose sides fall in the middle of voxels: the image holds the mass, and so does the patient."""
    body = box((-20.3, -20.3, -20), (20.3, 20.3, 20), step_mm=2, name="BODY", kind="EXTERNAL")
    along = np.clip(20.8 - np.abs(GRID.x_mm), 0, 1)  # share of each voxel inside, along one axis
    share = np.where(np.abs(GRID.z_mm) < 20, 1.0, 0.0)[:, None, None] * along[:, None] * along
    density = share + (1 - share) * AIR_DENSITY_G_CM3
    patient = build_patient(_ct((density - 1) * 1000), StructureSet((body,)), curve=WATER)
    # the curve is not a straight line below -998 HU, and float32 HU are good to 6e-8 of 1000
    np.testing.assert_allclose(patient.density.values, density, atol=2e-5)


def test_a_head_rest_that_touches_the_skin_adds_nothing() -> None:
    body = box((-20.5, -20.5, -20), (20.5, 20.5, 20), step_mm=2, name="BODY", kind="EXTERNAL")
    patient = build_patient(
        _ct(np.where(np.abs(GRID.y_mm)[:, None] < 20, 0.0, 1500.0)), StructureSet((body,)), curve=WATER
    )
    # the voxel on the skin is half water, half air, whatever the image shows
    assert _at(patient, 0, 20.5, 0)[0] == pytest.approx(0.5 * (1 + AIR_DENSITY_G_CM3), rel=1e-3)
    assert _at(patient, 0, 25, 0) == (pytest.approx(AIR_DENSITY_G_CM3), AIR)


def test_without_an_external_the_whole_ct_is_the_patient() -> None:
    for structures in (None, StructureSet(())):
        patient = build_patient(_ct(100.0), structures, curve=WATER)
        assert _mass_g(patient) == pytest.approx(GRID.size / 1000 * 1.1, rel=FLOAT32)
        assert _noted(patient, "no External")


def test_no_curve_means_the_generic_one_and_says_so() -> None:
    patient = build_patient(_ct(42.6), StructureSet((BODY,)))
    assert _at(patient, 0, 0, 0) == (pytest.approx(1.05), "muscle_skeletal_icru44")
    assert _noted(patient, "generic-120kvp")


def test_overrides_blend_by_volume_and_keep_mass() -> None:
    lung = box((-10.25, -10, -10), (10.25, 10, 10), step_mm=2, name="Lunga", number=2)
    patient = build_patient(_ct(0.0), StructureSet((BODY, lung)), curve=WATER, density_overrides={"Lunga": 0.26})
    volume = 2.05 * 2 * 2
    assert _mass_g(patient) == pytest.approx(_mass_of(216.0, 1.0) - volume * 0.74, rel=FLOAT32)
    assert _at(patient, 10.4, 0, 0)[0] == pytest.approx(0.75 + 0.25 * 0.26)
    assert _noted(patient, "'Lunga'", "0.26", "request")
    assert "stated densities" in patient.density_source


def test_later_in_the_list_wins_and_the_external_lies_under_all() -> None:
    outer = box((-20, -20, -20), (20, 20, 20), step_mm=2, name="Outer", number=2)
    inner = box((-10, -10, -10), (10, 10, 10), step_mm=2, name="Inner", number=3)
    structures = StructureSet((BODY, outer, inner))
    patient = build_patient(None, structures, density_overrides={"Outer": 0.5, "Inner": 1.5, "BODY": 1.0})
    assert [_at(patient, x, 0, 0)[0] for x in (0, 15, 25)] == pytest.approx([1.5, 0.5, 1.0])
    patient = build_patient(None, structures, density_overrides={"Inner": 1.5, "Outer": 0.5, "BODY": 1.0})
    assert [_at(patient, x, 0, 0)[0] for x in (0, 15, 25)] == pytest.approx([0.5, 0.5, 1.0])


def test_the_structure_set_overrides_the_ct_and_the_caller_the_structure_set() -> None:
    insert = box((-10, -10, -10), (10, 10, 10), step_mm=2, name="Insert", physical={"REL_MASS_DENSITY": 1.2}, number=2)
    structures = StructureSet((BODY, insert))
    assert _at(build_patient(_ct(0.0), structures, curve=WATER), 0, 0, 0)[0] == pytest.approx(1.2)
    patient = build_patient(_ct(0.0), structures, curve=WATER, density_overrides={"Insert": 1.3})
    assert _at(patient, 0, 0, 0)[0] == pytest.approx(1.3)


def test_the_heavier_part_names_the_material() -> None:
    steel = box((-10, -10, -10), (0, 10, 10), step_mm=2, name="Hip", number=2)
    body = box((-30, -30, -30), (29.1, 30, 30), step_mm=2, name="BODY", kind="EXTERNAL", number=1)
    half = replace(GRID, origin_mm=(-40.0, -40.0, -40.0))  # the planes x = 0 and x = 29 lie in voxel centres
    patient = build_patient(_ct(0.0, half), StructureSet((body, steel)), curve=WATER, density_overrides={"Hip": 7.9})
    assert _at(patient, 0, 0, 0) == (pytest.approx(0.5 * 8.9), "stainless_steel_316")
    # 0.6 of water against 0.4 of air
    assert _at(patient, 29, 0, 0) == (pytest.approx(0.6 + 0.4 * AIR_DENSITY_G_CM3), "water")


def test_structures_that_touch_within_a_voxel_leave_nothing_between_them() -> None:
    left = box((-10, -10, -10), (0.3, 10, 10), step_mm=2, name="Left", number=2)
    right = box((0.3, -10, -10), (10, 10, 10), step_mm=2, name="Right", number=3)
    densities = {"Left": 0.5, "Right": 1.5, "BODY": 1.0}
    patient = build_patient(None, StructureSet((BODY, left, right)), density_overrides=densities)
    mass = 216.0 + 2 * 2 * (1.03 * (0.5 - 1) + 0.97 * (1.5 - 1))
    volume = patient.density.grid.size * patient.density.grid.voxel_volume_cm3
    assert _mass_g(patient) == pytest.approx(mass + (volume - 216) * AIR_DENSITY_G_CM3, rel=FLOAT32)


def test_metal_beyond_the_curve_needs_a_density() -> None:
    hu = np.zeros(GRID.shape, dtype=np.float32)
    hu[38:42, 38:42, 38:42] = 9000.0
    with pytest.raises(PatientError) as caught:
        build_patient(_ct(hu), StructureSet((BODY,)))
    assert caught.value.reason == "HU_ABOVE_CURVE"
    assert "9000" in caught.value.message and "voxel" in caught.value.where
    screw = box((-3, -3, -3), (3, 3, 3), name="Skruv", number=2)
    patient = build_patient(_ct(hu), StructureSet((BODY, screw)), density_overrides={"Skruv": 4.5})
    assert _at(patient, 0, 0, 0) == (pytest.approx(4.5), "titanium")
    # metal outside the patient does no harm
    outside = np.zeros(GRID.shape, dtype=np.float32)
    outside[:, 2:5, :] = 9000.0
    assert build_patient(_ct(outside), StructureSet((BODY,))).density.values.max() == pytest.approx(1.0)


def test_very_dense_voxels_are_noted() -> None:
    hu = np.zeros(GRID.shape, dtype=np.float32)
    hu[38:48, 38:48, 38:48] = 2500.0
    assert _noted(build_patient(_ct(hu), StructureSet((BODY,))), "1.00 cm3", "metal")


def test_density_without_a_ct_only_when_it_is_stated() -> None:
    for structures in (StructureSet((BODY,)), None, StructureSet(())):
        with pytest.raises(PatientError) as caught:
            build_patient(None, structures)
        assert caught.value.reason == "NO_DENSITY"
        assert "--density" in caught.value.message
    lung = box((-10, -10, -10), (10, 10, 10), name="Lunga", number=2)
    with pytest.raises(PatientError) as caught:
        build_patient(None, StructureSet((BODY, lung)), density_overrides={"Lunga": 0.26})
    assert caught.value.reason == "NO_DENSITY" and "BODY" in caught.value.message


def test_bulk_density_fills_the_external() -> None:
    structures = StructureSet((BODY,), frame_of_reference_uid="1.2.9")
    patient = build_patient(None, structures, density_overrides={"BODY": 1.02}, patient_position="HFS")
    assert patient.density.grid.spacing_mm == (2.5, 2.5, 2.5)
    assert patient.density.values.min() == pytest.approx(1.02)
    assert _mass_g(patient) == pytest.approx(216 * 1.02, rel=FLOAT32)
    assert patient.density_source == "bulk" and patient.patient_position == "HFS"
    assert patient.frame_of_reference_uid == "1.2.9"


def test_bulk_density_from_the_structure_set_alone() -> None:
    body = replace(BODY, physical={"REL_MASS_DENSITY": 1.02, "REL_ELEC_DENSITY": 0.99})
    patient = build_patient(None, StructureSet((body,)), bulk_spacing_mm=(4.0, 3.0, 7.0))
    volume = patient.density.grid.size * patient.density.grid.voxel_volume_cm3
    assert _mass_g(patient) == pytest.approx(216 * 1.02 + (volume - 216) * AIR_DENSITY_G_CM3, rel=FLOAT32)


def test_without_an_external_the_listed_structures_are_the_patient() -> None:
    phantom = box((-10, -10, -10), (10, 10, 10), name="Fantom")
    patient = build_patient(None, StructureSet((phantom,)), density_overrides={"Fantom": 1.19})
    assert _mass_g(patient) == pytest.approx(8 * 1.19, rel=FLOAT32)
    assert _noted(patient, "no External")


def test_an_absurd_extent_is_refused_before_memory_is() -> None:
    huge = box((-9e3, -9e3, -9e3), (9e3, 9e3, 9e3), step_mm=1000, name="BODY", kind="EXTERNAL")
    with pytest.raises(PatientError) as caught:
        build_patient(None, StructureSet((huge,)), density_overrides={"BODY": 1.0})
    assert caught.value.reason == "BULK_GRID_TOO_LARGE"


def test_a_ct_that_misses_the_patient_is_refused_or_replaced() -> None:
    short = replace(GRID, shape=(20, 80, 80))
    with pytest.raises(PatientError) as caught:
        build_patient(_ct(0.0, short), StructureSet((BODY,)))
    assert caught.value.reason == "CT_TOO_SMALL" and "BODY" in caught.value.message
    patient = build_patient(_ct(0.0, short), StructureSet((BODY,)), density_overrides={"BODY": 1.0})
    assert patient.density_source == "bulk" and _noted(patient, "CT", "not used")
    almost = replace(GRID, origin_mm=(-39.5, -39.5, -40), shape=(70, 80, 80))  # the last 0.5 mm of 60 are missing
    assert _noted(build_patient(_ct(0.0, almost), StructureSet((BODY,))), "0.83 %", "beyond the CT")


def test_structures_of_another_image_are_refused() -> None:
    with pytest.raises(PatientError) as caught:
        build_patient(_ct(0.0), StructureSet((BODY,), frame_of_reference_uid="9.9"))
    assert caught.value.reason == "FRAME_OF_REFERENCE_MISMATCH"


def _couch(**more: object) -> Structure:
    couch = box((-35, 30, -35), (35, 34.5, 35), step_mm=2, name="Brits", kind="SUPPORT", number=5)
    return replace(couch, **more)  # type: ignore[arg-type]


#: water where the body is, air around
AIR_AROUND = np.where(np.abs(GRID.y_mm)[:, None] < 30, 0.0, -1000.0)


def test_a_couch_that_the_ct_does_not_show_needs_a_density_or_is_left_out_on_request() -> None:
    with pytest.raises(PatientError) as caught:
        build_patient(_ct(AIR_AROUND), StructureSet((BODY, _couch())), curve=WATER)
    assert caught.value.reason == "COUCH_WITHOUT_DENSITY" and "Brits" in caught.value.message
    with pytest.raises(PatientError) as without:
        build_patient(None, StructureSet((BODY, _couch())), density_overrides={"BODY": 1.0})
    assert without.value.reason == "COUCH_WITHOUT_DENSITY"
    patient = build_patient(_ct(0.0), StructureSet((BODY, _couch())), curve=WATER, density_overrides={"Brits": 0.0})
    assert _mass_g(patient) == pytest.approx(_mass_of(216.0, 1.0), rel=FLOAT32)
    assert _noted(patient, "Brits", "air")


def test_a_couch_in_the_ct_keeps_its_density() -> None:
    # a shell of 500 HU about foam, as the CT shows it: 4.5 mm high between 30 and 34.5
    hu = np.where(np.abs(GRID.y_mm)[:, None] < 30, 0.0, -1000.0) + np.zeros(GRID.shape)
    hu[:, (GRID.y_mm > 30) & (GRID.y_mm < 35), :] = -880.0
    hu[:, np.argmin(np.abs(GRID.y_mm - 30.5)), :] = 500.0
    patient = build_patient(_ct(hu), StructureSet((BODY, _couch())), curve=WATER)
    assert _at(patient, 0, 30.5, 0)[0] == pytest.approx(1.5)
    assert _at(patient, 0, 32.5, 0)[0] == pytest.approx(0.12)
    # half of the last voxel is couch, half air
    assert _at(patient, 0, 34.5, 0)[0] == pytest.approx((0.12 + AIR_DENSITY_G_CM3) / 2)
    assert _at(patient, 37, 32.5, 0)[0] == pytest.approx(AIR_DENSITY_G_CM3)  # beside it
    assert _noted(patient, "Brits", "density of the CT")


def test_a_couch_with_a_density_is_part_of_the_patient() -> None:
    couch = _couch(physical={"REL_MASS_DENSITY": 0.4})
    patient = build_patient(_ct(0.0), StructureSet((BODY, couch)), curve=WATER)
    couch_cm3 = 7 * 0.45 * 7
    expected = _mass_of(216.0, 1.0) + couch_cm3 * (0.4 - AIR_DENSITY_G_CM3)
    assert _mass_g(patient) == pytest.approx(expected, rel=FLOAT32)
    bulk = build_patient(None, StructureSet((BODY, couch)), density_overrides={"BODY": 1.0})
    grid = bulk.density.grid  # on this one, body and couch share voxels
    expected = _mass_of(216.0, 1.0, grid) + couch_cm3 * (0.4 - AIR_DENSITY_G_CM3)
    assert _mass_g(bulk) == pytest.approx(expected, rel=FLOAT32)


def test_a_couch_never_displaces_the_patient() -> None:
    deep = box((-35, 0, -35), (35, 39, 35), step_mm=2, name="Brits", kind="SUPPORT", physical={"REL_MASS_DENSITY": 0.4})
    patient = build_patient(_ct(0.0), StructureSet((BODY, deep)), curve=WATER)
    assert _at(patient, 0, 10, 0)[0] == pytest.approx(1.0)
    assert _at(patient, 0, 35, 0)[0] == pytest.approx(0.4)


def test_a_couch_beyond_the_ct_is_noted() -> None:
    wide = box(
        (-80, 30, -35), (80, 34, 35), step_mm=2, name="Brits", kind="SUPPORT", physical={"REL_MASS_DENSITY": 0.4}
    )
    assert _noted(build_patient(_ct(0.0), StructureSet((BODY, wide)), curve=WATER), "50.0 %", "Brits")


def test_the_same_input_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    ct = _ct(rng.uniform(-1000, 2000, GRID.shape).astype(np.float32))
    lung = prism(circle(13.3), np.arange(-20, 20, 3.0), name="Lunga", number=2)
    twice = [build_patient(ct, StructureSet((BODY, lung)), density_overrides={"Lunga": 0.3}) for _ in range(2)]
    np.testing.assert_array_equal(twice[0].density.values, twice[1].density.values)
    np.testing.assert_array_equal(twice[0].material, twice[1].material)
