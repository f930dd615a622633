"""Wedges, blocks and trays for tests: of a machine, and in a beam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dosecalc.machine.accessories import DynamicWedge, MachineAccessories, WedgePlate
from dosecalc.machine.library import load_machine, shipped_machines
from dosecalc.machine.model import Machine
from dosecalc.plan import Accessories, Beam, Block, Wedge


def plate(**changes: object) -> WedgePlate:
    """A steel plate from 1 mm at the toe to 41 mm."""
    values: dict[str, object] = {
        "name": "steel",
        "kind": "STANDARD",
        "angle_deg": 45.0,
        "material": "stainless_steel_316",
        "density_g_cm3": 7.9,
        "toe_position_mm": (-100.0, 100.0),
        "thickness_mm": (41.0, 1.0),
        "half_width_mm": 150.0,
        "source": "test",
    }
    return WedgePlate.model_validate({**values, **changes})


def exponential_table(per_mm: float = 0.01, **changes: object) -> DynamicWedge:
    """A jaw motion whose dose rises exponentially."""
    positions = np.arange(-200.0, 101.0, 2.0)
    values: dict[str, object] = {
        "name": "sweep",
        "nominal_mv": 6.0,
        "angles_deg": (10.0, 30.0, 45.0, 60.0),
        "jaw_y_mm": tuple(positions.tolist()),
        "dose": tuple(np.exp(per_mm * positions).tolist()),
        "final_gap_mm": 5.0,
        "source": "test",
    }
    return DynamicWedge.model_validate({**values, **changes})


def with_accessories(machine: Machine, **accessories: object) -> Machine:
    """The machine with these wedges or trays."""
    return machine.model_copy(update={"accessories": MachineAccessories.model_validate(accessories)})


def wedged(
    beam: Beam,
    kind: str = "STANDARD",
    angle_deg: float = 45.0,
    orientation_deg: float = 0.0,
    name: str = "W",
    inside: tuple[bool, ...] | None = None,
) -> Beam:
    """A beam with a wedge, in all the time or as ``inside`` says for each control point."""
    wedge = Wedge(1, kind, angle_deg, orientation_deg, name)
    inside = inside or (True,) * len(beam.control_points)
    points = tuple(
        replace(p, wedges_in=frozenset([1] if there else []))
        for p, there in zip(beam.control_points, inside, strict=True)
    )
    return replace(beam, control_points=points, accessories=replace(beam.accessories, wedges=(wedge,)))


def blocked(beam: Beam, *blocks: Block, tray_factor: float | None = None) -> Beam:
    """A beam with blocks."""
    return replace(beam, accessories=Accessories(blocks=blocks, block_tray_factor=tray_factor))


def rectangle(x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """Corners of a rectangle, float64 [4, 2]."""
    return np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])])


def shipped_with(what: str) -> Machine:
    """The first shipped machine of 6 MV that has ``wedges`` of a kind or ``dynamic_wedges``."""
    for machine in shipped_machines():
        if machine.energy(6.0, "STANDARD") is None:
            continue
        kinds = {w.kind for w in machine.accessories.wedges}
        kinds |= {"DYNAMIC"} if machine.accessories.dynamic_wedges else set()
        if what in kinds:
            return load_machine(machine.name)
    raise AssertionError(f"no shipped machine has a wedge of kind {what}")
