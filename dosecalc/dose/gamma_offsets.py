"""Where the sampled gamma looks: points on shells about a reference point, sorted into small blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import InputError

FloatArray = NDArray[np.float64]

#: edge of a block over the distance criterion: few blocks to look at, few points to try in each
BLOCK_EDGE = 0.3
#: so many of the shortest offsets are tried one after the other
MOST_NEAR = 2200
#: points beyond which memory and time are wasted on a search that a maximum gamma would end
MOST_POINTS = 20_000_000


@dataclass(frozen=True, eq=False)
class SearchOffsets:
    """Search points in units of the distance criterion, by block and in each block by length.

    Parameters
    ----------
    near : float64 [k, 4]
        The shortest offsets, at most `MOST_NEAR` but whole shells, rising in length.
    offsets : float64 [n, 4]
        z, y, x and the squared length; the first is the origin.
    block_start : int64 [m + 1]
        Block b holds the offsets from ``block_start[b]`` on; blocks rise in their shortest length.
    blocks : float64 [m, 7]
        Middle z, y, x and half widths z, y, x of the box about the block's points; the shortest squared length.
    block_at : int32 [qz, qy, qx]
        Number of the block about ``(index - q // 2) * edge``, or -1; q is 1 along an axis that is not searched.
    edge : float
        Distance of neighbouring blocks.
    """

    near: FloatArray
    offsets: FloatArray
    block_start: NDArray[np.int64]
    blocks: FloatArray
    block_at: NDArray[np.int32]
    edge: float


def everywhere() -> SearchOffsets:
    """No offsets: the search is not confined to any."""
    return SearchOffsets(
        np.zeros((0, 4)),
        np.zeros((0, 4)),
        np.zeros(1, np.int64),
        np.zeros((0, 7)),
        np.full((1, 1, 1), -1, np.int32),
        BLOCK_EDGE,
    )


def refuse_too_many(axes: tuple[bool, bool, bool], fraction: int, reach: float) -> None:
    """Refuse a search that nobody would wait for; an infinite reach is not known yet.

    Raises
    ------
    InputError
        ``GAMMA_OPTION``, ``GAMMA_SEARCH_TOO_LARGE``.
    """
    if not 1 <= fraction <= 1000:
        raise InputError("GAMMA_OPTION", f"A sampling of {fraction} per distance is not possible; use 1 to 1000.")
    dimensions = sum(axes)
    expected = (1.0, 2.0, math.pi, 4 * math.pi / 3)[dimensions] * (reach * fraction + 1) ** dimensions
    if MOST_POINTS < expected < math.inf:
        raise InputError(
            "GAMMA_SEARCH_TOO_LARGE",
            f"Sampling {fraction} times per distance criterion out to a gamma of {reach:.3g} takes {expected:.2g} "
            "points for each voxel; set a smaller maximum gamma, or leave out the sampling fraction.",
        )


@lru_cache(maxsize=8)
def search_offsets(axes: tuple[bool, bool, bool], fraction: int, reach: float) -> SearchOffsets:
    """Points on shells ``1 / fraction`` apart and on each shell no further from each other than that.

    Parameters
    ----------
    axes : (z, y, x)
        Along which axes the search runs.
    fraction : int
        Steps per distance criterion.
    reach : float
        Largest length, in distance criteria.

    Raises
    ------
    InputError
        As `refuse_too_many`.
    """
    refuse_too_many(axes, fraction, reach)
    dimensions = sum(axes)
    step = 1.0 / fraction
    shells = [_shell(k, step, dimensions) for k in range(math.floor(reach * fraction + 1e-9) + 1)]
    points = np.zeros((sum(len(s) for s in shells), 3))
    points[:, np.flatnonzero(axes)] = np.concatenate(shells)
    length2 = np.concatenate([np.full(len(s), (k * step) ** 2) for k, s in enumerate(shells)])
    return _in_blocks(points, length2, axes, reach)


def _shell(k: int, step: float, dimensions: int) -> FloatArray:
    """Points at the distance ``k * step`` from the origin, float64 [n, dimensions]."""
    radius = k * step
    if k == 0 or dimensions == 0:
        return np.zeros((1 if k == 0 else 0, dimensions))
    if dimensions == 1:
        return np.array([[-radius], [radius]])
    if dimensions == 2:
        return radius * _circle(2 * math.pi * k)
    rows = [
        np.column_stack([math.sin(polar) * c, np.full(len(c), math.cos(polar))])
        for polar in np.linspace(0.0, math.pi, math.ceil(math.pi * k) + 1)
        for c in [_circle(2 * math.pi * k * math.sin(polar))]
    ]
    return radius * np.concatenate(rows)


def _circle(circumference: float) -> FloatArray:
    """Points of the unit circle no more than 1 / ``circumference`` of its length apart, float64 [n, 2]."""
    n = math.ceil(circumference - 1e-9) + 1
    angle = 2 * math.pi / n * np.arange(n)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _in_blocks(points: FloatArray, length2: FloatArray, axes: tuple[bool, bool, bool], reach: float) -> SearchOffsets:
    half = np.where(axes, math.ceil(reach / BLOCK_EDGE + 1), 0)
    shape = tuple(int(n) for n in 2 * half + 1)
    key = np.ravel_multi_index(tuple((np.rint(points / BLOCK_EDGE).astype(np.int64) + half).T), shape)
    nearest = np.full(math.prod(shape), np.inf)
    np.minimum.at(nearest, key, length2)
    order = np.lexsort((length2, key, nearest[key]))
    points, length2, key = points[order], length2[order], key[order]
    start = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    low = np.minimum.reduceat(points, start)
    high = np.maximum.reduceat(points, start)
    block_at = np.full(len(nearest), -1, dtype=np.int32)
    block_at[key[start]] = np.arange(len(start))
    by_length = np.column_stack([points, length2])[np.argsort(length2, kind="stable")]
    return SearchOffsets(
        near=_whole_shells(by_length),
        offsets=np.column_stack([points, length2]),
        block_start=np.append(start, len(points)).astype(np.int64),
        blocks=np.column_stack([(low + high) / 2, (high - low) / 2, length2[start]]),
        block_at=block_at.reshape(shape),
        edge=BLOCK_EDGE,
    )


def _whole_shells(by_length: FloatArray) -> FloatArray:
    """The first offsets, at most `MOST_NEAR`, all of each length that occurs."""
    if len(by_length) <= MOST_NEAR:
        return by_length
    shorter = by_length[:, 3] < by_length[MOST_NEAR, 3] * (1.0 - 1e-9)
    return np.ascontiguousarray(by_length[shorter])
