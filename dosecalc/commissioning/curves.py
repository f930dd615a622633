"""Measurements in water: curves, each a set of points in phantoms under fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Kind = Literal["depth_dose", "profile", "output_factors", "tpr"]
ShapedBy = Literal["jaws", "leaves"]


@dataclass(frozen=True)
class Setup:
    """A water phantom under one field, beam vertical.

    Parameters
    ----------
    ssd_mm : float
        Source to water surface.
    field_mm : (float, float)
        Sides of the field along BLD x and y at the isocentre plane.
    shaped_by : 'jaws' or 'leaves'
        What makes the field where the machine has both.
    jaws_mm : (float, float) or None
        Openings of the jaws behind leaves that make the field; None where they stand at the field's edges.
    """

    ssd_mm: float
    field_mm: tuple[float, float]
    shaped_by: ShapedBy = "jaws"
    jaws_mm: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """The field and SSD in words."""
        x, y = self.field_mm
        side = f"{x:g} x {y:g} mm"
        return f"{side}, SSD {self.ssd_mm:g} mm" + (", shaped by leaves" if self.shaped_by == "leaves" else "")


@dataclass(frozen=True, eq=False)
class Curve:
    """One measured curve. Values are relative: only their ratios are used.

    Parameters
    ----------
    kind : 'depth_dose', 'profile', 'output_factors' or 'tpr'
    energy_mv : float or None
        Nominal energy; None where the file does not tell it.
    fluence_mode : 'STANDARD' or 'FFF'
    setups : tuple of Setup
        One, or for output factors and TPR one for each point.
    points_mm : float64 [n, 3]
        BLD x, BLD y and depth below the surface.
    abscissa : float64 [n]
        What the curve is drawn over: depth, position, or side of the equivalent square, mm.
    value : float64 [n]
        Dose in the unit of the file.
    unit : str
        ``percent``, ``relative`` or ``arbitrary``.
    axis : 'x', 'y' or None
        Of a profile.
    detector : str
    detector_diameter_mm : float or None
        Width of the sensitive volume along a profile (a cylinder's diameter); None where it is not known.
    file, name : str
        Where the curve is from: the file's name, and the curve in it.
    """

    kind: Kind
    energy_mv: float | None
    fluence_mode: Literal["STANDARD", "FFF"]
    setups: tuple[Setup, ...]
    points_mm: FloatArray
    abscissa: FloatArray
    value: FloatArray
    unit: str
    axis: Literal["x", "y"] | None
    detector: str
    detector_diameter_mm: float | None
    file: str
    name: str

    @property
    def title(self) -> str:
        """What the curve is, in words."""
        first = self.setups[0]
        if self.kind == "depth_dose":
            return f"depth dose, {first.label}"
        if self.kind == "profile":
            return f"profile along {self.axis} at {self.depth_mm:g} mm, {first.label}"
        if self.kind == "tpr":
            x, y = first.field_mm
            return f"TPR, {x:g} x {y:g} mm at the isocentre"
        return f"output factors at {self.depth_mm:g} mm, SSD {first.ssd_mm:g} mm"

    @property
    def depth_mm(self) -> float:
        """Depth of a profile or of output factors."""
        return float(self.points_mm[0, 2])

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Curve:
        """The same curve with some of its points."""
        setups = self.setups
        if len(setups) > 1:
            setups = tuple(np.array(setups, dtype=object)[keep])
        return replace(
            self, setups=setups, points_mm=self.points_mm[keep], abscissa=self.abscissa[keep], value=self.value[keep]
        )

    def setup_of_point(self, n: int) -> Setup:
        """The phantom and field of a point."""
        return self.setups[n] if len(self.setups) > 1 else self.setups[0]


def depth_points(depth_mm: FloatArray) -> FloatArray:
    """Points on the axis, float64 [n, 3]."""
    return np.column_stack([np.zeros((len(depth_mm), 2)), depth_mm])


def profile_points(axis: str, position_mm: FloatArray, depth_mm: float, across_mm: float = 0.0) -> FloatArray:
    """Points along BLD x or y at a depth, ``across_mm`` beside the axis, float64 [n, 3]."""
    other = np.full(len(position_mm), across_mm)
    x, y = (position_mm, other) if axis == "x" else (other, position_mm)
    return np.column_stack([x, y, np.full(len(position_mm), depth_mm)])


def equivalent_square_mm(field_mm: tuple[float, float]) -> float:
    """Side of the square field of the same area to perimeter.

    The rule of Sterling and others 1964; that it is used so: Seaby, Thomas, Ryde 2004, Br J Radiol 77:672, and as
    2AB / (A + B) Tudor, Thomas 2004, Br J Radiol 77:941, abstract.
    """
    x, y = field_mm
    return 2 * x * y / (x + y)
