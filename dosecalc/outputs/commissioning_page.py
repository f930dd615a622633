"""A fit as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

import dosecalc
from dosecalc.commissioning.fit import CurveResult, FitResult, FitSettings, FittedParameter
from dosecalc.commissioning.formats import LeftOut, Measurements
from dosecalc.commissioning.parameters import mean_energy_mev
from dosecalc.commissioning.scorecard import NOT_SCORED, SOURCE, Score
from dosecalc.machine import Machine
from dosecalc.outputs.commissioning_plots import draw_curve
from dosecalc.outputs.page_parts import STYLE, coloured, table

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: fit to measurements</title>
<style>{style}
body {{ max-width: 80rem; }} table:first-of-type :is(th, td):nth-child(2) {{ text-align: left; }}
 th, td {{ white-space: normal; }}
.hash {{ font-family: ui-monospace, monospace; font-size: .85em; word-break: break-all; }}
</style>
</head>
<body>
<h1>{name}: fit to measurements</h1>
<p><strong>{verdict}</strong> {quality}, starting from {start}. {curves} curves, {points} fitted points; reduced
chi-square {chi_before:.2f} before, {chi_after:.2f} after{arrived}.</p>
<h2>Scorecard</h2>
<p>Tolerances of {source}. Each curve is compared with one scale factor for the whole curve, since measurements are
relative; profiles are centred. Steep places (3 % of the largest per mm) are judged by
distance. A test is met when every point is within the limit.</p>
{scores}
<p>{not_scored}</p>
<h2>Parameters</h2>
<p>Standard errors from the Jacobian at the solution, with the assumed uncertainties (inflated by the square root of
chi-square where that is above 1). <em>From data</em> says how much of the knowledge of a value the measurements gave:
near 0 % it is the starting model's. Mean energy of the spectrum: {energy_before:.3f} MeV before, {energy_after:.3f} MeV
after.</p>
{parameters}
{correlated}
<h2>Residuals</h2>
<p>Root mean square of model less measurement over the fitted points, per cent of the curve's largest value. Width: of
the field at half dose (without flattening filter: at half of what the inside of the field, continued, would be at its
edge), at the profile's depth.</p>
{residuals}
{plots}
<h2>Where it is from</h2>
{provenance}
{left_out}
<footer>Dots: measured; grey: starting model; orange: fitted model, its points the fitted ones; grey band: two assumed
standard deviations. dosecalc is not a medical device.</footer>
</body>
</html>
"""


@dataclass(frozen=True, eq=False)
class FitReport:
    """What the page shows.

    Parameters
    ----------
    result : FitResult
    machine : Machine
        As it is written.
    measurements : Measurements
        What was fitted to, with what was left out.
    settings : FitSettings
    scores, scores_before : sequence of Score
        Of the fitted and of the starting model, in the same order.
    """

    result: FitResult
    machine: Machine
    measurements: Measurements
    settings: FitSettings
    scores: Sequence[Score]
    scores_before: Sequence[Score]


def verdict(scores: Sequence[Score]) -> str:
    """The scorecard in a line."""
    met = sum(s.met for s in scores)
    return f"{met} of {len(scores)} tests of the scorecard are met."


def commissioning_page(report: FitReport) -> str:
    """The page: scorecard, parameters, residuals with a plot for each curve, provenance."""
    result = report.result
    energy = result.fitted.energy
    return _PAGE.format(
        style=STYLE,
        name=escape(report.machine.name),
        verdict=escape(verdict(report.scores)),
        quality=f"{energy.nominal_mv:g} MV{' FFF' if energy.fluence_mode == 'FFF' else ''}",
        start=escape(result.start.machine.name),
        curves=len(result.curves),
        points=result.points,
        chi_before=result.reduced_chi_square[0],
        chi_after=result.reduced_chi_square[1],
        arrived="" if result.arrived else "; the fit was stopped before it arrived: run it again from its own model",
        source=escape(SOURCE),
        not_scored=escape(NOT_SCORED),
        scores=_scores(report),
        energy_before=mean_energy_mev(result.start.energy.spectrum),
        energy_after=mean_energy_mev(energy.spectrum),
        parameters=_parameters(result.parameters),
        correlated=_correlated(result),
        residuals=_residuals(result.curves),
        plots="\n".join(_plot(n, c) for n, c in enumerate(result.curves)),
        provenance=_provenance(report),
        left_out=_left_out(report.measurements.left_out),
    )


def _scores(report: FitReport) -> str:
    rows = [
        [
            escape(s.curve),
            escape(s.test),
            _together(f"{b.worst:.2f} {s.unit}"),
            _together(f"{s.worst:.2f} {s.unit}"),
            _together(s.where),
            _together(f"{s.limit:g} {s.unit}"),
            _together(f"{100 * s.within:.0f} %"),
            coloured("pass" if s.met else "MISSED"),
        ]
        for s, b in zip(report.scores, report.scores_before, strict=True)
    ]
    return table(("curve", "test", "worst before", "worst", "at", "limit", "points within", "verdict"), rows)


