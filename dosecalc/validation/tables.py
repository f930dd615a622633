"""Measures as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from dosecalc.validation.measures import CaseMeasures


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(r) + " |" for r in rows)]) + "\n"


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
                f"{p.depth_cm:g}",
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
