"""Averages, dominant materials and trilinear samples on CUDA. Contract: `dosecalc_kernels.contract`."""

from __future__ import annotations

from typing import Any

import numpy as np

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("resample")


def average_axis(launcher: Launcher, values: Any, first: Any, weights: Any) -> Any:
    """Twin of `dosecalc_kernels.cpu.resample.average_axis`."""
    (outer, n, inner), (m, width) = values.shape, weights.shape
    out = launcher.empty((outer, m, inner), np.float32)
    launcher.over(
        _SOURCE, "average_axis", outer * m * inner,
        [launcher.put(values, np.float32), outer, n, inner, launcher.put(first, np.int64),
         launcher.put(weights, np.float64), m, width, out],
    )  # fmt: skip
    return launcher.as_given(out, values)


def dominant_material(
    launcher: Launcher,
    material: Any,
    density: Any,
    n_materials: int,
    first_z: Any,
    weights_z: Any,
    first_y: Any,
    weights_y: Any,
    first_x: Any,
    weights_x: Any,
    outside_material: int,
    outside_density: float,
) -> Any:
    """Twin of `dosecalc_kernels.cpu.resample.dominant_material`."""
    axes = [
        argument
        for first, weights in ((first_z, weights_z), (first_y, weights_y), (first_x, weights_x))
        for argument in (launcher.put(first, np.int64), launcher.put(weights, np.float64), *weights.shape)
    ]
    shape = (len(weights_z), len(weights_y), len(weights_x))
    out = launcher.empty(shape, np.uint8)
    launcher.over(
        _SOURCE, "dominant_material", out.size,
        [launcher.put(material, np.uint8), launcher.put(density, np.float32), *material.shape, n_materials, *axes,
         outside_material, outside_density, out],
    )  # fmt: skip
    return launcher.as_given(out, material, density)


def trilinear(launcher: Launcher, values: Any, index_zyx: Any, outside: float) -> Any:
    """Twin of `dosecalc_kernels.cpu.resample.trilinear`."""
    n = len(index_zyx)
    out = launcher.empty(n, np.float32)
    launcher.over(
        _SOURCE, "trilinear", n,
        [launcher.put(values, np.float32), *values.shape, launcher.put(index_zyx, np.float64), n, outside, out],
    )  # fmt: skip
    return launcher.as_given(out, values, index_zyx)
