"""How far the open part of a field reaches, and how large its fluence map must be."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dosecalc.geometry.frames import axial_from_patient, bld_from_patient
from dosecalc.machine.model import BackupJaws, Energy, Jaws, Machine
from dosecalc.photon.collimation import CLOSED_GAP_MM
from dosecalc.photon.segments import View
from dosecalc.photon.transmission import Axis
from dosecalc.plan import Beam, ControlPoint, MlcGeometry

FloatArray = NDArray[np.float64]
#: ranges of x and y at the isocentre plane, mm
Box = tuple[tuple[float, float], tuple[float, float]]

#: share of a map's highest fluence below which it is neglected: about what jaws and leaves let through together
FLUENCE_CUTOFF = 1e-4
#: room beside the open box for what the focal spot and the extra-focal source blur over the edge
_BLUR_MM = 20.0


class FieldBoxes:
    """The boxes of a beam's control points, found once each.

    Parameters
    ----------
    beam : Beam
    machine, energy
        Of the beam.
    """

    def __init__(self, beam: Beam, machine: Machine, energy: Energy) -> None:
        self._beam, self._machine, self._energy = beam, machine, energy
        self._reach: dict[ControlPoint, tuple[float, float]] = {}

    def axes(self, points: Iterable[ControlPoint], pitch_mm: float) -> tuple[Axis, Axis]:
        """Pixels along x and y that hold every place with some fluence of some control points, symmetric about 0.

        Beside the open box there must be room for the blur, and where leaves are open behind a jaw or another layer
        that lets more through than is neglected, for that; where even everything closed lets more through, the map
        reaches as far as the beam.
        """
        points = list(points)
        widest = max(self._energy.off_axis.radius_mm[-1], 150.0)
        out = []
        for axis in (0, 1):
            reach = max(self._reach_of(cp)[axis] for cp in points)
            leaks = _behind_closed(self._beam, self._machine, points[0], "xy"[axis]) > FLUENCE_CUTOFF
            half = widest if leaks else min(reach, widest) + _BLUR_MM
            out.append(Axis.about_zero(int(np.ceil(half / pitch_mm)), pitch_mm))
        return out[0], out[1]

    def _reach_of(self, cp: ControlPoint) -> tuple[float, float]:
        """Largest |x| and |y| of the open box, and of leaves that are open behind a jaw or a layer that leaks."""
        if cp not in self._reach:
            layers = _leaf_boxes(self._beam, self._machine, cp)
            reach = []
            for axis, edges in enumerate(_open_box(self._beam, self._machine, cp)):
                jaw = self._machine.jaw_x if axis == 0 else self._machine.jaw_y
                leaky = len(layers) > 1 or (jaw is not None and jaw.transmission > FLUENCE_CUTOFF)
                behind = [edge for box in layers for edge in box[axis]] if leaky else []
                reach.append(max(map(abs, (*edges, *behind))))
            self._reach[cp] = reach[0], reach[1]
        return self._reach[cp]


def _behind_closed(beam: Beam, machine: Machine, point: ControlPoint, axis: str) -> float:
    """Transmission beside the open box along an axis: through a jaw where there is one, and through leaves."""
    jaw: Jaws | BackupJaws | None = getattr(machine, f"jaw_{axis}")
    jawed = jaw is not None and getattr(point, f"jaw_{axis}_mm") is not None
    leafed = machine.mlc is not None and beam.mlc is not None
    if jaw is None and machine.mlc is not None and leafed and machine.mlc.axis.lower() == axis:
        jaw, jawed = machine.backup_jaws, machine.backup_jaws is not None
    through = 1.0
    if jaw is not None and jawed:
        through *= jaw.transmission
    if machine.mlc is not None and leafed:
        through *= machine.mlc.transmission
    if machine.second_mlc is not None and beam.second_mlc is not None:
        through *= machine.second_mlc.transmission
    return through


def _open_box(beam: Beam, machine: Machine, cp: ControlPoint) -> Box:
    """Where jaws (or, without them, the leaves of all layers) let fluence through: ranges of x and y."""
    layers = _leaf_boxes(beam, machine, cp)
    leaf_x, leaf_y = ((max(box[axis][0] for box in layers), min(box[axis][1] for box in layers)) for axis in (0, 1))
    return cp.jaw_x_mm or leaf_x, cp.jaw_y_mm or leaf_y


def _leaf_boxes(beam: Beam, machine: Machine, cp: ControlPoint) -> list[Box]:
    """Where each layer of leaves is open, behind jaws or not; without leaves everywhere that a beam reaches."""
    half = machine.sad_mm * 0.2
    layers = ((beam.mlc, cp.leaves_mm), (beam.second_mlc, cp.second_leaves_mm))
    boxes = [_leaf_box(mlc, leaves, half) for mlc, leaves in layers if mlc is not None and leaves is not None]
    return boxes or [((-half, half), (-half, half))]


def _leaf_box(mlc: MlcGeometry, leaves_mm: FloatArray, half_mm: float) -> Box:
    """Where one layer is open."""
    (pairs,) = np.nonzero(leaves_mm[:, 1] - leaves_mm[:, 0] > CLOSED_GAP_MM)
    if len(pairs) == 0:
        return (-half_mm, half_mm), (float(mlc.boundaries_mm[0]), float(mlc.boundaries_mm[-1]))
    tip = 5.0
    along = (float(leaves_mm[pairs, 0].min()) - tip, float(leaves_mm[pairs, 1].max()) + tip)
    across = (float(mlc.boundaries_mm[pairs[0]]), float(mlc.boundaries_mm[pairs[-1] + 1]))
    return (along, across) if mlc.axis == "X" else (across, along)


def largest_tilt(beam: Beam, view: View, machine: Machine) -> float:
    """Largest |x| or |y| over SAD, in the axial frame, that the open part of a view's field reaches."""
    reach = 0.0
    bld = bld_from_patient(view.gantry_deg, view.collimator_deg, view.couch_deg, beam.patient_position)
    gantry = bld_from_patient(view.gantry_deg, 0.0, view.couch_deg, beam.patient_position)
    turn = (axial_from_patient(gantry) @ bld.T)[:2, :2]
    for s in view.segments:
        for cp in (s.start, s.end):
            x, y = _open_box(beam, machine, cp)
            corners = np.array([(a, b) for a in x for b in y])
            reach = max(reach, float(np.abs(corners @ turn.T).max()))
    return reach / machine.sad_mm
