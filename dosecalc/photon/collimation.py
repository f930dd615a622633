"""The collimators in a beam and where they stand while it is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dosecalc.machine.model import Energy, Jaws, Machine, Mlc
from dosecalc.photon.segments import Segment, View
from dosecalc.plan import Beam, ControlPoint, MlcGeometry

FloatArray = NDArray[np.float64]

#: edges of a collimator that is not there, mm
FAR_MM = 1e6
#: leaf pairs open by less are closed: they neither bound the field nor take backup jaws along
CLOSED_GAP_MM = 0.01
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


@dataclass(frozen=True, eq=False)
class Motion:
    """The apertures of a view together, as kernels take them; see `dosecalc_kernels.contract`, "add_transmission".

    Parameters
    ----------
    leaves_mm : float64 [segments, 2, layers, pairs, 2]
        Layers with fewer pairs than others have closed ones behind their last.
    jaw_along_mm, jaw_across_mm : float64 [segments, 2, 2]
    weight : float64 [segments]
    """

    leaves_mm: FloatArray
    jaw_along_mm: FloatArray
    jaw_across_mm: FloatArray
    weight: FloatArray

    @classmethod
    def of(cls, apertures: Sequence[Aperture]) -> Motion:
        """Put apertures together."""
        banks = apertures[0].leaves_mm
        leaves = np.zeros((len(apertures), 2, len(banks), max((b.shape[1] for b in banks), default=0), 2))
        for s, aperture in enumerate(apertures):
            for layer, bank in enumerate(aperture.leaves_mm):
                leaves[s, :, layer, : bank.shape[1]] = bank
        return cls(
            leaves,
            np.array([a.jaw_along_mm for a in apertures]),
            np.array([a.jaw_across_mm for a in apertures]),
            np.array([a.weight for a in apertures]),
        )

    def without_jaws(self) -> Motion:
        """The same leaves, the jaws out of the way."""
        away = np.broadcast_to([-FAR_MM, FAR_MM], self.jaw_along_mm.shape)
        return replace(self, jaw_along_mm=away, jaw_across_mm=away)

    def jaws_rest(self) -> bool:
        """Whether no jaw moves."""
        positions = np.stack([self.jaw_along_mm, self.jaw_across_mm])
        return bool(np.ptp(positions, axis=(1, 2)).max() < 1e-3)


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
