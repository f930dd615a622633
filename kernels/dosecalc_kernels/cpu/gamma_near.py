"""Gamma of points whose dose is found again nearby: samples close to them, neighbouring points at a time.

Where the reference points lie on the evaluated grid, or all at the same place within its cells, an offset falls on the
same place of a cell for each of them: the trilinear weights are the offset's alone, and the corners of neighbouring
points are neighbours in memory. So a vector of points is taken through the offsets in order of their length, and each
is done when the offsets are longer than its gamma. Points that are not done after the last offset are left to the
search (`dosecalc_kernels.cpu.gamma_search`), which is made for large gammas.
"""

# mypy: disable-error-code="call-arg, var-annotated, no-untyped-def"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: points in a vector
LANES = 4
#: share of a cell within which a sample counts as on the node
_ON_NODE = 1e-9
#: dose outside the nodes, finite because corners of no weight may lie there
_NOWHERE = 1e100
#: by how much reference points may differ from an even row, in cells
_EVEN = 1e-6
#: points at a time
_CHUNK = 512


def _visitor(corners: int) -> Any:
    """A function for cells of 8 corners, or of 4 in a plane.

    It lowers ``best`` [LANES] to the least squared gamma over the offsets ``first`` to ``last``: ``dose`` [n] flat,
    ``base`` the index of the first point's node, ``plane`` and ``row`` the distances of neighbours along z and y;
    ``d``, ``per_dose`` [LANES]; ``shifts`` [offsets]: how far from the node the cell of an offset lies, ``weights``
    [offsets, corners] of its corners; ``r2`` [offsets]. It is written in LLVM's vectors because compilers do not keep
    the lanes in registers through the loop over offsets by themselves.
    """

    def visit(
        typingctx: Any, dose: Any, base: Any, plane: Any, row: Any, d: Any, per_dose: Any, shifts: Any, weights: Any,
        r2: Any, first: Any, last: Any, best: Any,
    ) -> Any:  # fmt: skip
        signature = types.void(dose, base, plane, row, d, per_dose, shifts, weights, r2, first, last, best)
        return signature, lambda context, builder, sig, args: _lower_visit(corners, context, builder, sig, args)

    return intrinsic(visit)


