"""Exact area coverage of polygons on CUDA. Contract: `dosecalc_kernels.contract`, "polygon_coverage"."""

from __future__ import annotations

from typing import Any

import numpy as np

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("rasterise")


def polygon_coverage(launcher: Launcher, xy: Any, ring_offsets: Any, ny: int, nx: int) -> Any:
    """Twin of `dosecalc_kernels.cpu.rasterise.polygon_coverage`."""
    out = launcher.empty((ny, nx), np.float64)
    launcher.over(
        _SOURCE, "polygon_coverage", ny if nx else 0,
        [launcher.put(xy, np.float64), launcher.put(ring_offsets, np.int64), len(ring_offsets) - 1, ny, nx, out],
        block=64,
    )  # fmt: skip
    return launcher.as_given(out, xy)
