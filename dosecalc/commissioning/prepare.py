"""Measured curves as the fit sees them: which points count, how sure each is, and where it really was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.commissioning.curves import Curve, FloatArray
from dosecalc.commissioning.shape import depth_of_maximum_mm, field_edges, gradient

#: most points of one curve: points of a scan are not independent, and more of them would only pretend so
_MOST_POINTS = {"depth_dose": 40, "profile": 60, "output_factors": 200, "tpr": 8}
#: depths beyond which nothing is fitted: plans have no dose there, and tanks get shallow
DEEPEST_MM = 300.0
#: the first depths, which no detector and no voxel resolves
SHALLOWEST_MM = 4.0
#: how far beside the field profiles count; where MPPG 5.b ends its low-dose tail
TAIL_MM = 50.0


@dataclass(frozen=True)
class Uncertainty:
    """What a measured point is taken to be uncertain by, standard deviations.

    Parameters
    ----------
    dose : float
        Share of the value itself: readings, detector, and what the engine is good for.
    floor : float
        Share of the curve's largest value, which counts where the dose is low.
    position_mm : float
        Of the detector, mm: counts where the dose is steep.
    """

    dose: float = 0.005
    floor: float = 0.002
    position_mm: float = 0.5


@dataclass(frozen=True, eq=False)
class Prepared:
    """A curve for the fit.

    Parameters
    ----------
    curve : Curve
        The whole curve, profiles centred.
    shift_mm : float
        How far a profile was off the axis.
    chosen : bool [n]
        Points that are fitted.
    sigma : float64 [n]
        Standard deviation of each value, in its unit.
    """

    curve: Curve
    shift_mm: float
    chosen: NDArray[np.bool_]
    sigma: FloatArray


def prepare(curve: Curve, uncertainty: Uncertainty) -> Prepared:
    """Centre, weigh and thin a curve."""
    shift = 0.0
    counts = curve.points_mm[:, 2] <= DEEPEST_MM
    if curve.kind == "profile":
        edges = field_edges(curve)
        assert edges is not None  # the checks refuse profiles without a field
        shift = edges.centre_mm
        curve = _shifted(curve, -shift)
        counts &= np.abs(curve.abscissa) <= edges.width_mm / 2 + TAIL_MM
    elif curve.kind in ("depth_dose", "tpr"):
        # a TPR in the build-up would be a phantom for each of its points
        first = SHALLOWEST_MM if curve.kind == "depth_dose" else depth_of_maximum_mm(curve)
        counts &= curve.abscissa >= first
    sigma = _sigma(curve, uncertainty)
    return Prepared(curve, shift, counts & _thinned(curve, counts), sigma)


def _shifted(curve: Curve, by_mm: float) -> Curve:
    from dataclasses import replace

    points = curve.points_mm.copy()
    points[:, 0 if curve.axis == "x" else 1] += by_mm
    return replace(curve, points_mm=points, abscissa=curve.abscissa + by_mm)


def _sigma(curve: Curve, uncertainty: Uncertainty) -> FloatArray:
    dose = np.hypot(uncertainty.dose * curve.value, uncertainty.floor * float(curve.value.max()))
    if curve.kind == "output_factors":
        return dose
    return np.asarray(np.hypot(dose, uncertainty.position_mm * gradient(curve)))


def _thinned(curve: Curve, counts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Points evenly spread along the curve as drawn, so that steep parts keep theirs."""
    (where,) = np.nonzero(counts)
    most = _MOST_POINTS[curve.kind]
    keep = np.zeros(len(counts), np.bool_)
    if len(where) <= most:
        keep[where] = True
        return keep
    order = where[np.argsort(curve.abscissa[where], kind="stable")]
    x, y = curve.abscissa[order], curve.value[order]
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x) / np.ptp(x), np.diff(y) / np.ptp(y)))])
    keep[order[np.searchsorted(length, np.linspace(0, length[-1], most), side="left").clip(max=len(order) - 1)]] = True
    return keep
