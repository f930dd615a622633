"""RT Dose objects: read into volumes in Gy, written from computed doses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import DicomError, RtDoseError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.pixels import PixelFormat, read_format, stored_values
from dosecalc.dicom.planes import (
    FURTHEST_MM,
    SAME_POSITION_MM,
    Orientation,
    evenly_spaced,
    read_orientation,
    read_position,
    read_spacing,
    to_finest_spacing,
    to_volume,
)
from dosecalc.dicom.rtdose_write import write_rtdose
from dosecalc.geometry import Volume

__all__ = ["EmbeddedDvh", "RtDose", "read_rtdose", "write_rtdose"]

#: a dose beyond this comes from a damaged scaling
LARGEST_GY = 1e6


@dataclass(frozen=True, eq=False)
class EmbeddedDvh:
    """A DVH as the planning system stored it.

    Parameters
    ----------
    roi_number : int or None
        Number of the structure in the structure set.
    kind : 'CUMULATIVE', 'DIFFERENTIAL' or 'NATURAL'
    dose_units, volume_units : str
        ``GY`` or ``RELATIVE``; ``CM3``, ``PERCENT`` or ``PER_U``.
    dose : float64 [n]
        Upper edge of each bin, in ``dose_units``.
    volume : float64 [n]
        Volume of each bin, in ``volume_units``.
    minimum, maximum, mean : float or None
        Dose statistics as stated: in ``dose_units`` by the standard, in percent of the prescription by some systems.
    """

    roi_number: int | None
    kind: str
    dose_units: str
    volume_units: str
    dose: NDArray[np.float64]
    volume: NDArray[np.float64]
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None


@dataclass(frozen=True, eq=False)
class RtDose:
    """A dose distribution that was read.

    Parameters
    ----------
    volume : Volume
        Gy, axes along +x, +y, +z of the patient frame.
    summation_type : str
        ``PLAN``, ``FRACTION``, ``BEAM``, …
    dose_units, dose_type : str
        ``GY``; ``PHYSICAL`` or ``EFFECTIVE``.
    plan_uid, structure_set_uid, frame_of_reference_uid, sop_instance_uid, study_uid : str or None
    beam_numbers : tuple of int
        The beams that a ``BEAM`` dose is of.
    heterogeneity : str
        Tissue Heterogeneity Correction as stated.
    dvhs : tuple of EmbeddedDvh
    notes : tuple of str
        What the reader did that a physicist should know.
    """

    volume: Volume
    summation_type: str
    dose_units: str = "GY"
    dose_type: str = "PHYSICAL"
    plan_uid: str | None = None
    structure_set_uid: str | None = None
    frame_of_reference_uid: str | None = None
    sop_instance_uid: str | None = None
    study_uid: str | None = None
    beam_numbers: tuple[int, ...] = ()
    heterogeneity: str = ""
    dvhs: tuple[EmbeddedDvh, ...] = ()
    notes: tuple[str, ...] = ()


def read_rtdose(source: Path | str | bytes | Dataset, file: str = "RTDOSE") -> RtDose:
    """An RT Dose as a volume in Gy.

    Any orientation along the patient's axes is turned to +x, +y, +z; frames may rise or fall, and stand at offsets from
    the first or at absolute positions; uneven frames are interpolated linearly to the finest distance, with a note.

    Parameters
    ----------
    source : Path, str, bytes or Dataset
        A file, its content, or a parsed dataset.
    file : str
        Name for messages, when ``source`` is no path.

    Raises
    ------
    RtDoseError
        ``NOT_RTDOSE``, ``DOSE_UNITS``, ``DOSE_TYPE``, ``DOSE_SCALING``, ``DOSE_RANGE``, ``FRAME_OFFSETS``,
        ``ORIENTATION_OBLIQUE``, ``SPACING_IRREGULAR``, ``PIXELS_*``, ``TAG_*``.
    ScanError
        ``PATH_MISSING``, ``DICOM_DAMAGED``.
    """
    if isinstance(source, (Path, str)):
        file = Path(source).name
        try:
            source = Path(source).read_bytes()
        except (OSError, ValueError):
            raise RtDoseError("PATH_MISSING", "The file does not exist or cannot be read.", file=file) from None
    ds = parse(source, file) if isinstance(source, bytes) else source
    if values.text(ds, "Modality", file, "", error=RtDoseError) != "RTDOSE":
        raise RtDoseError("NOT_RTDOSE", "The object is not an RT Dose.", file=file)
    _refuse_unusable(ds, file)
    notes: list[str] = []
    volume = _volume(ds, file, notes)

    def uid(keyword: str) -> str | None:
        return values.text(ds, keyword, file, None, error=RtDoseError)

    return RtDose(
        volume=volume,
        summation_type=values.text(ds, "DoseSummationType", file, "", error=RtDoseError),
        dose_type=values.text(ds, "DoseType", file, "PHYSICAL", error=RtDoseError),
        plan_uid=_reference(ds, "ReferencedRTPlanSequence", file),
        structure_set_uid=_reference(ds, "ReferencedStructureSetSequence", file),
        frame_of_reference_uid=uid("FrameOfReferenceUID"),
        sop_instance_uid=uid("SOPInstanceUID"),
        study_uid=uid("StudyInstanceUID"),
        beam_numbers=_beam_numbers(ds, file),
        heterogeneity=values.text(ds, "TissueHeterogeneityCorrection", file, "", error=RtDoseError),
        dvhs=_dvhs(ds, file, notes),
        notes=tuple(notes),
    )


def _refuse_unusable(ds: Dataset, file: str) -> None:
    units = values.text(ds, "DoseUnits", file, error=RtDoseError).upper()
    if units != "GY":
        raise RtDoseError(
            "DOSE_UNITS", "The dose is not in Gy (Dose Units is RELATIVE or unknown); export absolute dose.", file=file
        )
    kind = values.text(ds, "DoseType", file, "PHYSICAL", error=RtDoseError).upper()
    if kind not in ("PHYSICAL", "EFFECTIVE"):
        raise RtDoseError(
            "DOSE_TYPE", "The object holds dose differences or an unknown quantity, not a dose.", file=file
        )


def _volume(ds: Dataset, file: str, notes: list[str]) -> Volume:
    form = read_format(ds, file, RtDoseError)
    orientation = read_orientation(ds, file, RtDoseError)
    position = read_position(ds, file, RtDoseError)
    between_rows, between_columns = read_spacing(ds, file, RtDoseError)
    stack = _gray(ds, form, file)
    along = _frame_positions(ds, form.frames, position, orientation, file)
    order = np.argsort(along)
    stack, along = stack[order], along[order]
    first = position.copy()
    axis, sign = orientation.normal
    first[axis] = along[0] * sign
    if form.frames == 1:
        spacing = values.number(ds, "SliceThickness", file, None, minimum=0, maximum=100, error=RtDoseError)
        spacing = spacing or max(between_rows, between_columns)
        notes.append(f"a single plane; it is taken to be {spacing:.2f} mm thick")
    elif np.min(np.diff(along)) < SAME_POSITION_MM:
        raise RtDoseError(
            "FRAME_OFFSETS", "Two dose planes lie at the same position; export the dose again.", file=file
        )
    elif evenly_spaced(along):
        spacing = float(along[-1] - along[0]) / (form.frames - 1)
    else:
        low, high = float(np.min(np.diff(along))), float(np.max(np.diff(along)))
        stack, spacing = to_finest_spacing(stack, along, file, RtDoseError)
        notes.append(f"dose planes {low:.2f} to {high:.2f} mm apart were interpolated to every {spacing:.2f} mm")
    return to_volume(stack, first, (spacing, between_rows, between_columns), orientation, file, RtDoseError)


def _gray(ds: Dataset, form: PixelFormat, file: str) -> NDArray[np.float32]:
    stored = stored_values(ds, form, file, RtDoseError)
    scaling = values.number(ds, "DoseGridScaling", file, error=RtDoseError)
    if scaling < 0 or (scaling == 0 and np.any(stored)):
        raise RtDoseError("DOSE_SCALING", "Dose Grid Scaling must be positive; export the dose again.", file=file)
    if max(int(stored.max()), -int(stored.min())) * scaling > LARGEST_GY:
        raise RtDoseError("DOSE_RANGE", "The dose is beyond any dose; check Dose Grid Scaling.", file=file)
    gray = np.empty(stored.shape, dtype=np.float32)
    np.multiply(stored, scaling, out=gray, casting="same_kind")
    return gray


def _frame_positions(
    ds: Dataset, frames: int, position: NDArray[np.float64], orientation: Orientation, file: str
) -> NDArray[np.float64]:
    """Position of each frame along the normal, float64 [frames], mm.

    Grid Frame Offset Vector holds offsets from the first frame when it starts with 0, and absolute patient coordinates
    when it starts with the z of Image Position (PS3.3, C.8.8.3.2).
    """
    axis, sign = orientation.normal
    start = float(position[axis]) * sign
    if frames == 1:
        return np.array([start])
    offsets = values.numbers(
        ds,
        "GridFrameOffsetVector",
        file,
        count=frames,
        minimum=-FURTHEST_MM,
        maximum=FURTHEST_MM,
        error=RtDoseError,
    )
    if abs(offsets[0]) < 1e-3:
        return start + offsets
    if abs(offsets[0] - position[axis]) < SAME_POSITION_MM:
        return offsets * sign
    raise RtDoseError(
        "FRAME_OFFSETS",
        "Grid Frame Offset Vector starts neither with 0 nor with the position of the first plane, so where "
        "the planes lie is unknown; export the dose again.",
        file=file,
        tag=values.tag_name("GridFrameOffsetVector"),
    )


def _reference(ds: Dataset, keyword: str, file: str) -> str | None:
    found = values.items(ds, keyword, file, error=RtDoseError)
    return values.text(found[0], "ReferencedSOPInstanceUID", file, None, error=RtDoseError) if found else None


def _beam_numbers(ds: Dataset, file: str) -> tuple[int, ...]:
    return tuple(
        values.integer(beam, "ReferencedBeamNumber", file, error=RtDoseError)
        for plan in values.items(ds, "ReferencedRTPlanSequence", file, error=RtDoseError)
        for group in values.items(plan, "ReferencedFractionGroupSequence", file, error=RtDoseError)
        for beam in values.items(group, "ReferencedBeamSequence", file, error=RtDoseError)
    )


def _dvhs(ds: Dataset, file: str, notes: list[str]) -> tuple[EmbeddedDvh, ...]:
    """The embedded DVHs that can be read: a damaged one must not hide the dose, it is noted and left out."""
    read: list[EmbeddedDvh] = []
    try:
        sequence = values.items(ds, "DVHSequence", file, error=RtDoseError)
    except DicomError as cause:
        notes.append(f"embedded DVHs left out: {cause.reason}")
        return ()
    for number, item in enumerate(sequence, 1):
        try:
            read.append(_dvh(item, file))
        except DicomError as cause:
            notes.append(f"embedded DVH {number} left out: {cause.reason}")
    return tuple(read)


def _dvh(item: Dataset, file: str) -> EmbeddedDvh:
    data = values.numbers(item, "DVHData", file, error=RtDoseError)
    if len(data) % 2:
        raise values.invalid("DVHData", file, "does not hold pairs", RtDoseError)
    scaling = values.number(item, "DVHDoseScaling", file, 1.0, error=RtDoseError)
    rois = values.items(item, "DVHReferencedROISequence", file, error=RtDoseError)

    def statistic(keyword: str) -> float | None:
        return values.number(item, keyword, file, None, error=RtDoseError)

    return EmbeddedDvh(
        roi_number=values.integer(rois[0], "ReferencedROINumber", file, None, error=RtDoseError) if rois else None,
        kind=values.text(item, "DVHType", file, error=RtDoseError),
        dose_units=values.text(item, "DoseUnits", file, "GY", error=RtDoseError),
        volume_units=values.text(item, "DVHVolumeUnits", file, error=RtDoseError),
        dose=np.cumsum(data[0::2]) * scaling,
        volume=data[1::2].copy(),
        minimum=statistic("DVHMinimumDose"),
        maximum=statistic("DVHMaximumDose"),
        mean=statistic("DVHMeanDose"),
    )
