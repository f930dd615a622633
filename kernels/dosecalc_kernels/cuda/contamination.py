"""Dose of contamination electrons on CUDA: a thread for each voxel. Contract: `dosecalc_kernels.contract`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("contamination")


def add_contamination(
    launcher: Launcher,
    dose: Any,
    density: Any,
    release_index: Any,
    origin_mm: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    source_mm: NDArray[np.float64],
    bld_from_grid: NDArray[np.float64],
    sad_mm: float,
    values: Any,
    map_origin_mm: NDArray[np.float64],
    map_pitch_mm: float,
    surface_dose: float,
    depth_gcm2: float,
    limit_gcm2: float,
) -> None:
    """Twin of `dosecalc_kernels.cpu.contamination.add_contamination`; arrays on the host or on the device."""
    put = launcher.put
    geometry = np.concatenate(
        [origin_mm, spacing_mm, source_mm, np.ravel(bld_from_grid), [sad_mm], map_origin_mm,
         [map_pitch_mm, surface_dose, depth_gcm2, limit_gcm2]]
    )  # fmt: skip
    with launcher.inout(dose) as (out,):
        launcher.over(
            _SOURCE, "add_contamination", int(np.prod(dose.shape)),
            [out, put(density, np.float32), put(release_index, np.int16), *dose.shape, put(geometry, np.float64),
             put(values, np.float64), *values.shape],
        )  # fmt: skip
