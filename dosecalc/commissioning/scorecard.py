"""A scorecard with the tolerances of AAPM MPPG 5.b, for the tests that scans in water can answer.

Source: Geurts, Jacqmin, Jones, Kry, Mihailidis, Ohrt, Ritter, Smilowitz, Wingreen 2022, AAPM Medical Physics Practice
Guideline 5.b, J Appl Clin Med Phys 23:e13641, table 1 (read in the open-access text). What the guideline asks for and
scans in water cannot show (5.2, 5.4 to 8, electrons) is not scored, and said so.

The guideline gives the high dose and the tail tolerances in dose, the penumbra a distance. Where a dose counts as steep
it is not said: here from 3 % of the largest per mm, which is 30 %/cm, an assumption. What is steep is judged by
distance, wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosecalc.commissioning.curves import FloatArray
from dosecalc.commissioning.fit import CurveResult
from dosecalc.commissioning.prepare import DEEPEST_MM, TAIL_MM
from dosecalc.commissioning.shape import crossings, depth_of_maximum_mm, field_edges, gradient

SOURCE = "AAPM MPPG 5.b (Geurts et al. 2022, J Appl Clin Med Phys 23:e13641), table 1"
#: per cent of the local dose: commissioning data again (5.3), and the high-dose region with one parameter changed
SPOT_CHECK_PERCENT = HIGH_DOSE_PERCENT = 2.0
#: distance to agreement in the penumbra, mm
PENUMBRA_MM = 2.0
#: per cent of the field's maximum, up to 5 cm beside the field
TAIL_PERCENT = 3.0
#: per cent of the dose at the calibration point (5.1)
CALIBRATION_PERCENT = 0.5
#: share of the largest dose per mm from which a place counts as steep
_STEEP_PER_MM = 0.03
#: the part of a field that counts as high dose, and the doses between which its penumbra lies, of the axis
_INNER_SHARE = 0.8
_PENUMBRA = (0.2, 0.8)
NOT_SCORED = (
    "Not scored, because scans of open fields in water cannot show it: clinical against physics module (5.2), small "
    "and irregular MLC fields (5.4, 5.5), off-axis fields behind the primary collimator (5.6), oblique surfaces (5.8), "
    "heterogeneities (6), IMRT and VMAT (7), electrons (8)."
)


@dataclass(frozen=True)
class Score:
    """One test on one curve.

    Parameters
    ----------
    test : str
        What is judged, in the guideline's words.
    curve : str
    worst, limit : float
    unit : str
    within : float
        Share of the points within the limit, 0 to 1.
    where : str
        Where the worst point is.
    """

    test: str
    curve: str
    worst: float
    limit: float
    unit: str
    within: float
    where: str

    @property
    def met(self) -> bool:
        """Whether every point is within the limit."""
        return self.worst <= self.limit


def score(curves: Sequence[CurveResult], calibration_error_percent: float) -> tuple[Score, ...]:
    """Score a fitted model, its calibration first.

    Parameters
    ----------
    curves : sequence of CurveResult
    calibration_error_percent : float
        Dose at the calibration point, as `compute_dose` gives it with the written model, against the model's own.
    """
    error = abs(calibration_error_percent)
    first = Score(
        "5.1 absolute dose under calibration conditions", "calibration point", error, CALIBRATION_PERCENT, "%",
        float(error <= CALIBRATION_PERCENT), "",
    )  # fmt: skip
    return (first, *(s for c in curves for s in _of_curve(c)))


def _of_curve(result: CurveResult) -> Iterator[Score]:
    curve = result.curve
    if curve.kind == "profile":
        yield from _of_profile(result)
    elif curve.kind == "output_factors":
        yield _share("5.3 output factors, against commissioning data", result, _everywhere(result), _local(result))
    else:
        counts = curve.abscissa >= depth_of_maximum_mm(curve)
        counts &= curve.abscissa <= DEEPEST_MM
        yield _share("5.3 depth dose beyond the maximum, against commissioning data", result, counts, _local(result))


def _everywhere(result: CurveResult) -> NDArray[np.bool_]:
    return np.ones(len(result.curve.value), np.bool_)


def _local(result: CurveResult) -> FloatArray:
    """Differences, per cent of the measured dose there."""
    value = result.curve.value
    return np.asarray(100 * (result.after - value) / np.maximum(value, 1e-6 * value.max()))


def _share(test: str, result: CurveResult, counts: NDArray[np.bool_], off: FloatArray, limit: float = 2.0) -> Score:
    off, at = np.abs(off[counts]), result.curve.abscissa[counts]
    worst = int(off.argmax())
    within = float((off <= limit).mean())
    return Score(test, result.curve.title, float(off[worst]), limit, "%", within, f"{at[worst]:.0f} mm")


def _of_profile(result: CurveResult) -> Iterator[Score]:
    curve = result.curve
    edges = field_edges(curve)
    assert edges is not None  # the checks refuse profiles without a field
    slope = np.abs(gradient(curve))
    steep = slope > _STEEP_PER_MM * curve.value.max()
    beside = np.abs(curve.abscissa) - edges.width_mm / 2
    inner = (np.abs(curve.abscissa) <= _INNER_SHARE * edges.width_mm / 2) & ~steep
    if inner.any():
        yield _share("high dose, inside 80 % of the field", result, inner, _local(result), HIGH_DOSE_PERCENT)
    penumbra = _penumbra(result, steep, slope)
    if penumbra is not None:
        yield penumbra
    tail = (beside > _beyond_penumbra(result)) & (beside <= TAIL_MM) & ~steep
    if tail.any():
        off = 100 * (result.after - curve.value) / curve.value.max()
        yield _share("low-dose tail, to 5 cm beside the field", result, tail, off, TAIL_PERCENT)


def _levels(result: CurveResult) -> list[tuple[float, float, float]]:
    """Measured and modelled places of some doses in the penumbrae: (level, measured, modelled), mm."""
    curve = result.curve
    axis = float(np.interp(0.0, curve.abscissa, curve.value)) if np.all(np.diff(curve.abscissa) > 0) else None
    axis = axis if axis is not None else float(np.median(curve.value[np.abs(curve.abscissa) < 5]))
    found = []
    for level in np.linspace(*_PENUMBRA, 7):
        order = np.argsort(curve.abscissa, kind="stable")
        x = curve.abscissa[order]
        pair = [crossings(x, v[order], level * axis) for v in (curve.value, result.after)]
        if pair[0] is not None and pair[1] is not None:
            found += [(level, pair[0].lower_mm, pair[1].lower_mm), (level, pair[0].upper_mm, pair[1].upper_mm)]
    return found


def _penumbra(result: CurveResult, steep: NDArray[np.bool_], slope: FloatArray) -> Score | None:
    """Distances in the penumbra, mm.

    Between the places where the measured and the modelled dose are 20, 30, ... 80 % of the axis; and, at every other
    steep point, the distance that the difference of the doses is worth there.
    """
    places = [(abs(b - a), f"{100 * level:.0f} % at {a:+.0f} mm") for level, a, b in _levels(result)]
    curve = result.curve
    for i in np.flatnonzero(steep):
        off = abs(result.after[i] - curve.value[i]) / slope[i]
        share = curve.value[i] / curve.value.max()
        if not _PENUMBRA[0] <= share <= _PENUMBRA[1]:
            places.append((float(off), f"{100 * share:.0f} % at {curve.abscissa[i]:+.0f} mm"))
    if not places:
        return None
    worst, where = max(places)
    within = float(np.mean([d <= PENUMBRA_MM for d, _ in places]))
    return Score("penumbra, 20 to 80 %, and steep parts", curve.title, worst, PENUMBRA_MM, "mm", within, where)


def _beyond_penumbra(result: CurveResult) -> float:
    """How far beside the edge the dose falls below the penumbra's 20 %, mm."""
    edges = field_edges(result.curve)
    outer = [abs(a) for level, a, _ in _levels(result) if level == _PENUMBRA[0]]
    assert edges is not None  # the checks refuse profiles without a field
    return max(0.0, max(outer, default=0.0) - edges.width_mm / 2)


def before_fit(curves: Sequence[CurveResult]) -> tuple[CurveResult, ...]:
    """The same curves with the starting model in the fitted one's place, to score it likewise."""
    return tuple(replace(c, after=c.before) for c in curves)
