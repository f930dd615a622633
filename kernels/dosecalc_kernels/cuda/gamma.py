"""Gamma index on CUDA. Contract: `dosecalc_kernels.contract`, "gamma_of_points"."""

from __future__ import annotations

from typing import Any

import numpy as np

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("gamma")


def gamma_of_points(
    launcher: Launcher,
    reference: Any,
    points: Any,
    dose: Any,
    node_z: Any,
    node_y: Any,
    node_x: Any,
    per_cell: Any,
    ref_z: Any,
    ref_y: Any,
    ref_x: Any,
    dose_criterion: Any,
    distance_mm: Any,
    max_gamma: float,
    near: Any,
    offsets: Any,
    block_start: Any,
    blocks: Any,
    block_at: Any,
    block_edge: float,
) -> Any:
    """Twin of `dosecalc_kernels.cpu.gamma.gamma_of_points`.

    Offsets are taken in order of their length, without blocks: threads of a warp then go through the same ones. What is
    found is the least over them all.
    """
    n, criteria = len(points), len(distance_mm)
    out = launcher.empty((criteria, n), np.float32)

    def put(array: Any) -> Any:
        return launcher.put(array, np.float64)

    cells = put(dose)
    low, high = (launcher.empty(tuple(max(1, k - 1) for k in dose.shape), np.float64) for _ in range(2))
    launcher.over(_SOURCE, "cell_bounds", low.size, [cells, *dose.shape, low, high])
    by_length = np.asarray(offsets)[np.argsort(np.asarray(offsets)[:, 3], kind="stable")]
    launcher.over(
        _SOURCE, "gamma_of_points", criteria * n,
        [put(reference), *reference.shape[1:], launcher.put(points, np.int64), n, cells, low, high,
         put(node_z), len(node_z), put(node_y), len(node_y), put(node_x), len(node_x), put(per_cell),
         put(ref_z), put(ref_y), put(ref_x), put(dose_criterion), put(distance_mm), criteria, max_gamma,
         put(by_length), len(by_length), out],
        block=128,
    )  # fmt: skip
    return launcher.as_given(out, reference, dose)
