"""Gamma index on the CPU. Contract: `dosecalc_kernels.contract`, "Gamma"; why it is fast: ``docs/gamma.md``.

Where the grids allow it, offsets near each point are tried first, which settles the points at which doses agree; the
others are searched for.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from dosecalc_kernels.contract import Float32Array, FloatArray, IntArray
from dosecalc_kernels.cpu.gamma_near import alignment, near_table, visit_near
from dosecalc_kernels.cpu.gamma_search import cell_bounds, search

#: points for which other threads are not worth starting
_FEW = 5_000
#: tasks for each thread
_TURNS = 8


def gamma_of_points(
    reference: FloatArray,
    points: IntArray,
    dose: FloatArray,
    node_z: FloatArray,
    node_y: FloatArray,
    node_x: FloatArray,
    per_cell: FloatArray,
    ref_z: FloatArray,
    ref_y: FloatArray,
    ref_x: FloatArray,
    dose_criterion: FloatArray,
    distance_mm: FloatArray,
    max_gamma: float,
    near: FloatArray,
    offsets: FloatArray,
    block_start: IntArray,
    blocks: FloatArray,
    block_at: NDArray[np.int32],
    block_edge: float,
) -> Float32Array:
    """See `dosecalc_kernels.contract.gamma_of_points`."""
    n = len(points)
    result = np.empty((len(distance_mm), n), np.float32)
    known = np.empty(n)
    bounds = None
    at, within, even = alignment(node_z, node_y, node_x, per_cell, ref_z, ref_y, ref_x)
    for m, mm in enumerate(distance_mm):
        if even and len(near):
            table = near_table(near, per_cell * mm, within, dose.shape)
            visit = (reference, points, dose, at, dose_criterion[m], max_gamma, *table, known, result[m])
            _in_threads(visit_near, visit, n)
            which = np.flatnonzero(np.isnan(result[m]))
        else:
            known[:] = np.inf
            which = np.arange(n)
        if len(which):
            bounds = bounds or cell_bounds(dose)
            _in_threads(search, (
                reference, points, which, known, dose, *bounds, node_z, node_y, node_x, per_cell, ref_z, ref_y, ref_x,
                dose_criterion[m], float(mm), max_gamma, near, offsets, block_start, blocks, block_at, block_edge,
                result[m],
            ), len(which))  # fmt: skip
    return result


def _in_threads(kernel: Callable[..., None], arguments: tuple[Any, ...], points: int) -> None:
    """Run a kernel's tasks, which release the interpreter, in as many threads as kernels may use."""
    threads = get_num_threads() if points > _FEW else 1
    if threads == 1:
        kernel(0, 1, *arguments)
        return
    tasks = threads * _TURNS
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, task, tasks, *arguments) for task in range(tasks)]:
            done.result()
