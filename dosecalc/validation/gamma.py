"""Gamma against a noisy reference: the share of voxels that pass when the noise is allowed for.

Low et al. 1998, Med Phys 25:656. The reference's statistical uncertainty widens the dose criterion of each voxel to
sqrt(criterion^2 + (2 sigma)^2); the evaluated dose is interpolated between its voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

FloatArray = NDArray[np.float64]

#: positions that are tried per distance criterion: the interpolated dose changes little over an eighth of it
_STEPS = 8


def gamma_pass_rate(
    centres_mm: tuple[FloatArray, FloatArray, FloatArray],
    reference: FloatArray,
    evaluated: FloatArray,
    sigma: FloatArray,
    counted: NDArray[np.bool_],
    dose_percent: float,
    distance_mm: float,
    threshold_percent: float = 10.0,
) -> float:
    """Percentage of the counted voxels above the threshold with gamma not above 1, global normalisation.

    Parameters
    ----------
    centres_mm : three float64 arrays
        Voxel centres of both doses along the axes 0, 1, 2.
    reference, evaluated, sigma : float64 [n0, n1, n2]
        The noisy reference, what is held against it, and one standard deviation of the reference; one unit.
    counted : bool [n0, n1, n2]
        Voxels that are judged.
    dose_percent, threshold_percent : float
        Percent of the reference's maximum among the counted voxels.
    distance_mm : float
    """
    maximum = float(reference[counted].max())
    index = np.nonzero(counted & (reference >= threshold_percent / 100 * maximum))
    points = np.stack([centres_mm[a][index[a]] for a in range(3)], -1)
    wanted = reference[index]
    tolerance2 = (dose_percent / 100 * maximum) ** 2 + (2 * sigma[index]) ** 2
    field = RegularGridInterpolator(centres_mm, evaluated, bounds_error=False, fill_value=np.nan)
    left = np.flatnonzero((evaluated[index] - wanted) ** 2 > tolerance2)
    for offset in _offsets(distance_mm):
        if not left.size:
            break
        share = 1 - (offset @ offset) / distance_mm**2
        difference2 = (field(points[left] + offset) - wanted[left]) ** 2
        # a place beyond the grid has no dose and cannot pass
        left = left[~(difference2 <= share * tolerance2[left])]
    return 100.0 * (1 - left.size / wanted.size)


def _offsets(distance_mm: float) -> FloatArray:
    """Displacements within the criterion, nearest first, float64 [n, 3]."""
    line = np.arange(-_STEPS, _STEPS + 1) / _STEPS
    cube = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    radius = np.linalg.norm(cube, axis=1)
    keep = radius <= 1.0
    return np.asarray(cube[keep][np.argsort(radius[keep], kind="stable")] * distance_mm)
