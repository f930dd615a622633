"""Time-averaged aperture of moving leaves and jaws on the CPU. Contract: `dosecalc_kernels.contract`, "aperture"."""

from __future__ import annotations

from numba import njit, prange


@njit(inline="always")
def _clip_interval(t0, t1, a, b, sign):
    """The part of [t0, t1] in which sign * (a + (b - a) t) > 0."""
    f0, f1 = sign * a, sign * b
    if f0 <= 0 and f1 <= 0:
        return t0, t0
    if f0 > 0 and f1 > 0:
        return t0, t1
    crossing = f0 / (f0 - f1)
    if f0 > 0:
        return t0, max(t0, min(t1, crossing))
    return min(t1, max(t0, crossing)), t1


@njit(parallel=True, error_model="numpy", cache=True)
def add_aperture(
    leaf_map, jaw_map, both_map, along_mm, across_mm, pair_of_row,
    leaf_start, leaf_end, jaw_along, jaw_across, weight,
):  # fmt: skip
    """Add one segment: the share of its time for which each point lies between the leaves, the jaws, and both.

    ``leaf_map``, ``jaw_map``, ``both_map``: float64 [rows, columns], changed in place. ``along_mm`` [columns] and
    ``across_mm`` [rows]: sample positions along and across the leaves. ``pair_of_row`` int64 [rows]: leaf pair, -1 for
    none (taken as closed). ``leaf_start``, ``leaf_end`` [pairs, 2]: banks at both ends of the segment.
    ``jaw_along``, ``jaw_across`` [2, 2]: (lower, upper) at the start and at the end; infinite where there is no jaw.
    Everything moves linearly in meterset, so each condition holds on one interval of it.
    """
    for iy in prange(len(across_mm)):
        y = across_mm[iy]
        pair = pair_of_row[iy]
        u0, u1 = _clip_interval(0.0, 1.0, y - jaw_across[0, 0], y - jaw_across[1, 0], 1.0)
        u0, u1 = _clip_interval(u0, u1, y - jaw_across[0, 1], y - jaw_across[1, 1], -1.0)
        for ix in range(len(along_mm)):
            x = along_mm[ix]
            j0, j1 = _clip_interval(u0, u1, x - jaw_along[0, 0], x - jaw_along[1, 0], 1.0)
            j0, j1 = _clip_interval(j0, j1, x - jaw_along[0, 1], x - jaw_along[1, 1], -1.0)
            jaw_map[iy, ix] += weight * (j1 - j0)
            if pair < 0:
                continue
            m0, m1 = _clip_interval(0.0, 1.0, x - leaf_start[pair, 0], x - leaf_end[pair, 0], 1.0)
            m0, m1 = _clip_interval(m0, m1, x - leaf_start[pair, 1], x - leaf_end[pair, 1], -1.0)
            leaf_map[iy, ix] += weight * (m1 - m0)
            both_map[iy, ix] += weight * max(0.0, min(m1, j1) - max(m0, j0))
