"""A measured curve beside the model that was fitted to it, with what is left of the difference."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dosecalc.commissioning.fit import CurveResult

_MEASURED, _FITTED, _BEFORE = "#1f2933", "#c2410c", "#94a3b8"
_STYLE: Any = {"svg.hashsalt": "dosecalc", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
_ABSCISSA = {
    "depth_dose": "depth, mm",
    "profile": "position, mm",
    "output_factors": "side of the equivalent square, mm",
    "tpr": "depth, mm",
}


def draw_curve(result: CurveResult) -> bytes:
    """Draw a curve: measurement, starting model and fitted model above, differences below.

    Returns
    -------
    bytes
        An SVG file.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        FigureCanvasSVG(figure)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        _doses(top, result)
        _differences(below, result)
        below.set_xlabel(_ABSCISSA[result.curve.kind])
        for ax in (top, below):
            ax.grid(True, linewidth=0.4, color="#d9dee3")
            ax.spines[["top", "right"]].set_visible(False)
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _doses(ax: Axes, result: CurveResult) -> None:
    x, scale = result.curve.abscissa, 100 / result.curve.value.max()
    order = np.argsort(x, kind="stable")
    marker: Any = {"linestyle": "none", "marker": ".", "markersize": 3.5}
    ax.plot(x[order], scale * result.before[order], color=_BEFORE, linewidth=1, linestyle="--", label="before")
    ax.plot(x[order], scale * result.after[order], color=_FITTED, linewidth=1.2, label="fitted")
    ax.plot(x, scale * result.curve.value, color=_MEASURED, label="measured", **marker)
    ax.set_ylabel("% of the largest")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, loc="upper right" if result.curve.kind != "output_factors" else "lower right")


def _differences(ax: Axes, result: CurveResult) -> None:
    x, scale = result.curve.abscissa, 100 / result.curve.value.max()
    order = np.argsort(x, kind="stable")
    sigma = 2 * scale * result.prepared.sigma[order]
    ax.fill_between(x[order], -sigma, sigma, color=_MEASURED, alpha=0.1, linewidth=0)
    for values, colour, style in ((result.before, _BEFORE, "--"), (result.after, _FITTED, "-")):
        off = scale * (values - result.curve.value)[order]
        ax.plot(x[order], off, color=colour, linewidth=1, linestyle=style)
    chosen = result.prepared.chosen
    off = scale * (result.after - result.curve.value)
    ax.plot(x[chosen], off[chosen], color=_FITTED, linestyle="none", marker=".", markersize=3)
    ax.axhline(0, color=_MEASURED, linewidth=0.6)
    reach = float(np.abs(off[chosen]).max())
    ax.set_ylim(-max(2.0, 1.3 * reach), max(2.0, 1.3 * reach))
    ax.set_ylabel("model - measured,\n% of the largest")
