"""Tables for people, on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dosecalc.outputs import DvhRecord

#: statistics that fit on a line, with their headings; the files have all of them
_COLUMNS = (
    ("mean_gy", "mean"),
    ("min_gy", "min"),
    ("max_gy", "max"),
    ("d98_gy", "D98%"),
    ("d95_gy", "D95%"),
    ("d50_gy", "D50%"),
    ("d2_gy", "D2%"),
)


def print_dvhs(dvhs: Sequence[DvhRecord]) -> None:
    """One line per structure; dose in Gy, volume in cm3."""
    console = Console(highlight=False)
    table = Table(
        title="DVH: dose in Gy over all fractions", title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False
    )
    table.padding = (0, 1, 0, 0)
    table.add_column("structure", overflow="fold")  # the only column that may fold when the terminal is narrow
    table.add_column("cm3", justify="right", no_wrap=True)
    for _, heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for dvh in dvhs:
        figures = [f"{dvh.statistics[n]:.2f}" if n in dvh.statistics else "–" for n, _ in _COLUMNS]
        table.add_row(escape(dvh.structure_name), f"{dvh.volume_cm3:.2f}", *figures)
    if dvhs:
        console.print(table)
        for dvh in dvhs:
            for note in dvh.notes:
                console.print(f"{dvh.structure_name}: {note}", style="yellow", markup=False)
    else:
        console.print("There are no structures, so no DVHs.")


def print_summary(summary: Mapping[str, Any], files: Sequence[Path]) -> None:
    """What computed it, what to know about it, and where the files lie."""
    console = Console(highlight=False, soft_wrap=True)
    dose = summary["dose"]
    console.print(f"{dose['engine']}, {dose['quantity']}; maximum {dose['max_gy']:.3f} Gy")
    for beam in summary["beams"]:
        model = beam["info"].get("machine_model", dose["machine_model"])
        label = f"beam {beam['number']} {beam['name']}"
        console.print(f"  {label}: {beam['mu']:.1f} MU, maximum {beam['max_gy']:.3f} Gy, {model}", markup=False)
    for text in (*summary["warnings"], *summary["notes"]):
        console.print(f"note: {text}", style="yellow", markup=False)
    console.print(f"{len(files)} files in {files[0].parent}: {', '.join(f.name for f in files)}", markup=False)
