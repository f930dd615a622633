"""Regular axis-aligned grids in the DICOM patient frame (LPS, mm) and float32 volumes on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import GeometryError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """A regular grid whose axes run along +x (left), +y (posterior), +z (superior) of the DICOM patient frame.

    There is no direction matrix on purpose: readers bring every image into this order (a prone CT is flipped, a
    decubitus one transposed), so that no algorithm has to think of it.

    Parameters
    ----------
    origin_mm : (x, y, z)
        Centre of voxel [0, 0, 0].
    spacing_mm : (dx, dy, dz)
        Distances of neighbouring centres, all positive; they may differ.
    shape : (nz, ny, nx)
        Shape of the arrays that live on this grid, indexed ``[z, y, x]``.

    Raises
    ------
    GeometryError
        ``GRID_INVALID`` when spacing, shape or origin make no grid.
    """

    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        origin = tuple(float(v) for v in self.origin_mm)
        spacing = tuple(float(v) for v in self.spacing_mm)
        shape = tuple(int(v) for v in self.shape)
        object.__setattr__(self, "origin_mm", origin)
        object.__setattr__(self, "spacing_mm", spacing)
        object.__setattr__(self, "shape", shape)
        if len(origin) != 3 or not np.all(np.isfinite(origin)):
            raise GeometryError("GRID_INVALID", f"The grid's origin must be three finite numbers in mm, not {origin}.")
        if len(spacing) != 3 or not np.all(np.isfinite(spacing)) or min(spacing) <= 0:
            raise GeometryError("GRID_INVALID", f"Grid spacings must be three positive numbers in mm, not {spacing}.")
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError("GRID_INVALID", f"The grid's shape must be three positive integers, not {shape}.")

    @property
    def x_mm(self) -> FloatArray:
        """Voxel centres along x, float64 [nx], mm."""
        return self._centres(0)

    @property
    def y_mm(self) -> FloatArray:
        """Voxel centres along y, float64 [ny], mm."""
        return self._centres(1)

    @property
    def z_mm(self) -> FloatArray:
        """Voxel centres along z, float64 [nz], mm."""
        return self._centres(2)

    def _centres(self, axis: int) -> FloatArray:
        return self.origin_mm[axis] + self.spacing_mm[axis] * np.arange(self.shape[2 - axis], dtype=np.float64)

    def edges_mm(self, axis: int) -> FloatArray:
        """Voxel boundaries along axis 0 = x, 1 = y, 2 = z; float64 [n + 1], mm."""
        n = self.shape[2 - axis]
        return self.origin_mm[axis] + self.spacing_mm[axis] * (np.arange(n + 1, dtype=np.float64) - 0.5)

    @property
    def lower_mm(self) -> tuple[float, float, float]:
        """Lower outer corner (x, y, z) of the box that the voxels fill, mm."""
        return tuple(o - s / 2 for o, s in zip(self.origin_mm, self.spacing_mm, strict=True))  # type: ignore[return-value]

    @property
    def upper_mm(self) -> tuple[float, float, float]:
        """Upper outer corner (x, y, z) of the box that the voxels fill, mm."""
        n = self.shape[::-1]
        return tuple(o + s * (m - 0.5) for o, s, m in zip(self.origin_mm, self.spacing_mm, n, strict=True))  # type: ignore[return-value]

    @property
    def voxel_volume_cm3(self) -> float:
        """Volume of one voxel, cm3."""
        dx, dy, dz = self.spacing_mm
        return dx * dy * dz / 1000.0

    @property
    def size(self) -> int:
        """Number of voxels."""
        nz, ny, nx = self.shape
        return nz * ny * nx

    @classmethod
    def covering(
        cls,
        lower_mm: tuple[float, float, float],
        upper_mm: tuple[float, float, float],
        spacing_mm: tuple[float, float, float],
    ) -> Grid:
        """The smallest grid of this spacing whose voxels fill the box, centred on it.

        Raises
        ------
        GeometryError
            ``GRID_BOX_EMPTY`` when an upper bound is not above the lower one.
        """
        shape = []
        origin = []
        for lo, hi, s in zip(lower_mm, upper_mm, spacing_mm, strict=True):
            if not hi > lo:
                raise GeometryError("GRID_BOX_EMPTY", f"The box from {lower_mm} to {upper_mm} mm has no volume.")
            n = max(1, int(np.ceil((hi - lo) / s - 1e-6)))
            shape.append(n)
            origin.append((lo + hi) / 2 - s * (n - 1) / 2)
        return cls((origin[0], origin[1], origin[2]), spacing_mm, (shape[2], shape[1], shape[0]))


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on a grid: float32 ``[z, y, x]``, C order. The unit is named by whoever holds the volume."""

    grid: Grid
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.shape != self.grid.shape:
            raise GeometryError(
                "VOLUME_SHAPE", f"An array of shape {values.shape} does not fit a grid of shape {self.grid.shape}."
            )
        object.__setattr__(self, "values", values)
