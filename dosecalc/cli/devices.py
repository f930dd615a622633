"""`dosecalc devices`: what can compute here."""

from __future__ import annotations

import json

import click

from dosecalc.cli.options import json_flag


@click.command(short_help="List the devices that can compute.")
@json_flag
def devices(as_json: bool) -> None:
    """List the devices that a dose can be computed on."""
    from dosecalc_server.catalogue import Catalogue

    found = Catalogue.of_this_machine().devices
    if as_json:
        content = [
            {"kind": d.kind, "description": d.description, "units": d.units, "memory_bytes": d.memory_bytes}
            for d in found
        ]
        click.echo(json.dumps(content, ensure_ascii=False, indent=1))
        return
    for d in found:
        units = "threads" if d.kind == "cpu" else "multiprocessors"
        click.echo(f"{d.kind:6}{d.description}, {d.units} {units}, {d.memory_bytes / 2**30:.1f} GiB")
