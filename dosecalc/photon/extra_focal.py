"""How much of the extra-focal source each point of the isocentre plane sees through jaws and leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.special import ndtr

from dosecalc.machine.model import Energy, ExtraFocalSource, Machine
from dosecalc.photon.collimation import FAR_MM, Collimators, Layer, Motion, default_plane_mm
from dosecalc.photon.constants import Constants
from dosecalc.photon.transmission import Axis

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: what the source's image in an aperture changes by over this distance is far less than a cubic cannot follow, mm
_NODE_MM = 10.0
#: an end of the source, in standard deviations
_END = 40.0


@dataclass(frozen=True)
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

    source: ExtraFocalSource
    sad_mm: float

    def factors(self, plane_mm: float) -> tuple[float, float]:
        """Factors of the point and of the edge that give its image in standard deviations, 1/mm."""
        g = (self.sad_mm - self.source.distance_mm) / (self.sad_mm - plane_mm)
        return (1 - g) / self.source.sigma_mm, g * plane_mm / self.sad_mm / self.source.sigma_mm

    def image(self, edge_mm: FloatArray, point_mm: FloatArray, plane_mm: float) -> FloatArray:
        """Where edges cover the source, in its standard deviations; the arguments are broadcast."""
        of_point, of_edge = self.factors(plane_mm)
        return np.asarray(of_point * point_mm + of_edge * edge_mm)


def extra_focal_view(
    constants: Constants, collimators: Collimators, motion: Motion, along: Axis, across: Axis, view: SourceView
) -> Any:
    """Share of the source that each point sees, averaged over the meterset.

    Jaws and leaves each cut the source off in their own plane, so that the same field made by the upper or the lower
    jaws gives different outputs (collimator exchange).

    Returns
    -------
    float64 [across, along]
        On the device.
    """
    device, kept = constants.device, constants.kept
    strips = _strips(collimators.layers)
    points, rise = _nodes(along)
    image = np.array([view.factors(plane) for plane in (collimators.jaw_planes_mm[0], collimators.leaf_plane_mm)])
    through = float(collimators.jaw_transmission[2]), float(collimators.jaw_transmission[3])
    planes = collimators.jaw_planes_mm[1], collimators.leaf_plane_mm
    seen = None
    for jaw_across, part in _at_rest(motion, view.source.sigma_mm):
        in_strip = device.zeros((len(strips.edges_mm) - 1, len(points)), np.float64)
        device.kernel("add_source_share")(
            in_strip, kept(points), part.jaw_along_mm, collimators.jaw_transmission[:2], kept(strips.pair),
            kept(strips.transmission), part.leaves_mm + strips.tip_mm, image, part.weight,
        )  # fmt: skip
        of_strip = kept(_of_strips(collimators.layers, through, planes, jaw_across, across, view))
        found = (of_strip @ in_strip) @ kept(rise).T
        seen = found if seen is None else seen + found
    return seen


def _at_rest(motion: Motion, sigma_mm: float) -> Iterator[tuple[tuple[float, float], Motion]]:
    """Parts of the motion in which the jaws across the leaves rest, with where they do.

    Segments in which they move are cut into parts in which they hardly do; what moves along the leaves is averaged
    exactly.
    """
    jaws = motion.jaw_across_mm
    parts = (1 + 4 * np.abs(jaws[:, 1] - jaws[:, 0]).max(1) / sigma_mm).astype(int)
    segment = np.repeat(np.arange(len(parts)), parts)
    within = np.concatenate([np.arange(n) for n in parts])
    shares = np.stack([within, within + 1], 1) / parts[segment, None]

    def cut(ends: FloatArray) -> FloatArray:
        share = shares.reshape(*shares.shape, *(1,) * (ends.ndim - 2))
        return np.asarray(ends[segment, :1] + (ends[segment, 1:] - ends[segment, :1]) * share)

    middle = cut(jaws).mean(1)
    places, member = np.unique(middle, axis=0, return_inverse=True)
    leaves, along = cut(motion.leaves_mm), cut(motion.jaw_along_mm)
    weight = (motion.weight / parts)[segment]
    for k, (lower, upper) in enumerate(places.tolist()):
        mine = np.ravel(member) == k
        yield (lower, upper), Motion(leaves[mine], along[mine], cut(jaws)[mine], weight[mine])


@lru_cache(maxsize=256)
def _nodes(axis: Axis) -> tuple[FloatArray, FloatArray]:
    """Points along an axis, and the cubic spline through them at all pixels, float64 [pixels, points]."""
    centres = axis.centres_mm()
    length = centres[-1] - centres[0]
    nodes = np.linspace(centres[0], centres[-1], max(4, int(np.ceil(length / _NODE_MM)) + 1))
    return nodes, np.asarray(make_interp_spline(nodes, np.eye(len(nodes)), k=3)(centres))


@dataclass(frozen=True, eq=False)
class _Strips:
    """Strips across the leaves in which no leaf begins or ends, with what lies beyond them.

    Parameters
    ----------
    edges_mm : float64 [strips + 1]
    pair, transmission : int64, float64 [layers, strips]
        -1 beyond the leaves.
    tip_mm : float64 [layers, 1, 2]
        What is added to planned leaf positions, lower and upper bank.
    """

    edges_mm: FloatArray
    pair: IntArray
    transmission: FloatArray
    tip_mm: FloatArray


@lru_cache(maxsize=64)
def _strips(layers: tuple[Layer, ...]) -> _Strips:
    inner = np.unique(np.concatenate([layer.boundaries_mm for layer in layers])) if layers else np.zeros(0)
    edges = np.concatenate([[-FAR_MM], inner, [FAR_MM]])
    pair = np.full((len(layers), len(edges) - 1), -1, np.int64)
    transmission = np.zeros(pair.shape)
    for i, layer in enumerate(layers):
        pair[i] = layer.pairs_at((edges[1:] + edges[:-1]) / 2)
        through = np.broadcast_to(layer.mlc.pair_transmission or layer.mlc.transmission, len(layer.boundaries_mm) - 1)
        transmission[i] = np.where(pair[i] >= 0, through[pair[i]], layer.mlc.transmission)
    tips = np.array([layer.mlc.tip_offset_mm for layer in layers]).reshape(-1, 1, 1) * np.array([-1.0, 1.0])
    return _Strips(edges, pair, transmission, tips)


@lru_cache(maxsize=64)
def _of_strips(
    layers: tuple[Layer, ...],
    through: tuple[float, float],
    planes_mm: tuple[float, float],
    jaws_mm: tuple[float, float],
    across: Axis,
    view: SourceView,
) -> FloatArray:
    """Share of the source, across the leaves, that pixels see of each strip between resting jaws, [pixels, strips]."""
    nodes, rise = _nodes(across)
    jaws = view.image(np.array(jaws_mm)[:, None], nodes, planes_mm[0])
    edges = view.image(_strips(layers).edges_mm[:, None], nodes, planes_mm[1])
    return np.asarray(rise @ _behind_jaws(jaws[:, None], through, edges[:-1], edges[1:]).T)


def _behind_jaws(jaws: FloatArray, through: tuple[float, float], lower: FloatArray, upper: FloatArray) -> FloatArray:
    """What a pair of jaws lets through of the source between edges; all are images."""

    def between(low: FloatArray, high: FloatArray) -> FloatArray:
        return np.asarray(np.maximum(ndtr(high) - ndtr(low), 0.0))

    seen = between(np.maximum(lower, jaws[0]), np.minimum(upper, jaws[1]))
    seen = seen + through[0] * between(lower, np.minimum(upper, jaws[0]))
    return seen + through[1] * between(np.maximum(lower, jaws[1]), upper)


def calibration_view(machine: Machine, energy: Energy, view: SourceView) -> float:
    """Share of the source that the axis sees through the calibration field, made by jaws where there are jaws."""
    half = energy.calibration.field_mm / 2
    default = default_plane_mm(machine, energy)
    layers = [mlc for mlc in (machine.mlc, machine.second_mlc) if mlc is not None]
    plane_of_layers = float(np.mean([mlc.distance_mm or default for mlc in layers])) if layers else default
    through_layers = float(np.prod([mlc.transmission for mlc in layers])) if layers else 0.0
    seen = 1.0
    for jaws in (machine.jaw_x, machine.jaw_y):
        plane = (jaws.distance_mm or default) if jaws else plane_of_layers
        through = jaws.lower_upper if jaws else (through_layers,) * 2
        edges = view.image(np.array([-half, half]), np.zeros(2), plane)
        seen *= float(_behind_jaws(edges, through, np.array(-_END), np.array(_END)))
    return seen
