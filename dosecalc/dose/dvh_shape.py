"""What a structure is between its contours: pieces whose cross-section is a level set, quadratic along z.

A point has a power with respect to each contour along a line through it: the product of its distances to the two
crossings, positive inside, negative outside. For any quadric that is cut by planes, the power along a fixed line is a
parabola in z (it is the quadric's own form, divided by a number that depends on the direction alone). So the power is
interpolated by parabolas, along the line across the contour that the surface has to pass next: exact for spheres,
ellipsoids, cylinders and cones, however they stand; ``docs/dvh.md`` derives and measures it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from dosecalc.patient.contour_planes import PLANE_TOLERANCE_MM, ContourPlane, contour_planes
from dosecalc.patient.structures import Structure
from dosecalc_kernels.cpu import dvh as kernel

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: nodes along the characteristic radius (twice area over perimeter) of a cross-section: areas are right to 0.02 %
NODES_PER_RADIUS = 32

#: contours that come this close, seen along z, overlap: coordinates are rounded to 0.01 mm by some systems
TOUCH_MM = 0.05
#: bound of the power's second derivative along z: a sphere's is 2, a tube's that leans by 63 degrees is 8; beyond that
#: contours hardly overlap from plane to plane and a parabola would invent what lies between
MAX_CURVATURE = 8.0
#: structures from this volume on, in mm3, need no more than a share of the samples that small, intricate ones need
LARGE_MM3 = 50_000.0
LARGE_SHARE = 0.4
MAX_RASTER_NODES = 512 * 512
MAX_SUBLAYERS = 32
#: thickness of a layer in cells' widths: sections are smooth along z, outlines are not smooth on the raster
LAYER = 1.25

#: an end contour that is this small against the next one in is a tip, drawn where the structure ends
TIP_AREA = 0.005

#: two contours share a wall where they come closer than this many steps of the raster
SHARED_WALL = 0.25

#: planes that are closer than this share of the thinnest part's characteristic radius are joined by distances that are
#: linear in z: that loses at most 1/2400 of a sphere's volume
STRAIGHT = 1.0 / 20.0

#: an outline has a kink where the planes on either side speak for surfaces this many steps of the raster apart
KINK = 0.25

#: lines in eight directions
_LINES = tuple((float(np.cos(np.pi * n / 8)), float(np.sin(np.pi * n / 8))) for n in range(8))

#: a level set value deep outside: used as the hole that is not there
_NO_HOLE = -1.0e9


@dataclass(frozen=True)
class ShapeModel:
    """How a volume is made of contours.

    Parameters
    ----------
    between_planes : str
        ``shape`` (default): interpolated level sets; ``slab``: every contour stands for the slab around its plane.
    end_caps : str
        What lies beyond the last contours, up to half the spacing of the planes: ``tapered`` (default): the shape goes
        on as it was going, but never grows, and if it is about to close it is followed until it has; ``half_slice``:
        the last contour, extruded; ``none``.
    """

    between_planes: str = "shape"
    end_caps: str = "tapered"


@dataclass(frozen=True, eq=False)
class Part:
    """One connected part of a plane's cross-section: a polygon, or a degenerate contour that encloses no area."""

    geometry: BaseGeometry

    @cached_property
    def area_mm2(self) -> float:
        """Enclosed area."""
        return float(self.geometry.area)

    @cached_property
    def segments_mm(self) -> FloatArray:
        """Edges of all rings, float64 [m, 4]: x1, y1, x2, y2."""
        if isinstance(self.geometry, Polygon):
            rings: list[BaseGeometry] = [self.geometry.exterior, *self.geometry.interiors]
        else:
            rings = [self.geometry]
        edges = []
        for ring in rings:
            points = shapely.get_coordinates(ring)
            if len(points) == 1:
                points = np.repeat(points, 2, axis=0)
            edges.append(np.hstack((points[:-1], points[1:])))
        return np.concatenate(edges)

    @cached_property
    def characteristic_radius_mm(self) -> float:
        """Twice area over perimeter: a disc's radius, the half thickness of a thin ring times two."""
        return 2.0 * self.area_mm2 / self.geometry.length if self.geometry.length > 0 else 0.0


