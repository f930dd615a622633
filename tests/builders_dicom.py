"""Small synthetic DICOM objects for tests: CT slices, and the file meta that every object needs.

Nothing here is anybody's data. Every builder returns a pydicom dataset that can be changed before it is written, so
that a test says only what is special about its case.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTDoseStorage,
    RTStructureSetStorage,
)

from benchmarks import dicom_check

ROOT = "1.2.826.0.1.3680043.10.9999"
STUDY = f"{ROOT}.1"
CT_SERIES = f"{ROOT}.2"
FRAME = f"{ROOT}.3"


def uid(*numbers: int) -> str:
    """A UID below the tests' root."""
    return ".".join([ROOT, *map(str, numbers)])


def file_dataset(
    sop_class: str, sop_instance: str, modality: str, *, transfer_syntax: str = ExplicitVRLittleEndian
) -> FileDataset:
    """An object with file meta, patient, study and series, and nothing of its own yet."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_instance
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = uid(0)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = sop_instance
    ds.Modality = modality
    ds.Manufacturer = "tests"
    ds.PatientName = "Phantom^Åsa"
    ds.PatientID = "TEST-1"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.StudyInstanceUID = STUDY
    ds.StudyDate = "20200101"
    ds.StudyTime = "120000"
    ds.StudyID = "1"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.SeriesInstanceUID = uid(90, sum(map(ord, modality)))
    ds.SeriesNumber = "1"
    return ds


def to_bytes(ds: Dataset) -> bytes:
    """The object as a DICOM file."""
    buffer = BytesIO()
    implicit = str(ds.file_meta.get("TransferSyntaxUID", "")) == ImplicitVRLittleEndian
    ds.save_as(buffer, enforce_file_format=False, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def save(ds: Dataset, path: Path) -> Path:
    """Write the object, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(ds))
    return path


def make_ct_slice(
    stored: NDArray[np.int16],
    position_mm: tuple[float, float, float],
    *,
    number: int = 1,
    spacing_mm: tuple[float, float] = (2.0, 2.0),
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    patient_position: str = "HFS",
    slope: float = 1.0,
    intercept: float = -1024.0,
    series: str = CT_SERIES,
    frame: str = FRAME,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> FileDataset:
    """One CT slice of stored values [row, column]; ``spacing_mm`` is (between rows, between columns)."""
    ds = file_dataset(CTImageStorage, f"{series}.{number}", "CT", transfer_syntax=transfer_syntax)
    ds.SeriesInstanceUID = series
    ds.FrameOfReferenceUID = frame
    ds.PositionReferenceIndicator = ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientPosition = patient_position
    ds.InstanceNumber = str(number)
    ds.AcquisitionNumber = "1"
    ds.KVP = "120"
    ds.ImagePositionPatient = [float(v) for v in position_mm]
    ds.ImageOrientationPatient = [float(v) for v in orientation]
    ds.PixelSpacing = [float(v) for v in spacing_mm]
    ds.SliceThickness = "3"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = 1 if stored.dtype.kind == "i" else 0
    ds.RescaleSlope = slope
    ds.RescaleIntercept = intercept
    ds.RescaleType = "HU"
    ds.add_new(0x7FE00010, "OW", np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<")).tobytes())
    return ds


def make_ct(
    hu: NDArray[np.floating] | NDArray[np.integer],
    *,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0),
    z_mm: list[float] | None = None,
    **slice_options: object,
) -> list[FileDataset]:
    """A head-first supine axial series from Hounsfield units [z, y, x]; ``spacing_mm`` is (dx, dy, dz)."""
    dx, dy, dz = spacing_mm
    z = z_mm if z_mm is not None else [origin_mm[2] + dz * k for k in range(len(hu))]
    return [
        make_ct_slice(
            np.round(np.asarray(plane) + 1024).astype(np.int16),
            (origin_mm[0], origin_mm[1], z[k]),
            number=k + 1,
            spacing_mm=(dy, dx),
            **slice_options,  # type: ignore[arg-type]
        )
        for k, plane in enumerate(hu)
    ]


def make_rtdose(
    stored: NDArray[np.unsignedinteger],
    *,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    spacing_mm: tuple[float, float] = (2.0, 2.0),
    offsets_mm: list[float] | None = None,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    scaling: float = 0.001,
    frame: str = FRAME,
    number: int = 1,
) -> FileDataset:
    """An RT Dose of stored values [frame, row, column]; ``spacing_mm`` is (between rows, between columns)."""
    ds = file_dataset(RTDoseStorage, uid(70, number), "RTDOSE")
    ds.FrameOfReferenceUID = frame
    ds.ImagePositionPatient = [float(v) for v in origin_mm]
    ds.ImageOrientationPatient = [float(v) for v in orientation]
    ds.PixelSpacing = [float(v) for v in spacing_mm]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    frames, ds.Rows, ds.Columns = stored.shape
    ds.NumberOfFrames = str(frames)
    ds.FrameIncrementPointer = 0x3004000C
    ds.GridFrameOffsetVector = offsets_mm if offsets_mm is not None else [3.0 * k for k in range(frames)]
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = 0
    ds.DoseUnits = "GY"
    ds.DoseType = "PHYSICAL"
    ds.DoseSummationType = "PLAN"
    ds.DoseGridScaling = scaling
    ds.add_new(0x7FE00010, "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())
    return ds


def dciodvfy_errors(data: bytes) -> list[str]:
    """Errors that dciodvfy (dicom3tools) finds in an object; skips the test where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    return dicom_check.dciodvfy_errors(data)


def make_rtstruct(
    contours: list[list[tuple[float, float, float]]],
    *,
    name: str = "Kropp åäö",
    kind: str = "EXTERNAL",
    frame: str = FRAME,
    number: int = 1,
    series: str | None = CT_SERIES,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> FileDataset:
    """A structure set of one structure; ``series`` is the CT that it refers to."""
    ds = file_dataset(RTStructureSetStorage, uid(80, number), "RTSTRUCT", transfer_syntax=transfer_syntax)
    ds.StructureSetLabel = "Test"
    ds.StructureSetDate, ds.StructureSetTime = "20200101", "120000"
    reference, study, image_series = Dataset(), Dataset(), Dataset()
    reference.FrameOfReferenceUID = frame
    if series is not None:
        image_series.SeriesInstanceUID = series
        study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", STUDY
        study.RTReferencedSeriesSequence = [image_series]
        reference.RTReferencedStudySequence = [study]
    ds.ReferencedFrameOfReferenceSequence = [reference]
    roi, drawn, observation = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ReferencedFrameOfReferenceUID, roi.ROIName = "1", frame, name
    roi.ROIGenerationAlgorithm = "MANUAL"
    drawn.ReferencedROINumber, drawn.ROIDisplayColor, drawn.ContourSequence = "1", [255, 0, 0], []
    for points in contours:
        contour = Dataset()
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = str(len(points))
        contour.ContourData = [float(v) for point in points for v in point]
        drawn.ContourSequence.append(contour)
    observation.ObservationNumber, observation.ReferencedROINumber = "1", "1"
    observation.RTROIInterpretedType, observation.ROIInterpreter = kind, ""
    ds.StructureSetROISequence = [roi]
    ds.ROIContourSequence = [drawn]
    ds.RTROIObservationsSequence = [observation]
    return ds


def square(z_mm: float, half_mm: float = 3.0) -> list[tuple[float, float, float]]:
    """A square contour about the axis."""
    return [(-half_mm, -half_mm, z_mm), (half_mm, -half_mm, z_mm), (half_mm, half_mm, z_mm), (-half_mm, half_mm, z_mm)]
