"""Plans for phantoms: a static field, a four-field box, step-and-shoot segments and an arc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import InputError
from dosecalc.geometry.frames import bld_from_patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan
from dosecalc_phantoms.dual_layer import distal

FloatArray = NDArray[np.float64]
Point = tuple[float, float, float]

SAD_MM = 1000.0


@dataclass(frozen=True)
class PlanSetup:
    """What the plans of a phantom have in common.

    Parameters
    ----------
    machine_name : str
        Treatment machine name that goes into the plan.
    energy_mv : float
        Nominal energy, MV.
    fluence_mode : str
        ``STANDARD`` or ``FFF``.
    isocentre_mm : (x, y, z)
        Patient frame.
    target_radius_mm : float
        Radius of the sphere around the isocentre that the shaped plans aim at.
    field_mm : (x, y)
        Size of the open fields at the isocentre.
    mu_per_beam : float
        Meterset of every beam in one fraction, MU.
    fractions : int
    """

    machine_name: str
    energy_mv: float
    fluence_mode: str
    isocentre_mm: Point
    target_radius_mm: float
    field_mm: tuple[float, float]
    mu_per_beam: float
    fractions: int


def millennium120() -> MlcGeometry:
    """60 leaf pairs along X: 40 of 5 mm in the middle, 10 of 10 mm on each side (at the isocentre plane)."""
    outer = np.arange(-200.0, -100.0, 10.0)
    inner = np.arange(-100.0, 100.0, 5.0)
    return MlcGeometry("X", np.concatenate([outer, inner, np.arange(100.0, 201.0, 10.0)]))


def agility() -> MlcGeometry:
    """80 leaf pairs of 5 mm along X (at the isocentre plane)."""
    return MlcGeometry("X", np.arange(-200.0, 201.0, 5.0))


def mlc_of(machine_name: str) -> MlcGeometry:
    """The collimator that goes with a treatment machine name of this package; of two layers the distal one."""
    if has_two_layers(machine_name):
        return distal()
    return agility() if machine_name.endswith("AGIL") else millennium120()


def has_jaws_along_leaves(machine_name: str) -> bool:
    """Whether jaws stand behind the leaf ends: Agility has none (IEC 61217 X)."""
    return not machine_name.endswith("AGIL")


def has_two_layers(machine_name: str) -> bool:
    """Whether a second layer of leaves stands where other machines have jaws: `dual_layer.as_dual_layer`."""
    return machine_name.endswith("DUAL")


def static_plan(setup: PlanSetup) -> tuple[Beam, ...]:
    """One open field from gantry 0."""
    return (_open_beam(setup, 1, "Anterior", 0.0),)


def box_plan(setup: PlanSetup) -> tuple[Beam, ...]:
    """Four open fields at right angles."""
    fields = (("Anterior", 0.0), ("Left", 90.0), ("Posterior", 180.0), ("Right", 270.0))
    return tuple(_open_beam(setup, n, name, gantry) for n, (name, gantry) in enumerate(fields, start=1))


def step_and_shoot_plan(setup: PlanSetup) -> tuple[Beam, ...]:
    """Two fields, each of three shapes that are set one after the other, with the beam off in between."""
    mlc = mlc_of(setup.machine_name)
    radius = setup.target_radius_mm + 5.0
    windows = ((-radius, radius), (-radius, 0.0), (0.0, radius))
    weights = (0.5, 0.3, 0.2)
    beams = []
    for number, gantry in ((1, 0.0), (2, 90.0)):
        points: list[ControlPoint] = []
        meterset = 0.0
        for window, weight in zip(windows, weights, strict=True):
            leaves = _disc_leaves(mlc, radius, window)
            for fraction in (meterset, meterset + weight):
                points.append(
                    point_of(
                        setup,
                        len(points),
                        min(fraction, 1.0),
                        gantry,
                        jaw_x_mm=_symmetric(radius),
                        jaw_y_mm=_symmetric(radius),
                        leaves=leaves,
                    )
                )
            meterset += weight
        beams.append(beam_of(setup, number, f"Segments {gantry:.0f}", mlc, tuple(points)))
    return tuple(beams)


def vmat_plan(setup: PlanSetup) -> tuple[Beam, ...]:
    """One arc of 358 degrees in which a window sweeps to and fro over the target, a control point every 2 degrees."""
    mlc = mlc_of(setup.machine_name)
    radius = setup.target_radius_mm + 5.0
    travelled = np.linspace(0.0, 358.0, 180)
    points = []
    for index, angle in enumerate(travelled):
        middle = 0.5 * radius * np.sin(np.deg2rad(3 * angle))
        leaves = _disc_leaves(mlc, radius, (middle - 0.6 * radius, middle + 0.6 * radius))
        points.append(
            point_of(
                setup,
                index,
                float(angle / travelled[-1]),
                float((181.0 + angle) % 360.0),
                jaw_x_mm=_symmetric(radius),
                jaw_y_mm=_symmetric(radius),
                leaves=leaves,
                collimator_deg=10.0,
                direction="CW" if index < len(travelled) - 1 else "NONE",
            )
        )
    return (beam_of(setup, 1, "Arc", mlc, tuple(points)),)


#: the plans that any phantom can carry
PLAN_KINDS: dict[str, Callable[[PlanSetup], tuple[Beam, ...]]] = {
    "static": static_plan,
    "box": box_plan,
    "step-and-shoot": step_and_shoot_plan,
    "vmat": vmat_plan,
}


def plan_of(beams: tuple[Beam, ...], setup: PlanSetup, label: str) -> Plan:
    """The plan that gives each beam the setup's meterset."""
    return Plan(label, beams, (FractionGroup(1, setup.fractions, {b.number: setup.mu_per_beam for b in beams}),))


