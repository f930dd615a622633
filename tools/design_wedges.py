"""Design the wedges of the generic machine models, and write them into the parts of those models.

Usage: python tools/design_wedges.py [PART ...]

No maker's drawing of a plate is public that could be cited, so the generic plates are what the definition asks for: of
linearly rising thickness, as steep as it must be for the isodose through the axis at 10 cm depth to be turned by the
wedge angle (field 10 x 10 cm, SSD 90 cm, between the places half-way from the axis to the field's edges). The same goes
for a jaw that crosses the field where the maker's golden table is not public: its dose rises exponentially. Where it
is, the table is the golden one, and the angle that the engine finds for it is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine.accessories import DynamicWedge, MachineAccessories, WedgePlate
from dosecalc.machine.library import parse_shipped
from dosecalc.machine.model import Energy, Machine
from dosecalc.patient.model import Patient
from dosecalc.plan import Accessories, Beam, ControlPoint, FractionGroup, MlcGeometry, Plan, Wedge

DATA = Path(__file__).resolve().parent.parent / "dosecalc" / "machine" / "data"
HEADER = "# Wedges of generic machines: a part of the models that name it.\n"
DEPTH_MM = 100.0
HALF_FIELD_MM = 50.0
#: stainless steel 316, as in the attenuation table
STEEL = ("stainless_steel_316", 7.9)
PLATE_ANGLES = (15.0, 30.0, 45.0, 60.0)
#: half of the longest field along the slope, mm: steep wedges are short because of their weight
PLATE_REACH_MM = {15.0: 100.0, 30.0: 100.0, 45.0: 100.0, 60.0: 75.0}
#: thickness at the toe, mm: a plate has an edge
TOE_MM = 1.0
DYNAMIC_ANGLES = (10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0)
SOURCE = (
    "generic assumption, no maker's wedge: designed by tools/design_wedges.py so that the isodose at 10 cm depth is "
    "turned by the wedge angle at {mv:g} MV"
)
#: positions of the lower jaw in the tables below, mm
GOLDEN_MM = tuple(float(y) for y in range(-200, 101, 10))
#: golden segmented treatment tables of the enhanced dynamic wedge by nominal energy
GOLDEN = {
    6.0: (
        0.150691, 0.168051, 0.187220, 0.208376, 0.231707, 0.257422, 0.285748, 0.316933, 0.351245, 0.388978, 0.430453,
        0.476017, 0.526050, 0.580964, 0.641210, 0.707274, 0.779690, 0.859035, 0.945937, 1.041080, 1.145206, 1.259122,
        1.383704, 1.519904, 1.668756, 1.831381, 2.008999, 2.202931, 2.414611, 2.645597, 2.897577,
    ),
    10.0: (
        0.195441, 0.214977, 0.236228, 0.259328, 0.284425, 0.311673, 0.341242, 0.373311, 0.408074, 0.445738, 0.486525,
        0.530673, 0.578438, 0.630093, 0.685931, 0.746266, 0.811433, 0.881793, 0.957731, 1.039658, 1.128016, 1.223276,
        1.325944, 1.436558, 1.555697, 1.683978, 1.822059, 1.970646, 2.130494, 2.302406, 2.487244,
    ),
}  # fmt: skip
GOLDEN_SOURCE = (
    "golden segmented treatment table of Varian's enhanced dynamic wedge at {mv:g} MV, 60 degrees, as read in two "
    "public programs of different authors that agree in every digit: a Python writer of jaw motions for Monte Carlo "
    "(class stt) and a C# check of monitor units (GSTT_{mv:g}X); the last 5 mm are left open (the same writer)"
)


def isodose_angle(machine: Machine, energy: Energy, wedge: Wedge) -> float:
    """Angle, degrees, of the isodose through the axis at 10 cm depth behind a wedge whose toe points to +y."""
    n = np.array([42, 64, 40])  # x, y (depth), z
    spacing = (5.0, 2.5, 5.0)
    origin = (-5.0 * 20.5, 1.25, -5.0 * 19.5)
    grid = Grid(origin, spacing, (int(n[2]), int(n[1]), int(n[0])))
    water = Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")
    beam = _beam(machine, energy, wedge)
    plan = Plan("design", (beam,), (FractionGroup(1, 1, {1: 1.0}),))
    dose = compute_dose(water, plan, machine, DoseSettings(grid=grid)).total_gy
    profile = dose[:, :, 20:22].mean(2)  # [z, depth]
    z, depth = grid.z_mm, grid.y_mm
    through = np.exp(np.interp(DEPTH_MM, depth, np.log(_at(profile, z, 0.0))))
    half = HALF_FIELD_MM / 2
    tilted = []
    for place in (-half, half):
        curve = np.log(_at(profile, z, place))
        deep = depth > 30
        tilted.append(float(np.interp(-np.log(through), -curve[deep], depth[deep])))
    return float(np.degrees(np.arctan2(tilted[1] - tilted[0], 2 * half)))


def _at(profile: np.ndarray, z: np.ndarray, place: float) -> np.ndarray:
    return np.array([np.interp(place, z, column) for column in profile.T])


def _beam(machine: Machine, energy: Energy, wedge: Wedge) -> Beam:
    h = HALF_FIELD_MM
    jaw_x = (-h, h) if machine.jaw_x is not None else None
    jaw_y = (-h, h) if machine.jaw_y is not None else None
    mlc = leaves = None
    if jaw_x is None or jaw_y is None:
        assert machine.mlc is not None
        mlc = MlcGeometry(machine.mlc.axis, np.array(machine.mlc.boundaries_mm))
        leaves = np.tile([-h, h], (mlc.n_pairs, 1))
    first = ControlPoint(
        0, 0.0, 0.0, 0.0, 0.0, "NONE", (0.0, DEPTH_MM, 0.0), jaw_x, jaw_y, leaves, wedges_in=frozenset([wedge.number])
    )
    return Beam(
        1, "design", "", "PHOTON", energy.nominal_mv, energy.fluence_mode, machine.sad_mm, "HFS", mlc,
        (first, replace(first, index=1, meterset_fraction=1.0)), accessories=Accessories((wedge,)),
    )  # fmt: skip


def _solve(angle: Callable[[float], float], wanted_deg: float, start: float) -> float:
    """The steepness at which an angle is as wanted, by the secant rule on tangents, which are nearly proportional."""
    wanted = np.tan(np.deg2rad(wanted_deg))
    a, b = 0.0, start
    f_a, f_b = -wanted, np.tan(np.deg2rad(angle(b))) - wanted
    for _ in range(8):
        if abs(np.degrees(np.arctan(f_b + wanted)) - wanted_deg) < 0.05:
            break
        a, b, f_a = b, b - f_b * (b - a) / (f_b - f_a), f_b
        f_b = np.tan(np.deg2rad(angle(b))) - wanted
    return b


def plate(angle_deg: float, kind: str, per_mm: float, mv: float) -> WedgePlate:
    """A plate that gets thicker by ``per_mm`` for each millimetre at the isocentre plane."""
    reach = PLATE_REACH_MM[angle_deg] if kind == "STANDARD" else 150.0
    return WedgePlate(
        name=f"{'wedge' if kind == 'STANDARD' else 'motorised'}-{angle_deg:g}",
        kind=kind,  # type: ignore[arg-type]
        angle_deg=angle_deg,
        material=STEEL[0],
        density_g_cm3=STEEL[1],
        toe_position_mm=(-reach, reach),
        thickness_mm=(round(TOE_MM + 2 * reach * per_mm, 3), TOE_MM),
        half_width_mm=200.0,
        source=SOURCE.format(mv=mv),
    )


def dynamic(energy: Energy, per_mm: float) -> DynamicWedge:
    """A jaw motion whose dose rises exponentially by ``per_mm`` for each millimetre."""
    positions = np.arange(-200.0, 101.0, 10.0)
    dose = np.exp(per_mm * positions)
    return DynamicWedge(
        name="dynamic",
        nominal_mv=energy.nominal_mv,
        fluence_mode=energy.fluence_mode,
        angles_deg=DYNAMIC_ANGLES,
        jaw_y_mm=tuple(positions.tolist()),
        dose=tuple(np.round(dose / dose[-1], 6).tolist()),
        final_gap_mm=5.0,
        source=SOURCE.format(mv=energy.nominal_mv),
    )


def golden(energy: Energy) -> DynamicWedge:
    """The maker's table of a beam quality, in the unit in which it is published."""
    return DynamicWedge(
        name="dynamic",
        nominal_mv=energy.nominal_mv,
        fluence_mode=energy.fluence_mode,
        angles_deg=DYNAMIC_ANGLES,
        jaw_y_mm=GOLDEN_MM,
        dose=GOLDEN[energy.nominal_mv],
        final_gap_mm=5.0,
        source=GOLDEN_SOURCE.format(mv=energy.nominal_mv),
    )


