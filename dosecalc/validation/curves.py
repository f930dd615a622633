"""Measures on curves: depth doses and profiles of an engine beside those of a noisy reference.

A difference "counts" as far as it exceeds two standard deviations of the reference's mean, so that noise does not
fail a perfect engine; raw differences stand beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CurvePair:
    """Reference and evaluated dose along a line.

    Parameters
    ----------
    position_cm : float64 [n]
        Ascending.
    reference, evaluated, sigma : float64 [n]
        Dose, the engine's dose, and one standard deviation of the reference; one unit.
    """

    position_cm: FloatArray
    reference: FloatArray
    evaluated: FloatArray
    sigma: FloatArray

    def where(self, keep: NDArray[np.bool_]) -> CurvePair:
        """The points of a mask."""
        return CurvePair(self.position_cm[keep], self.reference[keep], self.evaluated[keep], self.sigma[keep])


@dataclass(frozen=True)
class Differences:
    """Statistics of differences, percent of a scale.

    Parameters
    ----------
    worst, mean_absolute, bias : float
        Largest absolute, mean absolute and mean difference.
    worst_at_cm : float
        Where the largest counted difference is.
    worst_counted, mean_counted : float
        The same of what exceeds two standard deviations of the reference.
    """

    worst: float
    worst_at_cm: float
    mean_absolute: float
    bias: float
    worst_counted: float
    mean_counted: float


def differences(pair: CurvePair, scale: FloatArray | float) -> Differences:
    """Differences of all points in percent of ``scale`` (the reference itself for local ones); NaN without points."""
    if not pair.position_cm.size:
        return Differences(*(float("nan"),) * 6)
    d = 100 * (pair.evaluated - pair.reference) / scale
    noise = 100 * pair.sigma / np.abs(scale)
    counted = np.maximum(np.abs(d) - 2 * noise, 0.0)
    return Differences(
        worst=float(np.abs(d).max()),
        worst_at_cm=float(pair.position_cm[int(np.argmax(counted))]),
        mean_absolute=float(np.abs(d).mean()),
        bias=float(d.mean()),
        worst_counted=float(counted.max()),
        mean_counted=float(counted.mean()),
    )


def depth_of_maximum_cm(pair: CurvePair) -> float:
    """Where the evaluated (noiseless) depth dose is highest."""
    return float(pair.position_cm[int(np.argmax(pair.evaluated))]) if pair.position_cm.size else float("nan")


@dataclass(frozen=True)
class BuildUp:
    """Agreement before the maximum.

    Parameters
    ----------
    worst_percent_of_maximum : float
        Largest counted difference, percent of the maximum.
    worst_of_either : float
        For each point the smaller of difference over its criterion and distance over its criterion, where the distance
        is that along depth to the place at which the evaluated curve has the reference's dose; the largest of these.
        Up to 1 passes.
    """

    worst_percent_of_maximum: float
    worst_of_either: float


def build_up(pair: CurvePair, percent: float = 2.0, distance_mm: float = 1.0) -> BuildUp:
    """Compare the rising part of a depth dose; points down to the maximum of the evaluated curve."""
    if not pair.position_cm.size:
        return BuildUp(float("nan"), float("nan"))
    maximum = float(pair.evaluated.max())
    rising = pair.position_cm < depth_of_maximum_cm(pair)
    if not rising.any():
        return BuildUp(0.0, 0.0)
    part = pair.where(rising)
    difference = np.abs(part.evaluated - part.reference)
    counted = 100 * np.maximum(difference - 2 * part.sigma, 0.0) / maximum
    upto = pair.position_cm <= depth_of_maximum_cm(pair)
    # the rising branch as depth over dose; a dose that it never reaches is met at its end
    dose, depth = np.maximum.accumulate(pair.evaluated[upto]), pair.position_cm[upto]
    distance = 10 * np.abs(np.interp(part.reference, dose, depth) - part.position_cm)
    distance[part.reference < dose[0]] = np.inf  # lower than anywhere on the branch: no place has this dose
    either = np.minimum(counted / percent, distance / distance_mm)
    return BuildUp(float(counted.max()), float(either.max()))


def penumbra_mm(position_cm: FloatArray, dose: FloatArray) -> float:
    """Distance between 20 and 80 % of the dose on the axis, mean of both sides, mm.

    Parameters
    ----------
    position_cm : float64 [n]
        Ascending, with places on both sides of 0.
    dose : float64 [n]
    """
    central = float(np.interp(0.0, position_cm, dose))
    widths = []
    for side in (-1.0, 1.0):
        x, d = _outwards(position_cm * side, dose / central)
        widths.append(_falls_to(x, d, 0.2) - _falls_to(x, d, 0.8))
    return 10 * float(np.mean(widths))


def half_width_mm(position_cm: FloatArray, dose: FloatArray) -> float:
    """Distance of the 50 % level from the middle between both 50 % levels, mm."""
    central = float(np.interp(0.0, position_cm, dose))
    edges = []
    for side in (-1.0, 1.0):
        x, d = _outwards(position_cm * side, dose / central)
        edges.append(_falls_to(x, d, 0.5))
    return 10 * float(np.mean(edges))


def _outwards(position: FloatArray, dose: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(position)
    x, d = position[order], dose[order]
    return x[x >= 0], d[x >= 0]


def _falls_to(x: FloatArray, d: FloatArray, level: float) -> float:
    """The last place, going outwards, at which the curve passes a level downwards; NaN when it does not."""
    above = np.flatnonzero((d[:-1] >= level) & (d[1:] < level))
    if not above.size:
        return float("nan")
    i = int(above[-1])
    return float(x[i] + (d[i] - level) / (d[i] - d[i + 1]) * (x[i + 1] - x[i]))
