"""Fluence maps against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from builders_engine import bare_machine, dynamic, field, leaf_bank
from scipy.special import erf

from dosecalc.errors import DosecalcError
from dosecalc.machine import load_machine
from dosecalc.machine.model import ExtraFocalSource, PrimarySource
from dosecalc.photon.fluence import check_geometry, fluence_map
from dosecalc.photon.segments import split_beam


def map_of(beam, machine, pitch=1.0):
    (group,) = split_beam(beam, 2.5, 5.0)
    (view,) = group.views
    return fluence_map(beam, view, machine, machine.energies[0], pitch)


def at(fluence, x, y=0.0):
    i, j = np.argmin(np.abs(fluence.x_mm - x)), np.argmin(np.abs(fluence.y_mm - y))
    return fluence.values[j, i]


def test_open_field_is_one_inside_and_transmission_outside():
    f = map_of(field((-30, 50), (-20, 40)), bare_machine(jaw_transmission=0.005))
    assert at(f, 0.5, 0.5) == pytest.approx(1.0)
    assert at(f, 55.5, 0.5) == pytest.approx(0.005)
    assert at(f, 0.5, -25.5) == pytest.approx(0.005)
    assert at(f, 45.5, 35.5) == pytest.approx(1.0) and at(f, -35.5, 35.5) == pytest.approx(0.005)


def test_what_closed_collimators_let_through_reaches_as_far_as_the_beam():
    """Beside a jaw alone, and beside leaves without a jaw, transmission goes on; behind both it is dropped."""
    mlc = leaf_bank()
    leaves = np.tile([-20.0, 20.0], (40, 1))
    jaws_alone = map_of(field(30, 30), bare_machine(jaw_transmission=0.005))
    assert at(jaws_alone, 200.5) == pytest.approx(0.005)
    machine = bare_machine(mlc=mlc, leaf_transmission=0.01, jaw_transmission=0.005)
    no_x_jaw = replace(field(30, 30, mlc=mlc, leaves=leaves), control_points=tuple(
        replace(c, jaw_x_mm=None) for c in field(30, 30, mlc=mlc, leaves=leaves).control_points
    ))  # fmt: skip
    leaves_alone = map_of(no_x_jaw, machine)
    assert at(leaves_alone, 200.5) == pytest.approx(0.01)
    both = map_of(field(30, 30, mlc=mlc, leaves=leaves), machine)
    assert both.x_mm[-1] < 60  # 5e-5 of the open fluence: below what is neglected


def test_field_edges_between_pixels_keep_the_area():
    f = map_of(field((-30.3, 50.6), (-20.2, 40.7)), bare_machine())
    # edges are resolved by a quarter of a pixel at most: 0.125 mm on each side
    assert f.values.sum() == pytest.approx(80.9 * 60.9, abs=0.125 * 2 * (80.9 + 60.9))


def test_sliding_gap_gives_the_gap_over_its_travel():
    """A gap of 10 mm that sweeps 120 mm at constant speed opens each point inside for 10/120 of the meterset."""
    mlc = leaf_bank()
    machine = bare_machine(mlc=mlc, leaf_transmission=0.0)
    start, end = np.tile([-60.0, -50.0], (40, 1)), np.tile([50.0, 60.0], (40, 1))
    f = map_of(dynamic([0, 1], [start, end], mlc=mlc, half_x=80, half_y=40), machine)
    for x in (-30.5, 0.5, 42.5):
        assert at(f, x) == pytest.approx(10 / 110, rel=1e-9)
    assert at(f, 70.5) == 0.0
    # total: the gap's area times one
    assert f.values.sum() == pytest.approx(10 * 80, rel=1e-9)


def test_sliding_gap_with_transmission_and_tip_offset():
    mlc = leaf_bank()
    machine = bare_machine(mlc=mlc, leaf_transmission=0.02)
    assert machine.mlc is not None
    machine = machine.model_copy(update={"mlc": machine.mlc.model_copy(update={"tip_offset_mm": 1.0})})
    start, end = np.tile([-60.0, -50.0], (40, 1)), np.tile([50.0, 60.0], (40, 1))
    f = map_of(dynamic([0, 1], [start, end], mlc=mlc, half_x=80, half_y=40), machine)
    # the dosimetric gap is 2 mm wider
    assert at(f, 0.5) == pytest.approx(12 / 110 + 0.02 * (1 - 12 / 110), rel=1e-9)


def test_leaves_along_y_are_the_transpose():
    along_x, along_y = leaf_bank("X"), leaf_bank("Y")
    leaves = np.tile([-20.0, 35.0], (40, 1))
    leaves[10:20] = (-5, 10)
    fx = map_of(field(60, 60, mlc=along_x, leaves=leaves), bare_machine(mlc=along_x))
    fy = map_of(field(60, 60, mlc=along_y, leaves=leaves), bare_machine(mlc=along_y))
    assert np.array_equal(fx.values, fy.values.T)


def test_step_and_shoot_is_the_meterset_weighted_mean():
    mlc = leaf_bank()
    a, b = np.tile([-30.0, 0.0], (40, 1)), np.tile([0.0, 30.0], (40, 1))
    f = map_of(dynamic([0, 0.3, 0.3, 1.0], [a, a, b, b], mlc=mlc), bare_machine(mlc=mlc))
    assert at(f, -10.5) == pytest.approx(0.3)
    assert at(f, 10.5) == pytest.approx(0.7)


def test_focal_spot_blurs_the_edge_as_an_error_function():
    machine = bare_machine()
    energy = machine.energies[0].model_copy(update={"primary_source": PrimarySource(sigma_mm=2.0, source="test")})
    machine = machine.model_copy(update={"energies": (energy,)})
    f = map_of(field(40, 40), machine, pitch=0.5)
    # collimated half way to the isocentre the spot's image has its own size there
    for x in (37.25, 39.25, 40.25, 42.25):
        expected = 0.5 * (1 - erf((x - 40) / (np.sqrt(2) * 2.0)))
        assert at(f, x, 0.25) == pytest.approx(expected, abs=4e-3)  # pixels of a quarter of sigma


def test_extra_focal_source_makes_output_rise_with_the_field():
    machine = bare_machine()
    extra = ExtraFocalSource(fraction=0.1, sigma_mm=20, distance_mm=125, collimator_distance_mm=400, source="test")
    energy = machine.energies[0].model_copy(update={"extra_focal": extra})
    machine = machine.model_copy(update={"energies": (energy,)})
    # the source's image at the isocentre scale: docs/beam-model.md, eq. 3.1
    g = 875 / 600
    sigma = 20 / g * 1000 / 400

    def seen(half):
        return erf(half / (np.sqrt(2) * sigma)) ** 2

    outputs = {h: at(map_of(field(h, h), machine), 0.5, 0.5) for h in (20.0, 50.0, 100.0)}
    for half, output in outputs.items():
        assert output == pytest.approx((0.9 + 0.1 * seen(half)) / (0.9 + 0.1 * seen(50.0)), abs=5e-4)
    assert outputs[50.0] == pytest.approx(1.0, abs=5e-4)


@pytest.mark.parametrize(
    ("beam", "machine", "reason"),
    [
        (replace(field(), sad_mm=800.0), "generic-6mv-millennium120", "SAD_MISMATCH"),
        (field(mlc=leaf_bank(), leaves=np.tile([-1.0, 1.0], (40, 1))), "generic-6mv-millennium120", "MLC_MISMATCH"),
        (field((-260, 10), 20), "generic-6mv-millennium120", "JAW_OUT_OF_RANGE"),
        (field(20, 20), "generic-6mv-agility", "JAW_MISMATCH"),
    ],
)
def test_beams_that_do_not_fit_the_machine_are_refused(beam, machine, reason):
    with pytest.raises(DosecalcError) as e:
        check_geometry(beam, load_machine(machine))
    assert e.value.reason == reason
    assert e.value.where["beam"] == beam.label


def test_beam_without_any_aperture_is_refused():
    beam = field()
    points = tuple(replace(c, jaw_x_mm=None, jaw_y_mm=None) for c in beam.control_points)
    with pytest.raises(DosecalcError) as e:
        check_geometry(replace(beam, control_points=points), load_machine("generic-6mv-millennium120"))
    assert e.value.reason == "APERTURE_MISSING"
