"""Dynamic wedges written out as the jaw motion that they are (docs/modifiers.md, section 3)."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import MachineError, PlanError
from dosecalc.machine.accessories import DynamicWedge
from dosecalc.machine.model import Energy, Machine
from dosecalc.photon.wedges import the_one
from dosecalc.plan import Beam, ControlPoint
from dosecalc.plan.accessories import Wedge
from dosecalc.plan.motion import crossing_jaw

FloatArray = NDArray[np.float64]

#: the angle whose table the machine keeps
_STEEPEST_DEG = 60.0
_SAME_DEG = 0.01


def with_jaw_motion(beam: Beam, machine: Machine, energy: Energy) -> Beam:
    """A beam whose dynamic wedge is written out as control points; any other beam as it is.

    Where the plan's own control points move the jaw they are the delivery, and only their direction is checked.

    Raises
    ------
    MachineError
        ``WEDGE_UNKNOWN``, ``WEDGE_AMBIGUOUS``, ``WEDGE_ORIENTATION``.
    PlanError
        ``WEDGE_FIELD_TOO_LARGE``, ``WEDGE_DIRECTION``.
    """
    wedge = next((w for w in beam.accessories.wedges if w.kind == "DYNAMIC"), None)
    if wedge is None:
        return beam
    moving = _moving_jaw(wedge, beam, machine)
    planned = crossing_jaw(beam)
    if planned is not None and planned != moving:
        raise PlanError(
            "WEDGE_DIRECTION",
            f"Beam {beam.label} moves the jaw {planned}, but its dynamic wedge at {wedge.orientation_deg:g} degrees "
            f"moves {moving}; export the plan again.",
            beam=beam.label,
        )
    points = beam.control_points if planned else _written_out(beam, wedge, moving, machine, energy)
    rest = tuple(w for w in beam.accessories.wedges if w is not wedge)
    points = tuple(replace(p, wedges_in=p.wedges_in - {wedge.number}) for p in points)
    return replace(beam, control_points=points, accessories=replace(beam.accessories, wedges=rest))


def _moving_jaw(wedge: Wedge, beam: Beam, machine: Machine) -> str:
    """The thin edge, where most dose is given, is where the moving jaw arrives last."""
    _, toe_y = wedge.toe_direction
    if abs(abs(toe_y) - 1) > 1e-4:
        raise MachineError(
            "WEDGE_ORIENTATION",
            f"Beam {beam.label} turns its dynamic wedge to {wedge.orientation_deg:g} degrees; {machine.name} has it "
            "along Y only, at 0 and 180.",
            beam=beam.label,
        )
    return "Y1" if toe_y > 0 else "Y2"


def _written_out(beam: Beam, wedge: Wedge, moving: str, machine: Machine, energy: Energy) -> tuple[ControlPoint, ...]:
    first = beam.control_points[0]
    if first.jaw_y_mm is None:
        raise MachineError(
            "JAW_MISMATCH", f"Beam {beam.label} has a dynamic wedge but no Y jaws.", beam=beam.label, control_point=0
        )
    table = table_of(wedge, beam, machine, energy)
    lower, upper = first.jaw_y_mm if moving == "Y1" else (-first.jaw_y_mm[1], -first.jaw_y_mm[0])
    positions, fractions = jaw_table(table, wedge.angle_deg, lower, upper, beam.label)
    points = []
    for i, (position, fraction) in enumerate(zip(positions.tolist(), fractions.tolist(), strict=True)):
        jaw = (position, upper) if moving == "Y1" else (-upper, -position)
        points.append(replace(first, index=i, meterset_fraction=fraction, jaw_y_mm=jaw))
    return tuple(points)


def table_of(wedge: Wedge, beam: Beam, machine: Machine, energy: Energy) -> DynamicWedge:
    """The table of the machine model that a plan's dynamic wedge is.

    Raises
    ------
    MachineError
        ``WEDGE_UNKNOWN``, ``WEDGE_AMBIGUOUS``.
    """
    fitting = [
        w
        for w in machine.accessories.dynamic_wedges
        if abs(w.nominal_mv - energy.nominal_mv) < 0.05
        and w.fluence_mode == energy.fluence_mode
        and any(fnmatchcase(wedge.name, pattern) for pattern in w.ids)
        and any(abs(angle - wedge.angle_deg) < _SAME_DEG for angle in w.angles_deg)
    ]
    return the_one(fitting, wedge, beam, machine)


def jaw_table(
    table: DynamicWedge, angle_deg: float, lower_mm: float, upper_mm: float, beam: str
) -> tuple[FloatArray, FloatArray]:
    """Positions of the moving lower jaw and the share of the meterset given when it gets there.

    Parameters
    ----------
    table : DynamicWedge
    angle_deg : float
        Wedge angle; lesser ones than 60 degrees mix the table with an open field, by the ratio of tangents.
    lower_mm, upper_mm : float
        Where the moving jaw starts, and where the other one stands.
    beam : str
        Label, for messages.

    Returns
    -------
    float64 [n], float64 [n]
        mm, rising, the first two equal: with the jaw at its start the open part of the dose is given. Shares from 0
        to 1.

    Raises
    ------
    PlanError
        ``WEDGE_FIELD_TOO_LARGE`` where the table ends before the field, or the field is closed.

    References
    ----------
    Docs/modifiers.md, eqs. (3.1) and (3.2).
    """
    known, dose = np.array(table.jaw_y_mm), np.array(table.dose)
    stop_mm = upper_mm - table.final_gap_mm
    if lower_mm < known[0] - 1e-6 or stop_mm > known[-1] + 1e-6 or stop_mm <= lower_mm:
        raise PlanError(
            "WEDGE_FIELD_TOO_LARGE",
            f"Beam {beam}: its dynamic wedge would move a jaw from {lower_mm:g} to {stop_mm:g} mm; the table of "
            f"{table.name!r} goes from {known[0]:g} to {known[-1]:g} mm.",
            beam=beam,
        )
    steep = np.tan(np.deg2rad(angle_deg)) / np.tan(np.deg2rad(_STEEPEST_DEG))
    mixed = steep * dose + (1 - steep) * dose[int(np.flatnonzero(known == 0.0)[0])]
    between = known[(known > lower_mm) & (known < stop_mm)]
    positions = np.concatenate([[lower_mm], between, [stop_mm]])
    given = np.interp(positions, known, mixed)
    return np.concatenate([[lower_mm], positions]), np.concatenate([[0.0], given / given[-1]])
