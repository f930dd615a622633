"""CT series to a regular volume of Hounsfield units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from dosecalc.dicom import values
from dosecalc.dicom.errors import CtError
from dosecalc.dicom.pixels import MOST_VOXELS, PixelFormat, read_format, stored_values
from dosecalc.dicom.planes import (
    AXIS_TOLERANCE,
    SAME_POSITION_MM,
    Orientation,
    evenly_spaced,
    read_orientation,
    read_position,
    read_spacing,
    to_finest_spacing,
    to_volume,
)
from dosecalc.dicom.scan import DicomFile
from dosecalc.patient.ct import CtImage

AIR_HU = -1000.0
#: slices further apart than this say nothing about what lies between them
WIDEST_SPACING_MM = 10.0
#: a distance this many times that of its neighbours is a gap ...
GAP_RATIO = 1.5
#: ... unless so many follow each other: then the scan was made with another spacing there
DELIBERATE_RUN = 3
#: a padding value that reads as tissue between these is not believed
TISSUE_HU = (-500.0, 3000.0)
#: Hounsfield units beyond this come from a damaged rescale
LARGEST_HU = 1e6


@dataclass(frozen=True, eq=False)
class _Slice:
    """One plane, checked, its pixels still undecoded."""

    file: str
    series: str
    frame: str
    patient_position: str
    orientation: Orientation
    spacing_mm: tuple[float, float]
    position_mm: NDArray[np.float64]
    shape: tuple[int, int]
    thickness_mm: float | None
    hounsfield: Callable[[], NDArray[np.float32]]

    @property
    def along_mm(self) -> float:
        """Position along the normal."""
        axis, sign = self.orientation.normal
        return float(self.position_mm[axis]) * sign


def is_localizer(file: DicomFile) -> bool:
    """Whether the image is a scout, which is no part of the volume; a damaged Image Type counts as none."""
    try:
        return "LOCALIZER" in values.texts(file.dataset, "ImageType", file.name, error=CtError)
    except CtError:
        return False


def series_uid(file: DicomFile) -> str:
    """The series that an image belongs to.

    Raises
    ------
    CtError
        ``TAG_MISSING``, ``TAG_INVALID``.
    """
    return values.text(file.dataset, "SeriesInstanceUID", file.name, error=CtError)


def read_ct(files: Sequence[DicomFile]) -> CtImage:
    """One CT series as a regular volume of Hounsfield units, axes along +x, +y, +z of the patient.

    Slices are sorted by position along their normal. Planes along any two patient axes are taken (axial, sagittal,
    coronal; prone, decubitus, feet first). Unevenly spaced slices are interpolated linearly to the finest spacing, with
    a note; a gap that looks like a missing slice is refused: a distance of more than 1.5 times that of its neighbours
    which is repeated fewer than three times, or one of more than 10 mm. Padding becomes air.

    Parameters
    ----------
    files : sequence of DicomFile
        The images of one series, in any order, or enhanced multi-frame objects.

    Raises
    ------
    CtError
        ``CT_EMPTY``, ``CT_SINGLE_SLICE``, ``CT_FOREIGN_SLICE``, ``CT_SLICE_DUPLICATE``, ``CT_SLICE_MISSING``,
        ``CT_SLICE_SHIFTED``, ``CT_NOT_HU``, ``ORIENTATION_OBLIQUE``, ``SPACING_IRREGULAR``, ``PIXELS_*``, ``TAG_*``;
        each names the file.
    """
    notes: list[str] = []
    slices: list[_Slice] = []
    for file in files:
        slices.extend(_slices_of(file, notes))
    if not slices:
        raise CtError("CT_EMPTY", "There is no CT image to read; give the images of one series.")
    _refuse_foreign(slices)
    if len(slices) == 1:
        raise CtError(
            "CT_SINGLE_SLICE",
            "The series has one slice only, which makes no volume; give all slices, or density from structures.",
            file=slices[0].file,
        )
    slices.sort(key=lambda s: s.along_mm)
    _refuse_shifted(slices)
    return _assemble(slices, files[0], notes)


def _assemble(slices: list[_Slice], file: DicomFile, notes: list[str]) -> CtImage:
    first = slices[0]
    along = np.array([s.along_mm for s in slices])
    _refuse_duplicates(slices, along)
    even = evenly_spaced(along)
    _refuse_gaps(slices, along, even)
    if len(slices) * first.shape[0] * first.shape[1] > MOST_VOXELS:
        raise CtError("PIXELS_TOO_LARGE", f"The series has more than {MOST_VOXELS} voxels.", file=first.file)
    stack = np.empty((len(slices), *first.shape), dtype=np.float32)
    for k, one in enumerate(slices):
        stack[k] = one.hounsfield()
    spacing = float(along[-1] - along[0]) / (len(slices) - 1)
    if first.thickness_mm and 0 < GAP_RATIO * first.thickness_mm < spacing:
        notes.append(f"slices are {spacing:.2f} mm apart but {first.thickness_mm:.2f} mm thick")
    if not even:
        low, high = float(np.min(np.diff(along))), float(np.max(np.diff(along)))
        stack, spacing = to_finest_spacing(stack, along, first.file, CtError)
        notes.append(f"slices {low:.2f} to {high:.2f} mm apart were interpolated to every {spacing:.2f} mm")
    volume = to_volume(stack, first.position_mm, (spacing, *first.spacing_mm), first.orientation, first.file, CtError)

    def word(keyword: str) -> str:
        return values.text(file.dataset, keyword, file.name, "", error=CtError)

    return CtImage(
        hu=volume,
        patient_position=first.patient_position,
        frame_of_reference_uid=first.frame or None,
        series_uid=first.series or None,
        study_uid=word("StudyInstanceUID") or None,
        manufacturer=word("Manufacturer"),
        model=word("ManufacturerModelName"),
        kvp=word("KVP"),
        notes=tuple(dict.fromkeys(notes)),
    )


def _slices_of(file: DicomFile, notes: list[str]) -> list[_Slice]:
    sop_class = values.text(file.dataset, "SOPClassUID", file.name, "", error=CtError)
    if sop_class in (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage):
        return _enhanced(file, notes)
    form = read_format(file.dataset, file.name, CtError)
    if form.frames != 1:
        raise CtError("CT_MULTIFRAME", "A CT Image object holds several frames; export single slices.", file=file.name)
    decode = _decoder(file, form)
    return [_slice(file, form, file.dataset, file.dataset, file.dataset, file.dataset, 0, decode, notes)]


def _decoder(file: DicomFile, form: PixelFormat) -> Callable[[int], NDArray[np.integer]]:
    """Decodes the object's pixels when a frame is first asked for, once."""
    cache: list[NDArray[np.integer]] = []

    def frame(index: int) -> NDArray[np.integer]:
        if not cache:
            cache.append(stored_values(file.dataset, form, file.name, CtError))
        one: NDArray[np.integer] = cache[0][index]
        return one

    return frame


