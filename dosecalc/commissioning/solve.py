"""Least squares of a function that costs minutes: as few evaluations, and as few derivatives, as will do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

FloatArray = NDArray[np.float64]

#: arrived when the sum of squares is expected to fall by less: together the parameters are then within a third of a
#: standard error of the minimum
_ARRIVED = 0.1
#: or by less than this share: what a model that does not quite fit leaves is larger, and the derivatives not exact
_SHARE = 1e-3
#: largest change of a parameter in the first step; parameters count in units of their priors
_FIRST_REACH = 3.0
#: derivatives are used again as long as they foretell what a step gains within this share
_FORETOLD = 0.2


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the sum of squares is least.

    Parameters
    ----------
    x : float64 [p]
    jacobian : float64 [n, p]
        Derivatives there.
    arrived : bool
        Whether it ended because nothing was to be gained any more.
    """

    x: FloatArray
    jacobian: FloatArray
    arrived: bool


def minimise(
    residuals: Callable[[FloatArray], FloatArray],
    derivatives: Callable[[FloatArray], FloatArray],
    x: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    most_steps: int,
) -> Minimum:
    """Minimise a sum of squares by Gauss-Newton steps within bounds and a box of trust.

    Each step solves the linear problem in the box (`scipy.optimize.lsq_linear`). A step that does not gain is taken
    back and the box made a quarter of it.

    Parameters
    ----------
    residuals : callable
        float64 [p] -> float64 [n].
    derivatives : callable
        float64 [p] -> float64 [n, p]; need not be exact.
    x : float64 [p]
        Start.
    bounds : (float64 [p], float64 [p])
    most_steps : int
    """
    reach, here = _FIRST_REACH, residuals(x)
    jacobian, at = derivatives(x), x
    arrived = False
    for _ in range(most_steps):
        box = np.maximum(bounds[0] - x, -reach), np.minimum(bounds[1] - x, reach)
        step = lsq_linear(jacobian, -here, box).x
        expected = _sum(here) - _sum(here + jacobian @ step)
        if expected < max(_ARRIVED, _SHARE * _sum(here)):
            arrived = True
            break
        there = residuals(x + step)
        gained = _sum(here) - _sum(there)
        if gained > 0:
            x, here = x + step, there
            reach = max(reach, 2 * float(np.abs(step).max()))
        else:
            reach = float(np.abs(step).max()) / 4
        if at is not x and abs(gained - expected) > _FORETOLD * expected:
            jacobian, at = derivatives(x), x
    return Minimum(x, jacobian if at is x else derivatives(x), arrived)


def _sum(values: FloatArray) -> float:
    return float(values @ values)
