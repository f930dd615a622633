"""Phantoms as DICOM: CT, RT Structure Set and RT Plan, as a scanner and a planning system would write them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTPlanStorage,
    RTStructureSetStorage,
)

from dosecalc import __version__
from dosecalc.errors import InputError
from dosecalc.geometry.frames import support_from_patient
from dosecalc.patient.ct import CtImage
from dosecalc.patient.hu import HuCurve, load_curve
from dosecalc.plan import Beam, ControlPoint, MlcGeometry, Plan
from dosecalc_phantoms.model import Phantom

#: written into every object, so that two runs give the same bytes
_DATE, _TIME = "20240101", "120000"
_IMPLEMENTATION_UID = "2.25.297382517466240930160377163241563216181"
#: the smallest HU step that is stored; finer than any calibration curve needs
_HU_STEP = 0.05
_HU_INTERCEPT = -1024.0


@dataclass(frozen=True)
class PhantomFiles:
    """Where a phantom was written.

    Parameters
    ----------
    ct : tuple of Path
        One per slice.
    rtstruct, rtplan : Path
    """

    ct: tuple[Path, ...]
    rtstruct: Path
    rtplan: Path


@dataclass(frozen=True)
class _Uids:
    """The unique identifiers of one phantom, made from what it consists of: the same phantom has the same ones."""

    seed: str

    def of(self, role: str) -> str:
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, f'dosecalc-phantom/{self.seed}/{role}').int}"


def write_phantom(phantom: Phantom, directory: Path, curve: HuCurve | None = None) -> PhantomFiles:
    """Write a phantom as CT, RTSTRUCT and RTPLAN.

    Parameters
    ----------
    phantom : Phantom
    directory : Path
        Made when it does not exist; files of the same names are replaced.
    curve : HuCurve, optional
        Calibration by which density becomes HU; the generic one by default.

    Raises
    ------
    InputError
        ``OUTPUT_NOT_WRITABLE``.
    """
    used = curve or load_curve()
    image = phantom.ct(used)
    uids = _Uids(_seed(phantom, image))
    slices = _ct_slices(phantom, image, uids)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        paths = tuple(directory / f"CT.{i:03d}.dcm" for i in range(1, len(slices) + 1))
        for path, dataset in zip(paths, slices, strict=True):
            _save(dataset, path)
        rtstruct, rtplan = directory / "RS.dcm", directory / "RP.dcm"
        _save(_structure_set(phantom, slices, uids), rtstruct)
        _save(_plan(phantom.plan, phantom, uids), rtplan)
    except OSError as error:
        raise InputError(
            "OUTPUT_NOT_WRITABLE", f"The phantom cannot be written: {error.strerror}.", directory=directory
        ) from error
    return PhantomFiles(paths, rtstruct, rtplan)


def _seed(phantom: Phantom, image: CtImage) -> str:
    parts = [phantom.name, phantom.patient_position, phantom.regions, phantom.ct_grid, phantom.plan.label]
    parts += [(d.name, d.shape) for d in phantom.drawn]
    for beam in phantom.plan.beams:
        parts.append((beam.number, beam.machine_name, beam.energy_mv, beam.fluence_mode))
        parts += [_point_text(c) for c in beam.control_points]
    parts += [(g.fractions, sorted(g.beam_mu.items())) for g in phantom.plan.fraction_groups]
    parts.append(float(np.sum(image.hu.values, dtype=np.float64)))
    return repr(parts)


def _point_text(point: ControlPoint) -> str:
    leaves = None if point.leaves_mm is None else point.leaves_mm.tolist()
    parts = [point.gantry_deg, point.collimator_deg, point.jaw_x_mm, point.jaw_y_mm, point.meterset_fraction, leaves]
    if point.second_leaves_mm is not None:
        parts.append(point.second_leaves_mm.tolist())
    return repr(tuple(parts))


def _save(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "DOSECALC"
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def _common(phantom: Phantom, uids: _Uids, sop_class: str, sop_instance: str) -> Dataset:
    """Patient, study, equipment and SOP modules."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = sop_instance
    ds.InstanceCreationDate, ds.InstanceCreationTime = _DATE, _TIME
    ds.PatientName = f"Phantom^{phantom.name}"
    ds.PatientID = "DOSECALC-PHANTOM"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.StudyInstanceUID = uids.of("study")
    ds.StudyDate, ds.StudyTime = _DATE, _TIME
    ds.StudyID = "1"
    ds.StudyDescription = "dosecalc phantom"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.SeriesNumber = 1
    ds.OperatorsName = ""
    ds.Manufacturer = "dosecalc"
    ds.ManufacturerModelName = "dosecalc phantoms"
    ds.SoftwareVersions = __version__
    ds.FrameOfReferenceUID = uids.of("frame")
    ds.PositionReferenceIndicator = ""
    return ds


