"""Solids given by their sections across the body: prisms, ellipsoids, what is left of one, what is grown from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import affine_transform

FloatArray = NDArray[np.float64]
Outline = tuple[tuple[float, float], ...]

#: planes in which the volume is integrated; even, for Simpson's rule
_INTERVALS = 64
#: planes from which a grown solid's section is put together
_GROWN_FROM = 13
_CIRCLE_VERTICES = 120


class Solid(ABC):
    """What a drawn shape must tell; a solid itself says its reach along z and its section in a plane."""

    @property
    @abstractmethod
    def reach_z_mm(self) -> tuple[float, float]:
        """Lowest and highest z, patient frame."""

    @abstractmethod
    def section(self, z_mm: float) -> Any:
        """Cut by the plane z: a shapely polygon in x, y of the patient frame, mm; empty where the plane misses."""

    @property
    def volume_cm3(self) -> float:
        """Volume, cm3: Simpson's rule over the sections, exact for prisms and ellipsoids."""
        lower, upper = self.reach_z_mm
        z = np.linspace(lower, upper, _INTERVALS + 1)
        weights = np.where(np.arange(len(z)) % 2, 4.0, 2.0)
        weights[[0, -1]] = 1.0
        areas = np.array([self.section(float(v)).area for v in z])
        return float(weights @ areas * (z[1] - z[0]) / 3.0 / 1000.0)

    def contains(self, points_mm: FloatArray) -> NDArray[np.bool_]:
        """Whether points, float64 [..., 3], lie inside."""
        points = np.asarray(points_mm, dtype=np.float64)
        inside = np.zeros(points.shape[:-1], dtype=np.bool_)
        for z in np.unique(points[..., 2]):
            here = points[..., 2] == z
            inside[here] = shapely.contains_xy(self.section(float(z)), points[here][:, :2])
        return inside

    def polygon_mm(self, z_mm: float) -> FloatArray | None:
        """Outline in the plane z, float64 [n, 3], patient frame; None where the plane misses the solid.

        The highest plane does not count, so that slices that fall onto both ends are not one too many.
        """
        lower, upper = self.reach_z_mm
        section = self.section(z_mm)
        if not lower <= z_mm < upper or section.is_empty:
            return None
        ring = np.asarray(section.exterior.coords, dtype=np.float64)[:-1]
        return np.column_stack([ring, np.full(len(ring), z_mm)])

    def transformed(self, target_from_source: FloatArray) -> Solid:
        """The solid after a rotation about the origin (passive, 3x3) that keeps or reverses the z axis."""
        return Turned(self, tuple(tuple(float(v) for v in row) for row in np.round(target_from_source)))


@dataclass(frozen=True)
class Prism(Solid):
    """An outline drawn through a range of z.

    Parameters
    ----------
    outline_mm : tuple of (x, y)
        Vertices, patient frame.
    lower_mm, upper_mm : float
        Range of z.
    """

    outline_mm: Outline
    lower_mm: float
    upper_mm: float

    @property
    def reach_z_mm(self) -> tuple[float, float]:
        return self.lower_mm, self.upper_mm

    def section(self, z_mm: float) -> Any:
        if not self.lower_mm <= z_mm <= self.upper_mm:
            return shapely.Polygon()
        return shapely.Polygon(self.outline_mm)


@dataclass(frozen=True)
class Ellipsoid(Solid):
    """An ellipsoid with its axes along x, y and z.

    Parameters
    ----------
    centre_mm, semi_axes_mm : (x, y, z)
        Patient frame.
    """

    centre_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]

    @property
    def reach_z_mm(self) -> tuple[float, float]:
        return self.centre_mm[2] - self.semi_axes_mm[2], self.centre_mm[2] + self.semi_axes_mm[2]

    def section(self, z_mm: float) -> Any:
        share = 1.0 - ((z_mm - self.centre_mm[2]) / self.semi_axes_mm[2]) ** 2
        if share <= 0:
            return shapely.Polygon()
        a, b = (s * np.sqrt(share) for s in self.semi_axes_mm[:2])
        return shapely.Polygon(ellipse((self.centre_mm[0], self.centre_mm[1]), (float(a), float(b))))


