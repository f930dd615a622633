"""Solids cut into contours and linear doses, with their closed-form DVHs: the truth that DVH tests are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from builders_structures import circle, contour, rectangle
from numpy.typing import NDArray

from dosecalc.geometry import Grid, Volume
from dosecalc.patient.structures import Structure

FloatArray = NDArray[np.float64]


def linear_dose(
    per_mm: tuple[float, float, float], at_origin_gy: float, *, spacing_mm: float = 2.0, half_mm: float = 30.0
) -> Volume:
    """A dose that is linear in x, y, z on a cube about the origin: trilinear interpolation has no error of its own."""
    n = round(2 * half_mm / spacing_mm) + 1
    grid = Grid((-half_mm,) * 3, (spacing_mm,) * 3, (n, n, n))
    z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
    return Volume(grid, (at_origin_gy + per_mm[0] * x + per_mm[1] * y + per_mm[2] * z).astype(np.float32))


def planes(lower_mm: float, upper_mm: float, spacing_mm: float, offset: float) -> list[float]:
    """Heights of contour planes within a solid; ``offset`` (0 to 1) of a spacing away from its lower end."""
    first = lower_mm + offset * spacing_mm
    return [first + k * spacing_mm for k in range(int((upper_mm - first) / spacing_mm + 1e-9) + 1)]


def sphere(radius_mm: float, spacing_mm: float, offset: float = 0.5) -> Structure:
    """About the origin; a pole that falls on a plane is drawn as a dot of 0.05 mm radius."""
    rings = []
    for z in planes(-radius_mm, radius_mm, spacing_mm, offset):
        r = np.sqrt(max(radius_mm**2 - z**2, 0.05**2))
        rings.append(contour(circle(r, n=360), z))
    return Structure(1, "sphere", contours=tuple(rings))


def solid(area_at: Callable[[float], FloatArray | None], z_mm: list[float], name: str) -> Structure:
    """Outlines by height."""
    outlines = [(z, area_at(z)) for z in z_mm]
    return Structure(1, name, contours=tuple(contour(xy, z) for z, xy in outlines if xy is not None))


def lying_cylinder(radius_mm: float, length_mm: float, spacing_mm: float, offset: float = 0.5) -> Structure:
    """Axis along y, about the origin."""

    def strip(z: float) -> FloatArray:
        w = max(np.sqrt(max(radius_mm**2 - z**2, 0.0)), 0.005)
        return rectangle(-w, -length_mm / 2, w, length_mm / 2)

    return solid(strip, planes(-radius_mm, radius_mm, spacing_mm, offset), "lying cylinder")


def lying_cone(
    radius_mm: float, length_mm: float, spacing_mm: float, turned_deg: float, offset_mm: float = 0.0
) -> Structure:
    """Axis at z = 0, turned from +y towards -x, its middle at the origin; a plane at ``offset_mm``.

    A section is bounded by the base and by a hyperbola: half width x at a distance s from the tip with
    x^2 + z^2 = (radius s / length)^2.
    """
    angle = np.radians(turned_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def section(z: float) -> FloatArray:
        widest = np.sqrt(max(radius_mm**2 - z**2, 0.05**2))  # a dot where only the base's edge is left
        x = widest * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 241)) ** 3  # close together at the tip
        s = np.hypot(x, z) * length_mm / radius_mm
        return np.column_stack((x, length_mm / 2 - s)) @ turn

    n = int((radius_mm + abs(offset_mm)) // spacing_mm) + 1
    heights = [offset_mm + spacing_mm * k for k in range(-n, n + 1)]
    return solid(section, [z for z in heights if abs(z) <= radius_mm], "lying cone")


def quantile(area: Callable[[float], float], lower: float, upper: float, percent: float) -> tuple[float, float]:
    """Position above which ``percent`` of a solid lies, and the solid's volume, from its cross-sections along an axis.

    The integral over 200 001 sections is right to 1e-6 of the extent.
    """
    s = np.linspace(lower, upper, 200_001)
    a = np.array([area(v) for v in s])
    below = np.concatenate(([0.0], np.cumsum((a[1:] + a[:-1]) / 2.0 * np.diff(s))))
    return float(np.interp((1.0 - percent / 100.0) * below[-1], below, s)), float(below[-1])
