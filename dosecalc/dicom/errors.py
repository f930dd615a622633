"""What can be wrong with a DICOM object, one class for each kind of object."""

from __future__ import annotations

from dosecalc.errors import DicomError


class ScanError(DicomError):
    """A folder, archive or file that cannot be searched or is no readable DICOM file."""


class CtError(DicomError):
    """A CT series that makes no regular volume of Hounsfield units."""


class RtStructError(DicomError):
    """An RT Structure Set that cannot be read."""


class RtPlanError(DicomError):
    """An RT Plan that cannot be read."""


class RtDoseError(DicomError):
    """An RT Dose that cannot be read or written."""


class StudyError(DicomError):
    """Objects that do not belong together, or a choice among them that is not clear."""


__all__ = ["CtError", "DicomError", "RtDoseError", "RtPlanError", "RtStructError", "ScanError", "StudyError"]
