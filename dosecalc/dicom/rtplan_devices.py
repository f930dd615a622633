"""Jaws and leaves of an RT Plan: the devices of a beam and their positions at a control point."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtPlanError
from dosecalc.plan import MlcGeometry

FloatArray = NDArray[np.float64]

_JAW_AXIS = {"X": "X", "ASYMX": "X", "Y": "Y", "ASYMY": "Y"}
#: MLCX1 and MLCX2 are what dual-layer machines write; they are no defined terms of DICOM
_MLC_AXIS = {"MLCX": "X", "MLCY": "Y", "MLCX1": "X", "MLCX2": "X", "MLCY1": "Y", "MLCY2": "Y"}
#: no collimator opens farther than this from the axis, at the isocentre plane
_FARTHEST_MM = 1000.0
#: positions may cross by this much through rounding; they are then set to their middle
_ROUNDING_MM = 0.1


@dataclass(frozen=True, eq=False)
class LeafLayer:
    """A multi-leaf collimator.

    Parameters
    ----------
    kind : str
        Device type.
    geometry : MlcGeometry
    is_reversed : bool
        The plan lists the leaf pairs from the highest boundary to the lowest.
    """

    kind: str
    geometry: MlcGeometry
    is_reversed: bool


@dataclass(frozen=True, eq=False)
class Devices:
    """The beam limiting devices of a beam.

    Parameters
    ----------
    jaws : mapping of axis ('X', 'Y') to device type
    layers : tuple of LeafLayer
        None, one, or two stacked layers whose leaves move along the same axis, by name: MLCX1 goes before MLCX2.
    other_mlcs, unknown : tuple of str
        Device types of further MLCs, and of what is neither jaw nor MLC.
    """

    jaws: dict[str, str] = field(default_factory=dict)
    layers: tuple[LeafLayer, ...] = ()
    other_mlcs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def layer(self, index: int) -> MlcGeometry | None:
        """Geometry of the first or second layer, None where there is none."""
        return self.layers[index].geometry if index < len(self.layers) else None


@dataclass(frozen=True, eq=False)
class Aperture:
    """Positions of all devices: what a control point inherits and changes."""

    jaw_x_mm: tuple[float, float] | None = None
    jaw_y_mm: tuple[float, float] | None = None
    leaves_mm: tuple[FloatArray, ...] = ()

    def layer(self, index: int) -> FloatArray | None:
        """Positions of the first or second layer, None where there is none."""
        return self.leaves_mm[index] if index < len(self.leaves_mm) else None


def read_devices(beam: Dataset, file: str) -> Devices:
    """The beam limiting devices of one item of the Beam Sequence.

    Raises
    ------
    RtPlanError
        ``JAW_DUPLICATE``, ``LEAF_BOUNDARIES``, or what `values` finds wrong.
    """
    jaws: dict[str, str] = {}
    mlcs: list[tuple[str, Dataset]] = []
    unknown: list[str] = []
    for item in values.items(beam, "BeamLimitingDeviceSequence", file, error=RtPlanError):
        kind = values.text(item, "RTBeamLimitingDeviceType", file, error=RtPlanError).upper()
        if kind in _JAW_AXIS:
            axis = _JAW_AXIS[kind]
            if axis in jaws:
                raise RtPlanError("JAW_DUPLICATE", f"The beam has two pairs of jaws along {axis}.", file=file)
            jaws[axis] = kind
        elif kind in _MLC_AXIS:
            mlcs.append((kind, item))
        else:
            unknown.append(kind)
    axis = _MLC_AXIS[mlcs[0][0]] if mlcs else ""
    stacked = [(kind, item) for kind, item in mlcs if _MLC_AXIS[kind] == axis][:2]
    if len({kind for kind, _ in stacked}) < len(stacked):
        stacked = stacked[:1]  # two of one name cannot be told apart
    layers = tuple(_leaf_layer(kind, item, file) for kind, item in sorted(stacked, key=lambda layer: layer[0]))
    others = tuple(kind for kind, item in mlcs if all(item is not known for _, known in stacked))
    return Devices(jaws, layers, others, tuple(unknown))


def _leaf_layer(kind: str, item: Dataset, file: str) -> LeafLayer:
    n_pairs = values.integer(item, "NumberOfLeafJawPairs", file, minimum=1, maximum=1000, error=RtPlanError)
    boundaries = values.numbers(
        item, "LeafPositionBoundaries", file, minimum=-_FARTHEST_MM, maximum=_FARTHEST_MM, error=RtPlanError
    )
    if len(boundaries) != n_pairs + 1:
        raise RtPlanError(
            "LEAF_BOUNDARIES",
            f"{n_pairs} leaf pairs need {n_pairs + 1} leaf position boundaries, but the plan gives {len(boundaries)}.",
            file=file,
            tag=values.tag_name("LeafPositionBoundaries"),
        )
    steps = np.diff(boundaries)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise RtPlanError(
            "LEAF_BOUNDARIES",
            "The leaf position boundaries do not all rise; export the plan again.",
            file=file,
            tag=values.tag_name("LeafPositionBoundaries"),
        )
    is_reversed = bool(steps[0] < 0)
    ascending = boundaries[::-1].copy() if is_reversed else boundaries
    ascending.flags.writeable = False
    return LeafLayer(kind, MlcGeometry(_MLC_AXIS[kind], ascending), is_reversed)


def read_aperture(control_point: Dataset, devices: Devices, before: Aperture, file: str) -> Aperture:
    """Positions at a control point; what the plan does not repeat stays as ``before``.

    Raises
    ------
    RtPlanError
        ``JAWS_REVERSED``, ``LEAVES_OVERLAP``, ``DEVICE_UNDEFINED``, or what `values` finds wrong.
    """
    jaw: dict[str, tuple[float, float] | None] = {"X": before.jaw_x_mm, "Y": before.jaw_y_mm}
    kinds = [layer.kind for layer in devices.layers]
    leaves = dict(zip(kinds, before.leaves_mm, strict=False))
    for item in values.items(control_point, "BeamLimitingDevicePositionSequence", file, error=RtPlanError):
        kind = values.text(item, "RTBeamLimitingDeviceType", file, error=RtPlanError).upper()
        if kind in kinds:
            leaves[kind] = _leaves(item, devices.layers[kinds.index(kind)], file)
        elif kind in devices.unknown or kind in devices.other_mlcs:
            continue  # the beam is refused for them, whatever their positions
        elif kind in _JAW_AXIS and devices.jaws.get(_JAW_AXIS[kind]) == kind:
            jaw[_JAW_AXIS[kind]] = _jaws(item, _JAW_AXIS[kind], file)
        else:
            raise RtPlanError(
                "DEVICE_UNDEFINED",
                f"Positions are given for the device {kind!r}, which the beam does not define.",
                file=file,
                tag=values.tag_name("BeamLimitingDeviceSequence"),
            )
    if before.leaves_mm == () and len(leaves) < len(kinds):
        lacking = [kind for kind in kinds if kind not in leaves]
        raise _no_position(lacking, file)
    return Aperture(jaw["X"], jaw["Y"], tuple(leaves[kind] for kind in kinds))


def check_complete(aperture: Aperture, devices: Devices, file: str) -> None:
    """At the first control point every device must have its position.

    Raises
    ------
    RtPlanError
        ``POSITION_MISSING``.
    """
    have = {"X": aperture.jaw_x_mm, "Y": aperture.jaw_y_mm}
    lacking = [kind for axis, kind in devices.jaws.items() if have[axis] is None]
    if lacking:
        raise _no_position(lacking, file)


def _no_position(lacking: list[str], file: str) -> RtPlanError:
    return RtPlanError(
        "POSITION_MISSING",
        f"The first control point gives no position for {', '.join(lacking)}.",
        file=file,
        tag=values.tag_name("LeafJawPositions"),
    )


def _positions(item: Dataset, count: int, file: str) -> FloatArray:
    return values.numbers(
        item, "LeafJawPositions", file, count=count, minimum=-_FARTHEST_MM, maximum=_FARTHEST_MM, error=RtPlanError
    )


def _jaws(item: Dataset, axis: str, file: str) -> tuple[float, float]:
    lower, upper = (float(v) for v in _positions(item, 2, file))
    if lower > upper + _ROUNDING_MM:
        raise RtPlanError(
            "JAWS_REVERSED",
            f"The lower {axis} jaw stands at {lower:g} mm, beyond the upper one at {upper:g} mm.",
            file=file,
            tag=values.tag_name("LeafJawPositions"),
        )
    if lower > upper:
        lower = upper = (lower + upper) / 2
    return lower, upper


def _leaves(item: Dataset, layer: LeafLayer, file: str) -> FloatArray:
    n = layer.geometry.n_pairs
    # DICOM lists bank 1 of all pairs, then bank 2
    leaves = np.ascontiguousarray(_positions(item, 2 * n, file).reshape(2, n).T)
    if layer.is_reversed:
        leaves = leaves[::-1].copy()
    overlap = leaves[:, 0] - leaves[:, 1]
    worst = int(np.argmax(overlap))
    if overlap[worst] > _ROUNDING_MM:
        raise RtPlanError(
            "LEAVES_OVERLAP",
            f"The leaves of pair {worst + 1} overlap by {overlap[worst]:g} mm.",
            file=file,
            tag=values.tag_name("LeafJawPositions"),
        )
    crossed = overlap > 0
    leaves[crossed] = leaves[crossed].mean(axis=1, keepdims=True)
    leaves.flags.writeable = False
    return leaves
