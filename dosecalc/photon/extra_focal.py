"""How much of the extra-focal source each point of the isocentre plane sees through jaws and leaves."""

from __future__ import annotations

from functools import reduce
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.special import ndtr

from dosecalc.machine.model import Energy, ExtraFocalSource, Machine
from dosecalc.photon.collimation import FAR_MM, Aperture, Collimators, Layer, default_plane_mm

FloatArray = NDArray[np.float64]

#: what the source's image in an aperture changes by over this distance is far less than a cubic cannot follow, mm
_NODE_MM = 10.0
#: an end of the source, in standard deviations
_END = 40.0


class SourceView:
    """The source as seen through collimating planes at different distances from the target.

    An edge at m (isocentre scale) in the plane d lies, for the point P, in front of the source's place
    ``p = (1 - g) P + g d / SAD m`` with ``g = (SAD - d_s) / (SAD - d)`` (docs/beam-model.md, eq. 3.1), so P sees
    the part of the Gaussian between the images of all edges.

    Parameters
    ----------
    source : ExtraFocalSource
    sad_mm : float
    """

    def __init__(self, source: ExtraFocalSource, sad_mm: float) -> None:
        self.source = source
        self.sad_mm = sad_mm

    def image(self, edge_mm: FloatArray, point_mm: FloatArray, plane_mm: float) -> FloatArray:
        """Where edges cover the source, in its standard deviations; the arguments are broadcast."""
        g = (self.sad_mm - self.source.distance_mm) / (self.sad_mm - plane_mm)
        p = (1 - g) * point_mm + g * plane_mm / self.sad_mm * edge_mm
        return np.asarray(p / self.source.sigma_mm)


def extra_focal_view(
    collimators: Collimators,
    apertures: tuple[Aperture, ...],
    x_mm: FloatArray,
    y_mm: FloatArray,
    view: SourceView,
) -> FloatArray:
    """Share of the source that each point sees, averaged over the meterset, float64 [ny, nx].

    Jaws and leaves each cut the source off in their own plane, so that the same field made by the upper or the lower
    jaws gives different outputs (collimator exchange).
    """
    along, across = (x_mm, y_mm) if collimators.along_is_x else (y_mm, x_mm)
    nodes = [np.linspace(v[0], v[-1], max(4, int(np.ceil((v[-1] - v[0]) / _NODE_MM)) + 1)) for v in (along, across)]
    seen = np.zeros((len(nodes[1]), len(nodes[0])))
    for a in apertures:
        for part in _parts(a, view.source.sigma_mm):
            seen += part.weight * _seen_during(collimators, part, nodes[0], nodes[1], view)
    fine = RectBivariateSpline(nodes[1], nodes[0], seen)(across, along)
    return np.ascontiguousarray(fine if collimators.along_is_x else fine.T)


def _parts(aperture: Aperture, sigma_mm: float) -> list[Aperture]:
    """Parts of a segment in which the jaws across the leaves hardly move; what moves along them is averaged exactly."""
    across = aperture.jaw_across_mm
    n = 1 + int(4 * np.abs(across[1] - across[0]).max() / sigma_mm)

    def cut(ends: FloatArray, i: int) -> FloatArray:
        return np.array([ends[0] + (ends[1] - ends[0]) * share for share in (i / n, (i + 1) / n)])

    return [
        Aperture(
            tuple(cut(leaves, i) for leaves in aperture.leaves_mm),
            cut(aperture.jaw_along_mm, i),
            np.tile(cut(across, i).mean(0), (2, 1)),
            aperture.weight / n,
        )
        for i in range(n)
    ]


def _seen_during(
    collimators: Collimators, aperture: Aperture, along: FloatArray, across: FloatArray, view: SourceView
) -> FloatArray:
    """Mean share of the source that points see while the jaws across the leaves rest, float64 [across, along]."""
    jaws = collimators.jaw_transmission
    jaw_along, jaw_across = (
        [view.image(edges[:, i, None, None], points, plane) for i in (0, 1)]
        for edges, points, plane in zip(
            (aperture.jaw_along_mm, aperture.jaw_across_mm), (along, across), collimators.jaw_planes_mm, strict=True
        )
    )
    strips = _strips(collimators.layers)
    edges = view.image(strips[None, :, None], across, collimators.leaf_plane_mm)
    of_strip = _behind_jaws(jaw_across, (jaws[2], jaws[3]), [edges[:, :-1]], [edges[:, 1:]])
    openings = []
    for layer, leaves in zip(collimators.layers, aperture.leaves_mm, strict=True):
        pair = layer.pairs_at((strips[1:] + strips[:-1]) / 2)
        tips = leaves + layer.mlc.tip_offset_mm * np.array([-1.0, 1.0])
        tips = np.where(pair[:, None] >= 0, tips[:, pair], 0.0)
        lower, upper = (view.image(tips[:, :, i, None], along, collimators.leaf_plane_mm) for i in (0, 1))
        through = np.broadcast_to(layer.mlc.pair_transmission or layer.mlc.transmission, leaves.shape[1])
        openings.append((np.where(pair >= 0, through[pair], layer.mlc.transmission)[:, None], lower, upper))
    ends = np.full((1, len(strips) - 1, 1), _END)
    in_strip = _behind_leaves(openings, jaw_along, (jaws[0], jaws[1]), [-ends], [ends])
    return np.asarray(of_strip.T @ in_strip)


