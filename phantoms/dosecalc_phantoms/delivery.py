"""Plans whose delivery has an answer that is known without another engine.

Two come with the closed form of their fluence, the others in pairs, or with a sum, that must give the same dose;
`docs/delivery-tests.md` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.plan import Beam, ControlPoint, MlcGeometry
from dosecalc_phantoms.plans import PlanSetup, beam_of, mlc_of, point_of

FloatArray = NDArray[np.float64]

GAP_MM = 10.0
#: middles of the pickets
PICKETS_MM = (-60.0, -30.0, 0.0, 30.0, 60.0)
#: meterset share of a picket, and of the way from one to the next
PICKET_SHARE, MOVE_SHARE = 0.19, 0.0125
#: how far beyond the jaws the sliding gap starts and ends: nothing inside them sees its ends
OVERTRAVEL_MM = 25.0
#: meterset share of each move when a step-and-shoot beam is written as a dynamic one
STEP_SHARE = 0.001
_FENCE_HALF_MM = (80.0, 50.0)
_LEAF_LIMIT_MM = 195.0
#: (lower, upper, lowest row, highest row) of an opening without any symmetry: two rectangles
ODD_SHAPE = ((-20.0, 35.0, -25.0, 10.0), (5.0, 35.0, 10.0, 40.0))
_ODD_JAWS = ((-20.0, 35.0), (-25.0, 40.0))
#: openings of the three segments, with their shares
_STEPS = ((0.5, -30.0, 5.0), (0.3, -5.0, 35.0), (0.2, -15.0, 15.0))
_STEP_HALF_MM = 35.0


@dataclass(frozen=True)
class Sweep:
    """A gap between leaf tips whose middle moves evenly.

    Parameters
    ----------
    share : float
        Of the beam's meterset.
    start_mm, stop_mm : float
        Middle of the gap; equal while it rests.
    gap_mm : float
    """

    share: float
    start_mm: float
    stop_mm: float
    gap_mm: float = GAP_MM

    def open_share(self, x_mm: FloatArray) -> FloatArray:
        """Share of the beam's meterset for which the gap lies over places along the leaves, float64 [n].

        The gap lies over x while its middle is within half a gap of x; the middle is spread evenly over the way.
        """
        x = np.asarray(x_mm, dtype=np.float64)
        if self.start_mm == self.stop_mm:
            return np.where(np.abs(x - self.start_mm) < self.gap_mm / 2, self.share, 0.0)
        lower, upper = sorted((self.start_mm, self.stop_mm))
        over = np.minimum(x + self.gap_mm / 2, upper) - np.maximum(x - self.gap_mm / 2, lower)
        return np.asarray(self.share * np.clip(over, 0.0, None) / (upper - lower))


def picket_fence_sweeps() -> tuple[Sweep, ...]:
    """Five rests of a gap of 10 mm, 30 mm apart, and the ways between them with the beam on."""
    sweeps = []
    for i, middle in enumerate(PICKETS_MM):
        if i:
            sweeps.append(Sweep(MOVE_SHARE, PICKETS_MM[i - 1], middle))
        sweeps.append(Sweep(PICKET_SHARE, middle, middle))
    return tuple(sweeps)


def sliding_gap_sweep(field_x_mm: float) -> Sweep:
    """One gap of 10 mm over the whole of the field and beyond both of its edges."""
    reach = min(field_x_mm / 2 + OVERTRAVEL_MM, _LEAF_LIMIT_MM - GAP_MM / 2)
    return Sweep(1.0, -reach, reach)


def open_share(sweeps: tuple[Sweep, ...], x_mm: FloatArray) -> FloatArray:
    """Share of the meterset for which places along the leaves are open: the closed form of the mean opening."""
    return np.asarray(sum((s.open_share(x_mm) for s in sweeps), np.zeros(np.shape(x_mm))))


def picket_fence(setup: PlanSetup) -> tuple[Beam, ...]:
    """Five strips of 10 mm, 30 mm apart, from gantry 0, in one dynamic beam."""
    x, y = ((-h, h) for h in _FENCE_HALF_MM)
    return (swept_gap(setup, picket_fence_sweeps(), x, y, "Picket fence"),)


def sliding_gap(setup: PlanSetup) -> tuple[Beam, ...]:
    """A gap of 10 mm that slides evenly over the open field of the setup, from gantry 0."""
    x, y = ((-f / 2, f / 2) for f in setup.field_mm)
    return (swept_gap(setup, (sliding_gap_sweep(setup.field_mm[0]),), x, y, "Sliding gap"),)


def constant_arc(setup: PlanSetup) -> tuple[Beam, ...]:
    """An arc from 181 to 179 degrees with an aperture that stands still and has no symmetry."""
    return (arc_of(setup, 181.0, 358.0),)


def arc_of(setup: PlanSetup, start_deg: float, sweep_deg: float) -> Beam:
    """A clockwise arc of the same aperture, with a control point at least every 10 degrees."""
    mlc = mlc_of(setup.machine_name)
    leaves = _odd_leaves(mlc)
    shares = np.linspace(0.0, 1.0, int(np.ceil(sweep_deg / 10.0)) + 1)
    points = tuple(
        point_of(
            setup,
            i,
            float(share),
            float(round((start_deg + share * sweep_deg) % 360.0, 6)),
            jaw_x_mm=_ODD_JAWS[0],
            jaw_y_mm=_ODD_JAWS[1],
            leaves=leaves,
            direction="CW" if i < len(shares) - 1 else "NONE",
        )
        for i, share in enumerate(shares)
    )
    return beam_of(setup, 1, "Arc", mlc, points)


def arc_as_fields(setup: PlanSetup, start_deg: float, sweep_deg: float, fields: int) -> tuple[Beam, ...]:
    """The same arc as static fields in the middles of equal parts, each of which gets its share of the meterset."""
    angles = start_deg + (np.arange(fields) + 0.5) * sweep_deg / fields
    return tuple(odd_field(setup, n, float(a) % 360.0, 0.0, 0.0) for n, a in enumerate(angles, start=1))


def stepped(setup: PlanSetup) -> tuple[Beam, ...]:
    """Three segments from gantry 0, the beam off between them."""
    shares = np.cumsum([0.0] + [s for s, _, _ in _STEPS])
    states = [(float(at), i) for i in range(len(_STEPS)) for at in (shares[i], shares[i + 1])]
    return (_stepping_beam(setup, states, "Step and shoot"),)


def stepped_as_dynamic(setup: PlanSetup) -> tuple[Beam, ...]:
    """The same segments in one dynamic beam: the leaves travel with the beam on, in a thousandth of the meterset.

    Each segment keeps its share of what the two moves leave over, and is itself cut into five equal parts.
    """
    kept = 1.0 - STEP_SHARE * (len(_STEPS) - 1)
    states: list[tuple[float, int]] = []
    given = 0.0
    for i, (share, _, _) in enumerate(_STEPS):
        states += [(given + share * kept * k / 5, i) for k in range(6)]
        given += share * kept + STEP_SHARE
    return (_stepping_beam(setup, states, "Dynamic"),)


def rotated(setup: PlanSetup) -> tuple[Beam, ...]:
    """Fields whose couch and collimator rotations undo each other: see `unrotated`."""
    return odd_field(setup, 1, 0.0, 35.0, 35.0), odd_field(setup, 2, 40.0, 180.0, 180.0)


def unrotated(setup: PlanSetup) -> tuple[Beam, ...]:
    """What `rotated` is in the patient, with couch and collimator at zero.

    From gantry 0 couch and collimator turn about the same axis; with the couch turned by 180 degrees gantry 40 enters
    the patient where gantry 320 does otherwise.
    """
    return odd_field(setup, 1, 0.0, 0.0, 0.0), odd_field(setup, 2, 320.0, 0.0, 0.0)


#: the plans by name
DELIVERY_PLANS: dict[str, Callable[[PlanSetup], tuple[Beam, ...]]] = {
    "picket-fence": picket_fence,
    "sliding-gap": sliding_gap,
    "constant-arc": constant_arc,
    "stepped": stepped,
    "stepped-as-dynamic": stepped_as_dynamic,
    "rotated": rotated,
    "unrotated": unrotated,
}


def swept_gap(
    setup: PlanSetup,
    sweeps: tuple[Sweep, ...],
    jaw_x_mm: tuple[float, float],
    jaw_y_mm: tuple[float, float],
    name: str,
) -> Beam:
    """A beam from gantry 0 in which all leaf pairs move as one gap, sweep after sweep."""
    mlc = mlc_of(setup.machine_name)
    given = np.concatenate([[0.0], np.cumsum([s.share for s in sweeps])])
    middles = [sweeps[0].start_mm] + [s.stop_mm for s in sweeps]
    points = tuple(
        point_of(
            setup,
            i,
            float(round(share, 9)),
            0.0,
            jaw_x_mm=jaw_x_mm,
            jaw_y_mm=jaw_y_mm,
            leaves=np.tile([middle - GAP_MM / 2, middle + GAP_MM / 2], (mlc.n_pairs, 1)),
        )
        for i, (share, middle) in enumerate(zip(given, middles, strict=True))
    )
    return beam_of(setup, 1, name, mlc, points)


def _stepping_beam(setup: PlanSetup, states: list[tuple[float, int]], name: str) -> Beam:
    mlc = mlc_of(setup.machine_name)
    jaws = -_STEP_HALF_MM, _STEP_HALF_MM
    points: list[ControlPoint] = []
    for share, which in states:
        _, lower, upper = _STEPS[which]
        leaves = np.tile([lower, upper], (mlc.n_pairs, 1))
        points.append(
            point_of(setup, len(points), float(round(share, 9)), 0.0, jaw_x_mm=jaws, jaw_y_mm=jaws, leaves=leaves)
        )
    return beam_of(setup, 1, name, mlc, tuple(points))


def odd_field(setup: PlanSetup, number: int, gantry: float, collimator: float, couch: float) -> Beam:
    """A static field of an opening without any symmetry; angles in degrees."""
    mlc = mlc_of(setup.machine_name)
    leaves = _odd_leaves(mlc)
    points = tuple(
        point_of(
            setup,
            i,
            float(i),
            gantry,
            jaw_x_mm=_ODD_JAWS[0],
            jaw_y_mm=_ODD_JAWS[1],
            leaves=leaves,
            collimator_deg=collimator,
            couch_deg=couch,
        )
        for i in range(2)
    )
    return beam_of(setup, number, f"Gantry {gantry:.0f} couch {couch:.0f}", mlc, points)


def _odd_leaves(mlc: MlcGeometry) -> FloatArray:
    middles = (mlc.boundaries_mm[1:] + mlc.boundaries_mm[:-1]) / 2
    leaves = np.full((mlc.n_pairs, 2), sum(_ODD_JAWS[0]) / 2)
    for lower, upper, from_row, to_row in ODD_SHAPE:
        leaves[(middles > from_row) & (middles < to_row)] = lower, upper
    return leaves
