"""Collision kerma and scerma by exact ray tracing on CUDA. Contract: `dosecalc_kernels.contract`, "add_terma"."""

from __future__ import annotations

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
    cutoff: Any,
    mu_a: Any,
    mu_b: Any,
    release_kerma: Any,
    release_scerma: Any,
    softening: NDArray[np.float64],
) -> None:
    """Twin of `dosecalc_kernels.cpu.terma.add_terma`; volumes, tables and the map on the host or on the device."""
    put = launcher.put
    parts, half = _footprint(bld_from_grid, spacing_mm)
    geometry = np.concatenate(
        [origin_mm, spacing_mm, source_mm, np.ravel(bld_from_grid), [sad_mm], map_origin_mm,
         [map_pitch_mm], softening, half, [len(parts)], parts.ravel()]
    )  # fmt: skip
    nz, ny, nx = basis_a.shape
    rows, columns = integral.shape
    with launcher.inout(kerma, scerma) as (k, s):
        launcher.over(
            _SOURCE, "add_terma", nz * ny * nx,
            [k, s, put(basis_a, np.float32), put(basis_b, np.float32), put(release_index, np.int16), nz, ny, nx,
             put(geometry, np.float64), put(integral, np.float64), rows, columns, put(cutoff, np.float64).reshape(1),
             put(mu_a, np.float32), put(mu_b, np.float32),
             put(release_kerma, np.float32), put(release_scerma, np.float32), len(mu_a)],
        )  # fmt: skip


def _footprint(
    rotation: NDArray[np.float64], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A voxel's shadow as upright rectangles, as on the CPU: their middles, float64 [n, 2], and their half widths."""
    askew = np.abs(rotation).max(0) <= 1.0 - 1e-6
    size = np.where(askew, 0.5, 1.0) * spacing_mm
    parts = np.zeros((1, 2))
    for axis in np.flatnonzero(askew):
        step = 0.25 * rotation[:2, axis] * spacing_mm[axis]
        parts = np.concatenate([parts - step, parts + step])
    return parts, np.sqrt((0.25 * (rotation[:2] * size) ** 2).sum(1))
