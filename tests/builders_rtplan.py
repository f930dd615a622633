"""Synthetic RT Plans for tests: any technique, jaws of any kind, leaves along X or Y, and whatever else a test adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from builders_dicom import FRAME, file_dataset, uid
from numpy.typing import ArrayLike
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, RTPlanStorage

#: 10 pairs of 10 mm
TEN_PAIRS = tuple(np.linspace(-50.0, 50.0, 11))


@dataclass
class Point:
    """A control point in full; the builder writes only what changes."""

    weight: float
    gantry: float = 0.0
    direction: str = "NONE"
    collimator: float = 0.0
    collimator_direction: str = "NONE"
    couch: float = 0.0
    couch_direction: str = "NONE"
    jaw_x: tuple[float, float] | None = (-50.0, 50.0)
    jaw_y: tuple[float, float] | None = (-50.0, 50.0)
    leaves: ArrayLike | None = None  # [n pairs, 2]
    isocentre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ssd: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def sequence_item(**attributes: object) -> Dataset:
    """A sequence item with these attributes."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def open_leaves(n_pairs: int, lower: float = -20.0, upper: float = 20.0) -> np.ndarray:
    """All pairs open alike, [n pairs, 2]."""
    return np.tile([lower, upper], (n_pairs, 1)).astype(float)


def make_beam(
    points: Sequence[Point],
    *,
    number: int = 1,
    name: str = "AP",
    energy: float = 6.0,
    final: float = 1.0,
    symmetric_jaws: bool = False,
    mlc: str = "MLCX",
    boundaries: Sequence[float] = TEN_PAIRS,
    beam_type: str = "DYNAMIC",
    setup: int = 1,
    repeat_everything: bool = False,
    **attributes: object,
) -> Dataset:
    """An item of the Beam Sequence; ``attributes`` are set last, ``None`` deletes."""
    ds = sequence_item(
        BeamNumber=str(number),
        BeamName=name,
        TreatmentMachineName="TESTLINAC",
        BeamType=beam_type,
        RadiationType="PHOTON",
        TreatmentDeliveryType="TREATMENT",
        PrimaryDosimeterUnit="MU",
        SourceAxisDistance="1000",
        ReferencedPatientSetupNumber=str(setup),
        NumberOfWedges="0",
        NumberOfBlocks="0",
        NumberOfBoli="0",
        NumberOfCompensators="0",
        NumberOfControlPoints=str(len(points)),
        FinalCumulativeMetersetWeight=float(final),
        PrimaryFluenceModeSequence=[sequence_item(FluenceMode="STANDARD")],
    )
    names = _device_names(points[0], symmetric_jaws, mlc)
    ds.BeamLimitingDeviceSequence = [_device(kind, boundaries) for kind in names.values()]
    items: list[Dataset] = []
    for i, point in enumerate(points):
        before = None if i == 0 or repeat_everything else points[i - 1]
        items.append(_control_point(i, point, before, names, energy, final))
    ds.ControlPointSequence = items
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def _device_names(first: Point, symmetric: bool, mlc: str) -> dict[str, str]:
    prefix = "" if symmetric else "ASYM"
    names = {}
    if first.jaw_x is not None:
        names["jaw_x"] = f"{prefix}X"
    if first.jaw_y is not None:
        names["jaw_y"] = f"{prefix}Y"
    if first.leaves is not None:
        names["leaves"] = mlc
    return names


def _device(kind: str, boundaries: Sequence[float]) -> Dataset:
    if not kind.startswith("MLC"):
        return sequence_item(RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs="1")
    return sequence_item(
        RTBeamLimitingDeviceType=kind,
        NumberOfLeafJawPairs=str(len(boundaries) - 1),
        LeafPositionBoundaries=[float(b) for b in boundaries],
    )


