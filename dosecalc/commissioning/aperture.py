"""A measured field as a beam of the machine model: jaws, leaves, and which of them makes each pair of edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosecalc.commissioning.curves import Setup
from dosecalc.errors import InputError
from dosecalc.machine.model import Energy, Machine
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan

Range = tuple[float, float]

#: how far jaws must stand back behind leaves for a profile to show what the leaves let through, beyond the penumbra, mm
_BESIDE_MM = 15.0


def leaves_make_edges(machine: Machine, setup: Setup, axis: str) -> bool:
    """Whether the field's edges along an axis are leaf ends: asked for, or the machine has no jaws there."""
    if machine.mlc is None or machine.mlc.axis.lower() != axis:
        return False
    return setup.shaped_by == "leaves" or (machine.jaw_x if axis == "x" else machine.jaw_y) is None


def leaves_alone_beside(machine: Machine, setup: Setup, axis: str) -> bool:
    """Whether nothing but leaves closes the beam off beside a field along an axis, so that their transmission shows."""
    if not leaves_make_edges(machine, setup, axis):
        return False
    jaws = machine.jaw_x if axis == "x" else machine.jaw_y
    along = "xy".index(axis)
    return jaws is None or (
        setup.jaws_mm is not None and setup.jaws_mm[along] >= setup.field_mm[along] + 2 * _BESIDE_MM
    )


def field_plan(machine: Machine, energy: Energy, setup: Setup) -> Plan:
    """One static beam, gantry 0, 1 MU, over a phantom whose surface is the plane y = 0 of the patient.

    Raises
    ------
    InputError
        ``APERTURE_IMPOSSIBLE`` when the machine cannot make the field.
    """
    jaw_x, jaw_y = _jaws(machine, setup)
    leaves = _leaves(machine, setup)
    if leaves is None and (jaw_x is None or jaw_y is None):
        raise InputError("APERTURE_IMPOSSIBLE", f"{machine.name} has no jaws and no leaves for {setup.label}.")
    isocentre = (0.0, machine.sad_mm - setup.ssd_mm, 0.0)
    points = tuple(ControlPoint(i, float(i), 0.0, 0.0, 0.0, "NONE", isocentre, jaw_x, jaw_y, leaves) for i in (0, 1))
    mlc = None
    if leaves is not None and machine.mlc is not None:
        mlc = MlcGeometry(machine.mlc.axis, np.array(machine.mlc.boundaries_mm))
    beam = Beam(
        1, setup.label, "", "PHOTON", energy.nominal_mv, energy.fluence_mode, machine.sad_mm, "HFS", mlc, points
    )
    return Plan("commissioning", (beam,), (FractionGroup(1, 1, {1: 1.0}),))


def _jaws(machine: Machine, setup: Setup) -> tuple[Range | None, Range | None]:
    sides = setup.jaws_mm or setup.field_mm
    found = [
        (-side / 2, side / 2) if jaws is not None else None
        for side, jaws in zip(sides, (machine.jaw_x, machine.jaw_y), strict=True)
    ]
    return found[0], found[1]


def _leaves(machine: Machine, setup: Setup) -> NDArray[np.float64] | None:
    """Leaf positions of the field, float64 [pairs, 2]; pairs beside the field are closed in the middle."""
    mlc = machine.mlc
    if mlc is None or not any(leaves_make_edges(machine, setup, axis) for axis in "xy"):
        return None
    along, across = setup.field_mm if mlc.axis == "X" else setup.field_mm[::-1]
    edges = np.array(mlc.boundaries_mm)
    across_jaws = machine.jaw_y if mlc.axis == "X" else machine.jaw_x
    # the pair beside a jaw's edge stays open with the rest, as leaves do behind jaws
    room = 0.0 if across_jaws is None else float(np.diff(edges).max())
    inside = (edges[1:] > -across / 2 - room + 1e-6) & (edges[:-1] < across / 2 + room - 1e-6)
    return np.where(inside[:, None], np.array([-along / 2, along / 2]), 0.0)