def _strips(layers: tuple[Layer, ...]) -> FloatArray:
    """Boundaries of the strips across the leaves in which no leaf begins or ends, with what lies beyond them."""
    inner = np.unique(np.concatenate([layer.boundaries_mm for layer in layers])) if layers else np.zeros(0)
    return np.concatenate([[-FAR_MM], inner, [FAR_MM]])


def _behind_leaves(
    openings: list[tuple[FloatArray, FloatArray, FloatArray]],
    jaw: list[FloatArray],
    through: tuple[float, float],
    lower: list[FloatArray],
    upper: list[FloatArray],
) -> FloatArray:
    """What layers of leaves and a pair of jaws let through of the source between edges, see `_between`."""
    if not openings:
        return _behind_jaws(jaw, through, lower, upper)
    (leaf, start, end), others = openings[0], openings[1:]
    closed = _behind_leaves(others, jaw, through, lower, upper)
    opened = _behind_leaves(others, jaw, through, [*lower, start], [*upper, end])
    return np.asarray(leaf * closed + (1 - leaf) * opened)


def _behind_jaws(
    jaw: list[FloatArray], through: tuple[float, float], lower: list[FloatArray], upper: list[FloatArray]
) -> FloatArray:
    """What a pair of jaws lets through of the source between edges."""
    seen = _between([*lower, jaw[0]], [*upper, jaw[1]])
    if through[0] > 0:
        seen = seen + through[0] * _between(lower, [*upper, jaw[0]])
    if through[1] > 0:
        seen = seen + through[1] * _between([*lower, jaw[1]], upper)
    return seen


def _between(lower: list[FloatArray], upper: list[FloatArray]) -> FloatArray:
    """Mean share of the source above all lower and below all upper edges, which move evenly.

    Each edge is an array [2 or 1, ...]: its images at the start and the end, broadcast against each other. Between the
    moments at which two edges pass each other, the innermost ones move evenly, so the mean of the Gaussian's integral
    is a closed form.
    """
    if all(len(e) == 1 or np.array_equal(e[0], e[1]) for e in (*lower, *upper)):
        inner = reduce(np.minimum, [e[0] for e in upper]), reduce(np.maximum, [e[0] for e in lower])
        return np.asarray(np.maximum(ndtr(inner[0]) - ndtr(inner[1]), 0.0))
    edges = np.stack(np.broadcast_arrays(*(np.broadcast_to(e, (2, *e.shape[1:])) for e in (*lower, *upper))))
    start, travel = edges[:, 0], edges[:, 1] - edges[:, 0]
    moments = [np.zeros_like(start[0]), np.ones_like(start[0])]
    for i, j in combinations(range(len(edges)), 2):
        nearing = travel[j] - travel[i]
        passing = np.divide(start[i] - start[j], nearing, out=np.zeros_like(nearing), where=nearing != 0)
        moments.append(np.clip(passing, 0.0, 1.0))
    at = np.sort(np.stack(moments), axis=0)
    places = start[:, None] + travel[:, None] * at
    low, high = places[: len(lower)].max(0), places[len(lower) :].min(0)
    is_open = high[1:] + high[:-1] > low[1:] + low[:-1]
    return np.asarray((np.diff(at, axis=0) * is_open * (_mean_ndtr(high) - _mean_ndtr(low))).sum(0))


def _mean_ndtr(u: FloatArray) -> FloatArray:
    """Mean of the normal distribution function between successive places, float64 [n - 1, ...]."""
    a, b = u[:-1], u[1:]
    integral = u * ndtr(u) + np.exp(-0.5 * np.minimum(u * u, 1e3)) / np.sqrt(2 * np.pi)
    near = np.abs(b - a) < 1e-3
    return np.asarray(np.where(near, ndtr((a + b) / 2), np.diff(integral, axis=0) / np.where(near, 1.0, b - a)))


def calibration_view(machine: Machine, energy: Energy, view: SourceView) -> float:
    """Share of the source that the axis sees through the calibration field, made by jaws where there are jaws."""
    half = np.array([energy.calibration.field_mm / 2])
    default = default_plane_mm(machine, energy)
    layers = [mlc for mlc in (machine.mlc, machine.second_mlc) if mlc is not None]
    plane_of_layers = float(np.mean([mlc.distance_mm or default for mlc in layers])) if layers else default
    through_layers = float(np.prod([mlc.transmission for mlc in layers])) if layers else 0.0
    seen = 1.0
    for jaws in (machine.jaw_x, machine.jaw_y):
        plane = (jaws.distance_mm or default) if jaws else plane_of_layers
        through = jaws.lower_upper if jaws else (through_layers,) * 2
        edges = [view.image(side * half, np.zeros(1), plane) for side in (-1.0, 1.0)]
        seen *= float(_behind_jaws(edges, through, [np.array([-_END])], [np.array([_END])]))
    return seen