Parts = tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane's z, the slab it stands for, and the parts of its cross-section."""

    z_mm: float
    lower_mm: float
    upper_mm: float
    parts: Parts


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a structure between two heights, on a raster.

    With ``t`` from 0 at ``z0_mm`` to 1 at ``z0_mm + height_mm`` (the height may be negative) a point is inside where
    ``constant + linear t + quadratic t^2 > 0``; arrays are float64 [ny, nx] with nodes ``step_mm`` apart from
    (``x0_mm``, ``y0_mm``). ``never_grow`` keeps it inside the cross-section at t = 0. Where ``hole_first`` (t < 0.5) or
    ``hole_last`` is positive nothing is inside. ``face_first`` and ``face_last`` tell which end faces may be surface.
    Areas count times a weight, linear in t, that makes up for what the raster loses of the drawn contours' areas.
    """

    x0_mm: float
    y0_mm: float
    step_mm: float
    z0_mm: float
    height_mm: float
    sublayers: int
    constant: FloatArray
    linear: FloatArray
    quadratic: FloatArray
    never_grow: bool
    hole_first: FloatArray
    hole_last: FloatArray
    face_first: bool
    face_last: bool
    weight_first: float = 1.0
    weight_last: float = 1.0


@dataclass(frozen=True)
class _Raster:
    x0: float
    y0: float
    step: float
    nx: int
    ny: int

    def inside(self, parts: Parts) -> BoolArray:
        """Which nodes lie inside parts of a plane."""
        return kernel.inside(self.x0, self.y0, self.step, self.nx, self.ny, _segments(parts))

    def field(self, parts: Parts, inside: BoolArray, wanted: BoolArray, band_mm: float) -> _Field:
        """Signed distance to parts of a plane and the direction across them: exact where wanted and within the band."""
        segments = _segments(parts)
        return _Field(*kernel.signed_distance(self.x0, self.y0, self.step, segments, inside, wanted, band_mm))

    def distance(self, parts: Parts) -> FloatArray:
        """Signed distance to parts of a plane, exact near their contours."""
        inside = self.inside(parts)
        return self.field(parts, inside, np.zeros_like(inside), 2.0 * self.step).distance

    def lines(self, nodes: NDArray[np.intp], ux: FloatArray, uy: FloatArray) -> _Lines:
        """Lines through nodes that are given by their flat index."""
        row, column = np.divmod(nodes, self.nx)
        return _Lines(self.x0 + self.step * column, self.y0 + self.step * row, ux, uy)

    def weight(self, values: FloatArray, parts: Parts) -> float:
        """The drawn area of parts over their area on the raster, within bounds; 1 for slivers that slip through it."""
        found = float(kernel.raster_area(values, self.step))
        if found <= 0 or max(p.characteristic_radius_mm for p in parts) < self.step:
            return 1.0
        return min(max(sum(p.area_mm2 for p in parts) / found, 0.5), 2.0)

    def holes(self, parts: Parts) -> FloatArray:
        """Positive in the holes."""
        return self.distance(parts) if parts else np.full((self.ny, self.nx), _NO_HOLE)


@dataclass(frozen=True, eq=False)
class _Lines:
    """Points and the unit vectors of lines through them, float64 [n] each."""

    x: FloatArray
    y: FloatArray
    ux: FloatArray
    uy: FloatArray

    def only(self, some: BoolArray) -> _Lines:
        """Those of some points."""
        return _Lines(self.x[some], self.y[some], self.ux[some], self.uy[some])

    def along(self, ux: float, uy: float) -> _Lines:
        """Lines in one direction through the same points."""
        return _Lines(self.x, self.y, np.full_like(self.x, ux), np.full_like(self.x, uy))

    def across(self) -> _Lines:
        """Lines at right angles through the same points."""
        return _Lines(self.x, self.y, -self.uy, self.ux)

    def moved(self, by_mm: FloatArray) -> _Lines:
        """The same directions through points that lie so far ahead."""
        return _Lines(self.x + by_mm * self.ux, self.y + by_mm * self.uy, self.ux, self.uy)

    def power(self, parts: Parts) -> _Power:
        """Power of the points with respect to parts of a plane."""
        radius = max(p.characteristic_radius_mm for p in parts)
        return _Power(*kernel.chord_power(self.x, self.y, self.ux, self.uy, _segments(parts), radius))


@dataclass(frozen=True, eq=False)
class _Field:
    """Signed distance (positive inside, mm) and unit vector to the nearest contour point, each float64 [ny, nx]."""

    distance: FloatArray
    ux: FloatArray
    uy: FloatArray


@dataclass(frozen=True, eq=False)
class _Power:
    """Power of points with respect to a plane's contours (mm2), and where the chord begins and ends (mm from them)."""

    values: FloatArray
    begin: FloatArray
    end: FloatArray

    @property
    def chord(self) -> FloatArray:
        """Length of the chord, mm; 0 where the line misses."""
        length: FloatArray = self.end - self.begin
        return length

    def least_shift(self, other: _Power) -> FloatArray:
        """How far the lazier of the two ends moves from one plane to another, mm; 0 where a line misses."""
        shift = np.minimum(np.abs(self.begin - other.begin), np.abs(self.end - other.end))
        return np.where((self.chord > 0) & (other.chord > 0), shift, 0.0)


def _segments(parts: Parts) -> FloatArray:
    return parts[0].segments_mm if len(parts) == 1 else np.concatenate([p.segments_mm for p in parts])


