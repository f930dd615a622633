"""`dosecalc devices`: what can compute here."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from dosecalc.cli.options import json_flag
from dosecalc.devices import found_devices, why_no_gpu


@click.command(short_help="List the devices that can compute.")
@json_flag
def devices(as_json: bool) -> None:
    """List the devices that a dose can be computed on."""
    found = found_devices()
    if as_json:
        click.echo(json.dumps([asdict(d) for d in found], ensure_ascii=False, indent=1))
        return
    for d in found:
        units = "threads" if d.kind == "cpu" else "multiprocessors"
        click.echo(f"{d.name:8}{d.description}, {d.units} {units}, {d.memory_bytes / 2**30:.1f} GiB")
    if len(found) == 1:
        click.echo(f"no GPU: {why_no_gpu()}", err=True)
