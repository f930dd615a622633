"""Find the photon fluence per MU with which the engine gives each shipped model's calibration dose, and write it.

Usage: python tools/calibrate_machines.py [--check] [MODEL ...]
Water box of 30 x 30 x 30 cm, 2.5 mm voxels, the model's own field, SSD and depth; dose on the axis by a cubic through
the voxels around the point. ``--check`` writes nothing and fails when a stored value is off by more than 0.05 %.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine.library import parse_shipped
from dosecalc.machine.model import Energy, Machine, Mlc
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan

DATA = Path(__file__).resolve().parent.parent / "dosecalc" / "machine" / "data"
VOXEL_MM = 2.5
SIDE_MM = 300.0


def calibration_dose(machine: Machine, energy: Energy) -> float:
    """Dose per MU at the calibration point, Gy, as the engine gives it now."""
    c = energy.calibration
    n = int(SIDE_MM / VOXEL_MM)
    grid = Grid((-SIDE_MM / 2 + VOXEL_MM / 2, VOXEL_MM / 2, -SIDE_MM / 2 + VOXEL_MM / 2), (VOXEL_MM,) * 3, (n, n, n))
    water = Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")
    half = c.field_mm / 2
    isocentre = (0.0, machine.sad_mm - c.ssd_mm, 0.0)
    jaw = (-half, half)
    points = tuple(ControlPoint(i, float(i), 0.0, 0.0, 0.0, "NONE", isocentre, jaw, jaw) for i in (0, 1))
    if machine.jaw_x is None or machine.jaw_y is None:
        points = _with_leaves(machine, points, half)
    leafed = points[0].leaves_mm is not None
    beam = Beam(
        1, "calibration", "", "PHOTON", energy.nominal_mv, energy.fluence_mode, machine.sad_mm, "HFS",
        _geometry(machine.mlc) if leafed else None, points,
        second_mlc=_geometry(machine.second_mlc) if leafed else None,
    )  # fmt: skip
    plan = Plan("calibration", (beam,), (FractionGroup(1, 1, {1: 1.0}),))
    dose = compute_dose(water, plan, machine, DoseSettings(grid=grid)).total_gy
    middle = slice(n // 2 - 1, n // 2 + 1)
    axis = dose[middle, :, middle].mean((0, 2))
    near = np.abs(grid.y_mm - c.depth_mm) < 2.01 * VOXEL_MM
    return float(np.polyval(np.polyfit(grid.y_mm[near] - c.depth_mm, axis[near], 3), 0.0))


def _geometry(mlc: Mlc | None) -> MlcGeometry | None:
    return MlcGeometry(mlc.axis, np.array(mlc.boundaries_mm)) if mlc is not None else None


def _with_leaves(machine: Machine, points: tuple[ControlPoint, ...], half: float) -> tuple[ControlPoint, ...]:
    """A machine without a pair of jaws makes that side of the field with its leaves, in all layers."""
    assert machine.mlc is not None
    leaves = _square(machine.mlc, half, machine.jaw_y is not None)
    second = None if machine.second_mlc is None else _square(machine.second_mlc, half, machine.jaw_y is not None)
    jaw_x = (-half, half) if machine.jaw_x is not None else None
    jaw_y = (-half, half) if machine.jaw_y is not None else None
    return tuple(replace(p, leaves_mm=leaves, jaw_x_mm=jaw_x, jaw_y_mm=jaw_y, second_leaves_mm=second) for p in points)


def _square(mlc: Mlc, half: float, behind_jaws: bool) -> np.ndarray:
    """Leaves at the field's edges; where no jaw stands behind them, pairs beside the field are closed."""
    edges = np.array(mlc.boundaries_mm)
    leaves = np.tile([-half, half], (len(edges) - 1, 1))
    if not behind_jaws:
        leaves[(edges[1:] <= -half) | (edges[:-1] >= half)] = mlc.limits_mm[0]
    return leaves


def main(check: bool, names: list[str]) -> int:
    """Calibrate, or check, the named models, or all."""
    off = 0
    for path in sorted(DATA.glob("*.yaml")):
        if names and path.stem not in names:
            continue
        text = path.read_text(encoding="utf-8")
        machine = parse_shipped(text, path.name)
        for energy in machine.energies:
            c = energy.calibration
            found = calibration_dose(machine, energy)
            fluence = c.photons_per_mu_cm2 * c.gy_per_mu / found
            change = fluence / c.photons_per_mu_cm2 - 1
            print(f"{machine.name} {energy.nominal_mv:g} MV: {found:.6f} Gy/MU, {100 * change:+.3f} %", flush=True)
            off += abs(change) > 5e-4
            old = re.escape(re.search(r"photons_per_mu_cm2: (\S+)", text).group(1))  # type: ignore[union-attr]
            text = re.sub(f"photons_per_mu_cm2: {old}", f"photons_per_mu_cm2: {fluence:.5e}", text, count=1)
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and off else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv, [a for a in sys.argv[1:] if not a.startswith("-")]))