def _slice(
    file: DicomFile,
    form: PixelFormat,
    measures: Dataset,
    orientation: Dataset,
    position: Dataset,
    transform: Dataset,
    index: int,
    decode: Callable[[int], NDArray[np.integer]],
    notes: list[str],
) -> _Slice:
    ds, name = file.dataset, file.name
    rescale = _rescale(transform, name)
    padding = _padding(ds, form, rescale, name, notes)

    def hounsfield() -> NDArray[np.float32]:
        stored = decode(index)
        hu = (stored * rescale[0] + rescale[1]).astype(np.float32)
        if padding is not None:
            hu[(stored >= padding[0]) & (stored <= padding[1])] = AIR_HU
        if np.max(np.abs(hu)) > LARGEST_HU:
            raise CtError("CT_NOT_HU", "The rescaled pixels are no Hounsfield units; check the rescale.", file=name)
        return hu

    return _Slice(
        file=name,
        series=values.text(ds, "SeriesInstanceUID", name, "", error=CtError),
        frame=values.text(ds, "FrameOfReferenceUID", name, "", error=CtError),
        patient_position=values.text(ds, "PatientPosition", name, "", error=CtError),
        orientation=read_orientation(orientation, name, CtError),
        spacing_mm=read_spacing(measures, name, CtError),
        position_mm=read_position(position, name, CtError),
        shape=(form.rows, form.columns),
        thickness_mm=values.number(measures, "SliceThickness", name, None, error=CtError),
        hounsfield=hounsfield,
    )