@dataclass(frozen=True)
class Resolution:
    """Bounds of the raster step in mm; the shape chooses between them."""

    finest_mm: float
    coarsest_mm: float

    @classmethod
    def for_volume(cls, volume_mm3: float, min_samples: int, max_samples: int) -> Resolution:
        """Such that a structure gets at least and at most about so many samples; a large one needs fewer than most."""
        most = max_samples if volume_mm3 < LARGE_MM3 else max(min_samples, LARGE_SHARE * max_samples)
        return cls((volume_mm3 / most) ** (1 / 3), (volume_mm3 / min_samples) ** (1 / 3))


def planes_of(structure: Structure) -> tuple[Plane, ...]:
    """The planes of a structure, in order of z, with degenerate contours kept as lines.

    A contour without area is the tip of a cone or the edge of a lying cylinder: it bounds what is next to it.
    """
    planes = []
    for plane in contour_planes(structure):
        parts = tuple(Part(g) for g in shapely.get_parts(plane.polygon) if g.area > 0)
        if not parts:
            parts = tuple(Part(line) for line in _lines_at(structure, plane))
        planes.append(Plane(plane.z_mm, plane.lower_mm, plane.upper_mm, parts))
    return tuple(planes)


def _lines_at(structure: Structure, plane: ContourPlane) -> Iterator[LineString]:
    for contour in structure.contours:
        if contour.closed and len(contour.points_mm):
            points = contour.points_mm
            if abs(float(points[:, 2].mean()) - plane.z_mm) <= PLANE_TOLERANCE_MM:
                yield LineString(np.vstack((points[:, :2], points[:1, :2])))


def volume_estimate_mm3(planes: Sequence[Plane]) -> float:
    """Slab volume, mm3: good enough to choose a resolution."""
    return sum(p.area_mm2 * (plane.upper_mm - plane.lower_mm) for plane in planes for p in plane.parts)


def pieces_of(planes: Sequence[Plane], model: ShapeModel, resolution: Resolution) -> Iterator[Piece]:
    """All pieces of a structure, from the lowest up."""
    if model.between_planes == "slab":
        yield from _slabs(planes, model, resolution)
        return
    stack = _Stack(planes)
    for k in range(-1, len(planes)):
        lower = planes[k] if k >= 0 else None
        upper = planes[k + 1] if k + 1 < len(planes) else None
        if lower is not None and upper is not None and _touch(lower, upper):
            yield from _between(stack, k, model, resolution)
            continue
        if lower is not None:
            yield from _caps(stack, k, +1, lower.parts, lower.upper_mm - lower.z_mm, model, resolution)
        if upper is not None:
            yield from _caps(stack, k + 1, -1, upper.parts, upper.z_mm - upper.lower_mm, model, resolution)


def _touch(lower: Plane, upper: Plane) -> bool:
    return upper.lower_mm - lower.upper_mm < PLANE_TOLERANCE_MM


def _slabs(planes: Sequence[Plane], model: ShapeModel, resolution: Resolution) -> Iterator[Piece]:
    for k, plane in enumerate(planes):
        joined_below = k > 0 and _touch(planes[k - 1], plane)
        joined_above = k + 1 < len(planes) and _touch(plane, planes[k + 1])
        for sign, joined, height in (
            (-1, joined_below, plane.z_mm - plane.lower_mm),
            (+1, joined_above, plane.upper_mm - plane.z_mm),
        ):
            if joined or model.end_caps != "none":
                for part in plane.parts:
                    yield from _extruded((part,), plane.z_mm, sign * height, resolution)


# --- between two planes ---


def _between(stack: _Stack, k: int, model: ShapeModel, resolution: Resolution) -> Iterator[Piece]:
    lower, upper = stack.planes[k], stack.planes[k + 1]
    middle = (upper.z_mm - lower.z_mm) / 2.0
    for a, b in _groups(lower.parts, upper.parts):
        if a and b:
            piece = _interpolated(stack, k, a, b, model, resolution)
            if piece is not None:
                yield piece
        elif a:
            yield from _caps(stack, k, +1, a, middle, model, resolution)
        else:
            yield from _caps(stack, k + 1, -1, b, middle, model, resolution)


def _groups(lower: Parts, upper: Parts) -> list[tuple[Parts, Parts]]:
    """Parts of two planes that overlap belong together; a part that meets no other ends here."""
    label = list(range(len(lower) + len(upper)))

    def root(i: int) -> int:
        while label[i] != i:
            i = label[i]
        return i

    for i, j in _overlaps(lower, upper):
        label[root(len(lower) + j)] = root(i)
    groups: dict[int, tuple[list[Part], list[Part]]] = {}
    for i in range(len(label)):
        below, above = groups.setdefault(root(i), ([], []))
        if i < len(lower):
            below.append(lower[i])
        else:
            above.append(upper[i - len(lower)])
    return [(tuple(a), tuple(b)) for a, b in groups.values()]


