"""Measures as tables: the overview for terminals and pages, and Markdown for the docs."""

from __future__ import annotations

from collections.abc import Sequence

from dosecalc.validation.measures import CaseMeasures
from dosecalc.validation.run import CaseResult, summary_line

#: headings of `overview_rows`
OVERVIEW_HEADINGS = ("case", "γ 2/2 %", "γ 1/1 %", "worst %", "mean %", "penumbra mm", "output %", "targets")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(r) + " |" for r in rows)]) + "\n"


def overview_rows(results: Sequence[CaseResult]) -> list[tuple[str, ...]]:
    """One line per case for `OVERVIEW_HEADINGS`; a dash where there is no figure."""
    rows = []
    for result in results:
        m = result.measures
        edge = m.worst_penumbra
        rows.append(
            (
                m.case,
                *(_figure(m.gamma.get(name), ".1f") for name in ("2%/2mm", "1%/1mm")),
                _figure(m.depth_dose.worst_counted, ".2f"),
                _figure(m.depth_dose.mean_counted, ".2f"),
                f"{edge.penumbra_mm:.1f} / {edge.penumbra_reference_mm:.1f}" if edge else "–",
                _figure(m.output_percent, "+.2f"),
                {True: "pass", False: "MISSED", None: "–"}[result.passes],
            )
        )
    return rows


def document_tables(results: Sequence[CaseResult]) -> str:
    """Everything that the docs say of a run: overview, targets missed, and the measures in full."""
    measures = [r.measures for r in results]
    overview = [(*row[:-1], "**missed**" if row[-1] == "MISSED" else row[-1]) for row in overview_rows(results)]
    parts = [
        markdown(OVERVIEW_HEADINGS, overview),
        f"{summary_line(results)}.\n",
        missed_table(results),
        axis_table(measures),
        profile_table(measures),
    ]
    return "\n".join(part for part in parts if part)


def missed_table(results: Sequence[CaseResult]) -> str:
    """The targets that are missed, and by how much; empty when there are none."""
    rows = [
        (
            r.case.name,
            v.target.name,
            f"{v.value:.2f} {v.target.unit}".strip(),
            v.target.rule,
            f"{abs(v.value - v.target.limit):.2f} {v.target.unit}".strip(),
        )
        for r in results
        for v in r.missed
        if v.value is not None
    ]
    return markdown(("case", "missed", "value", "target", "by"), rows) if rows else ""


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None or value != value else format(value, form)


def axis_table(cases: Sequence[CaseMeasures]) -> str:
    """Depth dose, build-up, output and gamma of cases."""
    header = (
        "case",
        "beyond maximum: worst, % (counted; at cm)",
        "mean abs., % (counted)",
        "bias, %",
        "build-up: % of max (of 2 % or 1 mm)",
        "dose at 10 cm, % (1 σ)",
        *(f"gamma {name.replace('%/', ' % / ').replace('mm', ' mm')}, %" for name in cases[0].gamma),
    )
    return markdown(
        header,
        [
            (
                m.case,
                f"{m.depth_dose.worst:.2f} ({m.depth_dose.worst_counted:.2f}; {m.depth_dose.worst_at_cm:.1f})",
                f"{m.depth_dose.mean_absolute:.2f} ({m.depth_dose.mean_counted:.2f})",
                f"{m.depth_dose.bias:+.2f}",
                f"{m.build_up.worst_percent_of_maximum:.1f} ({m.build_up.worst_of_either:.2f})",
                f"{m.output_percent:+.2f} ({m.output_sigma_percent:.2f})",
                *(f"{rate:.1f}" for rate in m.gamma.values()),
            )
            for m in cases
        ],
    )


def profile_table(cases: Sequence[CaseMeasures]) -> str:
    """Profiles of cases at their depths."""
    header = (
        "case",
        "depth, cm",
        "inside 80 %: worst, % (counted)",
        "bias, %",
        "penumbra 20–80: engine / reference, mm",
        "edge shift, mm",
        "outside: worst, % of axis (counted)",
    )
    return markdown(
        header,
        [
            (
                m.case,
                f"{p.depth_cm:g}" + (" (y)" if p.axis == "y" else ""),
                f"{p.inside.worst:.2f} ({p.inside.worst_counted:.2f})",
                f"{p.inside.bias:+.2f}",
                f"{p.penumbra_mm:.1f} / {p.penumbra_reference_mm:.1f}",
                f"{p.edge_shift_mm:+.2f}",
                f"{p.outside.worst:.2f} ({p.outside.worst_counted:.2f})",
            )
            for m in cases
            for p in m.profiles
        ],
    )
