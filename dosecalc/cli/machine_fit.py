"""`dosecalc machine fit`: a machine model from measurements in water."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosecalc.cli.options import json_flag

if TYPE_CHECKING:
    from dosecalc.commissioning.fit import FitSettings
    from dosecalc.commissioning.formats import LeftOut, Measurements
    from dosecalc.machine.model import Energy, Machine
    from dosecalc.outputs.commissioning_page import FitReport

EXIT_LIMIT_MISSED = 1


@click.command(short_help="Fit a model to measurements.")
@click.argument("measurements", type=click.Path(path_type=Path))
@click.option("--from", "start", required=True, metavar="MODEL", help="The model to start from: a name or a file.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="NEW", help="The new model's .yaml file."
)
@click.option("--energy", type=float, metavar="MV", help="Nominal energy to fit, where the model has several or the "
              "files do not tell it.")  # fmt: skip
@click.option("--fff", is_flag=True, help="Fit the beam without flattening filter.")
@click.option("--name", metavar="NAME", help="Name of the new model.  [default: that of its file]")
@click.option("--detector-mm", type=click.FloatRange(0.1, 8.0), metavar="MM",
              help="Diameter of the sensitive volume of detectors whose size the files do not tell.")  # fmt: skip
@click.option("--skip", multiple=True, metavar="FILE[:CURVE]", help="Leave a file or a curve out; may be repeated.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots (HTML).")
@click.option("--check", "only_check", is_flag=True, help="Read and check the measurements, list them, fit nothing.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads, 0 for all.")
@click.option("--force", is_flag=True, help="Replace an existing model file.")
@json_flag
def fit(
    measurements: Path,
    start: str,
    output: Path | None,
    energy: float | None,
    fff: bool,
    name: str | None,
    detector_mm: float | None,
    skip: tuple[str, ...],
    report: Path | None,
    only_check: bool,
    threads: int,
    force: bool,
    as_json: bool,
) -> int:
    """Fit a machine model to depth doses, profiles, output factors and TPRs in water.

    MEASUREMENTS is a file or a folder of them: dosecalc's CSV, W2CAD (.asc) or PTW (.mcc), told apart by content. What
    cannot be a measurement of the starting model's beam is refused by name before anything is fitted.

    Exit code 0 when the new model meets every test of the scorecard, 1 when it is written and misses one, 2 when
    nothing was written.
    """
    from dosecalc.commissioning.fit import FitSettings
    from dosecalc.machine import load_machine

    model = load_machine(start)
    quality = _quality(model, energy, fff)
    if output is not None:
        _check_output(output, name or output.stem, report, force)
    found = _measurements(measurements, model, quality, energy is not None, skip, detector_mm)
    if only_check:
        _print_curves(found, as_json)
        return 0
    if output is None:
        raise click.UsageError("Give the new model's file with -o, or --check to only look at the measurements.")
    settings = FitSettings(threads=threads)
    result = _fit(found, model, quality, settings, name or output.stem)
    _write(result, output, report)
    if as_json:
        click.echo(json.dumps(_as_dict(result, output), ensure_ascii=False, indent=1))
    else:
        _print(result, output, report)
    return 0 if all(s.met for s in result.scores) else EXIT_LIMIT_MISSED


def _quality(model: Machine, energy_mv: float | None, fff: bool) -> Energy:
    """The beam quality of the starting model that is meant."""
    from dosecalc.errors import InputError

    mode = "FFF" if fff else "STANDARD"
    fitting = [
        e
        for e in model.energies
        if (energy_mv is None or abs(e.nominal_mv - energy_mv) < 0.05) and (e.fluence_mode == mode)
    ]
    if len(fitting) == 1:
        return fitting[0]
    has = ", ".join(f"{e.nominal_mv:g} MV{' FFF' if e.fluence_mode == 'FFF' else ''}" for e in model.energies)
    if fitting:
        raise InputError("ENERGY_NOT_CHOSEN", f"{model.name} has {has}; choose one with --energy.", field="energy")
    wanted = f"{'no' if energy_mv is None else f'no {energy_mv:g} MV'} {'FFF ' if fff else 'flattened '}beam"
    raise InputError(
        "ENERGY_NOT_IN_MODEL",
        f"{model.name} has {wanted}; it has {has}. Start from a model of this beam, or choose with --energy and --fff.",
        field="energy",
    )


def _check_output(output: Path, name: str, page: Path | None, force: bool) -> None:
    from dosecalc.commissioning.write import check_name
    from dosecalc.errors import InputError
    from dosecalc.outputs import check_writable

    if output.suffix not in (".yaml", ".yml"):
        raise InputError("OUTPUT_NAME", "The new model is a .yaml file; name it so.", file=output.name)
    if output.exists() and not force:
        raise InputError(
            "OUTPUT_EXISTS", "There is such a file already; choose another name, or --force.", file=output.name
        )
    check_name(name)
    for file in (output, page):
        if file is not None:
            check_writable(file.parent)


def _measurements(
    path: Path, model: Machine, quality: Energy, energy_told: bool, skip: tuple[str, ...], detector_mm: float | None
) -> Measurements:
    from dataclasses import replace

    from dosecalc.commissioning.checks import MeasurementsRefused, check
    from dosecalc.commissioning.formats import read_measurements

    found = read_measurements(path).without(skip)
    found = found.of_quality(quality.nominal_mv, quality.fluence_mode, assume_energy=energy_told)
    curves = tuple(
        replace(c, detector_diameter_mm=c.detector_diameter_mm or detector_mm) if detector_mm else c
        for c in found.curves
    )
    try:
        kept, repeated = check(curves, model)
    except MeasurementsRefused as refused:
        _show_problems(refused)
        raise
    return replace(found, curves=kept, left_out=(*found.left_out, *repeated))


def _show_problems(refused: Any) -> None:
    from dosecalc.cli.console import show_error

    for problem in refused.problems:
        show_error(problem)


def _fit(found: Measurements, model: Machine, quality: Energy, settings: FitSettings, name: str) -> FitReport:
    from dosecalc.cli.console import interruptible, progress_bar
    from dosecalc.commissioning.calibration import calibration_dose
    from dosecalc.commissioning.fit import fit_machine
    from dosecalc.commissioning.scorecard import before_fit, score
    from dosecalc.commissioning.write import finished_machine
    from dosecalc.outputs.commissioning_page import FitReport

    with progress_bar("Fitting") as teller, interruptible() as cancelled:
        result = fit_machine(model, quality, found.curves, settings, teller.show, cancelled)
    machine = finished_machine(result, name, _in_words(found), found.used_sha256)
    errors = []
    for m in (model, machine):
        e = m.energy(quality.nominal_mv, quality.fluence_mode)
        assert e is not None  # both have the quality
        dose = calibration_dose(m, e, settings.resolution, settings.threads)
        errors.append(100 * (dose / e.calibration.gy_per_mu - 1))
    return FitReport(
        result,
        machine,
        found,
        settings,
        scores=score(result.curves, errors[1]),
        scores_before=score(before_fit(result.curves), errors[0]),
    )


def _in_words(found: Measurements) -> str:
    words = {
        "depth_dose": ("depth dose", "depth doses"),
        "profile": ("profile", "profiles"),
        "output_factors": ("set of output factors", "sets of output factors"),
        "tpr": ("TPR", "TPRs"),
    }
    counted = [(sum(c.kind == kind for c in found.curves), word) for kind, word in words.items()]
    return ", ".join(f"{n} {word[n > 1]}" for n, word in counted if n)


def _write(report: FitReport, output: Path, page: Path | None) -> None:
    from dosecalc.commissioning.write import as_yaml
    from dosecalc.outputs import write_text_file
    from dosecalc.outputs.commissioning_page import commissioning_page

    if page is not None:
        write_text_file(page, commissioning_page(report))
    write_text_file(output, as_yaml(report.machine))


def _print_curves(found: Measurements, as_json: bool) -> None:
    if as_json:
        content = {
            "curves": [
                {"file": c.file, "curve": c.name, "what": c.title, "points": len(c.value), "detector": c.detector}
                for c in found.curves
            ],
            "left_out": _left_out(found.left_out),
        }
        click.echo(json.dumps(content, ensure_ascii=False, indent=1))
        return
    for c in found.curves:
        click.echo(f"{c.file}, {c.name}: {c.title}; {len(c.value)} points; {c.detector or 'detector not told'}")
    _print_left_out(found.left_out)
    n = len(found.curves)
    click.echo(f"{n} curve{'s' if n != 1 else ''} can be fitted.")


def _left_out(left_out: tuple[LeftOut, ...]) -> list[dict[str, str | None]]:
    return [{"file": x.file, "curve": x.curve, "why": x.why} for x in left_out]


def _print_left_out(left_out: tuple[LeftOut, ...]) -> None:
    for x in left_out:
        place = x.file if x.curve is None else f"{x.file}, {x.curve}"
        click.echo(f"left out: {place}: {x.why}")


def _print(report: FitReport, output: Path, page: Path | None) -> None:
    from dosecalc.outputs.commissioning_page import strongly_correlated, verdict

    result = report.result
    _print_left_out(report.measurements.left_out)
    rows = [("parameter", "before", "fitted", "", "from data")]
    for f in result.parameters:
        p = f.parameter
        before = "-" if p.before is None else f"{p.before:.4g}"
        note = ", at its limit" if f.at_bound else ""
        rows.append(
            (
                p.key,
                before,
                f"{f.value:.4g}",
                f"± {f.standard_error:.2g} {p.unit}".rstrip(),
                f"{100 * f.from_data:.0f} %{note}",
            )
        )
    widths = [max(len(r[c]) for r in rows) for c in range(5)]
    for row in rows:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    for a, b, r in strongly_correlated(result):
        click.echo(f"correlated: {a} with {b} ({r:+.2f}): the data tell their combination, not each")
    start, end = result.reduced_chi_square
    chi = f"reduced chi-square {start:.2f} before, {end:.2f} after"
    click.echo(f"{len(result.curves)} curves, {result.points} points, {chi}")
    if not result.arrived:
        click.echo("The fit was stopped before it arrived; run it again with --from the new model.")
    for s in report.scores:
        if not s.met:
            worst = f"{s.worst:.2f} {s.unit} at {s.where}" if s.where else f"{s.worst:.2f} {s.unit}"
            within = f"{100 * s.within:.0f} % of the points within"
            click.echo(f"missed: {s.test}: {s.curve}: {worst}, limit {s.limit:g} {s.unit}, {within}")
    click.echo(verdict(report.scores))
    click.echo(f"{output}: {report.machine.name}, sha256 {report.machine.sha256}")
    if page is not None:
        click.echo(f"{page}: report")


def _as_dict(report: FitReport, output: Path) -> dict[str, Any]:
    from dosecalc.outputs.commissioning_page import rms_percent

    result = report.result
    return {
        "model": {"file": str(output), "name": report.machine.name, "sha256": report.machine.sha256},
        "start": {"name": result.start.machine.name, "sha256": result.start.machine.sha256},
        "measurements": report.measurements.used_sha256,
        "left_out": _left_out(report.measurements.left_out),
        "arrived": result.arrived,
        "points": result.points,
        "reduced_chi_square": {"before": result.reduced_chi_square[0], "after": result.reduced_chi_square[1]},
        "parameters": [
            {
                "key": f.parameter.key,
                "meaning": f.parameter.meaning,
                "unit": f.parameter.unit,
                "before": f.parameter.before,
                "value": f.value,
                "standard_error": f.standard_error,
                "from_data": f.from_data,
                "at_bound": f.at_bound,
            }
            for f in result.parameters
        ],
        "correlation": result.correlation.tolist(),
        "curves": [
            {
                "file": c.curve.file,
                "curve": c.curve.name,
                "what": c.curve.title,
                "rms_percent": dict(zip(("before", "after"), rms_percent(c), strict=True)),
                "off_centre_mm": c.prepared.shift_mm,
                "width_mm": None if c.width_mm is None else {"measured": c.width_mm[0], "fitted": c.width_mm[1]},
            }
            for c in result.curves
        ],
        "scorecard": [
            {
                "test": s.test,
                "curve": s.curve,
                "worst": s.worst,
                "limit": s.limit,
                "unit": s.unit,
                "within": s.within,
                "where": s.where,
                "met": s.met,
            }
            for s in report.scores
        ],
    }
