"""What dose changes by when a number of a generic machine model is 20 % larger: the table of docs/beam-model.md.

Usage: python benchmarks/machine_sensitivity.py [MODEL]
Water, SSD 90 cm, pencil beam, which differs from the collapsed cone by less than these differences do. Photons per MU
are left alone; outputs are relative to 10 x 10 cm, so that what calibration would undo is not in them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine import Machine, load_machine
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan

MORE = 1.2
DEPTH_MM = 100.0
#: jaws that stand this far behind leaves leave the edge to them
BEHIND_MM = 10.0
GAP_MM, REACH_MM = 10.0, 75.0

Path_ = tuple[str | int, ...]
ENERGY: Path_ = ("energies", 0)
NUMBERS: dict[str, tuple[Path_, ...]] = {
    "focal spot, sigma": ((*ENERGY, "primary_source", "sigma_mm"),),
    "extra-focal share": ((*ENERGY, "extra_focal", "fraction"),),
    "extra-focal sigma": ((*ENERGY, "extra_focal", "sigma_mm"),),
    "extra-focal distance": ((*ENERGY, "extra_focal", "distance_mm"),),
    "jaw planes": (("jaw_x", "distance_mm"), ("jaw_y", "distance_mm")),
    "leaf plane": (("mlc", "distance_mm"),),
    "jaw transmission": (("jaw_x", "transmission"), ("jaw_y", "transmission")),
    "leaf transmission": (("mlc", "transmission"),),
    "leaf offset": (("mlc", "tip_offset_mm"),),
    "tip radius": (("mlc", "tip", "radius_mm"),),
    "leaf height": (("mlc", "tip", "thickness_mm"),),
    "leaf attenuation": (("mlc", "tip", "attenuation_per_mm"),),
    "strip width": (("mlc", "sides", "width_mm"),),
    "behind one leaf": (("mlc", "sides", "transmission"),),
    "behind both": (("mlc", "sides", "interleaf_transmission"),),
    "electrons, surface dose": ((*ENERGY, "electrons", "surface_dose"),),
    "electrons, depth": ((*ENERGY, "electrons", "depth_gcm2"),),
    "electrons, sigma": ((*ENERGY, "electrons", "sigma_mm"),),
}


@dataclass(frozen=True)
class Measures:
    """What is looked at: penumbra widths 20 to 80 % in mm, outputs and doses as shares."""

    leaf_penumbra_mm: float
    jaw_penumbra_mm: float
    output_3: float
    output_30: float
    sliding_gap: float
    neighbours: float
    surface_10: float
    surface_30: float


def measured(machine: Machine) -> Measures:
    """All measures of a model."""
    ten = _field(machine, 50.0, 50.0)
    fine = Grid.covering((-76.0, 98.0 - 1e-6, -76.0), (76.0, 102.0 + 1e-6, 76.0), (2.0, 2.0, 2.0))
    plane = _dose(machine, ten, fine).mean(1)
    middle = slice(plane.shape[0] // 2 - 3, plane.shape[0] // 2 + 3)
    along, across = plane[middle].mean(0), plane[:, middle].mean(1)
    axis = float(plane[middle, middle].mean())
    gap = _field(machine, 50.0, 50.0, gap=True)
    pairs = [_field(machine, 50.0, 50.0, every_other=k) for k in (0, 1)]
    deep = _on_axis(machine, ten, DEPTH_MM)
    return Measures(
        _width(fine.x_mm, along),
        _width(fine.z_mm, across),
        _on_axis(machine, _field(machine, 15.0, 15.0), DEPTH_MM) / axis,
        _on_axis(machine, _field(machine, 150.0, 150.0), DEPTH_MM) / axis,
        _on_axis(machine, gap, DEPTH_MM) / axis,
        sum(_on_axis(machine, beam, DEPTH_MM) for beam in pairs) / axis,
        _on_axis(machine, ten, 1.0) / deep,
        _on_axis(machine, _field(machine, 150.0, 150.0), 1.0) / deep,
    )


def _field(machine: Machine, x: float, y: float, *, gap: bool = False, every_other: int | None = None) -> Beam:
    """A field whose X edges are made by leaves, or a gap that slides over it, or every other leaf pair of it."""
    assert machine.mlc is not None
    mlc = MlcGeometry(machine.mlc.axis, np.array(machine.mlc.boundaries_mm))
    starts = [(-x, x), (-x, x)]
    if gap:
        starts = [(m - GAP_MM / 2, m + GAP_MM / 2) for m in (-REACH_MM, REACH_MM)]
    leaves = [np.tile(s, (mlc.n_pairs, 1)) for s in starts]
    if every_other is not None:
        for positions in leaves:
            positions[every_other::2] = -REACH_MM
    jaws = (-x - (0 if gap else BEHIND_MM), x + (0 if gap else BEHIND_MM)), (-y, y)
    points = tuple(
        ControlPoint(i, float(i), 0.0, 0.0, 0.0, "NONE", (0.0, DEPTH_MM, 0.0), *jaws, leaves[i]) for i in (0, 1)
    )
    energy = machine.energies[0]
    return Beam(1, "f", "", "PHOTON", energy.nominal_mv, energy.fluence_mode, machine.sad_mm, "HFS", mlc, points)


def _on_axis(machine: Machine, beam: Beam, depth_mm: float) -> float:
    grid = Grid.covering((-10.0, depth_mm - 1.0, -10.0), (10.0, depth_mm + 1.0, 10.0), (2.0, 2.0, 2.0))
    return float(_dose(machine, beam, grid).mean())


def _dose(machine: Machine, beam: Beam, grid: Grid) -> np.ndarray:
    size = Grid.covering((-200.0, 0.0, -200.0), (200.0, 250.0, 200.0), (5.0, 5.0, 5.0))
    water = Patient(Volume(size, np.ones(size.shape, np.float32)), np.zeros(size.shape, np.uint8), ("water",), "HFS")
    plan = Plan("sensitivity", (beam,), (FractionGroup(1, 1, {1: 1.0}),))
    settings = DoseSettings(engine="pencil_beam", device="cpu", grid=grid)
    return np.asarray(compute_dose(water, plan, machine, settings).total_gy, np.float64)


def _width(at: np.ndarray, profile: np.ndarray) -> float:
    """Mean distance of 80 and 20 % of the middle on both sides."""
    middle = profile[np.abs(at) < 10].mean()
    sides = []
    for side in (-1, 1):
        outer = side * at > 20
        order = np.argsort(profile[outer])
        sides.append(np.ptp(np.interp([0.2 * middle, 0.8 * middle], profile[outer][order], at[outer][order])))
    return float(np.mean(sides))


def changed(machine: Machine, paths: tuple[Path_, ...], how: Callable[[float], float]) -> Machine:
    """The model with some of its numbers changed, checked as a file is."""
    content: Any = machine.model_dump(mode="json")
    for path in paths:
        node = content
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = how(node[path[-1]])
    return Machine.model_validate(content)


def main(name: str) -> None:
    """Print the base values and what each number changes them by."""
    machine = load_machine(name)
    base = measured(machine)
    print(name, base, flush=True)
    for what, paths in NUMBERS.items():
        m = measured(changed(machine, paths, lambda v: MORE * v))
        print(
            f"| {what} | {m.leaf_penumbra_mm - base.leaf_penumbra_mm:+.2f} | "
            f"{m.jaw_penumbra_mm - base.jaw_penumbra_mm:+.2f} | "
            + " | ".join(
                f"{100 * (getattr(m, k) / getattr(base, k) - 1):+.2f}"
                for k in ("output_3", "output_30", "sliding_gap", "neighbours", "surface_10", "surface_30")
            )
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "generic-6mv-millennium120")
