"""Apertures that follow a structure's outline in the beam's-eye view. Nothing is optimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from dosecalc.geometry.frames import bld_from_patient
from dosecalc.patient.structures import Structure
from dosecalc.plan import MlcGeometry

FloatArray = NDArray[np.float64]
Point = tuple[float, float, float]

#: contours are taken with this tolerance; leaves are ten times as wide
_SIMPLIFY_MM = 0.3
#: leaf openings that are narrower are not worth delivering
_SMALLEST_GAP_MM = 5.0
#: closed pairs meet this far beside the open part: what leaks between rounded leaf ends must not fall on the target
PARKED_MM = 10.0


@dataclass(frozen=True, eq=False)
class Aperture:
    """What leaves and jaws leave open.

    Parameters
    ----------
    leaves_mm : float64 [n_pairs, 2]
        At the isocentre plane; pairs that see nothing are closed, beside the open part.
    jaw_x_mm, jaw_y_mm : (lower, upper)
        Around the open part; along the leaves they hide where the closed pairs meet.
    area_mm2 : float
        Open area at the isocentre plane.
    """

    leaves_mm: FloatArray
    jaw_x_mm: tuple[float, float]
    jaw_y_mm: tuple[float, float]
    area_mm2: float

    def parked(self, position_mm: float) -> FloatArray:
        """Leaves with the closed pairs elsewhere, float64 [n_pairs, 2]: jaws may be set for several apertures."""
        leaves = self.leaves_mm.copy()
        leaves[leaves[:, 1] <= leaves[:, 0]] = round(position_mm, 2)
        return leaves


def beams_eye_view(
    structure: Structure,
    slice_mm: float,
    isocentre_mm: Point,
    angles_deg: tuple[float, float, float],
    patient_position: str,
    sad_mm: float,
) -> Any:
    """Silhouette of a structure seen from the source, as a shapely geometry in BLD x, y at the isocentre plane, mm.

    Parameters
    ----------
    structure : Structure
        Every contour stands for a slab of the body around its plane.
    slice_mm : float
        Thickness of the slabs.
    isocentre_mm : (x, y, z)
        Patient frame.
    angles_deg : (gantry, collimator, couch)
        IEC 61217.
    patient_position : str
    sad_mm : float
    """
    rotation = bld_from_patient(*angles_deg, patient_position)
    pieces = []
    for contour in structure.contours:
        flat = shapely.Polygon(contour.points_mm[:, :2]).simplify(_SIMPLIFY_MM)
        ring = np.asarray(flat.exterior.coords, dtype=np.float64)
        z = float(contour.points_mm[0, 2])
        lower, upper = (
            _project(np.column_stack([ring, np.full(len(ring), z + half)]), isocentre_mm, rotation, sad_mm)
            for half in (-slice_mm / 2, slice_mm / 2)
        )
        # the silhouette of a slab is that of its side walls and its two faces
        walls = np.stack([lower[:-1], lower[1:], upper[1:], upper[:-1]], axis=1)
        pieces.append(shapely.convex_hull(shapely.multipoints(walls)))
        pieces.append(np.array([shapely.make_valid(shapely.Polygon(face)) for face in (lower, upper)]))
    if not pieces:
        return shapely.Polygon()
    everything = np.concatenate(pieces)
    # walls seen edge-on have no area
    return shapely.union_all(everything[shapely.area(everything) > 0])


def _project(points_mm: FloatArray, isocentre_mm: Point, rotation: FloatArray, sad_mm: float) -> FloatArray:
    """Points as the source sees them at the isocentre plane, float64 [n, 2], BLD, mm."""
    bld = (points_mm - np.asarray(isocentre_mm)) @ rotation.T
    return np.asarray(bld[:, :2] * (sad_mm / (sad_mm - bld[:, 2:])))


def conform(view: Any, mlc: MlcGeometry, margin_mm: float) -> Aperture | None:
    """Leaves around a silhouette with a margin; None when no pair opens.

    Each pair opens as far as the silhouette with its margin reaches anywhere under it, so that the target is never
    covered; where it comes in several parts, the pair opens over all of them.

    Parameters
    ----------
    view : shapely geometry
        In BLD x, y at the isocentre plane, mm; see `beams_eye_view`.
    mlc : MlcGeometry
    margin_mm : float
        May be negative.
    """
    wanted = view.buffer(margin_mm, quad_segs=8)
    if wanted.is_empty:
        return None
    along = 0 if mlc.axis == "X" else 1
    x0, y0, x1, y1 = wanted.bounds
    leaves = np.zeros((mlc.n_pairs, 2))
    opened = np.zeros(mlc.n_pairs, dtype=np.bool_)
    for i, (lower, upper) in enumerate(zip(mlc.boundaries_mm[:-1], mlc.boundaries_mm[1:], strict=True)):
        strip = (x0 - 1, lower, x1 + 1, upper) if along == 0 else (lower, y0 - 1, upper, y1 + 1)
        part = shapely.clip_by_rect(wanted, *strip)
        if part.area > 1e-6:
            leaves[i] = part.bounds[along], part.bounds[along + 2]
            opened[i] = leaves[i, 1] - leaves[i, 0] >= _SMALLEST_GAP_MM
    if not opened.any():
        return None
    return _aperture(leaves, opened, mlc)


def _aperture(leaves: FloatArray, opened: NDArray[np.bool_], mlc: MlcGeometry) -> Aperture:
    # a plan states positions to a hundredth of a millimetre
    leaves = np.round(leaves, 2) + 0.0
    lower, upper = float(leaves[opened, 0].min()), float(leaves[opened, 1].max())
    leaves[~opened] = round(lower - PARKED_MM, 2)
    (where,) = np.nonzero(opened)
    across = float(mlc.boundaries_mm[where[0]]), float(mlc.boundaries_mm[where[-1] + 1])
    area = float((leaves[:, 1] - leaves[:, 0]) @ np.diff(mlc.boundaries_mm))
    jaw_x, jaw_y = ((lower, upper), across) if mlc.axis == "X" else (across, (lower, upper))
    return Aperture(leaves, jaw_x, jaw_y, area)


def beside(aperture: Aperture, hidden: Any, mlc: MlcGeometry) -> tuple[Aperture, ...]:
    """The parts of an aperture on the lower and on the upper side of an organ, which the leaves cover.

    Parameters
    ----------
    aperture : Aperture
        Around the target.
    hidden : shapely geometry
        The organ's silhouette, as for `conform`.
    mlc : MlcGeometry

    Returns
    -------
    tuple of Aperture
        None of no open pair; empty when the organ is nowhere inside the aperture. Pairs that do not see the organ are
        open in both parts.
    """
    along = 0 if mlc.axis == "X" else 1
    low, high = aperture.leaves_mm.copy(), aperture.leaves_mm.copy()
    split = False
    for i, (lower, upper) in enumerate(zip(mlc.boundaries_mm[:-1], mlc.boundaries_mm[1:], strict=True)):
        open_from, open_to = aperture.leaves_mm[i]
        if open_to <= open_from:
            continue
        strip = (open_from, lower, open_to, upper) if along == 0 else (lower, open_from, upper, open_to)
        organ = shapely.clip_by_rect(hidden, *strip)
        if organ.area <= 1e-6:
            continue
        split = True
        low[i, 1], high[i, 0] = organ.bounds[along], organ.bounds[along + 2]
    if not split:
        return ()
    parts = ((p, p[:, 1] - p[:, 0] >= _SMALLEST_GAP_MM) for p in (low, high))
    return tuple(_aperture(leaves, opened, mlc) for leaves, opened in parts if opened.any())
