"""Averages of a voxel array over other voxels, by the volumes that they share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def overlap(source_edges: FloatArray, target_edges: FloatArray) -> FloatArray:
    """Share of each target interval that lies in each source interval, float64 [targets, sources].

    Parameters
    ----------
    source_edges, target_edges : float64 [n + 1], [m + 1]
        Ascending, any one unit. Rows of targets that reach beyond the source sum to less than 1.
    """
    lower = np.maximum(source_edges[None, :-1], target_edges[:-1, None])
    upper = np.minimum(source_edges[None, 1:], target_edges[1:, None])
    return np.asarray(np.maximum(upper - lower, 0.0) / np.diff(target_edges)[:, None])


def rebin(
    values: NDArray[np.floating], source_edges: tuple[FloatArray, ...], target_edges: tuple[FloatArray, ...]
) -> FloatArray:
    """Mean of a piecewise constant field over the voxels of another grid; zero beyond the source.

    Parameters
    ----------
    values : float [n0, n1, n2]
    source_edges, target_edges : three float64 arrays each
        Voxel boundaries along the axes 0, 1, 2.
    """
    out = np.asarray(values, np.float64)
    for axis, (source, target) in enumerate(zip(source_edges, target_edges, strict=True)):
        out = np.moveaxis(np.tensordot(overlap(source, target), out, (1, axis)), 0, axis)
    return out
