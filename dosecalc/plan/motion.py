"""What moves during a beam: signed rotations from control point to control point, and the technique they amount to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PlanError
from dosecalc.plan.model import Beam, ControlPoint

FloatArray = NDArray[np.float64]

#: angles that differ by less are the same angle, written with less or more digits
_SAME_DEG = 1e-3
#: up to here an angle may settle without a direction being given; machines position to about a tenth of a degree
_SETTLING_DEG = 0.1
#: positions that differ by less are the same position; planning systems round to a hundredth of a millimetre
_SAME_MM = 0.01


def gantry_sweep_deg(beam: Beam) -> FloatArray:
    """Signed gantry rotation of every segment: float64 [n control points - 1], degrees, positive for rising angles.

    A clockwise arc from 180.1 to 179.9 is a turn of 359.8 degrees; from 5 to 5 clockwise is a full turn when nothing
    else of the beam rotates (DICOM PS3.3 C.8.8.14.8), and a pause when other segments do.

    Raises
    ------
    PlanError
        ``ROTATION_DIRECTION_MISSING`` when the angle changes with the beam on and no direction is given;
        ``ROTATION_AMBIGUOUS`` when directions and angles add up to more than a turn that nobody can have meant.
    """
    angles = [c.gantry_deg for c in beam.control_points]
    # seen from the isocentre, clockwise raises the gantry angle
    return _sweep(beam, "gantry", angles, [c.gantry_direction for c in beam.control_points], clockwise=+1.0)


def collimator_sweep_deg(beam: Beam) -> FloatArray:
    """Signed collimator rotation of every segment; see `gantry_sweep_deg`. Counter-clockwise raises the angle."""
    angles = [c.collimator_deg for c in beam.control_points]
    return _sweep(beam, "collimator", angles, [c.collimator_direction for c in beam.control_points], clockwise=-1.0)


def couch_sweep_deg(beam: Beam) -> FloatArray:
    """Signed couch rotation of every segment; see `gantry_sweep_deg`. Counter-clockwise raises the angle."""
    angles = [c.couch_deg for c in beam.control_points]
    return _sweep(beam, "couch", angles, [c.couch_direction for c in beam.control_points], clockwise=-1.0)


def technique(beam: Beam) -> str:
    """The delivery that the control points describe, whatever the plan calls it.

    Returns
    -------
    str
        ``STATIC``; ``STEP_AND_SHOOT``: apertures change only while no dose is given; ``SLIDING_WINDOW``: leaves or jaws
        move with the beam on; ``ARC``: the gantry rotates, the aperture stays; ``VMAT``: both move (dynamic conformal
        arcs too).

    Raises
    ------
    PlanError
        As `gantry_sweep_deg`.
    """
    points = beam.control_points
    on = beam_on(beam)
    rotates = bool(np.any(on & (np.abs(gantry_sweep_deg(beam)) > _SAME_DEG)))
    reshapes = np.array([not _same_aperture(a, b) for a, b in pairwise(points)])
    if rotates:
        return "VMAT" if reshapes.any() else "ARC"
    if np.any(reshapes & on):
        return "SLIDING_WINDOW"
    return "STEP_AND_SHOOT" if reshapes.any() else "STATIC"


def stands_still(beam: Beam) -> bool:
    """Whether nothing of the beam moves, from the first control point to the last."""
    points = beam.control_points
    turns = (gantry_sweep_deg(beam), collimator_sweep_deg(beam), couch_sweep_deg(beam))
    return all(_same_aperture(a, b) for a, b in pairwise(points)) and not any(
        np.any(np.abs(t) > _SAME_DEG) for t in turns
    )


def crossing_jaw(beam: Beam) -> str | None:
    """Which Y jaw crosses the field with the beam on as the control points have it: ``Y1``, ``Y2`` or None.

    It moves one way, towards the other, which stands.
    """
    jaws = [p.jaw_y_mm for p in beam.control_points]
    if any(jaw is None for jaw in jaws):
        return None
    lower, upper = np.array(jaws, dtype=np.float64).T
    if np.ptp(upper) < _SAME_MM and np.all(np.diff(lower) > -_SAME_MM) and np.ptp(lower) >= _SAME_MM:
        return "Y1"
    if np.ptp(lower) < _SAME_MM and np.all(np.diff(upper) < _SAME_MM) and np.ptp(upper) >= _SAME_MM:
        return "Y2"
    return None


def beam_on(beam: Beam) -> NDArray[np.bool_]:
    """Whether dose is given in each segment: bool [n control points - 1]."""
    return np.asarray(np.diff([c.meterset_fraction for c in beam.control_points]) > 0, dtype=np.bool_)


def _sweep(beam: Beam, what: str, angles: Sequence[float], directions: Sequence[str], clockwise: float) -> FloatArray:
    on = beam_on(beam)
    rising = np.mod(np.diff(angles), 360.0)
    shortest = np.where(rising > 180.0, rising - 360.0, rising)
    shortest[np.abs(shortest) < _SAME_DEG] = 0.0
    sweep = shortest.copy()
    full_turn_or_pause = np.zeros(len(sweep), dtype=bool)
    for i, direction in enumerate(directions[:-1]):
        if direction not in ("CW", "CC"):
            if on[i] and abs(shortest[i]) > _SETTLING_DEG:
                raise PlanError(
                    "ROTATION_DIRECTION_MISSING",
                    f"The {what} turns from {angles[i]:g} to {angles[i + 1]:g} degrees with the beam on, but the plan "
                    "gives no direction; export the plan with the rotation direction.",
                    beam=beam.label,
                    control_point=i,
                )
        elif shortest[i] == 0.0:
            full_turn_or_pause[i] = on[i]
        else:
            up = clockwise > 0 if direction == "CW" else clockwise < 0
            sweep[i] = rising[i] if up else rising[i] - 360.0
    if full_turn_or_pause.any() and not sweep.any():
        _take_as_full_turn(beam, what, sweep, full_turn_or_pause, directions, clockwise)
    _check_turns(beam, what, sweep)
    return sweep


def _take_as_full_turn(
    beam: Beam,
    what: str,
    sweep: FloatArray,
    candidates: NDArray[np.bool_],
    directions: Sequence[str],
    clockwise: float,
) -> None:
    (where,) = np.nonzero(candidates)
    if len(where) > 1:
        raise PlanError(
            "ROTATION_AMBIGUOUS",
            f"The {what} has a direction of rotation in {len(where)} segments but the same angle throughout: that may "
            "be several full turns or none; give NONE for segments without rotation.",
            beam=beam.label,
            control_point=int(where[0]),
        )
    i = int(where[0])
    sweep[i] = 360.0 * (clockwise if directions[i] == "CW" else -clockwise)


def _check_turns(beam: Beam, what: str, sweep: FloatArray) -> None:
    # an angle that was rounded backwards by a tenth of a degree looks like a turn of 359.9 degrees in one segment
    total = float(np.abs(sweep).sum())
    longest = int(np.argmax(np.abs(sweep)))
    if total > 361.0 and abs(sweep[longest]) > 300.0:
        raise PlanError(
            "ROTATION_AMBIGUOUS",
            f"The {what} would turn by {abs(sweep[longest]):.1f} degrees in one segment and {total:.1f} in the whole "
            "beam: probably an angle goes against the direction of rotation; correct one or the other.",
            beam=beam.label,
            control_point=longest,
        )


def _same_aperture(a: ControlPoint, b: ControlPoint) -> bool:
    return (
        _same(a.jaw_x_mm, b.jaw_x_mm)
        and _same(a.jaw_y_mm, b.jaw_y_mm)
        and _same(a.leaves_mm, b.leaves_mm)
        and _same(a.second_leaves_mm, b.second_leaves_mm)
        and abs((a.collimator_deg - b.collimator_deg + 180.0) % 360.0 - 180.0) < _SAME_DEG
    )


def _same(a: FloatArray | tuple[float, float] | None, b: FloatArray | tuple[float, float] | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.all(np.abs(np.asarray(a) - np.asarray(b)) < _SAME_MM))
