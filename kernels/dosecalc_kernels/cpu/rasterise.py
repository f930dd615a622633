"""Exact area coverage of polygons on a pixel grid (Numba)."""

from __future__ import annotations

from math import floor

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def polygon_coverage(xy: NDArray[np.float64], ring_offsets: NDArray[np.int64], ny: int, nx: int) -> NDArray[np.float64]:
    """See `dosecalc_kernels.contract.polygon_coverage`."""
    # Every edge adds, per pixel that it crosses, its height times the share of the pixel to its right; the rest of the
    # row to the right gets the whole height through the running sum at the end.
    steps = np.zeros((ny, nx + 1))
    for ring in range(ring_offsets.size - 1):
        first, last = ring_offsets[ring], ring_offsets[ring + 1]
        for k in range(first, last):
            n = k + 1 if k + 1 < last else first
            _add_edge(steps, xy[k, 0], xy[k, 1], xy[n, 0], xy[n, 1])
    for j in range(ny):
        total = 0.0
        for i in range(nx):
            total += steps[j, i]
            steps[j, i] = total
    return steps[:, :nx].copy()


@njit(cache=True, nogil=True)
def _add_edge(steps: NDArray[np.float64], x0: float, y0: float, x1: float, y1: float) -> None:
    if y0 == y1:
        return
    sign = -1.0  # upwards: the inside of a counter-clockwise ring lies to the left
    if y0 > y1:
        x0, y0, x1, y1 = x1, y1, x0, y0
        sign = 1.0
    ny = steps.shape[0]
    slope = (x1 - x0) / (y1 - y0)
    low, high = max(y0, 0.0), min(y1, float(ny))
    if low >= high:
        return
    for j in range(floor(low), ny):
        a, b = max(low, float(j)), min(high, float(j + 1))
        if a >= b:
            break
        _add_row(steps, j, x0 + slope * (a - y0), x0 + slope * (b - y0), sign * (b - a))


@njit(cache=True, nogil=True)
def _add_row(steps: NDArray[np.float64], j: int, xa: float, xb: float, height: float) -> None:
    """The part of an edge within row j, from xa to xb, of signed height."""
    nx = steps.shape[1] - 1
    left, right = min(xa, xb), max(xa, xb)
    if right <= 0.0:
        steps[j, 0] += height
        return
    if left >= nx:
        return
    width = right - left
    if left < 0.0:
        steps[j, 0] += height * (-left / width)
    for i in range(int(max(floor(left), 0.0)), nx):
        a, b = max(left, float(i)), min(right, float(i + 1))
        if width > 0.0 and a >= b:
            break
        part = height * (b - a) / width if width > 0.0 else height
        past = 0.5 * (a + b) - i  # mean distance from the pixel's left side
        steps[j, i] += part * (1.0 - past)
        steps[j, i + 1] += part * past
        if width == 0.0:
            break
