"""The results of the clinical sets as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosecalc.validation.tables import markdown

Facts = dict[str, Any]

GAMMA_RULES = "global, where the clinical dose exceeds 10 % of its maximum (in brackets: 50 %)"


def document(results: Sequence[Facts]) -> str:
    """All tables."""
    compared = [r for r in results if "comparison" in r]
    parts = ["### Runs", _runs(results), "What was assumed:", _assumptions(results)]
    if compared:
        parts += [
            "### Against the clinical dose",
            _overview(compared),
            "Gamma (pymedphys), percent of voxels that pass:",
        ]
        parts += [_gammas(compared), "Dose at the isocentres:", _isocentres(compared)]
        parts += ["### What the differences look like", _geometry(compared)]
        if any("hypotheses" in r for r in compared):
            parts += [
                "Misfit with geometry changed on purpose, percent of the clinical maximum:",
                _hypotheses(compared),
            ]
        parts.append("### DVHs")
        for r in compared:
            parts += [
                f"{r['name']}: clinical dose in Gy, and computed minus clinical in percent of the clinical "
                "maximum, absolute (in brackets: after normalising)",
                _dvhs(r),
            ]
    return "\n\n".join(p.strip() for p in parts) + "\n"


def _runs(results: Sequence[Facts]) -> str:
    rows = []
    for r in results:
        server = r.get("server")
        rows.append(
            (
                f"{r['name']} ({r['title']})",
                f"{r['structures_with_dvh']} of {r['structures']}",
                str(r["dciodvfy_errors"]),
                f"{r['wall_seconds']:.0f}",
                f"{server['wall_seconds']:.0f}" if server else "–",
                ("yes" if server["same_results"] else "NO") if server else "–",
                str(server["dciodvfy_errors"]) if server else "–",
            )
        )
    header = ("set", "structures with a DVH", "dciodvfy errors", "here, s", "server, s", "same dose and DVHs")
    return markdown((*header, "dciodvfy errors (server)"), rows)


def _assumptions(results: Sequence[Facts]) -> str:
    lines = []
    for r in results:
        densities = ", ".join(f"{k} {v:g}" for k, v in r["densities_g_cm3"].items())
        lines.append(
            f"- {r['name']}: {' and '.join(f'`{m}`' for m in r['machines'])}; "
            + (f"densities {densities} g/cm³; " if densities else "")
            + r["assumed"]
            + "."
        )
    return "\n".join(lines)


def _overview(results: Sequence[Facts]) -> str:
    header = (
        "set", "beams", "control points", "MU", "maximum: clinical / computed, Gy",
        "computed / clinical, median above 50 %",
    )  # fmt: skip
    rows = []
    for r in results:
        c = r["comparison"]
        rows.append(
            (
                r["name"],
                str(c["beams"]),
                str(c["control_points"]),
                f"{c['mu']:.0f}",
                f"{c['maximum_gy'][0]:.2f} / {c['maximum_gy'][1]:.2f}",
                f"{c['high_dose_ratio']:.3f}",
            )
        )
    return markdown(header, rows)


def _gammas(results: Sequence[Facts]) -> str:
    names = list(results[0]["comparison"]["gamma_absolute"])
    rows = []
    for r in results:
        for kind in ("absolute", "relative"):
            rates = r["comparison"][f"gamma_{kind}"]
            rows.append((f"{r['name']}, {kind}", *(f"{rates[n][0]:.1f} ({rates[n][1]:.1f})" for n in names)))
    return markdown(("set", *(n.replace("%/", " % / ").replace("mm", " mm") for n in names)), rows)


def _isocentres(results: Sequence[Facts]) -> str:
    rows = [
        (
            f"{r['name']} {n}",
            f"{clinical:.2f}",
            f"{computed:.2f}",
            f"{100 * (computed / clinical - 1):+.1f}",
            f"{100 * (computed / clinical / r['comparison']['high_dose_ratio'] - 1):+.1f}",
        )
        for r in results
        for n, (clinical, computed) in enumerate(r["comparison"]["isocentre_gy"], 1)
    ]
    return markdown(("isocentre", "clinical, Gy", "computed, Gy", "difference, %", "after normalising, %"), rows)


def _geometry(results: Sequence[Facts]) -> str:
    rows = []
    for r in results:
        c = r["comparison"]
        rows.append(
            (
                r["name"],
                f"{c['misfit_percent']:.2f}",
                " / ".join(f"{v:+.2f}" for v in c["shift_mm"]),
                " ".join(f"{w:.2f}" for w in c["beam_weights"]),
            )
        )
    header = ("set", "misfit, % of max", "best rigid shift x / y / z, mm", "beam factors that would fit best")
    return markdown(header, rows)


def _hypotheses(results: Sequence[Facts]) -> str:
    shown = [r for r in results if "hypotheses" in r]
    names = list(dict.fromkeys(name for r in shown for name in r["hypotheses"]))
    rows = [
        (n, *("{:.2f} ({:.3f})".format(*r["hypotheses"][n]) if n in r["hypotheses"] else "" for r in shown))
        for n in names
    ]
    return markdown(("computed with", *(r["name"] for r in shown)), rows)


def _dvhs(r: Facts) -> str:
    maximum, ratio = r["comparison"]["maximum_gy"][0], r["comparison"]["high_dose_ratio"]
    rows = []
    for s in r["comparison"]["dvhs"]:
        cells = []
        for key in ("mean", "d98", "d2"):
            clinical, computed = s["clinical_gy"][key], s["computed_gy"][key]
            absolute, relative = (100 * (computed / f - clinical) / maximum for f in (1.0, ratio))
            cells.append(f"{clinical:.2f}: {absolute:+.1f} ({relative:+.1f})")
        rows.append((s["name"], f"{s['volume_cm3']:.1f}", *cells))
    return markdown(("structure", "volume, cm³", "mean", "D98", "D2"), rows)
