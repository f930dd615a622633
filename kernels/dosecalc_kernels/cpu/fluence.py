"""Mean transmission of moving jaws and leaves on the CPU. Contract: `dosecalc_kernels.contract`, "add_transmission".

What a point sees of one collimator is a piecewise constant function of meterset, kept as a sum of terms
(value, from, to), each an interval of the segment. Functions of several collimators multiply by intersecting their
intervals, so the mean over the segment is exact however jaws and leaves move against each other.
"""

from __future__ import annotations

import numpy as np
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


@njit(inline="always")
def _add_term(terms, n, value, t0, t1):
    """Append a term; the first one is the constant, which takes whatever holds for the whole segment."""
    if value == 0.0 or t1 <= t0:
        return n
    if t0 <= 0.0 and t1 >= 1.0:
        terms[0, 0] += value
        return n
    terms[n, 0] = value
    terms[n, 1] = t0
    terms[n, 2] = t1
    return n + 1


@njit(inline="always")
def _start_terms(terms, constant):
    terms[0, 0] = constant
    terms[0, 1] = 0.0
    terms[0, 2] = 1.0
    return 1


@njit
def _jaw_terms(terms, p, jaw, through_lower, through_upper):
    """What a point sees of a pair of jaws: one, less what each of the two takes away while it covers the point."""
    n = _start_terms(terms, 1.0)
    free0, free1 = _clip_interval(0.0, 1.0, p - jaw[0, 0], p - jaw[1, 0], 1.0)
    n = _add_term(terms, n, through_lower - 1.0, 0.0, free0)
    n = _add_term(terms, n, through_lower - 1.0, free1, 1.0)
    free0, free1 = _clip_interval(0.0, 1.0, p - jaw[0, 1], p - jaw[1, 1], -1.0)
    n = _add_term(terms, n, through_upper - 1.0, 0.0, free0)
    return _add_term(terms, n, through_upper - 1.0, free1, 1.0)


@njit(inline="always")
def _opened(p, pair, start, end, tip):
    """The part of the segment for which a leaf pair, drawn back by ``tip`` at both ends, leaves the point open."""
    if pair < 0:
        return 0.0, 0.0
    t0, t1 = _clip_interval(0.0, 1.0, p - start[pair, 0] + tip, p - end[pair, 0] + tip, 1.0)
    return _clip_interval(t0, t1, p - start[pair, 1] - tip, p - end[pair, 1] - tip, -1.0)


@njit
def _leaf_terms(terms, p, pair, neighbour, both_closed, one_closed, start, end, tip_mm, tip_share):
    """What a point sees of a layer: between the sides of a leaf, or in the strip that it shares with its neighbour."""
    n = _start_terms(terms, both_closed)
    for k in range(len(tip_mm)):
        a0, a1 = _opened(p, pair, start, end, tip_mm[k])
        if neighbour == pair:
            n = _add_term(terms, n, tip_share[k] * (1.0 - both_closed), a0, a1)
            continue
        b0, b1 = _opened(p, neighbour, start, end, tip_mm[k])
        n = _add_term(terms, n, tip_share[k] * (one_closed - both_closed), a0, a1)
        n = _add_term(terms, n, tip_share[k] * (one_closed - both_closed), b0, b1)
        n = _add_term(terms, n, tip_share[k] * (1.0 - 2.0 * one_closed + both_closed), max(a0, b0), min(a1, b1))
    return n


@njit
def _mean_of_product(x, n_x, y, n_y, first, n_first, second, n_second):
    """Integral over the segment of the product of four sums of terms."""
    total = 0.0
    for j in range(n_y):
        for i in range(n_x):
            value = y[j, 0] * x[i, 0]
            t0 = max(y[j, 1], x[i, 1])
            t1 = min(y[j, 2], x[i, 2])
            if value == 0.0 or t1 <= t0:
                continue
            for k in range(n_first):
                u0, u1 = max(t0, first[k, 1]), min(t1, first[k, 2])
                if u1 <= u0:
                    continue
                for m in range(n_second):
                    length = min(u1, second[m, 2]) - max(u0, second[m, 1])
                    if length > 0.0:
                        total += value * first[k, 0] * second[m, 0] * length
    return total


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def add_transmission(
    out, along_mm, across_mm, jaw_along, jaw_across, jaw_transmission,
    pair_of_row, closed, leaf_start, leaf_end, tip_mm, tip_share, weight,
):  # fmt: skip
    """Add one segment's mean transmission. See the contract for shapes and units."""
    layers, n_tips = tip_mm.shape
    for iy in prange(len(across_mm)):
        x_terms, y_terms = np.empty((5, 3)), np.empty((5, 3))
        leaf_terms = np.empty((2, 3 * n_tips + 1, 3))
        n_leaf = np.array([_start_terms(leaf_terms[0], 1.0), _start_terms(leaf_terms[1], 1.0)])
        n_y = _jaw_terms(y_terms, across_mm[iy], jaw_across, jaw_transmission[2], jaw_transmission[3])
        for ix in range(len(along_mm)):
            n_x = _jaw_terms(x_terms, along_mm[ix], jaw_along, jaw_transmission[0], jaw_transmission[1])
            for layer in range(layers):
                n_leaf[layer] = _leaf_terms(
                    leaf_terms[layer], along_mm[ix], pair_of_row[layer, 0, iy], pair_of_row[layer, 1, iy],
                    closed[layer, 0, iy], closed[layer, 1, iy],
                    leaf_start[layer], leaf_end[layer], tip_mm[layer], tip_share[layer],
                )  # fmt: skip
            out[iy, ix] += weight * _mean_of_product(
                x_terms, n_x, y_terms, n_y, leaf_terms[0], n_leaf[0], leaf_terms[1], n_leaf[1]
            )
