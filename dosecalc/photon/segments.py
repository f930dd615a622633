"""A beam as static pieces: which apertures are summed into one fluence map, and which maps share one transport."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dosecalc.plan import Beam, ControlPoint
from dosecalc.plan.motion import beam_on, collimator_sweep_deg, couch_sweep_deg, gantry_sweep_deg

Isocentre = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Segment:
    """Part of a delivery between two control points.

    Parameters
    ----------
    start, end : ControlPoint
        The control points on both sides.
    from_share, to_share : float
        The part of the way from start to end that this segment covers, 0 to 1.
    weight : float
        Share of the beam's meterset.
    """

    start: ControlPoint
    end: ControlPoint
    from_share: float
    to_share: float
    weight: float


@dataclass(frozen=True, eq=False)
class View:
    """Segments that are taken to be delivered from one direction: one fluence map, one ray tracing.

    Angles in degrees, IEC 61217.
    """

    gantry_deg: float
    collimator_deg: float
    couch_deg: float
    isocentre_patient_mm: Isocentre
    segments: tuple[Segment, ...]

    @property
    def weight(self) -> float:
        """Share of the beam's meterset."""
        return sum(s.weight for s in self.segments)


@dataclass(frozen=True, eq=False)
class TransportGroup:
    """Views whose released energy is transported together, with the kernel's axis taken from the middle one."""

    views: tuple[View, ...]
    gantry_deg: float
    couch_deg: float
    isocentre_patient_mm: Isocentre


def split_beam(beam: Beam, view_tolerance_deg: float, transport_tolerance_deg: float) -> tuple[TransportGroup, ...]:
    """Views of a beam, each spanning no more than the first tolerance, grouped within the second.

    Parameters
    ----------
    beam : Beam
    view_tolerance_deg : float
        Largest rotation of gantry, collimator or couch within one fluence map and ray tracing.
    transport_tolerance_deg : float
        Largest gantry rotation within one transport; TERMA keeps the finer views.
    """
    views: list[View] = []
    gantry, collimator, couch = gantry_sweep_deg(beam), collimator_sweep_deg(beam), couch_sweep_deg(beam)
    on = beam_on(beam)
    for i, (a, b) in enumerate(pairwise(beam.control_points)):
        if not on[i]:
            continue
        sweep = max(abs(gantry[i]), abs(collimator[i]), abs(couch[i]))
        pieces = max(1, int(np.ceil(sweep / view_tolerance_deg - 1e-6)))
        for p in range(pieces):
            lo, hi = p / pieces, (p + 1) / pieces
            middle = (lo + hi) / 2
            segment = Segment(a, b, lo, hi, (b.meterset_fraction - a.meterset_fraction) / pieces)
            views.append(
                View(
                    a.gantry_deg + gantry[i] * middle,
                    a.collimator_deg + collimator[i] * middle,
                    a.couch_deg + couch[i] * middle,
                    a.isocentre_patient_mm,
                    (segment,),
                )
            )
    return _group(_merge(views), transport_tolerance_deg)


def _merge(views: list[View]) -> list[View]:
    """Neighbouring views from the very same direction become one map: a step-and-shoot beam has one."""
    out: list[View] = []
    for v in views:
        if out and _same_direction(out[-1], v):
            last = out[-1]
            out[-1] = View(
                last.gantry_deg,
                last.collimator_deg,
                last.couch_deg,
                last.isocentre_patient_mm,
                last.segments + v.segments,
            )
        else:
            out.append(v)
    return out


def _same_direction(a: View, b: View) -> bool:
    return (
        max(abs(a.gantry_deg - b.gantry_deg), abs(a.collimator_deg - b.collimator_deg), abs(a.couch_deg - b.couch_deg))
        < 0.01
        and np.abs(np.subtract(a.isocentre_patient_mm, b.isocentre_patient_mm)).max() < 0.01
    )


def _group(views: list[View], tolerance_deg: float) -> tuple[TransportGroup, ...]:
    groups: list[list[View]] = []
    for v in views:
        if groups and _fits(groups[-1], v, tolerance_deg):
            groups[-1].append(v)
        else:
            groups.append([v])
    out = []
    for members in groups:
        weights = np.array([m.weight for m in members])
        gantry = float(np.average([m.gantry_deg for m in members], weights=weights))
        out.append(TransportGroup(tuple(members), gantry, members[0].couch_deg, members[0].isocentre_patient_mm))
    return tuple(out)


def _fits(group: list[View], view: View, tolerance_deg: float) -> bool:
    first = group[0]
    return (
        abs(first.gantry_deg - view.gantry_deg) < tolerance_deg
        and abs(first.couch_deg - view.couch_deg) < tolerance_deg
        and np.abs(np.subtract(first.isocentre_patient_mm, view.isocentre_patient_mm)).max() < 0.01
    )
