"""Radiological depths in a fan of rays, and pencil-beam dose, on CUDA. Contract: `dosecalc_kernels.contract`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("pencil_beam")


def trace_fan(
    launcher: Launcher,
    fan: Any,
    density: Any,
    origin_mm: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    source_mm: NDArray[np.float64],
    bld_from_grid: NDArray[np.float64],
    sad_mm: float,
    first_mm: NDArray[np.float64],
    pitch_mm: float,
    first_depth_mm: float,
    step_mm: float,
    vacuum: float,
    lateral: bool,
    reach_gcm2: NDArray[np.float64],
    widest: float,
    softening: NDArray[np.float64],
    log_terma: NDArray[np.float64],
    terma_step: float,
) -> None:
    """Twin of `dosecalc_kernels.cpu.pencil_beam.trace_fan`; fan and density on the host or on the device."""
    put = launcher.put
    geometry = np.concatenate(
        [origin_mm, spacing_mm, source_mm, np.ravel(bld_from_grid), [sad_mm], first_mm,
         [pitch_mm, first_depth_mm, step_mm, vacuum], reach_gcm2, [widest], softening, [terma_step]]
    )  # fmt: skip
    rows, columns, nodes, _ = fan.shape
    nz, ny, nx = density.shape
    with launcher.inout(fan) as (out,):
        launcher.over(
            _SOURCE, "trace_fan", rows * columns,
            [out, rows, columns, nodes, put(density, np.float32), nz, ny, nx, put(geometry, np.float64),
             int(lateral), put(log_terma, np.float64), len(log_terma)],
        )  # fmt: skip


def add_pencil_dose(
    launcher: Launcher,
    dose: Any,
    release_index: Any,
    origin_mm: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    source_mm: NDArray[np.float64],
    bld_from_grid: NDArray[np.float64],
    sad_mm: float,
    fan: Any,
    fan_first_mm: NDArray[np.float64],
    fan_pitch_mm: float,
    fan_first_depth_mm: float,
    fan_step_mm: float,
    near: Any,
    near_first_mm: NDArray[np.float64],
    near_pitch_mm: float,
    far: Any,
    far_first_mm: NDArray[np.float64],
    far_pitch_mm: float,
    primary: Any,
    scatter: Any,
    depth_index_per_root: float,
    least_scale_index: float,
    scale_index_step: float,
    medium: Any,
) -> None:
    """Twin of `dosecalc_kernels.cpu.pencil_beam.add_pencil_dose`; arrays on the host or on the device."""
    put = launcher.put
    geometry = np.concatenate(
        [origin_mm, spacing_mm, source_mm, np.ravel(bld_from_grid), [sad_mm], fan_first_mm,
         [fan_pitch_mm, fan_first_depth_mm, fan_step_mm], near_first_mm, [near_pitch_mm], far_first_mm,
         [far_pitch_mm, depth_index_per_root, least_scale_index, scale_index_step]]
    )  # fmt: skip
    nz, ny, nx = dose.shape
    with launcher.inout(dose) as (out,):
        launcher.over(
            _SOURCE, "add_pencil_dose", nz * ny * nx,
            [out, put(release_index, np.int16), nz, ny, nx, put(geometry, np.float64),
             put(fan, np.float32), *fan.shape[:3], put(near, np.float32), *near.shape[:2],
             put(far, np.float32), *far.shape[:2], put(primary, np.float32), put(scatter, np.float32),
             *primary.shape[:2], put(medium, np.float32)],
        )  # fmt: skip