def design(machine: Machine) -> MachineAccessories:
    """Plates (or one motorised plate, for a machine without X jaws) and dynamic wedges of a generic model."""
    flat = [e for e in machine.energies if e.fluence_mode == "STANDARD"]
    if not flat:
        return MachineAccessories()
    lead = flat[0]
    motorised = machine.jaw_x is None
    kind = "MOTORIZED" if motorised else "STANDARD"
    plates = []
    for angle in (60.0,) if motorised else PLATE_ANGLES:

        def turned(per_mm: float, angle: float = angle) -> float:
            tried = MachineAccessories(wedges=(plate(angle, kind, per_mm, lead.nominal_mv),))
            model = machine.model_copy(update={"accessories": tried})
            return isodose_angle(model, lead, Wedge(1, kind, angle, 0.0))

        per_mm = _solve(turned, angle, 0.2 * np.tan(np.deg2rad(angle)))
        plates.append(plate(angle, kind, per_mm, lead.nominal_mv))
        print(f"{machine.name}: {kind.lower()} {angle:g} degrees, {per_mm:.4f} mm of steel per mm")
    tables = []
    for energy in () if motorised else flat:

        def swept(per_mm: float, energy: Energy = energy) -> float:
            tried = MachineAccessories(dynamic_wedges=(dynamic(energy, per_mm),))
            model = machine.model_copy(update={"accessories": tried})
            return isodose_angle(model, energy, Wedge(1, "DYNAMIC", 60.0, 0.0))

        if energy.nominal_mv in GOLDEN:
            tables.append(golden(energy))
            model = machine.model_copy(update={"accessories": MachineAccessories(dynamic_wedges=(tables[-1],))})
            for angle in (15.0, 30.0, 45.0, 60.0):
                found = isodose_angle(model, energy, Wedge(1, "DYNAMIC", angle, 0.0))
                print(f"{machine.name}: golden table, {angle:g} degrees: isodose turned by {found:.1f} degrees")
            continue
        per_mm = _solve(swept, 60.0, 0.008)
        tables.append(dynamic(energy, per_mm))
        print(f"{machine.name}: dynamic at {energy.nominal_mv:g} MV, dose rises by {100 * per_mm:.4f} % per mm")
    return MachineAccessories(wedges=tuple(plates), dynamic_wedges=tuple(tables))


def main(names: list[str]) -> None:
    """Design for the named parts (``plates-6mv``), or for all, with the first model that each is a part of."""
    for part in sorted((DATA / "accessories").glob("*.yaml")):
        if names and part.stem not in names:
            continue
        users = [p for p in sorted(DATA.glob("*.yaml")) if f"accessories/{part.stem}" in p.read_text(encoding="utf-8")]
        machine = parse_shipped(users[0].read_text(encoding="utf-8"), users[0].name)
        found = design(machine).model_dump(mode="json", exclude_defaults=True)
        block = yaml.safe_dump({"accessories": found}, sort_keys=False, width=118, default_flow_style=None)
        part.write_text(HEADER + block, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
