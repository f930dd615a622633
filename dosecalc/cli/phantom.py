"""`dosecalc phantom`: phantoms as DICOM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dosecalc.cli.options import SpacingType, json_flag
from dosecalc.geometry.frames import PATIENT_POSITIONS


@click.command(short_help="Write a phantom as CT, RTSTRUCT and RTPLAN.")
@click.argument("name", required=False)
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Directory for CT, RTSTRUCT and RTPLAN files."
)
@click.option("--list", "list_them", is_flag=True, help="List the phantoms and end.")
@click.option(
    "--plan",
    help="One open field from gantry 0 (static), four at right angles (box), segments (step-and-shoot), an arc (vmat), "
    "segments around the targets (conformal), or a delivery test; the phantom's own by default.",
)
@click.option("--spacing", type=SpacingType(), default="2.5", show_default=True, help="Voxels of the CT, mm.")
@click.option("--ssd", default=900.0, show_default=True, help="SSD of the field from gantry 0, mm; 700 to 1000.")
@click.option("--field", default=100.0, show_default=True, help="Side of the open fields at the isocentre, mm.")
@click.option("--mu", default=100.0, show_default=True, help="Meterset of each beam in a fraction, MU.")
@click.option("--fractions", default=1, show_default=True, help="Number of fractions.")
@click.option("--machine-name", default="DC-6MV-M120", show_default=True, help="Treatment machine name in the plan.")
@click.option("--energy", default=6.0, show_default=True, help="Nominal energy in the plan, MV.")
@click.option("--fff", is_flag=True, help="Say in the plan that the beam has no flattening filter.")
@click.option(
    "--patient-position",
    type=click.Choice(PATIENT_POSITIONS),
    default="HFS",
    show_default=True,
    help="How the patient lies; anatomy and beams stay the same in the patient, the angles follow.",
)
@click.option("--swedish", is_flag=True, help="Swedish structure names (Ytterkontur, Målvolym).")
@json_flag
def phantom(name: str | None, output: Path | None, list_them: bool, as_json: bool, **options: Any) -> None:
    """Write the phantom NAME as CT, RTSTRUCT and RTPLAN that any planning system reads.

    A box of 30 x 30 x 30 cm with the isocentre at 1000 mm minus SSD below its anterior surface, a spherical target
    10 cm deep and an organ at risk beside it; see --list for what is inside.
    """
    if list_them:
        _list(as_json)
        return
    if name is None or output is None:
        raise click.UsageError("Give the NAME of a phantom and --output DIR, or --list.")
    from dosecalc_phantoms import make_phantom
    from dosecalc_phantoms.dicom import write_phantom

    made = make_phantom(
        name,
        plan=options["plan"],
        patient_position=options["patient_position"],
        spacing_mm=options["spacing"],
        ssd_mm=options["ssd"],
        field_mm=(options["field"], options["field"]),
        mu_per_beam=options["mu"],
        fractions=options["fractions"],
        machine_name=options["machine_name"],
        energy_mv=options["energy"],
        fluence_mode="FFF" if options["fff"] else "STANDARD",
        language="sv" if options["swedish"] else "en",
    )
    files = write_phantom(made, output)
    if as_json:
        content = {
            "phantom": made.name,
            "ct": [str(p) for p in files.ct],
            "rtstruct": str(files.rtstruct),
            "rtplan": str(files.rtplan),
            "structures": {d.name: d.shape.volume_cm3 for d in made.drawn},
        }
        click.echo(json.dumps(content, ensure_ascii=False, indent=1))
        return
    click.echo(f"{made.description}: {len(files.ct)} CT slices, {files.rtstruct.name}, {files.rtplan.name} in {output}")


def _list(as_json: bool) -> None:
    from dosecalc_phantoms import list_phantoms, list_plans

    if as_json:
        click.echo(json.dumps([{"name": k.name, "description": k.description} for k in list_phantoms()], indent=1))
        return
    for kind in list_phantoms():
        click.echo(f"{kind.name:21}{kind.description}")
    click.echo(f"Plans: {', '.join(list_plans())}")
