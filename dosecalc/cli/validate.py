"""`dosecalc validate`: the engine beside Monte Carlo, with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dosecalc.cli.options import DeviceType
from dosecalc.photon.engines import ENGINES, choose

if TYPE_CHECKING:
    from dosecalc.validation import CaseResult

EXIT_TARGET_MISSED = 1
#: the table's width where the terminal has less, or there is none
_WIDTH = 100


@click.command(short_help="Hold the engine against Monte Carlo.")
@click.option(
    "--reference",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with Monte Carlo cases, or with a folder montecarlo of them.  [default: the cases that are shipped]",
)
@click.option(
    "--device", type=DeviceType(), default="auto", show_default=True, help="Where to compute; auto: a GPU, or the CPU."
)
@click.option(
    "--engine", type=click.Choice(list(ENGINES)), default="collapsed_cone", show_default=True, help="Algorithm."
)
@click.option("--cones", default="", metavar="NAME", help="Angular quadrature.  [default: the engine's]")
@click.option(
    "--heterogeneity", default="", metavar="NAME", help="Treatment of inhomogeneous matter.  [default: the engine's]"
)
@click.option(
    "--case", "names", multiple=True, metavar="NAME", help="Only cases whose name begins so; may be repeated."
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every figure as JSON."
)
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write validation.html with plots to this folder.",
)
@click.option(
    "--document",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Renew the tables between the markers of this Markdown file that are named montecarlo; for another engine "
    "than the default one montecarlo-ENGINE, for another option of it montecarlo-ENGINE-OPTION.",
)
def validate(
    reference: Path | None,
    device: str,
    engine: str,
    cones: str,
    heterogeneity: str,
    names: tuple[str, ...],
    json_file: Path | None,
    report: Path | None,
    document: Path | None,
) -> int:
    """Compute cases that Monte Carlo was run for, and judge the difference against the targets.

    Both doses are absolute and nothing is normalised. Differences count beyond two standard deviations of the Monte
    Carlo. Gamma is global with a threshold of 10 %, and its dose criterion is widened by the noise in the same way.

    Exit code 0 when all targets that could be judged are met, 1 when one is missed, 2 when a case cannot be used.
    """
    from dosecalc.cli.console import progress_bar
    from dosecalc.outputs import check_writable
    from dosecalc.outputs.documents import check_markers
    from dosecalc.validation.run import load_cases, run_cases

    chosen = {"engine": engine, **choose(engine, cones=cones, heterogeneity=heterogeneity)}
    cases = load_cases(reference, names)
    for folder in (report, json_file and json_file.parent):
        if folder is not None:
            check_writable(folder)
    if document is not None:
        check_markers(document, _markers(chosen))
    with progress_bar("Validating") as teller:
        results = list(
            run_cases(
                cases,
                device=device,
                progress=teller.show,
                engine=engine,
                cones=chosen["cones"],
                heterogeneity=chosen["heterogeneity"],
            )
        )
    _write(results, device, chosen, json_file, report, document)
    _print(results)
    return EXIT_TARGET_MISSED if any(r.missed for r in results) else 0


def _markers(chosen: dict[str, str]) -> str:
    """Name of the markers in a document: what differs from the default engine and its defaults."""
    defaults = choose(chosen["engine"], **dict.fromkeys(chosen.keys() - {"engine"}, ""))
    parts = [] if chosen["engine"] == next(iter(ENGINES)) else [chosen["engine"]]
    return "-".join(["montecarlo", *parts, *(v for k, v in chosen.items() if k != "engine" and v != defaults[k])])


def _write(
    results: Sequence[CaseResult],
    device: str,
    chosen: dict[str, str],
    json_file: Path | None,
    report: Path | None,
    document: Path | None,
) -> None:
    import json

    from dosecalc.outputs import write_text_file
    from dosecalc.outputs.documents import replace_between_markers
    from dosecalc.outputs.validation_page import validation_page
    from dosecalc.validation.run import as_json
    from dosecalc.validation.tables import document_tables

    if json_file is not None:
        write_text_file(json_file, json.dumps(as_json(results, device, chosen), ensure_ascii=False, indent=1) + "\n")
    if report is not None:
        write_text_file(report / "validation.html", validation_page(results, ", ".join(filter(None, chosen.values()))))
    if document is not None:
        replace_between_markers(document, _markers(chosen), document_tables(results))


def _print(results: Sequence[CaseResult]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dosecalc.validation.run import summary_line
    from dosecalc.validation.tables import OVERVIEW_HEADINGS, overview_rows

    console = Console(highlight=False)
    if console.width < _WIDTH:
        console = Console(highlight=False, width=_WIDTH)
    table = Table(
        title="The engine beside Monte Carlo", title_justify="left", title_style="bold", box=SIMPLE, show_edge=False
    )
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    table.add_column(OVERVIEW_HEADINGS[0], overflow="fold")  # the only one that may fold
    for heading in OVERVIEW_HEADINGS[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in overview_rows(results):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print(
        "γ: pass rates for 2 % / 2 mm and 1 % / 1 mm; worst, mean: local difference on the axis beyond the\n"
        "maximum, as far as it exceeds 2 σ; penumbra: 20–80 %, engine / Monte Carlo, where they differ most;\n"
        "output: dose at 10 cm"
    )
    for result in results:
        for verdict in result.missed:
            console.print(f"missed: {result.case.name}: {verdict}", style="red", markup=False, soft_wrap=True)
    console.print(summary_line(results), markup=False, soft_wrap=True)