def _control_point(
    index: int, point: Point, before: Point | None, names: Mapping[str, str], energy: float, final: float
) -> Dataset:
    ds = sequence_item(ControlPointIndex=str(index), CumulativeMetersetWeight=float(point.weight * final))
    if before is None:
        ds.NominalBeamEnergy = energy
        ds.IsocenterPosition = list(point.isocentre)
    elif point.isocentre != before.isocentre:
        ds.IsocenterPosition = list(point.isocentre)
    for keyword, attribute in (
        ("GantryAngle", "gantry"),
        ("GantryRotationDirection", "direction"),
        ("BeamLimitingDeviceAngle", "collimator"),
        ("BeamLimitingDeviceRotationDirection", "collimator_direction"),
        ("PatientSupportAngle", "couch"),
        ("PatientSupportRotationDirection", "couch_direction"),
    ):
        if before is None or getattr(before, attribute) != getattr(point, attribute):
            setattr(ds, keyword, getattr(point, attribute))
    positions = []
    for attribute, kind in names.items():
        now = np.asarray(getattr(point, attribute), dtype=float)
        if before is None or not np.array_equal(now, np.asarray(getattr(before, attribute), dtype=float)):
            # bank 1 of all pairs, then bank 2
            flat = [float(v) for v in (now.T.ravel() if attribute == "leaves" else now)]
            positions.append(sequence_item(RTBeamLimitingDeviceType=kind, LeafJawPositions=flat))
    if positions:
        ds.BeamLimitingDevicePositionSequence = positions
    if point.ssd is not None:
        ds.SourceToSurfaceDistance = point.ssd
    for keyword, value in point.extra.items():
        setattr(ds, keyword, value)
    return ds


def static_beam(**options: object) -> Dataset:
    """An open 10 cm x 10 cm field."""
    return make_beam([Point(0.0), Point(1.0)], beam_type="STATIC", **options)  # type: ignore[arg-type]


def wedge_item(
    kind: str = "STANDARD", angle: float = 45.0, orientation: float = 0.0, name: str = "W45", number: int = 1
) -> Dataset:
    """An item of the Wedge Sequence."""
    return sequence_item(
        WedgeNumber=str(number), WedgeType=kind, WedgeID=name, WedgeAngle=f"{angle:g}",
        WedgeOrientation=f"{orientation:g}", SourceToWedgeTrayDistance="500",
    )  # fmt: skip


def wedge_position(position: str, number: int = 1) -> list[Dataset]:
    """A Wedge Position Sequence."""
    return [sequence_item(ReferencedWedgeNumber=str(number), WedgePosition=position)]


def wedged_beam(wedge: Dataset | None = None, positions: Sequence[str] = ("IN",), **options: object) -> Dataset:
    """A static field with a wedge; ``positions`` are those of the first control points, '' leaves one out."""
    weights = [0.0, 0.4, 0.4, 1.0]
    points = [Point(w) for w in weights]
    for point, position in zip(points, positions, strict=False):
        if position:
            point.extra = {"WedgePositionSequence": wedge_position(position)}
    return make_beam(points, NumberOfWedges="1", WedgeSequence=[wedge or wedge_item()], **options)  # type: ignore[arg-type]


