"""Gamma of points whose dose is found again nearby, where no two of them see the same samples.

Where nodes are evenly spaced and points are not, or not at a ratio that `dosecalc_kernels.cpu.gamma_near` makes use of,
each point has weights of its own. So the samples of one length are taken together for one point, by vectors of samples,
and the next longer ones until samples are longer than gamma.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"
# Numba passes the typing context of an intrinsic by itself, which a type checker cannot know

from __future__ import annotations

import numpy as np
from numba import njit

#: share of a cell within which a sample counts as on the node
_ON_NODE = 1e-9
#: squared gamma that only samples outside the nodes have
_NOWHERE = 1e100
#: the shell at which points that do not look like being settled are left to the search
_LOOK = 3
#: points at a time
_CHUNK = 256
#: what single precision makes of the least gamma that fails
FAILS = np.nextafter(np.float32(1.0), np.float32(2.0))
#: what a vector of samples needs: their least gamma in any order, and no comparison with NaN, for there is none
_VECTORS = {"nnan", "nsz", "contract", "reassoc"}


@njit(cache=True)
def shells_of(near):
    """Where samples of another length begin, and where the last end, int64."""
    starts = [0]
    for s in range(1, len(near)):
        if near[s, 3] > near[s - 1, 3] * (1.0 + 1e-9):
            starts.append(s)
    starts.append(len(near))
    return np.array(starts)


@njit(fastmath=_VECTORS, error_model="numpy")
def _least_in_plane(flat, row, y, x, own, per_dose, off_y, off_x, r2, first, last, best):
    """Least squared gamma of the samples ``first`` to ``last`` in a plane, or ``best``; ``y``, ``x`` in nodes."""
    for s in range(first, last):
        at_y, at_x = y + off_y[s], x + off_x[s]
        j, i = np.int32(at_y + _ON_NODE), np.int32(at_x + _ON_NODE)
        b, a = at_y - j, at_x - i
        b, a = b if b > _ON_NODE else 0.0, a if a > _ON_NODE else 0.0
        corner = np.uint64(j * row + i)
        v0, v1 = flat[corner], flat[corner + np.uint64(1)]
        beyond = corner + np.uint64(row)
        w0, w1 = flat[beyond], flat[beyond + np.uint64(1)]
        v, w = v0 + (v1 - v0) * a, w0 + (w1 - w0) * a
        e = (v + (w - v) * b) * per_dose - own
        gamma2 = r2[s] + e * e
        best = gamma2 if gamma2 < best else best
    return best


@njit(fastmath=_VECTORS, error_model="numpy")
def _least_in_volume(flat, plane, row, z, y, x, own, per_dose, off_z, off_y, off_x, r2, first, last, best):
    """`_least_in_plane` in a volume."""
    for s in range(first, last):
        at_z, at_y, at_x = z + off_z[s], y + off_y[s], x + off_x[s]
        k, j, i = np.int32(at_z + _ON_NODE), np.int32(at_y + _ON_NODE), np.int32(at_x + _ON_NODE)
        c, b, a = at_z - k, at_y - j, at_x - i
        c, b, a = c if c > _ON_NODE else 0.0, b if b > _ON_NODE else 0.0, a if a > _ON_NODE else 0.0
        corner = np.uint64(k * plane + j * row + i)
        values = 0.0
        for side in range(2):
            v0, v1 = flat[corner], flat[corner + np.uint64(1)]
            beyond = corner + np.uint64(row)
            w0, w1 = flat[beyond], flat[beyond + np.uint64(1)]
            v, w = v0 + (v1 - v0) * a, w0 + (w1 - w0) * a
            value = v + (w - v) * b
            values += value * c if side else value * (1.0 - c)
            corner += np.uint64(plane)
        e = values * per_dose - own
        gamma2 = r2[s] + e * e
        best = gamma2 if gamma2 < best else best
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def visit_each(
    task, tasks, reference, points, dose_shape, dose_criterion, max_gamma, margin, spread, offsets, r2, shells,
    ref_z, ref_y, ref_x, known, result,
):  # fmt: skip
    """Gamma of one criterion where samples that are near settle it, into ``result`` [n]; NaN where they do not.

    Parameters as in `dosecalc_kernels.contract.gamma_of_points`, those that have a row for each criterion without it,
    and

    task, tasks : int
        Which part of the points to do: every so many chunks, so that hard regions are shared.
    margin, spread
        As in `dosecalc_kernels.cpu.gamma_near.visit_near`, of period 1.
    offsets : float64 [3, n]
        Samples along z, y, x in nodes.
    r2 : float64 [n]
        Their squared length in distance criteria.
    shells : int64 [k]
        From `shells_of`.
    ref_z, ref_y, ref_x
        Positions of the reference points in nodes from the first one.
    known : float64 [n]
        Set to the least squared gamma found.

    Returns
    -------
    int
        Points that are settled.
    """
    _, wy, wx = reference.shape
    nz, ny, nx = dose_shape
    flat, doses = spread.ravel(), reference.ravel()
    row = spread.shape[3]
    plane = spread.shape[1] * row
    last2, most = r2[-1], max_gamma * max_gamma
    off_z, off_y, off_x = offsets
    settled = 0
    for chunk in range(task * _CHUNK, len(points), tasks * _CHUNK):
        for p in range(chunk, min(chunk + _CHUNK, len(points))):
            line, i = points[p] // wx, points[p] % wx
            z, y, x = ref_z[line // wy], ref_y[line % wy], ref_x[i]
            known[p], result[p] = np.inf, np.nan
            if not (-1.0 <= z <= nz and -1.0 <= y <= ny and -1.0 <= x <= nx):
                continue  # out of reach of the margin
            z, y, x = z + margin[0], y + margin[1], x + margin[2]
            per_dose, best = 1.0 / dose_criterion[p], np.inf
            own = doses[points[p]] * per_dose
            at_point, hopeless = np.inf, False
            for shell in range(len(shells) - 1):
                first, after = shells[shell], shells[shell + 1]
                if best <= r2[first]:
                    break
                if shell == 1:
                    at_point = best
                elif shell == _LOOK:
                    # were gamma to fall on as fast as so far, what would be left of it at the last shell?
                    ahead = np.sqrt(last2 / r2[shells[shell - 1]])
                    if np.sqrt(at_point) - (np.sqrt(at_point) - np.sqrt(best)) * ahead > 1.0:
                        hopeless = True
                        break
                if nz > 1:
                    best = _least_in_volume(
                        flat, plane, row, z, y, x, own, per_dose, off_z, off_y, off_x, r2, first, after, best
                    )
                else:
                    best = _least_in_plane(flat[plane:], row, y, x, own, per_dose, off_y, off_x, r2, first, after, best)
            known[p] = best
            # nothing that is further away is better, or what is does not matter
            if not hopeless and (best <= last2 or (last2 >= most and best < _NOWHERE)):
                found = np.sqrt(min(best, most))
                result[p] = FAILS if 1.0 + 1e-12 < found < FAILS else found
                settled += 1
    return settled
