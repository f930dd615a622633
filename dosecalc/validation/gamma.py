"""Gamma against a noisy reference: the share of voxels that pass when the noise is allowed for.

Low et al. 1998, Med Phys 25:656. The reference's statistical uncertainty widens the dose criterion of each voxel to
sqrt(criterion^2 + (2 sigma)^2); the evaluated dose is interpolated between its voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosecalc.dose.gamma import Criterion, gamma_on_axes
from dosecalc.validation.case import GAMMA_THRESHOLD_PERCENT

FloatArray = NDArray[np.float64]

#: only whether gamma exceeds 1 is asked for, so the search ends just above
_SEARCH_ENDS = 1.01


def gamma_pass_rate(
    centres_mm: tuple[FloatArray, FloatArray, FloatArray],
    reference: FloatArray,
    evaluated: FloatArray,
    sigma: FloatArray,
    counted: NDArray[np.bool_],
    dose_percent: float,
    distance_mm: float,
    threshold_percent: float = GAMMA_THRESHOLD_PERCENT,
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

    Raises
    ------
    InputError
        ``DOSE_ZERO``, and as `gamma_on_axes`.
    """
    maximum = float(np.max(reference, where=counted, initial=0.0))
    criterion = Criterion(dose_percent, distance_mm)
    # uncounted voxels must not be searched, only interpolated in: as reference doses they are below the threshold
    result = gamma_on_axes(
        centres_mm,
        np.where(counted, reference, 0.0) / (maximum or 1.0),
        centres_mm,
        evaluated / (maximum or 1.0),
        criterion,
        threshold_percent=threshold_percent,
        max_gamma=_SEARCH_ENDS,
        reference_sigma_gy=sigma / (maximum or 1.0),
    )
    return result[criterion].pass_rate_in(counted)
