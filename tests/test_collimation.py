"""Leaf ends, leaf sides, jaws and layers against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders_engine import bare_machine, dynamic, field, leaf_bank
from scipy.special import erf

from dosecalc.errors import MachineError
from dosecalc.machine.model import (
    BackupJaws,
    ExtraFocalSource,
    Jaws,
    LeafSides,
    LeafTip,
    MonitorBackscatter,
    PrimarySource,
    TipOffsetTable,
)
from dosecalc.photon.collimation import Aperture, Collimators, Layer, tip_edges
from dosecalc.photon.fluence import check_geometry, fluence_map
from dosecalc.photon.segments import split_beam
from dosecalc.photon.transmission import mean_transmission

TIP = LeafTip(radius_mm=80.0, thickness_mm=60.0, attenuation_per_mm=0.085, source="test")
SIDES = LeafSides(width_mm=0.8, transmission=0.13, interleaf_transmission=0.03, source="test")
EXTRA = ExtraFocalSource(fraction=0.1, sigma_mm=20, distance_mm=125, collimator_distance_mm=400, source="test")


def map_of(beam, machine, pitch=1.0):
    (group,) = split_beam(beam, 2.5, 5.0)
    (view,) = group.views
    return fluence_map(beam, view, machine, machine.energies[0], pitch)


def at(fluence, x, y=0.0):
    i, j = np.argmin(np.abs(fluence.x_mm - x)), np.argmin(np.abs(fluence.y_mm - y))
    return fluence.values[j, i]


def with_mlc(machine, **changes):
    return machine.model_copy(update={"mlc": type(machine.mlc).model_validate({**machine.mlc.model_dump(), **changes})})


def with_energy(machine, **changes):
    return machine.model_copy(update={"energies": (machine.energies[0].model_copy(update=changes),)})


def leafed(leaf_transmission=0.0, jaw_transmission=0.0, **changes):
    mlc = leaf_bank()
    return mlc, with_mlc(
        bare_machine(mlc=mlc, leaf_transmission=leaf_transmission, jaw_transmission=jaw_transmission), **changes
    )


# ---- leaf ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 0.4, 0.9])
def test_sliding_gap_with_rounded_ends_is_wider_by_both_offsets(offset):
    """However the ends are shaped, a point sees the gap for (gap + 2 offset) / travel of the meterset."""
    mlc, machine = leafed(0.02, tip=TIP, tip_offset_mm=offset, distance_mm=490.0)
    start, end = np.tile([-60.0, -50.0], (40, 1)), np.tile([50.0, 60.0], (40, 1))
    f = map_of(dynamic([0, 1], [start, end], mlc=mlc, half_x=80, half_y=40), machine)
    share = (10 + 2 * offset) / 110
    for x in (-30.5, 0.5, 30.5):
        assert at(f, x) == pytest.approx(share + 0.02 * (1 - share), rel=1e-9)


def test_rounded_end_lets_through_what_the_chords_let_through():
    """Behind the tip by u, the ray crosses 2 sqrt(2 R u - u^2) of the leaf: an integral that needs no edges."""
    magnification = 1000 / 490
    u = np.linspace(0, 12, 200001)  # at the leaf, mm
    chord = np.minimum(2 * np.sqrt(2 * 80 * u - u**2), 60)
    least = np.exp(-0.085 * 60)
    through = (np.exp(-0.085 * chord) - least) / (1 - least)
    mean = np.trapezoid(through, u) * magnification
    _, machine = leafed(tip=TIP, tip_offset_mm=mean, distance_mm=490.0)
    edges, shares = tip_edges(machine.mlc, magnification)
    assert shares.sum() == pytest.approx(1.0) and edges @ shares == pytest.approx(mean)
    # with the natural offset every edge lies behind the tip, and the steps follow the curve to half a step
    assert edges.min() > 0
    for place in (0.2, 0.8, 2.0, 4.0):
        steps = shares[edges > place].sum()
        assert steps == pytest.approx(np.interp(place, u * magnification, through), abs=11 / 36 / 2 + 1e-3)
    # ... and their first two moments: the penumbra that they add, within 5 % of its width
    second = np.trapezoid(2 * u * through, u) * magnification**2
    assert np.sqrt(edges**2 @ shares) == pytest.approx(np.sqrt(second), rel=0.05)


def test_rounded_ends_widen_the_penumbra_and_keep_the_area():
    mlc, sharp = leafed(tip_offset_mm=0.8, distance_mm=490.0)
    _, round_ = leafed(tip=TIP, tip_offset_mm=0.8, distance_mm=490.0)
    leaves = np.tile([-20.0, 20.0], (40, 1))
    a, b = (map_of(field(60, 60, mlc=mlc, leaves=leaves), m, 0.5) for m in (sharp, round_))
    # leaf ends are resolved to an eighth of a pixel: 41.6 mm open
    assert b.values.sum() == pytest.approx(a.values.sum(), rel=0.12 / 41.6)
    middle = len(a.y_mm) // 2
    width = [np.sum((v > 0.05) & (v < 0.95)) for v in (a.values[middle], b.values[middle])]
    assert width[1] > width[0] + 4


def test_abutting_ends_leak_and_do_not_behind_a_jaw():
    """Rounded ends touch at a point: beside it a line of 2 x the offset in open beam passes, jaws stop it."""
    mlc, machine = leafed(0.0, jaw_transmission=0.005, tip=TIP, tip_offset_mm=0.8, distance_mm=490.0)
    closed = np.tile([10.0, 10.0], (40, 1))
    f = map_of(field(60, 60, mlc=mlc, leaves=closed), machine)
    leak = f.values[len(f.y_mm) // 2].sum() * f.pitch_mm
    assert leak == pytest.approx(1.6, abs=0.13)  # an eighth of a pixel
    parked = map_of(field((-60.0, 5.0), 60, mlc=mlc, leaves=np.tile([20.0, 20.0], (40, 1))), machine)
    row = parked.values[len(parked.y_mm) // 2]
    assert row.max() < 0.005 + 1e-9
    assert row.sum() * f.pitch_mm == pytest.approx(0.005 * 1.6, rel=0.1)


def test_tip_offset_may_differ_off_axis():
    table = TipOffsetTable(position_mm=(0.0, 100.0), offset_mm=(0.0, 1.0), source="test")
    mlc, machine = leafed(tip_offset_mm=0.5, tip_offset_table=table.model_dump())
    f = map_of(field(80, 60, mlc=mlc, leaves=np.tile([-50.0, 0.0], (40, 1))), machine, 0.5)
    row = f.values[len(f.y_mm) // 2] * f.pitch_mm
    # the lower bank, on its own side at 50 mm, is drawn back by 0.5 + 0.5, the upper one at the axis by 0.5
    assert row.sum() == pytest.approx(51.5, abs=0.07)
    assert row[f.x_mm < -25].sum() == pytest.approx(26.0, abs=0.07)


# ---- leaf sides -----------------------------------------------------------------------------------------------------


def test_two_fields_that_complement_each_other_underdose_a_strip():
    """Leaves j and j + 1 open in turn: all of the strip between them sees one of the two, never neither nor none."""
    mlc, machine = leafed(0.01, sides=SIDES.model_dump())
    body = machine.mlc.body_transmission()[20]
    even = np.zeros((40, 2))
    even[::2] = (-30, 30)
    odd = np.zeros((40, 2))
    odd[1::2] = (-30, 30)
    beams = [field(60, 60, mlc=mlc, leaves=leaves) for leaves in (even, odd)]
    total = sum(map_of(b, machine).values for b in beams)
    f = map_of(beams[0], machine)
    column = total[:, np.argmin(np.abs(f.x_mm - 15.5))]
    inside = np.abs(f.y_mm) < 50
    # 20 leaves of 5 mm; in each strip 2 x 0.13 takes the place of 1 + transmission
    lost = (1 + body - column[inside]).sum() * f.pitch_mm
    assert lost == pytest.approx(20 * 0.8 * (1 + body - 2 * 0.13), rel=1e-9)


def test_strip_between_open_leaves_is_open_and_a_leaf_side_eats_into_the_field():
    mlc, machine = leafed(0.01, sides=SIDES.model_dump())
    leaves = np.zeros((40, 2))
    leaves[18:22] = (-30, 30)  # 20 mm wide
    f = map_of(field(60, 60, mlc=mlc, leaves=leaves), machine)
    column = f.values[:, np.argmin(np.abs(f.x_mm - 15.5))]
    assert column[np.abs(f.y_mm) < 9].min() == pytest.approx(1.0)
    body = machine.mlc.body_transmission()[20]
    near = np.abs(f.y_mm) < 12.5  # half a leaf beyond each side
    open_mm, strip_mm, closed_mm = 20 - 0.8, 2 * 0.8, 5 - 0.8
    expected = open_mm + strip_mm * 0.13 + closed_mm * body
    # pixels of 1 mm reach 12 mm; the outer half of the neighbours' bodies is as closed as the inner one
    assert column[near].sum() == pytest.approx(expected - body, rel=1e-9)


def test_leakage_of_closed_leaves_averages_to_the_commissioned_transmission():
    uneven = tuple(0.01 + 0.0001 * (i % 5) for i in range(40))
    for changes in (
        {"sides": SIDES.model_dump(), "transmission": 0.015},
        {"sides": SIDES.model_dump(), "transmission": float(np.mean(uneven)), "pair_transmission": uneven},
    ):
        mlc, machine = leafed(**changes)
        closed = np.tile([-90.0, -90.0], (40, 1))
        f = map_of(field((-60.0, 60.0), 110, mlc=mlc, leaves=closed), machine)
        column = f.values[np.abs(f.y_mm) < 100, np.argmin(np.abs(f.x_mm - 15.5))]
        assert column.mean() == pytest.approx(changes["transmission"], rel=1e-9)
        assert column.max() > 1.2 * column.min()  # interleaf leakage shows


def test_sides_do_not_matter_where_nothing_ends():
    mlc, machine = leafed(0.01, sides=SIDES.model_dump())
    leaves = np.tile([-30.0, 30.0], (40, 1))
    f = map_of(field((-20.0, 20.0), 60, mlc=mlc, leaves=leaves), machine)
    inside = f.values[np.ix_(np.abs(f.y_mm) < 59, np.abs(f.x_mm) < 19)]
    assert inside.min() == pytest.approx(1.0) and inside.max() == pytest.approx(1.0)


def test_strip_between_leaves_that_move_apart_is_open_while_both_are():
    """Two neighbours pass a place at different times: open while both are, shaded while one is."""
    mlc, machine = leafed(0.0, sides={**SIDES.model_dump(), "width_mm": 2.0, "interleaf_transmission": 0.0})
    start, end = np.zeros((40, 2)), np.zeros((40, 2))
    start[19], end[19] = (-50, -50), (-50, 50)  # opens over x at share (x + 50) / 100
    start[20], end[20] = (-50, 50), (50, 50)  # closes over x at share (x + 50) / 100
    f = map_of(dynamic([0, 1], [start, end], mlc=mlc), machine)
    # pixel boundaries lie on the strip's edges: leaves 19 and 20 meet at y = 0
    for x in (-20.5, 0.5, 25.5):
        passed = (x + 50) / 100
        assert at(f, x, 0.5) == pytest.approx(0.13, rel=1e-9)  # one of them is always open, never both
        assert at(f, x, -3.5) == pytest.approx(1 - passed, rel=1e-9)
        assert at(f, x, 3.5) == pytest.approx(passed, rel=1e-9)


# ---- jaws -----------------------------------------------------------------------------------------------------------


def test_each_jaw_has_its_own_transmission():
    machine = bare_machine(
        jaw_x=Jaws(transmission=0.003, each_transmission=(0.002, 0.004), limits_mm=(-200, 200), source="test"),
        jaw_y=Jaws(transmission=0.015, each_transmission=(0.02, 0.01), limits_mm=(-200, 200), source="test"),
    )
    f = map_of(field(30, 30), machine)
    assert at(f, -45.5) == pytest.approx(0.002) and at(f, 45.5) == pytest.approx(0.004)
    assert at(f, 0.5, -45.5) == pytest.approx(0.02) and at(f, 0.5, 45.5) == pytest.approx(0.01)
    assert at(f, -45.5, 45.5) == pytest.approx(0.002 * 0.01)


def test_leaves_and_jaws_that_move_together_are_multiplied_moment_by_moment():
    """A jaw that follows the leaves: behind it for half of the time, closed leaves for half, at the same time."""
    mlc, machine = leafed(0.1, jaw_transmission=0.2)
    start, end = np.tile([-50.0, 60.0], (40, 1)), np.tile([50.0, 60.0], (40, 1))
    beam = dynamic([0, 1], [start, end], mlc=mlc)
    points = tuple(replace(c, jaw_x_mm=(x, 60.0)) for c, x in zip(beam.control_points, (-50.0, 50.0), strict=True))
    f = map_of(replace(beam, control_points=points), machine)
    for x in (-20.5, 0.5, 30.5):
        covered = 1 - (x + 50) / 100
        assert at(f, x) == pytest.approx(1 - covered + covered * 0.1 * 0.2, rel=1e-9)


def test_backup_jaws_follow_the_outermost_open_leaves():
    backup = BackupJaws(transmission=0.1, margin_mm=5.0, source="test")
    mlc, machine = leafed(0.01)
    machine = machine.model_copy(update={"jaw_x": None, "backup_jaws": backup})
    leaves = np.full((40, 2), -70.0)  # parked closed outside: takes no jaw along
    leaves[15:25] = (-20, 30)
    leaves[18] = (-25, 40)
    beam = field(60, 25, mlc=mlc, leaves=leaves)
    beam = replace(beam, control_points=tuple(replace(c, jaw_x_mm=None) for c in beam.control_points))
    f = map_of(beam, machine)
    y = 2.5
    assert at(f, -25.5, y) == pytest.approx(0.01) and at(f, -29.5, y) == pytest.approx(0.01)
    assert at(f, -31.5, y) == pytest.approx(0.001) and at(f, 45.5, y) == pytest.approx(0.001)
    assert at(f, 44.5, y) == pytest.approx(0.01)


def test_monitor_backscatter_scales_the_output_with_the_opening():
    table = MonitorBackscatter(axis="Y", opening_mm=(0, 100, 400), relative_output=(0.97, 1.0, 1.01), source="test")
    machine = with_energy(bare_machine(), monitor_backscatter=(table,))
    for half, expected in ((25.0, 0.985), (50.0, 1.0), (125.0, 1.005)):
        assert at(map_of(field(60, half), machine), 0.5, 0.5) == pytest.approx(expected)


# ---- the sources through collimators at different distances ---------------------------------------------------------


def planes(x_mm, y_mm, **energy):
    jaws = {
        n: Jaws(transmission=0, limits_mm=(-200, 200), distance_mm=d, source="test")
        for n, d in (("jaw_x", x_mm), ("jaw_y", y_mm))
    }
    return with_energy(bare_machine(**jaws), **energy)


def test_collimator_exchange_effect_comes_out_of_geometry():
    """The upper jaws, nearer the source, hide more of it: an elongated field gives less with its short side above."""
    machine = planes(406.0, 318.0, extra_focal=EXTRA)
    wide_x = at(map_of(field(100.0, 20.0), machine), 0.5, 0.5)  # upper jaws (y) closed in
    wide_y = at(map_of(field(20.0, 100.0), machine), 0.5, 0.5)
    assert wide_x < wide_y

    def seen(half, plane):
        g = 875 / (1000 - plane)
        return erf(g * plane / 1000 * half / (np.sqrt(2) * 20))

    for output, x, y in ((wide_x, 100.0, 20.0), (wide_y, 20.0, 100.0)):
        expected = (0.9 + 0.1 * seen(x, 406) * seen(y, 318)) / (0.9 + 0.1 * seen(50, 406) * seen(50, 318))
        assert output == pytest.approx(expected, abs=2e-4)  # half a millimetre off the axis


def test_extra_focal_source_seen_off_axis_is_the_integral_over_the_source():
    """Brute force: rays from every place of the source to the point, through jaws and leaves in their own planes."""
    mlc = leaf_bank(pairs=60)
    leaves = np.zeros((60, 2))
    leaves[20:40] = np.array([-30.0, 42.0]) + np.arange(20)[:, None] * np.array([0.5, -0.7])
    machine = bare_machine(mlc=mlc, leaf_transmission=0.02, jaw_transmission=0.01)
    changed = {
        "mlc": machine.mlc.model_copy(update={"distance_mm": 490.0}),
        "jaw_x": machine.jaw_x.model_copy(update={"distance_mm": 406.0}),
        "jaw_y": machine.jaw_y.model_copy(update={"distance_mm": 318.0}),
    }
    machine = with_energy(machine.model_copy(update=changed), extra_focal=EXTRA.model_copy(update={"fraction": 1.0}))
    f = map_of(field((-25.0, 35.0), (-30.0, 40.0), mlc=mlc, leaves=leaves), machine)
    p = (np.arange(2536) + 0.5 - 1268) * 0.0631  # a step that no edge's image is a multiple of
    weight = np.exp(-(p**2) / (2 * 20**2))
    weight /= weight.sum()

    def image(point, plane):  # isocentre scale, of rays from p through the plane
        g = 875 / (1000 - plane)
        return (p - (1 - g) * point) * 1000 / plane / g

    for x, y in ((0.5, 0.5), (20.5, -10.5), (45.5, 15.5)):
        jaw_x = np.where((image(x, 406) > -25) & (image(x, 406) < 35), 1, 0.01)
        jaw_y = np.where((image(y, 318) > -30) & (image(y, 318) < 40), 1, 0.01)
        pair = np.floor((image(y, 490) + 150) / 5).astype(int)
        along = image(x, 490)
        opened = (along[None] > leaves[pair, 0][:, None]) & (along[None] < leaves[pair, 1][:, None])
        leaf = np.where(opened, 1, 0.02)
        seen = (weight * jaw_y) @ leaf @ (weight * jaw_x)
        # the same place through the calibration field, without leaves
        g = {d: 875 / (1000 - d) * d / 1000 for d in (406, 318)}
        full = [erf(50 * g[d] / (np.sqrt(2) * 20)) for d in (406, 318)]
        calibration = np.prod([v + 0.01 * (1 - v) for v in full])
        # an edge between two rays is worth up to 0.03 mm of a Gaussian of 0.02 per mm; there are four of them
        assert at(f, x, y) == pytest.approx(seen / calibration, abs=2.4e-3)


def test_moving_leaves_show_the_source_the_mean_of_what_they_show_at_rest():
    mlc = leaf_bank()
    machine = with_energy(bare_machine(mlc=mlc), extra_focal=EXTRA.model_copy(update={"fraction": 1.0}))
    machine = machine.model_copy(update={"mlc": machine.mlc.model_copy(update={"distance_mm": 490.0})})
    start, end = np.tile([-60.0, -50.0], (40, 1)), np.tile([50.0, 60.0], (40, 1))
    moving = map_of(dynamic([0, 1], [start, end], mlc=mlc, half_x=40, half_y=40), machine)
    shares = (np.arange(440) + 0.5) / 440
    stops = [start + (end - start) * s for s in shares]
    rest = [map_of(dynamic([0, 1], [s, s], mlc=mlc, half_x=40, half_y=40), machine) for s in stops[::8]]
    # 55 stops 2 mm apart; a gap of 10 mm enters behind the jaws within one stop
    for x, y in ((0.5, 0.5), (30.5, 10.5)):
        assert at(moving, x, y) == pytest.approx(np.mean([at(r, x, y) for r in rest]), rel=5e-3)


def test_focal_spot_is_seen_through_the_collimator_that_bounds_the_field():
    machine = planes(400.0, 300.0, primary_source=PrimarySource(sigma_mm=1.0, source="test"))
    f = map_of(field(40, 40), machine, 0.5)
    for x, y, sigma in ((41.25, 0.25, 1.5), (0.25, 41.25, 7 / 3)):
        expected = 0.5 * (1 - erf(1.25 / (np.sqrt(2) * sigma)))
        assert at(f, x, y) == pytest.approx(expected, abs=4e-3)  # pixels of a third of sigma


def test_leaf_edges_and_jaw_edges_are_each_blurred_in_their_own_plane():
    mlc = leaf_bank()
    machine = with_energy(bare_machine(mlc=mlc), primary_source=PrimarySource(sigma_mm=1.0, source="test"))
    planes_of = {"jaw_x": 400.0, "jaw_y": 300.0, "mlc": 500.0}
    machine = machine.model_copy(
        update={n: getattr(machine, n).model_copy(update={"distance_mm": d}) for n, d in planes_of.items()}
    )
    leaves = np.tile([-20.0, 45.0], (40, 1))
    f = map_of(field((-40.0, 30.0), 40, mlc=mlc, leaves=leaves), machine, 0.5)
    # leaves at -20, the jaw at +30 with leaves open behind it, jaws across at 40
    for x, y, edge, sigma in ((-21.25, 0.25, 20, 1.0), (31.25, 0.25, 30, 1.5), (0.25, 41.25, 40, 7 / 3)):
        beyond = max(abs(x), abs(y)) - edge
        assert at(f, x, y) == pytest.approx(0.5 * (1 - erf(beyond / (np.sqrt(2) * sigma))), abs=8e-3)
    # leaf ends that stand at the jaw: one edge, that of what is farther from the isocentre, not the product of two
    together = map_of(field(40, 40, mlc=mlc, leaves=np.tile([-40.0, 40.0], (40, 1))), machine, 0.5)
    assert (at(together, 39.75, 0.25) + at(together, 40.25, 0.25)) / 2 == pytest.approx(0.5, abs=5e-3)


def test_field_sum_is_conserved_by_the_focal_spot():
    f0 = map_of(field(33, 21), planes(400.0, 300.0))
    f1 = map_of(field(33, 21), planes(400.0, 300.0, primary_source=PrimarySource(sigma_mm=1.0, source="test")))
    assert f1.values.sum() == pytest.approx(f0.values.sum(), rel=1e-9)


# ---- two layers -----------------------------------------------------------------------------------------------------


def test_stacked_layers_of_a_beam_are_both_in_its_fluence():
    first, second = leaf_bank(pairs=28, width=10.0), leaf_bank(pairs=29, width=10.0)
    machine = bare_machine(mlc=first, leaf_transmission=0.01, jaw_x=None, jaw_y=None)
    layered = machine.model_copy(
        update={"second_mlc": machine.mlc.model_copy(update={"boundaries_mm": tuple(second.boundaries_mm)})}
    )
    beam = field(mlc=first, leaves=np.tile([-50.0, 30.0], (28, 1)))
    points = tuple(
        replace(c, jaw_x_mm=None, jaw_y_mm=None, second_leaves_mm=np.tile([-20.0, 50.0], (29, 1)))
        for c in beam.control_points
    )
    with pytest.raises(MachineError) as e:
        check_geometry(replace(beam, control_points=points), layered)
    assert e.value.reason == "MLC_LAYERS_MISMATCH" and e.value.where["beam"] == beam.label
    beam = replace(beam, second_mlc=second, control_points=points)
    check_geometry(beam, layered)
    f = map_of(beam, layered)
    for x, expected in ((0.5, 1.0), (-35.5, 0.01), (40.5, 0.01), (-60.5, 0.0001)):
        assert at(f, x) == pytest.approx(expected)
    with pytest.raises(MachineError) as e:
        check_geometry(beam, machine)
    assert e.value.reason == "MLC_MISMATCH"


def test_two_layers_multiply_while_they_move():
    """One layer uncovers a place as the other covers it: a product of means would let some through."""
    mlc, machine = leafed(0.1)
    layer = Layer(machine.mlc, mlc.boundaries_mm, np.zeros(1), np.ones(1))
    staggered = Layer(machine.mlc, mlc.boundaries_mm + 2.5, np.zeros(1), np.ones(1))
    far = np.array([[-1e6, 1e6]] * 2)
    opening = np.tile(np.array([[-50.0, -50.0], [-50.0, 50.0]])[:, None], (1, 40, 1))
    closing = np.tile(np.array([[-50.0, 50.0], [50.0, 50.0]])[:, None], (1, 40, 1))
    collimators = Collimators(True, (layer, staggered), np.zeros(4), (500.0, 500.0), 500.0)
    x = np.arange(-19.5, 20.0)
    out = mean_transmission(collimators, (Aperture((opening, closing), far, far, 1.0),), x, x)
    # opening: covered until (x + 50) / 100 has passed by its end; closing likewise: one of both always covers
    np.testing.assert_allclose(out, 0.1, rtol=1e-9)
    both = mean_transmission(collimators, (Aperture((opening, opening), far, far, 1.0),), x, x)
    open_share = 1 - (x + 50) / 100
    np.testing.assert_allclose(both, np.tile(open_share + 0.01 * (1 - open_share), (40, 1)), rtol=1e-9)
