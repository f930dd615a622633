"""Gamma index on the CPU. Contract: `dosecalc_kernels.contract`, "Gamma"; why it is fast: ``docs/gamma.md``.

Where the grids allow it, offsets near each point are tried first, which settles the points at which doses agree; the
others are searched for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray

from dosecalc_kernels.contract import Float32Array, FloatArray, IntArray
from dosecalc_kernels.cpu.gamma_each import shells_of, visit_each
from dosecalc_kernels.cpu.gamma_near import alignment, near_table, spread_nodes, spread_shape, visit_near
from dosecalc_kernels.cpu.gamma_search import cell_bounds, search

#: points for which other threads are not worth starting
_FEW = 5_000
#: distance criteria up to which samples that points do not share are tried: beyond, the search is faster
_EACH_REACH = 0.6
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
    nodes, places = (node_z, node_y, node_x), (ref_z, ref_y, ref_x)
    regular = all(
        share > 0.0 or (len(axis) == 1 and bool(np.all(at == axis[0])))
        for share, axis, at in zip(per_cell, nodes, places, strict=True)
    )
    starts = np.array([axis[0] for axis in nodes])
    for m, mm in enumerate(distance_mm):
        if phases[0, 0] and len(near):
            left = _near(reference, points, dose, dose_criterion[m], max_gamma, near, per_cell * mm, phases, at, within,
                         known, result[m])  # fmt: skip
            which = np.flatnonzero(np.isnan(result[m])) if left else points[:0]
        elif len(near) and regular:
            left = _each(reference, points, dose, starts, dose_criterion[m], max_gamma, near, per_cell, per_cell * mm,
                         (ref_z, ref_y, ref_x), known, result[m])  # fmt: skip
            which = np.flatnonzero(np.isnan(result[m])) if left else points[:0]
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
) -> int:
    """Gamma of one criterion where near samples settle it; ``cells`` [3]: cells per distance criterion.

    Returns the points that are not settled.
    """
    margin, table = _prepared(
        _Itself(near), cells.tobytes(), phases.tobytes(), at.tobytes(), within.tobytes(), dose.shape
    )
    spread = spread_nodes(dose, margin, phases[2, 1])
    settled: int = sum(_in_threads(
        visit_near,
        (reference, points, dose.shape, dose_criterion, max_gamma, phases, at, margin, spread, *table, known, result),
        len(points),
    ))  # fmt: skip
    return len(points) - settled


def _each(
    reference: FloatArray,
    points: IntArray,
    dose: FloatArray,
    starts: FloatArray,
    dose_criterion: FloatArray,
    max_gamma: float,
    near: FloatArray,
    per_cell: FloatArray,
    cells: FloatArray,
    places: tuple[FloatArray, FloatArray, FloatArray],
    known: FloatArray,
    result: Float32Array,
) -> int:
    """As `_near` for points that share no samples: ``starts`` [3]: the first nodes, ``places``: of the points, mm."""
    near = near[: np.searchsorted(near[:, 3], _EACH_REACH**2)]
    margin = _margin(near, cells)
    spread = spread_nodes(dose, margin, 1)
    offsets = np.ascontiguousarray((near[:, :3] * cells).T)
    where = tuple((at - start) * scale for at, start, scale in zip(places, starts, per_cell, strict=True))
    settled: int = sum(_in_threads(visit_each, (
        reference, points, dose.shape, dose_criterion, max_gamma, margin, spread, offsets, near[:, 3].copy(),
        shells_of(near), *where, known, result,
    ), len(points)))  # fmt: skip
    return len(points) - settled


def _margin(near: FloatArray, cells: FloatArray) -> IntArray:
    """Nodes that samples may touch beyond those of the dose: by their reach, for points up to a cell outside."""
    # one node more than samples reach on either side, and the upper node of a cell
    reach = math.sqrt(near[-1, 3])
    return np.array([int(reach * c) + 3 if c > 0.0 else 1 for c in cells])


@dataclass(frozen=True, eq=False)
class _Itself:
    """An array that is never changed, as a key: the same one is equal, and it lives as long as the key."""

    array: FloatArray

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.array is self.array

    def __hash__(self) -> int:
        return id(self.array)


@lru_cache(maxsize=4)
def _prepared(
    near: _Itself, cells: bytes, phases: bytes, at: bytes, within: bytes, shape: tuple[int, int, int]
) -> tuple[IntArray, tuple[Any, ...]]:
    """Margin and table of a dose of some shape; one comparison after the other is on the same grids.

    The arrays of `_near` come as bytes.
    """
    offsets, per_criterion = near.array, np.frombuffer(cells)
    margin = _margin(offsets, per_criterion)
    number = np.frombuffer(phases, np.int64).reshape(3, 2)
    before, extent = spread_shape(shape, margin, number[2, 1])
    steps = np.array([extent[1] * extent[2] * extent[3], extent[2] * extent[3], extent[3]])
    table = near_table(
        offsets,
        per_criterion,
        number,
        np.frombuffer(at, np.int64).reshape(3, -1),
        np.frombuffer(within).reshape(3, -1),
        before,
        steps,
    )
    return margin, table


def _in_threads(kernel: Callable[..., Any], arguments: tuple[Any, ...], points: int) -> list[Any]:
    """What a kernel's tasks give, which release the interpreter, in as many threads as kernels may use."""
    threads = get_num_threads() if points > _FEW else 1
    if threads == 1:
        return [kernel(0, 1, *arguments)]
    tasks = threads * _TURNS
    with ThreadPoolExecutor(threads) as pool:
        return [done.result() for done in [pool.submit(kernel, task, tasks, *arguments) for task in range(tasks)]]
