"""DVH sampling on CUDA. Contract: `dosecalc_kernels.contract`, "Dose-volume histograms"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("dvh")
#: volumes are added up on the device as whole numbers of this part of a mm3, as in dvh.cu
_UNITS_PER_MM3 = 2.0**33

FloatArray = NDArray[np.float64]


def inside(launcher: Launcher, x0_mm: float, y0_mm: float, step_mm: float, nx: int, ny: int, segments_mm: Any) -> Any:
    """Twin of `dosecalc_kernels.cpu.dvh.inside`."""
    out = launcher.empty((ny, nx), np.bool_)
    segments = launcher.put(segments_mm, np.float64)
    launcher.over(_SOURCE, "inside", nx * ny, [x0_mm, y0_mm, step_mm, nx, ny, segments, len(segments), out])
    return launcher.as_given(out, segments_mm)


def signed_distance(
    launcher: Launcher,
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    segments_mm: Any,
    within: Any,
    wanted: Any,
    band_mm: float,
) -> tuple[Any, Any, Any]:
    """Twin of `dosecalc_kernels.cpu.dvh.signed_distance`; the distance of every node is exact, wanted or not."""
    ny, nx = within.shape
    out = [launcher.empty((ny, nx), np.float64) for _ in range(3)]
    segments = launcher.put(segments_mm, np.float64)
    launcher.over(
        _SOURCE, "signed_distance", nx * ny,
        [x0_mm, y0_mm, step_mm, nx, ny, segments, len(segments), launcher.put(within, np.bool_), *out],
    )  # fmt: skip
    distance, ux, uy = (launcher.as_given(o, segments_mm, within) for o in out)
    return distance, ux, uy


def chord_power(
    launcher: Launcher, x_mm: Any, y_mm: Any, ux: Any, uy: Any, segments_mm: Any, radius_mm: float
) -> tuple[Any, Any, Any]:
    """Twin of `dosecalc_kernels.cpu.dvh.chord_power`."""
    n = len(x_mm)
    out = [launcher.empty(n, np.float64) for _ in range(3)]
    points = [launcher.put(a, np.float64) for a in (x_mm, y_mm, ux, uy)]
    segments = launcher.put(segments_mm, np.float64)
    launcher.over(_SOURCE, "chord_power", n, [*points, n, segments, len(segments), radius_mm, *out])
    power, begin, end = (launcher.as_given(o, x_mm) for o in out)
    return power, begin, end


def accumulate(
    launcher: Launcher,
    constant: Any,
    linear: Any,
    quadratic: Any,
    never_grow: bool,
    hole_first: Any,
    hole_last: Any,
    x0_mm: float,
    y0_mm: float,
    step_mm: float,
    z0_mm: float,
    height_mm: float,
    sublayers: int,
    face_first: bool,
    face_last: bool,
    weight_first: float,
    weight_last: float,
    dose_gy: Any,
    origin_mm: FloatArray,
    spacing_mm: FloatArray,
    low_gy: float,
    bin_gy: float,
    mass: FloatArray,
    step: FloatArray,
    totals: FloatArray,
) -> None:
    """Twin of `dosecalc_kernels.cpu.dvh.accumulate`; ``mass``, ``step`` and ``totals`` lie on the host."""
    ny, nx = constant.shape
    first_layer = -1 if face_first else 0
    layers = sublayers + (1 if face_last else 0) - first_layer
    rasters = [launcher.put(a, np.float64) for a in (constant, linear, quadratic)]
    holes = [launcher.put(a, np.float64) for a in (hole_first, hole_last)]
    numbers = [x0_mm, y0_mm, step_mm, z0_mm, height_mm, weight_first, weight_last, low_gy, bin_gy]
    n = layers * max(0, ny - 1)
    if n == 0:
        return
    bins, steps = (launcher.zeros(a.shape, np.int64) for a in (mass, step))
    rows = launcher.empty((n, 5), np.float64)
    launcher.over(
        _SOURCE, "accumulate", n,
        [*rasters, bool(never_grow), *holes, ny, nx, launcher.put(np.array(numbers), np.float64), first_layer, layers,
         sublayers, launcher.put(dose_gy, np.float32), *dose_gy.shape, _grid(launcher, origin_mm, spacing_mm),
         bins, steps, len(mass), rows],
        block=128,
    )  # fmt: skip
    # all of it before any is added: who computes elsewhere after a fault must find the sums as they were
    in_bins, in_steps, found = (np.asarray(launcher.get(a)) for a in (bins, steps, rows))
    mass += in_bins / _UNITS_PER_MM3
    step += in_steps / _UNITS_PER_MM3
    totals[0], totals[1] = min(totals[0], found[:, 0].min()), max(totals[1], found[:, 1].max())
    totals[2:] += found[:, 2:].sum(axis=0)


def raster_area(launcher: Launcher, values: Any, step_mm: float) -> float:
    """Twin of `dosecalc_kernels.cpu.dvh.raster_area`."""
    ny, nx = values.shape
    rows = launcher.zeros(max(0, ny - 1), np.float64)
    launcher.over(_SOURCE, "raster_area", ny - 1, [launcher.put(values, np.float64), ny, nx, rows])
    return float(np.asarray(launcher.get(rows)).sum()) * step_mm * step_mm


def extremes(
    launcher: Launcher, points_mm: Any, dose_gy: Any, origin_mm: FloatArray, spacing_mm: FloatArray, totals: FloatArray
) -> None:
    """Twin of `dosecalc_kernels.cpu.dvh.extremes`; ``totals`` lies on the host."""
    n = len(points_mm)
    if n == 0:
        return
    low, high = (launcher.empty(n, np.float64) for _ in range(2))
    launcher.over(
        _SOURCE, "extremes", n,
        [launcher.put(points_mm, np.float64), n, launcher.put(dose_gy, np.float32), *dose_gy.shape,
         _grid(launcher, origin_mm, spacing_mm), low, high],
    )  # fmt: skip
    lowest, highest = launcher.get(low).min(), launcher.get(high).max()
    totals[0], totals[1] = min(totals[0], lowest), max(totals[1], highest)


def _grid(launcher: Launcher, origin_mm: FloatArray, spacing_mm: FloatArray) -> Any:
    return launcher.put(np.concatenate([origin_mm, spacing_mm]), np.float64)
