"""Model it or refuse it: what of a plan no engine computes, found before anything is computed.

`docs/plan-support.md` has the whole table. What depends on the machine model (its energies, FFF, its leaves, its
wedges) is checked when a beam is mapped to a machine, not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from dosecalc.errors import PlanError
from dosecalc.plan.accessories import Wedge
from dosecalc.plan.model import Beam, Modifier, Plan
from dosecalc.plan.motion import (
    collimator_sweep_deg,
    couch_sweep_deg,
    crossing_jaw,
    gantry_sweep_deg,
    stands_still,
)

#: kind of modifier -> stable reason and the words for it. Wedges, blocks and boluses come here only when they lack
#: something; those described in full are `Beam.accessories`.
_REFUSED_MODIFIERS: dict[str, tuple[str, str]] = {
    "WEDGE": ("WEDGE_NOT_SUPPORTED", "a wedge"),
    "BLOCK": ("BLOCK_NOT_SUPPORTED", "a block or cut-out"),
    "BOLUS": ("BOLUS_NOT_SUPPORTED", "a bolus"),
    "COMPENSATOR": ("COMPENSATOR_NOT_SUPPORTED", "a compensator"),
    "APPLICATOR": ("APPLICATOR_NOT_SUPPORTED", "an applicator"),
    "TRAY": ("TRAY_NOT_SUPPORTED", "a tray that attenuates the beam"),
    "ACCESSORY": ("ACCESSORY_NOT_SUPPORTED", "an accessory in the beam"),
    "SHIELDING": ("SHIELDING_NOT_SUPPORTED", "a shielding device on the patient"),
    "SECOND_MLC": ("SECOND_MLC_NOT_SUPPORTED", "a third multi-leaf collimator, or two that are not layers of one"),
    "ENHANCED_LIMITING_DEVICE": ("LIMITING_DEVICE_NOT_SUPPORTED", "beam limiting devices of the enhanced description"),
    "LIMITING_DEVICE": ("LIMITING_DEVICE_NOT_SUPPORTED", "a beam limiting device that is neither jaw nor MLC"),
    "TABLE_TOP_TILT": ("TABLE_TILT_NOT_SUPPORTED", "a table top that is pitched or rolled"),
    "TABLE_TOP_ECCENTRIC": ("TABLE_ECCENTRIC_NOT_SUPPORTED", "an eccentric table top rotation"),
    "TABLE_MOTION": ("TABLE_MOTION_NOT_SUPPORTED", "a table that moves during the beam"),
    "ISOCENTRE_MOTION": ("ISOCENTRE_MOTION_NOT_SUPPORTED", "an isocentre that moves during the beam"),
    "GANTRY_PITCH": ("GANTRY_PITCH_NOT_SUPPORTED", "a pitched gantry"),
    "ENERGY_CHANGE": ("ENERGY_CHANGE_NOT_SUPPORTED", "an energy that changes during the beam"),
    "DOSIMETER_UNIT": ("DOSIMETER_UNIT_NOT_SUPPORTED", "a meterset that is not in monitor units"),
    "DELIVERY_TYPE": ("DELIVERY_TYPE_NOT_SUPPORTED", "a delivery type that is not a treatment"),
}


@dataclass(frozen=True)
class Refusal:
    """One thing in a plan that is not modelled.

    Parameters
    ----------
    reason : str
        Stable identifier (``WEDGE_NOT_SUPPORTED``).
    beam : str
        Label of the beam.
    message : str
        What it is, in words.
    """

    reason: str
    beam: str
    message: str


def unsupported(plan: Plan) -> tuple[Refusal, ...]:
    """Everything of the plan that no engine models, in the order of the beams; empty when all is modelled.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    tuple of Refusal
    """
    return tuple(refusal for beam in plan.beams for refusal in _of_beam(beam))


def check_supported(plan: Plan) -> None:
    """Refuse a plan that holds anything which changes dose and is not modelled.

    Raises
    ------
    PlanError
        With the reason of the first refusal and a message that lists all of them by beam.
    """
    refusals = unsupported(plan)
    if not refusals:
        return
    beams = list(dict.fromkeys(r.beam for r in refusals))
    lines = [f"beam {beam} has " + ", ".join(r.message for r in refusals if r.beam == beam) for beam in beams]
    raise PlanError(
        refusals[0].reason,
        "The plan cannot be computed: "
        + "; ".join(lines)
        + ". Nothing was computed: this is not modelled; docs/plan-support.md says what is.",
        beam=", ".join(beams),
        reasons=", ".join(dict.fromkeys(r.reason for r in refusals)),
    )


def _of_beam(beam: Beam) -> Iterator[Refusal]:
    if beam.radiation != "PHOTON":
        yield Refusal("RADIATION_NOT_SUPPORTED", beam.label, f"radiation {beam.radiation or 'of unknown type'}")
    if beam.energy_mv is None:
        yield Refusal("ENERGY_MISSING", beam.label, "no nominal energy")
    for modifier in beam.modifiers:
        yield _of_modifier(beam, modifier)
    yield from _of_wedges(beam)
    yield from _of_blocks(beam)
    yield from _of_aperture(beam)
    yield from _of_motion(beam)


def _of_modifier(beam: Beam, modifier: Modifier) -> Refusal:
    reason, words = _REFUSED_MODIFIERS.get(
        modifier.kind, ("MODIFIER_NOT_SUPPORTED", f"an unknown modifier of kind {modifier.kind}")
    )
    particulars = [repr(modifier.name)] if modifier.name else []
    particulars += [f"{k} {v}" for k, v in modifier.details.items() if v]
    return Refusal(reason, beam.label, words + (f" ({', '.join(particulars)})" if particulars else ""))


def _of_wedges(beam: Beam) -> Iterator[Refusal]:
    for i, (a, b) in enumerate(pairwise(beam.control_points)):
        if b.meterset_fraction <= a.meterset_fraction:
            continue
        if len(a.wedges_in) > 1:
            yield Refusal("WEDGE_NOT_SUPPORTED", beam.label, f"two wedges at once from control point {i}")
            return
        last = i == len(beam.control_points) - 2
        if last and a.wedges_in != b.wedges_in:
            # a position holds until the next control point; at the last one it would hold for nothing
            words = "a wedge that changes its position at the last control point, for no meterset or for some"
            yield Refusal("WEDGE_POSITION_UNCLEAR", beam.label, words)
    in_use = frozenset().union(*(p.wedges_in for p in beam.control_points))
    for wedge in beam.accessories.wedges:
        if wedge.kind == "DYNAMIC" and wedge.number in in_use:
            yield from _of_dynamic_wedge(beam, wedge)


def _of_dynamic_wedge(beam: Beam, wedge: Wedge) -> Iterator[Refusal]:
    """A jaw that crosses the field by itself may do so while nothing else moves, or as the control points say."""
    if any(wedge.number not in p.wedges_in for p in beam.control_points):
        yield Refusal("WEDGE_NOT_SUPPORTED", beam.label, f"a dynamic wedge {wedge.label} for a part of the beam")
        return
    try:
        still = stands_still(beam)
    except PlanError:
        return  # an unclear rotation, which is refused for itself
    if crossing_jaw(beam) is None and not still:
        words = f"a dynamic wedge {wedge.label} together with other motion"
        yield Refusal("WEDGE_NOT_SUPPORTED", beam.label, words)


def _of_blocks(beam: Beam) -> Iterator[Refusal]:
    apertures = [block for block in beam.accessories.blocks if block.kind == "APERTURE"]
    if len(apertures) > 1:
        yield Refusal("BLOCK_NOT_SUPPORTED", beam.label, f"{len(apertures)} aperture blocks at once")
    if beam.accessories.block_tray_factor == 0.0:
        yield Refusal("TRAY_NOT_SUPPORTED", beam.label, "a tray factor of 0")


def _of_aperture(beam: Beam) -> Iterator[Refusal]:
    """A field must be bounded along both axes, else its dose is that of an unknown primary collimator."""
    first = beam.control_points[0]
    open_axes = []
    if first.leaves_mm is None:
        open_axes = [axis for axis, jaw in (("X", first.jaw_x_mm), ("Y", first.jaw_y_mm)) if jaw is None]
    if open_axes:
        yield Refusal("APERTURE_OPEN", beam.label, f"neither jaws nor leaves along {' and '.join(open_axes)}")


def _of_motion(beam: Beam) -> Iterator[Refusal]:
    for sweep in (gantry_sweep_deg, collimator_sweep_deg, couch_sweep_deg):
        try:
            sweep(beam)
        except PlanError as error:
            yield Refusal(error.reason, beam.label, f"an unclear rotation: {error.message.rstrip('.')}")
