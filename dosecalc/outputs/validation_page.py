"""The validation as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import dosecalc
from dosecalc.outputs.page_parts import STYLE, coloured, table
from dosecalc.outputs.validation_plots import draw_case
from dosecalc.validation.run import CaseResult, summary_line
from dosecalc.validation.tables import OVERVIEW_HEADINGS, overview_rows

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dosecalc beside Monte Carlo</title>
<style>{style}</style>
</head>
<body>
<h1>dosecalc beside Monte Carlo</h1>
<p><strong>{summary}.</strong> Version {version}; engine {engine}.</p>
<p>Dose per photon fluence, absolute on both sides, nothing normalised. Differences count beyond two standard deviations
of the Monte Carlo; gamma (2 % / 2 mm and 1 % / 1 mm) is global with a threshold of 10 %, its dose criterion widened
in the same way. Worst and mean are local differences on the axis beyond the maximum; the penumbra (20–80 %, engine /
Monte Carlo) is the one that differs most; output is the dose at 10 cm.</p>
{overview}
{cases}
<footer>Dots: Monte Carlo with two standard deviations. Lines: dosecalc. Grey: two standard deviations of the Monte
Carlo. dosecalc is not a medical device.</footer>
</body>
</html>
"""

_CASE = """<section id="{name}">
<h2>{name}</h2>
<p>{description}; field {field} cm, {ssd:g} cm from the source; spectrum up to {mev:g} MeV ({spectrum}).</p>
{targets}
<p><img alt="Depth dose and profiles of {name} beside Monte Carlo" src="data:image/svg+xml;base64,{picture}"></p>
</section>
"""


def validation_page(results: Sequence[CaseResult], engine: str) -> str:
    """The page: summary, the table of all cases, and per case its targets and plots; ``engine`` says which in words."""
    return _PAGE.format(
        summary=escape(summary_line(results)),
        version=escape(dosecalc.__version__),
        engine=escape(engine),
        style=STYLE,
        overview=_overview(results),
        cases="\n".join(_case(r) for r in results),
    )


def _overview(results: Sequence[CaseResult]) -> str:
    rows = []
    for name, *figures, verdict in overview_rows(results):
        link = f'<a href="#{escape(name)}">{escape(name)}</a>'
        rows.append([link, *map(escape, figures), coloured(verdict)])
    return table([escape(h) for h in OVERVIEW_HEADINGS], rows)


def _case(result: CaseResult) -> str:
    case = result.case
    rows = [
        [
            escape(v.target.name),
            "–" if v.value is None else f"{v.value:.2f} {v.target.unit}",
            escape(v.target.rule),
            coloured({True: "pass", False: "MISSED", None: "–"}[v.met]),
        ]
        for v in result.verdicts
    ]
    return _CASE.format(
        name=escape(case.name),
        description=escape(case.header.description or "No description"),
        field=" × ".join(f"{side:g}" for side in case.field_cm),
        ssd=case.ssd_cm,
        mev=case.highest_mev,
        spectrum=escape(case.header.spectrum.name),
        targets=table(("target", "value", "limit", "verdict"), rows) if rows else "<p>No target is set for it.</p>",
        picture=base64.b64encode(draw_case(result)).decode(),
    )