def _overlaps(lower: Parts, upper: Parts) -> list[tuple[int, int]]:
    if not lower or not upper:
        return []
    tree = shapely.STRtree([p.geometry for p in upper])
    found = tree.query([p.geometry for p in lower], predicate="dwithin", distance=TOUCH_MM)
    return [(int(i), int(j)) for i, j in sorted(zip(found[0].tolist(), found[1].tolist(), strict=True))]


class _Stack:
    """The planes of a structure, and which of their parts overlap."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self.planes = planes
        self.z = [p.z_mm for p in planes]
        self._links: dict[tuple[Part, int], tuple[int, ...]] = {}

    def linked(self, of: Parts, k: int, towards: int) -> Parts:
        """Parts of the neighbouring plane that overlap the given parts of plane k; none beyond an end or a gap."""
        n = k + towards
        if not 0 <= n < len(self.planes) or not of:
            return ()
        if not _touch(self.planes[min(k, n)], self.planes[max(k, n)]):
            return ()
        new = tuple(p for p in of if (p, n) not in self._links)
        if new:
            found = _overlaps(new, self.planes[n].parts)
            self._links |= {(p, n): tuple(j for i, j in found if i == m) for m, p in enumerate(new)}
        hits = sorted({j for p in of for j in self._links[p, n]})
        return tuple(self.planes[n].parts[j] for j in hits)


def _interpolated(stack: _Stack, k: int, a: Parts, b: Parts, model: ShapeModel, resolution: Resolution) -> Piece | None:
    height = stack.z[k + 1] - stack.z[k]
    raster = _raster((*a, *b), height, resolution)
    if raster is None:
        return None
    drawn_a, drawn_b = a, b
    a, holes_below = _without_closing_holes(a, b)
    b, holes_above = _without_closing_holes(b, a)
    radius = _least_radius((*a, *b))
    in_a, in_b = raster.inside(a), raster.inside(b)
    # a surface that passes neither contour's place stays this close to them: a sphere's bulges by a quarter of it
    reach = 1.5 * raster.step + height * min(0.5, height / radius / 2.0)
    field_a, field_b = (raster.field(p, inside, in_a != in_b, reach) for p, inside in ((a, in_a), (b, in_b)))
    none_outside = -np.maximum(field_a.distance, field_b.distance)
    if height < STRAIGHT * radius:
        constant, linear = field_a.distance, field_b.distance - field_a.distance
        quadratic = np.zeros_like(constant)
    else:
        constant, linear, quadratic, bumps = _parabolas(stack, k, a, b, raster, field_a, field_b, reach)
        none_outside.flat[bumps] = _NO_HOLE
    hole_first = np.maximum(none_outside, raster.holes(holes_below))
    hole_last = np.maximum(none_outside, raster.holes(holes_above))
    exposed = model.end_caps == "none"
    return Piece(
        raster.x0, raster.y0, raster.step, stack.z[k], height,
        _sublayers(height, raster.step, halves=bool(holes_below or holes_above)),
        constant, linear, quadratic, False, hole_first, hole_last, exposed, exposed,
        raster.weight(np.minimum(constant, -hole_first), drawn_a),
        raster.weight(np.minimum(constant + linear + quadratic, -hole_last), drawn_b),
    )  # fmt: skip


def _parabolas(
    stack: _Stack,
    k: int,
    a: Parts,
    b: Parts,
    raster: _Raster,
    field_a: _Field,
    field_b: _Field,
    reach_mm: float,
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.intp]]:
    """Terms of the level set on the raster, and the nodes outside both contours that the structure reaches between."""
    middle = np.maximum(field_a.distance, field_b.distance)
    deep = np.minimum(field_a.distance, field_b.distance) > reach_mm
    nodes = np.flatnonzero(~(deep | (middle < -reach_mm)))
    lines, away = _lines_to_cross(raster, field_a, field_b, nodes)
    course = _course(stack, k, a, b, lines)
    at_a, at_b = field_a.distance.flat[nodes], field_b.distance.flat[nodes]
    one_sided = (at_a > 0) != (at_b > 0)
    kinked = one_sided & course.hits & (course.doubt > KINK * raster.step)
    # slivers between nearly equal contours are not worth a search
    clear = np.minimum(np.abs(at_a), np.abs(at_b)) > 0.5 * raster.step
    course = _without_shared_walls(stack, k, a, b, raster.step, lines, course, one_sided & clear)
    course = _around_kinks(stack, k, a, b, raster.step, lines, away, course, kinked, at_a > 0)
    rises = (np.maximum(at_a, at_b) < 0) & course.hits & (course.at_middle > 0)
    # divided by the chord, the power falls by a millimetre per millimetre at the surface whatever the line's direction
    scale = np.maximum(course.chord, raster.step)
    constant, linear, quadratic = middle, np.zeros_like(middle), np.zeros_like(middle)
    constant.flat[nodes] = course.start / scale
    linear.flat[nodes] = (course.end - course.start - course.bend) / scale
    quadratic.flat[nodes] = course.bend / scale
    return constant, linear, quadratic, nodes[_bumps(stack, k, a, b, lines, rises)]


def _least_radius(parts: Parts) -> float:
    """Characteristic radius of the thinnest part that has an area, mm; there must be one."""
    return min(p.characteristic_radius_mm for p in parts if p.area_mm2 > 0)


@dataclass(frozen=True, eq=False)
class _Course:
    """How the power runs from plane to plane: ``start + (end - start - bend) t + bend t^2``, mm2.

    ``chord`` is the longer of the two chords, mm; ``shift`` how far the lazier of its ends moves between the planes,
    mm; ``hits`` says where all lines met their contours; ``doubt`` how far apart halfway the surfaces are that the
    neighbours below and above speak for, mm (infinity where neither does).
    """

    start: FloatArray
    end: FloatArray
    bend: FloatArray
    chord: FloatArray
    shift: FloatArray
    hits: BoolArray
    doubt: FloatArray

    @property
    def at_middle(self) -> FloatArray:
        """Power halfway between the planes."""
        return (self.start + self.end) / 2.0 - self.bend / 4.0

    def replaced(self, some: BoolArray, other: _Course, better: BoolArray) -> _Course:
        """With another course of some points where it is the better one."""
        at = np.flatnonzero(some)[better]
        out = []
        for f in fields(self):
            values = getattr(self, f.name).copy()
            values[at] = getattr(other, f.name)[better]
            out.append(values)
        return _Course(*out)


def _course(stack: _Stack, k: int, a: Parts, b: Parts, lines: _Lines) -> _Course:
    at_a, at_b = lines.power(a), lines.power(b)
    curvature, hits, spread = _curvature_between(stack, k, a, b, at_a.values, at_b.values, lines)
    chord = np.maximum(at_a.chord, at_b.chord)
    height = stack.z[k + 1] - stack.z[k]
    both = (at_a.chord > 0) & (at_b.chord > 0)
    hits &= both
    doubt = np.full_like(chord, np.inf)
    doubt[both] = spread[both] * height**2 / 8.0 / chord[both]
    return _Course(at_a.values, at_b.values, curvature * height**2 / 2.0, chord, at_a.least_shift(at_b), hits, doubt)


def _without_shared_walls(
    stack: _Stack, k: int, a: Parts, b: Parts, step_mm: float, lines: _Lines, course: _Course, some: BoolArray
) -> _Course:
    """Look for a better line where both planes' chords end on the same wall, such as the base of a lying cone.

    Such a wall hides one of the two places where the line meets the surface that moves. First other lines across both
    contours are tried; then lines that miss the smaller contour, its power foretold by the parabola of the next planes.
    """
    shared = some & (course.shift < SHARED_WALL * step_mm)
    if not shared.any():
        return course
    here = lines.only(shared)
    shift, ux, uy = course.shift[shared], here.ux.copy(), here.uy.copy()
    for x, y in _LINES:
        other = here.along(x, y)
        moves = other.power(a).least_shift(other.power(b))
        better = moves > shift
        shift[better], ux[better], uy[better] = moves[better], x, y
    better = shift > course.shift[shared]
    if better.any():
        turned = _Lines(here.x, here.y, ux, uy).only(better)
        some_better = shared.copy()
        some_better[shared] = better
        course = course.replaced(some_better, _course(stack, k, a, b, turned), np.ones(len(turned.x), dtype=np.bool_))
    for towards in (+1, -1):
        shared &= course.shift < SHARED_WALL * step_mm
        if shared.any():
            course = _foretold(stack, k, a, b, lines, course, shared, towards)
    return course


def _foretold(
    stack: _Stack, k: int, a: Parts, b: Parts, lines: _Lines, course: _Course, some: BoolArray, towards: int
) -> _Course:
    """Replace the power at the smaller contour by what the three planes on the other side foretell, where it fits."""
    outer, at = (b, k + 1) if towards > 0 else (a, k)
    second = stack.linked(outer, at, towards)
    third = stack.linked(second, at + towards, towards)
    if not third:
        return course
    z = [stack.z[at + n * towards] for n in range(3)]
    u = stack.z[at - towards] - z[0]
    here = lines.only(some)
    for ux, uy in _LINES:
        other = here.along(ux, uy)
        q = [other.power(parts) for parts in (outer, second, third)]
        curvature = _bounded(_second_derivative(q[0].values, q[1].values, q[2].values, z))
        slope = (q[1].values - q[0].values) / (z[1] - z[0]) - curvature * (z[1] - z[0]) / 2.0
        foretold = q[0].values + slope * u + curvature * u**2 / 2.0
        start, end = (foretold, q[0].values) if towards > 0 else (q[0].values, foretold)
        shift = np.minimum(q[0].least_shift(q[1]), q[1].least_shift(q[2]))
        fits = (q[0].values > 0) & (foretold < 0) & (shift > course.shift[some])
        sure = np.zeros_like(shift)
        found = _Course(start, end, curvature * u**2 / 2.0, q[0].chord, shift, fits, sure)
        course = course.replaced(some, found, fits)
    return course


def _around_kinks(
    stack: _Stack,
    k: int,
    a: Parts,
    b: Parts,
    step_mm: float,
    lines: _Lines,
    away_mm: FloatArray,
    course: _Course,
    kinked: BoolArray,
    in_a: BoolArray,
) -> _Course:
    """Look along the smaller contour where the outline across it has a kink, as at the tip of a lying cone.

    There the neighbours below and above speak for surfaces that lie apart. A line at right angles meets the rounded
    flanks instead; on the plane of the smaller contour it misses, but just inside that contour it meets them on all
    planes, and the change from plane to plane is the same at both places for a quadric whose axes lie in the planes.
    """
    if not kinked.any():
        return course
    here, from_a = lines.only(kinked).across(), in_a[kinked]
    inner, further = (
        _course(stack, k, a, b, lines.only(kinked).moved(away_mm[kinked] + steps * step_mm).across())
        for steps in (2, 6)
    )
    at_a, at_b = here.power(a), here.power(b)
    known, chord = np.where(from_a, at_a.values, at_b.values), np.where(from_a, at_a.chord, at_b.chord)
    change = inner.end - inner.start
    start, end = np.where(from_a, known, known - change), np.where(from_a, known + change, known)
    same = np.abs(further.end - further.start - change) < KINK * step_mm * chord
    sure = (inner.doubt < KINK * step_mm) & (inner.shift > SHARED_WALL * step_mm) & same
    fits = sure & (known > 0) & (np.where(from_a, end, start) < 0)
    found = _Course(start, end, inner.bend, chord, inner.shift, inner.hits, inner.doubt)
    return course.replaced(kinked, found, fits)


def _bumps(stack: _Stack, k: int, a: Parts, b: Parts, lines: _Lines, some: BoolArray) -> BoolArray:
    """Points outside both contours that the structure reaches in between, as a sphere does at its equator.

    A line across a corner tells nothing, so one along x or y has to say the same, and neither may object.
    """
    bumps = np.zeros_like(some)
    if not some.any():
        return bumps
    here = lines.only(some)
    agreed, refused = np.zeros(len(here.x), dtype=np.bool_), np.zeros(len(here.x), dtype=np.bool_)
    for ux, uy in ((1.0, 0.0), (0.0, 1.0)):
        course = _course(stack, k, a, b, here.along(ux, uy))
        agreed |= course.hits & (course.at_middle > 0)
        refused |= course.hits & (course.at_middle <= 0)
    bumps[some] = agreed & ~refused
    return bumps


def _lines_to_cross(raster: _Raster, a: _Field, b: _Field, nodes: NDArray[np.intp]) -> tuple[_Lines, FloatArray]:
    """Lines towards the contour that a node is outside of, else towards the nearer one, and how far away it is."""
    at_a, at_b = a.distance.flat[nodes], b.distance.flat[nodes]
    use_a = np.where((at_a > 0) == (at_b > 0), np.abs(at_a) < np.abs(at_b), at_b > 0)
    ux = np.where(use_a, a.ux.flat[nodes], b.ux.flat[nodes])
    uy = np.where(use_a, a.uy.flat[nodes], b.uy.flat[nodes])
    return raster.lines(nodes, ux, uy), np.abs(np.where(use_a, at_a, at_b))


def _without_closing_holes(parts: Parts, others: Parts) -> tuple[Parts, Parts]:
    """Fill the holes that are gone on the next plane; they end halfway, as a part does that is gone."""
    if not any(isinstance(p.geometry, Polygon) and p.geometry.interiors for p in parts):
        return parts, ()
    filled, holes = [], []
    for part in parts:
        rings = [Polygon(r) for r in part.geometry.interiors] if isinstance(part.geometry, Polygon) else []
        # parts of a plane are apart from each other, so that one of them alone has to cover a hole
        closing = [r for r in rings if r.area > 0 and any(o.geometry.covers(r) for o in others)]
        kept = [r.exterior for r in rings if r not in closing]
        filled.append(Part(Polygon(part.geometry.exterior, kept)) if closing else part)
        holes += [Part(r) for r in closing]
    return tuple(filled), tuple(holes)


def _curvature_between(
    stack: _Stack, k: int, a: Parts, b: Parts, q_a: FloatArray, q_b: FloatArray, lines: _Lines
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Second derivative of the power along z between planes k and k + 1: the gentler of two estimates.

    Both sides of the interval give one; at an end of the structure the second comes from one plane further in. Where
    they differ in sign it is zero: a step is not rounded off. A quadric gives equal ones and is exact. An estimate from
    a plane whose contours the line misses yields to the other. The second array says where all lines met, the third by
    how much the estimates differ: 0 where only one counts, infinity where none does.
    """
    z = stack.z
    below, above = stack.linked(a, k, -1), stack.linked(b, k + 1, +1)
    at_below = lines.power(below) if below else None
    at_above = lines.power(above) if above else None
    estimates: list[tuple[FloatArray, BoolArray]] = []
    if at_below is not None:
        estimates.append((_second_derivative(at_below.values, q_a, q_b, z[k - 1 : k + 2]), at_below.chord > 0))
    if at_above is not None:
        estimates.append((_second_derivative(q_a, q_b, at_above.values, z[k : k + 3]), at_above.chord > 0))
    if at_below is None and at_above is not None and (further := stack.linked(above, k + 2, +1)):
        at = lines.power(further)
        curvature = _second_derivative(q_b, at_above.values, at.values, z[k + 1 : k + 4])
        estimates.append((curvature, (at.chord > 0) & (at_above.chord > 0)))
    if at_above is None and at_below is not None and (further := stack.linked(below, k - 1, -1)):
        at = lines.power(further)
        curvature = _second_derivative(at.values, at_below.values, q_a, z[k - 2 : k + 1])
        estimates.append((curvature, (at.chord > 0) & (at_below.chord > 0)))
    if not estimates:
        return np.zeros_like(q_a), np.ones_like(q_a, dtype=np.bool_), np.full_like(q_a, np.inf)
    height, change = z[k + 1] - z[k], q_b - q_a
    (first, met_first), (second, met_second) = estimates[0], estimates[-1]
    spread = np.where(met_first & met_second, np.abs(first - second), np.where(met_first | met_second, 0.0, np.inf))
    first, second = _bounded(first), _bounded(second)
    if len(estimates) == 1:
        return _monotone(first, change, height), met_first, spread
    curvature = np.where(met_first == met_second, _limited_mean(first, second), 0.0)
    curvature = np.where(met_first & ~met_second, _monotone(first, change, height), curvature)
    curvature = np.where(met_second & ~met_first, _monotone(second, change, height), curvature)
    return curvature, met_first & met_second, spread