# ---- CT -------------------------------------------------------------------------------------------------------------


def _ct_slices(phantom: Phantom, image: CtImage, uids: _Uids) -> list[Dataset]:
    """One dataset per slice, as a scanner writes a patient who lies this way: rows across the couch, top row up."""
    support = support_from_patient(phantom.patient_position)
    along_row, down_column = support.T @ np.array([1.0, 0.0, 0.0]), support.T @ np.array([0.0, 0.0, -1.0])
    along_row, down_column = along_row + 0.0, down_column + 0.0  # no -0.0 in the files
    grid = image.hu.grid
    stored = np.round((image.hu.values - _HU_INTERCEPT) / _HU_STEP).astype(np.uint16)
    spacing = np.asarray(grid.spacing_mm)
    slices = []
    for k, z in enumerate(grid.z_mm):
        ds = _common(phantom, uids, CTImageStorage, uids.of(f"ct/{k}"))
        _ct_description(ds, phantom, uids, k)
        first = np.array([grid.x_mm[0], grid.y_mm[0], z])
        for axis_of_image in (along_row, down_column):
            axis = int(np.argmax(np.abs(axis_of_image)))
            if axis_of_image[axis] < 0:
                first[axis] = (grid.x_mm, grid.y_mm)[axis][-1]
        ds.ImagePositionPatient = [_decimal(v) for v in first]
        ds.ImageOrientationPatient = [_decimal(v) for v in (*along_row, *down_column)]
        ds.PixelSpacing = [_decimal(float(np.abs(down_column) @ spacing)), _decimal(float(np.abs(along_row) @ spacing))]
        ds.SliceThickness = _decimal(grid.spacing_mm[2])
        ds.SliceLocation = _decimal(float(z))
        _pixels(ds, _as_displayed(stored[k], along_row, down_column))
        slices.append(ds)
    return slices


def _ct_description(ds: Dataset, phantom: Phantom, uids: _Uids, k: int) -> None:
    ds.Modality = "CT"
    ds.SeriesInstanceUID = uids.of("series/ct")
    ds.SeriesDescription = phantom.name
    ds.Laterality = ""
    ds.PatientPosition = phantom.patient_position
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    ds.DerivationDescription = "Computed phantom"
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = k + 1
    ds.ContentDate, ds.ContentTime = _DATE, _TIME
    ds.AcquisitionDate, ds.AcquisitionTime = _DATE, _TIME
    ds.SeriesDate, ds.SeriesTime = _DATE, _TIME
    ds.KVP = "120"


def _pixels(ds: Dataset, image: NDArray[np.uint16]) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = 0
    ds.RescaleIntercept = _decimal(_HU_INTERCEPT)
    ds.RescaleSlope = _decimal(_HU_STEP)
    ds.RescaleType = "HU"
    ds.WindowCenter, ds.WindowWidth = "0", "2000"
    ds.add_new(0x7FE00010, "OW", np.ascontiguousarray(image).astype("<u2").tobytes())


def _as_displayed(
    plane: NDArray[np.uint16], along_row: NDArray[np.float64], down_column: NDArray[np.float64]
) -> NDArray[np.uint16]:
    """A plane indexed [y, x] of the patient frame, turned into rows and columns of the image."""
    image = plane if abs(along_row[0]) > 0.5 else plane.T
    if along_row.sum() < 0:
        image = image[:, ::-1]
    if down_column.sum() < 0:
        image = image[::-1, :]
    return np.ascontiguousarray(image)


# ---- RT Structure Set -----------------------------------------------------------------------------------------------


def _structure_set(phantom: Phantom, slices: list[Dataset], uids: _Uids) -> Dataset:
    structures = phantom.structure_set()
    ds = _common(phantom, uids, RTStructureSetStorage, uids.of("rtstruct"))
    ds.Modality = "RTSTRUCT"
    ds.SeriesInstanceUID = uids.of("series/rtstruct")
    ds.InstanceNumber = 1
    ds.StructureSetLabel = phantom.name[:16]
    ds.StructureSetDate, ds.StructureSetTime = _DATE, _TIME
    ds.ReferencedFrameOfReferenceSequence = Sequence([_referenced_frame(slices, uids)])
    image_of = {float(s.SliceLocation): s for s in slices}
    rois, contours, observations = [], [], []
    for structure in structures.structures:
        rois.append(
            _item(
                ROINumber=structure.number,
                ReferencedFrameOfReferenceUID=uids.of("frame"),
                ROIName=structure.name,
                ROIGenerationAlgorithm="AUTOMATIC",
            )
        )
        drawn = [
            _item(
                ContourImageSequence=Sequence([_reference(image_of[float(_decimal(c.points_mm[0, 2]))])]),
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(c.points_mm),
                ContourData=[_decimal(v) for v in c.points_mm.ravel()],
            )
            for c in structure.contours
        ]
        contours.append(
            _item(
                ROIDisplayColor=list(structure.color_rgb or (255, 255, 255)),
                ContourSequence=Sequence(drawn),
                ReferencedROINumber=structure.number,
            )
        )
        observations.append(
            _item(
                ObservationNumber=structure.number,
                ReferencedROINumber=structure.number,
                RTROIInterpretedType=structure.kind,
                ROIInterpreter="",
            )
        )
    ds.StructureSetROISequence = Sequence(rois)
    ds.ROIContourSequence = Sequence(contours)
    ds.RTROIObservationsSequence = Sequence(observations)
    ds.ApprovalStatus = "UNAPPROVED"
    return ds


