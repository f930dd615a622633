"""Which plan, structures and CT of a study belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dosecalc.dicom.study import Study
from dosecalc.errors import DicomError
from dosecalc.patient.ct import CtImage
from dosecalc.patient.structures import StructureSet
from dosecalc.plan import Plan
from dosecalc.recompute.request import RecomputeRequest

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Case:
    """The objects of a study that belong together.

    Parameters
    ----------
    plan : Plan
    structures : StructureSet or None
    ct : CtImage or None
    notes : tuple of str
        How they were found, where that is not obvious.
    """

    plan: Plan
    structures: StructureSet | None
    ct: CtImage | None
    notes: tuple[str, ...] = ()


def choose_case(study: Study, request: RecomputeRequest) -> Case:
    """Find the plan, its structures and its CT in a study.

    Raises
    ------
    DicomError
        ``PLAN_MISSING``, ``PLAN_AMBIGUOUS``, ``STRUCTURE_SET_AMBIGUOUS``, ``CT_AMBIGUOUS``, ``…_UNKNOWN`` when the
        request names what the study does not hold, or the reader's own error when the object cannot be read.
    """
    notes: list[str] = []
    plan = _choose_plan(study, request.plan)
    structures = _choose_structures(study, plan, request.structure_set_uid, notes)
    ct = _choose_ct(study, plan, structures, request, notes)
    return Case(plan, structures, ct, tuple(notes))


def _choose_plan(study: Study, wanted: str) -> Plan:
    if wanted:
        hits = [p for p in study.plans if p.sop_instance_uid == wanted] or [p for p in study.plans if p.label == wanted]
        if not hits:
            raise_problem_of(study, wanted)
            raise DicomError("PLAN_UNKNOWN", f"No plan has this UID or label; {_labels(study)}.", field="plan")
    else:
        hits = list(study.plans)
        if not hits:
            raise_problem_of(study, "RTPLAN")
            raise DicomError(
                "PLAN_MISSING", "The study holds no RTPLAN (photon) that can be read; add one.", field="plan"
            )
    if len(hits) > 1:
        raise DicomError(
            "PLAN_AMBIGUOUS", f"Several plans qualify: choose one by UID or label; {_labels(study)}.", field="plan"
        )
    return hits[0]


def _labels(study: Study) -> str:
    labels = ", ".join(f"{p.label!r} ({p.sop_instance_uid})" for p in study.plans)
    return f"the study holds {labels}" if labels else "the study holds no plan that can be read"


def raise_problem_of(study: Study, kind: str) -> None:
    """Raise the reader's own error for an object of this kind, when that is why it is absent."""
    for problem in study.problems:
        if kind in (problem.where.get("modality"), problem.where.get("sop_instance_uid")):
            raise problem


def _choose_structures(study: Study, plan: Plan, wanted_uid: str, notes: list[str]) -> StructureSet | None:
    sets = study.structure_sets
    if wanted_uid:
        return _only_by_uid(sets, wanted_uid, lambda s: s.sop_instance_uid, "STRUCTURE_SET", "structure_set_uid")
    referenced = [s for s in sets if plan.structure_set_uid and s.sop_instance_uid == plan.structure_set_uid]
    if referenced:
        return referenced[0]
    same_frame = [
        s for s in sets if plan.frame_of_reference_uid and s.frame_of_reference_uid == plan.frame_of_reference_uid
    ]
    candidates = same_frame or list(sets)
    if len(candidates) > 1:
        raise DicomError(
            "STRUCTURE_SET_AMBIGUOUS",
            "The plan refers to no structure set of the study, and several qualify; name one by its UID.",
            field="structure_set_uid",
        )
    if not candidates:
        raise_problem_of(study, "RTSTRUCT")
        notes.append("There are no structures: no External, no overrides, no DVHs.")
        return None
    if plan.frame_of_reference_uid and not same_frame:
        raise DicomError(
            "FRAME_OF_REFERENCE",
            "The only structure set has another frame of reference than the plan; name it by its UID if it is meant.",
            field="structure_set_uid",
        )
    notes.append("The plan does not refer to the structure set that was used; it is the only one that fits.")
    return candidates[0]


def _choose_ct(
    study: Study, plan: Plan, structures: StructureSet | None, request: RecomputeRequest, notes: list[str]
) -> CtImage | None:
    if request.ct_series_uid:
        return _only_by_uid(study.cts, request.ct_series_uid, lambda c: c.series_uid, "CT", "ct_series_uid")
    frame = (structures.frame_of_reference_uid if structures else None) or plan.frame_of_reference_uid
    same_frame = [c for c in study.cts if frame is None or c.frame_of_reference_uid in (None, frame)]
    if len(same_frame) == 1:
        return same_frame[0]
    if len(same_frame) > 1:
        raise DicomError(
            "CT_AMBIGUOUS",
            f"{len(same_frame)} CT series lie in the frame of reference of the structures; name one by its series UID.",
            field="ct_series_uid",
        )
    if study.cts:
        notes.append("The CT of the study was not used: it lies in another frame of reference.")
    elif request.density_g_cm3:
        notes += [f"The CT was not used: {p.message}" for p in study.problems if p.where.get("modality") == "CT"]
    else:
        raise_problem_of(study, "CT")
    return None


def _only_by_uid(objects: tuple[T, ...], uid: str, uid_of: Callable[[T], str | None], what: str, option: str) -> T:
    hits = [o for o in objects if uid_of(o) == uid]
    if not hits:
        raise DicomError(f"{what}_UNKNOWN", "The study holds no such object that can be read.", field=option)
    return hits[0]
