"""TG-119's geometry has the sizes that the report gives, and the apertures follow it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely

from dosecalc.cli.app import run
from dosecalc.dicom.study import load_study
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import InputError
from dosecalc.geometry import Grid
from dosecalc.machine import load_machine
from dosecalc.patient.hu import load_curve
from dosecalc.patient.structures import Structure
from dosecalc.photon.fluence import check_geometry
from dosecalc.plan import check_supported, technique
from dosecalc_phantoms import Box, Drawn, Sphere, make_phantom
from dosecalc_phantoms.conform import beams_eye_view, beside, conform
from dosecalc_phantoms.conformal_plan import MARGIN_MM, sliced
from dosecalc_phantoms.plans import agility, millennium120
from dosecalc_phantoms.solids import Ellipsoid, Grown, Prism, disc, ring_sector
from dosecalc_phantoms.tg119 import TG119_CASES

SLICE_MM = 2.5  # of `sliced`


def shapes(case):
    return {english: shape for english, _, _, shape, _ in TG119_CASES[case].structures}


@pytest.fixture(scope="module")
def phantoms():
    """All four with their own plans, on a coarse CT."""
    return {name: make_phantom(name, spacing_mm=10.0) for name in TG119_CASES}


@pytest.mark.parametrize(
    ("case", "structure", "volume_cm3"),
    [
        ("tg119-multi-target", "Central target", np.pi * 2.0**2 * 4.0),
        ("tg119-multi-target", "Superior target", np.pi * 2.0**2 * 4.0),
        ("tg119-multi-target", "Inferior target", np.pi * 2.0**2 * 4.0),
        ("tg119-prostate", "Bladder", 4 / 3 * np.pi * 2.5 * 2.0 * 2.5),
        ("tg119-prostate", "Rectum", np.pi * 0.75**2 * 10.0),
        ("tg119-c-shape", "C-shape PTV", 240 / 360 * np.pi * (3.7**2 - 1.5**2) * 8.0),
        ("tg119-c-shape", "Core", np.pi * 1.0**2 * 10.0),
    ],
)
def test_volume_is_the_closed_form(case, structure, volume_cm3):
    # polygons have the area of the curves that they stand for, and Simpson's rule is exact for these sections
    assert shapes(case)[structure].volume_cm3 == pytest.approx(volume_cm3, rel=1e-6)


@pytest.mark.parametrize("spacing_mm", [2.0, 2.5, 4.0, 5.0])
def test_contours_stand_for_the_whole_length(spacing_mm):
    """Slices of every thickness that divides the length, whether or not they fall onto the ends."""
    phantom = make_phantom("tg119-c-shape", plan="static", spacing_mm=(10.0, 10.0, spacing_mm))
    for name, length_mm in (("C-shape PTV", 80.0), ("Core", 100.0)):
        assert len(phantom.structure_set().find(name).contours) * spacing_mm == pytest.approx(length_mm)


def test_three_targets_are_stacked_without_a_gap():
    reach = {n: s.reach_z_mm for n, s in shapes("tg119-multi-target").items()}
    assert reach["Inferior target"][1] == reach["Central target"][0]
    assert reach["Central target"][1] == reach["Superior target"][0]


def test_prostate_has_the_reports_sizes():
    solids = shapes("tg119-prostate")
    ctv, ptv, rectum = (solids[n] for n in ("Prostate CTV", "Prostate PTV", "Rectum"))
    x0, y0, x1, y1 = ctv.section(0.0).bounds
    # the vertices of a polygon with the area of an ellipse lie 0.02 % farther out; the rectum takes 0.1 mm at the back
    assert (x1 - x0, y1 - y0) == (pytest.approx(40.0, abs=0.02), pytest.approx(26.0, abs=0.15))
    assert np.diff(ctv.reach_z_mm) == 65.0
    # 6 mm around the CTV
    assert ptv.section(0.0).bounds == pytest.approx((x0 - 6, y0 - 6, x1 + 6, y1 + 6), abs=0.05)
    assert np.diff(ptv.reach_z_mm) == 77.0
    # "about 1/3" of the rectum on the widest slice
    section = rectum.section(0.0)
    assert 0.28 < section.intersection(ptv.section(0.0)).area / section.area < 0.40
    # the rectum abuts the prostate and takes nothing of it
    assert ctv.section(0.0).distance(section) == pytest.approx(0.0, abs=1e-6)
    assert ctv.section(0.0).intersection(section).area == pytest.approx(0.0, abs=1e-6)


def test_head_and_neck_keeps_the_reports_distances():
    solids = shapes("tg119-head-and-neck")
    for z in (-40.0, 0.0, 30.0):
        ptv = solids["HN PTV"].section(z)
        assert ptv.geom_type == "Polygon" and not ptv.interiors
        # round corners of a buffer are polygons: a hundredth of a millimetre
        assert ptv.exterior.distance(solids["Skin"].section(z).exterior) == pytest.approx(6.0, abs=0.01)
        assert ptv.distance(solids["Cord"].section(z)) == pytest.approx(15.0, abs=0.01)
        for side in ("left", "right"):
            assert ptv.intersection(solids[f"Parotid {side}"].section(z)).area == pytest.approx(0.0, abs=1e-6)
    # superior part
    assert solids["Parotid left"].reach_z_mm[1] == solids["HN PTV"].reach_z_mm[1]


def test_c_shape_keeps_half_a_centimetre_from_its_core():
    solids = shapes("tg119-c-shape")
    # chords of 2 degrees of an arc of 15 mm radius come 0.002 mm nearer
    gap = solids["C-shape PTV"].section(0.0).distance(solids["Core"].section(0.0))
    assert gap == pytest.approx(5.0, abs=0.01)


def test_grown_sphere_is_a_larger_sphere():
    grown = Grown(Ellipsoid((1.0, 2.0, 3.0), (20.0, 20.0, 20.0)), 6.0)
    # the hull of thirteen planes' sections lies inside the sphere: 0.25 % too little
    assert grown.volume_cm3 == pytest.approx(4 / 3 * np.pi * 2.6**3, rel=5e-3)
    assert grown.reach_z_mm == (-23.0, 29.0)


def test_solids_turn_with_the_patient():
    turn = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # a rotation: determinant 1
    solid = Ellipsoid((10.0, 20.0, 30.0), (5.0, 8.0, 12.0))
    turned = solid.transformed(turn)
    points = np.random.default_rng(1).uniform(-50, 50, (200, 3)) + solid.centre_mm
    np.testing.assert_array_equal(turned.contains(points @ turn.T), solid.contains(points))
    assert solid.contains(points).any()
    assert turned.volume_cm3 == pytest.approx(solid.volume_cm3)


# ---- beam's-eye view ------------------------------------------------------------------------------------------------


def view_of(shape, gantry=0.0, collimator=0.0, couch=0.0, isocentre=(0.0, 0.0, 0.0)) -> shapely.Geometry:
    structure: Structure = sliced(Drawn("x", "PTV", shape, (0, 0, 0)))
    return beams_eye_view(structure, SLICE_MM, isocentre, (gantry, collimator, couch), "HFS", 1000.0)


@pytest.mark.parametrize("angles", [(0, 0, 0), (50, 0, 0), (90, 20, 0), (30, 0, 90)])
def test_silhouette_of_a_sphere_is_a_disc(angles):
    radius = 30.0
    view = view_of(Sphere((0.0, 0.0, 0.0), radius), *angles)
    seen = radius / np.sqrt(1 - (radius / 1000.0) ** 2)  # where tangents from the source meet the isocentre plane
    # slabs of 2.5 mm make steps: each ends up to half a slab late, and seen obliquely its edges stand out all round by
    # up to 1.25 mm, 0.6 on average: 0.6 x 2 / 30 of the area
    assert 0.99 < view.area / (np.pi * seen**2) < 1.045
    assert view.bounds == pytest.approx((-seen, -seen, seen, seen), abs=1.3)


def test_silhouette_of_a_box_is_that_of_its_nearest_face():
    box = Box((-20.0, -40.0, -10.0), (30.0, 40.0, 15.0))  # from the front, the face at y = -40 mm covers all others
    scale = 1000.0 / 960.0
    # simplifying contours may take 0.3 mm; here corners stay
    assert view_of(box).bounds == pytest.approx((-20 * scale, -10 * scale, 30 * scale, 15 * scale), abs=1e-6)
    # IEC: with the collimator at 90 degrees x of the leaves runs along y of the gantry, y along -x
    turned = view_of(box, collimator=90.0).bounds
    assert turned == pytest.approx((-10 * scale, -30 * scale, 15 * scale, 20 * scale), abs=1e-6)
    # from the patient's left, x of the gantry runs posteriorly; the face at x = 30 mm is nearest
    near = 1000.0 / 970.0
    expected = (-40 * near, -10 * near, 40 * near, 15 * near)
    assert view_of(box, gantry=90.0).bounds == pytest.approx(expected, abs=1e-6)


def test_a_ring_shows_its_hole_along_its_axis_only():
    ring = Prism(ring_sector(15.0, 37.0, 120.0), -2.5, 2.5)
    # couch and gantry at 90 degrees: the source looks along z
    along = view_of(ring, gantry=90.0, couch=90.0)
    assert along.area == pytest.approx(240 / 360 * np.pi * (37.0**2 - 15.0**2), rel=0.02)  # chords, divergence
    assert not along.contains(shapely.Point(0.0, 0.0))
    assert view_of(ring).contains(shapely.Point(0.0, 0.0))


def rectangles(leaves, mlc):
    rows = zip(mlc.boundaries_mm[:-1], mlc.boundaries_mm[1:], leaves, strict=True)
    return shapely.union_all([shapely.box(a, lo, b, hi) for lo, hi, (a, b) in rows if b > a])


@pytest.mark.parametrize("mlc", [millennium120(), agility()], ids=["millennium", "agility"])
def test_leaves_open_over_the_target_and_no_farther(mlc):
    view = view_of(Sphere((0.0, 0.0, 0.0), 30.0), 40.0)
    aperture = conform(view, mlc, 5.0)
    opened = rectangles(aperture.leaves_mm, mlc)
    wanted = view.buffer(5.0)
    # positions are rounded to a hundredth of a millimetre; the last row may have been too narrow to open
    assert wanted.difference(opened.buffer(0.02)).area < 0.01 * wanted.area
    # each row opens to the outermost point under it: half a row's slope on either side of a disc, a tenth in all
    assert opened.area < 1.1 * wanted.area
    assert aperture.area_mm2 == pytest.approx(opened.area, rel=1e-9)
    for lower, upper in aperture.leaves_mm[aperture.leaves_mm[:, 1] > aperture.leaves_mm[:, 0]]:
        assert aperture.jaw_x_mm[0] <= lower and upper <= aperture.jaw_x_mm[1]


def test_nothing_to_see_is_no_aperture():
    assert conform(shapely.Polygon(), millennium120(), 5.0) is None
    assert conform(shapely.box(-3.0, -3.0, 3.0, 3.0), millennium120(), -4.0) is None


def test_shielded_parts_hide_the_organ_and_keep_the_rest():
    mlc = millennium120()
    target, organ = shapely.box(-40.0, -30.0, 40.0, 30.0), shapely.box(-8.0, -20.0, 8.0, 20.0)
    whole = conform(target, mlc, 5.0)
    low, high = (rectangles(p.leaves_mm, mlc) for p in beside(whole, organ, mlc))
    assert low.intersection(organ).area == high.intersection(organ).area == 0.0
    both = shapely.union_all([low, high, organ])
    assert both.symmetric_difference(rectangles(whole.leaves_mm, mlc)).area == pytest.approx(0.0, abs=1e-6)
    assert beside(whole, shapely.box(100.0, 0.0, 110.0, 10.0), mlc) == ()


# ---- plans ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TG119_CASES)
def test_plan_is_deliverable(case, phantoms):
    phantom = phantoms[case]
    plan, machine = phantom.plan, load_machine("generic-6mv-millennium120")
    check_supported(plan)
    assert len(plan.beams) == (7 if case in ("tg119-multi-target", "tg119-prostate") else 9)
    for beam in plan.beams:
        check_geometry(beam, machine)
        assert technique(beam) in ("STATIC", "STEP_AND_SHOOT")
        for point in beam.control_points:
            assert np.all(point.leaves_mm[:, 1] >= point.leaves_mm[:, 0])
            # closed leaves leak where they meet: behind a jaw
            closed = point.leaves_mm[:, 0] == point.leaves_mm[:, 1]
            assert np.all(point.leaves_mm[closed, 0] < point.jaw_x_mm[0] - 5.0)
        # the isocentre lies in the middle of a slab of 30 x 20 cm
        gantry = np.deg2rad(beam.control_points[0].gantry_deg)
        depth = min(100.0 / max(abs(np.cos(gantry)), 1e-9), 150.0 / max(abs(np.sin(gantry)), 1e-9))
        assert beam.control_points[0].ssd_mm == pytest.approx(1000.0 - depth, abs=1e-3)


def test_every_beam_sees_its_whole_target(phantoms):
    phantom = phantoms["tg119-c-shape"]
    target = next(d for d in phantom.drawn if d.kind == "PTV")
    for beam in phantom.plan.beams:
        point = beam.control_points[0]
        view = view_of(target.shape, point.gantry_deg)
        hidden = view.buffer(MARGIN_MM - 0.1).difference(rectangles(point.leaves_mm, beam.mlc))
        assert hidden.area < 1.0  # mm2


def test_multi_target_gives_the_central_target_most(phantoms):
    """Meterset that reaches the middle of each target: all, a half and a quarter, as the report prescribes dose."""
    reached = {}
    beam = phantoms["tg119-multi-target"].plan.beams[0]
    rows = np.searchsorted(beam.mlc.boundaries_mm, [0.0, 40.0, -40.0]) - 1
    for name, row in zip(("central", "superior", "inferior"), rows, strict=True):
        points = beam.control_points
        reached[name] = sum(
            b.meterset_fraction - a.meterset_fraction
            for a, b in pairwise(points)
            if a.leaves_mm[row, 0] < 0.0 < a.leaves_mm[row, 1]
        )
    assert reached == pytest.approx({"central": 1.0, "superior": 0.5, "inferior": 0.25})


def dose_in(phantom):
    """Dose on voxels of 5 mm around the isocentre, and the mean over the voxels of a structure."""
    grid = Grid.covering((-60.0, -60.0, -70.0), (60.0, 60.0, 70.0), (5.0, 5.0, 5.0))
    patient = phantom.patient(load_curve(), Grid.covering((-150, -100, -150), (150, 100, 150), (5.0, 5.0, 5.0)))
    machine = load_machine("generic-6mv-millennium120")
    dose = compute_dose(patient, phantom.plan, machine, DoseSettings(grid=grid)).total_gy
    z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
    points = np.stack([x, y, z], axis=-1)

    def mean(name):
        return float(dose[next(d for d in phantom.drawn if d.name == name).shape.contains(points)].mean())

    def at(z_mm):
        middle = np.argmin(np.abs(grid.y_mm)), np.argmin(np.abs(grid.x_mm))
        return float(dose[np.argmin(np.abs(grid.z_mm - z_mm)), middle[0], middle[1]])

    return mean, at


def test_multi_target_dose_falls_in_the_reports_steps(phantoms):
    _, at = dose_in(phantoms["tg119-multi-target"])
    central = at(0.0)
    # half and a quarter of the meterset; on top of that what the neighbours scatter and the leaves let through, 5 to
    # 10 % of the segments that leave a target out
    assert 0.5 < at(40.0) / central < 0.6
    assert 0.25 < at(-40.0) / central < 0.35


def test_core_gets_less_than_the_target_around_it(phantoms):
    mean, _ = dose_in(phantoms["tg119-c-shape"])
    # covered for three fifths of the meterset wherever a beam sees it; scattered dose comes to a third of that
    assert mean("Core") < 0.8 * mean("C-shape PTV")


def test_command_line_writes_them(tmp_path):
    assert run(["phantom", "tg119-multi-target", "--output", str(tmp_path), "--spacing", "10"]) == 0
    study = load_study(tmp_path)
    (plan,), (structures,) = study.plans, study.structure_sets
    assert not study.problems
    assert plan.label == "tg119-multi-targ" and len(plan.beams) == 7
    assert {s.name for s in structures.structures} >= {"External", "Central target"}


def test_agility_plan_is_deliverable_too():
    phantom = make_phantom("tg119-c-shape", machine_name="DC-6MV-AGIL", spacing_mm=10.0)
    machine = load_machine("generic-6mv-agility")
    for beam in phantom.plan.beams:
        check_geometry(beam, machine)


def test_structures_must_lie_in_the_slab():
    with pytest.raises(InputError) as caught:
        make_phantom("tg119-head-and-neck", ssd_mm=980.0, spacing_mm=10.0)
    assert caught.value.reason == "PHANTOM_OPTION"


def test_prism_of_a_disc_contains_its_axis():
    prism = Prism(disc((5.0, 5.0), 10.0), 0.0, 20.0)
    assert prism.contains(np.array([[5.0, 5.0, 10.0], [5.0, 5.0, 25.0], [16.0, 5.0, 10.0]])).tolist() == [
        True,
        False,
        False,
    ]
