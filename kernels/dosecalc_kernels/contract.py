"""What every kernel computes: signature, shapes, dtypes, units, frame, reference.

The functions here are specifications and have no body; ``cpu`` and ``cuda`` hold implementations of the same names and
arguments. Arrays are C-contiguous. Nothing here knows of beams, plans or files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]


# ---------------------------------------------------------------------------------------------------------------------
# Masks and resampling (cpu/rasterise.py, cpu/resample.py)


def polygon_coverage(xy: FloatArray, ring_offsets: IntArray, ny: int, nx: int) -> FloatArray:
    """Exact share of each pixel that polygons cover.

    Parameters
    ----------
    xy : float64 [n, 2]
        Vertices in pixels: pixel [j, i] fills i <= x <= i + 1, j <= y <= j + 1. They may lie outside.
    ring_offsets : int64 [m + 1]
        Ring r has the vertices ``ring_offsets[r]`` to ``ring_offsets[r + 1]``, its last is joined to its first. Shells
        run counter-clockwise (x to y), holes clockwise; rings that do not cross each other give 0 to 1.
    ny, nx : int

    Returns
    -------
    float64 [ny, nx]
        Signed area: the sum over rings of the area within the pixel, exact but for rounding.
    """
    raise NotImplementedError


def average_axis(values: Float32Array, first: IntArray, weights: FloatArray) -> Float32Array:
    """Weighted sums along the middle axis: ``result[a, k, b] = sum_w weights[k, w] values[a, first[k] + w, b]``.

    Parameters
    ----------
    values : float32 [outer, n, inner]
    first : int64 [m]
        May be negative; indices outside 0 to n - 1 count as zero.
    weights : float64 [m, width]

    Returns
    -------
    float32 [outer, m, inner]
        Summed in float64.
    """
    raise NotImplementedError


def dominant_material(
    material: NDArray[np.uint8],
    density: Float32Array,
    n_materials: int,
    first_z: IntArray,
    weights_z: FloatArray,
    first_y: IntArray,
    weights_y: FloatArray,
    first_x: IntArray,
    weights_x: FloatArray,
    outside_material: int,
    outside_density: float,
) -> NDArray[np.uint8]:
    """The material of most mass in each target voxel.

    Parameters
    ----------
    material, density : uint8, float32 [nz, ny, nx]
        Density in g/cm3.
    n_materials : int
        All of ``material`` lies below it.
    first_*, weights_* : int64 [m], float64 [m, width]
        Per axis, as in `average_axis`; the share of a target voxel that a source voxel fills is the product.
    outside_material : int
    outside_density : float
        What fills the rest of a target voxel, g/cm3.

    Returns
    -------
    uint8 [mz, my, mx]
        Of equal masses the lowest index.
    """
    raise NotImplementedError


def trilinear(values: Float32Array, index_zyx: FloatArray, outside: float) -> Float32Array:
    """Trilinear interpolation at fractional indices.

    Parameters
    ----------
    values : float32 [nz, ny, nx]
    index_zyx : float64 [n, 3]
        Voxel [k, j, i] has its centre at (k, j, i). Up to half a voxel beyond the outermost centres, their value holds.
    outside : float
        Value further out, and where an index is not a number.

    Returns
    -------
    float32 [n]
    """
    raise NotImplementedError
