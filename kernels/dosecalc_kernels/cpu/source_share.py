"""Share of the extra-focal source behind jaws and leaves on the CPU. Contract: `dosecalc_kernels.contract`.

Edges that all move evenly have their innermost ones moving evenly between the moments at which two of them pass each
other, and there the mean of the Gaussian's integral is a closed form.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

_END = 40.0  # an end of the source, in standard deviations
_NEAR = 1e-3  # edges that move by less are taken in the middle of their way


@njit(inline="always")
def _normal(u):
    return 0.5 * math.erfc(-u * math.sqrt(0.5))


@njit(inline="always")
def _integral_of_normal(u):
    return u * _normal(u) + math.exp(-0.5 * min(u * u, 1e3)) / math.sqrt(2 * math.pi)


@njit
def _mean_normal(a, b):
    """Mean of the normal distribution function on the way from a to b."""
    if abs(b - a) < _NEAR:
        return _normal(0.5 * (a + b))
    return (_integral_of_normal(b) - _integral_of_normal(a)) / (b - a)


@njit
def _innermost(edges, n, t, side):
    """The lowest (side 1) or highest (side -1) of edges at a moment; an end of the source where there is none."""
    found = side * _END
    for i in range(n):
        at = edges[i, 0] + (edges[i, 1] - edges[i, 0]) * t
        if side * at < side * found:
            found = at
    return found


@njit
def _passing(edges, i, j):
    """When two edges pass each other, within the segment."""
    nearing = (edges[j, 1] - edges[j, 0]) - (edges[i, 1] - edges[i, 0])
    if nearing == 0.0:
        return 0.0
    return min(max((edges[i, 0] - edges[j, 0]) / nearing, 0.0), 1.0)


@njit
def _between(edges, n_lower, n_upper, moments):
    """Mean share of the source above all lower edges, which come first, and below all upper ones."""
    n = n_lower + n_upper
    rest = True
    for i in range(n):
        rest = rest and edges[i, 0] == edges[i, 1]
    lower, upper = edges[:n_lower], edges[n_lower:n]
    if rest:
        high, low = _innermost(upper, n_upper, 0.0, 1), _innermost(lower, n_lower, 0.0, -1)
        return max(_normal(high) - _normal(low), 0.0)
    moments[0] = 0.0
    count = 1
    for i in range(n):
        for j in range(i + 1, n):
            t = _passing(edges, i, j)
            k = count
            while moments[k - 1] > t:
                moments[k] = moments[k - 1]
                k -= 1
            moments[k] = t
            count += 1
    moments[count] = 1.0
    seen = 0.0
    for k in range(count):
        t0, t1 = moments[k], moments[k + 1]
        if t1 <= t0:
            continue
        high0, high1 = _innermost(upper, n_upper, t0, 1), _innermost(upper, n_upper, t1, 1)
        low0, low1 = _innermost(lower, n_lower, t0, -1), _innermost(lower, n_lower, t1, -1)
        if high0 + high1 > low0 + low1:
            seen += (t1 - t0) * (_mean_normal(high0, high1) - _mean_normal(low0, low1))
    return seen


@njit
def _behind(jaw, through, leaves, n, edges, moments):
    """What jaws let through of the source between the ends of n leaf pairs, [pair, bank, time]."""
    for i in range(n):
        edges[i] = leaves[i, 0]
        edges[n + 1 + i] = leaves[i, 1]
    edges[n], edges[2 * n + 1] = jaw[0], jaw[1]
    seen = _between(edges, n + 1, n + 1, moments)
    if through[0] > 0:
        for i in range(n):
            edges[n + i] = leaves[i, 1]
        edges[2 * n] = jaw[0]
        seen += through[0] * _between(edges, n, n + 1, moments)
    if through[1] > 0:
        for i in range(n):
            edges[n + 1 + i] = leaves[i, 1]
        edges[n] = jaw[1]
        seen += through[1] * _between(edges, n + 1, n, moments)
    return seen


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def add_source_share(
    out, points, jaw, jaw_transmission, pair_of_strip, transmission, tips, image, weight
):  # fmt: skip
    """Add the shares of segments. See the contract for shapes and units."""
    layers, strips = pair_of_strip.shape
    for ip in prange(len(points)):
        edges, moments = np.empty((6, 2)), np.empty(17)
        jaws, leaves = np.empty((2, 2)), np.empty((2, 2, 2))
        of_jaws, of_leaves = image[0, 0] * points[ip], image[1, 0] * points[ip]
        for s in range(len(weight)):
            for side in range(2):
                for time in range(2):
                    jaws[side, time] = of_jaws + image[0, 1] * jaw[s, time, side]
            shut = _behind(jaws, jaw_transmission, leaves, 0, edges, moments)
            for strip in range(strips):
                seen = 0.0
                for opened in range(1 << layers):
                    share, n = 1.0, 0
                    for layer in range(layers):
                        pair = pair_of_strip[layer, strip]
                        if not opened >> layer & 1:
                            share *= transmission[layer, strip]
                        elif pair < 0:
                            share = 0.0
                        else:
                            share *= 1.0 - transmission[layer, strip]
                            for side in range(2):
                                for time in range(2):
                                    leaves[n, side, time] = of_leaves + image[1, 1] * tips[s, time, layer, pair, side]
                            n += 1
                    if share == 0.0:
                        continue
                    seen += share * (shut if n == 0 else _behind(jaws, jaw_transmission, leaves, n, edges, moments))
                out[strip, ip] += weight[s] * seen
