"""What jaws and leaves let through, averaged over their motion: as maps at the isocentre plane, from a point source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dosecalc.machine.model import Energy, Jaws, Machine, Mlc
from dosecalc.photon.segments import Segment, View
from dosecalc.plan import Beam, ControlPoint, MlcGeometry
from dosecalc_kernels.cpu.fluence import add_transmission

FloatArray = NDArray[np.float64]

#: edges of a collimator that is not there, mm
FAR_MM = 1e6
_AWAY = np.array([[-FAR_MM, FAR_MM]] * 2)
#: leaf pairs open by less are closed: they neither bound the field nor take backup jaws along
CLOSED_GAP_MM = 0.01
#: sample points across a pixel along the leaves, for leaf ends between pixel boundaries
_SUBSAMPLES = 8
#: parts into which the transmission of a rounded leaf end is divided, each a sharp edge of its own, the smaller the
#: farther behind the tip; the end's mean is exact, its width (root mean square) 3 % short
_TIP_PARTS = 6


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of leaves: the machine's model of it, with the boundaries that the plan gives.

    Parameters
    ----------
    mlc : Mlc
    boundaries_mm : float64 [pairs + 1]
    tip_mm, tip_share : float64 [n]
        Sharp edges that make up a leaf end: how far each is drawn back, and its share of the transmission.
    """

    mlc: Mlc
    boundaries_mm: FloatArray
    tip_mm: FloatArray
    tip_share: FloatArray

    def pairs_at(self, across_mm: FloatArray) -> NDArray[np.int64]:
        """Leaf pair at each place across the leaves; -1 beyond the last leaf."""
        i = np.searchsorted(self.boundaries_mm, across_mm, side="right") - 1
        return np.where((i >= 0) & (i < len(self.boundaries_mm) - 1), i, -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Collimators:
    """What stands in a beam, along and across the leaves (x and y where there are none).

    Parameters
    ----------
    along_is_x : bool
    layers : tuple of Layer
        0 to 2.
    jaw_transmission : float64 [4]
        Lower and upper jaw along the leaves, then across them.
    jaw_planes_mm : (along, across)
        Distance from the target at which the jaws cut the beam off.
    leaf_plane_mm : float
        The same for the leaves, the mean of two layers.
    """

    along_is_x: bool
    layers: tuple[Layer, ...]
    jaw_transmission: FloatArray
    jaw_planes_mm: tuple[float, float]
    leaf_plane_mm: float


@dataclass(frozen=True, eq=False)
class Aperture:
    """Where all collimators stand during one segment; everything moves linearly in meterset.

    Parameters
    ----------
    leaves_mm : float64 [layers][2, pairs, 2]
        Start and end; lower and upper bank.
    jaw_along_mm, jaw_across_mm : float64 [2, 2]
        (lower, upper) at the start and at the end.
    weight : float
        Share of the view's meterset, times the relative output of the monitor.
    """

    leaves_mm: tuple[FloatArray, ...]
    jaw_along_mm: FloatArray
    jaw_across_mm: FloatArray
    weight: float


def default_plane_mm(machine: Machine, energy: Energy) -> float:
    """The plane of collimators whose distance the model does not give: half way where it gives nothing at all."""
    return energy.extra_focal.collimator_distance_mm if energy.extra_focal else 0.5 * machine.sad_mm


def collimators_of(beam: Beam, machine: Machine, energy: Energy) -> Collimators:
    """The machine's collimators, as far as the beam uses them."""
    default = default_plane_mm(machine, energy)
    along_is_x = beam.mlc is None or beam.mlc.axis == "X"
    along, across = (machine.jaw_x, machine.jaw_y) if along_is_x else (machine.jaw_y, machine.jaw_x)
    backup = machine.backup_jaws
    along_transmission, along_plane = _of_jaws(along, default)
    if along is None and backup is not None:
        along_transmission, along_plane = (backup.transmission,) * 2, backup.distance_mm or default
    across_transmission, across_plane = _of_jaws(across, default)
    layers, planes = [], []
    for mlc, geometry in _stacked_mlcs(beam, machine):
        planes.append(mlc.distance_mm or default)
        edges, shares = tip_edges(mlc, machine.sad_mm / planes[-1])
        layers.append(Layer(mlc, geometry.boundaries_mm, edges, shares))
    return Collimators(
        along_is_x,
        tuple(layers),
        np.array([*along_transmission, *across_transmission]),
        (along_plane, across_plane),
        float(np.mean(planes)) if planes else default,
    )


def _stacked_mlcs(beam: Beam, machine: Machine) -> list[tuple[Mlc, MlcGeometry]]:
    """The layers of leaves that machine and beam both have, in the order of the plan."""
    pairs = ((machine.mlc, beam.mlc), (machine.second_mlc, beam.second_mlc))
    return [(mlc, geometry) for mlc, geometry in pairs if mlc is not None and geometry is not None]


def _of_jaws(jaws: Jaws | None, default: float) -> tuple[tuple[float, float], float]:
    if jaws is None:
        return (0.0, 0.0), default
    return jaws.lower_upper, jaws.distance_mm or default


@lru_cache(maxsize=64)
def tip_edges(mlc: Mlc, magnification: float) -> tuple[FloatArray, FloatArray]:
    """A leaf end as sharp edges: the share q passes within u of the tip (docs/beam-model.md, eq. 2.4).

    Parameters
    ----------
    mlc : Mlc
    magnification : float
        From the leaf to the isocentre plane.

    Returns
    -------
    edges_mm, shares : float64 [n]
        Their mean is the commissioned tip offset.
    """
    tip = mlc.tip
    if tip is None:
        return np.array([mlc.tip_offset_mm]), np.ones(1)
    least = np.exp(-tip.attenuation_per_mm * tip.thickness_mm)
    bounds = (np.arange(_TIP_PARTS + 1) / _TIP_PARTS) ** 2
    shares = np.diff(bounds)
    q = bounds[:-1, None] + shares[:, None] * (np.arange(64) + 0.5) / 64
    chord = -np.log(least + (1 - least) * q) / tip.attenuation_per_mm
    behind = tip.radius_mm - np.sqrt(tip.radius_mm**2 - chord**2 / 4)
    edges = behind.mean(1) * magnification
    return edges - edges @ shares + mlc.tip_offset_mm, shares


def apertures_of(beam: Beam, view: View, machine: Machine, energy: Energy) -> tuple[Aperture, ...]:
    """The collimators' positions segment by segment."""
    along_is_x = beam.mlc is None or beam.mlc.axis == "X"
    out = []
    for s in view.segments:
        jaw_x, jaw_y = _jaw(s, machine, "jaw_x"), _jaw(s, machine, "jaw_y")
        along, across = (jaw_x, jaw_y) if along_is_x else (jaw_y, jaw_x)
        if machine.backup_jaws is not None and (machine.jaw_x if along_is_x else machine.jaw_y) is None:
            along = _on_the_way(s, *(_backup(cp, machine.backup_jaws.margin_mm) for cp in (s.start, s.end)))
        names = ("leaves_mm", "second_leaves_mm")
        leaves = tuple(
            _leaves(s, name, mlc, geometry)
            for name, (mlc, geometry) in zip(names, _stacked_mlcs(beam, machine), strict=False)
        )
        weight = s.weight / view.weight * relative_output(s, energy)
        out.append(Aperture(leaves, along, across, weight))
    return tuple(out)


def _on_the_way(segment: Segment, start: FloatArray, end: FloatArray) -> FloatArray:
    """Positions at both ends of the segment, which is a part of the way between two control points."""
    return np.array([start + (end - start) * share for share in (segment.from_share, segment.to_share)])


def _jaw(segment: Segment, machine: Machine, which: str) -> FloatArray:
    """Jaw edges at both ends of the segment, float64 [2, 2]; far away where there is no jaw."""
    a, b = getattr(segment.start, f"{which}_mm"), getattr(segment.end, f"{which}_mm")
    if a is None or b is None or getattr(machine, which) is None:
        return np.array([[-FAR_MM, FAR_MM]] * 2)
    return _on_the_way(segment, np.array(a), np.array(b))


def _backup(cp: ControlPoint, margin_mm: float) -> FloatArray:
    """Backup jaws behind the outermost ends of the open leaves; out of the way when none is open."""
    if cp.leaves_mm is None:
        return np.array([-FAR_MM, FAR_MM])
    open_pairs = cp.leaves_mm[cp.leaves_mm[:, 1] - cp.leaves_mm[:, 0] > CLOSED_GAP_MM]
    if len(open_pairs) == 0:
        return np.array([-FAR_MM, FAR_MM])
    return np.array([open_pairs[:, 0].min() - margin_mm, open_pairs[:, 1].max() + margin_mm])


def _leaves(segment: Segment, which: str, mlc: Mlc, geometry: MlcGeometry) -> FloatArray:
    """Leaf positions at both ends of the segment, float64 [2, pairs, 2], with what the offset changes by off axis."""
    a, b = getattr(segment.start, which), getattr(segment.end, which)
    if a is None or b is None:
        return np.tile([-FAR_MM, FAR_MM], (2, geometry.n_pairs, 1))
    leaves = _on_the_way(segment, np.asarray(a, np.float64), np.asarray(b, np.float64))
    table = mlc.tip_offset_table
    if table is None:
        return leaves
    own_side = np.array([-1.0, 1.0])
    return np.asarray(leaves + own_side * np.interp(leaves * own_side, table.position_mm, table.offset_mm))


def relative_output(segment: Segment, energy: Energy) -> float:
    """Photons per MU at the jaws' mean opening over those of the calibration field (monitor back-scatter)."""
    output = 1.0
    for table in energy.monitor_backscatter:
        which = f"jaw_{table.axis.lower()}_mm"
        a, b = getattr(segment.start, which), getattr(segment.end, which)
        if a is None or b is None:
            continue
        way = (segment.from_share + segment.to_share) / 2
        opening = (a[1] - a[0]) * (1 - way) + (b[1] - b[0]) * way
        at = np.interp([opening, energy.calibration.field_mm], table.opening_mm, table.relative_output)
        output *= float(at[0] / at[1])
    return output


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
    along, across = (x_mm, y_mm) if collimators.along_is_x else (y_mm, x_mm)
    columns = _pieces(
        along, _SUBSAMPLES if collimators.layers else 1, np.concatenate([a.jaw_along_mm.ravel() for a in apertures])
    )
    jaws_across = np.unique([a.jaw_across_mm for a in apertures])
    rows = _pieces(across, 1, np.concatenate([jaws_across, *(_strip_edges(layer) for layer in collimators.layers)]))
    kinds, kind_of_row = _distinct_rows(rows.middle_mm, collimators.layers, apertures, jaws_across)
    out = np.zeros((len(kinds), len(columns.middle_mm)))
    pair_of_row, closed = _row_leaves(kinds, collimators.layers)
    n_tips = max((len(layer.tip_mm) for layer in collimators.layers), default=1)
    tip_mm, tip_share = (np.zeros((len(collimators.layers), n_tips)) for _ in range(2))
    for i, layer in enumerate(collimators.layers):
        tip_mm[i, : len(layer.tip_mm)], tip_share[i, : len(layer.tip_mm)] = layer.tip_mm, layer.tip_share
    for a in apertures:
        start, end = _stacked(a, 0), _stacked(a, 1)
        add_transmission(
            out, columns.middle_mm, kinds, a.jaw_along_mm, a.jaw_across_mm, collimators.jaw_transmission,
            pair_of_row, closed, start, end, tip_mm, tip_share, a.weight,
        )  # fmt: skip
    mean = rows.mean(columns.mean(out.T).T[kind_of_row])
    return np.ascontiguousarray(mean if collimators.along_is_x else mean.T)


def jaw_profiles(
    collimators: Collimators, apertures: tuple[Aperture, ...], x_mm: FloatArray, y_mm: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean transmission of the jaws of each axis alone, float64 [nx] and [ny]."""
    alone = replace(collimators, layers=())
    bare = tuple(replace(a, leaves_mm=()) for a in apertures)
    along = mean_transmission(alone, tuple(replace(a, jaw_across_mm=_AWAY) for a in bare), x_mm, y_mm)
    across = mean_transmission(alone, tuple(replace(a, jaw_along_mm=_AWAY) for a in bare), x_mm, y_mm)
    return (along[0], across[:, 0]) if collimators.along_is_x else (across[0], along[:, 0])


def without_jaws(apertures: tuple[Aperture, ...]) -> tuple[Aperture, ...]:
    """The same leaves, the jaws out of the way."""
    return tuple(replace(a, jaw_along_mm=_AWAY, jaw_across_mm=_AWAY) for a in apertures)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Pixels cut into pieces, over each of which a middle value stands for the mean."""

    middle_mm: FloatArray
    length: FloatArray
    first: NDArray[np.int64]

    def mean(self, values: FloatArray) -> FloatArray:
        """Means over pixels of what is known of pieces, along the first axis."""
        return np.asarray(np.add.reduceat(values * self.length[:, None], self.first, axis=0))


def _pieces(centres_mm: FloatArray, parts: int, cuts_mm: FloatArray) -> _Pieces:
    """Cut even pixels into so many equal parts, and wherever an edge of a collimator lies."""
    pitch = centres_mm[1] - centres_mm[0]
    n = len(centres_mm) * parts
    first = centres_mm[0] - pitch / 2
    even = first + np.arange(n + 1) * (pitch / parts)
    inside = cuts_mm[(cuts_mm > even[0]) & (cuts_mm < even[-1])]
    nearest = even[np.clip(np.rint((inside - first) / (pitch / parts)).astype(np.int64), 0, n)]
    edges = np.concatenate([even, np.unique(np.round(inside[np.abs(inside - nearest) > 1e-6], 6))])
    pixel_edge = np.zeros(len(edges), np.bool_)
    pixel_edge[:n:parts] = True
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    (starts,) = np.nonzero(pixel_edge[order])
    return _Pieces((edges[1:] + edges[:-1]) / 2, np.diff(edges) / pitch, starts)


def _strip_edges(layer: Layer) -> FloatArray:
    """Where the kind of row changes across the leaves: at boundaries, or at both edges of each strip along one."""
    sides = layer.mlc.sides
    if sides is None:
        return layer.boundaries_mm
    inner = layer.boundaries_mm[1:-1]
    return np.concatenate([layer.boundaries_mm[[0, -1]], inner - sides.width_mm / 2, inner + sides.width_mm / 2])


def _row_leaves(across_mm: FloatArray, layers: tuple[Layer, ...]) -> tuple[NDArray[np.int64], FloatArray]:
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


def _distinct_rows(
    across_mm: FloatArray, layers: tuple[Layer, ...], apertures: tuple[Aperture, ...], jaws_mm: FloatArray
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Rows that differ, and for each row which of them it equals: the same leaves behind jaws that stand the same.

    Where a jaw passes over a row during a segment, the row is like no other.
    """
    keys = [np.searchsorted(jaws_mm, across_mm)]
    keys += list(_row_leaves(across_mm, layers)[0].reshape(-1, len(across_mm)))
    swept = np.zeros(len(across_mm), np.bool_)
    for a in apertures:
        for lower, upper in zip(a.jaw_across_mm.min(0), a.jaw_across_mm.max(0), strict=True):
            swept |= (across_mm > lower) & (across_mm < upper)
    keys.append(np.where(swept, np.arange(1, len(across_mm) + 1), 0))
    _, first, inverse = np.unique(np.stack(keys), axis=1, return_index=True, return_inverse=True)
    return across_mm[first], np.asarray(inverse).ravel()


def _stacked(aperture: Aperture, end: int) -> FloatArray:
    """Leaves of all layers at the start (0) or the end (1), float64 [layers, pairs, 2]; missing pairs are closed."""
    pairs = max((leaves.shape[1] for leaves in aperture.leaves_mm), default=0)
    out = np.zeros((len(aperture.leaves_mm), pairs, 2))
    for i, leaves in enumerate(aperture.leaves_mm):
        out[i, : leaves.shape[1]] = leaves[end]
    return out
