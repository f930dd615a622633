"""Any plan that can be written reads back to the same numbers, and any damage is an `RtPlanError`."""

from __future__ import annotations

import numpy as np
import pytest
from builders_dicom import to_bytes
from builders_rtplan import (
    Point,
    accessories_beam,
    dual_layer_beam,
    make_beam,
    make_rtplan,
    sliding_window_beam,
    static_beam,
    vmat_beam,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.errors import DicomError, PlanError
from dosecalc.plan import check_supported, technique

# pydicom warns of every odd value; oddness is the point here
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

#: decimal strings carry 16 characters: 10 digits behind the point for numbers of this size
AS_WRITTEN = 1e-9

angle = st.floats(0.0, 360.0, allow_nan=False).map(lambda v: round(v, 3))
position = st.floats(-200.0, 200.0, allow_nan=False).map(lambda v: round(v, 3))
interval = st.tuples(position, position).map(lambda p: (min(p), max(p)))
direction = st.sampled_from(["CW", "CC", "NONE"])


@st.composite
def points(draw: st.DrawFn) -> tuple[list[Point], list[float], str]:
    """Control points of a beam with any devices, its leaf boundaries and the type of its MLC."""
    n_pairs = draw(st.integers(0, 6))
    has_x, has_y = draw(st.booleans()), draw(st.booleans())
    widths = draw(st.lists(st.floats(0.5, 20.0).map(lambda v: round(v, 2)), min_size=n_pairs, max_size=n_pairs))
    boundaries = [round(float(v), 3) for v in np.concatenate([[0.0], np.cumsum(widths)]) - sum(widths) / 2]
    steps = draw(st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=1, max_size=5).filter(any))
    weights = np.concatenate([[0.0], np.cumsum(steps)]) / np.sum(steps)
    result = []
    for w in weights:
        leaves = draw(st.lists(interval, min_size=n_pairs, max_size=n_pairs))
        result.append(
            Point(
                float(w),
                gantry=draw(angle),
                direction=draw(direction),
                collimator=draw(angle),
                collimator_direction=draw(direction),
                couch=draw(angle),
                couch_direction=draw(direction),
                jaw_x=draw(interval) if has_x else None,
                jaw_y=draw(interval) if has_y else None,
                leaves=np.array(leaves) if n_pairs else None,
                isocentre=(draw(position), draw(position), draw(position)),
            )
        )
    return result, boundaries, draw(st.sampled_from(["MLCX", "MLCY"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    points(),
    st.floats(0.1, 500.0),
    st.floats(1.0, 2000.0).map(lambda v: round(v, 4)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"]),
)
def test_round_trip(
    drawn: tuple[list[Point], list[float], str],
    final: float,
    mu: float,
    symmetric: bool,
    repeat: bool,
    patient_position: str,
) -> None:
    written, boundaries, mlc = drawn
    ds = make_rtplan(
        [
            make_beam(
                written,
                boundaries=boundaries,
                mlc=mlc,
                final=final,
                symmetric_jaws=symmetric,
                repeat_everything=repeat,
            )
        ],
        mu={1: mu},
        patient_positions=(patient_position,),
    )
    plan = read_rtplan(parse(to_bytes(ds), "rp.dcm"), "rp.dcm")
    (beam,) = plan.beams
    assert plan.total_mu(beam) == 5 * mu
    assert beam.patient_position == patient_position
    assert len(beam.control_points) == len(written)
    for got, want in zip(beam.control_points, written, strict=True):
        # weights are rounded to 16 characters, so their ratio to a few units of 1e-13
        assert abs(got.meterset_fraction - want.weight) < 1e-8
        assert (got.gantry_deg, got.gantry_direction) == (want.gantry, want.direction)
        assert (got.collimator_deg, got.collimator_direction) == (want.collimator, want.collimator_direction)
        assert (got.couch_deg, got.couch_direction) == (want.couch, want.couch_direction)
        assert (got.jaw_x_mm, got.jaw_y_mm) == (want.jaw_x, want.jaw_y)
        assert got.isocentre_patient_mm == want.isocentre
        if want.leaves is None:
            assert got.leaves_mm is None
        else:
            assert got.leaves_mm is not None
            np.testing.assert_allclose(got.leaves_mm, want.leaves, atol=AS_WRITTEN)
    if beam.mlc is not None:
        assert beam.mlc.axis == mlc[-1]
        np.testing.assert_allclose(beam.mlc.boundaries_mm, boundaries, atol=AS_WRITTEN)
    _read_on(beam_source=ds)


def _read_on(beam_source: Dataset) -> None:
    """Reading, support and technique end in a result or in their own error."""
    try:
        plan = read_rtplan(beam_source)
        check_supported(plan)
        for beam in plan.beams:
            technique(beam)
    except (RtPlanError, PlanError) as error:
        assert error.reason.isupper()


def _whole_plan() -> Dataset:
    return make_rtplan(
        [
            static_beam(number=1),
            sliding_window_beam(4, number=2),
            vmat_beam(4, number=3),
            accessories_beam(number=4),
            dual_layer_beam(number=5),
        ],
        prescriptions_gy=(50.0,),
    )


def _all_elements(ds: Dataset) -> list[tuple[Dataset, Tag]]:
    found = []
    for element in ds:
        found.append((ds, element.tag))
        if element.VR == "SQ":
            for item in element.value:
                found += _all_elements(item)
    return found


ABSURD = [b"", b" ", b"\\", b"nan", b"-1", b"1e308", b"1e-308", b"-inf", b"0", b"99999999999999999999", b"abc", b"1\\2"]
ABSURD += [b"\xff" * 7, b"\x00\x00\x00", b"CW", b"\x1b$B", b"1" * 2000]
KINDS = ["DS", "IS", "CS", "LO", "SH", "SQ", "UI", "FL", "FD", "US", "UN", "OB", "PN", "TM", "AT"]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_damaged_element_is_an_rtplan_error(data: st.DataObject) -> None:
    """Elements with absurd bytes, the wrong VR, or none at all."""
    ds = _whole_plan()
    elements = _all_elements(ds)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, tag = elements[data.draw(st.integers(0, len(elements) - 1))]
        kind = data.draw(st.sampled_from(["delete", *KINDS]))
        if kind == "delete":
            holder._dict.pop(tag, None)
        else:
            value = data.draw(st.one_of(st.sampled_from(ABSURD), st.binary(max_size=40)))
            holder._dict[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)
    _read_on(ds)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damaged_file_is_an_error(data: st.DataObject) -> None:
    """Truncated files and flipped bytes."""
    whole = to_bytes(_whole_plan())
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        ds = parse(bytes(damaged), "rp.dcm")
    except DicomError:
        return
    _read_on(ds)


def test_a_sequence_in_place_of_every_element_and_text_in_place_of_every_sequence() -> None:
    for index in range(len(_all_elements(_whole_plan()))):
        ds = _whole_plan()
        holder, tag = _all_elements(ds)[index]
        if holder[tag].VR == "SQ":
            holder._dict[tag] = RawDataElement(tag, "LO", 4, b"text", 0, False, True)
        else:
            del holder[tag]
            holder.add_new(tag, "SQ", [Dataset()])
        _read_on(ds)


def test_each_number_absurd_in_turn() -> None:
    for keyword in ("BeamMeterset", "NumberOfFractionsPlanned", "BeamNumber", "NumberOfControlPoints", "GantryAngle"):
        tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
        for value in ABSURD:
            ds = _whole_plan()
            for holder, _ in [pair for pair in _all_elements(ds) if pair[1] == tag][:1]:
                holder._dict[tag] = RawDataElement(tag, None, len(value), value, 0, False, True)
            _read_on(ds)
