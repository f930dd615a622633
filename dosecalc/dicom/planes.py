"""Parallel image planes to a regular volume along +x, +y, +z of the patient: what CT and RT Dose have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import CtError, DicomError, RtDoseError
from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume

ErrorType = type[CtError] | type[RtDoseError]

#: direction cosines may be off the patient's axes by this much (rad): 0.25 mm over half a metre, a rounding of the file
AXIS_TOLERANCE = 5e-4
#: planes nearer than this are one position
SAME_POSITION_MM = 0.1
#: planes are called evenly spaced when none is off its place by more than this part of the spacing ...
EVEN_FRACTION = 0.02
#: ... or by this much, which is what positions rounded to 0.1 mm have (the plane's own rounding and the ends')
EVEN_MM = 0.1001
#: pixels and planes outside these are damage
SPACING_LIMITS_MM = (0.01, 100.0)
FURTHEST_MM = 1e5
#: resampling to the finest spacing may not make more planes than this many for each that was read
LARGEST_REFINEMENT = 10


@dataclass(frozen=True)
class Orientation:
    """Which patient axis (0 = x, 1 = y, 2 = z) and sense each image direction has.

    Parameters
    ----------
    column, row, normal : (axis, sign)
        Direction of rising column index, of rising row index, and of the normal (column direction x row direction).
    """

    column: tuple[int, int]
    row: tuple[int, int]
    normal: tuple[int, int]


def read_orientation(ds: Dataset, file: str, error: ErrorType) -> Orientation:
    """Image orientation of an axis-aligned plane.

    Raises
    ------
    DicomError
        ``ORIENTATION_OBLIQUE`` when the plane is tilted or oblique, ``TAG_MISSING``, ``TAG_INVALID``.
    """
    cosines = values.numbers(ds, "ImageOrientationPatient", file, count=6, error=error).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1)
    if np.any(np.abs(lengths - 1) > 0.01):
        raise values.invalid("ImageOrientationPatient", file, "does not hold two unit vectors", error)
    axes = np.argmax(np.abs(cosines), axis=1)
    off = np.delete(cosines[0], axes[0]), np.delete(cosines[1], axes[1])
    if axes[0] == axes[1] or np.max(np.abs(off)) > AXIS_TOLERANCE:
        tilt = np.degrees(np.arcsin(min(1.0, np.max(np.linalg.norm(off, axis=1)))))
        raise error(
            "ORIENTATION_OBLIQUE",
            f"The image is tilted or oblique (about {tilt:.2f} degrees off the patient's axes); dosecalc takes images "
            "along the patient's axes only: resample the series without tilt.",
            file=file,
            tag=values.tag_name("ImageOrientationPatient"),
        )
    column, row = ((int(axis), 1 if cosines[k, axis] > 0 else -1) for k, axis in enumerate(axes))
    normal = np.cross(np.sign(np.round(cosines[0])), np.sign(np.round(cosines[1])))
    axis = int(np.argmax(np.abs(normal)))
    return Orientation(column, row, (axis, int(normal[axis])))


def read_position(ds: Dataset, file: str, error: ErrorType) -> NDArray[np.float64]:
    """Image Position (Patient), float64 [3], mm: the centre of the first pixel."""
    return values.numbers(
        ds, "ImagePositionPatient", file, count=3, minimum=-FURTHEST_MM, maximum=FURTHEST_MM, error=error
    )


def read_spacing(ds: Dataset, file: str, error: ErrorType) -> tuple[float, float]:
    """Pixel Spacing: (between rows, between columns), mm."""
    low, high = SPACING_LIMITS_MM
    between_rows, between_columns = values.numbers(
        ds, "PixelSpacing", file, count=2, minimum=low, maximum=high, error=error
    )
    return float(between_rows), float(between_columns)


def evenly_spaced(along_mm: NDArray[np.float64]) -> bool:
    """Whether rising positions are a regular series, to the tolerances of this module."""
    n = len(along_mm)
    regular = np.linspace(along_mm[0], along_mm[-1], n)
    spacing = (along_mm[-1] - along_mm[0]) / max(1, n - 1)
    return bool(np.max(np.abs(along_mm - regular)) <= max(EVEN_MM, EVEN_FRACTION * spacing))


def to_finest_spacing(
    stack: NDArray[np.float32], along_mm: NDArray[np.float64], file: str, error: ErrorType
) -> tuple[NDArray[np.float32], float]:
    """Planes at uneven positions, linearly interpolated to the finest spacing that they have.

    Parameters
    ----------
    stack : float32 [plane, row, column]
    along_mm : float64 [plane]
        Positions along the normal, rising.

    Returns
    -------
    stack, spacing_mm
        The first and the last plane stay where they are.

    Raises
    ------
    DicomError
        ``SPACING_IRREGULAR`` when that would need a multiple of the planes.
    """
    length = float(along_mm[-1] - along_mm[0])
    count = int(np.ceil(length / float(np.min(np.diff(along_mm))) - 1e-3)) + 1
    if count > LARGEST_REFINEMENT * len(along_mm):
        raise error(
            "SPACING_IRREGULAR",
            f"The planes' distances differ so much ({np.min(np.diff(along_mm)):.2f} to {np.max(np.diff(along_mm)):.2f} "
            "mm) that they make no regular grid; export evenly spaced planes.",
            file=file,
        )
    wanted = np.linspace(along_mm[0], along_mm[-1], count)
    below = np.clip(np.searchsorted(along_mm, wanted, side="right") - 1, 0, len(along_mm) - 2)
    weight = ((wanted - along_mm[below]) / (along_mm[below + 1] - along_mm[below])).astype(np.float32)
    out = np.empty((count, *stack.shape[1:]), dtype=np.float32)
    for k, (i, w) in enumerate(zip(below, weight, strict=True)):
        out[k] = (1 - w) * stack[i] + w * stack[i + 1]
    return out, length / (count - 1)


def to_volume(
    stack: NDArray[np.float32],
    first_mm: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
    orientation: Orientation,
    file: str,
    error: type[DicomError],
) -> Volume:
    """A stack of planes, turned into the order [z, y, x] with all axes rising.

    Parameters
    ----------
    stack : float32 [plane, row, column]
        Evenly spaced planes, rising along the normal.
    first_mm : float64 [3]
        Position of the first pixel of the first plane, patient frame.
    spacing_mm : (between planes, between rows, between columns)
    orientation : Orientation
    """
    directions = (orientation.normal, orientation.row, orientation.column)
    origin, spacing, order = list(map(float, first_mm)), [0.0, 0.0, 0.0], [0, 0, 0]
    for dimension, (axis, sign) in enumerate(directions):
        if sign < 0:
            origin[axis] -= spacing_mm[dimension] * (stack.shape[dimension] - 1)
            stack = np.flip(stack, dimension)
        spacing[axis] = spacing_mm[dimension]
        order[2 - axis] = dimension
    turned = np.transpose(stack, order)
    try:
        grid = Grid(
            (origin[0], origin[1], origin[2]),
            (spacing[0], spacing[1], spacing[2]),
            (turned.shape[0], turned.shape[1], turned.shape[2]),
        )
        return Volume(grid, np.ascontiguousarray(turned, dtype=np.float32))
    except GeometryError as cause:
        raise error(cause.reason, cause.message, file=file) from None