def for_patient_position(beam: Beam, patient_position: str) -> Beam:
    """The same beam through the same anatomy, for a patient who lies otherwise: all angles are found anew.

    The three rotations are taken from ``bld_from_patient`` of each control point. The couch stays at 0 whenever the
    new gantry and collimator angles can do it alone, which is so for every beam that had the couch at 0.
    """
    senses = [_turned(beam, c, patient_position) for c in beam.control_points]
    points = []
    for index, (point, (gantry, collimator, couch)) in enumerate(zip(beam.control_points, senses, strict=True)):
        direction = point.gantry_direction
        if direction != "NONE" and index + 1 < len(senses):
            step = (senses[index + 1][0] - gantry + 180.0) % 360.0 - 180.0
            direction = "CW" if step > 0 else "CC"
        points.append(
            replace(point, gantry_deg=gantry, collimator_deg=collimator, couch_deg=couch, gantry_direction=direction)
        )
    return replace(beam, patient_position=patient_position, control_points=tuple(points))


def _turned(beam: Beam, point: ControlPoint, patient_position: str) -> tuple[float, float, float]:
    wanted = bld_from_patient(point.gantry_deg, point.collimator_deg, point.couch_deg, beam.patient_position)
    return angles_for(wanted, patient_position)


def angles_for(bld_from_patient_: FloatArray, patient_position: str) -> tuple[float, float, float]:
    """Gantry, collimator and couch angles, degrees, that give a rotation for a patient position.

    Raises
    ------
    InputError
        ``ANGLES_NOT_FOUND`` when no combination does (cannot happen for a proper rotation).
    """
    # the row of the BLD frame's z axis in room coordinates gives the gantry angle up to the couch's turn
    from_support = bld_from_patient_ @ bld_from_patient(0.0, 0.0, 0.0, patient_position).T
    tilt = np.rad2deg(np.arccos(np.clip(from_support[2, 2], -1.0, 1.0)))
    gantries = (np.rad2deg(np.arctan2(from_support[2, 0], from_support[2, 2])), tilt, -tilt)
    heading = np.rad2deg(np.arctan2(from_support[2, 1], from_support[2, 0]))
    for gantry in gantries:
        for couch in (0.0, heading, heading + 180.0, -heading, 180.0 - heading):
            rest = bld_from_patient_ @ bld_from_patient(gantry, 0.0, couch, patient_position).T
            collimator = float(np.rad2deg(np.arctan2(rest[0, 1], rest[0, 0])))
            found = bld_from_patient(gantry, collimator, couch, patient_position)
            if np.allclose(found, bld_from_patient_, atol=1e-9):
                return _degrees(gantry), _degrees(collimator), _degrees(couch)
    raise InputError("ANGLES_NOT_FOUND", "No gantry, collimator and couch angles give this rotation.")


def _degrees(angle: float) -> float:
    """Into [0, 360), with the noise of the arithmetic rounded off."""
    return float(round(float(angle), 6) % 360.0)


def _open_beam(setup: PlanSetup, number: int, name: str, gantry_deg: float) -> Beam:
    x, y = _symmetric(setup.field_mm[0] / 2), _symmetric(setup.field_mm[1] / 2)
    points = tuple(point_of(setup, i, float(i), gantry_deg, jaw_x_mm=x, jaw_y_mm=y) for i in range(2))
    return beam_of(setup, number, name, None, points)


def _symmetric(half_mm: float) -> tuple[float, float]:
    return -half_mm, half_mm


def beam_of(
    setup: PlanSetup, number: int, name: str, mlc: MlcGeometry | None, points: tuple[ControlPoint, ...]
) -> Beam:
    """A beam of the setup's machine for a patient who lies head first supine."""
    return Beam(
        number=number,
        name=name,
        machine_name=setup.machine_name,
        radiation="PHOTON",
        energy_mv=setup.energy_mv,
        fluence_mode=setup.fluence_mode,
        sad_mm=SAD_MM,
        patient_position="HFS",
        mlc=mlc,
        control_points=points,
    )


def point_of(
    setup: PlanSetup,
    index: int,
    meterset_fraction: float,
    gantry_deg: float,
    *,
    jaw_x_mm: tuple[float, float],
    jaw_y_mm: tuple[float, float],
    leaves: FloatArray | None = None,
    collimator_deg: float = 0.0,
    couch_deg: float = 0.0,
    direction: str = "NONE",
) -> ControlPoint:
    """A control point at the setup's isocentre; angles in degrees, positions at the isocentre plane."""
    return ControlPoint(
        index=index,
        meterset_fraction=meterset_fraction,
        gantry_deg=gantry_deg,
        collimator_deg=collimator_deg,
        couch_deg=couch_deg,
        gantry_direction=direction,
        isocentre_patient_mm=setup.isocentre_mm,
        jaw_x_mm=jaw_x_mm,
        jaw_y_mm=jaw_y_mm,
        leaves_mm=leaves,
    )


def _disc_leaves(mlc: MlcGeometry, radius_mm: float, window_mm: tuple[float, float]) -> FloatArray:
    """Leaves around the part of a disc that lies in a window, float64 [n_pairs, 2], mm; other pairs stay closed."""
    middles = (mlc.boundaries_mm[1:] + mlc.boundaries_mm[:-1]) / 2
    half = np.sqrt(np.clip(radius_mm**2 - middles**2, 0.0, None))
    lower, upper = np.maximum(-half, window_mm[0]), np.minimum(half, window_mm[1])
    closed = lower >= upper
    lower[closed] = upper[closed] = 0.0
    # a plan states positions to a hundredth of a millimetre
    return np.round(np.column_stack([lower, upper]), 2) + 0.0
