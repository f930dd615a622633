"""Measurements that cannot be what they say they are, refused by name before anything is fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from dosecalc.commissioning.curves import Curve, FloatArray
from dosecalc.commissioning.formats.folder import LeftOut
from dosecalc.commissioning.formats.text import refuse
from dosecalc.commissioning.shape import by_position, depth_of_maximum_mm, field_edges
from dosecalc.errors import InputError
from dosecalc.machine import Machine

#: fewest points that show the shape of each kind
FEWEST_POINTS = {"depth_dose": 10, "profile": 20, "output_factors": 2, "tpr": 5}
#: megavoltage photons have their maximum between a few millimetres and five centimetres of water
_MAXIMUM_MM = (3.0, 50.0)
#: a depth dose must fall beyond its maximum, and be followed this far, to tell anything of a spectrum
_BEYOND_MAXIMUM_MM = 50.0
#: electrometer offsets below zero that are no sign of a wrong file
_NEGATIVE_SHARE = 0.002
#: a profile whose middle lies farther from the axis was not centred, or is of another field
_OFF_CENTRE_MM = 3.0
#: agreement of a profile's width with the field that the file names
_WIDTH_MM, _WIDTH_SHARE = 4.0, 0.03
#: dose at mirrored points inside an open field on the axis
_ASYMMETRY = 0.1
#: two curves of the same thing agree within this share of their maximum, or they contradict
_SAME = 0.02
#: largest detector whose volume the second-order average of the model is good for (docs/commissioning.md)
_DETECTOR_MM = 8.0


class MeasurementsRefused(InputError):
    """Several curves are refused.

    Parameters
    ----------
    problems : sequence of InputError
        Each with its own reason, file and curve.
    """

    def __init__(self, problems: Sequence[InputError]) -> None:
        super().__init__(
            "MEASUREMENTS_REFUSED",
            f"{len(problems)} things are wrong with the measurements; nothing was fitted. "
            "Mend the files, or leave curves out with --skip.",
        )
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[object, ...]:
        return (MeasurementsRefused, (self.problems,))


def check(curves: Sequence[Curve], machine: Machine) -> tuple[tuple[Curve, ...], tuple[LeftOut, ...]]:
    """Refuse nonsense; drop repeated scans that agree.

    Returns
    -------
    curves : tuple of Curve
        Without repetitions.
    left_out : tuple of LeftOut
        The repetitions.

    Raises
    ------
    InputError
        The only problem, or all of them as `MeasurementsRefused`.
    """
    problems = [p for c in curves for p in _problems(c, machine)]
    left_out: list[LeftOut] = []
    if not problems:
        problems, left_out = _compare(curves)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise MeasurementsRefused(problems)
    gone = {(x.file, x.curve) for x in left_out}
    return tuple(c for c in curves if (c.file, c.name) not in gone), tuple(left_out)


def _problems(curve: Curve, machine: Machine) -> Iterator[InputError]:
    """The first thing wrong with a curve by itself: what comes after it may only be its consequence."""
    for test in (_numbers, _unit, _detector, _field, _PER_KIND[curve.kind]):
        message = test(curve, machine)
        if message is not None:
            yield refuse(message[0], f"{_capital(curve.title)}: {message[1]}", curve.file, curve.name)
            return


_Found = tuple[str, str] | None


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _numbers(curve: Curve, _machine: Machine) -> _Found:
    few = FEWEST_POINTS[curve.kind]
    if len(np.unique(curve.abscissa if curve.kind != "output_factors" else curve.value)) < few:
        return "MEASUREMENT_TOO_FEW_POINTS", f"it has {len(curve.value)} different points, at least {few} are needed."
    top = float(curve.value.max())
    if top <= 0:
        return "MEASUREMENT_NEGATIVE", "no dose is above zero; the sign of the signal is reversed or the scan is empty."
    lowest = int(curve.value.argmin())
    if curve.value[lowest] < -_NEGATIVE_SHARE * top:
        return (
            "MEASUREMENT_NEGATIVE",
            f"the dose is negative ({curve.value[lowest]:g} at {curve.abscissa[lowest]:g} mm); subtract the leakage.",
        )
    if curve.kind != "profile" and float(curve.points_mm[:, 2].min()) < 0:
        return "MEASUREMENT_DEPTH", "a depth is negative; depths count from the water surface downwards."
    return None


def _unit(curve: Curve, _machine: Machine) -> _Found:
    top = float(curve.value.max())
    if curve.unit == "percent" and not 20 <= top <= 250:
        return "MEASUREMENT_UNITS", f"its unit is percent and its largest value {top:g}; is the unit relative?"
    if curve.unit == "relative" and not 0.2 <= top <= 3:
        return "MEASUREMENT_UNITS", f"its unit is relative (to 1) and its largest value {top:g}; is it percent?"
    side = max(max(s.field_mm) for s in curve.setups)
    if side < 5:
        return "MEASUREMENT_UNITS", f"its field is {side:g} mm; fields are given in mm, is this cm?"
    ssd = curve.setups[0].ssd_mm
    if not 400 <= ssd <= 3000:
        return "MEASUREMENT_UNITS", f"its SSD is {ssd:g} mm; 400 to 3000 mm are possible, is this cm?"
    return None


def _detector(curve: Curve, _machine: Machine) -> _Found:
    d = curve.detector_diameter_mm
    if d is not None and not 0 < d <= _DETECTOR_MM:
        return (
            "DETECTOR_SIZE",
            f"its detector is {d:g} mm wide; up to {_DETECTOR_MM:g} mm can be modelled; measure penumbrae with a "
            "smaller one.",
        )
    return None


def _field(curve: Curve, machine: Machine) -> _Found:
    for setup in curve.setups:
        jaws = (machine.jaw_x, machine.jaw_y)
        for side, jaw, axis in zip(setup.field_mm, jaws, "xy", strict=True):
            limits = jaw.limits_mm if jaw else machine.mlc.limits_mm if machine.mlc else (-side, side)
            if side / 2 > limits[1] + 1e-6:
                return "FIELD_TOO_LARGE", f"the field's side along {axis}, {side:g} mm, is beyond {machine.name}."
        if setup.shaped_by == "leaves" and machine.mlc is None:
            return "LEAVES_MISSING", f"its field is shaped by leaves, and {machine.name} has none."
    return None


def _depth_dose(curve: Curve, _machine: Machine) -> _Found:
    depth, value = by_position(curve)
    top = depth_of_maximum_mm(curve)
    deepest = float(depth[-1])
    if value[-1] >= 0.97 * value.max():
        return (
            "DEPTH_DOSE_RISES",
            f"it still rises or stays at its deepest point ({deepest:g} mm); is depth reversed, or is this a profile?",
        )
    largest = float(depth[value.argmax()])
    if deepest < 60 and largest < _MAXIMUM_MM[0]:
        return (
            "MEASUREMENT_UNITS",
            f"its maximum is at {largest:g} mm, its end at {deepest:g} mm; are the depths in cm? They must be in mm.",
        )
    if not _MAXIMUM_MM[0] <= top <= _MAXIMUM_MM[1]:
        return (
            "DEPTH_DOSE_MAXIMUM",
            f"its maximum is at {top:.1f} mm; photons of these energies have it at {_MAXIMUM_MM[0]:g} to "
            f"{_MAXIMUM_MM[1]:g} mm. Is the depth scale shifted or reversed, or the energy another?",
        )
    if deepest < top + _BEYOND_MAXIMUM_MM:
        return "DEPTH_DOSE_SHORT", f"it ends at {deepest:g} mm, {deepest - top:.0f} mm beyond its maximum; scan deeper."
    rise = _largest_rise(depth, value, top)
    if rise > 0.05 * value.max():
        return (
            "DEPTH_DOSE_RISES",
            f"beyond its maximum it rises by {100 * rise / value.max():.0f} % of it; scan it again.",
        )
    return None


def _largest_rise(depth: FloatArray, value: FloatArray, top_mm: float) -> float:
    fall = value[depth >= top_mm]
    return float((fall - np.minimum.accumulate(fall)).max())


def _profile(curve: Curve, machine: Machine) -> _Found:
    edges = field_edges(curve)
    if edges is None:
        return (
            "PROFILE_WITHOUT_FIELD",
            "it shows no field: its dose does not rise and fall across two edges. Is it a depth dose, or too short?",
        )
    if abs(edges.centre_mm) > _OFF_CENTRE_MM:
        return (
            "PROFILE_OFF_CENTRE",
            f"its field lies around {edges.centre_mm:+.1f} mm, more than {_OFF_CENTRE_MM:g} mm from the axis; centre "
            "the tank, or leave out asymmetric fields.",
        )
    setup = curve.setups[0]
    side = setup.field_mm[0 if curve.axis == "x" else 1]
    expected = side * (setup.ssd_mm + curve.depth_mm) / machine.sad_mm
    if abs(edges.width_mm - expected) > max(_WIDTH_MM, _WIDTH_SHARE * expected):
        return (
            "FIELD_SIZE_CONTRADICTED",
            f"its field is {edges.width_mm:.1f} mm wide, and {side:g} mm at the isocentre would be {expected:.1f} mm "
            "there; one of field, SSD, depth and axis is wrong.",
        )
    position, value = by_position(curve)
    inside = np.linspace(-0.4, 0.4, 41) * edges.width_mm + edges.centre_mm
    shape = np.interp(inside, position, value)
    uneven = float(np.abs(shape / shape[::-1] - 1).max())
    if uneven > _ASYMMETRY:
        return "PROFILE_ASYMMETRIC", f"its two sides differ by {100 * uneven:.0f} %; is there a wedge in the beam?"
    return None


def _output_factors(curve: Curve, _machine: Machine) -> _Found:
    order = np.argsort(curve.abscissa)
    side, value = curve.abscissa[order], curve.value[order] / curve.value.max()
    fall = (np.maximum.accumulate(value) - value).max()
    if fall > 0.02 or value[0] < 0.3:
        return (
            "OUTPUT_FACTORS_IMPLAUSIBLE",
            f"they fall by {100 * fall:.1f} % towards larger fields, and the smallest ({side[0]:g} mm) is "
            f"{value[0]:.2f} of the largest; output rises with the field.",
        )
    return None


def _tpr(curve: Curve, machine: Machine) -> _Found:
    sad = curve.setups[0].ssd_mm + float(curve.points_mm[0, 2])
    if abs(sad - machine.sad_mm) > 1:
        return (
            "TPR_DISTANCE",
            f"its detector stands at {sad:g} mm, the isocentre of {machine.name} at {machine.sad_mm:g}.",
        )
    return _depth_dose(curve, machine)


_PER_KIND: dict[str, Callable[[Curve, Machine], _Found]] = {
    "depth_dose": _depth_dose,
    "profile": _profile,
    "output_factors": _output_factors,
    "tpr": _tpr,
}


def _compare(curves: Sequence[Curve]) -> tuple[list[InputError], list[LeftOut]]:
    """Curves of the same thing: contradictions are refused, repetitions left out."""
    problems, repeated = [], {}
    for a, b in combinations(curves, 2):
        if (b.file, b.name) in repeated or not _same_thing(a, b):
            continue
        off = _difference(a, b)
        if off > _SAME:
            problems.append(
                refuse(
                    "CURVES_CONTRADICT",
                    f"{_capital(a.title)}: it was measured twice, and the two differ by {100 * off:.1f} % of the "
                    f"maximum (the other is {b.name} of {b.file}); leave out the wrong one.",
                    a.file, a.name,
                )
            )  # fmt: skip
        else:
            repeated[(b.file, b.name)] = LeftOut(b.file, b.name, f"it repeats {a.name} of {a.file}")
    return problems, list(repeated.values())


def _same_thing(a: Curve, b: Curve) -> bool:
    if (a.kind, a.axis, a.setups) != (b.kind, b.axis, b.setups):
        return False
    if a.kind != "profile":
        return True
    across = 1 if a.axis == "x" else 0
    return abs(a.depth_mm - b.depth_mm) < 0.5 and abs(a.points_mm[0, across] - b.points_mm[0, across]) < 0.5


def _difference(a: Curve, b: Curve) -> float:
    """Largest difference where both are flat enough to compare, as a share of the maximum.

    Scaled to each other by least squares, because the unit of a scan is free; within a millimetre of each other.
    """
    (xa, va), (xb, vb) = by_position(a), by_position(b)
    low, high = max(xa[0], xb[0]), min(xa[-1], xb[-1])
    if high <= low:
        return 0.0
    x = np.linspace(low, high, 400)
    fa, fb = np.interp(x, xa, va), np.interp(x, xb, vb)
    fb *= (fa @ fb) / (fb @ fb)
    slack = np.abs(np.gradient(fa, x))  # what one millimetre of position changes
    return float(np.maximum(np.abs(fa - fb) - slack, 0).max() / fa.max())
