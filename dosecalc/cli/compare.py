"""`dosecalc compare`: gamma, dose and DVH differences of two doses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosecalc.cli.options import DeviceType, Point, SpacingType
from dosecalc.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dosecalc.dicom.rtdose import RtDose
    from dosecalc.dose.compare import Comparison
    from dosecalc.geometry import Volume
    from dosecalc.patient.structures import Structure

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXIT_BELOW_MINIMUM = 1
#: columns beyond which no table goes
_WIDEST = 1000


class PercentType(click.ParamType[float]):
    """``10`` or ``10%``."""

    name = "PERCENT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Percent as a number."""
        try:
            return float(str(value).strip().removesuffix("%"))
        except ValueError:
            raise InputError("NUMBER_INVALID", f"{value!r} is no percentage; write it like 10%.") from None


class SamplingType(click.ParamType[int]):
    """Steps per distance criterion, or ``exact`` (0)."""

    name = "N|exact"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Number of steps, 0 for none."""
        if str(value).strip().lower() == "exact":
            return 0
        try:
            steps = int(value)
        except ValueError:
            steps = 0
        if steps < 1:
            raise InputError("NUMBER_INVALID", f"{value!r} is no sampling; give a whole number like 10, or 'exact'.")
        return steps


@click.command(short_help="Compare two doses: gamma, dose and DVH differences.")
@click.argument("reference", type=_FILE)
@click.argument("evaluated", type=_FILE)
@click.option(
    "--gamma", "criteria", multiple=True, metavar="P%/Dmm", help="Criterion, 2%/2mm unless given; may be repeated."
)
@click.option("--local", is_flag=True, help="Dose differences in percent of the local dose, not of the maximum.")
@click.option("--threshold", type=PercentType(), default="10%", help="Leave out reference doses below; 10%.")
@click.option("--normalisation", type=float, metavar="GY", help="Dose that is 100 %; the reference's maximum.")
@click.option("--max-gamma", type=float, default=2.0, help="Where the search for gamma ends; 2.")
@click.option(
    "--sampling",
    type=SamplingType(),
    default="10",
    help="Samples of the evaluated dose per distance criterion (as pymedphys' interp_fraction), or 'exact'; 10.",
)
@click.option("--structures", "rtstruct", type=_FILE, help="RTSTRUCT: compare structure by structure too.")
@click.option("--structure", "names", multiple=True, help="Only this structure; may be repeated.")
@click.option("--min-pass", type=PercentType(), help="Exit code 1 when a criterion's pass rate is below.")
@click.option("--ignore-frame", is_flag=True, help="Compare although the frames of reference differ.")
@click.option("--ignore-type", is_flag=True, help="Compare although summation type or dose type differ.")
@click.option("--spacing", type=SpacingType(), help="Voxel size of .npy files, mm.")
@click.option(
    "--device", type=DeviceType(), default="auto", show_default=True, help="Where to compute; auto: a GPU, or the CPU."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything as JSON.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the planes at the worst gamma.")
def compare(
    reference: Path,
    evaluated: Path,
    criteria: tuple[str, ...],
    local: bool,
    threshold: float,
    normalisation: float | None,
    max_gamma: float,
    sampling: int,
    rtstruct: Path | None,
    names: tuple[str, ...],
    min_pass: float | None,
    ignore_frame: bool,
    ignore_type: bool,
    spacing: Point | None,
    device: str,
    json_file: Path | None,
    picture: Path | None,
) -> int:
    """Compare the dose in EVALUATED with the one in REFERENCE: gamma, dose differences, DVH differences.

    Both are RTDOSE files, or NumPy files: .npz with dose_gy [z, y, x], spacing_mm and origin_mm (x, y, z), or .npy with
    --spacing and the same origin. The grids may differ. Differences are evaluated minus reference.

    Exit code 0; 1 when a pass rate is below --min-pass; 2 when the doses cannot be compared.
    """
    from dosecalc.dicom.comparable import refuse_strangers
    from dosecalc.dose.compare import compare as compare_doses

    doses = [_read(path, spacing) for path in (reference, evaluated)]
    refuse_strangers(doses[0][1], doses[1][1], ignore_frame=ignore_frame, ignore_type=ignore_type, file=evaluated.name)
    structures = _structures(rtstruct, names, doses[0][1], ignore_frame=ignore_frame)
    result = compare_doses(
        doses[0][0],
        doses[1][0],
        criteria=criteria or "2%/2mm",
        local=local,
        threshold_percent=threshold,
        normalisation_gy=normalisation,
        max_gamma=max_gamma,
        sampling=sampling or None,
        structures=structures,
        device=device,
    )
    _print(result)
    if json_file is not None:
        _write_json(json_file, result)
    if picture is not None:
        _write_picture(picture, result, doses[0][0], structures)
    rates = result.pass_rates_percent.values()
    return EXIT_BELOW_MINIMUM if min_pass is not None and not all(rate >= min_pass for rate in rates) else 0


def _read(path: Path, spacing: Point | None) -> tuple[Volume, RtDose | None]:
    from dosecalc.dicom.rtdose import read_rtdose
    from dosecalc.dose.arrays import is_array_file, read_array_dose

    if is_array_file(path):
        return read_array_dose(path, spacing), None
    dose = read_rtdose(path)
    return dose.volume, dose


def _structures(
    rtstruct: Path | None, names: tuple[str, ...], dose: RtDose | None, *, ignore_frame: bool
) -> tuple[Structure, ...]:
    if rtstruct is None:
        if names:
            raise InputError("STRUCTURES_MISSING", "--structure names structures, but --structures gives no RTSTRUCT.")
        return ()
    from dosecalc.dicom.comparable import refuse_strange_frame
    from dosecalc.dicom.rtstruct import read_rtstruct

    found = read_rtstruct(rtstruct)
    if not ignore_frame:
        refuse_strange_frame(dose, found.frame_of_reference_uid, file=rtstruct.name)
    return tuple(found.find(n) for n in names) if names else tuple(found.structures)


def _write_json(path: Path, result: Comparison) -> None:
    import json

    from dosecalc.outputs import write_text_file

    write_text_file(path, json.dumps(result.to_dict(), ensure_ascii=False, indent=1) + "\n")


def _write_picture(path: Path, result: Comparison, reference: Volume, structures: tuple[Structure, ...]) -> None:
    from dosecalc.outputs.comparison_picture import draw_comparison

    content = draw_comparison(result, reference, structures=[s for s in structures if not s.empty])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as cause:
        raise InputError(
            "OUTPUT_NOT_WRITABLE", f"The picture cannot be written ({cause.strerror}); choose another place.", file=path
        ) from None


def _print(result: Comparison) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    found = result.gamma
    kind = "local" if found.local else f"global, 100 % = {found.normalisation_gy:.4g} Gy"
    title = f"Gamma ({kind}; from {found.threshold_gy:.3g} Gy up, {found.above_threshold} voxels)"
    table = Table(box=SIMPLE)
    table.add_column("criterion", no_wrap=True)
    for heading in ("voxels", "pass %", "mean", "median", "95 %", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for m in found.maps:
        s = m.statistics()
        figures = [_figure(s[k], 3) for k in ("mean", "median", "p95", "max")]
        table.add_row(str(m.criterion), f"{s['points']}", _figure(s["pass_rate_percent"], 2), *figures)
    _print_whole(console, title, table)
    d = result.difference
    console.print(
        f"Dose difference: mean {_figure(d.mean_gy, 3)} Gy ({_figure(d.mean_percent, 2)} %), "
        f"RMS {_figure(d.rms_gy, 3)} Gy ({_figure(d.rms_percent, 2)} %), "
        f"{_figure(d.min_gy, 3)} to {_figure(d.max_gy, 3)} Gy; "
        f"maxima {result.reference_max_gy:.3f} and {result.evaluated_max_gy:.3f} Gy",
        soft_wrap=True,
    )
    x, y, z = result.worst_mm
    console.print(f"Worst gamma at x {x:.1f}, y {y:.1f}, z {z:.1f} mm")
    if result.structures:
        _print_whole(
            console,
            "Structures: pass rates, and DVH differences in Gy",
            _structure_table(result, Table, SIMPLE, escape),
        )
    for text in (*result.notes, *(f"{s.name}: {n}" for s in result.structures for n in s.notes)):
        console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)


def _structure_table(result: Comparison, table_type: Any, box: Any, escape: Any) -> Any:
    """One line per structure: pass rates, and differences of DVH figures."""
    table = table_type(box=box)
    table.add_column("structure", no_wrap=True, max_width=24)
    for m in result.gamma.maps:
        table.add_column(f"{m.criterion}", justify="right", no_wrap=True)
    for heading in ("mean", "D98%", "D95%", "D50%", "D2%"):
        table.add_column(heading, justify="right", no_wrap=True)
    for s in result.structures:
        v = s.dvh_difference
        differences = (v.mean_gy, v.d98_gy, v.d95_gy, v.d50_gy, v.d2_gy) if v else (float("nan"),) * 5
        rates = [_figure(g["pass_rate_percent"], 2) for g in s.gamma]
        table.add_row(escape(s.name), *rates, *(_figure(x, 3) for x in differences))
    return table


def _print_whole(console: Console, title: str, table: Table) -> None:
    """A table with all its figures, however narrow the terminal: a figure that is cut is a wrong figure."""
    from rich.measure import Measurement

    console.print(title, style="bold", markup=False, soft_wrap=True)
    wide = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)


def _figure(value: float, digits: int) -> str:
    return "–" if value != value else f"{value:.{digits}f}"
