"""What a curve shows by itself: its maximum, where its field's edges are, how wide and how centred it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from dosecalc.commissioning.curves import Curve, FloatArray

#: gradients are taken over this distance on each side, more than the noise of neighbouring points, mm
_GRADIENT_MM = 1.5
#: an edge of a flattened field lies where the dose is half of that on the axis
_HALF = 0.5


#: without a plateau: the part of the half width from which the dose is continued to the edge
_SHOULDER = (0.4, 0.7)
#: how far from the steepest place an edge is looked for, mm, and how often with a better level
_NEAR_MM, _REFINEMENTS = 10.0, 3


@dataclass(frozen=True)
class Edges:
    """Edges of a profile's field, mm, on the scale of its own depth."""

    lower_mm: float
    upper_mm: float

    @property
    def centre_mm(self) -> float:
        """Middle between the edges."""
        return (self.lower_mm + self.upper_mm) / 2

    @property
    def width_mm(self) -> float:
        """Distance of the edges."""
        return self.upper_mm - self.lower_mm


def by_position(curve: Curve) -> tuple[FloatArray, FloatArray]:
    """Positions ascending, and the values there; repeated positions averaged."""
    position, index = np.unique(curve.abscissa, return_inverse=True)
    return position, np.bincount(index, curve.value) / np.bincount(index)


def gradient(curve: Curve) -> FloatArray:
    """What the value changes by along the curve, per mm: float64 [n]."""
    position, value = by_position(curve)
    low = np.maximum(curve.abscissa - _GRADIENT_MM, position[0])
    high = np.minimum(curve.abscissa + _GRADIENT_MM, position[-1])
    return np.asarray((np.interp(high, position, value) - np.interp(low, position, value)) / (high - low))


def field_edges(curve: Curve) -> Edges | None:
    """Edges of a profile's field; None where one of them is not in the profile.

    Flattened beams: where the dose crosses half of its largest value around the middle of the field. Beams without
    flattening filter have no plateau to halve: near where it falls most steeply (inflection points lie within 1 mm of
    the nominal field also without a filter, Wendykier and others 2021, Rep Pract Oncol Radiother 26:553, abstract),
    where it is half of what the inside of the field, continued to the edge, would be there. The steepest place alone is
    lost in the noise of a scan.
    """
    position, value = by_position(curve)
    if len(position) < 5:
        return None
    if curve.fluence_mode == "FFF":
        return _half_of_shoulders(position, value)
    return crossings(position, value, _HALF * _plateau(position, value))


def crossings(position: FloatArray, value: FloatArray, level: float) -> Edges | None:
    """Outermost places where a curve crosses a level on the way from below to above and back."""
    above = np.flatnonzero(value >= level)
    if len(above) == 0 or above[0] == 0 or above[-1] == len(value) - 1:
        return None
    lower = _between(position, value, above[0] - 1, level)
    upper = _between(position, value, above[-1], level)
    return Edges(lower, upper)


def _plateau(position: FloatArray, value: FloatArray) -> float:
    """Dose in the middle of what lies above half the maximum: not the horns, not a spike."""
    rough = crossings(position, value, _HALF * float(value.max()))
    if rough is None:
        return float(value.max())
    middle = np.abs(position - rough.centre_mm) <= max(rough.width_mm * 0.1, np.diff(position).min())
    return float(value[middle].mean()) if middle.any() else float(np.interp(rough.centre_mm, position, value))


def _between(position: FloatArray, value: FloatArray, i: int, level: float) -> float:
    a, b = value[i], value[i + 1]
    return float(position[i] + (level - a) / (b - a) * (position[i + 1] - position[i]))


def _half_of_shoulders(position: FloatArray, value: FloatArray) -> Edges | None:
    rough = _steepest(position, value)
    if rough is None:
        return None
    sides = [_half_of_shoulder((position - rough.centre_mm) * s, value, rough.width_mm / 2) for s in (-1, 1)]
    if sides[0] is None or sides[1] is None:
        return None
    return Edges(rough.centre_mm - sides[0], rough.centre_mm + sides[1])


def _half_of_shoulder(outwards: FloatArray, value: FloatArray, edge: float) -> float | None:
    """Distance of one edge from the middle, from a rough one."""
    order = np.argsort(outwards)
    x, v = outwards[order], value[order]
    for _ in range(_REFINEMENTS):
        inside = (x > _SHOULDER[0] * edge) & (x < _SHOULDER[1] * edge)
        if inside.sum() < 2:
            return edge  # a field of a few points
        slope, offset = np.polyfit(x[inside], v[inside], 1)
        level = _HALF * (offset + slope * edge)
        near = np.flatnonzero((np.abs(x - edge) <= _NEAR_MM) & (v >= level))
        if len(near) == 0 or near[-1] == len(x) - 1:
            return None
        edge = _between(x, v, int(near[-1]), level)
    return edge


def _steepest(position: FloatArray, value: FloatArray) -> Edges | None:
    top = float(value.max())
    fine = np.linspace(position[0], position[-1], 8 * len(position))
    slope = CubicSpline(position, value)(fine, 1)
    lower, upper = int(slope.argmax()), int(slope.argmin())
    # a field's edge falls by tens of per cent within millimetres; noise and the cone of the beam do not
    if upper <= lower or min(slope[lower], -slope[upper]) < 0.01 * top:
        return None
    return Edges(float(fine[lower]), float(fine[upper]))


def depth_of_maximum_mm(curve: Curve) -> float:
    """Depth of the largest dose, by a parabola through the points around it."""
    depth, value = by_position(curve)
    top = int(value.argmax())
    near = np.abs(depth - depth[top]) <= 5.0
    if near.sum() < 4 or top in (0, len(depth) - 1):
        return float(depth[top])
    a, b, _ = np.polyfit(depth[near] - depth[top], value[near], 2)
    return float(depth[top] + np.clip(-b / (2 * a), -5.0, 5.0)) if a < 0 else float(depth[top])
