"""What jaws and leaves let through, averaged over their motion: as maps at the isocentre plane, from a point source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dosecalc.photon.collimation import FAR_MM, Aperture, Collimators, Layer, Motion
from dosecalc.photon.constants import Constants
from dosecalc_kernels.registry import backend

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: sample points across a pixel along the leaves, for leaf ends between pixel boundaries
_SUBSAMPLES = 8
#: jaws that move by less rest, mm
_AT_REST_MM = 1e-9


class Axis(NamedTuple):
    """Even pixels along one axis of a map, mm at the isocentre plane."""

    first_mm: float
    pitch_mm: float
    n: int

    @classmethod
    def of(cls, centres_mm: FloatArray) -> Axis:
        """The axis with these pixel centres."""
        return cls(float(centres_mm[0]), float(centres_mm[1] - centres_mm[0]), len(centres_mm))

    @classmethod
    def about_zero(cls, half: int, pitch_mm: float) -> Axis:
        """So many pixels on both sides of the beam's axis."""
        return cls((0.5 - half) * pitch_mm, pitch_mm, 2 * half)

    def centres_mm(self) -> FloatArray:
        """Pixel centres, float64 [n]."""
        half = self.n // 2
        if self.first_mm == (0.5 - half) * self.pitch_mm:  # the very numbers that are mirror images of each other
            return np.asarray((np.arange(self.n) + 0.5 - half) * self.pitch_mm, np.float64)
        return np.asarray(self.first_mm + np.arange(self.n) * self.pitch_mm, np.float64)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a map across the leaves that differ, and the pixels that they make up.

    Parameters
    ----------
    middle_mm : float64 [rows]
    pair, closed : int64, float64 [layers, 2, rows]
        See `dosecalc_kernels.contract`, "add_transmission".
    share : float64 [pixels, rows]
        Mean over each pixel, from the rows.
    """

    middle_mm: FloatArray
    pair: IntArray
    closed: FloatArray
    share: FloatArray


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pixels cut into pieces, over each of which a middle value stands for the mean.

    Parameters
    ----------
    edges_mm : float64 [pieces + 1]
    first : int64 [pixels + 1]
        First piece of each pixel, and the number of pieces.
    """

    edges_mm: FloatArray
    first: IntArray


def mean_transmission(
    collimators: Collimators, apertures: tuple[Aperture, ...], x_mm: FloatArray, y_mm: FloatArray
) -> FloatArray:
    """Mean transmission over the meterset and over each pixel, for a point source.

    Parameters
    ----------
    collimators : Collimators
    apertures : tuple of Aperture
    x_mm, y_mm : float64 [nx], [ny]
        Pixel centres, even.

    Returns
    -------
    float64 [ny, nx]
        Across the leaves, edges of leaves, strips and jaws are exact; along them leaf ends are resolved to an eighth
        of a pixel, jaws exactly.
    """
    motion = Motion.of(apertures)
    along, across = (x_mm, y_mm) if collimators.along_is_x else (y_mm, x_mm)
    rows = rows_of(collimators.layers, motion, Axis.of(across))
    columns = columns_of(collimators, motion, Axis.of(along))
    mean = rows.share @ of_rows(Constants(backend("cpu")), collimators, motion, rows, columns)
    return np.ascontiguousarray(mean if collimators.along_is_x else mean.T)


def of_rows(constants: Constants, collimators: Collimators, motion: Motion, rows: Rows, columns: Pieces) -> Any:
    """Mean transmission over pixels of each row, float64 [rows, pixels] on the device."""
    device, kept = constants.device, constants.kept
    tip_mm, tip_share = (kept(a) for a in _tips(collimators.layers))
    out = device.zeros((len(rows.middle_mm), len(columns.first) - 1), np.float64)
    device.kernel("add_transmission")(
        out, kept(columns.edges_mm), kept(columns.first), kept(rows.middle_mm), motion.jaw_along_mm,
        motion.jaw_across_mm, kept(collimators.jaw_transmission), kept(rows.pair), kept(rows.closed),
        motion.leaves_mm, tip_mm, tip_share, motion.weight,
    )  # fmt: skip
    return out