def _second_derivative(q0: FloatArray, q1: FloatArray, q2: FloatArray, z: Sequence[float]) -> FloatArray:
    h0, h1 = z[1] - z[0], z[2] - z[1]
    return 2.0 * ((q2 - q1) / h1 - (q1 - q0) / h0) / (h0 + h1)


def _bounded(curvature: FloatArray) -> FloatArray:
    return np.clip(curvature, -MAX_CURVATURE, MAX_CURVATURE)


def _limited_mean(c0: FloatArray, c1: FloatArray) -> FloatArray:
    """Mean of two estimates, but at most twice the gentler one, and zero where they differ in sign (van Leer 1977)."""
    bound = 2.0 * np.minimum(np.abs(c0), np.abs(c1))
    return np.where(c0 * c1 > 0, np.clip((c0 + c1) / 2.0, -bound, bound), 0.0)


def _monotone(curvature: FloatArray, change: FloatArray, height: float) -> FloatArray:
    """Bound a curvature of which there is one estimate only, so that it makes no bump between the planes."""
    bound = 2.0 * np.abs(change) / height**2
    return np.clip(curvature, -bound, bound)


# --- beyond the last contour of a part ---


def _caps(
    stack: _Stack, k: int, sign: int, parts: Parts, height: float, model: ShapeModel, resolution: Resolution
) -> Iterator[Piece]:
    """What lies beyond plane k, upwards (+1) or downwards (-1)."""
    if model.end_caps == "none" or height <= 0:
        return
    for part in parts:
        if part.area_mm2 <= 0:
            continue
        inner = stack.linked((part,), k, -sign)
        if model.end_caps == "tapered" and part.area_mm2 < TIP_AREA * sum(p.area_mm2 for p in inner):
            continue
        if model.end_caps == "half_slice" or not inner:
            yield from _extruded((part,), stack.planes[k].z_mm, sign * height, resolution)
        else:
            yield from _tapered(stack, k, sign, part, inner, height, resolution)


