"""Blocks and trays: transmission, areas, edges, and trays that nobody knows."""

from __future__ import annotations

import numpy as np
import pytest
from builders_accessories import blocked, rectangle, with_accessories
from builders_engine import bare_machine, field, plan_of

from dosecalc.errors import MachineError
from dosecalc.machine.model import ExtraFocalSource, Machine, PrimarySource
from dosecalc.photon.blocks import block_transmission
from dosecalc.photon.fluence import FluenceMap, fluence_map
from dosecalc.photon.modifiers import prepared
from dosecalc.photon.segments import split_beam
from dosecalc.plan import Beam, Block, unsupported

AXIS = np.arange(-99.5, 100.0, 1.0)
#: rounding of polygon areas
EXACT = 1e-9


def shielding(x: tuple[float, float], y: tuple[float, float], transmission: float = 0.05, **more: object) -> Block:
    return Block("SHIELDING", rectangle(x, y), transmission, **more)  # type: ignore[arg-type]


def fluence_of(beam: Beam, machine: Machine, pitch: float = 1.0) -> FluenceMap:
    beam = prepared(beam, machine, machine.energies[0])
    (group,) = split_beam(beam, 2.5, 5.0)
    return fluence_map(beam, group.views[0], machine, machine.energies[0], pitch)


def test_a_shielding_block_lets_its_transmission_through() -> None:
    machine = bare_machine()
    through = fluence_of(blocked(field(40.0, 40.0), shielding((-60.0, 0.0), (-60.0, 60.0))), machine)
    open_map = fluence_of(field(40.0, 40.0), machine)
    left = through.x_mm < 0
    np.testing.assert_allclose(through.values[:, left], 0.05 * open_map.values[:, left], rtol=EXACT)
    np.testing.assert_array_equal(through.values[:, ~left], open_map.values[:, ~left])


def test_a_field_half_blocked_is_one_with_a_jaw_at_midline() -> None:
    machine = bare_machine(jaw_transmission=0.01)
    half = fluence_of(blocked(field(40.0, 40.0), shielding((-90.0, 0.0), (-90.0, 90.0), 0.01)), machine)
    jaw = fluence_of(field((0.0, 40.0), 40.0), machine)
    rows, columns = (np.flatnonzero(np.abs(axis) < 40) for axis in (half.y_mm, half.x_mm))
    of_jaw = np.ix_(np.flatnonzero(np.abs(jaw.y_mm) < 40), np.flatnonzero(np.abs(jaw.x_mm) < 40))
    np.testing.assert_allclose(half.values[np.ix_(rows, columns)], jaw.values[of_jaw], rtol=1e-6)


def test_an_aperture_is_open_inside_and_keeps_its_area() -> None:
    angle = np.linspace(0, 2 * np.pi, 181)[:-1]
    circle = 33.3 * np.column_stack([np.cos(angle), np.sin(angle)]) + (3.2, -7.7)
    got = block_transmission([Block("APERTURE", circle, 0.02)], AXIS, AXIS)
    area = 0.5 * 180 * 33.3**2 * np.sin(np.deg2rad(2.0))
    assert got.sum() == pytest.approx(0.02 * 200.0**2 + 0.98 * area, rel=EXACT)
    assert got[92, 103] == 1.0 and got[0, 0] == pytest.approx(0.02)
    # drawn the other way round it is the same block
    np.testing.assert_allclose(block_transmission([Block("APERTURE", circle[::-1], 0.02)], AXIS, AXIS), got, atol=EXACT)


def test_pixels_are_shared_by_area() -> None:
    got = block_transmission([shielding((-0.25, 10.5), (-5.0, 5.0), 0.0)], AXIS, AXIS)
    row = got[100]
    assert (
        row[99] == pytest.approx(0.75) and row[110] == pytest.approx(0.5) and row[105] == pytest.approx(0.0, abs=EXACT)
    )


def test_blocks_that_touch_leave_no_seam_and_an_overlap_counts_once() -> None:
    left, right = shielding((-20.0, 0.5), (-20.0, 20.0)), shielding((0.5, 20.0), (-20.0, 20.0))
    over = shielding((-5.0, 5.0), (-20.0, 20.0))
    whole = block_transmission([shielding((-20.0, 20.0), (-20.0, 20.0))], AXIS, AXIS)
    for blocks in ([left, right], [left, right, over]):
        np.testing.assert_allclose(block_transmission(blocks, AXIS, AXIS), whole, atol=EXACT)


def test_an_island_block_in_an_aperture() -> None:
    aperture = Block("APERTURE", rectangle((-40.0, 40.0), (-40.0, 40.0)), 0.04)
    got = block_transmission([aperture, shielding((-10.0, 10.0), (-10.0, 10.0), 0.05)], AXIS, AXIS)
    assert got[100, 100] == pytest.approx(0.05)
    assert got[100, 130] == 1.0 and got[100, 160] == pytest.approx(0.04)


def edge_width(values: np.ndarray, y_mm: np.ndarray) -> float:
    """Standard deviation of an edge's derivative, mm."""
    slope = np.gradient(values, y_mm)
    centre = (slope * y_mm).sum() / slope.sum()
    return float(np.sqrt((slope * (y_mm - centre) ** 2).sum() / slope.sum()))