def _enhanced(file: DicomFile, notes: list[str]) -> list[_Slice]:
    """The frames of an enhanced (multi-frame) CT; what all frames share may stand in the shared functional groups."""
    ds, name = file.dataset, file.name
    form = read_format(ds, name, CtError)
    shared = values.items(ds, "SharedFunctionalGroupsSequence", name, required=True, error=CtError)[0]
    each = values.items(ds, "PerFrameFunctionalGroupsSequence", name, required=True, error=CtError)
    if len(each) != form.frames:
        raise values.invalid(
            "PerFrameFunctionalGroupsSequence", name, f"has {len(each)} items for {form.frames} frames", CtError
        )
    decode = _decoder(file, form)

    def group(frame: Dataset, keyword: str) -> Dataset:
        own = values.items(frame, keyword, name, error=CtError)
        return (own or values.items(shared, keyword, name, required=True, error=CtError))[0]

    return [
        _slice(
            file,
            form,
            group(frame, "PixelMeasuresSequence"),
            group(frame, "PlaneOrientationSequence"),
            group(frame, "PlanePositionSequence"),
            group(frame, "PixelValueTransformationSequence"),
            index,
            decode,
            notes,
        )
        for index, frame in enumerate(each)
    ]


def _rescale(ds: Dataset, file: str) -> tuple[float, float]:
    slope = values.number(ds, "RescaleSlope", file, minimum=-1e4, maximum=1e4, error=CtError)
    intercept = values.number(ds, "RescaleIntercept", file, minimum=-LARGEST_HU, maximum=LARGEST_HU, error=CtError)
    kind = values.text(ds, "RescaleType", file, "HU", error=CtError)
    if slope == 0 or kind.upper() not in ("HU", "HU_MOD", "US"):
        raise CtError(
            "CT_NOT_HU",
            "The pixels are not in Hounsfield units (Rescale Slope is zero or Rescale Type is not HU); "
            "export a standard reconstruction.",
            file=file,
        )
    return slope, intercept


def _padding(
    ds: Dataset, form: PixelFormat, rescale: tuple[float, float], file: str, notes: list[str]
) -> tuple[int, int] | None:
    """Lowest and highest stored value that mean padding, or None."""
    value = _padding_value(ds, "PixelPaddingValue", form, file)
    if value is None:
        return None
    limit = _padding_value(ds, "PixelPaddingRangeLimit", form, file)
    low, high = sorted((value, value if limit is None else limit))
    ends_hu = sorted(v * rescale[0] + rescale[1] for v in (low, high))
    if ends_hu[1] > TISSUE_HU[0] and ends_hu[0] < TISSUE_HU[1]:
        notes.append("Pixel Padding Value lies among tissue and was not taken for padding")
        return None
    return low, high


