"""Gamma index on the CPU. Contract: `dosecalc_kernels.contract`, "Gamma"; why it is fast: ``docs/gamma.md``.

Where the grids allow it, offsets near each point are tried first, which settles the points at which doses agree; the
others are searched for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from dosecalc_kernels.contract import Float32Array, FloatArray, IntArray
from dosecalc_kernels.cpu.gamma_near import alignment, near_table, spread_nodes, visit_near
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
    phases, at, within = alignment(node_z, node_y, node_x, per_cell, ref_z, ref_y, ref_x)
    for m, mm in enumerate(distance_mm):
        if phases[0, 0] and len(near):
            _near(reference, points, dose, dose_criterion[m], max_gamma, near, per_cell * mm, phases, at, within,
                  known, result[m])  # fmt: skip
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


def _near(
    reference: FloatArray,
    points: IntArray,
    dose: FloatArray,
    dose_criterion: FloatArray,
    max_gamma: float,
    near: FloatArray,
    cells: FloatArray,
    phases: IntArray,
    at: IntArray,
    within: FloatArray,
    known: FloatArray,
    result: Float32Array,
) -> None:
    """Gamma of one criterion where near samples settle it; ``cells`` [3]: cells per distance criterion."""
    # one node more than samples reach on either side, for points up to a cell outside; and the upper node of a cell
    reach = math.sqrt(near[-1, 3])
    margin = np.array([int(reach * c) + 3 if c > 0.0 else 1 for c in cells])
    spread, before = spread_nodes(dose, margin, phases[2, 1])
    steps = np.array(spread.strides[:3]) // spread.itemsize
    table = near_table(near, cells, phases, at, within, before, steps)
    _in_threads(
        visit_near,
        (reference, points, dose.shape, dose_criterion, max_gamma, phases, at, margin, spread, *table, known, result),
        len(points),
    )


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