def _referenced_frame(slices: list[Dataset], uids: _Uids) -> Dataset:
    series = _item(
        SeriesInstanceUID=uids.of("series/ct"), ContourImageSequence=Sequence([_reference(s) for s in slices])
    )
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management: what planning systems write here
        ReferencedSOPInstanceUID=uids.of("study"),
        RTReferencedSeriesSequence=Sequence([series]),
    )
    return _item(FrameOfReferenceUID=uids.of("frame"), RTReferencedStudySequence=Sequence([study]))


def _reference(dataset: Dataset) -> Dataset:
    return _item(ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID=dataset.SOPInstanceUID)


# ---- RT Plan --------------------------------------------------------------------------------------------------------


def _plan(plan: Plan, phantom: Phantom, uids: _Uids) -> Dataset:
    ds = _common(phantom, uids, RTPlanStorage, uids.of("rtplan"))
    ds.Modality = "RTPLAN"
    ds.SeriesInstanceUID = uids.of("series/rtplan")
    ds.InstanceNumber = 1
    ds.RTPlanLabel = plan.label[:16]
    ds.RTPlanName = plan.label
    ds.RTPlanDate, ds.RTPlanTime = _DATE, _TIME
    ds.RTPlanGeometry = "PATIENT"
    ds.PlanIntent = "VERIFICATION"
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedStructureSetSequence = Sequence(
        [_item(ReferencedSOPClassUID=RTStructureSetStorage, ReferencedSOPInstanceUID=uids.of("rtstruct"))]
    )
    ds.FractionGroupSequence = Sequence([_fraction_group(plan)])
    ds.PatientSetupSequence = Sequence(
        [_item(PatientSetupNumber=1, PatientPosition=phantom.patient_position, SetupTechnique="ISOCENTRIC")]
    )
    ds.BeamSequence = Sequence([_beam(b) for b in plan.beams])
    return ds


def _fraction_group(plan: Plan) -> Dataset:
    (group,) = plan.fraction_groups
    beams = [_item(ReferencedBeamNumber=n, BeamMeterset=_decimal(mu)) for n, mu in group.beam_mu.items()]
    return _item(
        FractionGroupNumber=group.number,
        NumberOfFractionsPlanned=group.fractions,
        NumberOfBeams=len(beams),
        NumberOfBrachyApplicationSetups=0,
        ReferencedBeamSequence=Sequence(beams),
    )


def _beam(beam: Beam) -> Dataset:
    first = beam.control_points[0]
    devices = [
        _item(RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs=1)
        for kind, edges in (("ASYMX", first.jaw_x_mm), ("ASYMY", first.jaw_y_mm))
        if edges is not None
    ]
    for kind, mlc in _mlcs(beam):
        devices.append(
            _item(
                RTBeamLimitingDeviceType=kind,
                NumberOfLeafJawPairs=mlc.n_pairs,
                LeafPositionBoundaries=[_decimal(v) for v in mlc.boundaries_mm],
            )
        )
    ds = _item(
        BeamNumber=beam.number,
        BeamName=beam.name,
        BeamType="STATIC" if _static(beam) else "DYNAMIC",
        RadiationType=beam.radiation,
        TreatmentMachineName=beam.machine_name,
        Manufacturer="dosecalc",
        InstitutionName="",
        ManufacturerModelName="generic",
        PrimaryDosimeterUnit="MU",
        SourceAxisDistance=_decimal(beam.sad_mm),
        BeamLimitingDeviceSequence=Sequence(devices),
        ReferencedPatientSetupNumber=1,
        TreatmentDeliveryType="TREATMENT",
        NumberOfWedges=0,
        NumberOfCompensators=0,
        NumberOfBoli=0,
        NumberOfBlocks=0,
        FinalCumulativeMetersetWeight="1",
        NumberOfControlPoints=len(beam.control_points),
        PrimaryFluenceModeSequence=Sequence([_fluence_mode(beam)]),
    )
    points = [_first_point(beam)]
    points += [_later_point(beam, i) for i in range(1, len(beam.control_points))]
    ds.ControlPointSequence = Sequence(points)
    return ds