@dataclass(frozen=True)
class Cut(Solid):
    """A solid without what other solids take of it."""

    solid: Solid
    tools: tuple[Solid, ...]

    @property
    def reach_z_mm(self) -> tuple[float, float]:
        return self.solid.reach_z_mm

    def section(self, z_mm: float) -> Any:
        return self.solid.section(z_mm).difference(shapely.union_all([t.section(z_mm) for t in self.tools]))


@dataclass(frozen=True)
class Grown(Solid):
    """A solid with a margin: all points no farther from it than that (its parallel body)."""

    solid: Solid
    margin_mm: float

    @property
    def reach_z_mm(self) -> tuple[float, float]:
        lower, upper = self.solid.reach_z_mm
        return lower - self.margin_mm, upper + self.margin_mm

    def section(self, z_mm: float) -> Any:
        lower, upper = self.solid.reach_z_mm
        angles = np.linspace(-np.pi / 2, np.pi / 2, _GROWN_FROM)
        # planes nearer to the ends of the margin lie closer together, where the sphere's section shrinks fastest
        planes = np.clip(z_mm + self.margin_mm * np.sin(angles), lower, upper)
        radii = np.sqrt(np.clip(self.margin_mm**2 - (planes - z_mm) ** 2, 0.0, None))
        return shapely.union_all(
            [self.solid.section(float(z)).buffer(float(r), quad_segs=8) for z, r in zip(planes, radii, strict=True)]
        )


@dataclass(frozen=True)
class Turned(Solid):
    """A solid after a rotation (passive, 3x3, by rows) that keeps or reverses the z axis."""

    solid: Solid
    rotation: tuple[tuple[float, ...], ...]

    @property
    def reach_z_mm(self) -> tuple[float, float]:
        lower, upper = sorted(self.rotation[2][2] * z for z in self.solid.reach_z_mm)
        return lower, upper

    def section(self, z_mm: float) -> Any:
        (a, b, _), (c, d, _), (_, _, e) = self.rotation
        return affine_transform(self.solid.section(e * z_mm), (a, b, c, d, 0.0, 0.0))


def ellipse(centre_mm: tuple[float, float], semi_axes_mm: tuple[float, float]) -> Outline:
    """A polygon that has the area of an ellipse, not its axes, so that contoured volumes come out right."""
    n = _CIRCLE_VERTICES
    swell = np.sqrt(np.pi / (n / 2 * np.sin(2 * np.pi / n)))
    angle = 2 * np.pi * np.arange(n) / n
    x = centre_mm[0] + swell * semi_axes_mm[0] * np.cos(angle)
    y = centre_mm[1] + swell * semi_axes_mm[1] * np.sin(angle)
    return tuple(zip(x.tolist(), y.tolist(), strict=True))


def disc(centre_mm: tuple[float, float], radius_mm: float) -> Outline:
    """A polygon that has the area of a circle."""
    return ellipse(centre_mm, (radius_mm, radius_mm))


def ring_sector(inner_mm: float, outer_mm: float, half_angle_deg: float) -> Outline:
    """A ring about the origin, open posteriorly: it reaches this angle to both sides of the anterior direction (-y)."""
    n = 2 * int(np.ceil(half_angle_deg))
    step = 2 * np.deg2rad(half_angle_deg) / n
    swell = np.sqrt(step / np.sin(step))  # the area of the ring, not its radii
    angle = np.linspace(-half_angle_deg, half_angle_deg, n + 1)
    along = np.column_stack([np.sin(np.deg2rad(angle)), -np.cos(np.deg2rad(angle))]) * swell
    points = np.vstack([outer_mm * along, inner_mm * along[::-1]])
    return tuple((float(x), float(y)) for x, y in points)
