"""Gamma of any point on any grid: the search that finds large gammas. Why it is fast: ``docs/gamma.md``.

Two searches follow each other. The first finds the minimum over all points of the evaluated distribution, which is
trilinear in each cell between neighbouring nodes: cells are visited in rings of rising distance, a cell that cannot
hold anything better (its distance and the range of its corners say so) is passed over, and within the others the
minimum of the linearised problem is taken until it stands still. The second, when offsets are given, looks only at
these; the result of the first bounds it from below and tells where to look.
All searching happens in units of the criteria: lengths over the distance criterion, doses over the dose criterion.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: reference points at a time
_CHUNK = 64
#: steps of the minimisation in one cell, in which the dose is nearly linear
_STEPS = 40
#: mixed difference of a cell's corners, in dose criteria, up to which its dose counts as linear
_TWIST = 0.5
#: cells that are more twisted are divided into parts that are less, at most as many along each axis
_MOST_PARTS = 8
#: a squared gamma that is no better than this share below the last one ends the minimisation in a cell
_STILL = 1e-7
#: by how much a point may lie outside the nodes and count as on the outermost one, in cells
_SLACK = 1e-9
#: cells whose least gamma comes within this of the least of all are looked at when only given offsets count
_MARGIN = 0.1
#: as many of them are remembered
_MOST_OTHERS = 48
#: a gamma that is as little above the least possible ends the search
_GOOD_ENOUGH = 1e-6
#: a gamma that is as small at the point itself is the answer
_SAME = 1e-6
#: a squared dose difference up to which the nearest offsets are tried one after the other
_TRY_NEAR2 = 0.41**2
#: squared distance from the least gamma of a cell within which offsets are tried first
_NEAR2 = 0.12**2
#: squared gamma rises at least so many times as fast as the squared distance from the least one of a cell that is not
#: divided: 1 where dose is linear, less where it is twisted
_CONVEX = 0.6
#: what single precision makes of the least gamma that fails
FAILS = np.nextafter(np.float32(1.0), np.float32(2.0))


@njit
def _cell_of(position, nodes, per_mm):
    """Index of the cell that holds a position, or of the outermost one; ``per_mm`` 0: the nodes are not regular."""
    last = len(nodes) - 2
    if last <= 0:
        return 0
    if per_mm > 0.0:
        cell = int((position - nodes[0]) * per_mm) if position > nodes[0] else 0
    else:
        cell = np.searchsorted(nodes, position) - 1
    return min(max(cell, 0), last)


@njit
def _apart(low, high):
    """Distance of 0 from the interval."""
    return max(0.0, max(low, -high))


@njit
def _clip(value, low, high):
    return min(max(value, low), high)


@njit
def _dose_and_slopes(v, c, b, a):
    """Trilinear dose in a cell and its slopes along z, y, x per width of the cell.

    ``v`` [8]: the corners' doses, z, y, x being the binary digits of the index; c, b, a: fractions along z, y, x.
    """
    v00, v01 = v[0] + (v[1] - v[0]) * a, v[2] + (v[3] - v[2]) * a
    v10, v11 = v[4] + (v[5] - v[4]) * a, v[6] + (v[7] - v[6]) * a
    v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
    along_x0 = (v[1] - v[0]) * (1.0 - b) + (v[3] - v[2]) * b
    along_x1 = (v[5] - v[4]) * (1.0 - b) + (v[7] - v[6]) * b
    slope_y = (v01 - v00) * (1.0 - c) + (v11 - v10) * c
    return v0 + (v1 - v0) * c, v1 - v0, slope_y, along_x0 * (1.0 - c) + along_x1 * c


@njit
def _optimum(rest, gz, gy, gx, z0, z1, y0, y1, x0, x1):
    """Least |y|^2 + (rest + g.y)^2 over a box: it is y = clip(-t g) with t = rest + g.y, one equation in t."""
    t = rest / (1.0 + gz * gz + gy * gy + gx * gx)
    z, y, x = _clip(-t * gz, z0, z1), _clip(-t * gy, y0, y1), _clip(-t * gx, x0, x1)
    low, high = -np.inf, np.inf
    for _ in range(20):
        slope, fixed = 1.0, rest
        if z == -t * gz:
            slope += gz * gz
        else:
            fixed += gz * z
        if y == -t * gy:
            slope += gy * gy
        else:
            fixed += gy * y
        if x == -t * gx:
            slope += gx * gx
        else:
            fixed += gx * x
        new = fixed / slope
        if abs(new - t) <= 1e-12 * (abs(t) + 1e-12):
            break
        if new > t:
            low = t
        else:
            high = t
        t = new if low < new < high else 0.5 * (low + high)
        z, y, x = _clip(-t * gz, z0, z1), _clip(-t * gy, y0, y1), _clip(-t * gx, x0, x1)
    return z, y, x


@njit(error_model="numpy")
def _descend(v, box, part, d, per_dose, found):
    """Least squared gamma in a part of a cell, from its point next to the reference point on; ``found`` [3]: where.

    ``v`` [8]: the cell's corners; ``box``, ``part`` [3, 2]: bounds (z, y, x) of the cell and of the part. A step solves
    the problem that is linearised about the best point; where that goes too far, half the way is tried.
    """
    z0, z1, y0, y1, x0, x1 = part[0, 0], part[0, 1], part[1, 0], part[1, 1], part[2, 0], part[2, 1]
    per_z = 1.0 / (box[0, 1] - box[0, 0]) if box[0, 1] > box[0, 0] else 0.0
    per_y = 1.0 / (box[1, 1] - box[1, 0]) if box[1, 1] > box[1, 0] else 0.0
    per_x = 1.0 / (box[2, 1] - box[2, 0]) if box[2, 1] > box[2, 0] else 0.0
    z, y, x = _clip(0.0, z0, z1), _clip(0.0, y0, y1), _clip(0.0, x0, x1)
    least = np.inf
    for _ in range(_STEPS):
        value, gz, gy, gx = _dose_and_slopes(
            v, (z - box[0, 0]) * per_z, (y - box[1, 0]) * per_y, (x - box[2, 0]) * per_x
        )
        e, gz, gy, gx = (value - d) * per_dose, gz * per_z * per_dose, gy * per_y * per_dose, gx * per_x * per_dose
        gamma2 = z * z + y * y + x * x + e * e
        if gamma2 < least * (1.0 - _STILL):
            least = gamma2
            found[0], found[1], found[2] = z, y, x
            z, y, x = _optimum(e - gz * z - gy * y - gx * x, gz, gy, gx, z0, z1, y0, y1, x0, x1)
        elif gamma2 > least * (1.0 + _STILL):
            z, y, x = 0.5 * (z + found[0]), 0.5 * (y + found[1]), 0.5 * (x + found[2])
        else:
            break
    return least


@njit
def _parts(v, per_dose):
    """Into how many parts along each axis to divide a cell, so that dose is nearly linear in each."""
    twist = abs(v[0] - v[1] - v[2] + v[3]) + abs(v[4] - v[5] - v[6] + v[7])
    twist = max(twist, abs(v[0] - v[1] - v[4] + v[5]) + abs(v[2] - v[3] - v[6] + v[7]))
    twist = max(twist, abs(v[0] - v[2] - v[4] + v[6]) + abs(v[1] - v[3] - v[5] + v[7]))
    twist *= per_dose
    return 1 if twist <= _TWIST else min(_MOST_PARTS, int(np.ceil(np.sqrt(twist / _TWIST))))


@njit(error_model="numpy")
def _least_in_parts(v, n, box, part, d, per_dose, found, trial, most):
    """Least squared gamma in a cell that is divided into ``n`` parts along each axis, or ``most``."""
    best = most
    nz = n if box[0, 1] > box[0, 0] else 1
    ny = n if box[1, 1] > box[1, 0] else 1
    nx = n if box[2, 1] > box[2, 0] else 1
    for k in range(nz):
        part[0, 0] = box[0, 0] + (box[0, 1] - box[0, 0]) * k / nz
        part[0, 1] = box[0, 0] + (box[0, 1] - box[0, 0]) * (k + 1) / nz
        for j in range(ny):
            part[1, 0] = box[1, 0] + (box[1, 1] - box[1, 0]) * j / ny
            part[1, 1] = box[1, 0] + (box[1, 1] - box[1, 0]) * (j + 1) / ny
            for i in range(nx):
                part[2, 0] = box[2, 0] + (box[2, 1] - box[2, 0]) * i / nx
                part[2, 1] = box[2, 0] + (box[2, 1] - box[2, 0]) * (i + 1) / nx
                low, high = np.inf, -np.inf  # a trilinear dose has its extremes in corners
                for corner in range(8):
                    c, b, a = (k + corner // 4) / nz, (j + corner // 2 % 2) / ny, (i + corner % 2) / nx
                    value, _, _, _ = _dose_and_slopes(v, c, b, a)
                    low, high = min(low, value), max(high, value)
                bound = (max(0.0, max(low - d, d - high)) * per_dose) ** 2 + _apart(part[0, 0], part[0, 1]) ** 2
                bound += _apart(part[1, 0], part[1, 1]) ** 2 + _apart(part[2, 0], part[2, 1]) ** 2
                if bound >= best:
                    continue
                value = _descend(v, box, part, d, per_dose, trial)
                if value < best:
                    best = value
                    found[0], found[1], found[2] = trial[0], trial[1], trial[2]
    return best


@njit
def _ring_distance(position, nodes, cell, ring, per_mm):
    """Distance along one axis to the cells ``ring`` away on either side; infinite where there are none."""
    least = np.inf
    if cell - ring >= 0:
        least = (position - nodes[cell - ring + 1]) * per_mm
    if cell + ring <= len(nodes) - 2:
        least = min(least, (nodes[cell + ring] - position) * per_mm)
    return least


@njit
def _least(dose, low, high, nz, ny, nx, kji, pz, py, px, d, per_dose, per_mm, margin, cap, work, others, cells):
    """Least squared gamma over all cells, or ``cap`` when nothing is below it.

    ``others`` [n, 4] takes the least squared gamma and its point of every cell that comes within ``margin`` of the
    least gamma and below ``cap`` (of a cell that is divided: what bounds it), ``cells`` [n, 4] the cell and its number
    of parts. Returns the least and how many there are, which may be more than fit.
    """
    v, trial, trial_part, box, part = work[0], work[1], work[2], work[3:6], work[6:9]
    mz, my, mx = low.shape
    k0, j0, i0 = kji[0], kji[1], kji[2]
    best, limit, n_others = cap, cap, 0
    last = max(max(k0, mz - 1 - k0), max(max(j0, my - 1 - j0), max(i0, mx - 1 - i0)))
    for ring in range(last + 1):
        if ring > 0:
            reach = _ring_distance(pz, nz, k0, ring, per_mm)
            reach = min(reach, _ring_distance(py, ny, j0, ring, per_mm))
            reach = min(reach, _ring_distance(px, nx, i0, ring, per_mm))
            if reach > 0.0 and reach * reach >= limit:
                break
        for k in range(max(0, k0 - ring), min(mz, k0 + ring + 1)):
            z0 = (nz[k] - pz) * per_mm
            z1 = (nz[min(k + 1, len(nz) - 1)] - pz) * per_mm
            dz = _apart(z0, z1)
            if dz * dz >= limit:
                continue
            face_z = abs(k - k0) == ring
            for j in range(max(0, j0 - ring), min(my, j0 + ring + 1)):
                y0 = (ny[j] - py) * per_mm
                y1 = (ny[min(j + 1, len(ny) - 1)] - py) * per_mm
                dy = _apart(y0, y1)
                dzy2 = dz * dz + dy * dy
                if dzy2 >= limit:
                    continue
                stride = 1 if face_z or abs(j - j0) == ring else 2 * ring
                for i in range(i0 - ring, i0 + ring + 1, stride):
                    if i < 0 or i >= mx:
                        continue
                    gap = max(0.0, max(low[k, j, i] - d, d - high[k, j, i])) * per_dose
                    bound = dzy2 + gap * gap
                    if bound >= limit:
                        continue
                    x0 = (nx[i] - px) * per_mm
                    x1 = (nx[min(i + 1, len(nx) - 1)] - px) * per_mm
                    dx = _apart(x0, x1)
                    if bound + dx * dx >= limit:
                        continue
                    box[0, 0], box[0, 1], box[1, 0], box[1, 1], box[2, 0], box[2, 1] = z0, z1, y0, y1, x0, x1
                    k1, j1, i1 = (
                        min(k + 1, dose.shape[0] - 1),
                        min(j + 1, dose.shape[1] - 1),
                        min(i + 1, dose.shape[2] - 1),
                    )
                    v[0], v[1], v[2], v[3] = dose[k, j, i], dose[k, j, i1], dose[k, j1, i], dose[k, j1, i1]
                    v[4], v[5], v[6], v[7] = dose[k1, j, i], dose[k1, j, i1], dose[k1, j1, i], dose[k1, j1, i1]
                    n = _parts(v, per_dose)
                    if n == 1:
                        value = _descend(v, box, box, d, per_dose, trial)
                    else:
                        value = _least_in_parts(v, n, box, part, d, per_dose, trial, trial_part, limit)
                    if value < limit or (n > 1 and margin > 0.0):
                        if n_others < len(others):
                            # in a twisted cell samples may be better where the descent did not come
                            others[n_others, 0] = value if n == 1 else bound + dx * dx
                            if value >= limit:
                                trial[0], trial[1], trial[2] = (
                                    _clip(0.0, z0, z1),
                                    _clip(0.0, y0, y1),
                                    _clip(0.0, x0, x1),
                                )
                            others[n_others, 1], others[n_others, 2], others[n_others, 3] = trial[0], trial[1], trial[2]
                            cells[n_others, 0], cells[n_others, 1], cells[n_others, 2], cells[n_others, 3] = k, j, i, n
                        n_others += 1
                    if value < best:
                        best = value
                        limit = min(cap, (np.sqrt(best) + margin) ** 2)
    return best, n_others


@njit
def _outside(p, nodes, per_mm):
    """Distance of a position from the extent of the nodes."""
    return _apart((nodes[0] - p) * per_mm, (nodes[-1] - p) * per_mm)


@njit
def _locate(position, nodes, per_mm):
    """Cell of a position and where in it, 0 to 1; NaN outside the nodes."""
    last = len(nodes) - 2
    if last < 0:
        return 0, 0.0 if abs(position - nodes[0]) <= _SLACK else np.nan
    if per_mm > 0.0:
        share = (position - nodes[0]) * per_mm
        cell = min(max(int(share), 0), last)
        share -= cell
    else:
        cell = min(max(np.searchsorted(nodes, position) - 1, 0), last)
        share = (position - nodes[cell]) / (nodes[cell + 1] - nodes[cell])
    return cell, share if -_SLACK <= share <= 1.0 + _SLACK else np.nan


@njit
def _dose_at(dose, z, y, x, node_z, node_y, node_x, per_cell):
    """Trilinear dose at a position; NaN outside the nodes."""
    k, c = _locate(z, node_z, per_cell[0])
    j, b = _locate(y, node_y, per_cell[1])
    i, a = _locate(x, node_x, per_cell[2])
    k1, j1, i1 = min(k + 1, dose.shape[0] - 1), min(j + 1, dose.shape[1] - 1), min(i + 1, dose.shape[2] - 1)
    v00 = dose[k, j, i] + (dose[k, j, i1] - dose[k, j, i]) * a
    v01 = dose[k, j1, i] + (dose[k, j1, i1] - dose[k, j1, i]) * a
    v10 = dose[k1, j, i] + (dose[k1, j, i1] - dose[k1, j, i]) * a
    v11 = dose[k1, j1, i] + (dose[k1, j1, i1] - dose[k1, j1, i]) * a
    v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
    return v0 + (v1 - v0) * c


@njit
def _block(position, edge, n):
    """Index along one axis of the block at a position, or of the outermost one."""
    return min(max(int(np.rint(position / edge)) + n // 2, 0), n - 1)


@njit
def _least_about(
    dose, kji, node_z, node_y, node_x, pz, py, px, d, per_dose, per_mm,
    offsets, block_start, blocks, block_at, block_edge, near, floor, within2, best,
):  # fmt: skip
    """Least squared gamma over the offsets that lie in a cell and within a distance of ``near`` [3]; or ``best``."""
    k, j, i = kji[0], kji[1], kji[2]
    k1, j1, i1 = min(k + 1, dose.shape[0] - 1), min(j + 1, dose.shape[1] - 1), min(i + 1, dose.shape[2] - 1)
    v000, v001, v010, v011 = dose[k, j, i], dose[k, j, i1], dose[k, j1, i], dose[k, j1, i1]
    v100, v101, v110, v111 = dose[k1, j, i], dose[k1, j, i1], dose[k1, j1, i], dose[k1, j1, i1]
    z0, y0, x0 = (node_z[k] - pz) * per_mm, (node_y[j] - py) * per_mm, (node_x[i] - px) * per_mm
    z1, y1, x1 = (node_z[k1] - pz) * per_mm, (node_y[j1] - py) * per_mm, (node_x[i1] - px) * per_mm
    per_z = 1.0 / (z1 - z0) if z1 > z0 else 0.0
    per_y = 1.0 / (y1 - y0) if y1 > y0 else 0.0
    per_x = 1.0 / (x1 - x0) if x1 > x0 else 0.0
    within = np.sqrt(within2)
    low_z = _block(max(near[0] - within, z0), block_edge, block_at.shape[0])
    low_y = _block(max(near[1] - within, y0), block_edge, block_at.shape[1])
    low_x = _block(max(near[2] - within, x0), block_edge, block_at.shape[2])
    high_z = _block(min(near[0] + within, z1), block_edge, block_at.shape[0])
    high_y = _block(min(near[1] + within, y1), block_edge, block_at.shape[1])
    high_x = _block(min(near[2] + within, x1), block_edge, block_at.shape[2])
    z0, y0, x0, z1, y1, x1 = z0 - _SLACK, y0 - _SLACK, x0 - _SLACK, z1 + _SLACK, y1 + _SLACK, x1 + _SLACK
    for bz in range(low_z, high_z + 1):
        for by in range(low_y, high_y + 1):
            for bx in range(low_x, high_x + 1):
                block = block_at[bz, by, bx]
                if block < 0 or blocks[block, 6] >= best:
                    continue
                away2 = max(0.0, abs(near[0] - blocks[block, 0]) - blocks[block, 3]) ** 2
                away2 += max(0.0, abs(near[1] - blocks[block, 1]) - blocks[block, 4]) ** 2
                away2 += max(0.0, abs(near[2] - blocks[block, 2]) - blocks[block, 5]) ** 2
                if floor + _CONVEX * away2 >= best:
                    continue
                for s in range(block_start[block], block_start[block + 1]):
                    z, y, x, r2 = offsets[s, 0], offsets[s, 1], offsets[s, 2], offsets[s, 3]
                    if r2 >= best:
                        break
                    if z < z0 or z > z1 or y < y0 or y > y1 or x < x0 or x > x1:
                        continue
                    away2 = (z - near[0]) ** 2 + (y - near[1]) ** 2 + (x - near[2]) ** 2
                    if floor + _CONVEX * away2 >= best:
                        continue
                    c, b, a = (z - z0) * per_z, (y - y0) * per_y, (x - x0) * per_x
                    v00, v01 = v000 + (v001 - v000) * a, v010 + (v011 - v010) * a
                    v10, v11 = v100 + (v101 - v100) * a, v110 + (v111 - v110) * a
                    v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
                    e = (v0 + (v1 - v0) * c - d) * per_dose
                    best = min(best, r2 + e * e)
    return best


@njit(error_model="numpy")
def _least_anywhere(
    dose, low, high, node_z, node_y, node_x, per_cell, pz, py, px, d, per_dose, mm, offsets, block_start, blocks, best
):
    """Least squared gamma over all offsets, or ``best``: the slow way, blocks in order of their distance."""
    for b in range(len(blocks)):
        if blocks[b, 6] >= best:
            break
        k0 = _cell_of(pz + (blocks[b, 0] - blocks[b, 3]) * mm, node_z, per_cell[0])
        k1 = _cell_of(pz + (blocks[b, 0] + blocks[b, 3]) * mm, node_z, per_cell[0])
        j0 = _cell_of(py + (blocks[b, 1] - blocks[b, 4]) * mm, node_y, per_cell[1])
        j1 = _cell_of(py + (blocks[b, 1] + blocks[b, 4]) * mm, node_y, per_cell[1])
        i0 = _cell_of(px + (blocks[b, 2] - blocks[b, 5]) * mm, node_x, per_cell[2])
        i1 = _cell_of(px + (blocks[b, 2] + blocks[b, 5]) * mm, node_x, per_cell[2])
        gap = np.inf
        for k in range(k0, k1 + 1):
            for j in range(j0, j1 + 1):
                for i in range(i0, i1 + 1):
                    gap = min(gap, max(0.0, max(low[k, j, i] - d, d - high[k, j, i])) * per_dose)
        if blocks[b, 6] + gap * gap >= best:
            continue
        for s in range(block_start[b], block_start[b + 1]):
            z, y, x, r2 = offsets[s, 0], offsets[s, 1], offsets[s, 2], offsets[s, 3]
            if r2 >= best:
                break
            value = _dose_at(dose, pz + z * mm, py + y * mm, px + x * mm, node_z, node_y, node_x, per_cell)
            e = (value - d) * per_dose
            if r2 + e * e < best:  # not when it is NaN, outside
                best = r2 + e * e
    return best


@njit
def _inner(cell, n, step):
    """Whether a step of so many cells from a cell stays between the nodes of an axis."""
    return n == 1 or (cell >= 1 and cell <= n - 3 and step < 1.0)


@njit
def _least_of_near(dose, node_z, node_y, node_x, per_cell, kji, pz, py, px, d, per_dose, mm, near, best):
    """Least squared gamma over offsets that rise in length, or ``best``."""
    mz, my, mx = mm * per_cell[0], mm * per_cell[1], mm * per_cell[2]
    nz, ny, nx = len(node_z), len(node_y), len(node_x)
    reach = np.sqrt(near[-1, 3])
    regular = (nz == 1 or mz > 0.0) and (ny == 1 or my > 0.0) and (nx == 1 or mx > 0.0)
    if regular and _inner(kji[0], nz, reach * mz) and _inner(kji[1], ny, reach * my) and _inner(kji[2], nx, reach * mx):
        # no bounds to check; an offset along a lone node is zero
        z0, y0, x0 = (pz - node_z[0]) * per_cell[0], (py - node_y[0]) * per_cell[1], (px - node_x[0]) * per_cell[2]
        uz, uy, ux = min(1, nz - 1), min(1, ny - 1), min(1, nx - 1)
        for s in range(len(near)):
            r2 = near[s, 3]
            if r2 >= best:
                break
            z, y, x = z0 + near[s, 0] * mz, y0 + near[s, 1] * my, x0 + near[s, 2] * mx
            k, j, i = int(z), int(y), int(x)
            c, b, a = z - k, y - j, x - i
            k1, j1, i1 = k + uz, j + uy, i + ux
            v00 = dose[k, j, i] + (dose[k, j, i1] - dose[k, j, i]) * a
            v01 = dose[k, j1, i] + (dose[k, j1, i1] - dose[k, j1, i]) * a
            v10 = dose[k1, j, i] + (dose[k1, j, i1] - dose[k1, j, i]) * a
            v11 = dose[k1, j1, i] + (dose[k1, j1, i1] - dose[k1, j1, i]) * a
            v0, v1 = v00 + (v01 - v00) * b, v10 + (v11 - v10) * b
            e = (v0 + (v1 - v0) * c - d) * per_dose
            best = min(best, r2 + e * e)
        return best
    for s in range(len(near)):
        r2 = near[s, 3]
        if r2 >= best:
            break
        z, y, x = pz + near[s, 0] * mm, py + near[s, 1] * mm, px + near[s, 2] * mm
        e = (_dose_at(dose, z, y, x, node_z, node_y, node_x, per_cell) - d) * per_dose
        if r2 + e * e < best:  # not when it is NaN, outside
            best = r2 + e * e
    return best


@njit(error_model="numpy")
def _least_of_offsets(
    dose, low, high, node_z, node_y, node_x, per_cell, pz, py, px, d, per_dose, mm,
    offsets, block_start, blocks, block_at, block_edge, least, others, cells, n_others, best,
):  # fmt: skip
    """Least squared gamma over the offsets, or ``best``, from the least ones of the cells."""
    if best <= (np.sqrt(least) + _GOOD_ENOUGH) ** 2:
        return best
    if n_others <= len(others):
        for c in range(n_others - 1, -1, -1):  # the last ones found are the least
            if others[c, 0] < best:
                # squared gamma rises at least as the squared distance from the cell's least one while dose is linear
                floor = others[c, 0] if cells[c, 3] == 1 else -np.inf
                for within2 in (_NEAR2, (best - floor) / _CONVEX):
                    best = _least_about(
                        dose, cells[c], node_z, node_y, node_x, pz, py, px, d, per_dose, 1.0 / mm,
                        offsets, block_start, blocks, block_at, block_edge, others[c, 1:], floor, within2, best,
                    )  # fmt: skip
                    if (best - floor) / _CONVEX <= within2:
                        break
        if best <= (np.sqrt(least) + _MARGIN) ** 2:
            return best
    return _least_anywhere(
        dose,
        low,
        high,
        node_z,
        node_y,
        node_x,
        per_cell,
        pz,
        py,
        px,
        d,
        per_dose,
        mm,
        offsets,
        block_start,
        blocks,
        best,
    )


@njit(error_model="numpy")
def _gamma2(
    dose, low, high, node_z, node_y, node_x, per_cell, pz, py, px, value, d, per_dose, mm, most, known, margin,
    near, offsets, block_start, blocks, block_at, block_edge, kji, work, others, cells,
):  # fmt: skip
    """Squared gamma of one point, at most ``most``.

    ``value`` is the evaluated dose there, NaN outside the nodes; ``known`` a squared gamma that some offset has.
    """
    e = (value - d) * per_dose
    if len(near) and e * e <= _TRY_NEAR2:
        return _least_of_near(dose, node_z, node_y, node_x, per_cell, kji, pz, py, px, d, per_dose, mm, near, e * e)
    per_mm = 1.0 / mm
    if np.isnan(value):
        away2 = _outside(pz, node_z, per_mm) ** 2
        away2 += _outside(py, node_y, per_mm) ** 2 + _outside(px, node_x, per_mm) ** 2
        if away2 > most:
            return np.nan
    cap = min(known, e * e if e * e < most else most)
    least, n_others = _least(
        dose, low, high, node_z, node_y, node_x, kji, pz, py, px, d, per_dose, per_mm,
        margin, cap, work, others, cells,
    )  # fmt: skip
    if len(offsets) == 0 or least >= cap:
        return least
    return _least_of_offsets(
        dose, low, high, node_z, node_y, node_x, per_cell, pz, py, px, d, per_dose, mm,
        offsets, block_start, blocks, block_at, block_edge, least, others, cells, n_others, cap,
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def search(
    task, tasks, reference, points, which, known, dose, low, high, node_z, node_y, node_x, per_cell,
    ref_z, ref_y, ref_x, dose_criterion, distance_mm, max_gamma, near, offsets, block_start, blocks, block_at,
    block_edge, result,
):  # fmt: skip
    """Gamma of one criterion at some of the points, into ``result`` [n].

    Parameters as in `dosecalc_kernels.contract.gamma_of_points`, those that have a row for each criterion without it,
    and

    task, tasks : int
        Which part of the points to do: every so many chunks, so that hard regions are shared.
    which : int64 [w]
        Indices into ``points``.
    known : float64 [n]
        A squared gamma that some offset has; infinite where none is known.
    """
    n = len(which)
    _, wy, wx = reference.shape
    remembered, margin = (_MOST_OTHERS, _MARGIN) if len(offsets) else (0, 0.0)
    work, others = np.empty((9, 8)), np.empty((remembered, 4))
    kji, cells = np.empty(3, dtype=np.int64), np.empty((remembered, 4), dtype=np.int64)
    for first in range(task * _CHUNK, n, tasks * _CHUNK):
        for p in which[first : min(n, first + _CHUNK)]:
            flat = points[p]
            k, j, i = flat // (wy * wx), flat // wx % wy, flat % wx
            d = reference[k, j, i]
            pz, py, px = ref_z[k], ref_y[j], ref_x[i]
            kji[0] = _cell_of(pz, node_z, per_cell[0])
            kji[1] = _cell_of(py, node_y, per_cell[1])
            kji[2] = _cell_of(px, node_x, per_cell[2])
            value = _dose_at(dose, pz, py, px, node_z, node_y, node_x, per_cell)
            if abs(value - d) <= _SAME * dose_criterion[p]:
                result[p] = abs(value - d) / dose_criterion[p]
                continue
            found = np.sqrt(_gamma2(
                dose, low, high, node_z, node_y, node_x, per_cell, pz, py, px, value, d,
                1.0 / dose_criterion[p], distance_mm, max_gamma * max_gamma, known[p], margin,
                near, offsets, block_start, blocks, block_at, block_edge, kji, work, others, cells,
            ))  # fmt: skip
            # rounding must not make a point pass
            result[p] = FAILS if 1.0 + 1e-12 < found < FAILS else found


@njit(cache=True)
def cell_bounds(dose):
    """Least and greatest corner of each cell between neighbouring nodes, which bound the dose within it."""
    nz, ny, nx = dose.shape
    low = np.empty((max(1, nz - 1), max(1, ny - 1), max(1, nx - 1)))
    high = np.empty_like(low)
    up, along, next_x = min(1, nz - 1), min(1, ny - 1), min(1, nx - 1)
    for k in range(low.shape[0]):
        for j in range(low.shape[1]):
            a, b, c, d = dose[k, j], dose[k, j + along], dose[k + up, j], dose[k + up, j + along]
            a1, b1, c1, d1 = a[next_x:], b[next_x:], c[next_x:], d[next_x:]
            least, most = low[k, j], high[k, j]
            for i in range(len(least)):  # as few branches as vectors need
                lower, upper = min(min(a[i], b[i]), min(c[i], d[i])), max(max(a[i], b[i]), max(c[i], d[i]))
                lower_x, upper_x = min(min(a1[i], b1[i]), min(c1[i], d1[i])), max(max(a1[i], b1[i]), max(c1[i], d1[i]))
                least[i], most[i] = min(lower, lower_x), max(upper, upper_x)
    return low, high
