"""Averages over overlapping boxes, dominant materials and trilinear samples (Numba)."""

from __future__ import annotations

from math import floor

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def average_axis(
    values: NDArray[np.float32], first: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """See `dosecalc_kernels.contract.average_axis`."""
    outer, n, inner = values.shape
    m, width = weights.shape
    result = np.empty((outer, m, inner), dtype=np.float32)
    total = np.empty(inner)
    for a in range(outer):
        for k in range(m):
            total[:] = 0.0
            for w in range(width):
                s = first[k] + w
                weight = weights[k, w]
                if weight == 0.0 or s < 0 or s >= n:
                    continue
                for b in range(inner):
                    total[b] += weight * values[a, s, b]
            for b in range(inner):
                result[a, k, b] = total[b]
    return result


@njit(cache=True, nogil=True)
def dominant_material(
    material: NDArray[np.uint8],
    density: NDArray[np.float32],
    n_materials: int,
    first_z: NDArray[np.int64],
    weights_z: NDArray[np.float64],
    first_y: NDArray[np.int64],
    weights_y: NDArray[np.float64],
    first_x: NDArray[np.int64],
    weights_x: NDArray[np.float64],
    outside_material: int,
    outside_density: float,
) -> NDArray[np.uint8]:
    """See `dosecalc_kernels.contract.dominant_material`."""
    sz, sy, sx = material.shape
    nz, ny, nx = weights_z.shape[0], weights_y.shape[0], weights_x.shape[0]
    result = np.empty((nz, ny, nx), dtype=np.uint8)
    mass = np.empty(n_materials)
    for k in range(nz):
        for j in range(ny):
            for i in range(nx):
                mass[:] = 0.0
                inside = 0.0
                for c in range(weights_z.shape[1]):
                    z = first_z[k] + c
                    wz = weights_z[k, c]
                    if wz == 0.0 or z < 0 or z >= sz:
                        continue
                    for b in range(weights_y.shape[1]):
                        y = first_y[j] + b
                        wzy = wz * weights_y[j, b]
                        if wzy == 0.0 or y < 0 or y >= sy:
                            continue
                        for a in range(weights_x.shape[1]):
                            x = first_x[i] + a
                            weight = wzy * weights_x[i, a]
                            if weight == 0.0 or x < 0 or x >= sx:
                                continue
                            mass[material[z, y, x]] += weight * density[z, y, x]
                            inside += weight
                mass[outside_material] += max(0.0, 1.0 - inside) * outside_density
                best = 0
                for m in range(1, n_materials):
                    if mass[m] > mass[best]:
                        best = m
                result[k, j, i] = best
    return result


@njit(cache=True, nogil=True)
def trilinear(values: NDArray[np.float32], index_zyx: NDArray[np.float64], outside: float) -> NDArray[np.float32]:
    """See `dosecalc_kernels.contract.trilinear`."""
    nz, ny, nx = values.shape
    n = index_zyx.shape[0]
    result = np.empty(n, dtype=np.float32)
    for p in range(n):
        z, y, x = index_zyx[p, 0], index_zyx[p, 1], index_zyx[p, 2]
        # written so that a NaN is outside
        if not (-0.5 <= z <= nz - 0.5 and -0.5 <= y <= ny - 0.5 and -0.5 <= x <= nx - 0.5):
            result[p] = outside
            continue
        z, y, x = min(max(z, 0.0), nz - 1.0), min(max(y, 0.0), ny - 1.0), min(max(x, 0.0), nx - 1.0)
        k, j, i = floor(z), floor(y), floor(x)
        k1, j1, i1 = min(k + 1, nz - 1), min(j + 1, ny - 1), min(i + 1, nx - 1)
        c, b, a = z - k, y - j, x - i
        low = (values[k, j, i] * (1 - a) + values[k, j, i1] * a) * (1 - b) + (
            values[k, j1, i] * (1 - a) + values[k, j1, i1] * a
        ) * b
        high = (values[k1, j, i] * (1 - a) + values[k1, j, i1] * a) * (1 - b) + (
            values[k1, j1, i] * (1 - a) + values[k1, j1, i1] * a
        ) * b
        result[p] = low * (1 - c) + high * c
    return result
