"""Figures of docs/beam-model.md: what the arc tolerance costs, and generic models against measured output factors.

Usage: python benchmarks/beam_model.py [arcs] [outputs]
``outputs`` needs the environment variable DOSECALC_REFERENCE.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine import load_machine
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan
from dosecalc_phantoms import delivery
from dosecalc_phantoms.plans import PlanSetup

TOLERANCES_DEG = (10.0, 5.0, 2.5)
FINEST_DEG = 1.0
SETUP = PlanSetup("DC-6MV-M120", 6.0, "STANDARD", (0.0, 0.0, 0.0), 30.0, (100.0, 100.0), 100.0, 1)


def _box(size_mm: float, depth_mm: float, spacing_mm: tuple[float, float, float], top_mm: float) -> Patient:
    grid = Grid.covering(
        (-size_mm / 2, top_mm, -size_mm / 2), (size_mm / 2, top_mm + depth_mm, size_mm / 2), spacing_mm
    )
    return Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")


def _dose(patient: Patient, beam: Beam, machine: str, tolerance_deg: float = 5.0) -> np.ndarray:
    plan = Plan("benchmark", (beam,), (FractionGroup(1, 1, {beam.number: 1.0}),))
    settings = DoseSettings(grid=patient.density.grid, arc_tolerance_deg=tolerance_deg)
    return compute_dose(patient, plan, load_machine(machine), settings).total_gy.astype(np.float64)


def arcs() -> None:
    """An arc of 40 degrees and one of 180 of an opening without symmetry, against the same with a fine tolerance."""
    patient = _box(180.0, 180.0, (4.0, 4.0, 4.0), -90.0)
    for sweep in (40.0, 180.0):
        beam = delivery.arc_of(SETUP, 340.0 if sweep < 90 else 270.0, sweep)
        fine = _dose(patient, beam, "generic-6mv-millennium120", FINEST_DEG)
        for tolerance in TOLERANCES_DEG:
            off = _dose(patient, beam, "generic-6mv-millennium120", tolerance) - fine
            inside = fine > 0.5 * fine.max()
            largest = 100 * np.abs(off).max() / fine.max()
            spread = 100 * np.sqrt((off[inside] ** 2).mean()) / fine.max()
            print(
                f"arc of {sweep:g} degrees, tolerance {tolerance:g}: largest {largest:.2f} % of the maximum,", end=" "
            )
            print(f"root mean square above half of it {spread:.3f} %", flush=True)


def outputs() -> None:
    """Output factors at 10 cm depth, SSD 90 cm, of the generic Agility model and as measured on one."""
    folder = Path(os.environ["DOSECALC_REFERENCE"]) / "measured" / "elekta-agility-6mv"
    measured = np.loadtxt(folder / "of.dat", comments="#")
    machine = load_machine("generic-6mv-agility")
    assert machine.mlc is not None
    mlc = MlcGeometry(machine.mlc.axis, np.array(machine.mlc.boundaries_mm))
    found = []
    for side in measured[:, 0]:
        patient = _box(max(300.0, side + 120.0), 250.0, (5.0, 5.0, 5.0) if side > 60 else (2.5, 2.5, 2.5), -100.0)
        half = side / 2
        leaves = np.tile([-half, half], (mlc.n_pairs, 1))
        first = ControlPoint(0, 0.0, 0.0, 0.0, 0.0, "NONE", (0.0, 0.0, 0.0), None, (-half, half), leaves)
        points = (first, replace(first, index=1, meterset_fraction=1.0))
        beam = Beam(1, "open", "", "PHOTON", 6.0, "STANDARD", 1000.0, "HFS", mlc, points)
        dose = _dose(patient, beam, machine.name)
        grid = patient.density.grid
        near = [
            np.abs(v) < 0.6 * s for v, s in zip((grid.z_mm, grid.y_mm, grid.x_mm), grid.spacing_mm[::-1], strict=True)
        ]
        found.append(float(dose[np.ix_(*near)].mean()))
    reference = found[int(np.argmin(np.abs(measured[:, 0] - 100.0)))]
    for (side, value), dose in zip(measured, found, strict=True):
        factor = dose / reference
        print(f"{side:5.0f} mm: measured {value:.4f}, model {factor:.4f}, {100 * (factor / value - 1):+.1f} %")


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["arcs", "outputs"]
    for name in wanted:
        {"arcs": arcs, "outputs": outputs}[name]()