@pytest.mark.parametrize(("distance", "sigma"), [(650.0, 3.0), (500.0, 2.0)])
def test_the_edge_is_as_sharp_as_spot_and_tray_distance_make_it(distance: float, sigma: float) -> None:
    machine = bare_machine()
    spot = PrimarySource(sigma_mm=sigma, source="test")
    machine = machine.model_copy(
        update={"energies": (machine.energies[0].model_copy(update={"primary_source": spot}),)}
    )
    block = shielding((-90.0, 90.0), (-90.0, 0.0), 0.0, tray_distance_mm=distance)
    fluence = fluence_of(blocked(field(30.0, 60.0), block), machine, 0.5)
    near = np.abs(fluence.y_mm) < 20
    column = fluence.values[near, len(fluence.x_mm) // 2]
    # the spot seen through the tray's plane; the pixel itself adds its 0.5 mm / sqrt(12)
    want = sigma * (1000.0 - distance) / distance
    assert edge_width(column, fluence.y_mm[near]) == pytest.approx(np.hypot(want, 0.5 / np.sqrt(12)), rel=0.03)


def test_the_extra_focal_source_looks_round_the_block() -> None:
    machine = bare_machine()
    source = ExtraFocalSource(fraction=0.1, sigma_mm=20.0, distance_mm=125.0, collimator_distance_mm=400.0, source="t")
    machine = machine.model_copy(update={"energies": (machine.energies[0].model_copy(update={"extra_focal": source}),)})
    block = shielding((-90.0, 90.0), (-90.0, 0.0), 0.0, tray_distance_mm=650.0)
    behind = fluence_of(blocked(field(60.0, 60.0), block), machine)
    before = fluence_of(field(60.0, 60.0), machine)
    at = lambda f, y: float(np.interp(y, f.y_mm, f.values[:, len(f.x_mm) // 2]))  # noqa: E731
    # on the edge half of the source is seen, so half of everything, or of what little is left on the other side
    assert at(behind, 0.5) / at(before, 0.5) == pytest.approx(0.95, abs=0.01)
    assert at(behind, -0.5) / at(before, -0.5) == pytest.approx(0.05, abs=0.01)
    # seen at y, the middle of the source looks through the tray at 0.92 y, its width there is 12 mm
    assert 0.005 < at(behind, -13.3) / at(before, -13.3) < 0.03
    assert at(behind, -40.0) / at(before, -40.0) < 2e-3


TRAY = {"name": "tray", "ids": ("TRAY*",), "transmission": [{"nominal_mv": 6.0, "value": 0.96}], "source": "test"}


def test_the_machines_tray_weakens_the_whole_field() -> None:
    machine = with_accessories(bare_machine(), trays=[TRAY])
    block = shielding((-60.0, -20.0), (-60.0, 60.0), tray="TRAY 1")
    fluence = fluence_of(blocked(field(40.0, 40.0), block), machine)
    assert fluence.values.max() == pytest.approx(0.96)
    stated = fluence_of(blocked(field(40.0, 40.0), block, tray_factor=0.958), machine)
    assert stated.values.max() == pytest.approx(0.96)  # the model's; both say the same to two digits


def test_a_tray_factor_of_the_plan_is_used_where_the_machine_knows_none() -> None:
    block = shielding((-60.0, -20.0), (-60.0, 60.0), tray="OTHER")
    assert fluence_of(blocked(field(), block, tray_factor=0.97), bare_machine()).values.max() == pytest.approx(0.97)
    assert fluence_of(blocked(field(), tray_factor=0.97), bare_machine()).values.max() == pytest.approx(0.97)


@pytest.mark.parametrize(
    ("reason", "trays", "tray", "factor"),
    [
        ("TRAY_UNKNOWN", [], "T1", None),
        ("TRAY_UNKNOWN", [], "T1", 1.0),
        ("TRAY_UNKNOWN", [{**TRAY, "transmission": [{"nominal_mv": 15.0, "value": 0.97}]}], "TRAY 1", None),
        ("TRAY_MISMATCH", [TRAY], "TRAY 1", 0.9),
        ("TRAY_AMBIGUOUS", [TRAY, {**TRAY, "name": "again"}], "TRAY 1", None),
    ],
)
def test_a_tray_that_is_not_known_for_sure_is_refused(
    reason: str, trays: list, tray: str, factor: float | None
) -> None:
    beam = blocked(field(), shielding((-60.0, -20.0), (-60.0, 60.0), tray=tray), tray_factor=factor)
    machine = with_accessories(bare_machine(), trays=trays)
    with pytest.raises(MachineError) as caught:
        prepared(beam, machine, machine.energies[0])
    assert caught.value.reason == reason
    assert caught.value.where["beam"] == "1 (B1)"


def test_two_apertures_at_once_are_refused() -> None:
    aperture = Block("APERTURE", rectangle((-40.0, 40.0), (-40.0, 40.0)), 0.04)
    assert [r.reason for r in unsupported(plan_of(blocked(field(), aperture, aperture)))] == ["BLOCK_NOT_SUPPORTED"]