def _padding_value(ds: Dataset, keyword: str, form: PixelFormat, file: str) -> int | None:
    """A padding value as a stored value; its VR depends on Pixel Representation, and writers confuse the two."""
    raw = values.value(ds, keyword, file, CtError)
    if isinstance(raw, bytes):
        number = int.from_bytes(raw[: form.allocated // 8], "little")
    else:
        found = values.integer(ds, keyword, file, None, error=CtError)
        if found is None:
            return None
        number = found
    number %= 1 << form.stored
    return number - (1 << form.stored) if form.signed and number >= 1 << (form.stored - 1) else number


def _refuse_foreign(slices: list[_Slice]) -> None:
    """Every slice must be of the kind that most slices are of."""
    kinds: tuple[tuple[str, str, Callable[[_Slice], object]], ...] = (
        ("series", "SeriesInstanceUID", lambda s: s.series),
        ("frame of reference", "FrameOfReferenceUID", lambda s: s.frame),
        ("size", "Rows", lambda s: s.shape),
        ("orientation", "ImageOrientationPatient", lambda s: s.orientation),
        ("pixel spacing", "PixelSpacing", lambda s: tuple(round(v, 3) for v in s.spacing_mm)),
        ("patient position", "PatientPosition", lambda s: s.patient_position),
    )
    for what, keyword, key in kinds:
        usual = Counter(map(key, slices)).most_common(1)[0][0]
        for one in slices:
            if key(one) != usual:
                raise CtError(
                    "CT_FOREIGN_SLICE",
                    f"The slice has another {what} than most of its series; remove it or export the series again.",
                    file=one.file,
                    tag=values.tag_name(keyword),
                )


def _refuse_shifted(slices: list[_Slice]) -> None:
    """The slices must lie straight above each other: a sheared series comes from a tilted gantry."""
    first = slices[0]
    in_plane = [axis for axis in range(3) if axis != first.orientation.normal[0]]
    for one in slices[1:]:
        shift = float(np.max(np.abs((one.position_mm - first.position_mm)[in_plane])))
        if shift > SAME_POSITION_MM + AXIS_TOLERANCE * (one.along_mm - first.along_mm):
            raise CtError(
                "CT_SLICE_SHIFTED",
                f"The slice is shifted sideways by {shift:.2f} mm against the first; the series is sheared (a tilted "
                "gantry) or holds a foreign slice: resample it to upright slices.",
                file=one.file,
                tag=values.tag_name("ImagePositionPatient"),
            )


def _refuse_duplicates(slices: list[_Slice], along: NDArray[np.float64]) -> None:
    near = np.flatnonzero(np.diff(along) < SAME_POSITION_MM)
    if len(near):
        one, other = slices[near[0]], slices[near[0] + 1]
        raise CtError(
            "CT_SLICE_DUPLICATE",
            f"Two slices of the series lie at the same position ({one.along_mm:.2f} mm); keep one "
            "reconstruction or one phase.",
            file=other.file,
            other_file=one.file,
        )


def _refuse_gaps(slices: list[_Slice], along: NDArray[np.float64], even: bool) -> None:
    """Refuse a distance that looks like missing slices; see `read_ct` for the rule."""
    distance = np.diff(along)
    wide = np.flatnonzero(distance > WIDEST_SPACING_MM)
    suspicious = list(wide) if len(wide) or even else _isolated_gaps(distance)
    if suspicious:
        k = int(suspicious[0])
        raise CtError(
            "CT_SLICE_MISSING",
            f"Between the slices at {slices[k].along_mm:.2f} and {slices[k + 1].along_mm:.2f} mm lies a gap of "
            f"{distance[k]:.2f} mm, as if slices were missing; give the whole series.",
            file=slices[k + 1].file,
            other_file=slices[k].file,
        )


def _isolated_gaps(distance: NDArray[np.float64]) -> list[int]:
    """Indices of distances well above a neighbour's that are not part of a longer run of their like."""
    ends = np.flatnonzero(np.abs(np.diff(distance)) > 0.05 * distance[:-1] + 0.05) + 1
    runs = [r for r in np.split(np.arange(len(distance)), ends) if len(r)]
    gaps: list[int] = []
    for k, run in enumerate(runs):
        neighbours = [distance[r].mean() for r in (runs[k - 1 : k] if k else []) + runs[k + 1 : k + 2]]
        if neighbours and len(run) < DELIBERATE_RUN and distance[run].mean() > GAP_RATIO * min(neighbours):
            gaps.append(int(run[0]))
    return gaps