def _static(beam: Beam) -> bool:
    """Whether nothing moves between any two control points."""
    first = beam.control_points[0]
    return all(_same_state(first, c) for c in beam.control_points[1:])


def _same_state(a: ControlPoint, b: ControlPoint) -> bool:
    same_leaves = all(
        one is other or (one is not None and other is not None and np.array_equal(one, other))
        for one, other in ((a.leaves_mm, b.leaves_mm), (a.second_leaves_mm, b.second_leaves_mm))
    )
    return same_leaves and (a.gantry_deg, a.jaw_x_mm, a.jaw_y_mm) == (b.gantry_deg, b.jaw_x_mm, b.jaw_y_mm)


def _fluence_mode(beam: Beam) -> Dataset:
    if beam.fluence_mode == "STANDARD":
        return _item(FluenceMode="STANDARD")
    return _item(FluenceMode="NON_STANDARD", FluenceModeID=beam.fluence_mode)


def _first_point(beam: Beam) -> Dataset:
    point = beam.control_points[0]
    ds = _item(
        ControlPointIndex=0,
        NominalBeamEnergy=_decimal(beam.energy_mv or 0.0),
        DoseRateSet="400",
        BeamLimitingDevicePositionSequence=Sequence(_positions(beam, point, jaws=True)),
        GantryAngle=_decimal(point.gantry_deg),
        GantryRotationDirection=point.gantry_direction,
        BeamLimitingDeviceAngle=_decimal(point.collimator_deg),
        BeamLimitingDeviceRotationDirection="NONE",
        PatientSupportAngle=_decimal(point.couch_deg),
        PatientSupportRotationDirection="NONE",
        TableTopEccentricAngle="0",
        TableTopEccentricRotationDirection="NONE",
        TableTopPitchAngle=0.0,
        TableTopPitchRotationDirection="NONE",
        TableTopRollAngle=0.0,
        TableTopRollRotationDirection="NONE",
        IsocenterPosition=[_decimal(v) for v in point.isocentre_patient_mm],
        CumulativeMetersetWeight=_decimal(point.meterset_fraction),
    )
    for vertical in ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition"):
        setattr(ds, vertical, None)
    if point.ssd_mm is not None:
        ds.SourceToSurfaceDistance = _decimal(point.ssd_mm)
    return ds


def _later_point(beam: Beam, index: int) -> Dataset:
    """A control point that states only what changed, as planning systems do."""
    before, point = beam.control_points[index - 1], beam.control_points[index]
    ds = _item(ControlPointIndex=index, CumulativeMetersetWeight=_decimal(point.meterset_fraction))
    jaws = (before.jaw_x_mm, before.jaw_y_mm) != (point.jaw_x_mm, point.jaw_y_mm)
    if jaws or not _same_state(before, point):
        positions = _positions(beam, point, jaws=jaws)
        if positions:
            ds.BeamLimitingDevicePositionSequence = Sequence(positions)
    if point.gantry_deg != before.gantry_deg or point.gantry_direction != before.gantry_direction:
        ds.GantryAngle = _decimal(point.gantry_deg)
        ds.GantryRotationDirection = point.gantry_direction
    if point.ssd_mm is not None and point.ssd_mm != before.ssd_mm:
        ds.SourceToSurfaceDistance = _decimal(point.ssd_mm)
    return ds


def _positions(beam: Beam, point: ControlPoint, *, jaws: bool) -> list[Dataset]:
    positions = []
    if jaws:
        for kind, edges in (("ASYMX", point.jaw_x_mm), ("ASYMY", point.jaw_y_mm)):
            if edges is not None:
                positions.append(_item(RTBeamLimitingDeviceType=kind, LeafJawPositions=[_decimal(v) for v in edges]))
    for (kind, _), leaves in zip(_mlcs(beam), (point.leaves_mm, point.second_leaves_mm), strict=False):
        if leaves is not None:
            both_banks = leaves.T.ravel()
            positions.append(_item(RTBeamLimitingDeviceType=kind, LeafJawPositions=[_decimal(v) for v in both_banks]))
    return positions


def _mlcs(beam: Beam) -> list[tuple[str, MlcGeometry]]:
    """The layers of leaves with their device types: MLCX, or MLCX1 and MLCX2."""
    layers = [mlc for mlc in (beam.mlc, beam.second_mlc) if mlc is not None]
    stacked = len(layers) > 1
    return [(f"MLC{mlc.axis}{i if stacked else ''}", mlc) for i, mlc in enumerate(layers, start=1)]


def _item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, to 1e-6."""
    text = f"{float(value) + 0.0:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
