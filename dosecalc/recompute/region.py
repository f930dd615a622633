"""The part of the patient in which dose is worth computing when nobody says otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import GeometryError
from dosecalc.geometry import Volume
from dosecalc.geometry.frames import bld_from_patient, source_patient_mm
from dosecalc.patient.density import OUTSIDE_KINDS
from dosecalc.patient.model import Patient
from dosecalc.patient.structures import StructureSet
from dosecalc.plan import Beam, ControlPoint, Plan

FloatArray = NDArray[np.float64]
Point = tuple[float, float, float]

#: density above which a voxel belongs to the patient, g/cm3 (air is 0.0012, the thinnest lung about 0.05)
_TISSUE_G_CM3 = 0.05
#: how far beside the beams' edges dose is still computed: beyond it only leakage and a few thousandths of scatter
_MARGIN_MM = 100.0
#: half the aperture that is assumed where a beam states neither jaws nor leaves
_WIDEST_MM = 200.0


def dose_region(patient: Patient, plan: Plan) -> tuple[Point, Point]:
    """The part of the patient that the beams can reach, and all of every structure inside the patient.

    Parameters
    ----------
    patient : Patient
    plan : Plan

    Returns
    -------
    (lower, upper) : two (x, y, z)
        Patient frame, mm.

    Raises
    ------
    GeometryError
        ``PATIENT_EMPTY`` when no voxel is denser than air, ``BEAMS_MISS`` when no beam comes near the patient.
    """
    lowest, highest = _patient_box(patient.density)
    corners = np.concatenate([_reach(b, c, lowest, highest) for b in plan.beams for c in b.control_points])
    lower, upper = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    if np.any(np.maximum(lower, lowest) >= np.minimum(upper, highest)):
        raise GeometryError(
            "BEAMS_MISS",
            "No beam of the plan comes within 10 cm of the patient: plan and CT do not belong together.",
        )
    for box in _structure_boxes(patient.structures):
        lower, upper = np.minimum(lower, box.min(axis=0)), np.maximum(upper, box.max(axis=0))
    return _point(np.maximum(lower, lowest)), _point(np.minimum(upper, highest))


def _structure_boxes(structures: StructureSet | None) -> list[FloatArray]:
    """Vertices of the organs and targets, whose DVHs should be of the whole; not of the outline and what carries it."""
    if structures is None:
        return []
    external = structures.external()
    within = [s for s in structures.structures if s is not external and s.kind not in (*OUTSIDE_KINDS, "EXTERNAL")]
    return [c.points_mm for s in within for c in s.contours if c.closed and len(c.points_mm)]


def _patient_box(density: Volume) -> tuple[FloatArray, FloatArray]:
    tissue = density.values > _TISSUE_G_CM3
    lower, upper = np.empty(3), np.empty(3)
    for axis, others in ((0, (0, 1)), (1, (0, 2)), (2, (1, 2))):
        filled = np.flatnonzero(tissue.any(axis=others))
        if filled.size == 0:
            raise GeometryError(
                "PATIENT_EMPTY",
                "Nothing in the patient is denser than air: the calibration curve or the densities are wrong.",
            )
        edges = density.grid.edges_mm(axis)
        lower[axis], upper[axis] = edges[filled[0]], edges[filled[-1] + 1]
    return lower, upper


def _reach(beam: Beam, point: ControlPoint, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Corners of the diverging aperture where it enters and leaves the patient's box, float64 [8, 3], patient frame."""
    rotation = bld_from_patient(point.gantry_deg, point.collimator_deg, point.couch_deg, beam.patient_position)
    source = source_patient_mm(point.isocentre_patient_mm, rotation, beam.sad_mm)
    box = np.array(
        [[x, y, z] for x in (lower[0], upper[0]) for y in (lower[1], upper[1]) for z in (lower[2], upper[2])]
    )
    distances = -((box - source) @ rotation.T)[:, 2]
    (x0, x1), (y0, y1) = _aperture(beam, point)
    corners = [
        np.array([x, y, -beam.sad_mm]) * (max(d, 1.0) / beam.sad_mm)
        for d in (distances.min(), distances.max())
        for x in (x0, x1)
        for y in (y0, y1)
    ]
    return source + np.array(corners) @ rotation


def _aperture(beam: Beam, point: ControlPoint) -> tuple[tuple[float, float], tuple[float, float]]:
    """The rectangle at the isocentre plane that jaws and leaves leave open at most, BLD x and y."""
    widest = (-_WIDEST_MM, _WIDEST_MM)
    x, y = point.jaw_x_mm or widest, point.jaw_y_mm or widest
    if beam.mlc is None or point.leaves_mm is None:
        return x, y
    open_pairs = np.flatnonzero(point.leaves_mm[:, 1] > point.leaves_mm[:, 0])
    if open_pairs.size == 0:
        return x, y
    along = (float(point.leaves_mm[open_pairs, 0].min()), float(point.leaves_mm[open_pairs, 1].max()))
    across = (float(beam.mlc.boundaries_mm[open_pairs[0]]), float(beam.mlc.boundaries_mm[open_pairs[-1] + 1]))
    leaves_x, leaves_y = (along, across) if beam.mlc.axis == "X" else (across, along)
    return _narrower(x, leaves_x), _narrower(y, leaves_y)


def _narrower(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    lower, upper = max(a[0], b[0]), min(a[1], b[1])
    return (lower, upper) if lower < upper else a


def _point(values: FloatArray) -> Point:
    return float(values[0]), float(values[1]), float(values[2])
