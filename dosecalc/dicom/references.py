"""What ties a written RT Dose to its plan, its study and its patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import RTPlanStorage

from dosecalc.dicom import values
from dosecalc.dicom.errors import DicomError, RtPlanError

#: attributes of the Patient and General Study modules that a dose object takes over
_PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber", "StudyDescription")
#: in these a value of another form makes the new object invalid, so it is left empty
_FORMS = {
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "PatientSex": r"[MFO]",
}
#: longest texts that are valid; identity is never cut short, so that it cannot become somebody else's
_LENGTHS = {"StudyID": 16, "AccessionNumber": 16, "StudyDescription": 64}


class ReferencedPatient:
    """Patient and study attributes on their way from one DICOM object to another; shows nothing of them.

    Two are equal when they name the same patient.
    """

    __slots__ = ("_attributes",)

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._attributes = dict(attributes)

    @classmethod
    def of(cls, ds: Dataset, file: str) -> ReferencedPatient:
        """Taken from a dataset; what cannot be decoded or would be invalid is left empty."""
        kept: dict[str, str] = {}
        for keyword in (*_PATIENT, *_STUDY):
            try:
                kept[keyword] = _valid(keyword, values.text(ds, keyword, file, ""))
            except DicomError:
                kept[keyword] = ""
        return cls(kept)

    def copy_to(self, ds: Dataset) -> None:
        """Set the attributes on a dataset that is being written."""
        for keyword, value in self._attributes.items():
            if value or keyword not in ("IssuerOfPatientID", "StudyDescription"):
                setattr(ds, keyword, value)

    def _identity(self) -> tuple[str, str, str]:
        a = self._attributes
        return a.get("PatientID", ""), a.get("IssuerOfPatientID", ""), a.get("PatientName", "").rstrip("^").casefold()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReferencedPatient) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return "ReferencedPatient(…)"


def _valid(keyword: str, text: str) -> str:
    clean = "".join(c for c in text if c.isprintable() and c != "\\")[: _LENGTHS.get(keyword)].strip()
    form = _FORMS.get(keyword)
    return clean if form is None or re.fullmatch(form, clean) else ""


@dataclass(frozen=True, eq=False)
class DoseReferences:
    """What an RT Dose refers to. The patient's attributes are in here only, and never shown.

    Parameters
    ----------
    patient : ReferencedPatient
    study_uid : str
        Study Instance UID that the dose joins.
    plan_uid, plan_class_uid : str
        SOP instance and class of the plan.
    frame_of_reference_uid : str
        Frame of the dose grid.
    structure_set_uid : str or None
    beam_fraction_groups : mapping of beam number to fraction group numbers
    created : datetime or None
        Written as date and time of the object. Without it there are none, and equal doses give equal bytes.
    """

    patient: ReferencedPatient = field(repr=False)
    study_uid: str
    plan_uid: str
    plan_class_uid: str
    frame_of_reference_uid: str
    structure_set_uid: str | None = None
    beam_fraction_groups: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    created: datetime | None = None

    @classmethod
    def from_plan(cls, ds: Dataset, file: str, *, frame_of_reference_uid: str | None = None) -> DoseReferences:
        """References of a dose of this RT Plan.

        Parameters
        ----------
        ds : pydicom Dataset
            The RT Plan.
        file : str
            Its file name, for messages.
        frame_of_reference_uid : str, optional
            The frame, for a plan that states none.

        Raises
        ------
        RtPlanError
            ``TAG_MISSING``, ``TAG_INVALID``.
        """

        def uid(keyword: str) -> str:
            return values.text(ds, keyword, file, error=RtPlanError)

        sets = values.items(ds, "ReferencedStructureSetSequence", file, error=RtPlanError)
        structure_set = (
            values.text(sets[0], "ReferencedSOPInstanceUID", file, None, error=RtPlanError) if sets else None
        )
        frame = values.text(ds, "FrameOfReferenceUID", file, "", error=RtPlanError) or frame_of_reference_uid or ""
        return cls(
            patient=ReferencedPatient.of(ds, file),
            study_uid=uid("StudyInstanceUID"),
            plan_uid=uid("SOPInstanceUID"),
            plan_class_uid=values.text(ds, "SOPClassUID", file, RTPlanStorage, error=RtPlanError),
            frame_of_reference_uid=frame,
            structure_set_uid=structure_set,
            beam_fraction_groups=_beam_groups(ds, file),
        )


def _beam_groups(ds: Dataset, file: str) -> dict[int, tuple[int, ...]]:
    groups: dict[int, tuple[int, ...]] = {}
    for position, group in enumerate(values.items(ds, "FractionGroupSequence", file, error=RtPlanError), 1):
        number = values.integer(group, "FractionGroupNumber", file, position, error=RtPlanError)
        for beam in values.items(group, "ReferencedBeamSequence", file, error=RtPlanError):
            key = values.integer(beam, "ReferencedBeamNumber", file, error=RtPlanError)
            groups[key] = (*groups.get(key, ()), number)
    return groups
