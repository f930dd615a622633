"""`dosecalc machine`: the machine models."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dosecalc.cli.machine_fit import fit
from dosecalc.cli.options import json_flag

if TYPE_CHECKING:
    from dosecalc.machine.model import Energy, Jaws, Machine

#: before the further lines of what is longer than the terminal is wide
_HANGING = 6 * " "


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
        energies = ", ".join(_quality(mv, mode) for mv, mode in m.energies)
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
    for line in _description(model):
        click.echo(line if width is None else textwrap.fill(line, width, subsequent_indent=_HANGING))


def _description(model: Machine) -> list[str]:
    claimed = ", ".join(model.treatment_machine_names) or "none: choose it by --machine"
    lines = [
        model.name + (" (generic: represents a type of machine, not a commissioned one)" if model.generic else ""),
        f"  {model.description.strip()}",
        f"  sha256                   {model.sha256}",
        f"  treatment machine names  {claimed}",
        f"  source-axis distance     {model.sad_mm:g} mm",
        *_jaws("x", model.jaw_x),
        *_jaws("y", model.jaw_y),
    ]
    if model.mlc is not None:
        m = model.mlc
        lines += [
            f"  MLC                      {m.name}, {len(m.boundaries_mm) - 1} leaf pairs along {m.axis}, transmission "
            f"{100 * m.transmission:.2g} %, dosimetric leaf gap {2 * m.tip_offset_mm:g} mm",
        ]
    for energy in model.energies:
        lines += _energy(energy)
    lines.append("sources")
    lines += [f"  {path}: {source}" for path, source in model.sources().items()]
    return lines


def _jaws(axis: str, jaws: Jaws | None) -> list[str]:
    if jaws is None:
        return [f"  {axis} jaws                   none"]
    lower, upper = jaws.limits_mm
    return [f"  {axis} jaws                   {lower:g} to {upper:g} mm, transmission {100 * jaws.transmission:.2g} %"]


def _energy(energy: Energy) -> list[str]:
    c, e = energy.calibration, energy.extra_focal
    lines = [
        _quality(energy.nominal_mv, energy.fluence_mode),
        f"  calibration              {c.gy_per_mu:g} Gy/MU at {c.depth_mm:g} mm depth, SSD {c.ssd_mm:g} mm, field "
        f"{c.field_mm:g} x {c.field_mm:g} mm",
        f"  focal spot               sigma {energy.primary_source.sigma_mm:g} mm",
    ]
    if e is not None:
        lines.append(f"  extra-focal source       {100 * e.fraction:.3g} % of the fluence, sigma {e.sigma_mm:g} mm")
    return lines


def _quality(nominal_mv: float, fluence_mode: str) -> str:
    return f"{nominal_mv:g} MV" + (" FFF" if fluence_mode == "FFF" else "")
