"""Whatever changes dose and is not modelled is refused before computing, by a stable reason and the beam's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from builders_rtplan import (
    Point,
    make_beam,
    make_rtplan,
    open_leaves,
    sequence_item,
    sliding_window_beam,
    static_beam,
    step_and_shoot_beam,
    vmat_beam,
)
from pydicom.dataset import Dataset

from dosecalc.dicom.rtplan import read_rtplan
from dosecalc.errors import PlanError
from dosecalc.plan import Beam, Modifier, Plan, check_supported, unsupported


def plan_of(*beams: Dataset) -> Plan:
    return read_rtplan(make_rtplan(beams))


def point_with(index: int, **attributes: object) -> Dataset:
    points = [Point(0.0), Point(1.0)]
    points[index].extra = attributes
    return make_beam(points)


def with_wedge(*positions: str, **wedge: object) -> Dataset:
    item = sequence_item(WedgeNumber="1", WedgeType="MOTORIZED", WedgeID="W60", WedgeAngle="60", **wedge)
    points = [Point(0.0), Point(0.4), Point(1.0)]
    for point, position in zip(points, positions, strict=False):
        entry = sequence_item(ReferencedWedgeNumber="1", WedgePosition=position)
        point.extra = {"WedgePositionSequence": [entry]}
    return make_beam(points, NumberOfWedges="1", WedgeSequence=[item])


def with_second_mlc(kind: str) -> Dataset:
    beam = make_beam([Point(w, leaves=open_leaves(10)) for w in (0.0, 1.0)], mlc="MLCX1")
    second = sequence_item(
        RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs="2", LeafPositionBoundaries=[-50.0, 0.0, 50.0]
    )
    beam.BeamLimitingDeviceSequence.append(second)
    beam.ControlPointSequence[0].BeamLimitingDevicePositionSequence.append(
        sequence_item(RTBeamLimitingDeviceType=kind, LeafJawPositions=[-10.0, -10.0, 10.0, 10.0])
    )
    return beam


def without_jaws() -> Dataset:
    return make_beam([Point(w, jaw_y=None) for w in (0.0, 1.0)])


def with_unknown_device() -> Dataset:
    beam = static_beam()
    beam.BeamLimitingDeviceSequence.append(sequence_item(RTBeamLimitingDeviceType="IRIS", NumberOfLeafJawPairs="1"))
    return beam


REFUSED: list[tuple[str, Callable[[], Dataset]]] = [
    ("RADIATION_NOT_SUPPORTED", lambda: static_beam(RadiationType="ELECTRON")),
    ("RADIATION_NOT_SUPPORTED", lambda: static_beam(RadiationType="")),
    ("ENERGY_MISSING", lambda: point_with(0, NominalBeamEnergy="")),
    ("WEDGE_NOT_SUPPORTED", lambda: with_wedge("IN", "OUT")),
    ("WEDGE_NOT_SUPPORTED", lambda: with_wedge()),
    ("WEDGE_NOT_SUPPORTED", lambda: static_beam(NumberOfWedges="1")),
    ("BLOCK_NOT_SUPPORTED", lambda: static_beam(BlockSequence=[sequence_item(BlockName="B", BlockType="APERTURE")])),
    ("BLOCK_NOT_SUPPORTED", lambda: static_beam(NumberOfBlocks="2")),
    ("BOLUS_NOT_SUPPORTED", lambda: static_beam(ReferencedBolusSequence=[sequence_item(BolusID="5 mm")])),
    ("BOLUS_NOT_SUPPORTED", lambda: static_beam(NumberOfBoli="1")),
    ("COMPENSATOR_NOT_SUPPORTED", lambda: static_beam(CompensatorSequence=[sequence_item(CompensatorID="C")])),
    ("COMPENSATOR_NOT_SUPPORTED", lambda: static_beam(NumberOfCompensators="1")),
    ("APPLICATOR_NOT_SUPPORTED", lambda: static_beam(ApplicatorSequence=[sequence_item(ApplicatorID="CONE 10")])),
    ("TRAY_NOT_SUPPORTED", lambda: static_beam(TotalCompensatorTrayFactor="0.97")),
    ("TRAY_NOT_SUPPORTED", lambda: static_beam(TotalBlockTrayFactor="0")),
    ("TRAY_NOT_SUPPORTED", lambda: static_beam(TotalBlockTrayWaterEquivalentThickness=3.0)),
    ("ACCESSORY_NOT_SUPPORTED", lambda: static_beam(
        GeneralAccessorySequence=[sequence_item(GeneralAccessoryID="G", GeneralAccessoryType="GRATICULE")])),
    ("SECOND_MLC_NOT_SUPPORTED", lambda: with_second_mlc("MLCY")),
    ("LIMITING_DEVICE_NOT_SUPPORTED", with_unknown_device),
    ("LIMITING_DEVICE_NOT_SUPPORTED", lambda: static_beam(EnhancedRTBeamLimitingDeviceDefinitionFlag="YES")),
    ("TABLE_TILT_NOT_SUPPORTED", lambda: point_with(0, TableTopPitchAngle=1.5)),
    ("TABLE_TILT_NOT_SUPPORTED", lambda: point_with(0, TableTopRollAngle=359.0)),
    ("TABLE_ECCENTRIC_NOT_SUPPORTED", lambda: point_with(0, TableTopEccentricAngle="10")),
    ("TABLE_MOTION_NOT_SUPPORTED", lambda: make_beam(
        [Point(0.0, extra={"TableTopLateralPosition": "0"}), Point(1.0, extra={"TableTopLateralPosition": "50"})])),
    ("ISOCENTRE_MOTION_NOT_SUPPORTED", lambda: make_beam([Point(0.0), Point(1.0, isocentre=(0.0, 0.0, 5.0))])),
    ("GANTRY_PITCH_NOT_SUPPORTED", lambda: point_with(1, GantryPitchAngle=10.0)),
    ("ENERGY_CHANGE_NOT_SUPPORTED", lambda: point_with(1, NominalBeamEnergy="10")),
    ("DOSIMETER_UNIT_NOT_SUPPORTED", lambda: static_beam(PrimaryDosimeterUnit="MINUTE")),
    ("DELIVERY_TYPE_NOT_SUPPORTED", lambda: static_beam(TreatmentDeliveryType="OPEN_PORTFILM")),
    ("APERTURE_OPEN", without_jaws),
    ("ROTATION_DIRECTION_MISSING", lambda: make_beam([Point(0.0, gantry=10.0), Point(1.0, gantry=50.0)])),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "build"), REFUSED)
def test_refused_with_its_reason(reason: str, build: Callable[[], Dataset]) -> None:
    beam = build()
    beam.BeamName, beam.BeamNumber = "LAO", "3"
    plan = plan_of(beam)
    with pytest.raises(PlanError) as caught:
        check_supported(plan)
    assert caught.value.reason == reason
    assert caught.value.where["beam"] == "3 (LAO)"
    assert [r.reason for r in unsupported(plan)] == [reason]


def test_two_layers_along_one_axis_are_the_machine_models_affair() -> None:
    check_supported(plan_of(with_second_mlc("MLCX2")))


@pytest.mark.parametrize("build", [static_beam, step_and_shoot_beam, sliding_window_beam, vmat_beam])
def test_what_is_modelled_passes(build: Callable[[], Dataset]) -> None:
    plan = plan_of(build())
    check_supported(plan)
    assert unsupported(plan) == ()


@pytest.mark.parametrize(
    "beam",
    [
        with_wedge("OUT", "OUT", "OUT"),
        static_beam(TotalBlockTrayFactor="1"),
        static_beam(GeneralAccessorySequence=[sequence_item(GeneralAccessoryType="IMAGE_DETECTOR")]),
        point_with(0, TableTopPitchAngle=0.0, TableTopRollAngle=360.0, TableTopEccentricAngle="1e-10"),
        point_with(1, NominalBeamEnergy="6"),
        static_beam(TreatmentDeliveryType="CONTINUATION"),
        static_beam(TreatmentDeliveryType="VERIFICATION"),
        # flattening-filter-free beams are the machine model's affair
        static_beam(
            PrimaryFluenceModeSequence=[sequence_item(FluenceMode="NON_STANDARD", FluenceModeID="FFF")],
        ),
    ],
)
def test_what_changes_no_dose_passes(beam: Dataset) -> None:
    check_supported(plan_of(beam))


def test_shielding_of_the_beams_own_setup() -> None:
    ds = make_rtplan([static_beam()], patient_positions=("HFS", "HFS"))
    ds.PatientSetupSequence[1].ShieldingDeviceSequence = [sequence_item(ShieldingDeviceType="GONAD")]
    check_supported(read_rtplan(ds))
    ds.PatientSetupSequence[0].ShieldingDeviceSequence = [sequence_item(ShieldingDeviceType="EYE")]
    assert [r.reason for r in unsupported(read_rtplan(ds))] == ["SHIELDING_NOT_SUPPORTED"]


def test_all_refusals_are_told_at_once() -> None:
    wedged = static_beam(number=1, name="LAO", NumberOfWedges="1", NumberOfBoli="1")
    electrons = static_beam(number=3, name="E", RadiationType="ELECTRON")
    plan = plan_of(wedged, static_beam(number=2, name="fine"), electrons)
    with pytest.raises(PlanError) as caught:
        check_supported(plan)
    assert caught.value.reason == "WEDGE_NOT_SUPPORTED"
    assert caught.value.where["reasons"] == "WEDGE_NOT_SUPPORTED, BOLUS_NOT_SUPPORTED, RADIATION_NOT_SUPPORTED"
    assert "1 (LAO)" in str(caught.value) and "3 (E)" in str(caught.value)
    assert "fine" not in str(caught.value)


def test_a_modifier_that_nobody_knows_is_refused() -> None:
    beam = plan_of(static_beam()).beams[0]
    odd = Beam(**{**vars(beam), "modifiers": (Modifier("FLUX_CAPACITOR", "X"),)})
    (refusal,) = unsupported(Plan("p", (odd,), ()))
    assert refusal.reason == "MODIFIER_NOT_SUPPORTED"
    assert "FLUX_CAPACITOR" in refusal.message
