"""Step-and-shoot plans whose segments follow the targets' outlines and spare an organ. Nothing is optimised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely

from dosecalc.errors import InputError
from dosecalc.patient.structures import Contour, Structure
from dosecalc.plan import Beam, MlcGeometry
from dosecalc_phantoms.conform import PARKED_MM, Aperture, beams_eye_view, beside, conform
from dosecalc_phantoms.model import Drawn
from dosecalc_phantoms.plans import SAD_MM, PlanSetup, beam_of, has_jaws_along_leaves, mlc_of, point_of

#: room for the penumbra around the target
MARGIN_MM = 5.0
#: share of a level's meterset that is given with the organ shielded, where there is one
_SHIELDED = 0.6
#: slices in which the shapes are projected, whatever those of the CT are
_SLICE_MM = 2.5
_HALF_LENGTH_MM = 150.0


@dataclass(frozen=True)
class ConformalPlan:
    """What a conformal plan is made of.

    Parameters
    ----------
    gantry_deg : tuple of float
        One beam from each.
    levels : tuple of (weight, structure names)
        Share of a beam's meterset, and the targets that it covers together; the weights add up to one.
    spared : tuple of str
        Structures that the leaves cover for part of each level; may be empty.
    """

    gantry_deg: tuple[float, ...]
    levels: tuple[tuple[float, tuple[str, ...]], ...]
    spared: tuple[str, ...] = ()


def conformal_beams(wanted: ConformalPlan, drawn: Mapping[str, Drawn], setup: PlanSetup) -> tuple[Beam, ...]:
    """The beams of a conformal plan, for a patient who lies head first supine.

    Parameters
    ----------
    wanted : ConformalPlan
    drawn : mapping of name to Drawn
        The shapes by the names that the plan uses.
    setup : PlanSetup

    Raises
    ------
    InputError
        ``APERTURE_EMPTY`` when a beam sees none of its targets.
    """
    mlc = mlc_of(setup.machine_name)
    structures = {name: sliced(d) for name, d in drawn.items()}
    beams = []
    for number, gantry in enumerate(wanted.gantry_deg, start=1):
        segments = _segments(wanted, structures, gantry, mlc, setup)
        beams.append(_step_and_shoot(number, gantry, segments, mlc, setup))
    return tuple(beams)


def sliced(drawn: Drawn) -> Structure:
    """The shape as contours on slices of its own, so that the plan does not depend on the CT's."""
    planes = np.arange(-_HALF_LENGTH_MM + _SLICE_MM / 2, _HALF_LENGTH_MM, _SLICE_MM)
    outlines = (drawn.shape.polygon_mm(float(z)) for z in planes)
    return Structure(0, drawn.name, drawn.kind, tuple(Contour(p) for p in outlines if p is not None))


def _segments(
    wanted: ConformalPlan, structures: Mapping[str, Structure], gantry: float, mlc: MlcGeometry, setup: PlanSetup
) -> list[tuple[float, Aperture]]:
    angles = (gantry, 0.0, 0.0)
    used = {n for _, targets in wanted.levels for n in targets} | set(wanted.spared)
    views = {n: beams_eye_view(structures[n], _SLICE_MM, setup.isocentre_mm, angles, "HFS", SAD_MM) for n in used}
    organ = shapely.union_all([views[n] for n in wanted.spared])
    segments: list[tuple[float, Aperture]] = []
    for weight, targets in wanted.levels:
        whole = conform(shapely.union_all([views[n] for n in targets]), mlc, MARGIN_MM)
        if whole is None:
            raise InputError(
                "APERTURE_EMPTY", f"No leaf pair opens for {', '.join(targets)} from gantry {gantry:g}.", field="plan"
            )
        parts = beside(whole, organ, mlc)
        shielded = _SHIELDED * weight if parts else 0.0
        segments.append((weight - shielded, whole))
        segments += [(shielded / len(parts), part) for part in parts]
    return segments


def _step_and_shoot(
    number: int, gantry: float, segments: list[tuple[float, Aperture]], mlc: MlcGeometry, setup: PlanSetup
) -> Beam:
    # jaws stand still around the widest segment: the MLC shapes every segment by itself
    x, y = (
        (min(getattr(a, jaw)[0] for _, a in segments), max(getattr(a, jaw)[1] for _, a in segments))
        for jaw in ("jaw_x_mm", "jaw_y_mm")
    )
    park = x[0] - PARKED_MM
    if not has_jaws_along_leaves(setup.machine_name):
        x = park, x[1]  # what the plan calls jaws stands behind all leaves
    points = []
    given = 0.0
    for i, (weight, aperture) in enumerate(segments):
        after = 1.0 if i == len(segments) - 1 else round(given + weight, 6)
        points += [
            point_of(setup, 2 * i + k, share, gantry, jaw_x_mm=x, jaw_y_mm=y, leaves=aperture.parked(park))
            for k, share in enumerate((given, after))
        ]
        given = after
    return beam_of(setup, number, f"Gantry {gantry:.0f}", mlc, tuple(points))