def _extruded(parts: Parts, z_mm: float, height_mm: float, resolution: Resolution) -> Iterator[Piece]:
    raster = _raster(parts, abs(height_mm), resolution)
    if raster is None or height_mm == 0:
        return
    inside = raster.distance(parts)
    zero = np.zeros_like(inside)
    none = np.full_like(inside, _NO_HOLE)
    sublayers = _sublayers(abs(height_mm), raster.step)
    weight = raster.weight(inside, parts)
    yield Piece(
        raster.x0, raster.y0, raster.step, z_mm, height_mm, sublayers,
        inside, zero, zero, False, none, none, False, True, weight, weight,
    )  # fmt: skip


def _tapered(
    stack: _Stack, k: int, sign: int, part: Part, inner: Parts, height: float, resolution: Resolution
) -> Iterator[Piece]:
    """Go on with slope and curvature of the planes before."""
    chain, at = [inner], k - sign
    while len(chain) < 3 and (next_parts := stack.linked(chain[-1], at, -sign)):
        chain.append(next_parts)
        at -= sign
    # depth below the end plane, positive inwards
    depth = [sign * (stack.planes[k].z_mm - stack.planes[k - sign * n].z_mm) for n in range(len(chain) + 1)]
    raster = _raster((part,), height, resolution)
    if raster is None:
        return
    inside = raster.inside((part,))
    field = raster.field((part,), inside, inside, 2.0 * raster.step)
    nodes = np.flatnonzero(field.distance > -2.0 * raster.step)
    across = raster.lines(nodes, field.ux.flat[nodes], field.uy.flat[nodes])
    # the line that tapers first counts: one that ends on a flat face, such as a lying cylinder's, tells nothing
    best: list[FloatArray] | None = None
    for lines in (across, across.along(1.0, 0.0), across.along(0.0, 1.0)):
        on_lines = [lines.power(parts) for parts in ((part,), *chain)]
        terms = _continued([p.values for p in on_lines], depth, height)
        terms = [term / np.maximum(on_lines[0].chord, raster.step) for term in terms]
        if best is None:
            best = terms
            continue
        tells = np.all([p.chord > 0 for p in on_lines], axis=0)
        sooner = tells & (_at_half(terms) < _at_half(best))
        best = [np.where(sooner, new, old) for new, old in zip(terms, best, strict=True)]
    assert best is not None
    # what closes before the next plane would have been drawn is followed until it has; else half a spacing is the rule
    to_next = [best[0], 2.0 * best[1], 4.0 * best[2]]
    if float(np.max(np.where(inside.flat[nodes], to_next[0] + to_next[1] + to_next[2], -1.0))) <= 0.0:
        best, height = to_next, 2.0 * height
    constant, linear, quadratic = (np.full(inside.shape, outside) for outside in (-1.0, 0.0, 0.0))
    for whole, term in zip((constant, linear, quadratic), best, strict=True):
        whole.flat[nodes] = term
    weight = raster.weight(np.minimum(constant, field.distance), (part,))
    yield Piece(
        raster.x0, raster.y0, raster.step, stack.planes[k].z_mm, sign * height, _sublayers(height, raster.step),
        constant, linear, quadratic, True, -field.distance, -field.distance, False, True, weight, weight,
    )  # fmt: skip


