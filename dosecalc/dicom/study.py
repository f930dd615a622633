"""A folder or archive of DICOM files as CTs, structure sets, plans and doses, and which of them belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from dosecalc.dicom import values
from dosecalc.dicom.ct import is_localizer, read_ct, series_uid
from dosecalc.dicom.errors import CtError, DicomError, RtDoseError, RtPlanError, RtStructError, StudyError
from dosecalc.dicom.references import DoseReferences, ReferencedPatient
from dosecalc.dicom.rtdose import RtDose, read_rtdose
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.dicom.scan import DicomFile, ScanLimits, SkippedFile, scan
from dosecalc.errors import DosecalcError
from dosecalc.patient.ct import CtImage
from dosecalc.patient.structures import StructureSet
from dosecalc.plan import Plan

_T = TypeVar("_T")
#: that a message names; an archive may hold a hundred plans
_MOST_CHOICES = 12
#: how an object is chosen, and the option of the command line and field of a request that do it
_NAMED_BY = {"PLAN": "UID or label", "STRUCTURE_SET": "UID", "CT": "UID"}
_OPTIONS = {
    "PLAN": "--plan, or plan in the request",
    "STRUCTURE_SET": "--structure-set, or structure_set_uid in the request",
    "CT": "--ct-series, or ct_series_uid in the request",
}
_ERRORS: dict[str, type[DicomError]] = {
    "CT": CtError,
    "RTSTRUCT": RtStructError,
    "RTPLAN": RtPlanError,
    "RTDOSE": RtDoseError,
}


@dataclass(frozen=True, eq=False)
class Case:
    """The objects of a study that belong to one plan.

    Parameters
    ----------
    plan : Plan
    structures : StructureSet or None
    ct : CtImage or None
    references : DoseReferences
        For the doses of this plan that are written.
    ct_problem : DicomError or None
        Why there is no CT although the study holds images; to be raised when density cannot come from structures.
    notes : tuple of str
        How the objects were matched, where that is not obvious.
    """

    plan: Plan
    structures: StructureSet | None
    ct: CtImage | None
    references: DoseReferences
    ct_problem: DicomError | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """What a folder or archive holds.

    Parameters
    ----------
    cts, structure_sets, plans, doses : tuples
        Everything that could be read, in the order of the file names.
    skipped : tuple of SkippedFile
        Files that are not DICOM or of a kind that is not used, with the reason.
    problems : tuple of DicomError
        Objects that could not be read. ``where`` gives the file, and where known ``modality`` and
        ``sop_instance_uid``.
    dose_references : mapping of plan UID to DoseReferences
    referenced_series : mapping of structure set UID to CT series UIDs
        The images that the structures were drawn on.
    patients : mapping of UID (plan, structure set, CT series) to ReferencedPatient
    notes : tuple of str
        What is odd about the files as a whole.
    """

    cts: tuple[CtImage, ...] = ()
    structure_sets: tuple[StructureSet, ...] = ()
    plans: tuple[Plan, ...] = ()
    doses: tuple[RtDose, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    problems: tuple[DicomError, ...] = ()
    dose_references: Mapping[str, DoseReferences] = field(default_factory=dict, repr=False)
    referenced_series: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    patients: Mapping[str, ReferencedPatient] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def references(
        self, plan: Plan, structures: StructureSet | None = None, ct: CtImage | None = None
    ) -> DoseReferences:
        """What a dose of this plan refers to.

        A plan without frame of reference takes that of the structures, or of the CT.

        Raises
        ------
        StudyError
            ``PLAN_UNKNOWN`` when the plan is not of this study.
        """
        found = self.dose_references.get(plan.sop_instance_uid or "")
        if found is None:
            raise StudyError("PLAN_UNKNOWN", "The plan is not one of this study's.", plan=plan.sop_instance_uid)
        frames = [
            found.frame_of_reference_uid,
            structures.frame_of_reference_uid if structures else None,
            ct.frame_of_reference_uid if ct else None,
        ]
        return replace(
            found,
            frame_of_reference_uid=next((f for f in frames if f), ""),
            structure_set_uid=structures.sop_instance_uid if structures else found.structure_set_uid,
        )

    def select(
        self, plan_uid: str | None = None, structure_set_uid: str | None = None, ct_series_uid: str | None = None
    ) -> Case:
        """The plan with its structures and CT.

        The structure set is the one that the plan refers to, or else the only one in the plan's frame of reference, or,
        for a plan without a frame, the only one. The CT is the series that the structures refer to, or else the only
        one in that frame. An object that is named by UID is taken.

        Parameters
        ----------
        plan_uid : str, optional
            SOP Instance UID, or the label, of the plan; needed when there are several.
        structure_set_uid, ct_series_uid : str, optional

        Raises
        ------
        StudyError
            ``PLAN_MISSING``, ``PLAN_UNKNOWN``, ``PLAN_AMBIGUOUS`` and the same for ``STRUCTURE_SET_…`` and ``CT_…``,
            naming the choices; ``FRAME_OF_REFERENCE`` when objects that refer to each other, or that were named, do not
            share a frame.
        DicomError
            The reader's own error, when that is why the object is absent.
        """
        return _Selection(self).case(plan_uid, structure_set_uid, ct_series_uid)

    def raise_problem(self, modality: str) -> None:
        """Raise the first error that kept an object of this modality from being read, if there is one."""
        for problem in self.problems:
            if problem.where.get("modality") == modality:
                raise problem


def load_study(source: Path | str | Sequence[Path | str], limits: ScanLimits | None = None) -> Study:
    """Read every CT series, structure set, plan and dose of a folder, a zip archive, a file, or a list of these.

    An object that cannot be read does not hide the others; it is among the problems.

    Raises
    ------
    ScanError
        ``PATH_MISSING``, ``ZIP_DAMAGED``, ``SCAN_TOO_LARGE``.
    """
    found = scan(source, limits)
    loader = _Loader(list(found.skipped), list(found.problems))
    for file in found.found:
        loader.sort_in(file)
    loader.read_series()
    return loader.study()


class _Loader:
    """Reads the found objects one by one and keeps what went wrong."""

    def __init__(self, skipped: list[SkippedFile], problems: list[DicomError]) -> None:
        self.skipped = skipped
        self.problems = problems
        self.series: dict[str, list[DicomFile]] = {}
        self.cts: list[CtImage] = []
        self.structure_sets: list[StructureSet] = []
        self.plans: list[Plan] = []
        self.doses: list[RtDose] = []
        self.references: dict[str, DoseReferences] = {}
        self.referenced_series: dict[str, frozenset[str]] = {}
        self.patients: dict[str, ReferencedPatient] = {}
        self.instances: dict[str, str] = {}
        self.notes: list[str] = []

    def study(self) -> Study:
        return Study(
            tuple(self.cts),
            tuple(self.structure_sets),
            tuple(self.plans),
            tuple(self.doses),
            tuple(self.skipped),
            tuple(self.problems),
            self.references,
            self.referenced_series,
            self.patients,
            tuple(self.notes),
        )

    def guarded(self, file: DicomFile, read: Callable[[], None]) -> None:
        """Run a reader; its error becomes one of the study's problems."""
        error = _ERRORS[file.kind]
        try:
            read()
            return
        except DicomError as cause:
            problem = cause
        except DosecalcError as cause:
            problem = error(cause.reason, cause.message, **{"file": file.name, **cause.where})
        except Exception as cause:  # a reader must not fail like this; if it does, the other objects still count
            problem = error("READER_FAILED", f"The object could not be read ({type(cause).__name__}).", file=file.name)
        where: dict[str, str | None] = {"file": file.name, **problem.where, "modality": file.kind}
        if file.kind != "CT":
            where["sop_instance_uid"] = _uid(file, "SOPInstanceUID")
        self.problems.append(type(problem)(problem.reason, problem.message, **where))

    def sort_in(self, file: DicomFile) -> None:
        """Read an RT object; put an image to its series."""
        self.guarded(file, lambda: self.add_image(file) if file.kind == "CT" else self.add_object(file))

    def add_image(self, file: DicomFile) -> None:
        if is_localizer(file):
            self.skipped.append(SkippedFile(file.name, "a localizer (scout) image, no part of the volume"))
        else:
            self.series.setdefault(series_uid(file), []).append(file)

    def add_object(self, file: DicomFile) -> None:
        error = _ERRORS[file.kind]
        instance = values.text(file.dataset, "SOPInstanceUID", file.name, error=error)
        if instance in self.instances:  # both are kept: choosing one by its UID is refused as ambiguous
            other = self.instances[instance]
            self.notes.append(f"{file.name} and {other} differ but have the same SOP Instance UID; keep the right one")
        self.instances[instance] = file.name
        if file.kind == "RTPLAN":
            plan = read_rtplan(file.dataset, file.name)
            self.references.setdefault(instance, DoseReferences.from_plan(file.dataset, file.name))
            self.plans.append(plan)
        elif file.kind == "RTSTRUCT":
            self.structure_sets.append(read_rtstruct(file.dataset, file.name))
            self.referenced_series[instance] = _referenced_series(file)
        else:
            self.doses.append(read_rtdose(file.dataset, file.name))
        self.patients[instance] = ReferencedPatient.of(file.dataset, file.name)

    def read_series(self) -> None:
        """Read the CT series, and let go of their files one series after the other."""
        while self.series:
            uid = next(iter(self.series))
            files = self.series.pop(uid)
            self.patients[uid] = ReferencedPatient.of(files[0].dataset, files[0].name)
            self.guarded(files[0], lambda files=files: self.cts.append(read_ct(files)))  # type: ignore[misc]


