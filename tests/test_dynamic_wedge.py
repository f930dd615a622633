"""Dynamic wedges: the closed form of the fluence along the jaw's way, orientation, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders_accessories import exponential_table, wedged, with_accessories
from builders_engine import bare_machine, box, field, plan_of

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import MachineError, PlanError
from dosecalc.machine import load_machine
from dosecalc.machine.accessories import DynamicWedge
from dosecalc.machine.model import Machine
from dosecalc.photon.fluence import FluenceMap, fluence_map
from dosecalc.photon.modifiers import prepared
from dosecalc.photon.segments import split_beam
from dosecalc.plan import Beam, check_supported, unsupported

RATE = 0.01  # of the table, 1/mm
STEEP = np.tan(np.deg2rad(60.0))
#: between positions of the table, 2 mm apart, the dose runs along a chord, (2 RATE)^2 / 8 = 5e-5 high; pixels add less
PIXEL = 2e-4


def machine() -> Machine:
    return with_accessories(bare_machine(), dynamic_wedges=[exponential_table(RATE)])


def edw(beam: Beam, angle: float = 60.0, orientation: float = 0.0) -> Beam:
    return wedged(beam, "DYNAMIC", angle, orientation)


def fluence_of(beam: Beam, model: Machine | None = None) -> FluenceMap:
    model = model or machine()
    beam = prepared(beam, model, model.energies[0])
    (group,) = split_beam(beam, 2.5, 5.0)
    (view,) = group.views
    return fluence_map(beam, view, model, model.energies[0], 1.0)


def on_axis(fluence: FluenceMap, y: np.ndarray) -> np.ndarray:
    column = fluence.values[:, len(fluence.x_mm) // 2]
    return np.interp(y, fluence.y_mm, column)


@pytest.mark.parametrize(("lower", "upper"), [(-50.0, 50.0), (-100.0, 100.0), (-150.0, 20.0), (-20.0, 80.0)])
def test_fluence_of_sixty_degrees_is_the_table_itself(lower: float, upper: float) -> None:
    fluence = fluence_of(edw(field(40.0, (lower, upper))))
    y = np.arange(lower + 2.5, upper - 7.5, 2.0)
    # a point is open until the jaw passes it: the share of the dose given by then
    np.testing.assert_allclose(on_axis(fluence, y), np.exp(RATE * (y - (upper - 5.0))), rtol=PIXEL)
    # what the jaw never covers is open all the time
    np.testing.assert_allclose(on_axis(fluence, np.array([upper - 3.0])), 1.0, rtol=1e-9)
    assert on_axis(fluence, np.array([lower - 2.0])) == 0.0  # opaque jaws


@pytest.mark.parametrize("angle", [10.0, 30.0, 45.0])
def test_lesser_angles_mix_with_the_open_field_by_the_ratio_of_tangents(angle: float) -> None:
    fluence = fluence_of(edw(field(40.0, 60.0), angle))
    steep = np.tan(np.deg2rad(angle)) / STEEP
    y = np.arange(-57.5, 52.0, 2.0)
    want = (steep * np.exp(RATE * y) + (1 - steep)) / (steep * np.exp(RATE * 55.0) + (1 - steep))
    np.testing.assert_allclose(on_axis(fluence, y), want, rtol=PIXEL)


def test_output_changes_with_where_the_jaw_stops() -> None:
    """The known field-size dependence of the enhanced dynamic wedge: the axis gets table(0) / table(stop)."""
    for half in (30.0, 50.0, 80.0):
        fluence = fluence_of(edw(field(20.0, half)))
        assert on_axis(fluence, np.array([0.0]))[0] == pytest.approx(np.exp(-RATE * (half - 5.0)), rel=PIXEL)


def test_the_other_orientation_is_the_mirror_image() -> None:
    one = fluence_of(edw(field(40.0, (-70.0, 30.0)), 45.0, 0.0))
    other = fluence_of(edw(field(40.0, (-30.0, 70.0)), 45.0, 180.0))
    np.testing.assert_allclose(other.values, one.values[::-1], rtol=1e-9, atol=1e-12)


def test_the_jaw_motion_written_into_the_plan_gives_the_same_dose() -> None:
    patient = box((120.0, 120.0, 120.0), (8.0, 8.0, 8.0))
    settings = DoseSettings(grid=patient.density.grid)
    beam = edw(field(40.0, 40.0), 45.0)
    model = machine()
    written = prepared(beam, model, model.energies[0])
    # as a plan that has the control points and still names its wedge
    points = tuple(replace(p, wedges_in=frozenset([1])) for p in written.control_points)
    explicit = replace(written, control_points=points, accessories=beam.accessories)
    check_supported(plan_of(explicit))
    by_table = compute_dose(patient, plan_of(beam), model, settings).total_gy
    by_plan = compute_dose(patient, plan_of(explicit), bare_machine(), settings).total_gy
    np.testing.assert_array_equal(by_plan, by_table)


def test_a_single_open_moment_comes_first() -> None:
    model = machine()
    points = prepared(edw(field(40.0, 50.0)), model, model.energies[0]).control_points
    assert points[0].jaw_y_mm == points[1].jaw_y_mm == (-50.0, 50.0)
    assert points[1].meterset_fraction == pytest.approx(np.exp(RATE * (-50.0 - 45.0)), rel=PIXEL)
    assert points[-1].jaw_y_mm == (45.0, 50.0) and points[-1].meterset_fraction == 1.0
    assert all(not p.wedges_in for p in points)


@pytest.mark.parametrize(
    ("reason", "beam"),
    [
        ("WEDGE_UNKNOWN", edw(field(), 25.0)),
        ("WEDGE_ORIENTATION", edw(field(), 45.0, 90.0)),
        ("WEDGE_FIELD_TOO_LARGE", edw(field(50.0, (-50.0, 110.0)))),
        ("WEDGE_FIELD_TOO_LARGE", edw(field(50.0, (-3.0, 2.0)))),
    ],
)
def test_what_the_table_does_not_hold_is_refused(reason: str, beam: Beam) -> None:
    with pytest.raises((MachineError, PlanError)) as caught:
        compute_dose(box((40.0, 40.0, 40.0), (20.0, 20.0, 20.0)), plan_of(beam), machine(), DoseSettings())
    assert caught.value.reason == reason
    assert caught.value.where["beam"] == "1 (B1)"


def test_a_machine_without_the_table_is_refused() -> None:
    with pytest.raises(MachineError) as caught:
        fluence_of(edw(field()), bare_machine())
    assert caught.value.reason == "WEDGE_UNKNOWN"


def test_a_jaw_that_moves_against_the_wedge_is_refused() -> None:
    model = machine()
    written = prepared(edw(field(40.0, 40.0)), model, model.energies[0])
    points = tuple(replace(p, wedges_in=frozenset([1])) for p in written.control_points)
    wrong = replace(written, control_points=points, accessories=edw(field(), 60.0, 180.0).accessories)
    with pytest.raises(PlanError) as caught:
        prepared(wrong, model, model.energies[0])
    assert caught.value.reason == "WEDGE_DIRECTION"


def test_a_dynamic_wedge_beside_other_motion_is_refused() -> None:
    first, last = field(40.0, 40.0).control_points
    turning = replace(edw(field(40.0, 40.0)), control_points=(
        replace(first, gantry_direction="CW", wedges_in=frozenset([1])),
        replace(last, gantry_deg=20.0, wedges_in=frozenset([1])),
    ))  # fmt: skip
    assert [r.reason for r in unsupported(plan_of(turning))] == ["WEDGE_NOT_SUPPORTED"]
    partly = wedged(field(40.0, 40.0), "DYNAMIC", 60.0, inside=(True, False))
    assert "WEDGE_NOT_SUPPORTED" in [r.reason for r in unsupported(plan_of(partly))]


def test_a_table_without_zero_or_that_falls_is_no_machine() -> None:
    with pytest.raises(ValueError, match="must hold 0"):
        exponential_table(jaw_y_mm=(-200.0, -3.0, 100.0), dose=(0.1, 0.3, 1.0))
    with pytest.raises(ValueError, match="must rise"):
        exponential_table(jaw_y_mm=(-200.0, 0.0, 100.0), dose=(0.1, 1.0, 0.9))


# ---- the maker's tables ---------------------------------------------------------------------------------------------


def golden(mv: float) -> DynamicWedge:
    (table,) = load_machine(f"generic-{mv:g}mv-millennium120").accessories.dynamic_wedges
    assert table.source.startswith("golden segmented treatment table")
    return table


@pytest.mark.parametrize("mv", [6.0, 10.0])
def test_golden_tables_change_with_the_last_jaw_position_as_published(mv: float) -> None:
    """5 mm of the final position are worth 3.5 to 5.4 % of the output (Med Phys 25:64, 1998, abstract)."""
    table = golden(mv)
    at = np.array(table.jaw_y_mm)
    per_step = np.diff(np.log(table.dose)) / np.diff(at) * 5.0
    fields = (at[1:] > 20.0) & (at[1:] <= 100.0)  # where the jaw stops in symmetric fields of 5 to 20 cm
    assert fields.sum() == 8
    assert (per_step[fields] > 0.035).all() and (per_step[fields] < 0.054).all()


def test_golden_wedge_factors_follow_the_fraction_of_monitor_units() -> None:
    """Wedge factors are the share of the meterset that the axis gets, within 4 % (Gibbons 1998, abstract)."""
    model = load_machine("generic-6mv-millennium120")
    table = golden(6.0)
    patient = box((200.0, 160.0, 200.0), (5.0, 5.0, 5.0))
    settings = DoseSettings(grid=patient.density.grid)
    grid = patient.density.grid
    on_the_axis = np.ix_(*(np.abs(v) < 5.0 for v in (grid.z_mm, grid.y_mm, grid.x_mm)))
    for half in (25.0, 75.0):
        opened = compute_dose(patient, plan_of(field(half, half)), model, settings).total_gy[on_the_axis].mean()
        wedge = compute_dose(patient, plan_of(edw(field(half, half))), model, settings).total_gy[on_the_axis].mean()
        share = np.interp(0.0, table.jaw_y_mm, table.dose) / np.interp(half - 5.0, table.jaw_y_mm, table.dose)
        assert wedge / opened == pytest.approx(share, rel=0.04)