def jaw_profile(
    jaws_mm: FloatArray, weight: FloatArray, transmission: tuple[float, float], axis: Axis, width: float
) -> FloatArray:
    """Mean transmission of one pair of jaws alone, per meterset, blurred by a Gaussian.

    Parameters
    ----------
    jaws_mm : float64 [segments, 2, 2]
        (lower, upper) edge at the start and the end of each segment.
    weight : float64 [segments]
    transmission : (lower, upper)
    axis : Axis
    width : float
        Of the Gaussian, pixels.

    Returns
    -------
    float64 [pixels]
        The same array again for jaws that rest in the same place.
    """
    if np.ptp(jaws_mm, axis=(0, 1)).max() == 0:
        return _resting_profile(tuple(jaws_mm[0, 0].tolist()), transmission, axis, width)
    return _profile(jaws_mm, weight / weight.sum(), transmission, axis, width)


@lru_cache(maxsize=128)
def _resting_profile(
    jaws_mm: tuple[float, float], transmission: tuple[float, float], axis: Axis, width: float
) -> FloatArray:
    return _profile(np.array([[jaws_mm, jaws_mm]]), np.ones(1), transmission, axis, width)


def _profile(
    jaws_mm: FloatArray, weight: FloatArray, transmission: tuple[float, float], axis: Axis, width: float
) -> FloatArray:
    cut = cut_pixels(axis, 1, jaws_mm.ravel())
    nothing = np.zeros((0, 2, 1))
    out = np.zeros((1, axis.n))
    backend("cpu").kernel("add_transmission")(
        out, cut.edges_mm, cut.first, np.zeros(1), jaws_mm, np.tile([-FAR_MM, FAR_MM], (len(weight), 2, 1)),
        np.array([*transmission, 0.0, 0.0]), nothing.astype(np.int64), nothing, np.zeros((len(weight), 2, 0, 0, 2)),
        np.zeros((0, 1)), np.ones((0, 1)), weight,
    )  # fmt: skip
    return np.asarray(gaussian_filter(out[0], width, mode="nearest"))


@lru_cache(maxsize=32)
def blur(axis: Axis, width: float) -> FloatArray:
    """A Gaussian of some width (pixels) along an axis that goes on beyond its ends, float64 [n, n]."""
    return np.asarray(gaussian_filter(np.eye(axis.n), (width, 0), mode="nearest"))


def columns_of(collimators: Collimators, motion: Motion, axis: Axis) -> Pieces:
    """Pixels along the leaves, cut at the jaws and into samples for leaf ends."""
    parts = _SUBSAMPLES if collimators.layers else 1
    jaws = motion.jaw_along_mm
    return _columns(axis, parts, tuple(np.unique(jaws[np.abs(jaws) < FAR_MM]).tolist()))


@lru_cache(maxsize=64)
def blurred_share(rows: Rows, width: float) -> FloatArray:
    """Pixels from rows, see `Rows`, blurred across the leaves by a Gaussian of some width (pixels)."""
    return np.asarray(gaussian_filter(rows.share, (width, 0), mode="nearest"))


@lru_cache(maxsize=256)
def _columns(axis: Axis, parts: int, cuts_mm: tuple[float, ...]) -> Pieces:
    return cut_pixels(axis, parts, np.array(cuts_mm))


def rows_of(layers: tuple[Layer, ...], motion: Motion, axis: Axis) -> Rows:
    """The rows of a map that differ: other leaves, or behind jaws that stand otherwise.

    Where a jaw passes over a row during a segment, the row is like no other.
    """
    jaws = motion.jaw_across_mm
    swept = [
        (lower, upper)
        for lower, upper in zip(jaws.min(1).ravel().tolist(), jaws.max(1).ravel().tolist(), strict=True)
        if upper - lower > _AT_REST_MM
    ]
    return _rows(layers, axis, tuple(np.unique(jaws).tolist()), tuple(swept))


