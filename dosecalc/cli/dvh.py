"""`dosecalc dvh`: the DVHs of any RTDOSE."""

from __future__ import annotations

from pathlib import Path

import click

from dosecalc.cli.options import DeviceType
from dosecalc.errors import DicomError


@click.command(short_help="Print DVH statistics of any RTDOSE.")
@click.argument("rtdose", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("rtstruct", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--structure", "names", multiple=True, help="Only this structure; may be repeated.")
@click.option(
    "--device", type=DeviceType(), default="auto", show_default=True, help="Where to compute; auto: a GPU, or the CPU."
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write curves and statistics."
)
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the statistics.")
def dvh(
    rtdose: Path,
    rtstruct: Path,
    names: tuple[str, ...],
    device: str,
    json_file: Path | None,
    csv_file: Path | None,
) -> None:
    """Print the DVH statistics of the structures in RTSTRUCT for the dose in RTDOSE.

    Doses in Gy as RTDOSE holds them, volumes in cm3.
    """
    from dosecalc.cli.tables import print_dvhs
    from dosecalc.devices import offload
    from dosecalc.dicom.rtdose import read_rtdose
    from dosecalc.dicom.rtstruct import read_rtstruct
    from dosecalc.dose.dvh import compute_dvh
    from dosecalc.outputs import dvhs_as_csv, dvhs_as_json, record_of, write_text_file
    from dosecalc.recompute import curve_bin_gy

    dose = read_rtdose(rtdose)
    structures = read_rtstruct(rtstruct)
    frames = (dose.frame_of_reference_uid, structures.frame_of_reference_uid)
    if all(frames) and frames[0] != frames[1]:
        raise DicomError(
            "FRAME_OF_REFERENCE",
            "Dose and structures lie in different frames of reference, so their positions cannot be compared.",
            file=rtstruct.name,
        )
    chosen = [structures.find(n) for n in names] if names else structures.structures
    bin_gy = curve_bin_gy(float(dose.volume.values.max()))
    kernels = offload(device)
    records = [record_of(compute_dvh(s, dose.volume, bin_gy=bin_gy, device=kernels)) for s in chosen]
    print_dvhs(records)
    if json_file is not None:
        write_text_file(json_file, dvhs_as_json(records))
    if csv_file is not None:
        write_text_file(csv_file, dvhs_as_csv(records))
