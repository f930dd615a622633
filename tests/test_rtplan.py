"""RT Plans of every technique become complete beams, and what is wrong with one is said with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders_dicom import save
from builders_rtplan import (
    TEN_PAIRS,
    Point,
    fraction_group,
    make_beam,
    make_rtplan,
    open_leaves,
    sequence_item,
    sliding_window_beam,
    static_beam,
    step_and_shoot_beam,
    vmat_beam,
)
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.plan import Beam, Plan, technique


def only_beam(beam: Dataset, **options: object) -> Beam:
    (read,) = read_rtplan(make_rtplan([beam], **options)).beams  # type: ignore[arg-type]
    return read


class TestTechniques:
    def test_static_beam_has_its_place_angles_and_jaws(self) -> None:
        points = [
            Point(
                w,
                gantry=30.0,
                collimator=45.0,
                couch=350.0,
                jaw_x=(-30.0, 70.0),
                isocentre=(1.5, -2.5, 30.0),
                ssd=905.0,
            )
            for w in (0.0, 1.0)
        ]
        beam = only_beam(make_beam(points, name="Snett fält", energy=10.0, beam_type="STATIC"))
        assert (beam.label, beam.machine_name, beam.radiation) == ("1 (Snett fält)", "TESTLINAC", "PHOTON")
        assert (beam.energy_mv, beam.fluence_mode, beam.sad_mm) == (10.0, "STANDARD", 1000.0)
        assert beam.patient_position == "HFS"
        assert beam.mlc is None
        for point in beam.control_points:
            assert (point.gantry_deg, point.collimator_deg, point.couch_deg) == (30.0, 45.0, 350.0)
            assert point.isocentre_patient_mm == (1.5, -2.5, 30.0)
            assert (point.jaw_x_mm, point.jaw_y_mm, point.ssd_mm) == ((-30.0, 70.0), (-50.0, 50.0), 905.0)
        assert technique(beam) == "STATIC"
        assert beam.modifiers == ()

    @pytest.mark.parametrize(
        ("build", "expected"),
        [
            (static_beam, "STATIC"),
            (step_and_shoot_beam, "STEP_AND_SHOOT"),
            (sliding_window_beam, "SLIDING_WINDOW"),
            (vmat_beam, "VMAT"),
        ],
    )
    def test_technique_is_what_the_control_points_do(self, build: Callable[[], Dataset], expected: str) -> None:
        assert technique(only_beam(build())) == expected

    def test_arc_with_a_fixed_aperture(self) -> None:
        points = [Point(0.0, gantry=300.0, direction="CW"), Point(1.0, gantry=60.0)]
        assert technique(only_beam(make_beam(points))) == "ARC"

    def test_attributes_given_once_and_repeated_read_the_same(self) -> None:
        once = only_beam(vmat_beam())
        repeated = only_beam(vmat_beam(repeat_everything=True))
        for a, b in zip(once.control_points, repeated.control_points, strict=True):
            assert (a.gantry_deg, a.gantry_direction, a.collimator_deg) == (
                b.gantry_deg,
                b.gantry_direction,
                b.collimator_deg,
            )
            assert a.jaw_x_mm == b.jaw_x_mm
            assert a.leaves_mm is not None and b.leaves_mm is not None
            np.testing.assert_array_equal(a.leaves_mm, b.leaves_mm)

    def test_a_value_that_changes_and_changes_back_is_not_confused_with_the_first(self) -> None:
        points = [Point(0.0), Point(0.5, jaw_x=(-10.0, 20.0)), Point(0.7), Point(1.0)]
        jaws = [p.jaw_x_mm for p in only_beam(make_beam(points)).control_points]
        assert jaws == [(-50.0, 50.0), (-10.0, 20.0), (-50.0, 50.0), (-50.0, 50.0)]

    def test_a_meterset_weight_of_any_scale_becomes_a_fraction(self) -> None:
        beam = only_beam(sliding_window_beam(5, final=87.3))
        fractions = [p.meterset_fraction for p in beam.control_points]
        # weights are written with 16 characters at most
        np.testing.assert_allclose(fractions, [0, 0.25, 0.5, 0.75, 1], atol=1e-12)

    def test_ssd_is_kept_while_the_beam_stands_and_unknown_once_it_has_turned(self) -> None:
        points = [Point(0.0, gantry=10.0, direction="CW", ssd=900.0), Point(0.5, gantry=20.0), Point(1.0, gantry=20.0)]
        points[1].direction = "NONE"
        ssd = [p.ssd_mm for p in only_beam(make_beam(points)).control_points]
        assert ssd == [900.0, None, None]
        still = [Point(0.0, ssd=900.0), Point(1.0)]
        assert [p.ssd_mm for p in only_beam(make_beam(still)).control_points] == [900.0, 900.0]


class TestDevices:
    @pytest.mark.parametrize("symmetric", [True, False])
    def test_jaws_of_both_kinds(self, symmetric: bool) -> None:
        (point, _) = only_beam(static_beam(symmetric_jaws=symmetric)).control_points
        assert (point.jaw_x_mm, point.jaw_y_mm) == ((-50.0, 50.0), (-50.0, 50.0))

    def test_a_machine_without_x_jaws(self) -> None:
        points = [Point(w, jaw_x=None, leaves=open_leaves(10)) for w in (0.0, 1.0)]
        (point, _) = only_beam(make_beam(points)).control_points
        assert point.jaw_x_mm is None
        assert point.jaw_y_mm == (-50.0, 50.0)

    @pytest.mark.parametrize("axis", ["X", "Y"])
    def test_leaves_along_either_axis_of_any_width(self, axis: str) -> None:
        boundaries = [-51.0, -40.0, -32.5, -3.0, 0.0, 3.0, 32.5, 51.0]
        leaves = np.column_stack([np.linspace(-40, 20, 7), np.linspace(-30, 45, 7)])
        beam = only_beam(
            make_beam([Point(w, leaves=leaves) for w in (0.0, 1.0)], mlc=f"MLC{axis}", boundaries=boundaries)
        )
        assert beam.mlc is not None
        assert (beam.mlc.axis, beam.mlc.n_pairs) == (axis, 7)
        np.testing.assert_array_equal(beam.mlc.boundaries_mm, boundaries)
        assert beam.control_points[0].leaves_mm is not None
        # decimal strings of 16 characters
        np.testing.assert_allclose(beam.control_points[0].leaves_mm, leaves, atol=1e-12)

    def test_boundaries_that_fall_are_turned_round_with_their_leaves(self) -> None:
        leaves = open_leaves(10)
        leaves[0] = [-11.0, 3.0]
        beam = only_beam(make_beam([Point(w, leaves=leaves) for w in (0.0, 1.0)], boundaries=TEN_PAIRS[::-1]))
        assert beam.mlc is not None
        np.testing.assert_allclose(beam.mlc.boundaries_mm, TEN_PAIRS)
        assert beam.control_points[0].leaves_mm is not None
        np.testing.assert_array_equal(beam.control_points[0].leaves_mm[-1], [-11.0, 3.0])

    def test_leaves_that_cross_by_rounding_meet_in_the_middle(self) -> None:
        leaves = open_leaves(10)
        leaves[3] = [5.04, 5.0]
        beam = only_beam(make_beam([Point(w, leaves=leaves) for w in (0.0, 1.0)]))
        assert beam.control_points[0].leaves_mm is not None
        np.testing.assert_allclose(beam.control_points[0].leaves_mm[3], [5.02, 5.02])

    def test_positions_cannot_be_changed_by_accident(self) -> None:
        leaves = only_beam(sliding_window_beam()).control_points[0].leaves_mm
        assert leaves is not None
        with pytest.raises(ValueError, match="read-only"):
            leaves[0, 0] = 0.0


class TestPlan:
    def test_metersets_fractions_and_references(self) -> None:
        plan = read_rtplan(
            make_rtplan(
                [static_beam(number=7), sliding_window_beam(number=3, name="LPO")],
                mu={7: 120.5, 3: 80.25},
                fractions=15,
                prescriptions_gy=(40.05, 30.0),
                structure_set="1.2.3",
            )
        )
        assert plan.label == "Test åäö"
        assert [b.number for b in plan.beams] == [7, 3]
        assert [plan.total_mu(b) for b in plan.beams] == [15 * 120.5, 15 * 80.25]
        assert (plan.fractions, plan.prescription_gy, plan.structure_set_uid) == (15, 40.05, "1.2.3")
        assert plan.sop_instance_uid is not None and plan.frame_of_reference_uid is not None
        assert (plan.skipped_beams, plan.notes) == ((), ())

    def test_a_beam_of_several_fraction_groups_is_given_in_each(self) -> None:
        ds = make_rtplan([static_beam(number=1), static_beam(number=2)], prescriptions_gy=(50.0, 10.0))
        ds.FractionGroupSequence = [fraction_group(1, {1: 100.0, 2: 50.0}, 25), fraction_group(2, {1: 60.0}, 5)]
        plan = read_rtplan(ds)
        assert [plan.total_mu(b) for b in plan.beams] == [25 * 100 + 5 * 60, 25 * 50]
        assert plan.fractions == 30
        assert plan.prescription_gy is None  # two phases: neither figure is the dose of the plan

    def test_beams_that_give_no_dose_are_skipped_and_named(self) -> None:
        beams = [
            static_beam(number=1),
            static_beam(number=2, name="CBCT", TreatmentDeliveryType="SETUP"),
            static_beam(number=3, name="Port", TreatmentDeliveryType="SETUP"),
            static_beam(number=4, name="Spare"),
            static_beam(number=5, name="Nought"),
        ]
        plan = read_rtplan(make_rtplan(beams, mu={1: 100.0, 2: None, 3: 2.0, 5: 0.0}))
        assert [b.number for b in plan.beams] == [1]
        assert plan.skipped_beams == (
            "2 (CBCT): setup beam",
            "3 (Port): setup beam (2 MU)",
            "4 (Spare): no fraction group gives it a meterset",
            "5 (Nought): 0 MU",
        )
        assert sum(sum(g.beam_mu.values()) for g in plan.fraction_groups) == 100.0

    def test_a_skipped_beam_may_hold_anything(self) -> None:
        broken = static_beam(number=2, TreatmentDeliveryType="SETUP", ControlPointSequence=None)
        assert len(read_rtplan(make_rtplan([static_beam(), broken], mu={1: 100.0, 2: None})).beams) == 1

    def test_each_beam_has_the_position_of_its_own_setup(self) -> None:
        plan = read_rtplan(
            make_rtplan([static_beam(number=1, setup=2), static_beam(number=2)], patient_positions=("HFS", "FFP"))
        )
        assert [b.patient_position for b in plan.beams] == ["FFP", "HFS"]

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            (sequence_item(FluenceMode="STANDARD"), "STANDARD"),
            (sequence_item(FluenceMode="NON_STANDARD", FluenceModeID="FFF"), "FFF"),
            (sequence_item(FluenceMode="NON_STANDARD", FluenceModeID="SRS"), "SRS"),
            (sequence_item(FluenceMode="NON_STANDARD"), "NON_STANDARD"),
        ],
    )
    def test_fluence_mode(self, mode: Dataset, expected: str) -> None:
        assert only_beam(static_beam(PrimaryFluenceModeSequence=[mode])).fluence_mode == expected

    def test_what_is_assumed_is_noted(self) -> None:
        beams = [static_beam(number=n, PrimaryFluenceModeSequence=None) for n in (1, 2)]
        plan = read_rtplan(make_rtplan(beams))
        assert plan.beams[0].fluence_mode == "STANDARD"
        assert plan.notes == ("Beam 1 (AP), 2 (AP): no primary fluence mode is given, a flattened beam is assumed.",)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_from_a_file_of_either_encoding(self, tmp_path: Path, syntax: str) -> None:
        path = save(make_rtplan([vmat_beam(name="Båge")], transfer_syntax=syntax), tmp_path / "no extension")
        plan = read_rtplan(path)
        assert plan.beams[0].name == "Båge"
        assert technique(plan.beams[0]) == "VMAT"

    @pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "ISO_IR 144", "ISO 2022 IR 87"])
    def test_names_in_other_character_sets(self, tmp_path: Path, charset: str) -> None:
        name = {"ISO_IR 144": "Поле", "ISO 2022 IR 87": "照射"}.get(charset, "Fält åäö")
        ds = make_rtplan([static_beam(name=name)], label="plan")
        ds.SpecificCharacterSet = ["", charset] if charset.startswith("ISO 2022") else charset
        ds.PatientName = "Phantom"
        assert read_rtplan(save(ds, tmp_path / "p.dcm")).beams[0].name == name


def _first(ds: Dataset) -> Dataset:
    beam: Dataset = ds.BeamSequence[0]
    return beam


def _set_point(index: int, **attributes: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(_first(ds).ControlPointSequence[index], keyword, value)

    return change


def _set_beam(**attributes: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(_first(ds), keyword, value)

    return change


def _delete(keyword: str, point: int | None = None) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        delattr(_first(ds) if point is None else _first(ds).ControlPointSequence[point], keyword)

    return change


def _positions(index: int, device: int, position: list[float]) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        item = _first(ds).ControlPointSequence[index].BeamLimitingDevicePositionSequence[device]
        item.LeafJawPositions = position

    return change


def _boundaries(values: list[float]) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        _first(ds).BeamLimitingDeviceSequence[2].LeafPositionBoundaries = values

    return change


def _drop_point(ds: Dataset) -> None:
    del _first(ds).ControlPointSequence[2]


def _crossed_leaves() -> list[float]:
    leaves = open_leaves(10)
    leaves[4] = [10.0, 9.0]
    return [float(v) for v in leaves.T.ravel()]


#: what is done to a good sliding-window plan, the reason, and the control point that the error must name
WRONG: list[tuple[Callable[[Dataset], None], str, str | None]] = [
    (_set_point(2, CumulativeMetersetWeight=0.1), "METERSET_DECREASES", "2"),
    (_set_point(0, CumulativeMetersetWeight=0.1), "METERSET_FINAL", None),
    (_set_point(4, CumulativeMetersetWeight=0.8), "METERSET_FINAL", None),
    (_set_beam(FinalCumulativeMetersetWeight=0.0), "METERSET_FINAL", None),
    (_set_point(3, CumulativeMetersetWeight=-0.5), "TAG_INVALID", "3"),
    (_delete("CumulativeMetersetWeight", 1), "TAG_MISSING", "1"),
    (_delete("IsocenterPosition", 0), "ISOCENTRE_MISSING", "0"),
    (_set_point(0, IsocenterPosition=[0.0, 0.0]), "TAG_INVALID", "0"),
    (_set_point(0, IsocenterPosition=[0.0, 0.0, 1e8]), "TAG_INVALID", "0"),
    (_delete("GantryAngle", 0), "TAG_MISSING", "0"),
    (_delete("BeamLimitingDeviceAngle", 0), "TAG_MISSING", "0"),
    (_delete("PatientSupportAngle", 0), "TAG_MISSING", "0"),
    (_set_point(1, GantryAngle=720.0), "TAG_INVALID", "1"),
    (_set_point(0, GantryRotationDirection="LEFT"), "TAG_INVALID", "0"),
    (_delete("BeamLimitingDevicePositionSequence", 0), "POSITION_MISSING", "0"),
    (_positions(0, 0, [30.0, -30.0]), "JAWS_REVERSED", "0"),
    (_positions(0, 1, [-50.0]), "TAG_INVALID", "0"),
    (_positions(0, 1, [-5000.0, 50.0]), "TAG_INVALID", "0"),
    (_positions(3, 0, _crossed_leaves()), "LEAVES_OVERLAP", "3"),
    (_positions(3, 0, [-20.0] * 9 + [20.0] * 10), "TAG_INVALID", "3"),
    (_boundaries([float(b) for b in TEN_PAIRS[:-1]]), "LEAF_BOUNDARIES", None),
    (_boundaries([*(float(b) for b in TEN_PAIRS[:-1]), 0.0]), "LEAF_BOUNDARIES", None),
    (_boundaries([float(TEN_PAIRS[0])] * 11), "LEAF_BOUNDARIES", None),
    (_set_beam(NumberOfControlPoints="9"), "CONTROL_POINT_COUNT", None),
    (_drop_point, "CONTROL_POINT_COUNT", None),
    (_set_point(2, ControlPointIndex="3"), "CONTROL_POINT_ORDER", "2"),
    (_set_beam(ControlPointSequence=[]), "TAG_MISSING", None),
    (_set_beam(ReferencedPatientSetupNumber="9"), "PATIENT_SETUP_MISSING", None),
    (_delete("SourceAxisDistance"), "TAG_MISSING", None),
    (_set_beam(SourceAxisDistance="1"), "TAG_INVALID", None),
    (_delete("BeamLimitingDeviceSequence"), "DEVICE_UNDEFINED", "0"),
]


class TestErrors:
    @pytest.mark.parametrize(("change", "reason", "control_point"), WRONG)
    def test_what_is_wrong_is_said_with_its_place(
        self, change: Callable[[Dataset], None], reason: str, control_point: str | None
    ) -> None:
        ds = make_rtplan([sliding_window_beam(number=4, name="LPO")])
        change(ds)
        with pytest.raises(RtPlanError) as caught:
            read_rtplan(ds, "rp.dcm")
        assert caught.value.reason == reason
        assert caught.value.where["file"] == "rp.dcm"
        assert caught.value.where["beam"] == "4 (LPO)"
        assert caught.value.where.get("control_point") == control_point

    @pytest.mark.parametrize("value", [b"nan", b"inf", b"1e400", b"abc", b"1\\2", b"\xff\xfe"])
    @pytest.mark.parametrize("keyword", ["GantryAngle", "CumulativeMetersetWeight", "SourceToSurfaceDistance"])
    def test_no_number(self, keyword: str, value: bytes) -> None:
        ds = make_rtplan([sliding_window_beam()])
        point = _first(ds).ControlPointSequence[0]
        tag = Tag(tag_for_keyword(keyword))  # type: ignore[arg-type]
        point._dict[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
        with pytest.raises(RtPlanError) as caught:
            read_rtplan(ds)
        assert caught.value.reason == "TAG_INVALID"
        assert keyword in caught.value.where["tag"]

    @pytest.mark.parametrize("count", [None, "0", ""])
    def test_no_fractions(self, count: str | None) -> None:
        ds = make_rtplan([static_beam()])
        if count is None:
            del ds.FractionGroupSequence[0].NumberOfFractionsPlanned
        else:
            ds.FractionGroupSequence[0].NumberOfFractionsPlanned = count
        _refused(ds, "FRACTIONS_MISSING")

    @pytest.mark.parametrize("position", ["", "SITTING", "ABC"])
    def test_no_patient_position(self, position: str) -> None:
        error = _refused(make_rtplan([static_beam()], patient_positions=(position,)), "PATIENT_POSITION_UNKNOWN")
        assert error.where["beam"] == "1 (AP)"

    def test_no_patient_setup_among_several(self) -> None:
        beam = static_beam(ReferencedPatientSetupNumber=None)
        assert only_beam(beam).patient_position == "HFS"
        _refused(make_rtplan([beam], patient_positions=("HFS", "HFP")), "PATIENT_SETUP_MISSING")

    def test_a_meterset_for_a_beam_that_is_not_there(self) -> None:
        error = _refused(make_rtplan([static_beam()], mu={1: 100.0, 2: 50.0}), "BEAM_UNKNOWN")
        assert error.where["beam"] == "2"

    def test_two_beams_of_one_number(self) -> None:
        _refused(make_rtplan([static_beam(), static_beam()]), "BEAM_NUMBER_DUPLICATE")

    def test_a_beam_twice_in_a_group(self) -> None:
        ds = make_rtplan([static_beam()])
        ds.FractionGroupSequence[0].ReferencedBeamSequence.append(
            sequence_item(ReferencedBeamNumber="1", BeamMeterset="5")
        )
        _refused(ds, "BEAM_REFERENCE_DUPLICATE")

    def test_negative_monitor_units(self) -> None:
        _refused(make_rtplan([static_beam()], mu={1: -5.0}), "TAG_INVALID")

    def test_only_setup_beams(self) -> None:
        _refused(make_rtplan([static_beam(TreatmentDeliveryType="SETUP")], mu={1: None}), "NO_TREATMENT_BEAM")

    def test_two_pairs_of_jaws_along_one_axis(self) -> None:
        beam = static_beam()
        beam.BeamLimitingDeviceSequence.append(sequence_item(RTBeamLimitingDeviceType="X", NumberOfLeafJawPairs="1"))
        _refused(make_rtplan([beam]), "JAW_DUPLICATE")

    def test_other_objects(self) -> None:
        ion = make_rtplan([static_beam()])
        ion.IonBeamSequence = [sequence_item(BeamNumber="1")]
        _refused(ion, "ION_PLAN_NOT_SUPPORTED")
        brachy = make_rtplan([static_beam()])
        brachy.FractionGroupSequence[0].NumberOfBrachyApplicationSetups = "1"
        _refused(brachy, "BRACHY_NOT_SUPPORTED")
        other = make_rtplan([static_beam()])
        other.Modality = "CT"
        _refused(other, "NOT_AN_RTPLAN")
        _refused(Dataset(), "TAG_MISSING")

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(RtPlanError) as caught:
            read_rtplan(tmp_path / "absent.dcm")
        assert caught.value.reason == "FILE_UNREADABLE"
        (tmp_path / "text.dcm").write_text("no plan at all")
        with pytest.raises(RtPlanError):
            read_rtplan(tmp_path / "text.dcm")

    def test_no_message_holds_the_patient(self) -> None:
        for change, _, _ in WRONG:
            ds = make_rtplan([sliding_window_beam()])
            change(ds)
            with pytest.raises(RtPlanError) as caught:
                read_rtplan(ds)
            assert "Phantom" not in str(caught.value)
            assert "TEST-1" not in str(caught.value)


def _refused(ds: Dataset, reason: str) -> RtPlanError:
    with pytest.raises(RtPlanError) as caught:
        read_rtplan(ds)
    assert caught.value.reason == reason
    return caught.value


def test_the_same_plan_is_read_the_same_way_twice() -> None:
    ds = make_rtplan([vmat_beam()])
    first, second = read_rtplan(ds), read_rtplan(ds)
    assert isinstance(first, Plan)
    assert [p.gantry_deg for p in first.beams[0].control_points] == [
        p.gantry_deg for p in second.beams[0].control_points
    ]
