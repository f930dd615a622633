"""Wedges, blocks, boluses and stacked leaf layers of RT Plans: read as they are, or said to lack something."""

from __future__ import annotations

import numpy as np
import pytest
from builders_dicom import to_bytes
from builders_rtplan import (
    Point,
    accessories_beam,
    block_item,
    dual_layer_beam,
    make_beam,
    make_rtplan,
    sequence_item,
    static_beam,
    wedge_item,
    wedge_position,
    wedged_beam,
)
from pydicom.dataset import Dataset

from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.plan import Beam, Bolus, Wedge, check_supported, technique, unsupported

TRIANGLE = [(-40.0, -40.0), (0.0, -40.0), (-40.0, 0.0)]


def read(beam: Dataset) -> Beam:
    (found,) = read_rtplan(parse(to_bytes(make_rtplan([beam])), "rp.dcm"), "rp.dcm").beams
    return found


def reasons(beam: Dataset) -> list[str]:
    return [r.reason for r in unsupported(read_rtplan(make_rtplan([beam])))]


@pytest.mark.parametrize("kind", ["STANDARD", "MOTORIZED", "DYNAMIC"])
def test_a_wedge_is_read_with_its_angle_and_orientation(kind: str) -> None:
    beam = read(wedged_beam(wedge_item(kind, 30.0, 180.0, "30-OUT", 2), ()) if kind != "MOTORIZED" else
                _with_number(wedge_item(kind, 30.0, 180.0, "30-OUT", 2), 2))  # fmt: skip
    assert beam.accessories.wedges == (Wedge(2, kind, 30.0, 180.0, "30-OUT"),)
    assert [p.wedges_in for p in beam.control_points] == [frozenset([2])] * 4
    assert beam.modifiers == ()


def _with_number(wedge: Dataset, number: int) -> Dataset:
    beam = wedged_beam(wedge, ())
    beam.ControlPointSequence[0].WedgePositionSequence = wedge_position("IN", number)
    return beam


def test_a_position_holds_until_it_changes() -> None:
    beam = read(wedged_beam(wedge_item("MOTORIZED", 60.0), ("IN", "", "OUT")))
    assert [bool(p.wedges_in) for p in beam.control_points] == [True, True, False, False]
    assert technique(beam) == "STATIC"
    # the short form: in from the first control point, out from the second
    beam = read(wedged_beam(wedge_item("MOTORIZED", 60.0), ("IN", "OUT")))
    assert [bool(p.wedges_in) for p in beam.control_points] == [True, False, False, False]


def test_a_wedge_that_stays_out_is_not_in_the_beam_whatever_it_lacks() -> None:
    odd = wedge_item("PARTIAL_STANDARD", 60.0)
    beam = read(wedged_beam(odd, ("OUT",)))
    assert beam.accessories.wedges == () and beam.modifiers == ()


@pytest.mark.parametrize(
    "beam",
    [
        wedged_beam(wedge_item("PARTIAL_STANDARD")),
        wedged_beam(wedge_item(angle=0.0)),
        wedged_beam(wedge_item("MOTORIZED", 60.0), ()),
        wedged_beam(sequence_item(WedgeNumber="1", WedgeType="STANDARD", WedgeAngle="30")),
        make_beam([Point(0.0), Point(1.0)], WedgeSequence=[wedge_item(), wedge_item()]),
        make_beam([Point(0.0), Point(1.0)], WedgeSequence=[wedge_item(), wedge_item(number=2, orientation=90.0)]),
    ],
)
def test_a_wedge_that_lacks_something_is_refused(beam: Dataset) -> None:
    assert set(reasons(beam)) == {"WEDGE_NOT_SUPPORTED"}


def test_a_wedge_that_moves_at_the_last_control_point_is_unclear() -> None:
    beam = make_beam([Point(0.0), Point(1.0)], WedgeSequence=[wedge_item("MOTORIZED", 60.0)])
    beam.ControlPointSequence[0].WedgePositionSequence = wedge_position("IN")
    beam.ControlPointSequence[1].WedgePositionSequence = wedge_position("OUT")
    assert reasons(beam) == ["WEDGE_POSITION_UNCLEAR"]


@pytest.mark.parametrize(("position", "number", "reason"), [("IN", 2, "WEDGE_UNDEFINED"), ("HALF", 1, "TAG_INVALID")])
def test_a_position_that_makes_no_sense_is_an_error_with_its_control_point(
    position: str, number: int, reason: str
) -> None:
    beam = wedged_beam(positions=("IN",))
    beam.ControlPointSequence[2].WedgePositionSequence = wedge_position(position, number)
    with pytest.raises(RtPlanError) as caught:
        read_rtplan(make_rtplan([beam]))
    assert caught.value.reason == reason
    assert caught.value.where["control_point"] == "2" and caught.value.where["beam"] == "1 (AP)"