def _together(text: str) -> str:
    """A figure and its unit, never parted by the end of a line."""
    return escape(text.strip()).replace(" ", "&nbsp;")


def _parameters(parameters: Sequence[FittedParameter]) -> str:
    rows = []
    for f in parameters:
        p = f.parameter
        before = "–" if p.before is None else f"{p.before:.4g} {p.unit}"
        rows.append(
            [
                f"{escape(p.meaning)}<br><code>{escape(p.key)}</code>",
                _together(before),
                _together(f"{f.value:.4g} ± {f.standard_error:.2g} {p.unit}"),
                f"{p.prior:.2g}",
                f"{100 * f.from_data:.0f} %",
                '<span class="missed">at its limit</span>' if f.at_bound else "",
            ]
        )
    return table(("parameter", "before", "fitted", "± believed before", "from data", ""), rows)


def _correlated(result: FitResult) -> str:
    pairs = strongly_correlated(result)
    if not pairs:
        return "<p>No two parameters are correlated by more than 0.9.</p>"
    words = "; ".join(f"{escape(a)} with {escape(b)} ({r:+.2f})" for a, b, r in pairs)
    return f"<p>Correlated by more than 0.9, so that the data tell their combination rather than each: {words}.</p>"


def strongly_correlated(result: FitResult) -> list[tuple[str, str, float]]:
    """Pairs of parameters whose estimates are correlated by more than 0.9."""
    keys = [f.parameter.key for f in result.parameters]
    rows, columns = np.nonzero(np.triu(np.abs(result.correlation) > 0.9, 1))
    return [(keys[i], keys[j], float(result.correlation[i, j])) for i, j in zip(rows, columns, strict=True)]


def rms_percent(result: CurveResult) -> tuple[float, float]:
    """Root mean square difference over the fitted points before and after, per cent of the largest value."""
    c = result.prepared.chosen
    value = result.curve.value
    before, after = (
        100 * float(np.sqrt(np.mean((v[c] - value[c]) ** 2))) / float(value.max())
        for v in (result.before, result.after)
    )
    return before, after


def _residuals(curves: Sequence[CurveResult]) -> str:
    rows = []
    for n, result in enumerate(curves):
        curve, (before, after) = result.curve, rms_percent(result)
        width = "–" if result.width_mm is None else f"{result.width_mm[0]:.1f} / {result.width_mm[1]:.1f} mm"
        shift = f"{result.prepared.shift_mm:+.2f} mm" if curve.kind == "profile" else "–"
        place = f'<a href="#curve-{n}">{escape(curve.title)}</a>'
        cells = (f"{result.prepared.chosen.sum()}", f"{before:.2f} %", f"{after:.2f} %", shift, width)
        rows.append([place, *cells])
    return table(("curve", "fitted points", "before", "fitted", "was off centre", "width, measured / fitted"), rows)


def _plot(n: int, result: CurveResult) -> str:
    curve = result.curve
    width = "" if curve.detector_diameter_mm is None else f", {curve.detector_diameter_mm:g} mm wide"
    detector = f"{escape(curve.detector or 'detector not told')}{width}"
    picture = base64.b64encode(draw_curve(result)).decode()
    alt = escape(curve.title, quote=True)
    return (
        f'<section id="curve-{n}"><h2>{escape(curve.title)}</h2>\n'
        f"<p>{escape(curve.file)}, {escape(curve.name)}; {detector}.</p>\n"
        f'<p><img alt="{alt}: measured and fitted" src="data:image/svg+xml;base64,{picture}"></p></section>'
    )


def _provenance(report: FitReport) -> str:
    start, u, v = report.result.start.machine, report.settings.uncertainty, report.settings.resolution
    rows = [
        ["dosecalc", escape(dosecalc.__version__)],
        ["fitted model", f'{escape(report.machine.name)} <span class="hash">{report.machine.sha256}</span>'],
        ["starting model", f'{escape(start.name)} <span class="hash">{start.sha256}</span>'],
        [
            "assumed uncertainty",
            f"{100 * u.dose:g} % of the value with {100 * u.floor:g} % of the largest, {u.position_mm:g} mm",
        ],
        [
            "voxels",
            f"{v.along_mm:g} mm along profiles, {v.across_mm:g} mm across, {v.depth_mm:g} mm in depth",
        ],
        ["evaluations of all curves", f"{report.result.steps}"],
        *(
            [escape(file), f'<span class="hash">{sha256}</span>']
            for file, sha256 in report.measurements.used_sha256.items()
        ),
    ]
    return table(("", "SHA-256 of files and models"), rows)


def _left_out(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return "<p>Nothing that was read was left out.</p>"
    rows = [[escape(x.file), escape(x.curve or ""), escape(x.why)] for x in left_out]
    return "<h2>Left out</h2>\n" + table(("file", "curve", "why"), rows)
