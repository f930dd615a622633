"""Generic models beside measurements: a check of their order, never a fit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders_engine import box, field, plan_of

from dosecalc.commissioning.formats.folder import read_measurements
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.machine import load_machine

REFERENCE = os.environ.get("DOSECALC_REFERENCE")


@pytest.mark.skipif(REFERENCE is None, reason="DOSECALC_REFERENCE is not set")
def test_cone_of_10_fff_is_that_of_a_measured_beam():
    """A profile of a 10 MV FFF beam, 30 x 30 cm, 10 cm depth, SSD 90 cm, measured on one machine of the type."""
    folder = Path(str(REFERENCE)) / "measured" / "scans-ptw-mcc"
    curves = [c for c in read_measurements(folder).curves if c.kind == "profile" and c.fluence_mode == "FFF"]
    curve = next(c for c in curves if c.setups[0].field_mm[0] == 300.0 and c.axis == "x")
    patient = box((360, 160, 120), (5, 5, 5), centre=(0, -20, 0))
    patient_beam = field(150.0, 150.0, mv=10.0)
    beam = replace(patient_beam, fluence_mode="FFF")
    dose = compute_dose(
        patient, plan_of(beam), load_machine("generic-10fff-millennium120"), DoseSettings(grid=patient.density.grid)
    ).total_gy
    g = patient.density.grid
    j, k = np.argmin(np.abs(g.y_mm)), np.abs(g.z_mm) < 3
    found = dose[k, j].mean(0)
    order = np.argsort(curve.abscissa)
    at, value = curve.abscissa[order], curve.value[order]
    for r in (50.0, 100.0, 120.0):
        measured = np.mean([np.interp(s * r, at, value) for s in (-1, 1)]) / np.interp(0.0, at, value)
        model = np.mean([np.interp(s * r, g.x_mm, found) for s in (-1, 1)]) / np.interp(0.0, g.x_mm, found)
        # a generic cone beside one machine of the type, in a box that is narrower than a tank
        assert model == pytest.approx(measured, abs=0.03)
