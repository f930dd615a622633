"""Two stacked layers of leaves: their fluence in closed form, and plans with MLCX1 and MLCX2 from DICOM to dose."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from builders_dicom import to_bytes
from builders_engine import bare_machine, box, field, plan_of
from builders_rtplan import dual_layer_beam, make_rtplan
from pydicom.dataset import Dataset

from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.dicom.study import load_study
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import MachineError
from dosecalc.machine import MachineMapping, load_machine
from dosecalc.machine.model import Machine
from dosecalc.photon.fluence import FluenceMap, check_geometry, fluence_map
from dosecalc.photon.segments import split_beam
from dosecalc.plan import Beam, Plan, check_supported
from dosecalc.recompute import GridRequest, RecomputeRequest, recompute
from dosecalc_phantoms import make_phantom
from dosecalc_phantoms.dicom import write_phantom
from dosecalc_phantoms.dual_layer import as_dual_layer, distal, proximal

NAME = "generic-6fff-dual-layer"
DISTAL, PROXIMAL = 0.02, 0.05


def bare_dual() -> Machine:
    """A point source, two layers of sharp leaves that leak, no jaws."""
    one = bare_machine(mlc=distal(), leaf_transmission=DISTAL, jaw_x=None, jaw_y=None)
    assert one.mlc is not None
    other = one.mlc.model_copy(
        update={"boundaries_mm": tuple(proximal().boundaries_mm), "transmission": PROXIMAL, "name": "proximal"}
    )
    return one.model_copy(update={"second_mlc": other})


def beam_of(first: np.ndarray, second: np.ndarray, *later: tuple[np.ndarray, np.ndarray]) -> Beam:
    """A beam whose layers go from one state to the next, evenly in meterset."""
    states = [(first, second), *(later or ((first, second),))]
    point = replace(field().control_points[0], jaw_x_mm=None, jaw_y_mm=None)
    points = tuple(
        replace(point, index=i, meterset_fraction=i / (len(states) - 1), leaves_mm=a, second_leaves_mm=b)
        for i, (a, b) in enumerate(states)
    )
    return replace(field(), mlc=distal(), second_mlc=proximal(), control_points=points)


def map_of(beam: Beam, machine: Machine, pitch_mm: float = 0.5) -> FluenceMap:
    (group,) = split_beam(beam, 2.5, 5.0)
    (view,) = group.views
    return fluence_map(beam, view, machine, machine.energies[0], pitch_mm)


def random_leaves(rng: np.random.Generator, pairs: int) -> np.ndarray:
    # to half millimetres, so that no leaf end lies inside a pixel of 0.5 mm
    ends = np.sort(rng.integers(-160, 161, (pairs, 2)) / 2.0, axis=1)
    ends[rng.random(pairs) < 0.3] = -140.0  # closed
    return ends


def seen(x: np.ndarray, y: np.ndarray, boundaries: np.ndarray, leaves: np.ndarray, through: float) -> np.ndarray:
    """What one layer of sharp leaves lets through, pixel by pixel and by itself: 1 between its ends, else its leak."""
    out = np.full((len(y), len(x)), through)
    for lower, upper, (left, right) in zip(boundaries[:-1], boundaries[1:], leaves, strict=True):
        rows = (y > lower) & (y < upper)
        out[np.ix_(rows, (x > left) & (x < right))] = 1.0
    return out


# ---- fluence --------------------------------------------------------------------------------------------------------


def test_fluence_is_the_product_of_both_layers() -> None:
    rng = np.random.default_rng(5)
    first, second = random_leaves(rng, 28), random_leaves(rng, 29)
    f = map_of(beam_of(first, second), bare_dual())
    x, y = f.x_mm, f.y_mm
    product = seen(x, y, distal().boundaries_mm, first, DISTAL) * seen(x, y, proximal().boundaries_mm, second, PROXIMAL)
    # sharp edges that meet pixel boundaries, so each pixel is of one kind
    np.testing.assert_allclose(f.values, product, rtol=1e-9)
    # and the map holds every place where only one layer is open
    assert np.abs(x).max() > np.abs(first[:, 1]).max() and np.abs(x).max() > np.abs(second[:, 1]).max()


def test_open_area_is_the_intersection_of_openings() -> None:
    """What is open is open in both; in area: both minus their union."""
    rng = np.random.default_rng(6)
    first, second = random_leaves(rng, 28), random_leaves(rng, 29)
    f = map_of(beam_of(first, second), bare_dual())
    a, b = (
        seen(f.x_mm, f.y_mm, m.boundaries_mm, leaves, 0.0) > 0
        for m, leaves in ((distal(), first), (proximal(), second))
    )
    open_pixels = np.isclose(f.values, 1.0)
    assert open_pixels.sum() == a.sum() + b.sum() - (a | b).sum()
    assert (open_pixels == (a & b)).all()


def test_layers_that_move_against_each_other_are_averaged_moment_by_moment() -> None:
    """One layer uncovers places from the left, the other covers them from the left a fifth of the meterset later.

    Distal leaves uncover x at (x + 50) / 100 of the meterset, proximal ones cover it at (x + 70) / 100.
    """
    start, end = (np.tile([-50.0, x], (28, 1)) for x in (-50.0, 50.0))
    lag = 20.0
    behind = [np.tile([x, 140.0], (29, 1)) for x in (-50.0 - lag, 50.0 - lag)]
    f = map_of(beam_of(start, behind[0], (end, behind[1])), bare_dual())
    row = f.values[len(f.y_mm) // 2]
    inside = (f.x_mm > -50.0) & (f.x_mm < 50.0 - lag)
    opened = (f.x_mm[inside] + 50.0) / 100.0
    share = lag / 100.0  # open in both
    want = share + opened * DISTAL + (1.0 - opened - share) * PROXIMAL
    np.testing.assert_allclose(row[inside], want, rtol=1e-9)


def test_an_edge_in_the_middle_of_a_leaf_is_made_by_the_other_layer() -> None:
    """Staggered layers have steps of half a leaf."""
    jaws = field((-40.0, 40.0), (-35.0, 50.0))
    beam = as_dual_layer(jaws)
    f = map_of(beam, bare_dual())
    column = f.values[:, len(f.x_mm) // 2]
    np.testing.assert_array_equal(np.isclose(column, 1.0), (f.y_mm > -35.0) & (f.y_mm < 50.0))


# ---- dose -----------------------------------------------------------------------------------------------------------


def dose_of(beam: Beam, machine: Machine) -> np.ndarray:
    patient = box((160.0, 120.0, 160.0), (8.0, 8.0, 8.0))
    settings = DoseSettings(grid=patient.density.grid)
    return compute_dose(patient, plan_of(beam), machine, settings).total_gy


def test_two_layers_give_the_dose_of_the_jaws_that_they_replace() -> None:
    """Opaque, sharp, from a point: whatever makes the field, its dose is the same."""
    dual = bare_dual()
    assert dual.mlc is not None and dual.second_mlc is not None
    opaque = dual.model_copy(
        update={
            "mlc": dual.mlc.model_copy(update={"transmission": 0.0}),
            "second_mlc": dual.second_mlc.model_copy(update={"transmission": 0.0}),
        }
    )
    jaws = field((-40.0, 30.0), (-35.0, 50.0))
    np.testing.assert_allclose(dose_of(as_dual_layer(jaws), opaque), dose_of(jaws, bare_machine()), rtol=1e-5)


def test_generic_machine_is_calibrated_with_its_own_leaves() -> None:
    machine = load_machine(NAME)
    (energy,) = machine.energies
    c = energy.calibration
    patient = box((240.0, 200.0, 240.0), (5.0, 5.0, 5.0), centre=(0.0, 100.0, 0.0))
    jaws = field(c.field_mm / 2, c.field_mm / 2, isocentre=(0.0, machine.sad_mm - c.ssd_mm, 0.0))
    beam = replace(as_dual_layer(jaws), fluence_mode="FFF")
    grid = patient.density.grid
    dose = compute_dose(patient, plan_of(beam), machine, DoseSettings(grid=grid)).total_gy
    axis = dose[np.abs(grid.z_mm) < 5.0][:, :, np.abs(grid.x_mm) < 5.0].mean((0, 2))
    # voxels of 5 mm here, of 2.5 mm in the calibration: half a percent near the maximum
    assert np.interp(c.depth_mm, grid.y_mm, axis) == pytest.approx(c.gy_per_mu, rel=5e-3)


# ---- from DICOM to dose ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["static", "step-and-shoot", "sliding-gap"])
def test_a_written_plan_comes_back_and_is_mapped(tmp_path: Path, plan: str) -> None:
    phantom = make_phantom(
        "water-box", plan=plan, spacing_mm=10.0, machine_name="DC-6FFF-DUAL", fluence_mode="FFF", field_mm=(80.0, 70.0)
    )
    files = write_phantom(phantom, tmp_path)
    kinds = {
        d.RTBeamLimitingDeviceType for d in pydicom.dcmread(files.rtplan).BeamSequence[0].BeamLimitingDeviceSequence
    }
    assert kinds == {"MLCX1", "MLCX2"}
    (read,) = load_study(tmp_path).plans
    check_supported(read)
    for beam, written in zip(read.beams, phantom.plan.beams, strict=True):
        assert beam.second_mlc is not None and (beam.mlc.n_pairs, beam.second_mlc.n_pairs) == (28, 29)
        machine = MachineMapping.default().resolve(beam)
        assert machine.name == NAME
        check_geometry(beam, machine)
        for a, b in zip(beam.control_points, written.control_points, strict=True):
            # decimal strings are written to 1e-6 mm
            np.testing.assert_allclose(a.leaves_mm, b.leaves_mm, atol=1e-6)
            np.testing.assert_allclose(a.second_leaves_mm, b.second_leaves_mm, atol=1e-6)


def test_a_written_plan_is_computed(tmp_path: Path) -> None:
    """From files to dose: on the axis what the calibration says, half a field beside the field next to nothing."""
    phantom = make_phantom(
        "water-box", plan="static", spacing_mm=10.0, machine_name="DC-6FFF-DUAL", fluence_mode="FFF", ssd_mm=1000.0
    )
    write_phantom(phantom, tmp_path)
    region = GridRequest(spacing_mm=(5.0, 5.0, 5.0), box_mm=((-110.0, 0.0, -20.0), (110.0, 60.0, 20.0)))
    dose = recompute(load_study(tmp_path), RecomputeRequest(grid=region)).dose
    grid = dose.grid
    middle = dose.total_gy[np.abs(grid.z_mm) < 6.0].mean(0)  # [y, x]
    on_axis = np.interp(15.0, grid.y_mm, middle[:, np.abs(grid.x_mm) < 6.0].mean(1))
    # 100 MU give 1 Gy at 15 mm depth; the CT's voxels are of 10 mm, the surface lies between two of them
    assert on_axis == pytest.approx(1.0, abs=0.02)
    at_50_mm = middle[np.argmin(np.abs(grid.y_mm - 50.0))]
    assert at_50_mm[np.abs(grid.x_mm) > 100.0].max() < 0.03 * on_axis


# ---- what is refused ------------------------------------------------------------------------------------------------


def plan_with(item: Dataset) -> Plan:
    return read_rtplan(parse(to_bytes(make_rtplan([item])), "rp.dcm"), "rp.dcm")


def test_layers_are_told_apart_by_name_not_by_order() -> None:
    item = dual_layer_beam()
    devices = item.BeamLimitingDeviceSequence
    positions = item.ControlPointSequence[0].BeamLimitingDevicePositionSequence
    item.BeamLimitingDeviceSequence = pydicom.Sequence(list(devices)[::-1])
    item.ControlPointSequence[0].BeamLimitingDevicePositionSequence = pydicom.Sequence(list(positions)[::-1])
    (turned,) = plan_with(item).beams
    (straight,) = plan_with(dual_layer_beam()).beams
    assert turned.mlc.n_pairs == straight.mlc.n_pairs == 10 and turned.second_mlc.n_pairs == 11
    np.testing.assert_array_equal(turned.control_points[0].leaves_mm, straight.control_points[0].leaves_mm)


def test_a_layer_without_positions_names_the_tag() -> None:
    item = dual_layer_beam()
    positions = item.ControlPointSequence[0].BeamLimitingDevicePositionSequence
    item.ControlPointSequence[0].BeamLimitingDevicePositionSequence = pydicom.Sequence(
        [p for p in positions if p.RTBeamLimitingDeviceType != "MLCX2"]
    )
    with pytest.raises(RtPlanError) as caught:
        plan_with(item)
    assert caught.value.reason == "POSITION_MISSING" and "MLCX2" in caught.value.message
    assert "LeafJawPositions" in caught.value.where["tag"]


def test_one_layer_on_a_machine_with_two_and_the_reverse() -> None:
    two = beam_of(np.tile([-20.0, 20.0], (28, 1)), np.tile([-20.0, 20.0], (29, 1)))
    one = replace(two, second_mlc=None)
    with pytest.raises(MachineError) as caught:
        check_geometry(one, load_machine(NAME))
    assert caught.value.reason == "MLC_LAYERS_MISMATCH" and "MLCX1 and MLCX2" in caught.value.message
    assert "300A,00B8" in caught.value.where["tag"] and caught.value.where["beam"] == one.label
    with pytest.raises(MachineError) as caught:
        check_geometry(two, load_machine("generic-6fff-millennium120"))
    assert caught.value.reason == "MLC_MISMATCH" and "two layers" in caught.value.message
    assert "second_mlc" in caught.value.message and "300A,00B8" in caught.value.where["tag"]


@pytest.mark.skipif("DOSECALC_REFERENCE" not in os.environ, reason="DOSECALC_REFERENCE is not set")
def test_treatment_beams_of_a_clinical_plan_fit_the_generic_machine() -> None:
    from test_rtplan_reference import read

    beams = [b for b in read("plans-only", "91f7f46f5c").beams if b.delivery_type == "TREATMENT"]
    assert beams
    for beam in beams:
        check_geometry(beam, load_machine(NAME))
        assert beam.fluence_mode == "FFF"
