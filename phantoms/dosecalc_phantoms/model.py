"""A phantom as exact geometry: boxes of known density, structures of known volume, and a plan that fits them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.ct import CtImage
from dosecalc.patient.hu import HuCurve
from dosecalc.patient.materials import AIR_DENSITY_G_CM3
from dosecalc.patient.model import Patient
from dosecalc.patient.structures import Contour, Structure, StructureSet
from dosecalc.plan import Plan
from dosecalc_phantoms.solids import Solid

FloatArray = NDArray[np.float64]
Point = tuple[float, float, float]

#: vertices of the polygon that stands for a circle
_CIRCLE_VERTICES = 120


@dataclass(frozen=True)
class Box:
    """An axis-aligned box.

    Parameters
    ----------
    lower_mm, upper_mm : (x, y, z)
        Corners, patient frame.
    """

    lower_mm: Point
    upper_mm: Point

    @property
    def volume_cm3(self) -> float:
        """Exact volume, cm3."""
        return float(np.prod(np.subtract(self.upper_mm, self.lower_mm)) / 1000.0)

    @property
    def centre_mm(self) -> Point:
        """Middle, patient frame."""
        x, y, z = (np.asarray(self.lower_mm) + np.asarray(self.upper_mm)) / 2
        return float(x), float(y), float(z)

    def contains(self, points_mm: FloatArray) -> NDArray[np.bool_]:
        """Whether points, float64 [..., 3], lie inside or on the lower faces."""
        inside = (points_mm >= np.asarray(self.lower_mm)) & (points_mm < np.asarray(self.upper_mm))
        return np.asarray(np.all(inside, axis=-1))

    def transformed(self, target_from_source: FloatArray) -> Box:
        """The box after a rotation by multiples of 90 degrees about the origin (passive, 3x3)."""
        corners = np.array([self.lower_mm, self.upper_mm]) @ target_from_source.T
        lower, upper = corners.min(axis=0), corners.max(axis=0)
        # adding zero turns -0.0 into 0.0, which would otherwise be written into the files
        return Box(tuple(lower + 0.0), tuple(upper + 0.0))

    def polygon_mm(self, z_mm: float) -> FloatArray | None:
        """Outline in the plane z, float64 [4, 3], patient frame; None where the plane misses the box."""
        if not self.lower_mm[2] <= z_mm < self.upper_mm[2]:
            return None
        (x0, y0, _), (x1, y1, _) = self.lower_mm, self.upper_mm
        return np.array([[x0, y0, z_mm], [x1, y0, z_mm], [x1, y1, z_mm], [x0, y1, z_mm]])


@dataclass(frozen=True)
class Sphere:
    """A sphere.

    Parameters
    ----------
    centre_mm : (x, y, z)
        Patient frame.
    radius_mm : float
    """

    centre_mm: Point
    radius_mm: float

    @property
    def volume_cm3(self) -> float:
        """Exact volume, cm3."""
        return float(4 / 3 * np.pi * self.radius_mm**3 / 1000.0)

    def contains(self, points_mm: FloatArray) -> NDArray[np.bool_]:
        """Whether points, float64 [..., 3], lie inside."""
        distance2 = np.sum((points_mm - np.asarray(self.centre_mm)) ** 2, axis=-1)
        return np.asarray(distance2 < self.radius_mm**2)

    def transformed(self, target_from_source: FloatArray) -> Sphere:
        """The sphere after a rotation about the origin (passive, 3x3)."""
        x, y, z = target_from_source @ np.asarray(self.centre_mm) + 0.0
        return Sphere((float(x), float(y), float(z)), self.radius_mm)

    def polygon_mm(self, z_mm: float) -> FloatArray | None:
        """Outline in the plane z, float64 [n, 3], patient frame; None where the plane misses the sphere.

        The polygon has the area of the circle, not its radius, so that contoured volumes come out right.
        """
        r2 = self.radius_mm**2 - (z_mm - self.centre_mm[2]) ** 2
        if r2 <= 0:
            return None
        n = _CIRCLE_VERTICES
        radius = np.sqrt(r2 * np.pi / (n / 2 * np.sin(2 * np.pi / n)))
        angle = 2 * np.pi * np.arange(n) / n
        x = self.centre_mm[0] + radius * np.cos(angle)
        y = self.centre_mm[1] + radius * np.sin(angle)
        return np.column_stack([x, y, np.full(n, z_mm)])


@dataclass(frozen=True)
class Region:
    """A box filled with one material. Later regions of a phantom replace earlier ones where they overlap.

    Parameters
    ----------
    name : str
    box : Box
    density_g_cm3 : float
        Mass density.
    """

    name: str
    box: Box
    density_g_cm3: float


@dataclass(frozen=True)
class Drawn:
    """A structure as it is drawn on the CT.

    Parameters
    ----------
    name, kind : str
        ROI name and RT ROI Interpreted Type.
    shape : Box, Sphere or Solid
    color_rgb : (r, g, b)
    """

    name: str
    kind: str
    shape: Box | Sphere | Solid
    color_rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Slab:
    """A layer that a ray crosses.

    Parameters
    ----------
    name : str
        Of the region.
    start_mm, stop_mm : float
        Depths below the surface along the ray.
    density_g_cm3 : float
    """

    name: str
    start_mm: float
    stop_mm: float
    density_g_cm3: float


@dataclass(frozen=True, eq=False)
class Phantom:
    """A phantom patient with its truth.

    Parameters
    ----------
    name, description : str
    regions : tuple of Region
        The first one is the outline; the others lie inside it.
    drawn : tuple of Drawn
        Structures, the External first.
    plan : Plan
        Holds no UIDs: the DICOM writer makes them.
    ct_grid : Grid
        Voxels of the CT.
    patient_position : str
        HFS, HFP, …
    """

    name: str
    description: str
    regions: tuple[Region, ...]
    drawn: tuple[Drawn, ...]
    plan: Plan
    ct_grid: Grid
    patient_position: str

    @property
    def external(self) -> Box:
        """The outline."""
        return self.regions[0].box

    def density_at(self, points_mm: FloatArray) -> FloatArray:
        """True density at points.

        Parameters
        ----------
        points_mm : float64 [..., 3]
            Patient frame.

        Returns
        -------
        float64 [...]
            g/cm3.
        """
        points = np.asarray(points_mm, dtype=np.float64)
        density = np.full(points.shape[:-1], AIR_DENSITY_G_CM3)
        for region in self.regions:
            density[region.box.contains(points)] = region.density_g_cm3
        return density

    def density_on(self, grid: Grid) -> Volume:
        """True density averaged over each voxel of a grid, g/cm3; exact also where a face cuts a voxel."""
        density = np.full(grid.shape, AIR_DENSITY_G_CM3)
        for region in self.regions:
            covered = [_overlap(grid.edges_mm(a), region.box.lower_mm[a], region.box.upper_mm[a]) for a in range(3)]
            share = covered[2][:, None, None] * covered[1][None, :, None] * covered[0][None, None, :]
            # regions after the first lie inside a uniform part of the outline, so "what was there" is one density
            density += share * (region.density_g_cm3 - self._beneath(region))
        return Volume(grid, density.astype(np.float32))

    def _beneath(self, region: Region) -> float:
        if region is self.regions[0]:
            return AIR_DENSITY_G_CM3
        return self.regions[0].density_g_cm3

    def slabs(self, origin_mm: Point, direction: Point) -> tuple[Slab, ...]:
        """The layers along a ray, from the surface inwards.

        Parameters
        ----------
        origin_mm : (x, y, z)
            A point of the ray outside the phantom, patient frame.
        direction : (x, y, z)
            Where the ray goes; any length.

        Raises
        ------
        GeometryError
            ``RAY_MISSES`` when the ray does not meet the phantom.
        """
        start = np.asarray(origin_mm, dtype=np.float64)
        along = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
        crossings = [c for r in self.regions if (c := _crossing(start, along, r.box)) is not None]
        outer = _crossing(start, along, self.external)
        if outer is None:
            raise GeometryError(
                "RAY_MISSES", f"The ray from {origin_mm} along {direction} misses the phantom {self.name}."
            )
        cuts = sorted({round(float(t), 9) for c in crossings for t in c})
        layers: list[Slab] = []
        for near, far in pairwise(cuts):
            middle = start + along * (near + far) / 2
            inside = [r for r in self.regions if bool(r.box.contains(middle))]
            region = inside[-1]
            if layers and layers[-1].name == region.name:
                layers[-1] = Slab(region.name, layers[-1].start_mm, float(far - outer[0]), region.density_g_cm3)
            else:
                layers.append(Slab(region.name, float(near - outer[0]), float(far - outer[0]), region.density_g_cm3))
        return tuple(layers)

    def radiological_depth_gcm2(self, origin_mm: Point, direction: Point, depth_mm: float) -> float:
        """Mass per area from the surface to a depth along a ray, g/cm2: the closed form for ray tracers."""
        slabs = self.slabs(origin_mm, direction)
        return sum(s.density_g_cm3 * max(0.0, min(depth_mm, s.stop_mm) - s.start_mm) / 10.0 for s in slabs)

    def volume_cm3(self, structure: str) -> float:
        """True volume of a structure, cm3."""
        return next(d for d in self.drawn if d.name == structure).shape.volume_cm3

    def ct(self, curve: HuCurve) -> CtImage:
        """The CT image that a scanner of this calibration would give.

        Parameters
        ----------
        curve : HuCurve
            Calibration; it is inverted, so that reading the image through it gives the density back.
        """
        hu = hu_from_density(curve, self.density_on(self.ct_grid).values)
        return CtImage(hu=Volume(self.ct_grid, hu), patient_position=self.patient_position, manufacturer="dosecalc")

    def patient(self, curve: HuCurve, grid: Grid | None = None) -> Patient:
        """The true patient model, without the way through a CT.

        Parameters
        ----------
        curve : HuCurve
            Says which material a density is made of.
        grid : Grid, optional
            The CT's by default.
        """
        density = self.density_on(grid or self.ct_grid)
        return Patient(
            density=density,
            material=curve.material_index(density.values),
            materials=curve.material_names,
            patient_position=self.patient_position,
            structures=self.structure_set(),
            density_source="phantom",
        )

    def structure_set(self) -> StructureSet:
        """The structures as contours on the CT's slices."""
        structures = []
        for number, drawn in enumerate(self.drawn, start=1):
            outlines = (drawn.shape.polygon_mm(float(z)) for z in self.ct_grid.z_mm)
            contours = tuple(Contour(points_mm=p) for p in outlines if p is not None)
            structures.append(Structure(number, drawn.name, drawn.kind, contours, color_rgb=drawn.color_rgb))
        return StructureSet(tuple(structures), label=self.name)


