"""The validation as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import dosecalc
from dosecalc.outputs.validation_plots import draw_case
from dosecalc.validation.run import CaseResult, summary_line
from dosecalc.validation.tables import OVERVIEW_HEADINGS, overview_rows

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dosecalc beside Monte Carlo</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.5rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d9dee3; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
.missed {{ color: #b91c1c; font-weight: 600; }} .pass {{ color: #15803d; }}
img {{ max-width: 100%; }}
footer {{ margin-top: 3rem; color: #52606d; }}
</style>
</head>
<body>
<h1>dosecalc beside Monte Carlo</h1>
<p><strong>{summary}.</strong> Version {version}.</p>
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


def validation_page(results: Sequence[CaseResult]) -> str:
    """The page: summary, the table of all cases, and per case its targets and plots."""
    return _PAGE.format(
        summary=escape(summary_line(results)),
        version=escape(dosecalc.__version__),
        overview=_overview(results),
        cases="\n".join(_case(r) for r in results),
    )


def _overview(results: Sequence[CaseResult]) -> str:
    rows = []
    for name, *figures, verdict in overview_rows(results):
        link = f'<a href="#{escape(name)}">{escape(name)}</a>'
        rows.append([link, *map(escape, figures), _coloured(verdict)])
    return _table(OVERVIEW_HEADINGS, rows)


def _case(result: CaseResult) -> str:
    case = result.case
    rows = [
        [
            escape(v.target.name),
            "–" if v.value is None else f"{v.value:.2f} {v.target.unit}",
            escape(v.target.rule),
            _coloured({True: "pass", False: "MISSED", None: "–"}[v.met]),
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
        targets=_table(("target", "value", "limit", "verdict"), rows) if rows else "<p>No target is set for it.</p>",
        picture=base64.b64encode(draw_case(result)).decode(),
    )


def _coloured(verdict: str) -> str:
    return f'<span class="{escape(verdict.lower())}">{escape(verdict)}</span>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
