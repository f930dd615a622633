"""The reference points that gamma is wanted of, and their gamma where the same node has the same dose.

It reads each dose once, so that a comparison of equal doses costs little more than reading them. Arrays lie on the host
whatever device searches: a GPU would have to be sent them first.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numba import get_num_threads, njit

from dosecalc_kernels.contract import Float32Array, FloatArray, IntArray

#: a gamma that is as small at the point itself is the answer: the search sees nothing smaller
SAME = 1e-6
#: nodes for which other threads are not worth starting
_FEW = 500_000


def gamma_at_nodes(
    reference: FloatArray,
    evaluated: FloatArray,
    same_nodes: bool,
    global_criterion: FloatArray,
    local_share: FloatArray,
    threshold: float,
    result: Float32Array,
) -> tuple[int, int, int]:
    """Mark which reference points gamma is wanted of, and give it where dose agrees at the node.

    Parameters
    ----------
    reference : float64 [n]
    evaluated : float64 [n]
        At the same nodes; any array where ``same_nodes`` is False.
    same_nodes : bool
    global_criterion : float64 [criteria]
        Dose criterion of all points; 0 where it is local.
    local_share : float64 [criteria]
        Share of the point's own dose that is its dose criterion; 0 where it is global.
    threshold : float
        Gamma is wanted of points with at least this dose (and, locally, any dose).
    result : float32 [criteria, n]
        Out: NaN where gamma is not wanted, gamma where the doses are the same to `SAME`, -1 elsewhere.

    Returns
    -------
    int, int, int
        Points that are wanted (of each criterion: their sum), those of them without a gamma, and how many doses of
        ``reference`` or ``evaluated`` are not finite.
    """
    n = len(reference)
    if not same_nodes:
        evaluated = reference
    if n < _FEW or get_num_threads() == 1:
        counts: tuple[int, int, int] = _mark(
            0, n, reference, evaluated, same_nodes, global_criterion, local_share, threshold, result
        )
        return counts
    threads = get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        parts = [
            pool.submit(_mark, a, b, reference, evaluated, same_nodes, global_criterion, local_share, threshold, result)
            for a, b in pairwise(np.linspace(0, n, threads + 1).astype(np.int64))
        ]
        wanted, without, wrong = (sum(counts) for counts in zip(*(part.result() for part in parts), strict=True))
    return wanted, without, wrong


@njit(cache=True)
def unknown_points(maps: Float32Array) -> IntArray:
    """Points without a gamma in some map, rising, int64; ``maps`` float32 [criteria, n] from `gamma_at_nodes`."""
    unknown = maps[0] < 0.0
    for m in range(1, len(maps)):
        unknown |= maps[m] < 0.0
    points = np.empty(len(unknown), np.int64)
    count = 0
    for p in range(len(unknown)):
        points[count] = p
        count += unknown[p]
    return points[:count]


@njit(cache=True)
def put_unknown(points: IntArray, found: Float32Array, maps: Float32Array) -> int:
    """Put gammas ``found`` [criteria, points] into ``maps`` [criteria, n]; returns the points with none in some map."""
    missing = np.isnan(found[0])
    for m in range(len(maps)):
        out, gammas = maps[m], found[m]
        for i in range(len(points)):
            out[points[i]] = gammas[i]
        missing |= np.isnan(gammas)
    return int(np.count_nonzero(missing))


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(first, last, reference, evaluated, same_nodes, global_criterion, local_share, threshold, result):
    """`gamma_at_nodes` from one node to another."""
    reference, evaluated = reference[first:last], evaluated[first:last]
    wanted, without, wrong = 0, 0, 0
    same = SAME if same_nodes else -1.0
    for m in range(len(global_criterion)):
        out, share = result[m, first:last], local_share[m]
        if share > 0.0:
            for i in range(len(reference)):
                dose = reference[i]
                apart = abs(evaluated[i] - dose)
                gamma = apart / (dose * share)
                there = dose >= threshold and dose > 0.0
                known = np.float32(gamma) if gamma <= same else np.float32(-1.0)
                out[i] = known if there else np.float32(np.nan)
                wanted += there
                without += there and not gamma <= same
                wrong += not apart < np.inf
        else:
            per_dose = 1.0 / global_criterion[m]
            for i in range(len(reference)):
                dose = reference[i]
                apart = abs(evaluated[i] - dose)
                gamma = apart * per_dose
                there = dose >= threshold
                known = np.float32(gamma) if gamma <= same else np.float32(-1.0)
                out[i] = known if there else np.float32(np.nan)
                wanted += there
                without += there and not gamma <= same
                wrong += not apart < np.inf
    return wanted, without, wrong