def test_blocks_are_read_with_outline_transmission_and_tray() -> None:
    beam = read(static_beam(BlockSequence=[block_item(TRIANGLE)], TotalBlockTrayFactor="0.97"))
    (block,) = beam.accessories.blocks
    assert (block.kind, block.transmission, block.name, block.tray) == ("SHIELDING", 0.04, "lung", "T1")
    assert block.tray_distance_mm == 650.0 and beam.accessories.block_tray_factor == 0.97
    np.testing.assert_array_equal(block.outline_mm, TRIANGLE)
    assert beam.modifiers == ()


BOW_TIE = [(-40.0, -40.0), (40.0, 40.0), (40.0, -40.0), (-40.0, 40.0)]


@pytest.mark.parametrize(
    "block",
    [
        block_item(TRIANGLE, BlockDivergence="ABSENT"),
        block_item(TRIANGLE, BlockDivergence=None),
        block_item(TRIANGLE, BlockTransmission=None),
        block_item(TRIANGLE, BlockType="CERROBEND"),
        block_item(TRIANGLE, BlockData=None, BlockNumberOfPoints=None),
        block_item(BOW_TIE),
        block_item([(0.0, 0.0), (10.0, 10.0)]),
        block_item([(0.0, 0.0), (10.0, 0.0), (20.0, 0.0)]),
    ],
)
def test_a_block_that_lacks_something_is_refused(block: Dataset) -> None:
    assert reasons(static_beam(BlockSequence=[block])) == ["BLOCK_NOT_SUPPORTED"]


@pytest.mark.parametrize(
    "changes",
    [
        {"BlockNumberOfPoints": "5"},
        {"BlockData": [1.0, 2.0, 3.0], "BlockNumberOfPoints": None},
        {"BlockTransmission": "1.2"},
    ],
)  # fmt: skip
def test_a_block_with_impossible_values_is_an_error(changes: dict) -> None:
    with pytest.raises(RtPlanError) as caught:
        read_rtplan(make_rtplan([static_beam(BlockSequence=[block_item(TRIANGLE, **changes)])]))
    assert caught.value.reason == "TAG_INVALID"


def test_boluses_are_read_once_each() -> None:
    items = [
        sequence_item(ReferencedROINumber=str(n), BolusID=name) for n, name in ((9, "5 mm"), (9, "5 mm"), (11, ""))
    ]
    beam = read(static_beam(ReferencedBolusSequence=items, NumberOfBoli="3"))
    assert beam.accessories.boluses == (Bolus(9, "5 mm"), Bolus(11, ""))


def test_everything_at_once_is_supported() -> None:
    plan = read_rtplan(make_rtplan([accessories_beam()]))
    check_supported(plan)
    accessories = plan.beams[0].accessories
    assert len(accessories.wedges) == 1 and len(accessories.blocks) == 2 and len(accessories.boluses) == 1


def test_both_layers_of_a_stacked_mlc_are_read() -> None:
    beam = read(dual_layer_beam())
    assert beam.mlc is not None and beam.mlc.n_pairs == 10
    assert beam.second_mlc is not None and beam.second_mlc.n_pairs == 11
    for point in beam.control_points:
        np.testing.assert_array_equal(point.leaves_mm, np.tile([-20.0, 20.0], (10, 1)))
        np.testing.assert_array_equal(point.second_leaves_mm, np.tile([-15.0, 12.0], (11, 1)))


def test_a_second_layer_without_positions_or_of_another_axis_is_told() -> None:
    bare = dual_layer_beam()
    del bare.ControlPointSequence[0].BeamLimitingDevicePositionSequence[-1]
    with pytest.raises(RtPlanError) as caught:
        read_rtplan(make_rtplan([bare]))
    assert caught.value.reason == "POSITION_MISSING" and "MLCX2" in caught.value.message
    crossed = dual_layer_beam()
    crossed.BeamLimitingDeviceSequence[-1].RTBeamLimitingDeviceType = "MLCY1"
    crossed.ControlPointSequence[0].BeamLimitingDevicePositionSequence[-1].RTBeamLimitingDeviceType = "MLCY1"
    assert reasons(crossed) == ["SECOND_MLC_NOT_SUPPORTED"]
