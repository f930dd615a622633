"""Wedge plates: attenuation ray by ray, hardening, orientation in the room, isodose angle, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml
from builders_accessories import plate, shipped_with, wedged, with_accessories
from builders_engine import bare_machine, box, field, leaf_bank, plan_of

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import MachineError, PlanError
from dosecalc.geometry import Grid, Volume
from dosecalc.machine.library import load_machine, parse_machine
from dosecalc.machine.model import Machine, spectrum_nodes
from dosecalc.patient.model import Patient
from dosecalc.photon.fluence import HeadFluence
from dosecalc.photon.modifiers import by_wedge, modified_maps, prepared
from dosecalc.photon.segments import split_beam
from dosecalc.photon.spectral import spectral_model
from dosecalc.photon.tables import attenuation_table
from dosecalc.plan import Beam

#: of the energy released behind a plate, at any depth, against the sum over the spectrum for each ray by itself
CLASSES = 1e-3


def parts_of(beam: Beam, machine: Machine) -> list:
    energy = machine.energies[0]
    spectral = spectral_model(energy, ("water",), "water_equivalent")
    beam = prepared(beam, machine, energy)
    ((beam, share),) = by_wedge(beam)
    assert share == 1.0
    (group,) = split_beam(beam, 2.5, 5.0)
    return list(modified_maps(HeadFluence(beam, machine, energy, 2.0), group.views[0], spectral))


def released(parts: list, depth_g_cm2: float) -> np.ndarray:
    """Energy released at a depth in water over the map, float64 [ny, nx]."""
    total = np.zeros_like(parts[0].fluence.values)
    for part in parts:
        rates = (part.spectral.release_kerma + part.spectral.release_scerma)[0]
        total += part.fluence.values * (rates * np.exp(-depth_g_cm2 * part.spectral.mu_basis[0])).sum()
    return total


@pytest.mark.parametrize("mv", [6, 15])
@pytest.mark.parametrize("depth", [0.0, 5.0, 10.0, 30.0])
def test_every_ray_is_attenuated_and_hardened_as_the_whole_spectrum_says(mv: int, depth: float) -> None:
    machine = with_accessories(bare_machine(mv), wedges=[plate()])
    open_beam = field(90.0, 90.0, mv=mv)
    behind, before = (released(parts_of(beam, machine), depth) for beam in (wedged(open_beam), open_beam))
    # the oracle: every ray and every energy by itself, with coefficients straight from the table
    energies, _ = spectrum_nodes(machine.energies[0].spectrum)
    water, steel = (attenuation_table().coefficients(m, energies)[0] for m in ("water", "stainless_steel_316"))
    fluence = parts_of(open_beam, machine)[0].fluence
    thickness_cm = (1.0 + 40.0 * (100.0 - fluence.y_mm) / 200.0) / 10
    oblique = np.sqrt(1 + (fluence.x_mm[None, :] ** 2 + fluence.y_mm[:, None] ** 2) / 1000.0**2)
    path = thickness_cm[:, None] * oblique
    model = spectral_model(machine.energies[0], ("water",), "water_equivalent")
    weight = (model.release_kerma + model.release_scerma)[0] * np.exp(-depth * water)
    want = (weight * np.exp(-7.9 * path[:, :, None] * steel)).sum(2) / weight.sum()
    inside = (np.abs(fluence.x_mm[None, :]) < 88) & (np.abs(fluence.y_mm[:, None]) < 88)
    np.testing.assert_allclose(behind[inside] / before[inside], want[inside], rtol=CLASSES)


def test_a_plate_of_even_thickness_attenuates_as_the_closed_form() -> None:
    even = plate(thickness_mm=(20.0 + 1e-9, 20.0))
    machine = with_accessories(bare_machine(), wedges=[even])
    parts = parts_of(wedged(field(10.0, 10.0)), machine)
    energies, _ = spectrum_nodes(machine.energies[0].spectrum)
    steel = attenuation_table().coefficients("stainless_steel_316", energies)[0]
    model = spectral_model(machine.energies[0], ("water",), "water_equivalent")
    weight = (model.release_kerma + model.release_scerma)[0]
    want = (weight * np.exp(-7.9 * 2.0 * steel)).sum() / weight.sum()
    got = released(parts, 0.0).max() / released(parts_of(field(10.0, 10.0), machine), 0.0).max()
    # the pixel beside the axis is 1 mm off it
    assert got == pytest.approx(want, rel=1e-5)


def test_the_plates_own_coefficients_and_output_gain_are_used() -> None:
    table = attenuation_table()
    steel = {
        "energies_mev": table.energies_mev.tolist(),
        "mu_over_rho_cm2_g": table.mu[table.materials.index("stainless_steel_316")].tolist(),
        "source": "test",
    }
    own = plate(material="", attenuation=steel, output_gain=[{"nominal_mv": 6.0, "value": 1.03}])
    beam = wedged(field(50.0, 50.0))
    by_name = released(parts_of(beam, with_accessories(bare_machine(), wedges=[plate()])), 5.0)
    by_table = released(parts_of(beam, with_accessories(bare_machine(), wedges=[own])), 5.0)
    np.testing.assert_allclose(by_table, 1.03 * by_name, rtol=1e-9, atol=1e-25)


# Head first supine, gantry 0, the couch straight: the BLD y axis points to the head at collimator 0 and turns
# counter-clockwise seen from above, so over the patient's right to the feet (IEC 61217). The toe is turned from it by
# the wedge orientation, in the same sense.
TOES = {0: "head", 90: "right", 180: "feet", 270: "left"}


@pytest.mark.parametrize("orientation", [0, 90, 180, 270])
@pytest.mark.parametrize("collimator", [0, 90, 180, 270])
def test_the_thin_edge_points_where_orientation_and_collimator_say(orientation: int, collimator: int) -> None:
    machine = with_accessories(bare_machine(), wedges=[plate()])
    patient = box((160.0, 160.0, 160.0), (8.0, 8.0, 8.0))
    beam = wedged(field(60.0, 60.0, collimator=float(collimator)), orientation_deg=float(orientation))
    dose = compute_dose(patient, plan_of(beam), machine, DoseSettings(grid=patient.density.grid)).total_gy
    plane = dose[:, 10, :]  # [z, x]
    towards = {"head": plane[14, 9], "feet": plane[5, 9], "left": plane[9, 14], "right": plane[9, 5]}
    assert max(towards, key=lambda k: towards[k]) == TOES[(orientation + collimator) % 360]


@pytest.mark.parametrize(
    ("gantry", "couch", "position", "towards"),
    [
        # collimator 0, orientation 90: the toe points to -x of the BLD frame
        (0.0, 0.0, "HFS", (-1, 0, 0)),
        (180.0, 0.0, "HFS", (1, 0, 0)),
        (90.0, 0.0, "HFS", (0, -1, 0)),  # from the left: what was right is up, towards anterior
        (0.0, 0.0, "FFS", (1, 0, 0)),
        (0.0, 90.0, "HFS", (0, 0, 1)),  # the head is now to the left of somebody who faces the gantry
    ],
)
def test_the_toe_turns_with_gantry_couch_and_patient(
    gantry: float, couch: float, position: str, towards: tuple[int, int, int]
) -> None:
    machine = with_accessories(bare_machine(), wedges=[plate()])
    patient = box((160.0, 160.0, 160.0), (8.0, 8.0, 8.0), position=position)
    beam = wedged(field(60.0, 60.0, gantry=gantry, couch=couch, position=position), orientation_deg=90.0)
    dose = compute_dose(patient, plan_of(beam), machine, DoseSettings(grid=patient.density.grid)).total_gy
    z, y, x = np.indices(dose.shape) - 9.5
    moment = np.array([(dose * v).sum() for v in (x, y, z)]) / dose.sum()
    along_beam = np.abs(moment * np.abs(towards))
    assert np.argmax(along_beam) == np.argmax(np.abs(towards))
    assert np.sign(moment[np.argmax(np.abs(towards))]) == sum(towards)


def isodose_angle(machine: Machine, beam: Beam) -> float:
    """Turn of the isodose through (axis, 10 cm depth), in degrees; surface at 90 cm, isocentre at 10 cm depth."""
    grid = Grid((-122.5, 1.0, -98.0), (5.0, 2.0, 4.0), (50, 85, 50))
    water = Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")
    dose = compute_dose(water, plan_of(beam), machine, DoseSettings(grid=grid)).total_gy
    plane = (dose[:, :, 24] + dose[:, :, 25]) / 2  # [z, depth] on the axis
    at_zero = (plane[24] + plane[25]) / 2
    level = np.exp(np.interp(100.0, grid.y_mm, np.log(at_zero)))
    places = np.flatnonzero(np.abs(grid.z_mm) < 26)
    deep = grid.y_mm > 25
    depths = [np.interp(-np.log(level), -np.log(plane[k, deep]), grid.y_mm[deep]) for k in places]
    slope = np.polyfit(grid.z_mm[places], depths, 1)[0]
    return float(np.degrees(np.arctan(slope)))


def shipped_beam(machine: Machine, kind: str, angle: float) -> Beam:
    mlc = leaf_bank("X", pairs=80) if machine.jaw_x is None else None
    leaves = None
    if mlc is not None:
        assert machine.mlc is not None
        mlc = replace(mlc, boundaries_mm=np.array(machine.mlc.boundaries_mm))
        leaves = np.tile([-50.0, 50.0], (mlc.n_pairs, 1))
    beam = field(50.0, 50.0, isocentre=(0.0, 100.0, 0.0), mlc=mlc, leaves=leaves)
    if machine.jaw_x is None:
        beam = replace(beam, control_points=tuple(replace(p, jaw_x_mm=None) for p in beam.control_points))
    return wedged(beam, kind, angle)


@pytest.mark.parametrize(
    ("kind", "angle"),
    [("STANDARD", 30.0), ("STANDARD", 60.0), ("MOTORIZED", 60.0),
     ("DYNAMIC", 15.0), ("DYNAMIC", 30.0), ("DYNAMIC", 45.0), ("DYNAMIC", 60.0)],
)  # fmt: skip
def test_the_designed_wedges_turn_the_isodose_by_their_angle(kind: str, angle: float) -> None:
    # at 15 MV the dynamic wedge is designed, at 6 and 10 MV it is the maker's table, which knows nothing of this engine
    machine = load_machine("generic-15mv-hd120") if kind == "DYNAMIC" else shipped_with(kind)
    beam = replace(shipped_beam(machine, kind, angle), energy_mv=machine.energies[0].nominal_mv)
    # the lesser dynamic wedges come out of the steepest by the ratio of tangents, no measurement of theirs went in
    assert isodose_angle(machine, beam) == pytest.approx(angle, abs=2.0)


def test_a_motorised_wedge_adds_up_from_its_open_and_its_wedged_part() -> None:
    machine = with_accessories(bare_machine(), wedges=[plate(kind="MOTORIZED", angle_deg=60.0)])
    patient = box((120.0, 120.0, 120.0), (8.0, 8.0, 8.0))
    settings = DoseSettings(grid=patient.density.grid)
    first, last = field(40.0, 40.0).control_points
    points = (first, replace(last, index=1, meterset_fraction=0.35), replace(last, index=2))
    three = replace(field(40.0, 40.0), control_points=points)

    def dose(*inside: bool) -> np.ndarray:
        beam = wedged(three, "MOTORIZED", 60.0, inside=inside)
        return compute_dose(patient, plan_of(beam), machine, settings).total_gy

    facts = compute_dose(patient, plan_of(wedged(three, "MOTORIZED", 60.0)), machine, settings).beams[0].info
    assert facts["wedge"] == "steel"
    mixed, all_in, all_out = dose(True, False, False), dose(True, True, True), dose(False, False, False)
    expected = 0.35 * all_in + 0.65 * all_out
    # float32 sums in another order
    np.testing.assert_allclose(mixed, expected, rtol=2e-5, atol=2e-6 * expected.max())
    np.testing.assert_array_equal(
        all_out, compute_dose(patient, plan_of(field(40.0, 40.0)), machine, settings).total_gy
    )


#: too narrow a table for the spectrum
FEW = {"energies_mev": (1, 2), "mu_over_rho_cm2_g": (0.06, 0.04), "source": "test"}


@pytest.mark.parametrize(
    ("reason", "wedges", "beam"),
    [
        ("WEDGE_UNKNOWN", [], wedged(field())),
        ("WEDGE_UNKNOWN", [plate()], wedged(field(), angle_deg=30.0)),
        ("WEDGE_UNKNOWN", [plate()], wedged(field(), "MOTORIZED")),
        ("WEDGE_UNKNOWN", [plate(ids=("45-*",))], wedged(field(), name="W45")),
        ("WEDGE_AMBIGUOUS", [plate(), plate(name="other")], wedged(field())),
        ("WEDGE_ORIENTATION", [plate()], wedged(field(), orientation_deg=45.0)),
        ("WEDGE_ORIENTATION", [plate(orientations_deg=(0.0, 180.0))], wedged(field(), orientation_deg=90.0)),
        ("WEDGE_FIELD_TOO_LARGE", [plate()], wedged(field(50.0, (-101.0, 20.0)))),
        ("WEDGE_FIELD_TOO_LARGE", [plate()], wedged(field(160.0, 50.0))),
        ("WEDGE_FIELD_TOO_LARGE", [plate()], wedged(field(101.0, 50.0), orientation_deg=90.0)),
        ("MATERIAL_UNKNOWN", [plate(material="unobtainium")], wedged(field())),
        ("ENERGY_OUTSIDE_TABLE", [plate(material="", attenuation=FEW)], wedged(field())),
    ],
)  # fmt: skip
def test_what_the_machine_model_does_not_know_is_refused_with_the_beams_name(
    reason: str, wedges: list, beam: Beam
) -> None:
    machine = with_accessories(bare_machine(), wedges=wedges)
    patient = box((40.0, 40.0, 40.0), (20.0, 20.0, 20.0))
    with pytest.raises((MachineError, PlanError)) as caught:
        compute_dose(patient, plan_of(beam), machine, DoseSettings())
    assert caught.value.reason == reason
    if reason not in ("MATERIAL_UNKNOWN", "ENERGY_OUTSIDE_TABLE"):
        assert caught.value.where["beam"] == "1 (B1)"


def test_leaves_bound_the_field_that_the_plate_must_cover() -> None:
    machine = with_accessories(bare_machine(mlc=leaf_bank("Y")), wedges=[plate()])
    leaves = np.tile([0.0, 0.0], (40, 1))
    leaves[15:25] = (-40.0, 40.0)
    beam = wedged(field(60.0, 120.0, mlc=leaf_bank("Y"), leaves=leaves))
    assert prepared(beam, machine, machine.energies[0]).accessories.wedges  # 120 mm of jaws, 40 mm of leaves


@pytest.mark.parametrize(
    ("field_name", "changes"),
    [
        ("material", {"material": ""}),
        ("thickness_mm", {"thickness_mm": (1.0, 41.0)}),
        ("thickness_mm", {"thickness_mm": (41.0, 20.0, 1.0)}),
        ("toe_position_mm", {"toe_position_mm": (100.0, -100.0)}),
    ],
)
def test_a_machine_file_with_an_impossible_plate_is_refused_by_name(field_name: str, changes: dict) -> None:
    values = {**plate().model_dump(mode="json"), **changes}
    machine = bare_machine().model_dump(mode="json")
    machine["accessories"] = {"wedges": [values]}
    with pytest.raises(MachineError) as caught:
        parse_machine(yaml.safe_dump(machine), "m.yaml")
    assert caught.value.reason == "MACHINE_INVALID"
    assert field_name in caught.value.message or "plate" in caught.value.message or "material" in caught.value.message


def test_dose_behind_a_plate_is_that_of_the_hardened_spectrum() -> None:
    """A machine whose spectrum went through 30 mm of steel, against the plate in the beam: kernels included."""
    mv = 15  # the harder one; 6 MV differs by less
    even = plate(thickness_mm=(30.0 + 1e-6, 30.0))
    machine = bare_machine(mv)
    energy = machine.energies[0]
    energies, _ = spectrum_nodes(energy.spectrum)
    mu = 0.79 * attenuation_table().coefficients("stainless_steel_316", energies)[0]
    photons = np.array(energy.spectrum.photons_per_bin)
    hardened = photons.copy()
    hardened[photons > 0] *= np.exp(-mu * 30.0)
    spectrum = energy.spectrum.model_copy(update={"photons_per_bin": tuple(hardened.tolist())})
    behind = machine.model_copy(update={"energies": (energy.model_copy(update={"spectrum": spectrum}),)})
    grid = Grid((-57.5, 2.5, -57.5), (5.0, 5.0, 5.0), (24, 50, 24))
    water = Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")
    beam = field(30.0, 30.0, isocentre=(0.0, 100.0, 0.0), mv=mv)
    settings = DoseSettings(grid=grid, device="cpu")
    got = compute_dose(water, plan_of(wedged(beam)), with_accessories(machine, wedges=[even]), settings).total_gy
    want = compute_dose(water, plan_of(beam), behind, settings).total_gy * hardened.sum() / photons.sum()
    axis, oracle = got[11:13, :, 11:13].mean((0, 2)), want[11:13, :, 11:13].mean((0, 2))
    deep = grid.y_mm > 20
    # the kernels' plate is rounded to a quarter of a mean free path, rays off the axis are 0.05 % longer
    np.testing.assert_allclose(axis[deep], oracle[deep], rtol=3e-3)
    np.testing.assert_allclose(axis[~deep], oracle[~deep], rtol=0.02)
