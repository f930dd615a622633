"""Dynamic deliveries whose dose is known without another engine: `docs/delivery-tests.md`.

The plans are those of the phantoms; the water is a smaller box in voxels of 5 x 4 x 5 mm, so that every test takes
seconds.
"""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from builders_engine import bare_machine, box

from dosecalc.dicom.study import load_study
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Volume
from dosecalc.geometry.frames import bld_from_patient
from dosecalc.machine import load_machine
from dosecalc.patient.model import Patient
from dosecalc.photon.fluence import check_geometry, fluence_map
from dosecalc.photon.segments import split_beam
from dosecalc.plan import FractionGroup, Plan, check_supported, technique
from dosecalc_phantoms import delivery as d
from dosecalc_phantoms import make_phantom
from dosecalc_phantoms.dicom import write_phantom
from dosecalc_phantoms.plans import PlanSetup, millennium120, static_plan

LEAF, JAW = 0.015, 0.005  # transmissions of the bare machine
SETUP = PlanSetup("DC-6MV-M120", 6.0, "STANDARD", (0.0, 0.0, 0.0), 30.0, (100.0, 100.0), 100.0, 1)
VOXEL_MM = (5.0, 4.0, 5.0)


@pytest.fixture(scope="module", params=["bare", "shipped"])
def machine(request):
    """A point source with leaves and jaws that leak, and the shipped model of the plans' machine."""
    if request.param == "shipped":
        return load_machine("generic-6mv-millennium120")
    return bare_machine(mlc=millennium120(), leaf_transmission=LEAF, jaw_transmission=JAW)


@pytest.fixture(scope="module")
def bare():
    return bare_machine(mlc=millennium120(), leaf_transmission=LEAF, jaw_transmission=JAW)


@pytest.fixture(scope="module")
def water():
    return box((180, 120, 180), VOXEL_MM)


def dose_of(patient: Patient, beams, machine, mu=1.0):
    plan = Plan("test", tuple(beams), (FractionGroup(1, 1, {b.number: mu for b in beams}),))
    settings = DoseSettings(grid=patient.density.grid)
    return compute_dose(patient, plan, machine, settings).total_gy.astype(np.float64)


def opening_of(beam, machine):
    """Mean transmission along the leaves, in the row that crosses the axis, with its pixel centres."""
    (group,) = split_beam(beam, 2.5, 5.0)
    (view,) = group.views
    f = fluence_map(beam, view, machine, machine.energies[0], 1.0)
    return f.x_mm, f.values[len(f.y_mm) // 2]


# ---- the fluence, in closed form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beams", "sweeps", "half_mm"),
    [
        (d.picket_fence(SETUP), d.picket_fence_sweeps(), 80.0),
        (d.sliding_gap(SETUP), (d.sliding_gap_sweep(100.0),), 50.0),
    ],
    ids=["picket-fence", "sliding-gap"],
)
def test_mean_opening_is_the_closed_form(beams, sweeps, half_mm, bare):
    x, found = opening_of(beams[0], bare)
    inside = np.abs(x) < half_mm
    share = d.open_share(sweeps, x)
    # leaf positions and ramps meet pixel boundaries, so that the mean over a pixel is the value at its centre
    np.testing.assert_allclose(found[inside], (share + LEAF * (1 - share))[inside], rtol=1e-9)


def test_the_gaps_area_times_meterset_is_kept():
    x = np.arange(-199.95, 200.0, 0.1)
    for sweeps in (d.picket_fence_sweeps(), (d.sliding_gap_sweep(100.0),)):
        assert sum(s.share for s in sweeps) == pytest.approx(1.0)
        # a gap of 10 mm is open somewhere for the whole meterset
        assert d.open_share(sweeps, x).sum() * 0.1 == pytest.approx(10.0, rel=1e-3)


# ---- the dose -------------------------------------------------------------------------------------------------------


def test_sliding_gap_gives_the_open_field_times_the_mean_opening(water):
    """The gap starts and ends beyond the jaws, so all that they let through is weakened by the same factor.

    The jaws are opaque here: what they transmit beyond the gap's travel is weakened by the closed leaves instead.
    """
    opaque = bare_machine(mlc=millennium120(), leaf_transmission=LEAF, jaw_transmission=0.0)
    gap = dose_of(water, d.sliding_gap(SETUP), opaque)
    opened = dose_of(water, static_plan(SETUP), opaque)
    share = 10.0 / 150.0  # gap over travel: 100 mm of field and 25 mm beyond either edge
    factor = share + LEAF * (1 - share)
    # the same transport of a field that differs by a factor: float32
    np.testing.assert_allclose(gap, factor * opened, rtol=1e-5)


