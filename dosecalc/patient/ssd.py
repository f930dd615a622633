"""Source to surface distance, found in the density that the dose is computed in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates

from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume

#: distance between samples along the ray; the surface is interpolated between them
_STEP_MM = 0.5


def central_axis_ssd_mm(
    density: Volume,
    source_patient_mm: ArrayLike,
    isocentre_patient_mm: ArrayLike,
    threshold_g_cm3: float = 0.5,
) -> float | None:
    """Distance from the source to where the central axis first meets the density threshold.

    The density is interpolated linearly between voxel centres, so a face between air and water lies where half of
    water's density is reached: the default threshold finds it without bias. Outside the grid is air.

    Parameters
    ----------
    density : Volume
        Mass density, g/cm3.
    source_patient_mm, isocentre_patient_mm : float [3]
        Patient frame, mm; the ray goes from the source through the isocentre and on.
    threshold_g_cm3 : float
        What counts as surface.

    Returns
    -------
    float or None
        mm; None when the axis never meets the threshold.

    Raises
    ------
    GeometryError
        ``RAY_INVALID`` when source and isocentre coincide or are not finite.
    """
    source = np.asarray(source_patient_mm, dtype=np.float64)
    axis = np.asarray(isocentre_patient_mm, dtype=np.float64) - source
    length = float(np.linalg.norm(axis))
    if not np.isfinite(length) or length == 0:
        raise GeometryError("RAY_INVALID", "The central axis needs a source and an isocentre that differ.")
    axis /= length
    enter, leave = _span_in_box(density.grid, source, axis)
    if leave <= enter:
        return None
    t = np.linspace(enter, leave, int(np.ceil((leave - enter) / _STEP_MM)) + 1)
    values = _sample(density, source + t[:, None] * axis)
    inside = values >= threshold_g_cm3
    if not inside.any():
        return None
    first = int(np.argmax(inside))
    if first == 0:
        return float(t[0])
    below, above = values[first - 1], values[first]
    return float(t[first - 1] + (t[first] - t[first - 1]) * (threshold_g_cm3 - below) / (above - below))


def _span_in_box(grid: Grid, source: np.ndarray, axis: np.ndarray) -> tuple[float, float]:
    """Distances at which the ray enters and leaves the box that the voxels fill; empty when leave <= enter."""
    lower, upper = np.array(grid.lower_mm), np.array(grid.upper_mm)
    enter, leave = 0.0, np.inf
    for lo, hi, p, d in zip(lower, upper, source, axis, strict=True):
        if abs(d) < 1e-12:
            if not lo <= p <= hi:
                return 0.0, 0.0
            continue
        near, far = sorted(((lo - p) / d, (hi - p) / d))
        enter, leave = max(enter, near), min(leave, far)
    return enter, leave


def _sample(density: Volume, points_mm: np.ndarray) -> np.ndarray:
    grid = density.grid
    index_xyz = (points_mm - np.array(grid.origin_mm)) / np.array(grid.spacing_mm)
    # "nearest" continues the outermost voxels to their outer faces
    values: np.ndarray = map_coordinates(
        density.values, index_xyz[:, ::-1].T, output=np.float64, order=1, mode="nearest", prefilter=False
    )
    return values
