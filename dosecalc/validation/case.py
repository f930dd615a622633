"""What every reference case states: phantom, source and spectrum; and the lines along which doses are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

FloatArray = NDArray[np.float64]
Axis = Literal["x", "y"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]

#: thinner than this is air, which is not judged
AIR_BELOW_G_CM3 = 0.05
#: gamma is judged from so many percent of the largest dose up
GAMMA_THRESHOLD_PERCENT = 10.0
#: half the side of the square over which doses on the axis are averaged
_AXIS_HALF_CM = 0.5


class _Header(BaseModel):
    """What is used of a case's JSON; the files hold more (how the run was made), which is for people."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Source(_Header):
    source_to_front_plane_cm: Positive
    field_at_front_plane_cm: tuple[Positive, Positive]


class _Spectrum(_Header):
    name: str
    reference: str
    energy_low_MeV: tuple[Share, ...] = Field(min_length=1)
    energy_high_MeV: tuple[Positive, ...] = Field(min_length=1)
    probability_per_bin: tuple[Share, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _joined(self) -> _Spectrum:
        n = len(self.energy_low_MeV)
        if len(self.energy_high_MeV) != n or len(self.probability_per_bin) != n:
            raise ValueError("energy_low_MeV, energy_high_MeV and probability_per_bin need the same length")
        if any(abs(a - b) > 1e-9 for a, b in zip(self.energy_high_MeV[:-1], self.energy_low_MeV[1:], strict=True)):
            raise ValueError("the bins must join")
        if not sum(self.probability_per_bin) > 0:
            raise ValueError("a spectrum needs photons")
        return self


class CaseHeader(_Header):
    """The JSON beside a case's arrays."""

    format_name: Literal["monte-carlo-case/1"] = Field(alias="schema")
    case: str
    description: str = ""
    materials: tuple[str, ...] = Field(min_length=1)
    source: _Source
    spectrum: _Spectrum


@dataclass(frozen=True, eq=False)
class Reference:
    """Reference dose of voxels, or means along a line, float64, Gy cm2, and one standard deviation of each."""

    dose: FloatArray
    sigma: FloatArray


@dataclass(frozen=True, eq=False)
class Case(ABC):
    """A phantom and a source that an engine can compute, with a reference dose that subclasses hold.

    The frame is that of the case: z is depth from the front plane, the source stands on the negative z axis.

    Parameters
    ----------
    header : CaseHeader
    density : float32 [z, y, x]
        g/cm3.
    medium : uint8 [z, y, x]
        Index into ``header.materials``.
    x_edges_cm, y_edges_cm, z_edges_cm : float64 [n + 1]
        Voxel boundaries.
    """

    header: CaseHeader
    density: NDArray[np.float32]
    medium: NDArray[np.uint8]
    x_edges_cm: FloatArray
    y_edges_cm: FloatArray
    z_edges_cm: FloatArray

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.header.case

    @property
    def field_cm(self) -> tuple[float, float]:
        """Full widths (x, y) of the field at the front plane, cm."""
        return self.header.source.field_at_front_plane_cm

    @property
    def ssd_cm(self) -> float:
        """Distance from the source to the front plane, cm."""
        return self.header.source.source_to_front_plane_cm

    @property
    def highest_mev(self) -> float:
        """Upper end of the spectrum, MeV."""
        return self.header.spectrum.energy_high_MeV[-1]

    @property
    def layered(self) -> bool:
        """True when the phantom is made of even layers across the beam, as water and slabs are."""
        return bool(np.all(np.ptp(self.density, axis=(1, 2)) == 0) and np.all(np.ptp(self.medium, axis=(1, 2)) == 0))

    @property
    def water_only(self) -> bool:
        """True when there is nothing but water of 1 g/cm3 (within 1 %: some write 0.998)."""
        names = {self.header.materials[m].lower() for m in np.unique(self.medium)}
        return all(name.startswith("water") for name in names) and bool(np.all(np.abs(self.density - 1) < 0.01))

    def centres_cm(self, axis: Literal["x", "y", "z"]) -> FloatArray:
        """Voxel centres along an axis, float64 [n], cm."""
        edges: FloatArray = getattr(self, f"{axis}_edges_cm")
        return (edges[1:] + edges[:-1]) / 2

    def about_axis(self, axis: Axis) -> NDArray[np.intp]:
        """Indices of the voxels within 5 mm of the beam's axis, or a fifth of the field if that is less."""
        centres = self.centres_cm(axis)
        half = min(_AXIS_HALF_CM, 0.2 * self.field_cm["xy".index(axis)])
        return np.flatnonzero(np.abs(centres) <= max(half, float(np.abs(centres).min()) + 1e-6))

    def axis_mean(self, values: NDArray[np.floating]) -> FloatArray:
        """Mean over a square centimetre about the axis (less in small fields), float64 [z]."""
        return np.asarray(values[:, self.about_axis("y")][:, :, self.about_axis("x")].mean((1, 2)), np.float64)

    def profile_rows(self, values: NDArray[np.floating], depth_cm: float, axis: Axis) -> FloatArray:
        """Values of the plane at a depth along an axis, [n, m], over a centimetre beside it (less in small fields)."""
        plane = np.asarray(values[self.plane_at(depth_cm)], np.float64)
        return plane[self.about_axis("y")].T if axis == "x" else plane[:, self.about_axis("x")]

    def profile_mean(self, values: NDArray[np.floating], depth_cm: float, axis: Axis) -> FloatArray:
        """Mean of `profile_rows`, float64 [n]."""
        return np.asarray(self.profile_rows(values, depth_cm, axis).mean(1))

    @property
    def profile_axes(self) -> tuple[Axis, ...]:
        """Axes along which profiles are compared: both unless the field is square, where one says it all."""
        return ("x",) if self.field_cm[0] == self.field_cm[1] else ("x", "y")

    def axis_in_matter(self) -> NDArray[np.bool_]:
        """Depths at which no voxel about the axis is air, bool [z]."""
        near = self.density[:, self.about_axis("y")][:, :, self.about_axis("x")]
        return np.asarray(near.min((1, 2)) >= AIR_BELOW_G_CM3)

    def plane_at(self, depth_cm: float) -> int:
        """Index of the plane of voxels whose centre is nearest to a depth."""
        return int(np.argmin(np.abs(self.centres_cm("z") - depth_cm)))

    @property
    @abstractmethod
    def profile_depths_cm(self) -> tuple[float, ...]:
        """Depths at which there are profiles to compare; none where density varies across the beam."""

    @abstractmethod
    def voxel_reference(self) -> Reference:
        """Reference dose of voxels for gamma, [z, y, x]; zero is allowed below `GAMMA_THRESHOLD_PERCENT`."""

    @abstractmethod
    def axis_reference(self) -> Reference:
        """Reference dose on the axis, averaged as `axis_mean` does; at every depth."""

    @abstractmethod
    def profile_reference(self, depth_cm: float, axis: Axis) -> Reference:
        """Reference profile at one of `profile_depths_cm`, averaged as `profile_mean` does."""
