"""A structure as a stack of slabs: one valid polygon per contour plane, and how far along z it stands for.

Masks, volumes and DVHs all start here, so that they agree on what a set of contours encloses.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from dosecalc.errors import PatientError
from dosecalc.patient.structures import Contour, Structure

FloatArray = NDArray[np.float64]

#: contours whose z differ by less lie on one plane, and one whose own points do is axial: planning systems round z to
#: 0.01 mm, and no CT has slices this thin
PLANE_TOLERANCE_MM = 0.05

#: a step this much larger than the usual one between contour planes separates two parts of a structure
GAP_FACTOR = 1.5

#: thickness of a lone contour plane about whose image nothing is known: thin, so that it invents little volume
LONE_PLANE_MM = 1.0


@dataclass(frozen=True, eq=False)
class ContourPlane:
    """One plane of a structure and the slab that it stands for.

    Parameters
    ----------
    z_mm : float
        Where it was drawn, patient frame.
    lower_mm, upper_mm : float
        The slab along z, ``lower_mm <= z_mm <= upper_mm``; slabs of neighbouring planes touch and never overlap.
    polygon : shapely Polygon or MultiPolygon
        What the contours of the plane enclose, (x, y) in mm, valid; empty where they are degenerate.
    """

    z_mm: float
    lower_mm: float
    upper_mm: float
    polygon: Polygon | MultiPolygon

    @property
    def thickness_mm(self) -> float:
        """Thickness of the slab, mm."""
        return self.upper_mm - self.lower_mm

    @property
    def volume_cm3(self) -> float:
        """Area times thickness, cm3."""
        return float(self.polygon.area) * self.thickness_mm / 1000.0


def contour_planes(structure: Structure, *, end_caps: bool = True) -> tuple[ContourPlane, ...]:
    """Slabs of a structure in order of z; empty when it has no closed contour.

    A slab reaches halfway to the neighbouring planes. At both ends of the structure, and on both sides of a gap, it
    reaches half the local spacing beyond its plane (none with ``end_caps=False``). A step between planes is a gap when
    it exceeds 1.5 times the usual spacing, unless the same step occurs three times in a row: then the structure is
    simply drawn more coarsely there. On a plane, contours inside one another are holes (even-odd), those that overlap
    partly are united, and those of kind ``CLOSEDPLANAR_XOR`` are combined by exclusive or, as DICOM says. Points and
    open contours enclose nothing and are left out.

    Parameters
    ----------
    structure : Structure
    end_caps : bool
        Whether the ends reach beyond the last planes. With False a lone plane has no thickness.

    Raises
    ------
    PatientError
        ``CONTOUR_NOT_AXIAL`` when a closed contour does not lie on a plane of constant z.

    References
    ----------
    DICOM PS3.3 C.8.8.6; Nelms et al. 2015, Med Phys 42:4435 (end caps and their effect).
    """
    closed = [c for c in structure.contours if c.closed and len(c.points_mm)]
    if not closed:
        return ()
    z = _plane_heights(closed, structure)
    order = np.argsort(z, kind="stable")
    starts = _group_starts(z[order])
    polygons = _valid_polygons([closed[i].points_mm[:, :2] for i in order])
    bounds = [*starts.tolist(), len(order)]
    heights = np.array([float(np.mean(z[order[a:b]])) for a, b in itertools.pairwise(bounds)])
    lower, upper = _slabs(heights, structure.plane_spacing_mm, end_caps)
    planes = []
    for k, (a, b) in enumerate(itertools.pairwise(bounds)):
        exclusive = any(closed[i].kind == "CLOSEDPLANAR_XOR" for i in order[a:b])
        area = _exclusive_or(polygons[a:b]) if exclusive else _even_odd(polygons[a:b])
        planes.append(ContourPlane(float(heights[k]), float(lower[k]), float(upper[k]), area))
    return tuple(planes)


def structure_volume_cm3(structure: Structure) -> float:
    """Volume of the slabs of a structure, cm3."""
    return sum(plane.volume_cm3 for plane in contour_planes(structure))


def usual_plane_spacing_mm(structures: Iterable[Structure]) -> float | None:
    """The commonest distance of neighbouring contour planes in a structure set, mm: that of the image drawn upon.

    None when no structure has two planes.
    """
    steps: list[FloatArray] = []
    for structure in structures:
        z = np.sort([float(np.mean(c.points_mm[:, 2])) for c in structure.contours if c.closed and len(c.points_mm)])
        if len(z):
            steps.append(np.diff(z[_group_starts(z)]))
    together = np.concatenate(steps) if steps else np.empty(0)
    if not len(together):
        return None
    values, counts = np.unique(np.round(together, 2), return_counts=True)
    return float(values[np.argmax(counts)])


def _plane_heights(contours: Sequence[Contour], structure: Structure) -> FloatArray:
    z = np.empty(len(contours))
    for i, contour in enumerate(contours):
        column = contour.points_mm[:, 2]
        if np.ptp(column) > 2 * PLANE_TOLERANCE_MM:
            raise PatientError(
                "CONTOUR_NOT_AXIAL",
                f"Structure {structure.name!r} has a closed contour that spans {np.ptp(column):.2f} mm along z; only "
                "contours on axial planes (constant z) are supported. Export it with axial contours.",
                structure=structure.name,
            )
        z[i] = float(np.mean(column))
    return z


def _group_starts(sorted_z: FloatArray) -> NDArray[np.int64]:
    """Index of the first contour of each plane."""
    return np.flatnonzero(np.concatenate(([True], np.diff(sorted_z) > PLANE_TOLERANCE_MM)))


def _slabs(z: FloatArray, plane_spacing_mm: float | None, end_caps: bool) -> tuple[FloatArray, FloatArray]:
    """Lower and upper ends of the slabs of planes at sorted heights."""
    steps = np.diff(z)
    lone = plane_spacing_mm or LONE_PLANE_MM
    usual = _usual_step(steps, plane_spacing_mm)
    joined = ~_gaps(steps, usual)
    # the nearest joined step on either side; a plane without one is a part of its own, as thick as is usual
    below = np.concatenate(([np.nan], np.where(joined, steps, np.nan)))
    above = np.concatenate((np.where(joined, steps, np.nan), [np.nan]))
    alone = lone if not len(steps) else usual
    cap = np.where(np.isnan(below), np.where(np.isnan(above), alone, above), below) if end_caps else np.zeros(len(z))
    lower = z - np.where(np.isnan(below), cap, below) / 2
    upper = z + np.where(np.isnan(above), cap, above) / 2
    return lower, upper


def _usual_step(steps: FloatArray, plane_spacing_mm: float | None) -> float:
    if not len(steps):
        return plane_spacing_mm or LONE_PLANE_MM
    if plane_spacing_mm and float(steps.min()) <= GAP_FACTOR * plane_spacing_mm:
        return plane_spacing_mm
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def _gaps(steps: FloatArray, usual: float) -> NDArray[np.bool_]:
    gaps = steps > GAP_FACTOR * usual
    for i in range(len(steps) - 2):
        run = steps[i : i + 3]
        if float(run.max()) <= 1.1 * float(run.min()):
            gaps[i : i + 3] = False
    return gaps


def _valid_polygons(rings: Sequence[FloatArray]) -> list[BaseGeometry]:
    """One valid areal geometry per ring; empty for a ring of fewer than three points."""
    polygons: list[BaseGeometry] = [Polygon()] * len(rings)
    usable = [i for i, ring in enumerate(rings) if len(ring) >= 3]
    if not usable:
        return polygons
    index = np.repeat(np.arange(len(usable)), [len(rings[i]) for i in usable])
    made = shapely.polygons(shapely.linearrings(np.concatenate([rings[i] for i in usable]), indices=index))
    for i, polygon, valid in zip(usable, made, shapely.is_valid(made), strict=True):
        # make_valid resolves keyholes, crossings and repeated points by the even-odd rule; channels become lines
        polygons[i] = polygon if valid else _areal(shapely.make_valid(polygon))
    return polygons


def _areal(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    """The areas of a geometry, without its points and lines."""
    if isinstance(geometry, Polygon | MultiPolygon):
        return geometry
    parts = [p for p in shapely.get_parts(geometry) if isinstance(p, Polygon | MultiPolygon) and not p.is_empty]
    return _areal(shapely.union_all(parts)) if parts else Polygon()


def _exclusive_or(polygons: Sequence[BaseGeometry]) -> Polygon | MultiPolygon:
    return _areal(functools.reduce(shapely.symmetric_difference, polygons))


def _even_odd(polygons: Sequence[BaseGeometry]) -> Polygon | MultiPolygon:
    """Nested contours alternate between area and hole; partly overlapping ones are united; repeats count once."""
    present = [p for p in polygons if not p.is_empty]
    if len(present) < 2:
        return _areal(present[0]) if present else Polygon()
    present.sort(key=lambda p: -float(p.area))
    depth = _nesting_depths(present)
    result: BaseGeometry = Polygon()
    for level in range(int(depth.max()) + 1):
        layer = shapely.union_all([p for p, d in zip(present, depth, strict=True) if d == level])
        result = result.union(layer) if level % 2 == 0 else result.difference(layer)
    return _areal(result)


def _nesting_depths(polygons: Sequence[BaseGeometry]) -> NDArray[np.int64]:
    """How many of the others each polygon lies in; -1 for one that repeats another. Sorted by area, largest first.

    A hole that touches its outline can poke through it by rounding, so nearly all of the area must lie inside, not all.
    """
    meeting = shapely.STRtree(polygons).query(polygons, predicate="intersects").T
    pairs = [(int(inner), int(outer)) for inner, outer in meeting if inner > outer]
    repeats = {inner for inner, outer in pairs if _same(polygons[inner], polygons[outer])}
    depth = np.zeros(len(polygons), dtype=np.int64)
    for inner, outer in pairs:
        if outer not in repeats:
            p, q = polygons[inner], polygons[outer]
            depth[inner] += bool(q.covers(p)) or p.intersection(q).area > 0.99 * p.area
    depth[list(repeats)] = -1
    return depth


def _same(p: BaseGeometry, q: BaseGeometry) -> bool:
    """Whether two areas are the same contour written twice, up to rounding."""
    if abs(p.area - q.area) > 0.01 * max(p.area, q.area):
        return False
    return bool(shapely.hausdorff_distance(p, q) < PLANE_TOLERANCE_MM / 5)
