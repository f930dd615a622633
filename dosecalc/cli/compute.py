"""`dosecalc compute`: dose and DVHs of a plan, here or on a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosecalc.cli.options import BoxType, DeviceType, Point, SpacingType, json_flag, names_of, tls_client_options
from dosecalc.errors import InputError, MachineError
from dosecalc.photon.engines import ARC_TOLERANCE_DEG, ENGINES, QUANTITIES

if TYPE_CHECKING:
    from dosecalc.recompute import RecomputeRequest


@click.command(short_help="Compute dose and DVHs of a plan, here or on a server.")
@click.argument("input_path", metavar="INPUT", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory for the results."
)
@click.option("--plan", default="", metavar="UID|LABEL", help="Which RTPLAN, when INPUT holds several.")
@click.option(
    "--structure-set", default="", metavar="UID", help="Which RTSTRUCT, when INPUT holds several for the plan."
)
@click.option("--ct-series", default="", metavar="UID", help="Which CT series, when INPUT holds several that fit.")
@click.option(
    "--machine",
    "machines",
    multiple=True,
    metavar="NAME|FILE",
    help="Machine model to compute with; repeat it for plans of several energies. Without it, the plan's treatment "
    "machines must be ones that a model claims by name. See `dosecalc machine list`.",
)
@click.option(
    "--machine-mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file that maps the plan's machine names and energies to models.",
)
@click.option("--grid", "spacing", type=SpacingType(), help="Dose grid spacing, mm, one number or three.  [default: 3]")
@click.option(
    "--grid-like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="RTDOSE",
    help="Use the grid of this RTDOSE file.",
)
@click.option("--box", type=BoxType(), help="Part of the patient to compute, mm, DICOM patient frame.  [default: all]")
@click.option(
    "--density",
    default="",
    metavar="LIST",
    help="Mass densities of structures, g/cm3, like 'BODY=1.0,Lungs=0.26'; they override the CT, or replace it.",
)
@click.option(
    "--without-ct",
    is_flag=True,
    help="Take no CT: density from --density and from what the RTSTRUCT states (RT ROI Physical Properties).",
)
@click.option(
    "--quantity",
    type=click.Choice(list(QUANTITIES)),
    default="water_equivalent",
    show_default=True,
    help="What the dose is reported to: water_equivalent is dose to a water-equivalent medium of the local density, as "
    "clinical collapsed-cone engines report; medium is dose to the local medium (in bone some 5 % lower); "
    "water_in_medium is dose to a little water in the local medium (in bone some 6 % higher).",
)
@click.option(
    "--engine", type=click.Choice(list(ENGINES)), default="collapsed_cone", show_default=True, help="Algorithm."
)
@click.option(
    "--cones",
    default="",
    metavar="NAME",
    help=f"Angular quadrature of the engine: {names_of('cones')}.  [default: the engine's]",
)
@click.option(
    "--heterogeneity",
    default="",
    metavar="NAME",
    help=f"How the engine deals with inhomogeneous matter: {names_of('heterogeneity')}.  [default: the engine's]",
)
@click.option(
    "--arc-tolerance",
    type=click.FloatRange(*ARC_TOLERANCE_DEG[:2]),
    default=ARC_TOLERANCE_DEG[2],
    show_default=True,
    metavar="DEG",
    help="Largest gantry rotation of an arc that shares one transport: smaller is slower and nearer to the plan.",
)
@click.option("--hu-curve", default="", metavar="NAME|FILE", help="HU calibration curve.  [default: generic-120kvp]")
@click.option(
    "--device", type=DeviceType(), default="auto", show_default=True, help="Where to compute; auto: a GPU, or the CPU."
)
@click.option("--threads", type=click.IntRange(0, 1024), default=0, metavar="N", help="CPU threads.  [default: all]")
@click.option("--server", metavar="HOST:PORT", help="Compute on this dosecalc server instead of here.")
@tls_client_options
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
@json_flag
def compute(
    input_path: Path,
    output: Path,
    server: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    quiet: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Compute the dose of the plan in INPUT, a directory or zip of DICOM files.

    Writes RD.plan.dcm and one RD.beam-N.dcm per beam (RTDOSE), dvh.json, dvh.csv, dose.png and summary.json into the
    output directory: all of them or, when something fails, none.
    """
    from dosecalc.cli.console import interruptible, progress_bar
    from dosecalc.outputs import check_writable, write_files

    request = _request(**choices)
    check_writable(output)
    inputs = [input_path, *([choices["grid_like"]] if choices["grid_like"] else [])]
    with interruptible() as stopped, progress_bar("dose", quiet=quiet) as tell:
        if server is None:
            from dosecalc.cli.compute_here import compute_here

            content = compute_here(inputs, request, tell, stopped)
        else:
            from dosecalc.cli.compute_there import Connection, compute_there

            connection = Connection(server, tls_ca, tls_cert, tls_key)
            content = compute_there(connection, inputs, request, tell, stopped)
        files = write_files(content, output)
    if as_json:
        click.echo(json.dumps({**content.summary, "files": [str(f) for f in files]}, ensure_ascii=False, indent=1))
    elif not quiet:
        from dosecalc.cli.tables import print_dvhs, print_summary

        print_dvhs(content.dvhs)
        print_summary(content.summary, files)


def _request(
    plan: str,
    structure_set: str,
    ct_series: str,
    machines: tuple[str, ...],
    machine_mapping: Path | None,
    spacing: Point | None,
    grid_like: Path | None,
    box: tuple[Point, Point] | None,
    density: str,
    without_ct: bool,
    quantity: str,
    engine: str,
    cones: str,
    heterogeneity: str,
    arc_tolerance: float,
    hu_curve: str,
    device: str,
    threads: int,
) -> RecomputeRequest:
    from dosecalc.patient.density import parse_density_list
    from dosecalc.recompute import GridRequest, RecomputeRequest

    like_uid = None
    if grid_like is not None:
        from dosecalc.dicom.rtdose import read_rtdose

        like_uid = read_rtdose(grid_like).sop_instance_uid
    return RecomputeRequest(
        plan=plan,
        structure_set_uid=structure_set,
        ct_series_uid=ct_series,
        machines=machines,
        mapping_yaml=_text_of(machine_mapping) if machine_mapping else "",
        mapping_folder=str(machine_mapping.parent) if machine_mapping else "",
        engine=engine,
        device=device,
        quantity=quantity,
        cones=cones,
        heterogeneity=heterogeneity,
        arc_tolerance_deg=arc_tolerance,
        grid=GridRequest(spacing_mm=spacing, box_mm=box, like_rtdose_uid=like_uid),
        density_g_cm3=parse_density_list(density) if density else {},
        without_ct=without_ct,
        hu_curve=hu_curve,
        threads=threads,
    )


def _text_of(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError("FILE_UNREADABLE", "The mapping file is not text in UTF-8.", file=path.name) from cause
    if not text:  # in a request, no text means no mapping
        raise MachineError("MAPPING_INVALID", "The mapping file is empty.", file=path.name)
    return text
