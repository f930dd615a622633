"""Mean transmission of moving jaws and leaves on the CPU. Contract: `dosecalc_kernels.contract`, "add_transmission".

Most pixels are passed by no edge: there one sample says all, and the next such pixel beside it sees the same.

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
def _mean_of_layer(p, pair, neighbour, both_closed, one_closed, start, end, tip_mm, tip_share):
    """What a point sees of a layer in the mean: `_leaf_terms` summed up, where nothing else moves."""
    total = both_closed
    for k in range(len(tip_mm)):
        a0, a1 = _opened(p, pair, start, end, tip_mm[k])
        if neighbour == pair:
            total += tip_share[k] * (1.0 - both_closed) * (a1 - a0)
            continue
        b0, b1 = _opened(p, neighbour, start, end, tip_mm[k])
        both = max(min(a1, b1) - max(a0, b0), 0.0)
        total += tip_share[k] * (one_closed - both_closed) * ((a1 - a0) + (b1 - b0))
        total += tip_share[k] * (1.0 - 2.0 * one_closed + both_closed) * both
    return total


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


@njit(inline="always")
def _beside(p, q, a, b):
    """Whether an edge that moves between p and q never comes into [a, b]."""
    return max(p, q) < a or min(p, q) > b


@njit
def _ends_beside(a, b, pair, start, end, least_tip, most_tip):
    """Whether no end of a leaf pair, however far drawn back, comes into [a, b]."""
    if pair < 0:
        return True
    lower, upper = (start[pair, 0], end[pair, 0]), (start[pair, 1], end[pair, 1])
    return _beside(min(lower) - most_tip, max(lower) - least_tip, a, b) and _beside(
        min(upper) + least_tip, max(upper) + most_tip, a, b
    )


@njit
def _is_even(a, b, jaw, pairs, start, end, least_tip, most_tip):
    """Whether all points of [a, b] see the same in one row."""
    if not (_beside(jaw[0, 0], jaw[1, 0], a, b) and _beside(jaw[0, 1], jaw[1, 1], a, b)):
        return False
    for layer in range(len(pairs)):
        for k in range(2):
            if not _ends_beside(a, b, pairs[layer, k], start[layer], end[layer], least_tip[layer], most_tip[layer]):
                return False
    return True


@njit
def _seen_at(p, jaw, through, y, n_y, pairs, closed, start, end, tip_mm, tip_share, x, leaves):
    """What a point of a row sees in the mean; ``x`` and ``leaves`` are room to work in."""
    n_x = _jaw_terms(x, p, jaw, through[0], through[1])
    if len(pairs) == 1 and n_x == 1 and n_y == 1:
        return (
            x[0, 0]
            * y[0, 0]
            * _mean_of_layer(
                p, pairs[0, 0], pairs[0, 1], closed[0, 0], closed[0, 1], start[0], end[0], tip_mm[0], tip_share[0]
            )
        )
    n_first, n_second = _start_terms(leaves[0], 1.0), _start_terms(leaves[1], 1.0)
    if len(pairs) > 0:
        n_first = _leaf_terms(
            leaves[0],
            p,
            pairs[0, 0],
            pairs[0, 1],
            closed[0, 0],
            closed[0, 1],
            start[0],
            end[0],
            tip_mm[0],
            tip_share[0],
        )
    if len(pairs) > 1:
        n_second = _leaf_terms(
            leaves[1],
            p,
            pairs[1, 0],
            pairs[1, 1],
            closed[1, 0],
            closed[1, 1],
            start[1],
            end[1],
            tip_mm[1],
            tip_share[1],
        )
    return _mean_of_product(x, n_x, y, n_y, leaves[0], n_first, leaves[1], n_second)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def add_transmission(
    out, edges_mm, first_piece, across_mm, jaw_along, jaw_across, jaw_transmission,
    pair_of_row, closed, leaves, tip_mm, tip_share, weight,
):  # fmt: skip
    """Add the mean transmission of segments. See the contract for shapes and units."""
    layers, n_tips = tip_mm.shape
    least_tip, most_tip = np.empty(layers), np.empty(layers)
    for layer in range(layers):
        least_tip[layer], most_tip[layer] = tip_mm[layer].min(), tip_mm[layer].max()
    for iy in prange(len(across_mm)):
        x_terms, y_terms = np.empty((5, 3)), np.empty((5, 3))
        leaf_terms = np.empty((2, 3 * n_tips + 1, 3))
        pairs, shut = pair_of_row[:, :, iy], closed[:, :, iy]
        for s in range(len(weight)):
            start, end, jaw = leaves[s, 0], leaves[s, 1], jaw_along[s]
            n_y = _jaw_terms(y_terms, across_mm[iy], jaw_across[s], jaw_transmission[2], jaw_transmission[3])
            was_even, seen = False, 0.0
            for ix in range(len(first_piece) - 1):
                first, last = first_piece[ix], first_piece[ix + 1]
                a, b = edges_mm[first], edges_mm[last]
                even = _is_even(a, b, jaw, pairs, start, end, least_tip, most_tip)
                if even and was_even:
                    out[iy, ix] += weight[s] * seen
                    continue
                was_even = even
                pieces = 1 if even else last - first
                seen = 0.0
                for k in range(pieces):
                    low = a if even else edges_mm[first + k]
                    high = b if even else edges_mm[first + k + 1]
                    seen += (high - low) / (b - a) * _seen_at(
                        0.5 * (low + high), jaw, jaw_transmission, y_terms, n_y, pairs, shut, start, end,
                        tip_mm, tip_share, x_terms, leaf_terms,
                    )  # fmt: skip
                out[iy, ix] += weight[s] * seen


@njit(nogil=True, cache=True)
def integral_image(out, values):
    """What lies below and left of each corner. See the contract for shapes and units."""
    rows, columns = values.shape
    out[0, :] = 0.0
    for iy in range(rows):
        out[iy + 1, 0] = 0.0
        along = 0.0
        for ix in range(columns):
            along += values[iy, ix]
            out[iy + 1, ix + 1] = out[iy, ix + 1] + along