def test_sliding_gap_is_a_weakened_open_field_whatever_the_head(water):
    """With the shipped model, whose sources have a size: how wide its leaves' gap is, is the model's affair.

    Its jaws are made opaque, as above: only then is everything that the open field lets through passed by the gap. And
    its leaves meet in planes: what leaks more between leaves than through them is another factor for each.
    """
    shipped = load_machine("generic-6mv-millennium120")
    opaque = {n: getattr(shipped, n).model_copy(update={"transmission": 0.0}) for n in ("jaw_x", "jaw_y")}
    assert shipped.mlc is not None
    opaque["mlc"] = shipped.mlc.model_copy(update={"sides": None})
    machine = shipped.model_copy(update=opaque)
    gap = dose_of(water, d.sliding_gap(SETUP), machine)
    opened = dose_of(water, static_plan(SETUP), machine)
    factor = float(np.sum(gap * opened) / np.sum(opened**2))
    # the nominal opening, and at most 4 mm more for rounded leaf ends, 3 % more for transmission
    assert 10 / 150 < factor < 14 / 150 + 0.03
    inside = opened > 0.05 * opened.max()
    # the same transport of a field that differs by a factor: float32
    np.testing.assert_allclose(gap[inside], factor * opened[inside], rtol=1e-5)


def test_picket_fence_is_a_row_of_equal_strips(water, bare):
    """Every picket is the strip in the middle, moved; the ways between them are strips spread evenly."""
    fence = dose_of(water, d.picket_fence(SETUP), bare)
    x_jaw, y_jaw = (-80.0, 80.0), (-50.0, 50.0)
    strip = dose_of(water, (d.swept_gap(SETUP, (d.Sweep(1.0, 0.0, 0.0),), x_jaw, y_jaw, "Strip"),), bare)
    leak = dose_of(water, (d.swept_gap(SETUP, (d.Sweep(1.0, 500.0, 500.0, 0.0),), x_jaw, y_jaw, "Closed"),), bare)
    g = water.density.grid
    k, j = np.argmin(np.abs(g.z_mm)), np.argmin(np.abs(g.y_mm))
    scale = 1000.0 / (1000.0 + g.y_mm[j])  # voxels to the isocentre plane
    x = g.x_mm * scale
    one, closed, found = ((v[k, j]) for v in (strip - leak, leak, fence))

    def moved(by):
        return np.interp(x - by, x, one, left=0.0, right=0.0)

    expected = closed.copy()
    for s in d.picket_fence_sweeps():
        ways = np.linspace(s.start_mm, s.stop_mm, 61)
        expected += s.share * np.mean([moved(w) for w in ways], axis=0)
    # 60 mm off the axis a strip is seen 3.4 degrees askew, 0.2 % farther away, and by another voxel's part
    assert np.abs(found - expected).max() < 0.03 * found.max()
    for picket in d.PICKETS_MM:
        near = np.abs(x - picket) < 12.0
        above = found[near] - found[near].min()
        assert np.sum(above * x[near]) / above.sum() == pytest.approx(picket, abs=0.3)  # mm; the outermost lean inwards


def test_arc_is_the_sum_of_its_angles(machine):
    patient = box((130, 120, 130), VOXEL_MM)
    arc = dose_of(patient, [d.arc_of(SETUP, 340.0, 40.0)], machine)
    fields = dose_of(patient, d.arc_as_fields(SETUP, 340.0, 40.0, 8), machine, 1 / 8)
    # one transport spans 5 degrees of the arc; its kernels are tilted by up to 2.5 degrees off, which shows at the
    # edges of the field: 0.9 % measured (1.1 % against twice as many fields)
    assert np.abs(arc - fields).max() < 0.015 * fields.max()
    assert np.abs(arc - fields).mean() < 1e-3 * fields.max()


def test_arc_about_a_cylinder_gives_its_axis_what_any_field_gives(bare):
    """Every angle sees the same cylinder, so the axis cannot tell an arc from a field of the same meterset."""
    cylinder = round_phantom()
    arc = dose_of(cylinder, [d.arc_of(SETUP, 330.0, 45.0)], bare)
    field = dose_of(cylinder, [d.odd_field(SETUP, 1, 0.0, 0.0, 0.0)], bare)
    g = cylinder.density.grid
    i, j = np.argmin(np.abs(g.x_mm)), np.argmin(np.abs(g.y_mm))
    along_axis = (g.z_mm > -20.0) & (g.z_mm < 5.0)  # where the opening reaches over the axis, edges left out
    # voxels of 4 mm make the cylinder's surface rough, and cones turn against the grid: 0.1 to 0.3 % measured
    np.testing.assert_allclose(arc[along_axis, j, i], field[along_axis, j, i], rtol=5e-3)


def round_phantom() -> Patient:
    """A cylinder of water about the z axis, 12 cm across; voxels that it cuts hold their share."""
    patient = box((132, 132, 68), (4.0, 4.0, 4.0))
    g = patient.density.grid
    circle = shapely.Point(0.0, 0.0).buffer(60.0, quad_segs=64)
    x, y = np.meshgrid(g.x_mm, g.y_mm)
    share = shapely.area(shapely.intersection(shapely.box(x - 2, y - 2, x + 2, y + 2), circle)) / 16.0
    density = np.broadcast_to(np.maximum(share, 0.0012), g.shape)
    return Patient(Volume(g, density.astype(np.float32)), patient.material, patient.materials, "HFS")