def hu_from_density(curve: HuCurve, density_g_cm3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hounsfield units that a calibration curve turns into these densities; clipped to the curve's ends."""
    hu, density = np.array([p.hu for p in curve.points]), np.array([p.density_g_cm3 for p in curve.points])
    rising = np.concatenate([[True], np.diff(density) > 0])
    return np.asarray(np.interp(density_g_cm3, density[rising], hu[rising]), dtype=np.float32)


def _overlap(edges_mm: FloatArray, lower: float, upper: float) -> FloatArray:
    """Share of each interval between edges that lies between two bounds, float64 [n], 0 to 1."""
    covered = np.minimum(edges_mm[1:], upper) - np.maximum(edges_mm[:-1], lower)
    return np.asarray(np.clip(covered, 0.0, None) / np.diff(edges_mm))


def _crossing(start: FloatArray, along: FloatArray, box: Box) -> tuple[float, float] | None:
    """Distances at which a ray enters and leaves a box; None when it misses (slab method)."""
    near, far = -np.inf, np.inf
    for axis in range(3):
        lower, upper = box.lower_mm[axis], box.upper_mm[axis]
        if abs(along[axis]) < 1e-12:
            if not lower <= start[axis] <= upper:
                return None
            continue
        a, b = sorted(((lower - start[axis]) / along[axis], (upper - start[axis]) / along[axis]))
        near, far = max(near, a), min(far, b)
    return (near, far) if near < far else None
