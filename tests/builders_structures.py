"""Structures with known volumes, as contours and as RT Structure Sets, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from builders_dicom import CT_SERIES, FRAME, STUDY, file_dataset, uid
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from dosecalc.patient.structures import Contour, Structure

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
FloatArray = NDArray[np.float64]


def circle(radius_mm: float, centre_mm: tuple[float, float] = (0.0, 0.0), n: int = 720) -> FloatArray:
    """Regular n-gon with the area of the circle, so that tests need no allowance for its corners."""
    outer = radius_mm * np.sqrt(2 * np.pi / n / np.sin(2 * np.pi / n))
    angle = 2 * np.pi * np.arange(n) / n
    return np.column_stack((centre_mm[0] + outer * np.cos(angle), centre_mm[1] + outer * np.sin(angle)))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def contour(xy_mm: FloatArray, z_mm: float, kind: str = "CLOSED_PLANAR") -> Contour:
    xy = np.asarray(xy_mm, dtype=float)
    return Contour(np.column_stack((xy, np.full(len(xy), z_mm))), kind)


def prism(
    outlines: FloatArray | Sequence[FloatArray],
    z_mm: Iterable[float],
    *,
    name: str = "part",
    kind: str = "",
    number: int = 1,
    physical: dict[str, float] | None = None,
) -> Structure:
    """The same outlines on every plane."""
    rings = [outlines] if isinstance(outlines, np.ndarray) else list(outlines)
    contours = tuple(contour(ring, float(z)) for z in z_mm for ring in rings)
    return Structure(number, name, kind, contours, physical or {})


def box(
    lower: tuple[float, float, float],
    upper: tuple[float, float, float],
    *,
    step_mm: float = 1.0,
    name: str = "part",
    kind: str = "",
    number: int = 1,
    physical: dict[str, float] | None = None,
) -> Structure:
    """A box whose slabs fill it exactly: planes lie in the middle of layers of about ``step_mm``."""
    n = max(1, round((upper[2] - lower[2]) / step_mm))
    thickness = (upper[2] - lower[2]) / n
    z = lower[2] + thickness * (np.arange(n) + 0.5)
    outline = rectangle(lower[0], lower[1], upper[0], upper[1])
    made = prism(outline, z, name=name, kind=kind, number=number, physical=physical)
    return replace(made, plane_spacing_mm=thickness)


def make_rtstruct(structures: Sequence[Structure], *, charset: str | None = "ISO_IR 192") -> FileDataset:
    """An RT Structure Set of these structures, in the tests' frame of reference."""
    ds = file_dataset(RT_STRUCTURE_SET, uid(4, 1), "RTSTRUCT")
    if charset is None:
        del ds.SpecificCharacterSet
    else:
        ds.SpecificCharacterSet = charset
    ds.StructureSetLabel = "tests"
    ds.StructureSetDate, ds.StructureSetTime = "20200101", "120000"
    frame = Dataset()
    frame.FrameOfReferenceUID = FRAME
    study, series = Dataset(), Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", STUDY
    series.SeriesInstanceUID = CT_SERIES
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence = [_region(s) for s in structures]
    ds.ROIContourSequence = [_contours(s) for s in structures if s.contours]
    ds.RTROIObservationsSequence = [_observation(s, n) for n, s in enumerate(structures, start=1)]
    return ds


def _region(structure: Structure) -> Dataset:
    item = Dataset()
    item.ROINumber = structure.number
    item.ReferencedFrameOfReferenceUID = FRAME
    item.ROIName = structure.name
    item.ROIGenerationAlgorithm = "MANUAL"
    return item


def _contours(structure: Structure) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = structure.number
    item.ROIDisplayColor = [255, 128, 0]
    item.ContourSequence = []
    for drawn in structure.contours:
        one = Dataset()
        one.ContourGeometricType = drawn.kind
        one.NumberOfContourPoints = len(drawn.points_mm)
        one.ContourData = [round(float(v), 4) for v in drawn.points_mm.ravel()]
        item.ContourSequence.append(one)
    return item


def _observation(structure: Structure, number: int) -> Dataset:
    item = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = structure.number
    item.RTROIInterpretedType = structure.kind
    item.ROIInterpreter = ""
    item.ROIPhysicalPropertiesSequence = [_property(k, v) for k, v in structure.physical.items()]
    return item


def _property(kind: str, amount: float) -> Dataset:
    item = Dataset()
    item.ROIPhysicalProperty = kind
    item.ROIPhysicalPropertyValue = amount
    return item
