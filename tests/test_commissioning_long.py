"""Whole fits at the resolution that users get: a known model with everything in it, and real machines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from builders_commissioning import depth_dose, edge_positions, measured, output_factors, profile
from scipy.stats import chi2

from dosecalc.commissioning.checks import check
from dosecalc.commissioning.curves import Setup
from dosecalc.commissioning.fit import FitResult, FitSettings, fit_machine
from dosecalc.commissioning.formats import read_measurements
from dosecalc.commissioning.forward import Resolution
from dosecalc.commissioning.parameters import Model, applied, choose
from dosecalc.commissioning.prepare import Uncertainty
from dosecalc.commissioning.scorecard import score
from dosecalc.machine import load_machine
from dosecalc.machine.model import ContaminationElectrons

pytestmark = pytest.mark.long
REFERENCE = os.environ.get("DOSECALC_REFERENCE")
needs_reference = pytest.mark.skipif(REFERENCE is None, reason="DOSECALC_REFERENCE does not name the reference data")


def test_a_whole_model_comes_back_from_finer_voxels_than_it_is_fitted_with() -> None:
    electrons = ContaminationElectrons(surface_dose=0.1, depth_gcm2=0.7, sigma_mm=40.0, source="test")
    start = Model(load_machine("generic-6mv-millennium120"), 0).with_energy(electrons=electrons)
    small, large = Setup(900.0, (50.0, 50.0)), Setup(900.0, (160.0, 160.0))
    depths = np.concatenate([np.arange(4.0, 30.0, 2.0), np.arange(30.0, 300.1, 10.0)])
    curves = [
        depth_dose(small, depths),
        depth_dose(large, depths),
        profile(small, "x", edge_positions(25.0), 100.0),
        profile(large, "x", edge_positions(80.0), 100.0),
        profile(large, "x", edge_positions(88.0), 200.0),
        output_factors((small, Setup(900.0, (100.0, 100.0)), large), 100.0),
    ]
    truth = {
        "spectrum.exponent": 0.15,
        "spectrum.curvature": -0.05,
        "off_axis[30 mm]": 0.01,
        "off_axis[60 mm]": 0.02,
        "off_axis[80 mm]": -0.02,
        "primary_source.sigma_mm": 1.0,
        "extra_focal.fraction": 0.10,
        "extra_focal.sigma_mm": 25.0,
        "electrons.surface_dose": 0.14,
        "electrons.depth_gcm2": 0.9,
        "electrons.sigma_mm": 50.0,
    }
    parameters = choose(start, curves)
    assert [p.key for p in parameters] == list(truth)
    known = applied(start, parameters, list(truth.values()))
    noise = Uncertainty()
    result = fit_machine(
        start.machine,
        start.energy,
        measured(curves, known, Resolution(1.5, 4.0, 2.0), noise, 21),
        FitSettings(threads=1),
    )
    off = [(f.value - truth[f.parameter.key]) / f.standard_error for f in result.parameters]
    # one in a thousand when the error bars are right; the seed is fixed
    assert np.array(off) @ np.linalg.solve(result.correlation, off) < chi2.ppf(0.999, len(off)), dict(
        zip(truth, off, strict=True)
    )


def fit_real(folder: Path, machine_name: str, energy_mv: float, skip: tuple[str, ...]) -> FitResult:
    machine = load_machine(machine_name)
    energy = machine.energy(energy_mv, "STANDARD")
    found = read_measurements(folder).without(skip).of_quality(energy_mv, "STANDARD", assume_energy=False)
    curves, _ = check(found.curves, machine)
    return fit_machine(machine, energy, curves, FitSettings(threads=1))


@needs_reference
def test_scans_of_a_real_machine_are_fitted_within_the_scorecard() -> None:
    folder = Path(str(REFERENCE)) / "measured" / "scans-ptw-mcc"
    result = fit_real(folder, "generic-6mv-millennium120", 6.0, ("10x10oa.mcc",))
    assert result.reduced_chi_square[1] < 0.5 * result.reduced_chi_square[0]
    assert [s for s in score(result.curves, 0.0) if not s.met] == []


def table(path: Path) -> np.ndarray:
    """Numbers of a table with comments."""
    return np.array(
        [[float(v) for v in line.split()] for line in path.read_text().splitlines() if line[:1] not in "#\n"]
    )


def write_elekta(folder: Path, out: Path) -> None:
    """Tissue-phantom ratios of three fields and output factors of a real machine, in our format."""
    tpr, factors = table(folder / "tpr.dat"), table(folder / "of.dat")
    blocks = ["# dosecalc measurements 1"]
    for side in (30.0, 100.0, 200.0):
        column = list(tpr[0]).index(side)
        rows = tpr[1:][np.isin(tpr[1:, 0], (20, 50, 100, 150, 200, 300))]
        blocks += ["kind: tpr", "energy_mv: 6", "unit: arbitrary", "sad_mm: 1000", f"field_x_mm: {side}",
                   f"field_y_mm: {side}", "depth_mm,dose", *(f"{r[0]},{r[column]}" for r in rows)]  # fmt: skip
    blocks += ["kind: output_factors", "energy_mv: 6", "unit: relative", "ssd_mm: 900", "depth_mm: 100",
               "field_x_mm,field_y_mm,dose",
               *(f"{s},{s},{v}" for s, v in factors if s in (30, 50, 100, 200, 300, 400))]  # fmt: skip
    out.write_text("\n".join(blocks) + "\n")


@needs_reference
def test_ratios_and_output_factors_of_another_real_machine(tmp_path: Path) -> None:
    write_elekta(Path(str(REFERENCE)) / "measured" / "elekta-agility-6mv", tmp_path / "machine.csv")
    result = fit_real(tmp_path, "generic-6mv-agility", 6.0, ())
    assert [f.parameter.key for f in result.parameters] == [
        "spectrum.exponent", "spectrum.curvature", "extra_focal.fraction", "extra_focal.sigma_mm",
    ]  # fmt: skip
    assert result.reduced_chi_square[1] < 0.5 * result.reduced_chi_square[0]
    assert [s for s in score(result.curves, 0.0) if not s.met] == []
