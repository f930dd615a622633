"""Phantoms: their truth is the closed form, and the DICOM that is written says the same to a strict reader."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dosecalc.dicom.study import load_study
from dosecalc.errors import DicomError, GeometryError, InputError
from dosecalc.geometry.frames import PATIENT_POSITIONS, bld_from_patient, source_patient_mm
from dosecalc.patient.hu import load_curve
from dosecalc_phantoms import PLAN_KINDS, list_phantoms, make_phantom
from dosecalc_phantoms.dicom import write_phantom
from dosecalc_phantoms.plans import angles_for

COARSE = 10.0  # mm; files of a few hundred kilobytes in all


@pytest.mark.parametrize("kind", list_phantoms(), ids=lambda k: k.name)
def test_mass_is_that_of_the_regions(kind):
    phantom = make_phantom(kind.name, plan="static", spacing_mm=(4.0, 7.0, 5.0))  # faces cut through voxels on purpose
    grid = phantom.ct_grid
    mass_g = phantom.density_on(grid).values.sum(dtype=np.float64) * grid.voxel_volume_cm3
    box_cm3 = 30.0 * 30.0 * kind.thickness_mm / 10
    layers_g = sum((d - 1.0) * 30 * 30 * (stop - start) / 10 for _, start, stop, d in kind.layers)
    air_g = (grid.size * grid.voxel_volume_cm3 - box_cm3) * 0.00120479
    # float32 densities: 1e-6 relative
    assert mass_g == pytest.approx(box_cm3 + layers_g + air_g, rel=1e-6)


def test_density_comes_back_through_the_generic_curve():
    curve = load_curve()
    for kind in list_phantoms():
        phantom = make_phantom(kind.name, plan="static", spacing_mm=COARSE)
        read_back = curve.density(phantom.ct(curve).hu.values)
        # the inverse of a piecewise linear curve is exact; float32 HU near 1400 resolve 1e-4 HU, that is 1e-7 g/cm3
        np.testing.assert_allclose(read_back, phantom.density_on(phantom.ct_grid).values, atol=1e-6)


def test_slabs_and_radiological_depth_along_the_beam():
    phantom = make_phantom("water-lung-slab", ssd_mm=900.0)
    slabs = phantom.slabs((0.0, -1000.0, 0.0), (0.0, 1.0, 0.0))
    assert [(s.name, s.start_mm, s.stop_mm) for s in slabs] == [
        ("water", 0.0, 50.0),
        ("lung", 50.0, 150.0),
        ("water", 150.0, 300.0),
    ]
    depth = phantom.radiological_depth_gcm2((0.0, -1000.0, 0.0), (0.0, 1.0, 0.0), 200.0)
    assert depth == pytest.approx(5.0 + 10.0 * 0.26 + 5.0)
    with pytest.raises(GeometryError, match="misses"):
        phantom.slabs((500.0, -1000.0, 0.0), (0.0, 1.0, 0.0))


@pytest.mark.parametrize("position", PATIENT_POSITIONS)
@pytest.mark.parametrize("plan", PLAN_KINDS)
def test_beams_follow_the_patient(position, plan):
    upright = make_phantom("water-box", plan=plan, spacing_mm=COARSE)
    turned = make_phantom("water-box", plan=plan, patient_position=position, spacing_mm=COARSE)
    for a, b in zip(upright.plan.beams, turned.plan.beams, strict=True):
        for p, q in zip(a.control_points, b.control_points, strict=True):
            first = bld_from_patient(p.gantry_deg, p.collimator_deg, p.couch_deg, "HFS")
            second = bld_from_patient(q.gantry_deg, q.collimator_deg, q.couch_deg, position)
            # angles are rounded to 1e-6 degrees: 2e-8 rad
            np.testing.assert_allclose(second, first, atol=1e-7)
            assert q.couch_deg == 0.0
            assert q.ssd_mm == pytest.approx(p.ssd_mm, abs=0.01)
    assert upright.ct_grid == turned.ct_grid
    np.testing.assert_array_equal(upright.density_on(upright.ct_grid).values, turned.density_on(turned.ct_grid).values)


@pytest.mark.parametrize("position", PATIENT_POSITIONS)
def test_phantom_in_the_room_stands_under_the_beam(position):
    phantom = make_phantom(
        "water-lung-slab", patient_position=position, fixed_in="room", spacing_mm=COARSE, ssd_mm=950.0
    )
    beam = phantom.plan.beams[0]
    assert beam.control_points[0].gantry_deg == 0.0
    source = source_patient_mm((0, 0, 0), bld_from_patient(0, 0, 0, position), beam.sad_mm)
    slabs = phantom.slabs(tuple(source), tuple(-source))
    assert [s.name for s in slabs] == ["water", "lung", "water"]
    assert beam.control_points[0].ssd_mm == pytest.approx(950.0)


@pytest.mark.parametrize("position", PATIENT_POSITIONS)
def test_angles_are_found_for_any_rotation(position):
    random = np.random.default_rng(7)
    for gantry, collimator, couch in random.uniform(0, 360, (20, 3)):
        wanted = bld_from_patient(gantry, collimator, couch, "HFS")
        found = angles_for(wanted, position)
        np.testing.assert_allclose(bld_from_patient(*found, position), wanted, atol=1e-7)  # rounded angles, as above


def test_contoured_volume_is_that_of_the_shape():
    phantom = make_phantom("water-box", spacing_mm=2.5)
    for structure in phantom.structure_set().structures:
        area_cm2 = sum(_polygon_area(c.points_mm[:, :2]) for c in structure.contours) / 100.0
        # slices of 2.5 mm through a sphere of 30 mm: the sum over slices of its parabolic area is good to (d/2r)^2
        assert area_cm2 * 0.25 == pytest.approx(phantom.volume_cm3(structure.name), rel=2e-3)


def _polygon_area(xy):
    x, y = xy.T
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def test_same_phantom_same_bytes(tmp_path):
    phantom = make_phantom("water-bone-slab", spacing_mm=COARSE, plan="step-and-shoot")
    first, second = (write_phantom(phantom, tmp_path / n) for n in "ab")
    for a, b in zip(
        (*first.ct, first.rtstruct, first.rtplan), (*second.ct, second.rtstruct, second.rtplan), strict=True
    ):
        assert a.read_bytes() == b.read_bytes()
    other = write_phantom(make_phantom("water-bone-slab", spacing_mm=COARSE, plan="box"), tmp_path / "c")
    assert pydicom.dcmread(other.rtplan).SOPInstanceUID != pydicom.dcmread(first.rtplan).SOPInstanceUID


@pytest.mark.parametrize("position", PATIENT_POSITIONS)
@pytest.mark.parametrize("fixed_in", ["patient", "room"])
def test_what_is_written_is_read_again(tmp_path, position, fixed_in):
    phantom = make_phantom(
        "water-lung-slab",
        plan="vmat",
        patient_position=position,
        fixed_in=fixed_in,
        spacing_mm=(10.0, 6.0, 7.5),
        ssd_mm=930.0,
    )
    write_phantom(phantom, tmp_path)
    case = load_study(tmp_path).select()
    assert case.ct.patient_position == position
    # positions are written to 1e-6 mm
    np.testing.assert_allclose(case.ct.hu.grid.origin_mm, phantom.ct_grid.origin_mm, atol=1e-5)
    np.testing.assert_allclose(case.ct.hu.grid.spacing_mm, phantom.ct_grid.spacing_mm, atol=1e-5)
    density = load_curve().density(case.ct.hu.values)
    # HU are stored in steps of 0.05, which is 5e-5 g/cm3 and less
    np.testing.assert_allclose(density, phantom.density_on(phantom.ct_grid).values, atol=5e-5)
    (written,), (read,) = phantom.plan.beams, case.plan.beams
    assert read.machine_name == written.machine_name
    assert read.patient_position == position
    assert case.plan.total_mu(read) == phantom.plan.total_mu(written)
    for a, b in zip(written.control_points, read.control_points, strict=True):
        assert (b.gantry_deg, b.collimator_deg, b.couch_deg) == (a.gantry_deg, a.collimator_deg, a.couch_deg)
        assert b.gantry_direction == a.gantry_direction
        assert (b.jaw_x_mm, b.jaw_y_mm) == (a.jaw_x_mm, a.jaw_y_mm)
        assert b.meterset_fraction == pytest.approx(a.meterset_fraction, abs=1e-6)  # six decimals in the file
        np.testing.assert_array_equal(b.leaves_mm, a.leaves_mm)
    assert [s.name for s in case.structures.structures] == [d.name for d in phantom.drawn]


def test_swedish_names_survive_the_file(tmp_path):
    files = write_phantom(make_phantom("water-bone-slab", spacing_mm=COARSE, language="sv"), tmp_path)
    names = [r.ROIName for r in pydicom.dcmread(files.rtstruct).StructureSetROISequence]
    assert names == ["Ytterkontur", "Målvolym", "Riskorgan höger sida", "Benskiva åäö"]


def test_ct_slices_are_written_as_scanners_write_each_position(tmp_path):
    # DICOM PS3.3 C.7.6.2.1.1: the direction of rows and columns in the patient; scanners keep the image upright in the
    # room, so a prone patient's image rows run to the patient's right
    expected = {"HFS": (1, 0, 0, 0, 1, 0), "HFP": (-1, 0, 0, 0, -1, 0), "FFS": (-1, 0, 0, 0, 1, 0)}
    for position, orientation in expected.items():
        phantom = make_phantom("water-box", patient_position=position, spacing_mm=COARSE)
        image = pydicom.dcmread(write_phantom(phantom, tmp_path / position).ct[0])
        assert tuple(float(v) for v in image.ImageOrientationPatient) == orientation
        assert image.PatientPosition == position


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize(
    ("name", "plan", "position", "language"),
    [
        ("water-box", "static", "HFS", "en"),
        ("water-lung-slab", "box", "HFP", "en"),
        ("water-bone-slab", "step-and-shoot", "FFDL", "sv"),
        ("water-lung-slab", "vmat", "HFDR", "sv"),
        ("tg119-multi-target", None, "HFS", "en"),
        ("tg119-prostate", None, "HFP", "sv"),
        ("tg119-head-and-neck", None, "FFS", "en"),
        ("tg119-c-shape", None, "HFDL", "sv"),
        ("water-box", "picket-fence", "HFS", "en"),
        ("water-box", "rotated", "HFS", "en"),
    ],
)
def test_dciodvfy_finds_no_error(tmp_path, name, plan, position, language):
    phantom = make_phantom(name, plan=plan, patient_position=position, language=language, spacing_mm=COARSE)
    files = write_phantom(phantom, tmp_path)
    for path in (files.ct[0], files.ct[-1], files.rtstruct, files.rtplan):
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
        assert not errors, f"{path.name}: {errors}"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "no-such"}, "PHANTOM_UNKNOWN"),
        ({"name": "water-box", "plan": "no-such"}, "PHANTOM_PLAN_UNKNOWN"),
        ({"name": "water-box", "spacing_mm": 0.01}, "PHANTOM_OPTION"),
        ({"name": "water-box", "ssd_mm": 2000.0}, "PHANTOM_OPTION"),
        ({"name": "water-box", "language": "xx"}, "PHANTOM_OPTION"),
    ],
)
def test_options_that_make_no_phantom(options, reason):
    with pytest.raises(InputError) as caught:
        make_phantom(options.pop("name"), **options)
    assert caught.value.reason == reason


def test_unknown_patient_position_is_refused():
    with pytest.raises(DicomError) as caught:
        make_phantom("water-box", patient_position="SITTING")
    assert caught.value.reason == "PATIENT_POSITION_UNKNOWN"


def test_directory_that_cannot_be_written(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(InputError) as caught:
        write_phantom(make_phantom("water-box", spacing_mm=COARSE), blocked)
    assert caught.value.reason == "OUTPUT_NOT_WRITABLE"
