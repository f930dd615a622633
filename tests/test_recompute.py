"""From a study and a request to dose and DVHs: the choice of grid, machine and density, and how it ends early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dosecalc.dicom.rtdose import write_rtdose
from dosecalc.dicom.study import Study, load_study
from dosecalc.errors import Cancelled, DicomError, GeometryError, InputError, MachineError, PatientError, PlanError
from dosecalc.geometry import Grid
from dosecalc.patient.hu import load_curve
from dosecalc.patient.structures import Contour, Structure
from dosecalc.photon.engines import QUANTITIES
from dosecalc.plan import Modifier
from dosecalc.recompute import GridRequest, RecomputeRequest, choose_case, recompute
from dosecalc.recompute.region import dose_region
from dosecalc_phantoms import Box, Drawn, make_phantom
from dosecalc_phantoms.dicom import write_phantom

#: coarse enough for a second of computing: what is tested here is not the dose
COARSE = GridRequest(spacing_mm=(10.0, 10.0, 10.0))
SMALL = GridRequest(spacing_mm=(10.0, 10.0, 10.0), box_mm=((-50.0, -60.0, -50.0), (50.0, 40.0, 50.0)))


def load_phantom(folder: Path, plan: str) -> Study:
    write_phantom(make_phantom("water-box", plan=plan, spacing_mm=10.0, fractions=3, mu_per_beam=50.0), folder)
    return load_study(folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """A water box and one open field."""
    return load_phantom(tmp_path_factory.mktemp("static"), "static")


@pytest.fixture(scope="module")
def four_fields(tmp_path_factory) -> Study:
    return load_phantom(tmp_path_factory.mktemp("box"), "box")


def with_plan(study: Study, **changes) -> Study:
    """The study with another plan under the same UIDs."""
    (plan,) = study.plans
    return replace(study, plans=(replace(plan, **changes),))


def with_beam(study: Study, **changes) -> Study:
    (plan,) = study.plans
    return with_plan(study, beams=(replace(plan.beams[0], **changes), *plan.beams[1:]))


def test_dose_dvhs_and_records(four_fields):
    steps = []
    computed = recompute(four_fields, RecomputeRequest(grid=COARSE), steps.append)
    dose = computed.dose
    assert [d.name for d in computed.dvhs] == ["External", "PTV", "OAR"]
    assert dose.machine_name == "generic-6mv-millennium120"  # it claims the plan's DC-6MV-M120
    assert dose.machine_sha256
    np.testing.assert_allclose(dose.total_gy, sum(b.dose_gy for b in dose.beams), rtol=1e-5)  # float32 sums
    assert [b.mu for b in dose.beams] == [150.0] * 4
    # the target at 10 cm depth of a four-field box gets more than each corner of the box
    target = next(d for d in computed.dvhs if d.name == "PTV")
    assert target.mean_gy > 10 * dose.total_gy[0, 0, 0]
    fractions = [s.fraction for s in steps]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0
    assert {s.beam_number for s in steps} >= {1, 2, 3, 4}
    assert set(computed.seconds) == {"patient", "dose", "dvh"}


def test_default_grid_holds_the_patient(four_fields):
    dose = recompute(four_fields, RecomputeRequest(grid=COARSE)).dose
    # the box of 30 cm is reached by fields of 10 cm with a margin of 10 cm, so nothing is cut off along the body
    assert np.all(np.asarray(dose.grid.lower_mm) <= (-150.0, -100.0, -150.0))
    assert np.all(np.asarray(dose.grid.upper_mm) >= (150.0, 200.0, 150.0))


def test_region_is_cut_to_what_the_beams_reach():
    phantom = make_phantom("water-box", field_mm=(40.0, 40.0), spacing_mm=5.0)
    patient = phantom.patient(load_curve())
    lower, upper = dose_region(replace(patient, structures=None), phantom.plan)
    # field 40 mm at 1000 mm; the phantom ends 1200 mm from the source: half the field is 24 mm there, margin 100 mm
    np.testing.assert_allclose(lower, (-124.0, -100.0, -124.0), atol=0.01)
    np.testing.assert_allclose(upper, (124.0, 200.0, 124.0), atol=0.01)
    # the organ at risk, 60 to 100 mm to the left, lies in it already; one that does not is taken in as a whole
    far = Drawn("far", "ORGAN", Box((-20.0, 0.0, 125.0), (20.0, 40.0, 140.0)), (0, 0, 0))
    drawn = replace(phantom, drawn=(*phantom.drawn, far)).structure_set()
    _, upper = dose_region(replace(patient, structures=drawn), phantom.plan)
    assert upper[2] == pytest.approx(137.5)  # its last contour, on a slice of the CT of 5 mm


def test_beams_that_miss_the_patient_are_told():
    phantom = make_phantom("water-box", spacing_mm=10.0)
    (beam,) = phantom.plan.beams
    points = tuple(replace(c, isocentre_patient_mm=(0.0, 0.0, 5000.0)) for c in beam.control_points)
    plan = replace(phantom.plan, beams=(replace(beam, control_points=points),))
    with pytest.raises(GeometryError) as caught:
        dose_region(phantom.patient(load_curve()), plan)
    assert caught.value.reason == "BEAMS_MISS"


def test_grid_of_a_box_is_the_whole_grids_part(study):
    part = recompute(study, RecomputeRequest(grid=SMALL)).dose
    assert part.grid.lower_mm == (-50.0, -60.0, -50.0)
    assert part.grid.upper_mm == (50.0, 40.0, 50.0)
    exact = GridRequest(exact=part.grid)
    again = recompute(study, RecomputeRequest(grid=exact)).dose
    np.testing.assert_array_equal(again.total_gy, part.total_gy)


def test_grid_like_an_rtdose_of_the_study(study):
    grid = Grid((-42.0, -30.0, -20.0), (7.0, 6.0, 10.0), (5, 9, 12))
    case = choose_case(study, RecomputeRequest())
    first = recompute(study, RecomputeRequest(grid=GridRequest(exact=grid)))
    from dosecalc.dicom.rtdose import read_rtdose

    stored = read_rtdose(write_rtdose(first.dose, None, case.references))
    with_dose = replace(study, doses=(stored,))
    like = GridRequest(like_rtdose_uid=stored.sop_instance_uid)
    dose = recompute(with_dose, RecomputeRequest(grid=like)).dose
    # positions are written to a nanometre
    np.testing.assert_allclose(dose.grid.origin_mm, grid.origin_mm, atol=1e-5)
    assert dose.grid.shape == grid.shape
    with pytest.raises(DicomError) as caught:
        recompute(study, RecomputeRequest(grid=like))
    assert caught.value.reason == "RTDOSE_UNKNOWN"


def test_machine_that_nobody_claims_is_never_guessed(four_fields):
    other = with_beam(four_fields, machine_name="SOMEBODY")
    with pytest.raises(MachineError) as caught:
        recompute(other, RecomputeRequest(grid=SMALL))
    assert caught.value.reason == "MACHINE_NOT_MAPPED"
    assert "generic-6mv-millennium120" in caught.value.message
    named = RecomputeRequest(grid=SMALL, machines=("generic-10mv-millennium120", "generic-6mv-millennium120"))
    assert recompute(other, named).dose.machine_name == "generic-6mv-millennium120"
    mapping = "schema_version: 1\nrules:\n  - {treatment_machine: 'SOME*', model: generic-6mv-millennium120}\n"
    with pytest.raises(MachineError):  # the mapping speaks of one machine, the other three beams are on another
        recompute(other, RecomputeRequest(grid=SMALL, mapping_yaml=mapping))
    mapping += "  - {treatment_machine: DC-6MV-M120, energy_mv: 6, model: generic-6mv-millennium120}\n"
    assert recompute(other, RecomputeRequest(grid=SMALL, mapping_yaml=mapping)).dose.total_gy.max() > 0


def test_plan_is_refused_before_anything_is_computed(study, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("the patient was built for a plan that cannot be computed")

    monkeypatch.setattr("dosecalc.recompute.run.build_patient", fail)
    with pytest.raises(PlanError) as caught:
        recompute(with_beam(study, modifiers=(Modifier("WEDGE", "W30"),)), RecomputeRequest())
    assert caught.value.where["beam"] == "1 (Anterior)"
    with pytest.raises(MachineError):
        recompute(with_beam(study, machine_name="SOMEBODY"), RecomputeRequest())


def test_cancel_ends_the_computation(study):
    asked = iter([False] * 8)
    with pytest.raises(Cancelled):
        recompute(study, RecomputeRequest(grid=COARSE), cancelled=lambda: next(asked, True))


def test_density_without_a_ct_only_when_asked_for(study):
    bare = replace(study, cts=())
    with pytest.raises(PatientError) as caught:
        recompute(bare, RecomputeRequest(grid=SMALL))
    assert caught.value.reason == "DENSITY_UNKNOWN"
    bulk = recompute(bare, RecomputeRequest(grid=SMALL, density_g_cm3={"External": 1.0}))
    ct = recompute(study, RecomputeRequest(grid=SMALL))
    # the same water box twice; the bulk patient's surface may lie 1 mm off, which is 0.6 % of dose at these depths
    np.testing.assert_allclose(bulk.dose.total_gy, ct.dose.total_gy, rtol=0.01, atol=0.01 * ct.dose.total_gy.max())
    assert any("without a CT" in n for n in bulk.notes)
    ignored = recompute(study, RecomputeRequest(grid=SMALL, density_g_cm3={"External": 1.0}, without_ct=True))
    np.testing.assert_array_equal(ignored.dose.total_gy, bulk.dose.total_gy)


def test_lower_density_lets_more_through(study):
    water = recompute(study, RecomputeRequest(grid=SMALL)).dose
    lung = recompute(study, RecomputeRequest(grid=SMALL, density_g_cm3={"External": 0.3})).dose
    below = (slice(None), slice(-2, None), slice(4, 6))  # behind the isocentre, on the axis
    # 13.5 cm of water against 4 g/cm2: the difference of 9.5 cm of water, about 4 % per cm at 6 MV
    assert lung.total_gy[below].mean() > 1.2 * water.total_gy[below].mean()


def test_dose_to_medium_differs_in_bone_only(tmp_path):
    write_phantom(make_phantom("water-bone-slab", spacing_mm=5.0), tmp_path)
    bone_study = load_study(tmp_path)
    axis = Grid((0.0, -97.5, 0.0), (5.0, 5.0, 5.0), (1, 40, 1))
    request = RecomputeRequest(grid=GridRequest(exact=axis))
    to_water, to_medium, in_medium = (recompute(bone_study, replace(request, quantity=q)).dose for q in QUANTITIES)
    assert [d.quantity for d in (to_water, to_medium, in_medium)] == list(QUANTITIES.values())
    depth_mm = axis.y_mm + 100.0
    ratio = (to_medium.total_gy / to_water.total_gy)[0, :, 0]
    # bone takes 4 to 6 % less energy per mass than water in a 6 MV beam, and so does Monte Carlo's dose to medium; a
    # percent is allowed for, and the 5 mm of bone (1 cm of water) at each interface that electrons cross are left out
    within = ratio[(depth_mm > 55.0) & (depth_mm < 75.0)]
    np.testing.assert_array_less(0.94, within)
    np.testing.assert_array_less(within, 0.97)
    # water in the bone takes more than the bone, by the ratio of stopping powers: nearly 1.14 for the bone of ICRU 44
    # and about 2 % less for the phantom's, of ICRP (Fernandez-Varea 2007, Phys Med Biol 52:6475, abstract);
    # half a unit of those digits is allowed for. What is water stays as it is
    more = (in_medium.total_gy / to_medium.total_gy)[0, :, 0]
    np.testing.assert_allclose(more[(depth_mm > 55.0) & (depth_mm < 75.0)], 1.14 * 0.98, atol=0.006)
    np.testing.assert_allclose(more[depth_mm < 45.0], 1.0, atol=1e-6)
    # in water both are dose to water, but for the electrons set free in bone, which reach 1.5 cm into it
    water = ratio[(depth_mm < 50.0) | (depth_mm > 95.0)]
    np.testing.assert_allclose(water, 1.0, atol=0.01)


def test_hash_of_a_request_is_that_of_its_content():
    request = RecomputeRequest(machines=("a",), grid=SMALL, density_g_cm3={"A": 1.0, "B": 0.3})
    assert request.sha256 == replace(request, threads=7).sha256
    assert request.sha256 != replace(request, hu_curve="water-equivalent").sha256
    assert request.sha256 != replace(request, quantity="medium").sha256
    assert request.sha256 != replace(request, arc_tolerance_deg=2.0).sha256
    assert request.sha256 == replace(request, cones="standard", heterogeneity="density_scaling").sha256
    # where structures overlap the later density wins, so the order is part of the request
    assert request.sha256 != replace(request, density_g_cm3={"B": 0.3, "A": 1.0}).sha256


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: GridRequest(spacing_mm=(0.1, 3, 3)), "GRID_SPACING"),
        (lambda: GridRequest(box_mm=((0, 0, 0), (1, 0, 1))), "GRID_BOX_EMPTY"),
        (lambda: GridRequest(spacing_mm=(3, 3, 3), like_rtdose_uid="1.2"), "GRID_OPTIONS"),
        (lambda: RecomputeRequest(machines=("a",), mapping_yaml="x"), "MACHINE_OPTIONS"),
        (lambda: RecomputeRequest(quantity="rads"), "QUANTITY_UNKNOWN"),
        (lambda: RecomputeRequest(engine="magic"), "ENGINE_UNKNOWN"),
        (lambda: RecomputeRequest(cones="traffic"), "CONES_UNKNOWN"),
        (lambda: RecomputeRequest(heterogeneity="none"), "HETEROGENEITY_UNKNOWN"),
        (lambda: RecomputeRequest(arc_tolerance_deg=0.0), "ARC_TOLERANCE"),
        (lambda: RecomputeRequest(density_g_cm3={"A": -1.0}), "DENSITY_VALUE"),
        (lambda: RecomputeRequest(density_g_cm3={"A": float("nan")}), "DENSITY_VALUE"),
    ],
)
def test_requests_that_make_no_sense(make, reason):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.reason == reason


def test_a_tilted_structure_costs_its_dvh_not_the_dose(study):
    """Contours in a plane that is not axial enclose no volume here: everything else is still there, and it is told."""
    triangle = Contour(np.array([[0.0, 0.0, 0.0], [20.0, 0.0, 0.0], [0.0, 10.0, 15.0]]))
    (drawn,) = study.structure_sets
    tilted = replace(drawn, structures=(*drawn.structures, Structure(99, "Tilted", "ORGAN", (triangle,))))
    computed = recompute(replace(study, structure_sets=(tilted,)), RecomputeRequest(grid=COARSE))
    assert {d.name for d in computed.dvhs} == {s.name for s in drawn.structures}
    assert any("structure 99" in n and "CONTOUR_NOT_AXIAL" in n for n in computed.notes)