@lru_cache(maxsize=64)
def _rows(
    layers: tuple[Layer, ...], axis: Axis, jaws_mm: tuple[float, ...], swept_mm: tuple[tuple[float, float], ...]
) -> Rows:
    pieces = cut_pixels(axis, 1, np.concatenate([jaws_mm, *(_strip_edges(layer) for layer in layers)]))
    middle = (pieces.edges_mm[1:] + pieces.edges_mm[:-1]) / 2
    keys = [np.searchsorted(jaws_mm, middle)]
    keys += list(_row_leaves(middle, layers)[0].reshape(-1, len(middle)))
    swept = np.zeros(len(middle), np.bool_)
    for lower, upper in swept_mm:
        swept |= (middle > lower) & (middle < upper)
    keys.append(np.where(swept, np.arange(1, len(middle) + 1), 0))
    _, first, kind = np.unique(np.stack(keys), axis=1, return_index=True, return_inverse=True)
    share = np.zeros((axis.n, len(first)))
    pixel = np.repeat(np.arange(axis.n), np.diff(pieces.first))
    np.add.at(share, (pixel, np.asarray(kind).ravel()), np.diff(pieces.edges_mm) / axis.pitch_mm)
    pair, closed = _row_leaves(middle[first], layers)
    return Rows(middle[first], pair, closed, share)


def cut_pixels(axis: Axis, parts: int, cuts_mm: FloatArray) -> Pieces:
    """Cut even pixels into so many equal parts, and wherever an edge of a collimator lies."""
    n = axis.n * parts
    piece = axis.pitch_mm / parts
    first = axis.first_mm - axis.pitch_mm / 2
    even = first + np.arange(n + 1) * piece
    inside = cuts_mm[(cuts_mm > even[0]) & (cuts_mm < even[-1])]
    nearest = even[np.clip(np.rint((inside - first) / piece).astype(np.int64), 0, n)]
    edges = np.concatenate([even, np.unique(np.round(inside[np.abs(inside - nearest) > 1e-6], 6))])
    is_pixel = np.zeros(len(edges), np.bool_)
    is_pixel[: n + 1 : parts] = True
    order = np.argsort(edges, kind="stable")
    return Pieces(edges[order], np.flatnonzero(is_pixel[order]).astype(np.int64))


def _strip_edges(layer: Layer) -> FloatArray:
    """Where the kind of row changes across the leaves: at boundaries, or at both edges of each strip along one."""
    sides = layer.mlc.sides
    if sides is None:
        return layer.boundaries_mm
    inner = layer.boundaries_mm[1:-1]
    return np.concatenate([layer.boundaries_mm[[0, -1]], inner - sides.width_mm / 2, inner + sides.width_mm / 2])


def _row_leaves(across_mm: FloatArray, layers: tuple[Layer, ...]) -> tuple[IntArray, FloatArray]:
    """Leaf pairs over each row, and their transmissions: int64, float64 [layers, 2, rows]."""
    pairs = np.full((len(layers), 2, len(across_mm)), -1, np.int64)
    closed = np.zeros((len(layers), 2, len(across_mm)))
    for i, layer in enumerate(layers):
        half = layer.mlc.sides.width_mm / 2 if layer.mlc.sides else 0.0
        pair = layer.pairs_at(across_mm)
        lower, upper = layer.pairs_at(across_mm - half), layer.pairs_at(across_mm + half)
        strip = (lower != upper) & (lower >= 0) & (upper >= 0)
        pairs[i] = np.where(strip, lower, pair), np.where(strip, upper, pair)
        body = np.where(pair >= 0, layer.mlc.body_transmission()[pair], layer.mlc.transmission)
        closed[i] = body
        if layer.mlc.sides:
            closed[i, 0, strip], closed[i, 1, strip] = (
                layer.mlc.sides.interleaf_transmission,
                layer.mlc.sides.transmission,
            )
    return pairs, closed


@lru_cache(maxsize=64)
def _tips(layers: tuple[Layer, ...]) -> tuple[FloatArray, FloatArray]:
    """Edges that make up leaf ends and their shares, float64 [layers, n]; layers with fewer have empty ones."""
    n = max((len(layer.tip_mm) for layer in layers), default=1)
    tip_mm, tip_share = np.zeros((len(layers), n)), np.zeros((len(layers), n))
    for i, layer in enumerate(layers):
        tip_mm[i, : len(layer.tip_mm)], tip_share[i, : len(layer.tip_mm)] = layer.tip_mm, layer.tip_share
    return tip_mm, tip_share
