"""RT Structure Set to `StructureSet`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtStructError
from dosecalc.dicom.names import readable_text
from dosecalc.dicom.parse import parse
from dosecalc.errors import DosecalcError
from dosecalc.patient.contour_planes import PLANE_TOLERANCE_MM, usual_plane_spacing_mm
from dosecalc.patient.structures import Contour, Structure, StructureSet

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
#: no scanner reaches 10 m; what lies beyond is damage
FARTHEST_MM = 1e4
#: no physical property of matter is this large in its unit
LARGEST = 1e6

_DENSITIES = ("REL_MASS_DENSITY", "REL_ELEC_DENSITY")
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OPEN = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
#: in order of atomic number
_ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm "
    "Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U"
)
_SYMBOLS = _ELEMENTS.split()


def read_rtstruct(source: Dataset | Path | str, file: str | None = None) -> StructureSet:
    """Read an RT Structure Set.

    Parameters
    ----------
    source : Dataset or path
        The object, or its file.
    file : str, optional
        Name to give in messages; by default the path's own name.

    Returns
    -------
    StructureSet
        Every region of interest in the order of the file, those without contours too. ``notes`` say what was assumed or
        left out.

    Raises
    ------
    RtStructError
        ``NOT_RTSTRUCT``, ``FILE_UNREADABLE``, ``TAG_MISSING``, ``TAG_INVALID``, ``ROI_NUMBER_DUPLICATE``,
        ``CONTOUR_DATA_COUNT``, ``FRAMES_OF_REFERENCE_MIXED``.
    ScanError
        ``DICOM_DAMAGED`` when a path's bytes are no complete DICOM object.
    """
    dataset, name = (source, file or "RTSTRUCT") if isinstance(source, Dataset) else _open(Path(source), file)
    try:
        return _Reader(dataset, name).read()
    except RtStructError:
        raise
    except DosecalcError as error:  # a check of the domain types that the reader did not foresee
        raise RtStructError(error.reason, error.message, **{"file": name, **error.where}) from None


def _open(path: Path, file: str | None) -> tuple[Dataset, str]:
    name = file or path.name
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise RtStructError("FILE_UNREADABLE", f"Cannot be read ({type(cause).__name__}).", file=name) from None
    return parse(data, name), name


@dataclass
class _Observations:
    """What the RT ROI observations say of one region of interest."""

    kinds: list[str] = field(default_factory=list)
    physical: dict[str, float] = field(default_factory=dict)
    composition: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """EXTERNAL if any observation says so, else the first that says anything."""
        return "EXTERNAL" if "EXTERNAL" in self.kinds else next((k for k in self.kinds if k), "")


@dataclass
class _Drawn:
    """The contours of one region of interest."""

    contours: list[Contour] = field(default_factory=list)
    slab_mm: list[float] = field(default_factory=list)
    color_rgb: tuple[int, int, int] | None = None


class _Reader:
    """One structure set; keeps the file's name for messages and collects notes."""

    def __init__(self, ds: Dataset, file: str) -> None:
        self.ds = ds
        self.file = file
        self.notes: list[str] = []

    def read(self) -> StructureSet:
        self._check_kind()
        regions = self._items(self.ds, "StructureSetROISequence")
        numbers = [self._number(r, "ROINumber") for r in regions]
        repeated = [n for n, count in Counter(numbers).items() if count > 1]
        if repeated:
            raise RtStructError(
                "ROI_NUMBER_DUPLICATE", f"ROI number {repeated[0]} is given to several structures.", file=self.file
            )
        names = {n: self._name(r, n) for n, r in zip(numbers, regions, strict=True)}
        drawn = self._all_contours(names)
        observed = self._all_observations(names)
        structures = [self._structure(n, names[n], drawn[n], observed[n]) for n in numbers]
        self._note_names(names.values())
        return StructureSet(
            structures=_with_plane_spacing(structures),
            label=readable_text(self.ds, "StructureSetLabel", self.file, RtStructError).text,
            sop_instance_uid=values.text(self.ds, "SOPInstanceUID", self.file, None, error=RtStructError),
            frame_of_reference_uid=self._frame_of_reference(regions),
            notes=tuple(self.notes),
        )

    def _items(self, ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
        return values.items(ds, keyword, self.file, error=RtStructError)

    def _number(self, ds: Dataset, keyword: str) -> int:
        return values.integer(ds, keyword, self.file, error=RtStructError)

    def _check_kind(self) -> None:
        sop_class = values.text(self.ds, "SOPClassUID", self.file, "", error=RtStructError)
        modality = values.text(self.ds, "Modality", self.file, "", error=RtStructError)
        if sop_class != RT_STRUCTURE_SET_STORAGE and (sop_class or modality != "RTSTRUCT"):
            raise RtStructError("NOT_RTSTRUCT", "This is not an RT Structure Set.", file=self.file)

    def _name(self, region: Dataset, number: int) -> str:
        found = readable_text(region, "ROIName", self.file, RtStructError, root=self.ds)
        if found.guessed:
            self.notes.append(
                f"The name of ROI {number} is not in the declared character set; read as {found.guessed}."
            )
        if not found.text:
            self.notes.append(f"ROI {number} has no name; it is called 'ROI {number}'.")
        return found.text or f"ROI {number}"

    def _note_names(self, names: Iterable[str]) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                self.notes.append(f"{count} structures are called {name!r}.")

    def _frame_of_reference(self, regions: Sequence[Dataset]) -> str | None:
        keyword = "ReferencedFrameOfReferenceUID"
        of_regions = {values.text(r, keyword, self.file, "", error=RtStructError) for r in regions} - {""}
        if len(of_regions) > 1:
            raise RtStructError(
                "FRAMES_OF_REFERENCE_MIXED",
                "The structures lie in several frames of reference; export those of one image alone.",
                file=self.file,
                tag=values.tag_name(keyword),
            )
        if of_regions:
            return of_regions.pop()
        for item in self._items(self.ds, "ReferencedFrameOfReferenceSequence"):
            return values.text(item, "FrameOfReferenceUID", self.file, None, error=RtStructError)
        return values.text(self.ds, "FrameOfReferenceUID", self.file, None, error=RtStructError)

    # contours

    def _all_contours(self, names: Mapping[int, str]) -> Mapping[int, _Drawn]:
        drawn: defaultdict[int, _Drawn] = defaultdict(_Drawn)
        for item in self._items(self.ds, "ROIContourSequence"):
            number = self._number(item, "ReferencedROINumber")
            if number not in names:
                self.notes.append(f"Contours of ROI {number} are left out: there is no such ROI.")
                continue
            self._read_contours(item, names[number], drawn[number])
        return drawn

    def _read_contours(self, item: Dataset, name: str, drawn: _Drawn) -> None:
        drawn.color_rgb = drawn.color_rgb or self._color(item)
        left_out: Counter[str] = Counter()
        for index, contour in enumerate(self._items(item, "ContourSequence"), start=1):
            points = self._points(contour, name, index)
            kind = values.text(contour, "ContourGeometricType", self.file, "", error=RtStructError).upper()
            why = _unusable(kind, points)
            if why:
                left_out[why] += 1
                continue
            if kind in _CLOSED and len(points) > 3 and np.array_equal(points[0], points[-1]):
                points = points[:-1]
            drawn.contours.append(Contour(points, kind))
            thickness = values.number(contour, "ContourSlabThickness", self.file, 0.0, error=RtStructError)
            if 0 < thickness < FARTHEST_MM:
                drawn.slab_mm.append(thickness)
        for why, count in left_out.items():
            self.notes.append(f"Structure {name!r}: {count} contour(s) left out, {why}.")
        self._note_shape(name, drawn.contours)

    def _points(self, contour: Dataset, name: str, index: int) -> NDArray[np.float64]:
        data = values.numbers(
            contour, "ContourData", self.file, None, minimum=-FARTHEST_MM, maximum=FARTHEST_MM, error=RtStructError
        )
        flat = np.empty(0) if data is None else data
        declared = values.integer(contour, "NumberOfContourPoints", self.file, None, error=RtStructError)
        if len(flat) % 3 or (declared is not None and declared != len(flat) // 3):
            stated = "" if declared is None else f" where {declared} points are declared"
            raise RtStructError(
                "CONTOUR_DATA_COUNT",
                f"Contour {index} of structure {name!r} has {len(flat)} coordinates{stated}; export it again.",
                file=self.file,
                tag=values.tag_name("ContourData"),
                structure=name,
            )
        return flat.reshape(-1, 3)

    def _note_shape(self, name: str, contours: Sequence[Contour]) -> None:
        open_ = sum(not c.closed for c in contours)
        if open_ and open_ < len(contours):
            self.notes.append(f"Structure {name!r}: {open_} point or open contour(s) enclose no volume.")
        tilted = sum(c.closed and float(np.ptp(c.points_mm[:, 2])) > 2 * PLANE_TOLERANCE_MM for c in contours)
        if tilted:
            self.notes.append(
                f"Structure {name!r}: {tilted} closed contour(s) do not lie on an axial plane; it has no volume here."
            )

    def _color(self, item: Dataset) -> tuple[int, int, int] | None:
        try:
            rgb = values.numbers(item, "ROIDisplayColor", self.file, None, count=3, minimum=0, maximum=255)
        except DosecalcError:
            return None  # a colour is never worth refusing a structure for
        return None if rgb is None else (int(rgb[0]), int(rgb[1]), int(rgb[2]))

    # observations

    def _all_observations(self, names: Mapping[int, str]) -> Mapping[int, _Observations]:
        observed: defaultdict[int, _Observations] = defaultdict(_Observations)
        for item in self._items(self.ds, "RTROIObservationsSequence"):
            number = self._number(item, "ReferencedROINumber")
            if number not in names:
                self.notes.append(f"An observation of ROI {number} is left out: there is no such ROI.")
                continue
            kind = values.text(item, "RTROIInterpretedType", self.file, "", error=RtStructError).upper()
            observed[number].kinds.append(kind)
            self._read_physical(item, names[number], observed[number])
        for number, found in observed.items():
            kinds = sorted(set(found.kinds) - {""})
            if len(kinds) > 1:
                self.notes.append(
                    f"Structure {names[number]!r} has the types {', '.join(kinds)}; taken as {found.kind}."
                )
        return observed

    def _read_physical(self, item: Dataset, name: str, found: _Observations) -> None:
        for entry in self._items(item, "ROIPhysicalPropertiesSequence"):
            kind = values.text(entry, "ROIPhysicalProperty", self.file, error=RtStructError).upper()
            if kind == "ELEM_FRACTION":
                self._read_composition(entry, name, found)
                continue
            amount = values.number(
                entry, "ROIPhysicalPropertyValue", self.file, None, minimum=0, maximum=LARGEST, error=RtStructError
            )
            if amount is None:
                if kind in _DENSITIES:
                    raise values.missing("ROIPhysicalPropertyValue", self.file, RtStructError)
                continue  # of no consequence for the dose
            if found.physical.setdefault(kind, amount) != amount:
                raise RtStructError(
                    "PHYSICAL_PROPERTY_CONFLICT",
                    f"Structure {name!r} has two values of {kind}: {found.physical[kind]:g} and {amount:g}.",
                    file=self.file,
                    structure=name,
                )

    def _read_composition(self, entry: Dataset, name: str, found: _Observations) -> None:
        composition: dict[str, float] = {}
        for part in self._items(entry, "ROIElementalCompositionSequence"):
            z = values.integer(
                part, "ROIElementalCompositionAtomicNumber", self.file, minimum=1, maximum=len(_SYMBOLS),
                error=RtStructError,
            )  # fmt: skip
            share = values.number(
                part, "ROIElementalCompositionAtomicMassFraction", self.file, minimum=0, maximum=1, error=RtStructError
            )
            composition[_SYMBOLS[z - 1]] = composition.get(_SYMBOLS[z - 1], 0.0) + share
        total = sum(composition.values())
        if composition and abs(total - 1) > 0.01:
            self.notes.append(f"Structure {name!r}: the mass fractions of its elements add up to {total:.3f}, not 1.")
        found.composition.update(composition)

    def _structure(self, number: int, name: str, drawn: _Drawn, found: _Observations) -> Structure:
        return Structure(
            number=number,
            name=name,
            kind=found.kind,
            contours=tuple(drawn.contours),
            physical=found.physical,
            composition=found.composition,
            color_rgb=drawn.color_rgb,
            plane_spacing_mm=float(np.median(drawn.slab_mm)) if drawn.slab_mm else None,
        )


def _unusable(kind: str, points: NDArray[np.float64]) -> str:
    """Why a contour is left out; empty when it is not."""
    if not len(points):
        return "without points"
    if kind not in _CLOSED + _OPEN:
        return "of no geometric type that is known"
    if kind in _CLOSED and len(np.unique(points, axis=0)) < 3:
        return "closed, but with fewer than three different points"
    return ""


def _with_plane_spacing(structures: Sequence[Structure]) -> tuple[Structure, ...]:
    """The structures, each with the spacing of the image that the whole set was drawn on, unless it states its own."""
    usual = usual_plane_spacing_mm(structures)
    return tuple(replace(s, plane_spacing_mm=s.plane_spacing_mm or usual) for s in structures)
