"""Depth dose and profiles of a case beside its Monte Carlo reference, with their differences."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dosecalc.validation.case import Axis
from dosecalc.validation.curves import CurvePair
from dosecalc.validation.run import CaseResult

_REFERENCE, _ENGINE = "#1f2933", "#c2410c"
#: how far profiles are drawn beyond the edge of the field
_BESIDE_FIELD_CM = 4.0
_STYLE: Any = {"svg.hashsalt": "dosecalc", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
_COLOURS = ("#c2410c", "#0f766e", "#4338ca", "#a16207", "#9d174d", "#334155")


def draw_case(result: CaseResult) -> bytes:
    """Draw a case: depth dose at the left, profiles at the right where there are any, differences below.

    Returns
    -------
    bytes
        An SVG file.
    """
    profiles = result.curves.profiles
    columns = 2 if profiles else 1
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4 * columns, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(2, columns, squeeze=False, sharex="col", height_ratios=(2.4, 1))
        _depth_dose(axes[0, 0], axes[1, 0], result.curves.depth_dose)
        if profiles:
            _profiles(axes[0, 1], axes[1, 1], profiles, _largest(result))
            deepest = max(depth for _, depth in profiles)
            reach = max(result.case.field_cm) / 2 * (1 + deepest / result.case.ssd_cm) + _BESIDE_FIELD_CM
            axes[0, 1].set_xlim(-reach, reach)
        for ax in axes.flat:
            ax.grid(True, linewidth=0.4, color="#d9dee3")
            ax.spines[["top", "right"]].set_visible(False)
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _depth_dose(top: Axes, below: Axes, pair: CurvePair) -> None:
    top.set_title("Depth dose on the axis", loc="left")
    top.set_ylabel("dose per fluence, pGy cm²")
    below.set_ylabel("difference, %")
    below.set_xlabel("depth, cm")
    if not pair.position_cm.size:
        return
    _noisy(top, pair, 1e12, "Monte Carlo, 2 σ")
    top.plot(pair.position_cm, 1e12 * pair.evaluated, color=_ENGINE, linewidth=1.2, label="dosecalc")
    top.set_ylim(bottom=0)
    top.legend(frameon=False)
    scale = 100 / np.maximum(pair.reference, 1e-3 * pair.reference.max())
    _difference(below, pair, scale, _ENGINE)


def _profiles(top: Axes, below: Axes, profiles: dict[tuple[Axis, float], CurvePair], largest: float) -> None:
    both = any(axis == "y" for axis, _ in profiles)
    top.set_title("Profiles" if both else "Profiles along x", loc="left")
    top.set_ylabel("% of the largest dose on the axis")
    below.set_ylabel("difference,\n% of the axis")
    below.set_xlabel("x or y, cm" if both else "x, cm")
    for ((axis, depth), pair), colour in zip(profiles.items(), _COLOURS * len(profiles), strict=False):
        _noisy(top, pair, 100 / largest)
        top.plot(
            pair.position_cm,
            100 / largest * pair.evaluated,
            color=colour,
            linewidth=1.2,
            label=f"{axis}, {depth:g} cm deep" if both else f"{depth:g} cm deep",
        )
        central = float(np.interp(0.0, pair.position_cm, pair.reference))
        _difference(below, pair, np.full_like(pair.reference, 100 / central), colour)
    top.set_ylim(bottom=0)
    top.legend(frameon=False)


def _noisy(ax: Axes, pair: CurvePair, scale: float, label: str | None = None) -> None:
    """The reference as dots with bars of two standard deviations."""
    bars: dict[str, Any] = {"label": label, "fmt": ".", "markersize": 3, "elinewidth": 0.6, "color": _REFERENCE}
    ax.errorbar(pair.position_cm, scale * pair.reference, 2 * scale * pair.sigma, **bars)


def _difference(ax: Axes, pair: CurvePair, scale: np.ndarray[Any, Any], colour: str) -> None:
    noise = 2 * scale * pair.sigma
    ax.fill_between(pair.position_cm, -noise, noise, color=_REFERENCE, alpha=0.1, linewidth=0)
    ax.plot(pair.position_cm, scale * (pair.evaluated - pair.reference), color=colour, linewidth=1)
    ax.axhline(0, color=_REFERENCE, linewidth=0.6)


def _largest(result: CaseResult) -> float:
    return float(result.curves.depth_dose.reference.max())
