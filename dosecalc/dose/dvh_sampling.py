"""The dose in a structure as a fine histogram: what all DVH statistics are read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.devices import offload
from dosecalc.dose.dvh_shape import Part, Plane, Resolution, ShapeModel, pieces_of, planes_of, volume_estimate_mm3
from dosecalc.errors import InputError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.structures import Structure
from dosecalc_kernels.offload import Offload

FloatArray = NDArray[np.float64]

#: bins over the range of dose around the structure; within a bin volume is linear in dose, because every sample is
#: spread over the doses that occur in its cell
FINE_BINS = 16384
MIN_SAMPLES = 100_000
MAX_SAMPLES = 1_000_000


@dataclass(frozen=True, eq=False)
class DoseSamples:
    """Dose in the part of a structure that the dose grid covers.

    Parameters
    ----------
    volume_cm3, covered_cm3 : float
        The structure, and its part inside the dose grid.
    edges_gy : float64 [n + 1]
        Doses, rising.
    cumulative_cm3 : float64 [n + 1]
        Covered volume that receives at least the dose of the edge; linear in between.
    min_gy, max_gy, mean_gy : float
        Of the covered part, the first two including its surface; NaN when nothing is covered.
    """

    volume_cm3: float
    covered_cm3: float
    edges_gy: FloatArray
    cumulative_cm3: FloatArray
    min_gy: float
    max_gy: float
    mean_gy: float


def sample_dose(
    structure: Structure,
    dose: Volume,
    *,
    shape: ShapeModel | None = None,
    min_samples: int = MIN_SAMPLES,
    max_samples: int = MAX_SAMPLES,
    device: str | Offload = "cpu",
) -> DoseSamples:
    """Integrate a dose over a structure.

    Parameters
    ----------
    structure : Structure
    dose : Volume
        Gy. Trilinear between voxel centres; in the outer half of the outermost voxels the outermost value holds.
    shape : ShapeModel, optional
        What the structure is between and beyond its contours.
    min_samples, max_samples : int
        Bounds of the number of samples; within them the structure's own size decides.
    device : str or Offload
        Where to add up, as `dosecalc.devices.offload` takes it; what the structure is, is found on the CPU.

    Raises
    ------
    InputError
        ``DOSE_NOT_FINITE`` when the dose near the structure holds NaN or infinity.
    PatientError
        ``CONTOUR_NOT_AXIAL``.
    """
    planes = planes_of(structure)
    volume = volume_estimate_mm3(planes)
    if not volume > 0:
        return _nothing(0.0)
    low, high = _dose_range(planes, dose)
    bin_gy = (high - low) / FINE_BINS
    mass, step = np.zeros(FINE_BINS), np.zeros(FINE_BINS + 1)
    totals = np.array([np.inf, -np.inf, 0.0, 0.0, 0.0])
    origin, spacing = np.array(dose.grid.origin_mm), np.array(dose.grid.spacing_mm)
    resolution = Resolution.for_volume(volume, min_samples, max_samples)
    kernels = offload(device)
    values = kernels.hold(dose.values)
    for p in pieces_of(planes, shape or ShapeModel(), resolution):
        kernels.run(
            "accumulate", p.constant.size * p.sublayers,
            p.constant, p.linear, p.quadratic, p.never_grow, p.hole_first, p.hole_last,
            p.x0_mm, p.y0_mm, p.step_mm, p.z0_mm, p.height_mm, p.sublayers,
            p.face_first, p.face_last, p.weight_first, p.weight_last,
            values, origin, spacing, low, bin_gy, mass, step, totals,
        )  # fmt: skip
    surface = _surface_points(planes, spacing)
    kernels.run("extremes", len(surface), surface, values, origin, spacing, totals)
    minimum, maximum, total_mm3, covered_mm3, dose_sum = totals.tolist()
    if not covered_mm3 > 0:
        return _nothing(total_mm3 / 1000.0)
    per_bin = np.maximum(mass + np.cumsum(step[:-1]), 0.0)
    per_bin *= covered_mm3 / 1000.0 / per_bin.sum()
    cumulative: FloatArray = np.concatenate((np.cumsum(per_bin[::-1])[::-1], [0.0]))
    edges: FloatArray = low + bin_gy * np.arange(FINE_BINS + 1, dtype=np.float64)
    return DoseSamples(
        total_mm3 / 1000.0, covered_mm3 / 1000.0, edges, cumulative, minimum, maximum, dose_sum / covered_mm3
    )


def _nothing(volume_cm3: float) -> DoseSamples:
    nan = float("nan")
    return DoseSamples(volume_cm3, 0.0, np.zeros(1), np.zeros(1), nan, nan, nan)


def _bounds(planes: tuple[Plane, ...]) -> tuple[FloatArray, FloatArray]:
    boxes = np.array([p.geometry.bounds for plane in planes for p in plane.parts])
    # a closing end reaches at most twice as far as its slab
    z_low = min(2.0 * p.lower_mm - p.z_mm for p in planes)
    z_high = max(2.0 * p.upper_mm - p.z_mm for p in planes)
    return np.array([*boxes[:, :2].min(axis=0), z_low]), np.array([*boxes[:, 2:].max(axis=0), z_high])


def _dose_range(planes: tuple[Plane, ...], dose: Volume) -> tuple[float, float]:
    """Least and largest dose of the voxels about the structure, never equal."""
    lower, upper = _bounds(planes)
    grid = dose.grid
    window = []
    for axis in (2, 1, 0):
        centres = _index(grid, axis, lower[axis]), _index(grid, axis, upper[axis])
        window.append(slice(max(0, int(centres[0]) - 2), min(grid.shape[2 - axis], int(centres[1]) + 4)))
    block = dose.values[window[0], window[1], window[2]]
    if block.size == 0:
        return 0.0, 1.0
    low, high = float(block.min()), float(block.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("DOSE_NOT_FINITE", "The dose holds values that are not finite numbers; compute it again.")
    return low, max(high, low + 1e-6 * max(1.0, abs(low)))


def _index(grid: Grid, axis: int, at_mm: float) -> float:
    n = grid.shape[2 - axis]
    return float(np.clip(np.floor((at_mm - grid.origin_mm[axis]) / grid.spacing_mm[axis]), -n - 8, 2 * n + 8))


def _surface_points(planes: tuple[Plane, ...], spacing_mm: FloatArray) -> FloatArray:
    """Points of all contours, edges divided so that no dose voxel is stepped over; float64 [n, 3]."""
    longest = float(spacing_mm.min()) / 2.0
    points = []
    for plane in planes:
        for part in plane.parts:
            points.append(_along(part, plane.z_mm, longest))
    return np.concatenate(points)


def _along(part: Part, z_mm: float, longest_mm: float) -> FloatArray:
    s = part.segments_mm
    length = np.hypot(s[:, 2] - s[:, 0], s[:, 3] - s[:, 1])
    count = np.minimum(np.maximum(np.ceil(length / longest_mm), 1), 1000).astype(np.int64)
    edge = np.repeat(np.arange(len(s)), count)
    t = (np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)) / count[edge]
    x = s[edge, 0] + t * (s[edge, 2] - s[edge, 0])
    y = s[edge, 1] + t * (s[edge, 3] - s[edge, 1])
    return np.column_stack((x, y, np.full(len(x), z_mm)))