def block_item(outline: ArrayLike, kind: str = "SHIELDING", **changes: object) -> Dataset:
    """An item of the Block Sequence; ``changes`` are set last, ``None`` deletes."""
    flat = [float(v) for v in np.asarray(outline, dtype=float).ravel()]
    item = sequence_item(
        BlockNumber="1", BlockName="lung", BlockType=kind, BlockDivergence="PRESENT", BlockTrayID="T1",
        MaterialID="Cerrobend", BlockThickness="75", BlockTransmission="0.04", SourceToBlockTrayDistance="650",
        BlockNumberOfPoints=str(len(flat) // 2), BlockData=flat,
    )  # fmt: skip
    for keyword, value in changes.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    return item


def accessories_beam(**options: object) -> Dataset:
    """A field with a wedge, two blocks on a tray and a bolus."""
    beam = wedged_beam(wedge_item("MOTORIZED", 60.0), ("IN", "OUT"), **options)
    triangle = [(-40, -40), (0, -40), (-40, 0)]
    square = [(-45, -45), (45, -45), (45, 45), (-45, 45)]
    beam.BlockSequence = [block_item(triangle), block_item(square, "APERTURE", BlockNumber="2")]
    beam.NumberOfBlocks, beam.TotalBlockTrayFactor = "2", "0.97"
    beam.ReferencedBolusSequence = [sequence_item(ReferencedROINumber="9", BolusID="5 mm")]
    beam.NumberOfBoli = "1"
    return beam


def dual_layer_beam(**options: object) -> Dataset:
    """Two stacked layers of leaves, the second shifted by half a leaf."""
    beam = make_beam([Point(w, leaves=open_leaves(10)) for w in (0.0, 1.0)], mlc="MLCX1", **options)  # type: ignore[arg-type]
    boundaries = [float(v) for v in np.linspace(-55.0, 55.0, 12)]
    beam.BeamLimitingDeviceSequence.append(
        sequence_item(RTBeamLimitingDeviceType="MLCX2", NumberOfLeafJawPairs="11", LeafPositionBoundaries=boundaries)
    )
    beam.ControlPointSequence[0].BeamLimitingDevicePositionSequence.append(
        sequence_item(RTBeamLimitingDeviceType="MLCX2", LeafJawPositions=[-15.0] * 11 + [12.0] * 11)
    )
    return beam


def step_and_shoot_beam(n_segments: int = 3, **options: object) -> Dataset:
    """Segments of equal weight; leaves move while no dose is given."""
    points = []
    for k in range(n_segments):
        leaves = open_leaves(10, -30.0 + 10 * k, 10.0 + 5 * k)
        points += [Point(k / n_segments, leaves=leaves), Point((k + 1) / n_segments, leaves=leaves)]
    return make_beam(points, beam_type="STATIC", **options)  # type: ignore[arg-type]


def sliding_window_beam(n_points: int = 5, **options: object) -> Dataset:
    """A slit that crosses the field with the beam on."""
    f = np.linspace(0.0, 1.0, n_points)
    points = [Point(float(w), leaves=open_leaves(10, -40.0 + 60 * w, -20.0 + 60 * w)) for w in f]
    return make_beam(points, **options)  # type: ignore[arg-type]


def vmat_beam(n_points: int = 9, start: float = 180.1, turn: float = 359.8, **options: object) -> Dataset:
    """A clockwise arc (counter-clockwise for a negative turn) with moving leaves."""
    f = np.linspace(0.0, 1.0, n_points)
    direction = "CW" if turn > 0 else "CC"
    points = [
        Point(
            float(w),
            gantry=round(float((start + turn * w) % 360.0), 6),
            direction=direction if w < 1 else "NONE",
            leaves=open_leaves(10, -30.0 + 10 * w, 5.0 + 20 * w),
        )
        for w in f
    ]
    return make_beam(points, **options)  # type: ignore[arg-type]


def make_rtplan(
    beams: Sequence[Dataset],
    *,
    mu: Mapping[int, float | None] | None = None,
    fractions: int = 5,
    patient_positions: Sequence[str] = ("HFS",),
    prescriptions_gy: Sequence[float] = (),
    structure_set: str | None = None,
    label: str = "Test åäö",
    number: int = 1,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> FileDataset:
    """An RT Plan of one fraction group; every beam has 100 MU unless ``mu`` says otherwise (None: no meterset)."""
    ds = file_dataset(RTPlanStorage, uid(60, number), "RTPLAN", transfer_syntax=transfer_syntax)
    ds.FrameOfReferenceUID = FRAME
    ds.PositionReferenceIndicator = ""
    ds.RTPlanLabel = label
    ds.RTPlanDate, ds.RTPlanTime = "20200101", "120000"
    ds.RTPlanGeometry = "PATIENT"
    ds.BeamSequence = list(beams)
    metersets = mu if mu is not None else {int(b.BeamNumber): 100.0 for b in beams}
    ds.FractionGroupSequence = [fraction_group(1, metersets, fractions)]
    ds.PatientSetupSequence = [
        sequence_item(PatientSetupNumber=str(i + 1), PatientPosition=position)
        for i, position in enumerate(patient_positions)
    ]
    if prescriptions_gy:
        ds.DoseReferenceSequence = [
            sequence_item(
                DoseReferenceNumber=str(i + 1),
                DoseReferenceStructureType="SITE",
                DoseReferenceType="TARGET",
                TargetPrescriptionDose=dose,
            )
            for i, dose in enumerate(prescriptions_gy)
        ]
    if structure_set is not None:
        ds.ReferencedStructureSetSequence = [
            sequence_item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", ReferencedSOPInstanceUID=structure_set)
        ]
    return ds


def fraction_group(number: int, mu: Mapping[int, float | None], fractions: int) -> Dataset:
    """An item of the Fraction Group Sequence."""
    references = []
    for beam, meterset in mu.items():
        references.append(sequence_item(ReferencedBeamNumber=str(beam)))
        if meterset is not None:
            references[-1].BeamMeterset = meterset
    return sequence_item(
        FractionGroupNumber=str(number),
        NumberOfFractionsPlanned=str(fractions),
        NumberOfBeams=str(len(mu)),
        NumberOfBrachyApplicationSetups="0",
        ReferencedBeamSequence=references,
    )
