"""`dosecalc machine`: the machine models."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict

import click

from dosecalc.cli.machine_fit import fit
from dosecalc.cli.machine_text import described, quality_name
from dosecalc.cli.options import json_flag

#: before the further lines of what is longer than the terminal is wide
_HANGING = 27 * " "


@click.group(short_help="List, show or fit machine models.")
def machine() -> None:
    """List the machine models, show one with the sources of its numbers, or fit one to measurements."""


machine.add_command(fit)


@machine.command("list")
@json_flag
def list_(as_json: bool) -> None:
    """List the machine models that come with dosecalc."""
    from dosecalc.machine import list_machines

    models = list_machines()
    if as_json:
        click.echo(json.dumps([asdict(m) for m in models], ensure_ascii=False, indent=1))
        return
    rows = [("model", "energies", "MLC", "")]
    for m in models:
        energies = ", ".join(quality_name(mv, mode) for mv, mode in m.energies)
        rows.append((m.name, energies, m.mlc, "generic" if m.generic else "commissioned"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:  # plain text, of which no terminal and no script cuts anything
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if any(m.generic for m in models):
        click.echo("Generic models are not commissioned: they represent a type, not your machine.")
    click.echo("`dosecalc machine show NAME` gives the numbers of a model, with their sources.")


@machine.command()
@click.argument("name", metavar="NAME|FILE")
@json_flag
def show(name: str, as_json: bool) -> None:
    """Show a machine model: its numbers, and where each of them is from."""
    from dosecalc.machine import load_machine

    model = load_machine(name)
    if as_json:
        content = {**model.model_dump(mode="json"), "sha256": model.sha256}
        click.echo(json.dumps(content, ensure_ascii=False, indent=1))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in described(model):
        click.echo(line if width is None else textwrap.fill(line, width, subsequent_indent=_HANGING))
