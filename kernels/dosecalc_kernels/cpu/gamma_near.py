"""Gamma of points whose dose is found again nearby: samples close to them, some neighbouring points at a time.

Where reference points and nodes are evenly spaced, and some number of steps of one is some number of steps of the other
(voxels of 2.5 and 2 mm: four and five), every fourth point lies at the same place within its cell: such points are of
one phase. A sample falls on the same place of a cell for all points of a phase, so its trilinear weights are its own;
and with the nodes of a row put in order of their remainder by five, the corners of these points are neighbours in
memory. So a vector of points is taken through the samples in order of their length, and each is done when samples are
longer than its gamma. Points that are not done after the last sample are left to the search
(`dosecalc_kernels.cpu.gamma_search`), which is made for large gammas.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

import numpy as np
from numba import njit

from dosecalc_kernels.cpu.gamma_each import shells_of
from dosecalc_kernels.cpu.gamma_lanes import LANES, visit_plane, visit_volume

#: share of a cell within which a sample counts as on the node
_ON_NODE = 1e-9
#: dose outside the nodes, finite because corners of no weight may lie there
_NOWHERE = 1e100
#: by how much reference points may differ from an even row, in cells
_EVEN = 1e-6
#: places within a cell along one axis for which tables are worth building
_MOST_PHASES = 8
#: points at a time
_CHUNK = 512
#: what single precision makes of the least gamma that fails
FAILS = np.nextafter(np.float32(1.0), np.float32(2.0))


@njit
def _axis_phases(nodes, ref, per_cell, at, within):
    """Number of phases of an axis and the nodes after which they repeat; 0 phases where there are none.

    ``at``, ``within`` [phases]: set to the node below the first point of each phase, and where in its cell it lies.
    """
    if len(nodes) == 1:
        for position in ref:
            if position != nodes[0]:
                return 0, 0
        at[0], within[0] = 0, 0.0
        return 1, 1
    first = (ref[0] - nodes[0]) * per_cell
    step = (ref[-1] - ref[0]) * per_cell / (len(ref) - 1) if len(ref) > 1 else 1.0
    if per_cell == 0.0 or step <= 0.0:
        return 0, 0
    for phases in range(1, _MOST_PHASES + 1):
        period = int(np.rint(step * phases))
        even = period > 0
        for i in range(len(ref)):
            if not even:
                break
            even = abs((ref[i] - nodes[0]) * per_cell - first - i * period / phases) <= _EVEN
        if even:
            for a in range(phases):
                position = first + a * period / phases
                at[a] = int(np.floor(position + _ON_NODE))
                within[a] = max(0.0, position - at[a])
            return phases, period
    return 0, 0


@njit(cache=True, error_model="numpy")
def alignment(node_z, node_y, node_x, per_cell, ref_z, ref_y, ref_x):
    """How the reference points lie among the nodes.

    Returns
    -------
    int64 [3, 2]
        Along each axis the number of phases and the nodes after which they repeat; no phases along any axis where
        points have none in common along some.
    int64 [3, phases], float64 [3, phases]
        Node below the first point of each phase, and where in its cell it lies.
    """
    phases = np.zeros((3, 2), np.int64)
    at, within = np.zeros((3, _MOST_PHASES), np.int64), np.zeros((3, _MOST_PHASES))
    for axis, (nodes, ref) in enumerate(((node_z, ref_z), (node_y, ref_y), (node_x, ref_x))):
        phases[axis, 0], phases[axis, 1] = _axis_phases(nodes, ref, per_cell[axis], at[axis], within[axis])
        if phases[axis, 0] == 0:
            return phases * 0, at, within
    return phases, at, within


@njit
def _cell(position):
    """Node at or below a position and the share of the way to the next; on a node the next does not count."""
    node = np.floor(position)
    share = position - node
    if share > 1.0 - _ON_NODE:
        return int(node) + 1, 0.0
    return int(node), 0.0 if share < _ON_NODE else share


@njit
def _places(offset, cells, within, node, share):
    """Nodes and shares of samples ``offset`` [n] along an axis, by phase, into ``node`` and ``share`` [phases, n]."""
    for a in range(len(within)):
        for s in range(len(offset)):
            node[a, s], share[a, s] = _cell(within[a] + offset[s] * cells)


@njit(cache=True)
def spread_shape(shape, margin, period):
    """Nodes before the first one along x, a multiple of the period, and the shape [z, y, remainder, quotient]."""
    before = (margin[2] + period - 1) // period * period
    columns = (before + shape[2] + margin[2]) // period + 1 + LANES
    return before, (shape[0] + 2 * margin[0], shape[1] + 2 * margin[1], period, columns)


@njit(cache=True, error_model="numpy")
def spread_nodes(dose, margin, period):
    """The dose with a margin, within which it is like nothing, rows in order of the remainder of x by the period.

    Returns float64 of the `spread_shape`.
    """
    nz, ny, nx = dose.shape
    before, shape = spread_shape(dose.shape, margin, period)
    out = np.full(shape, _NOWHERE)
    for k in range(nz):
        for j in range(ny):
            row = out[k + margin[0], j + margin[1]]
            for r in range(period):
                c = (before + r) // period
                for i in range(r, nx, period):
                    row[r, c] = dose[k, j, i]
                    c += 1
    return out


@njit(cache=True, error_model="numpy")
def near_table(near, cells, phases, at, within, before, steps):
    """What `visit_near` knows of the samples: where they lie among the nodes, and what these weigh.

    ``near`` [n, 4] as in the contract; ``cells`` [3]: cells per distance criterion, 0 along a lone node; ``steps`` [3]:
    of `spread_nodes`' result, from one node to the next along z and y and from one remainder to the next; the rest from
    `alignment` and `spread_nodes`. In a volume, rows weigh what is left of y and z; in a plane there is no z.
    """
    n = len(near)
    qz, qy, qx = phases[0, 0], phases[1, 0], phases[2, 0]
    node_z, share_z = np.empty((qz, n), np.int64), np.empty((qz, n))
    node_y, share_y = np.empty((qy, n), np.int64), np.empty((qy, n))
    node_x, share_x = np.empty((qx, n), np.int64), np.empty((qx, n))
    _places(near[:, 0], cells[0], within[0, :qz], node_z, share_z)
    _places(near[:, 1], cells[1], within[1, :qy], node_y, share_y)
    _places(near[:, 2], cells[2], within[2, :qx], node_x, share_x)
    nodes_x = np.empty((qx, 2, n), np.int64)
    for a in range(qx):
        # by node from the lowest: divisions would take longer than all else here
        lowest = node_x[a].min()
        place = np.empty(node_x[a].max() + 2 - lowest, np.int64)
        for i in range(len(place)):
            quotient = (at[2, a] + lowest + i + before) // phases[2, 1]
            place[i] = (at[2, a] + lowest + i + before - quotient * phases[2, 1]) * steps[2] + quotient
        for s in range(n):
            nodes_x[a, 0, s], nodes_x[a, 1, s] = place[node_x[a, s] - lowest], place[node_x[a, s] - lowest + 1]
    corner, weight = np.empty((qz, qy, n), np.int64), np.empty((qz, qy, n, 4))
    for c in range(qz):
        for b in range(qy):
            for s in range(n):
                z, y = share_z[c, s], share_y[b, s]
                corner[c, b, s] = node_z[c, s] * steps[0] + node_y[b, s] * steps[1]
                weight[c, b, s, 0], weight[c, b, s, 1] = (1.0 - z) * (1.0 - y), (1.0 - z) * y
                weight[c, b, s, 2], weight[c, b, s, 3] = z * (1.0 - y), z * y
    return near[:, 3].copy(), shells_of(near), nodes_x, share_x, corner, weight, share_y


@njit
def _first_of_row(point, points, width):
    """The first point at or after one that begins a row."""
    while 0 < point < len(points) and points[point] // width == points[point - 1] // width:
        point += 1
    return point


@njit
def _any_above(best, first, r2):
    more = False
    for lane in range(first, first + LANES):
        more |= best[lane] > r2
    return more


@njit
def _slots(width, phases, period, at, nodes, stride):
    """Place of each point of a row among those of its phase, [width]; the last place of all for points out of reach."""
    slots = np.full(width, phases * stride, np.int64)
    for a in range(phases):
        # the first and the last point of this phase that lie among the nodes
        first, last = max(0, -((at[a] + 1) // period)), min((width - 1 - a) // phases, (nodes - at[a]) // period)
        for m in range(first, last + 1):
            slots[m * phases + a] = a * stride + m
    return slots


@njit(cache=True, nogil=True, error_model="numpy")
def visit_near(
    task, tasks, reference, points, dose_shape, dose_criterion, max_gamma, phases, at, margin, spread,
    r2, shells, nodes_x, share_x, corner, weight, share_y, known, result,
):  # fmt: skip
    """Gamma of one criterion where samples that are near settle it, into ``result`` [n]; NaN where they do not.

    Parameters as in `dosecalc_kernels.contract.gamma_of_points`, those that have a row for each criterion without it,
    and

    task, tasks : int
        Which part of the points to do: every so many chunks of rows, so that hard regions are shared.
    phases, at
        From `alignment`.
    margin : int64 [3]
        Nodes about those of the dose in ``spread``.
    spread
        From `spread_nodes`.
    r2 to share_y
        From `near_table`.
    known : float64 [n]
        Set to the least squared gamma found.

    Returns
    -------
    int
        Points that are settled.
    """
    _, wy, wx = reference.shape
    nz, ny, nx = dose_shape
    volume = nz > 1
    qx, period = phases[2, 0], phases[2, 1]
    flat, doses = spread.ravel(), reference.ravel()
    row = spread.shape[2] * spread.shape[3]
    plane = spread.shape[1] * row
    last2, most = r2[-1], max_gamma * max_gamma
    stride = wx // qx + 1 + LANES
    slots = _slots(wx, qx, period, at[2], nx, stride)
    # a row's points by phase; what no point wants is done before the first sample
    own, per_dose, best = np.zeros(qx * stride + 1), np.zeros(qx * stride + 1), np.full(qx * stride + 1, -1.0)
    settled = 0
    for chunk in range(task * _CHUNK, len(points), tasks * _CHUNK):
        p, end = _first_of_row(chunk, points, wx), _first_of_row(min(chunk + _CHUNK, len(points)), points, wx)
        while p < end:
            line = points[p] // wx
            start, first_x = p, line * wx
            while p < end and points[p] < first_x + wx:
                slot, inverse = slots[points[p] - first_x], 1.0 / dose_criterion[p]
                per_dose[slot], own[slot], best[slot] = inverse, doses[points[p]] * inverse, np.inf
                p += 1
            az, ay = line // wy % phases[0, 0], line % wy % phases[1, 0]
            k = at[0, az] + line // wy // phases[0, 0] * phases[0, 1]
            j = at[1, ay] + line % wy // phases[1, 0] * phases[1, 1]
            # the table reaches so far
            base = (k + margin[0]) * plane + (j + margin[1]) * row
            for ax in range(qx if -1 <= k <= nz and -1 <= j <= ny else 0):
                m, last = ax * stride, (ax + 1) * stride - LANES
                while m < last:
                    if best[m] < 0.0:
                        m += 1
                        continue
                    for shell in range(len(shells) - 1):
                        first, after = shells[shell], shells[shell + 1]
                        if not _any_above(best, m, r2[first]):
                            break
                        if volume:
                            visit_volume(
                                flat, base + m - ax * stride, row, plane, m, per_dose, own, corner[az, ay],
                                weight[az, ay], nodes_x[ax, 0], nodes_x[ax, 1], share_x[ax], r2, first, after, best,
                            )  # fmt: skip
                        else:
                            visit_plane(
                                flat, base + m - ax * stride, row, m, per_dose, own, corner[0, ay], share_y[ay],
                                nodes_x[ax, 0], nodes_x[ax, 1], share_x[ax], r2, first, after, best,
                            )  # fmt: skip
                    m += LANES
            for q in range(start, p):
                slot = slots[points[q] - first_x]
                gamma2 = best[slot] if slot < qx * stride else np.inf
                best[slot], per_dose[slot], own[slot] = -1.0, 0.0, 0.0
                # nothing that is further away is better, or what is does not matter
                done = gamma2 <= last2 or (last2 >= most and gamma2 < _NOWHERE)
                found = np.sqrt(min(gamma2, most))
                known[q] = gamma2
                result[q] = (FAILS if 1.0 + 1e-12 < found < FAILS else found) if done else np.nan
                settled += done
    return settled
