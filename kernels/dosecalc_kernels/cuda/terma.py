"""Collision kerma and scerma by exact ray tracing on CUDA. Contract: `dosecalc_kernels.contract`, "add_terma"."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("terma")


def add_terma(
    launcher: Launcher,
    kerma: Any,
    scerma: Any,
    basis_a: Any,
    basis_b: Any,
    release_index: Any,
    origin_mm: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    source_mm: NDArray[np.float64],
    bld_from_grid: NDArray[np.float64],
    sad_mm: float,
    integral: Any,
    map_origin_mm: NDArray[np.float64],
    map_pitch_mm: float,
    cutoff: float,
    mu_a: Any,
    mu_b: Any,
    release_kerma: Any,
    release_scerma: Any,
    softening: NDArray[np.float64],
) -> None:
    """Twin of `dosecalc_kernels.cpu.terma.add_terma`; volumes, tables and the map on the host or on the device."""
    put = launcher.put
    half = _half_widths(bld_from_grid, spacing_mm)
    geometry = np.concatenate(
        [origin_mm, spacing_mm, source_mm, np.ravel(bld_from_grid), [sad_mm], map_origin_mm,
         [map_pitch_mm, cutoff], softening, half]
    )  # fmt: skip
    nz, ny, nx = basis_a.shape
    rows, columns = integral.shape
    with launcher.inout(kerma, scerma) as (k, s):
        launcher.over(
            _SOURCE, "add_terma", nz * ny * nx,
            [k, s, put(basis_a, np.float32), put(basis_b, np.float32), put(release_index, np.int16), nz, ny, nx,
             put(geometry, np.float64), put(integral, np.float64), rows, columns,
             put(mu_a, np.float32), put(mu_b, np.float32),
             put(release_kerma, np.float32), put(release_scerma, np.float32), len(mu_a)],
        )  # fmt: skip


def _half_widths(rotation: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> list[float]:
    """Half width, along the map's axes, of a rectangle with the voxel's area seen from the source."""
    dx, dy, dz = spacing_mm
    half = 0.5 * np.abs(rotation[:2]) @ spacing_mm
    across = np.abs(rotation[2])
    face = across[0] * dy * dz + across[1] * dx * dz + across[2] * dx * dy  # the voxel's shadow across the beam
    shrink = math.sqrt(face / (4.0 * half[0] * half[1]))
    return [float(half[0] * shrink), float(half[1] * shrink)]
