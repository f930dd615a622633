"""A study's objects are matched by what they refer to, and what is unclear or does not fit is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import builders_dicom as build
import builders_rtplan as plans
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dosecalc.dicom.errors import CtError, DicomError, RtPlanError, StudyError
from dosecalc.dicom.study import Study, load_study

REFERENCE = os.environ.get("DOSECALC_REFERENCE")
needs_reference = pytest.mark.skipif(REFERENCE is None, reason="DOSECALC_REFERENCE is not set")

OTHER_FRAME = build.uid(31)


def ct(**options: object) -> list[Dataset]:
    return list(build.make_ct(np.zeros((4, 5, 6)), **options))  # type: ignore[arg-type]


def structures(**options: object) -> Dataset:
    return build.make_rtstruct([build.square(z) for z in (0.0, 3.0, 6.0)], **options)  # type: ignore[arg-type]


def plan(**options: object) -> Dataset:
    return plans.make_rtplan([plans.static_beam()], **({"structure_set": build.uid(80, 1)} | options))  # type: ignore[arg-type]


def load(folder: Path, *objects: Dataset | list[Dataset]) -> Study:
    flat = [ds for one in objects for ds in (one if isinstance(one, list) else [one])]
    before = len(list(folder.glob("*")))  # a second load adds to the folder
    for k, ds in enumerate(flat, before):
        build.save(ds, folder / f"{k:03d}.dcm")
    return load_study(folder)


def test_everything_of_a_study_is_found_and_matched(tmp_path: Path) -> None:
    study = load(tmp_path, plan(), structures(), ct(), build.make_rtdose(np.ones((2, 3, 4), np.uint16)))
    assert (len(study.cts), len(study.structure_sets), len(study.plans), len(study.doses)) == (1, 1, 1, 1)
    assert study.problems == () and study.skipped == ()
    case = study.select()
    assert case.plan is study.plans[0] and case.structures is study.structure_sets[0] and case.ct is study.cts[0]
    assert case.notes == () and case.ct_problem is None
    assert case.references.plan_uid == case.plan.sop_instance_uid
    assert case.references.structure_set_uid == build.uid(80, 1)
    assert case.references.frame_of_reference_uid == build.FRAME


def test_a_bad_plan_does_not_hide_the_rest(tmp_path: Path) -> None:
    bad = plan(number=2)
    bad.BeamSequence[0].ControlPointSequence = []
    study = load(tmp_path, bad, plan(), structures(), ct())
    (problem,) = study.problems
    assert isinstance(problem, RtPlanError)
    assert problem.where["modality"] == "RTPLAN" and problem.where["sop_instance_uid"] == build.uid(60, 2)
    assert problem.where["file"] == "000.dcm"
    assert study.select().plan.sop_instance_uid == build.uid(60, 1)
    with pytest.raises(RtPlanError):  # asked for by its UID, the plan's own error is what matters
        study.select(build.uid(60, 2))


def test_no_plan_raises_what_kept_it_from_being_read(tmp_path: Path) -> None:
    bad = plan()
    bad.BeamSequence[0].ControlPointSequence = []
    with pytest.raises(RtPlanError):
        load(tmp_path, bad).select()
    with pytest.raises(StudyError, match="PLAN_MISSING") as nothing:
        Study().select()
    assert "Nothing of the input" in nothing.value.message
    with pytest.raises(StudyError, match="PLAN_MISSING") as no_plan:
        load(tmp_path / "images", ct(), structures()).select()
    assert "1 CT series, 1 RTSTRUCT" in no_plan.value.message


def test_several_plans_need_a_choice(tmp_path: Path) -> None:
    study = load(tmp_path, plan(label="first"), plan(label="second", number=2), structures(), ct())
    with pytest.raises(StudyError) as error:
        study.select()
    assert error.value.reason == "PLAN_AMBIGUOUS"
    assert "'first'" in error.value.message and build.uid(60, 2) in error.value.message
    assert study.select(build.uid(60, 2)).plan.label == "second"
    assert study.select("first").plan.label == "first"
    with pytest.raises(StudyError, match="PLAN_UNKNOWN"):
        study.select("third")


def test_two_objects_of_one_uid_are_both_kept_and_noted(tmp_path: Path) -> None:
    study = load(tmp_path, plan(label="a"), plan(label="b"), structures(), ct())
    assert len(study.plans) == 2 and "000.dcm" in study.notes[0]
    with pytest.raises(StudyError, match="PLAN_AMBIGUOUS"):
        study.select(build.uid(60, 1))


def test_structures_by_frame_when_the_plan_refers_to_none(tmp_path: Path) -> None:
    study = load(
        tmp_path, plan(structure_set=None), structures(frame=OTHER_FRAME, number=1), structures(number=2), ct()
    )
    case = study.select()
    assert case.structures is not None and case.structures.sop_instance_uid == build.uid(80, 2)
    assert "does not refer" in case.notes[0]


def test_plan_without_frame_takes_the_only_structure_set_and_its_frame(tmp_path: Path) -> None:
    lost = plan(structure_set=None)
    del lost.FrameOfReferenceUID
    study = load(tmp_path, lost, structures(), ct())
    case = study.select()
    assert case.structures is study.structure_sets[0] and case.ct is study.cts[0]
    assert case.references.frame_of_reference_uid == build.FRAME
    several = load(tmp_path, structures(number=2))
    with pytest.raises(StudyError, match="STRUCTURE_SET_AMBIGUOUS"):
        several.select()
    assert several.select(structure_set_uid=build.uid(80, 2)).structures is not None


def test_structures_in_another_frame_are_refused_when_referred_to_and_left_out_when_not(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="FRAME_OF_REFERENCE"):
        load(tmp_path / "a", plan(), structures(frame=OTHER_FRAME), ct()).select()
    case = load(tmp_path / "b", plan(structure_set=None), structures(frame=OTHER_FRAME), ct()).select()
    assert case.structures is None and "another frame" in case.notes[0]


def test_ct_in_another_frame_is_not_used_and_the_reason_kept(tmp_path: Path) -> None:
    study = load(tmp_path, plan(), structures(), ct(frame=OTHER_FRAME))
    case = study.select()
    assert case.ct is None
    assert case.ct_problem is not None and case.ct_problem.reason == "FRAME_OF_REFERENCE"
    with pytest.raises(StudyError, match="FRAME_OF_REFERENCE"):
        study.select(ct_series_uid=build.CT_SERIES)


def test_of_several_cts_the_one_that_the_structures_were_drawn_on(tmp_path: Path) -> None:
    second = build.uid(22)
    study = load(tmp_path / "a", plan(), structures(series=second), ct(), ct(series=second))
    chosen = study.select().ct
    assert chosen is not None and chosen.series_uid == second
    unclear = load(tmp_path / "b", plan(), structures(series=None), ct(), ct(series=second))
    with pytest.raises(StudyError, match="CT_AMBIGUOUS"):
        unclear.select()
    named = unclear.select(ct_series_uid=build.CT_SERIES).ct
    assert named is not None and named.series_uid == build.CT_SERIES


def test_one_slice_is_no_ct_and_says_so(tmp_path: Path) -> None:
    case = load(tmp_path, plan(), structures(), ct()[:1]).select()
    assert case.ct is None
    assert isinstance(case.ct_problem, CtError) and case.ct_problem.reason == "CT_SINGLE_SLICE"


def test_different_patients_are_noted_without_their_names(tmp_path: Path) -> None:
    other = structures()
    other.PatientID, other.PatientName = "SECRET-2", "Hemlig^Person"
    case = load(tmp_path, plan(), other, ct()).select()
    assert len(case.notes) == 1 and "same patient" in case.notes[0]
    assert "SECRET" not in repr(case) and "Hemlig" not in repr(case)


def test_study_shows_no_patient(tmp_path: Path) -> None:
    shown = repr(load(tmp_path, plan(), structures(), ct()))
    assert "Phantom" not in shown and "TEST-1" not in shown


# ---- real studies


@needs_reference
@pytest.mark.parametrize(
    ("name", "counts", "ct_reason"),
    [
        ("head-vmat", (1, 1, 1, 0), None),
        ("breast-sliding-window", (0, 1, 1, 1), "CT_SINGLE_SLICE"),
        ("brain-imrt", (0, 1, 1, 1), None),
        ("lung-imrt", (0, 1, 1, 1), None),
    ],
)
def test_reference_studies(name: str, counts: tuple[int, ...], ct_reason: str | None) -> None:
    assert REFERENCE is not None
    study = load_study(Path(REFERENCE) / "dicom" / f"{name}.zip")
    assert (len(study.cts), len(study.structure_sets), len(study.plans), len(study.doses)) == counts
    case = study.select()
    assert case.structures is not None
    assert (case.ct is not None) == (counts[0] == 1)
    assert (case.ct_problem.reason if case.ct_problem else None) == ct_reason
    assert case.references.frame_of_reference_uid == case.structures.frame_of_reference_uid


@needs_reference
@pytest.mark.parametrize(("name", "n_plans"), [("plans-only", 33), ("plans-more", 8)])
def test_every_reference_plan_is_read_or_a_problem(name: str, n_plans: int) -> None:
    assert REFERENCE is not None
    study = load_study(Path(REFERENCE) / "dicom" / f"{name}.zip")
    assert len(study.plans) + len(study.problems) == n_plans
    assert all(isinstance(p, DicomError) and p.reason != "READER_FAILED" for p in study.problems)
    assert all("not DICOM" in s.reason for s in study.skipped)
