"""Volumes from one grid to another: averages that keep the mass, dominant materials, point samples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dosecalc.devices import offload
from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.materials import AIR, AIR_DENSITY_G_CM3
from dosecalc.patient.model import Patient
from dosecalc_kernels.offload import Offload

FloatArray = NDArray[np.float64]
Overlap = tuple[NDArray[np.int64], FloatArray]


def volume_average(volume: Volume, grid: Grid, *, outside: float = 0.0, device: str | Offload = "cpu") -> Volume:
    """Mean of a volume over each voxel of another grid.

    Both are taken as filled boxes, so that the integral over any region of whole target voxels is kept: density
    averaged this way keeps the mass.

    Parameters
    ----------
    volume : Volume
    grid : Grid
        Any spacing and position.
    outside : float
        Value of space beyond the volume.
    device : str or Offload
        As `dosecalc.devices.offload` takes it.
    """
    kernels = offload(device)

    def along(values: NDArray[np.float32], overlap: Overlap) -> NDArray[np.float32]:
        first, weights = overlap
        outer, _, inner = values.shape
        averages: NDArray[np.float32] = kernels.run(
            "average_axis", outer * len(first) * inner, np.ascontiguousarray(values), first, weights
        )
        return averages

    values = volume.values if outside == 0.0 else volume.values - np.float32(outside)
    nz, ny, nx = volume.grid.shape
    mz, my, mx = grid.shape
    # along z first: the longest contiguous runs, and it usually shrinks the array
    values = along(values.reshape(1, nz, ny * nx), _overlap(volume.grid, grid, 2))
    values = along(values.reshape(mz, ny, nx), _overlap(volume.grid, grid, 1))
    values = along(values.reshape(mz * my, nx, 1), _overlap(volume.grid, grid, 0))
    values = values.reshape(mz, my, mx)
    return Volume(grid, values if outside == 0.0 else values + np.float32(outside))


def patient_on_grid(patient: Patient, grid: Grid, device: str | Offload = "cpu") -> Patient:
    """A patient on another grid: density by volume average, material the one of most mass in each voxel.

    Space beyond the patient's grid is air. Of materials with equal mass the first in the list is taken. Boluses that
    are not in the density are lost: they belong to the patient's own grid. ``device`` as in `volume_average`.
    """
    if grid == patient.density.grid:
        return patient
    names = patient.materials if AIR in patient.materials else (*patient.materials, AIR)
    kernels = offload(device)
    density = volume_average(patient.density, grid, outside=AIR_DENSITY_G_CM3, device=kernels)
    source = patient.density.grid
    material = kernels.run(
        "dominant_material",
        math.prod(grid.shape),
        patient.material,
        patient.density.values,
        len(names),
        *_overlap(source, grid, 2),
        *_overlap(source, grid, 1),
        *_overlap(source, grid, 0),
        names.index(AIR),
        AIR_DENSITY_G_CM3,
    )
    return replace(patient, density=density, material=material, materials=names, boluses=())


def sample(
    volume: Volume, points_mm: NDArray[np.float64], *, outside: float = 0.0, device: str | Offload = "cpu"
) -> NDArray[np.float32]:
    """Trilinear interpolation of a volume at points.

    Parameters
    ----------
    volume : Volume
    points_mm : float64 [n, 3]
        (x, y, z), patient frame. Within half a voxel of the boundary the outermost centres' values hold.
    outside : float
        Value beyond the volume's box, and at points that are not finite.
    device : str or Offload
        As in `volume_average`.

    Returns
    -------
    float32 [n]

    Raises
    ------
    GeometryError
        ``POINTS_SHAPE``.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise GeometryError("POINTS_SHAPE", f"Points must have the shape (n, 3), not {points.shape}.")
    index = (points - volume.grid.origin_mm) / volume.grid.spacing_mm
    found: NDArray[np.float32] = offload(device).run(
        "trilinear", len(index), volume.values, np.ascontiguousarray(index[:, ::-1]), float(outside)
    )
    return found


def _overlap(source: Grid, target: Grid, axis: int) -> Overlap:
    """For each target voxel along an axis the first source voxel and the shares of it that the next ones cover."""
    n = source.shape[2 - axis]
    edges = target.edges_mm(axis)
    scaled = (edges - source.lower_mm[axis]) / source.spacing_mm[axis]
    # a boundary that differs from the source's by rounding alone makes no sliver
    scaled = np.where(np.abs(scaled - np.round(scaled)) < 1e-9 * max(n, 1), np.round(scaled), scaled)
    lower, upper = scaled[:-1], scaled[1:]
    first = np.floor(lower).astype(np.int64)
    width = int(np.max(np.ceil(upper).astype(np.int64) - first))
    cells = first[:, None] + np.arange(width)
    covered = np.minimum(upper[:, None], cells + 1) - np.maximum(lower[:, None], cells)
    inside = (cells >= 0) & (cells < n)
    weights = np.where(inside, np.clip(covered, 0.0, None), 0.0) / (upper - lower)[:, None]
    return first, np.ascontiguousarray(weights)
