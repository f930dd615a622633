"""Both engines on the same arc: processor time on one thread, and how far their doses are apart.

Usage: python -m benchmarks.pencil_beam [--output FILE] [--spacing MM] [--degrees DEG] [--no-electrons]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine_info import machine_info
from dosecalc.dose import Dose
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine import Machine, load_machine
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan

MACHINE = "generic-6mv-millennium120"
SIDE_MM = 300.0
ENGINES = (
    ("collapsed_cone", "standard", "density_scaling"),
    ("pencil_beam", "", "density_scaling"),
    ("pencil_beam", "", "radiological_depth"),
)


def water(spacing_mm: float) -> Patient:
    """A cylinder of water along the patient, in air."""
    half = SIDE_MM / 2
    grid = Grid.covering((-half,) * 3, (half,) * 3, (spacing_mm,) * 3)
    density = np.full(grid.shape, 0.0012, np.float32)
    density[:, np.hypot(grid.x_mm[None], grid.y_mm[:, None]) < half] = 1.0
    return Patient(Volume(grid, density), np.zeros(grid.shape, np.uint8), ("water",), "HFS")


def arc(degrees: float) -> Plan:
    """An arc with a control point every two degrees, whose leaves sweep over a field of about 10 x 10 cm."""
    mlc_model = load_machine(MACHINE).mlc
    assert mlc_model is not None
    mlc = MlcGeometry(mlc_model.axis, np.array(mlc_model.boundaries_mm))
    n = int(degrees / 2)
    points = []
    for i in range(n + 1):
        low, high = -50 + 15 * np.sin(i / 3), 50 + 15 * np.cos(i / 4)
        leaves = np.tile([low, high], (mlc.n_pairs, 1))
        jaws = (-70.0, 70.0), (-50.0, 50.0)
        points.append(ControlPoint(i, i / n, 180.0 + 2.0 * i, 0.0, 0.0, "CW", (0.0, 0.0, 0.0), *jaws, leaves))
    beam = Beam(1, "arc", "", "PHOTON", 6.0, "STANDARD", 1000.0, "HFS", mlc, tuple(points))
    return Plan("arc", (beam,), (FractionGroup(1, 1, {1: 100.0}),))


def without_electrons(machine: Machine) -> Machine:
    """The machine as a pure photon source: contamination electrons are traced alike for both engines."""
    return machine.model_copy(
        update={"energies": tuple(e.model_copy(update={"electrons": None}) for e in machine.energies)}
    )


def run(spacing_mm: float, degrees: float, electrons: bool) -> dict[str, Any]:
    """Seconds of processor time by engine, ratios to the first, differences from it in percent of its maximum."""
    machine, plan, patient = load_machine(MACHINE), arc(degrees), water(spacing_mm)
    if not electrons:
        machine = without_electrons(machine)
    found: list[dict[str, Any]] = []
    reference: Dose | None = None
    for engine, cones, heterogeneity in ENGINES:
        settings = DoseSettings(
            engine=engine, cones=cones, heterogeneity=heterogeneity, device="cpu", threads=1, grid=patient.density.grid
        )
        # kernels of the spectrum are made once for all plans
        compute_dose(water(30.0), plan, machine, replace(settings, grid=water(30.0).density.grid))
        begin = time.process_time()
        dose = compute_dose(patient, plan, machine, settings)
        seconds = time.process_time() - begin
        reference = reference or dose
        off = 100 * np.abs(dose.total_gy - reference.total_gy) / reference.total_gy.max()
        found.append(
            {
                "engine": engine,
                "heterogeneity": heterogeneity,
                "processor_seconds": seconds,
                "steps": dose.seconds,
                "views": dose.beams[0].info["views"],
                "ratio": found[0]["processor_seconds"] / seconds if found else 1.0,
                "largest_difference_percent": float(off.max()),
                "mean_difference_percent": float(off[patient.density.values > 0.5].mean()),
            }
        )
    return {"machine": machine_info(), "voxels": int(patient.density.values.size), "degrees": degrees, "engines": found}


def main() -> None:
    """Print a table; write everything with ``--output``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--spacing", type=float, default=2.5)
    parser.add_argument("--degrees", type=float, default=60.0)
    parser.add_argument("--no-electrons", dest="electrons", action="store_false", help="photons alone")
    options = parser.parse_args()
    result = run(options.spacing, options.degrees, options.electrons)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    print("| engine | views | processor s | times faster | largest, % of maximum | mean, % |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for e in result["engines"]:
        print(
            f"| {e['engine']}, {e['heterogeneity']} | {e['views']} | {e['processor_seconds']:.2f} | {e['ratio']:.1f} | "
            f"{e['largest_difference_percent']:.2f} | {e['mean_difference_percent']:.3f} |"
        )


if __name__ == "__main__":
    main()
