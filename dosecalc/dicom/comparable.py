"""Whether two doses are doses of the same thing, so that comparing them means something."""

from __future__ import annotations

from dosecalc.dicom.errors import DicomError
from dosecalc.dicom.rtdose import RtDose


def refuse_strangers(
    reference: RtDose | None,
    evaluated: RtDose | None,
    *,
    ignore_frame: bool = False,
    ignore_type: bool = False,
    file: str | None = None,
) -> None:
    """Refuse two RTDOSE objects whose comparison would mean nothing; None is a dose that says nothing of itself.

    Parameters
    ----------
    reference, evaluated : RtDose or None
    ignore_frame, ignore_type : bool
        Let different frames of reference, or different summation or dose types, pass.
    file : str, optional
        To name in the error.

    Raises
    ------
    DicomError
        ``FRAME_OF_REFERENCE``, ``DOSE_SUMMATION``.
    """
    if reference is None or evaluated is None:
        return
    frames = reference.frame_of_reference_uid, evaluated.frame_of_reference_uid
    if all(frames) and frames[0] != frames[1] and not ignore_frame:
        raise DicomError(
            "FRAME_OF_REFERENCE",
            "The two doses lie in different frames of reference, so their positions cannot be compared; "
            "--ignore-frame (ignore_frame) compares them all the same.",
            file=file,
        )
    for what, one, other in (
        ("summation type", reference.summation_type, evaluated.summation_type),
        ("dose type", reference.dose_type, evaluated.dose_type),
    ):
        if one.upper() != other.upper() and not ignore_type:
            raise DicomError(
                "DOSE_SUMMATION",
                f"The {what} of the reference is {one or 'not stated'}, of the evaluated dose {other or 'not stated'}: "
                "they are not of the same thing; --ignore-type (ignore_type) compares them all the same.",
                file=file,
            )


def refuse_strange_frame(dose: RtDose | None, frame_of_reference_uid: str | None, *, file: str | None = None) -> None:
    """Refuse structures in another frame of reference than a dose.

    Raises
    ------
    DicomError
        ``FRAME_OF_REFERENCE``.
    """
    frames = frame_of_reference_uid, dose.frame_of_reference_uid if dose else None
    if all(frames) and frames[0] != frames[1]:
        raise DicomError(
            "FRAME_OF_REFERENCE",
            "Dose and structures lie in different frames of reference, so their positions cannot be compared.",
            file=file,
        )