def _continued(q: list[FloatArray], depth: list[float], height: float) -> list[FloatArray]:
    """Terms of the parabola that continues beyond the end plane, over the cap's height."""
    curvature = np.zeros_like(q[0])
    if len(q) > 2:
        curvature = _bounded(_second_derivative(q[0], q[1], q[2], depth[:3]))
        if len(q) > 3:
            curvature = _limited_mean(curvature, _bounded(_second_derivative(q[1], q[2], q[3], depth[1:4])))
        else:
            curvature = _monotone(curvature, q[1] - q[0], depth[1])
    inwards = (q[1] - q[0]) / depth[1] - curvature * depth[1] / 2.0
    return [q[0], -inwards * height, curvature / 2.0 * height**2]


def _at_half(terms: list[FloatArray]) -> FloatArray:
    """Change halfway up the cap relative to the start."""
    relative: FloatArray = (terms[1] / 2.0 + terms[2] / 4.0) / np.maximum(np.abs(terms[0]), 1e-12)
    return relative


# --- rasters ---


def _raster(parts: Parts, height_mm: float, resolution: Resolution) -> _Raster | None:
    """A raster that holds the parts, with room for what lies between them; None when there is no area."""
    radius = max((p.characteristic_radius_mm for p in parts), default=0.0)
    if radius <= 0:
        return None
    bounds = np.array([p.geometry.bounds for p in parts])
    (x_low, y_low), (x_high, y_high) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    step = min(max(radius / NODES_PER_RADIUS, resolution.finest_mm), resolution.coarsest_mm)
    pad = 2.0 * step + 0.25 * height_mm
    width, depth = x_high - x_low + 2 * pad, y_high - y_low + 2 * pad
    step = max(step, float(np.sqrt(width * depth / MAX_RASTER_NODES)))
    nx, ny = int(np.ceil(width / step)) + 1, int(np.ceil(depth / step)) + 1
    centre_x, centre_y = (x_low + x_high) / 2.0, (y_low + y_high) / 2.0
    return _Raster(centre_x - step * (nx - 1) / 2.0, centre_y - step * (ny - 1) / 2.0, step, nx, ny)


def _sublayers(height_mm: float, step_mm: float, *, halves: bool = False) -> int:
    """Hardly thicker than cells are wide; an even number where the two halves of a piece are not alike."""
    count = int(np.ceil(height_mm / (LAYER * step_mm) - 1e-9))
    return min(MAX_SUBLAYERS, max(1, count + count % 2 if halves or count > 1 else count))
