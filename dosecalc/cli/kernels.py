"""`dosecalc kernels`: what the collapsed cone derives from point kernels, and how well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dosecalc.cli.options import json_flag


@click.group(short_help="Derive kernels from point kernels, or show how well.")
def kernels() -> None:
    """Derive the collapsed cone's kernels from point kernels for any spectrum, and show their residuals."""


@kernels.command()
@click.option(
    "--point-kernels", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of EDKnrc point kernels in water.  [default: those of dosecalc]",
)  # fmt: skip
@click.option(
    "--spectrum", "spectra", multiple=True, metavar="NAME|FILE",
    help="A published spectrum or a JSON or YAML file of your own; may be repeated.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", required=True,
    help="Where the derived kernels and their report go.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what an earlier run left there.")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
@json_flag
def build(
    point_kernels: Path | None, spectra: tuple[str, ...], output: Path, force: bool, quiet: bool, as_json: bool
) -> None:
    """Derive collision-kerma and scerma kernels of each energy, and the combined ones and cones of spectra.

    Written are kernels.npz, spectrum-NAME.npz for each spectrum, and kernels.json, a report with the hashes of the
    files that they come from and the residuals of every fit; all of them or none.
    """
    from dosecalc import __version__
    from dosecalc.cli.console import progress_bar
    from dosecalc.errors import InputError
    from dosecalc.outputs.files import check_writable, write_file_set
    from dosecalc.photon.edk import read_edk
    from dosecalc.photon.kernel_report import REPORT_FILE, shipped_kernels
    from dosecalc.photon.kernel_report import build as derived_files
    from dosecalc.photon.spectrum_files import read_spectrum

    if (output / REPORT_FILE).exists() and not force:
        raise InputError(
            "OUTPUT_EXISTS",
            "There are derived kernels already; choose another directory, or --force to replace them.",
            directory=output,
        )
    chosen = dict(read_spectrum(text) for text in spectra)
    if len(chosen) < len(spectra):
        raise InputError("SPECTRUM_TWICE", "Two spectra have the same name; rename one of the files.")
    source = read_edk(point_kernels) if point_kernels is not None else shipped_kernels()
    check_writable(output)
    with progress_bar("kernels", quiet=quiet or as_json) as teller:
        program = f"dosecalc {__version__}, dosecalc kernels build"
        files = derived_files(source, list(chosen.items()), program, lambda share: teller.show(share, "fitting cones"))
    write_file_set(files, output)
    report = json.loads(files[REPORT_FILE])
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=1))
    elif not quiet:
        _print(report)
        click.echo(f"{len(files)} files in {output}: {', '.join(files)}")


@kernels.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@json_flag
def show(directory: Path | None, as_json: bool) -> None:
    """Show the report of derived kernels: those of DIRECTORY, or those of dosecalc."""
    from dosecalc.photon.kernel_report import REPORT_FILE, read_report, shipped_report

    report = read_report(directory / REPORT_FILE) if directory is not None else shipped_report()
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=1))
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    source = report["point_kernels"]
    click.echo(f"point kernels  {source['made_by'] or 'not stated'}")
    for file in source["files"]:
        click.echo(f"  {file['name']}  sha256 {file['sha256']}")
    click.echo(f"derived by     {report['program']}")
    click.echo(f"residuals      {report['residuals_are']}")
    rows: list[tuple[str, ...]] = [
        ("", "cones", "share", "radial", "rms", "angular", "rms", "misplaced", "conserved to")
    ]
    rows += [row for e in report["energies"] for row in _rows(f"{e['energy_mev']:g} MeV", e, e["primary_share"])]
    rows += [row for s in report["spectra"] for row in _rows(s["name"], s, s["primary_share"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *rest in rows:  # plain text, of which no terminal and no script cuts anything
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        click.echo("  ".join((first.ljust(widths[0]), *cells)))


def _rows(name: str, entry: dict[str, Any], primary_share: float) -> list[tuple[str, ...]]:
    keys = ("radial_max", "radial_rms", "angular_max", "angular_rms", "misplaced_max")
    shares = {"primary": primary_share, "scatter": 1.0 - primary_share}
    return [
        (
            f"{name}, {part}", str(found["cones"]), f"{100 * share:.1f} %",
            *(f"{found[part][key]:.2f}" for key in keys), f"{found[part]['conservation']:.0e}",
        )
        for found in entry["residuals"].values()
        for part, share in shares.items()
    ]  # fmt: skip