def _lower_visit(corners: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """LLVM code of `_visitor`."""
    i32, i64, double = ir.IntType(32), ir.IntType(64), ir.DoubleType()
    vector = ir.VectorType(double, LANES)
    nothing = ir.Constant(vector, ir.Undefined)

    def data(n: int) -> Any:
        return context.make_array(signature.args[n])(context, builder, args[n]).data

    def load(pointer: Any) -> Any:
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = 8
        return value

    def splat(pointer: Any) -> Any:
        one = builder.insert_element(nothing, builder.load(pointer), ir.Constant(i32, 0))
        return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(i32, LANES), None))

    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{LANES}f64"
    )
    origin, plane, row = builder.gep(data(0), [args[1]]), args[2], args[3]
    doses, per, shift, weight, length2, result = load(data(4)), load(data(5)), data(6), data(7), data(8), data(11)
    start, first, last = load(result), args[9], args[10]
    zero = ir.Constant(i64, 0)
    rows = [zero, row] if corners == 4 else [zero, row, plane, builder.add(plane, row)]
    aside = [n for r in rows for n in (r, builder.add(r, ir.Constant(i64, 1)))]
    before, loop, after = builder.block, builder.append_basic_block("offsets"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", first, last), loop, after)
    builder.position_at_end(loop)
    s, least = builder.phi(i64), builder.phi(vector)
    s.add_incoming(first, before)
    least.add_incoming(start, before)
    value = ir.Constant(vector, [0.0] * LANES)
    cell = builder.gep(origin, [builder.load(builder.gep(shift, [s]))])
    weights = builder.gep(weight, [builder.mul(s, ir.Constant(i64, corners))])
    for c in range(corners):
        share = splat(builder.gep(weights, [ir.Constant(i64, c)]))
        value = builder.call(multiply_add, [share, load(builder.gep(cell, [aside[c]])), value])
    e = builder.fmul(builder.fsub(value, doses), per)
    gamma2 = builder.call(multiply_add, [e, e, splat(builder.gep(length2, [s]))])
    lower = builder.select(builder.fcmp_ordered("<", gamma2, least), gamma2, least)
    following = builder.add(s, ir.Constant(i64, 1))
    s.add_incoming(following, loop)
    least.add_incoming(lower, loop)
    builder.cbranch(builder.icmp_signed("<", following, last), loop, after)
    builder.position_at_end(after)
    found = builder.phi(vector)
    found.add_incoming(start, before)
    found.add_incoming(lower, loop)
    builder.store(found, builder.bitcast(result, vector.as_pointer())).align = 8
    return context.get_dummy_value()


_visit_in_volume, _visit_in_plane = _visitor(8), _visitor(4)


@njit(cache=True, error_model="numpy")
def alignment(node_z, node_y, node_x, per_cell, ref_z, ref_y, ref_x):
    """Node below the first reference point, where in its cell the point lies, and whether that is of use for others.

    It is where nodes are even and reference points have their spacing and order along each axis.
    """
    at, within = np.zeros(3, np.int64), np.zeros(3)
    for axis, (nodes, ref) in enumerate(((node_z, ref_z), (node_y, ref_y), (node_x, ref_x))):
        if len(nodes) == 1:
            for position in ref:
                if position != nodes[0]:
                    return at, within, False
            continue
        if per_cell[axis] == 0.0:
            return at, within, False
        first = (ref[0] - nodes[0]) * per_cell[axis]
        for i, position in enumerate(ref):
            if abs((position - nodes[0]) * per_cell[axis] - first - i) > _EVEN:
                return at, within, False
        at[axis] = int(np.floor(first + _ON_NODE))
        within[axis] = max(0.0, first - at[axis])
    return at, within, True


@njit
def _shells(near):
    """Where offsets of another length begin, and where the last end."""
    starts = [0]
    for s in range(1, len(near)):
        if near[s, 3] > near[s - 1, 3] * (1.0 + 1e-9):
            starts.append(s)
    starts.append(len(near))
    return np.array(starts)


@njit
def _stencil(near, cells, within, n_corners):
    """Cell of each offset from the point's own, int64 [n, 3], and what its corners weigh, [n, corners].

    ``cells`` [3]: cells per distance criterion (0 along a lone node), ``within`` [3]: where points lie in their cell.
    """
    n = len(near)
    cell, weights = np.zeros((n, 3), np.int64), np.ones((n, n_corners))
    for s in range(n):
        for axis in range(3):
            position = within[axis] + near[s, axis] * cells[axis]
            node = np.floor(position)
            share = position - node
            if share > 1.0 - _ON_NODE:
                node, share = node + 1.0, 0.0
            elif share < _ON_NODE:
                share = 0.0  # or the next node would count, which may lie outside
            cell[s, axis] = int(node)
            for corner in range(n_corners):
                weights[s, corner] *= share if corner >> (2 - axis) & 1 else 1.0 - share
    return cell, weights


@njit
def _copy_block(dose, k0, j0, i0, margin, block):
    """Copy the nodes about a vector of points into ``block``; where there are none, a dose that is like nothing."""
    nz, ny, nx = dose.shape
    for c in range(block.shape[0]):
        k = k0 + c - margin[0]
        for b in range(block.shape[1]):
            j = j0 + b - margin[1]
            there = 0 <= k < nz and 0 <= j < ny
            for a in range(block.shape[2]):
                i = i0 + a - margin[2]
                block[c, b, a] = dose[k, j, i] if there and 0 <= i < nx else _NOWHERE


@njit
def _visit_points(
    first, end, reference, points, dose, at, dose_criterion, most, r2, shell_start, margin,
    shifts, block_shifts, weights, block, work, known, result,
):  # fmt: skip
    """The points ``first`` to ``end``, in vectors of those that follow each other in a row."""
    _, wy, wx = reference.shape
    nz, ny, nx = dose.shape
    d, per_dose, best = work[0], work[1], work[2]
    flat, flat_block, doses = dose.ravel(), block.ravel(), reference.ravel()
    # the neighbour of a lone row, which has no weight, must not lie outside the array
    row_step, block_row = nx if ny > 1 else 0, block.shape[2] if ny > 1 else 0
    block_plane = block.shape[1] * block.shape[2]
    middle = margin[0] * block_plane + margin[1] * block_row + margin[2]
    last2 = r2[-1]
    p, row_start, row_end = first, 0, 0
    k0, j0 = 0, 0
    while p < end:
        point = points[p]
        if point >= row_end:
            row_start = point - point % wx
            row_end = row_start + wx
            k0, j0 = at[0] + point // (wx * wy), at[1] + point // wx % wy
        i0 = at[2] + point - row_start
        n = min(LANES, row_end - point, end - p)
        if points[p + n - 1] != point + n - 1:
            n = 1
            while points[p + n] == point + n:
                n += 1
        for lane in range(n):
            d[lane] = doses[point + lane]
            per_dose[lane] = 1.0 / dose_criterion[p + lane]
            best[lane] = np.inf
        for lane in range(n, LANES):
            d[lane], per_dose[lane], best[lane] = 0.0, 0.0, -1.0
        inner = margin[0] <= k0 < nz - margin[0] and margin[1] <= j0 < ny - margin[1]
        inner = inner and margin[2] <= i0 < nx - margin[2] - LANES
        values, base, plane, row, to_cell = flat, (k0 * ny + j0) * nx + i0, ny * nx, row_step, shifts
        if not inner:
            _copy_block(dose, k0, j0, i0, margin, block)
            values, base, plane, row, to_cell = flat_block, middle, block_plane, block_row, block_shifts
        for shell in range(len(shell_start) - 1):
            start, stop = shell_start[shell], shell_start[shell + 1]
            more = False
            for lane in range(LANES):
                more |= best[lane] > r2[start]
            if not more:
                break
            if weights.shape[1] == 8:
                _visit_in_volume(values, base, plane, row, d, per_dose, to_cell, weights, r2, start, stop, best)
            else:
                _visit_in_plane(values, base, plane, row, d, per_dose, to_cell, weights, r2, start, stop, best)
        for lane in range(n):
            known[p + lane] = best[lane]
            # nothing that is further away is better, or what is does not matter
            settled = best[lane] <= last2 or (last2 >= most and best[lane] < _NOWHERE)
            result[p + lane] = np.sqrt(min(best[lane], most)) if settled else np.nan
        p += n


@njit(cache=True, error_model="numpy")
def near_table(near, cells, within, shape):
    """What `visit_near` knows of the offsets: where they lie in the cells, and what it takes to visit them.

    ``near`` [n, 4] as in the contract; ``cells`` [3]: cells per distance criterion, 0 along a lone node; ``within``
    from `alignment`; ``shape`` of the evaluated dose. Returns their squared lengths, where shells start, the margin
    (nodes) that offsets reach, shifts in the dose and in a block, and weights of corners.
    """
    r2 = near[:, 3].copy()
    margin = np.zeros(3, np.int64)
    for axis in range(3):
        if cells[axis] > 0.0:
            margin[axis] = int(np.sqrt(r2[-1]) * cells[axis]) + 2
    row = 2 * margin[2] + 1 + LANES
    to_cell, weights = _stencil(near, cells, within, 8 if shape[0] > 1 else 4)
    shifts = (to_cell[:, 0] * shape[1] + to_cell[:, 1]) * shape[2] + to_cell[:, 2]
    block_shifts = (to_cell[:, 0] * (2 * margin[1] + 1) + to_cell[:, 1]) * row + to_cell[:, 2]
    return r2, _shells(near), margin, shifts, block_shifts, weights


@njit(cache=True, nogil=True, error_model="numpy")
def visit_near(
    task, tasks, reference, points, dose, at, dose_criterion, max_gamma, r2, shell_start, margin, shifts, block_shifts,
    weights, known, result,
):  # fmt: skip
    """Gamma of one criterion where offsets that are near settle it, into ``result`` [n]; NaN where they do not.

    Parameters as in `dosecalc_kernels.contract.gamma_of_points`, those that have a row for each criterion without it,
    and

    task, tasks : int
        Which part of the points to do: every so many chunks, so that hard regions are shared.
    at : int64 [3]
        From `alignment`.
    r2, shell_start, margin, shifts, block_shifts, weights
        From `near_table`.
    known : float64 [n]
        Set to the least squared gamma found.
    """
    work = np.empty((3, LANES))
    block = np.empty((2 * margin[0] + 1, 2 * margin[1] + 1, 2 * margin[2] + 1 + LANES))
    for first in range(task * _CHUNK, len(points), tasks * _CHUNK):
        _visit_points(
            first, min(len(points), first + _CHUNK), reference, points, dose, at, dose_criterion,
            max_gamma * max_gamma, r2, shell_start, margin, shifts, block_shifts, weights, block, work, known, result,
        )  # fmt: skip