def _uid(file: DicomFile, keyword: str) -> str | None:
    try:
        return values.text(file.dataset, keyword, file.name, None)
    except DicomError:
        return None


def _referenced_series(file: DicomFile) -> frozenset[str]:
    """Series UIDs that a structure set refers to; what cannot be read there only makes the matching weaker."""
    found: set[str] = set()
    try:
        for frame in values.items(file.dataset, "ReferencedFrameOfReferenceSequence", file.name):
            for study in values.items(frame, "RTReferencedStudySequence", file.name):
                for series in values.items(study, "RTReferencedSeriesSequence", file.name):
                    found.add(values.text(series, "SeriesInstanceUID", file.name, ""))
    except DicomError:
        return frozenset()
    return frozenset(found - {""})


def _compatible(one: str | None, other: str | None) -> bool:
    """Whether two frames of reference are, or may be, the same."""
    return not one or not other or one == other


def _other_frame(what: str, than: str) -> StudyError:
    return StudyError(
        "FRAME_OF_REFERENCE",
        f"The {what} has another frame of reference than the {than}, so their positions cannot be compared; "
        "register them and export both in one frame, or leave the wrong object out.",
        tag=values.tag_name("FrameOfReferenceUID"),
    )


class _Selection:
    """Finds the objects of one plan; see `Study.select`."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.notes: list[str] = []
        self.ct_problem: DicomError | None = None

    def case(self, plan_uid: str | None, structure_set_uid: str | None, ct_series_uid: str | None) -> Case:
        plan = self.plan(plan_uid)
        structures = self.structures(plan, structure_set_uid)
        ct = self.ct(plan, structures, ct_series_uid)
        self.compare_patients(plan, structures, ct)
        references = self.study.references(plan, structures, ct)
        return Case(plan, structures, ct, references, self.ct_problem, tuple(self.notes))

    def plan(self, wanted: str | None) -> Plan:
        plans = self.study.plans
        if wanted:
            hits = [p for p in plans if p.sop_instance_uid == wanted] or [p for p in plans if p.label == wanted]
            self.raise_own_problem(wanted if not hits else None)
            return self.only(hits, plans, "PLAN", "plan", _plan_name)
        if not plans:
            self.study.raise_problem("RTPLAN")
            raise StudyError("PLAN_MISSING", f"There is no RTPLAN to compute; add one. {_found(self.study)}")
        return self.only(list(plans), plans, "PLAN", "plan", _plan_name)

    def structures(self, plan: Plan, wanted: str | None) -> StructureSet | None:
        sets = self.study.structure_sets
        if wanted:
            hits = [s for s in sets if s.sop_instance_uid == wanted]
            self.raise_own_problem(wanted if not hits else None)
            return self.in_frame(self.only(hits, sets, "STRUCTURE_SET", "structure set", _set_name), plan)
        referenced = [s for s in sets if plan.structure_set_uid and s.sop_instance_uid == plan.structure_set_uid]
        if referenced:
            return self.in_frame(self.only(referenced, referenced, "STRUCTURE_SET", "structure set", _set_name), plan)
        self.raise_own_problem(plan.structure_set_uid)
        frame = plan.frame_of_reference_uid
        fitting = [s for s in sets if frame and s.frame_of_reference_uid == frame]
        fitting = fitting or [s for s in sets if _compatible(s.frame_of_reference_uid, frame)]
        if not fitting:
            self.notes.append(
                "no structure set was used: those of the study lie in another frame of reference than the plan"
                if sets
                else "the study holds no structure set"
            )
            return None
        chosen = self.only(fitting, tuple(fitting), "STRUCTURE_SET", "structure set", _set_name)
        self.notes.append("the plan does not refer to the structure set that was used; it is the only one that fits")
        return chosen

    def in_frame(self, structures: StructureSet, plan: Plan) -> StructureSet:
        if not _compatible(structures.frame_of_reference_uid, plan.frame_of_reference_uid):
            raise _other_frame("structure set", "plan")
        return structures

    def ct(self, plan: Plan, structures: StructureSet | None, wanted: str | None) -> CtImage | None:
        cts = self.study.cts
        frame = plan.frame_of_reference_uid or (structures.frame_of_reference_uid if structures else None)
        if wanted:
            chosen = self.only([c for c in cts if c.series_uid == wanted], cts, "CT", "CT series", _ct_name)
            if not _compatible(chosen.frame_of_reference_uid, frame):
                raise _other_frame("CT", "plan")
            return chosen
        fitting = [c for c in cts if _compatible(c.frame_of_reference_uid, frame)]
        drawn_on = self.study.referenced_series.get((structures and structures.sop_instance_uid) or "", frozenset())
        referenced = [c for c in fitting if c.series_uid in drawn_on]
        if len(referenced) == 1:
            return referenced[0]
        if fitting:
            if drawn_on and not referenced:
                self.notes.append("the structures were drawn on another CT series than the one that was used")
            return self.only(fitting, tuple(fitting), "CT", "CT series", _ct_name)
        unread = next((p for p in self.study.problems if p.where.get("modality") == "CT"), None)
        self.ct_problem = unread or (_other_frame("CT", "plan") if cts else None)
        return None

    def only(self, hits: Sequence[_T], choices: Sequence[_T], code: str, what: str, name: Callable[[_T], str]) -> _T:
        if len(hits) == 1:
            return hits[0]
        known = "; ".join(map(name, choices[:_MOST_CHOICES])) or "none"
        if len(choices) > _MOST_CHOICES:
            known += f"; and {len(choices) - _MOST_CHOICES} more"
        if not hits:
            raise StudyError(
                f"{code}_UNKNOWN", f"No {what} that can be read has this {_NAMED_BY[code]}. There are: {known}."
            )
        raise StudyError(
            f"{code}_AMBIGUOUS",
            f"There is more than one {what} to choose from. Name one by its {_NAMED_BY[code]} "
            f"({_OPTIONS[code]}). There are: {known}.",
        )

    def raise_own_problem(self, uid: str | None) -> None:
        """Raise the error that kept this very object from being read."""
        for problem in self.study.problems:
            if uid and problem.where.get("sop_instance_uid") == uid:
                raise problem

    def compare_patients(self, plan: Plan, structures: StructureSet | None, ct: CtImage | None) -> None:
        patients = self.study.patients
        uids = [plan.sop_instance_uid, structures and structures.sop_instance_uid, ct and ct.series_uid]
        if len({patients[uid] for uid in uids if uid and uid in patients}) > 1:
            self.notes.append(
                "plan, structures and CT do not all name the same patient; check that they belong together"
            )


def _found(study: Study) -> str:
    """What is there instead of a plan."""
    parts = [
        f"{len(objects)} {what}"
        for objects, what in ((study.cts, "CT series"), (study.structure_sets, "RTSTRUCT"), (study.doses, "RTDOSE"))
        if objects
    ]
    found = (
        f"What was found: {', '.join(parts)}." if parts else "Nothing of the input is a CT, RTSTRUCT, RTPLAN or RTDOSE."
    )
    others = len(study.skipped) + len(study.problems)
    return f"{found} Left out: {others} file{'s' if others > 1 else ''}." if others else found


def _plan_name(plan: Plan) -> str:
    return f"{plan.label!r} {plan.sop_instance_uid}"


def _set_name(structures: StructureSet) -> str:
    return f"{structures.label!r} {structures.sop_instance_uid}"


def _ct_name(ct: CtImage) -> str:
    return f"{ct.hu.grid.shape[0]} slices, series {ct.series_uid}"