def test_step_and_shoot_written_as_dynamic(water, machine):
    steps, dynamic = d.stepped(SETUP), d.stepped_as_dynamic(SETUP)
    assert technique(steps[0]) == "STEP_AND_SHOOT" and technique(dynamic[0]) == "SLIDING_WINDOW"
    a, b = dose_of(water, steps, machine), dose_of(water, dynamic, machine)
    # two moves take a thousandth of the meterset each: taken from the segments, and given somewhere in the open field
    bound = 2 * d.STEP_SHARE * dose_of(water, static_plan(SETUP), machine).max()
    assert np.abs(a - b).max() < bound
    # the moves' dose is where the leaves pass; its integral over the beam is the moves' mean opening, so much less
    assert abs(a.sum() - b.sum()) < d.STEP_SHARE * a.sum()


def test_rotated_fields_are_their_twins_in_the_patient():
    for a, b in zip(d.rotated(SETUP), d.unrotated(SETUP), strict=True):
        p, q = a.control_points[0], b.control_points[0]
        assert (p.couch_deg, p.collimator_deg) != (q.couch_deg, q.collimator_deg)
        turned = bld_from_patient(p.gantry_deg, p.collimator_deg, p.couch_deg, "HFS")
        np.testing.assert_allclose(
            turned, bld_from_patient(q.gantry_deg, q.collimator_deg, q.couch_deg, "HFS"), atol=1e-12
        )


def test_couch_and_collimator_that_undo_each_other_give_the_same_dose(water, machine):
    """Couch and collimator at 35 degrees from above: the gantry's frame is turned, nothing else."""
    a, b = (dose_of(water, beams[:1], machine) for beams in (d.rotated(SETUP), d.unrotated(SETUP)))
    # the same source, pixels and cones: float32 rounding
    assert np.abs(a - b).max() < 1e-5 * b.max()


def test_couch_turned_half_way_is_the_gantry_on_the_other_side(water, machine):
    a, b = (dose_of(water, beams[1:], machine) for beams in (d.rotated(SETUP), d.unrotated(SETUP)))
    # the same source, pixels and (mirrored) cones: float32 rounding
    assert np.abs(a - b).max() < 1e-5 * b.max()


def test_couch_turned_a_quarter_turns_the_dose(water, machine):
    """The box is its own image after a quarter turn about the vertical, so the dose turns with the couch."""
    straight, turned = (d.odd_field(SETUP, 1, 40.0, 20.0, couch) for couch in (0.0, 90.0))
    a, b = dose_of(water, [turned], machine), dose_of(water, [straight], machine)
    # couch angles run counter-clockwise seen from above: at 90 degrees the head has swung to the room's -x and the feet
    # to +x, where the source stands at gantry 40, so that what entered the left side now enters at the feet
    expected = np.rot90(b, 1, axes=(0, 2))
    # rays meet voxel boundaries in another order: 0.1 % measured
    assert np.abs(a - expected).max() < 3e-3 * b.max()
    g = water.density.grid
    feet, head = a[g.z_mm < -40].sum(), a[g.z_mm > 40].sum()
    assert feet > 2 * head


# ---- as plans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", d.DELIVERY_PLANS)
def test_plan_survives_dicom_and_is_supported(name, tmp_path):
    phantom = make_phantom("water-box", plan=name, spacing_mm=10.0)
    write_phantom(phantom, tmp_path)
    (plan,) = load_study(tmp_path).plans
    check_supported(plan)
    machine = load_machine("generic-6mv-millennium120")
    for written, read in zip(phantom.plan.beams, plan.beams, strict=True):
        check_geometry(read, machine)
        assert technique(read) == technique(written)
        for p, q in zip(written.control_points, read.control_points, strict=True):
            # decimal strings of a millionth
            assert q.meterset_fraction == pytest.approx(p.meterset_fraction, abs=1e-6)
            assert (q.gantry_deg, q.collimator_deg, q.couch_deg) == pytest.approx(
                (p.gantry_deg, p.collimator_deg, p.couch_deg), abs=1e-6
            )
            np.testing.assert_allclose(q.leaves_mm, p.leaves_mm, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(d.DELIVERY_PLANS) - {"sliding-gap"}))
def test_plan_for_a_machine_without_jaws_along_its_leaves(name):
    """The sliding gap is cut off by jaws along the leaves; all others do without."""
    for beam in make_phantom("water-box", plan=name, machine_name="DC-6MV-AGIL", spacing_mm=10.0).plan.beams:
        check_geometry(beam, load_machine("generic-6mv-agility"))


@pytest.mark.long
def test_whole_arc_is_the_sum_of_its_angles(machine):
    patient = box((130, 120, 130), VOXEL_MM)
    arc = dose_of(patient, d.constant_arc(SETUP), machine)
    fields = dose_of(patient, d.arc_as_fields(SETUP, 181.0, 358.0, 144), machine, 1 / 144)
    # errors of single angles, as above, cancel over a turn: 0.3 % measured, 0.03 % on average
    assert np.abs(arc - fields).max() < 0.005 * fields.max()
    assert np.abs(arc - fields).mean() < 5e-4 * fields.max()
