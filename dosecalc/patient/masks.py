"""Structures to voxels: how much of each voxel a structure fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from dosecalc.devices import offload
from dosecalc.geometry import Grid
from dosecalc.patient.contour_planes import ContourPlane, contour_planes
from dosecalc.patient.structures import Structure
from dosecalc_kernels.offload import Offload

FloatArray = NDArray[np.float64]


def fractional_mask(structure: Structure, grid: Grid, device: str | Offload = "cpu") -> NDArray[np.float32]:
    """The fraction of each voxel's volume that lies in a structure.

    In the plane the covered area is exact; along z each voxel takes from every slab of `contour_planes` the share that
    overlaps with it. The sum over voxels times their volume is therefore the volume of the slabs (within the grid), for
    any spacing of contours and voxels.

    Parameters
    ----------
    structure : Structure
    grid : Grid
        Where the mask is wanted; the structure may lie partly or wholly outside.
    device : str or Offload
        As `dosecalc.devices.offload` takes it.

    Returns
    -------
    float32 [nz, ny, nx]
        0 to 1.

    Raises
    ------
    PatientError
        ``CONTOUR_NOT_AXIAL``.
    """
    return mask_of_planes(contour_planes(structure), grid, device)


def mask_of_planes(planes: Sequence[ContourPlane], grid: Grid, device: str | Offload = "cpu") -> NDArray[np.float32]:
    """`fractional_mask` of slabs that were already made."""
    kernels = offload(device)
    mask = np.zeros(grid.shape, dtype=np.float32)
    edges = grid.edges_mm(2)
    for plane in planes:
        overlap = np.minimum(edges[1:], plane.upper_mm) - np.maximum(edges[:-1], plane.lower_mm)
        layers = np.flatnonzero(overlap > 0)
        if not len(layers) or plane.polygon.is_empty:
            continue
        rows, columns, coverage = _coverage_window(plane.polygon, grid, kernels)
        for k in layers:
            mask[k, rows, columns] += (overlap[k] / grid.spacing_mm[2] * coverage).astype(np.float32)
    return np.clip(mask, 0, 1, out=mask)


def coverage(polygon: BaseGeometry, grid: Grid, device: str | Offload = "cpu") -> FloatArray:
    """The fraction of each pixel of the grid's (x, y) plane that a valid polygon covers, float64 [ny, nx]."""
    result = np.zeros(grid.shape[1:])
    if not polygon.is_empty:
        rows, columns, window = _coverage_window(polygon, grid, offload(device))
        result[rows, columns] = window
    return result


def _coverage_window(polygon: BaseGeometry, grid: Grid, kernels: Offload) -> tuple[slice, slice, FloatArray]:
    """Coverage of the rows and columns that the polygon's bounding box touches."""
    x0, y0, x1, y1 = polygon.bounds
    columns = _window(x0, x1, grid, 0)
    rows = _window(y0, y1, grid, 1)
    corner = np.array([grid.edges_mm(0)[columns.start], grid.edges_mm(1)[rows.start]])
    rings = [(xy - corner) / grid.spacing_mm[:2] for xy in _oriented_rings(polygon)]
    offsets = np.cumsum([0, *(len(r) for r in rings)], dtype=np.int64)
    ny, nx = rows.stop - rows.start, columns.stop - columns.start
    window = kernels.run("polygon_coverage", ny * nx, np.concatenate(rings), offsets, ny, nx)
    return rows, columns, np.clip(window, 0.0, 1.0)


def _window(low_mm: float, high_mm: float, grid: Grid, axis: int) -> slice:
    n = grid.shape[2 - axis]
    lower = grid.lower_mm[axis]
    first, last = ((v - lower) / grid.spacing_mm[axis] for v in (low_mm, high_mm))
    start = int(np.clip(np.floor(first), 0, n - 1))
    return slice(start, int(np.clip(np.ceil(last), start + 1, n)))


def _oriented_rings(polygon: BaseGeometry) -> Iterator[FloatArray]:
    """Vertices of shells counter-clockwise and of holes clockwise, without the repeated last point."""
    for part in shapely.get_parts(polygon):
        yield _turned(part.exterior, counter_clockwise=True)
        for hole in part.interiors:
            yield _turned(hole, counter_clockwise=False)


def _turned(ring: BaseGeometry, *, counter_clockwise: bool) -> FloatArray:
    xy: FloatArray = shapely.get_coordinates(ring)[:-1]
    return xy if bool(shapely.is_ccw(ring)) == counter_clockwise else xy[::-1]
