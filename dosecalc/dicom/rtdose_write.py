"""Write a computed dose as an RT Dose object (DICOM PS3.3 A.18.3)."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, RTDoseStorage

import dosecalc
from dosecalc.dicom.errors import RtDoseError
from dosecalc.dicom.pixels import MOST_VOXELS
from dosecalc.dicom.references import DoseReferences
from dosecalc.dose import BeamDose, Dose
from dosecalc.geometry import Grid

#: stored values stay below 2^31, so that a reader that takes them for signed is right too; one step is 5e-10 of the
#: maximum
LARGEST_STORED = 2**31 - 1
PRIVATE_GROUP = 0x3255
PRIVATE_CREATOR = "DOSECALC 1"


def derived_uid(*parts: str | bytes) -> str:
    """A UID that is always the same for the same content: 2.25 and a 128-bit hash (PS3.5, B.2)."""
    digest = hashlib.sha256()
    for part in parts:  # with its length, so that no two lists of parts look alike
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    # version and variant bits as in a UUID of version 8 (RFC 9562), which is what 2.25 stands for
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~(0xF << 76) | (0x8 << 76)
    return f"2.25.{number & ~(0x3 << 62) | (0x2 << 62)}"


def write_rtdose(dose: Dose, beam: BeamDose | None, references: DoseReferences) -> bytes:
    """An RT Dose file of the whole plan, or of one beam of it; dose in Gy over all fractions.

    The same input gives the same bytes: UIDs are derived from the content.

    Parameters
    ----------
    dose : Dose
    beam : BeamDose or None
        One of ``dose.beams`` for a dose of summation type BEAM; None for PLAN.
    references : DoseReferences
        Patient, study, plan and frame that the object joins.

    Raises
    ------
    RtDoseError
        ``DOSE_RANGE`` for dose that is negative or not finite; ``DOSE_TOO_LARGE`` for more voxels than an object can
        hold; ``DOSE_REFERENCES`` when there is no plan or study to refer to.
    """
    if not (references.plan_uid and references.study_uid):
        raise RtDoseError("DOSE_REFERENCES", "A written dose needs the UIDs of its plan and its study.")
    if dose.grid.size > MOST_VOXELS:
        raise RtDoseError(
            "DOSE_TOO_LARGE", f"A dose of more than {MOST_VOXELS} voxels is not written; coarsen the grid."
        )
    stored, scaling = quantise(beam.dose_gy if beam else dose.total_gy)
    ds = _empty_file()
    references.patient.copy_to(ds)
    _describe(ds, dose, beam, references)
    _place(ds, dose.grid)
    ds.DoseUnits = "GY"
    ds.DoseType = "PHYSICAL"
    ds.DoseSummationType = "BEAM" if beam else "PLAN"
    ds.DoseGridScaling = scaling
    ds.TissueHeterogeneityCorrection = _heterogeneity(dose.provenance.get("density_source", ""))
    ds.ReferencedRTPlanSequence = [_plan_reference(beam, references)]
    return _finished(ds, stored.tobytes(), dose, references)


def quantise(dose_gy: NDArray[np.float32]) -> tuple[NDArray[np.uint32], str]:
    """Stored values [frame, row, column] and the Dose Grid Scaling that brings them back to Gy.

    Raises
    ------
    RtDoseError
        ``DOSE_RANGE``.
    """
    lowest, highest = float(np.min(dose_gy)), float(np.max(dose_gy))
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise RtDoseError("DOSE_RANGE", "The computed dose holds a negative or a non-finite value and is not written.")
    # ten digits fit the 16 characters of a decimal string; the stored values are made with the rounded number itself
    scaling = f"{highest / LARGEST_STORED or 1e-6:.9E}"
    step = float(scaling)
    stored = np.empty(dose_gy.shape, dtype="<u4")
    for plane, out in zip(dose_gy, stored, strict=True):  # plane by plane: float64 of a whole grid is large
        np.rint(plane / np.float64(step), out=out, casting="unsafe")
    return stored, scaling


def _empty_file() -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTDoseStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(derived_uid("dosecalc", "implementation"))
    meta.ImplementationVersionName = f"DOSECALC {dosecalc.__version__}"[:16]
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = RTDoseStorage
    ds.Modality = "RTDOSE"
    return ds


def _describe(ds: Dataset, dose: Dose, beam: BeamDose | None, references: DoseReferences) -> None:
    """Series, equipment, and how the dose was made, for people and for programs."""
    ds.StudyInstanceUID = references.study_uid
    ds.SeriesNumber = None
    ds.InstanceNumber = str(beam.number) if beam else "0"
    ds.Manufacturer = "dosecalc"
    ds.ManufacturerModelName = "dosecalc"
    ds.SoftwareVersions = dosecalc.__version__
    ds.OperatorsName = ""
    if references.created is not None:
        ds.InstanceCreationDate = ds.SeriesDate = ds.ContentDate = references.created.strftime("%Y%m%d")
        ds.InstanceCreationTime = ds.SeriesTime = ds.ContentTime = references.created.strftime("%H%M%S")
    ds.FrameOfReferenceUID = references.frame_of_reference_uid or derived_uid("frame", references.plan_uid)
    ds.PositionReferenceIndicator = ""
    ds.SeriesDescription = _short(f"dosecalc {dosecalc.__version__} {dose.engine}, {dose.machine_name}")
    ds.DoseComment = _short(f"{dose.quantity}; {dose.engine}; not for clinical use")
    ds.ImageComments = (
        f"dosecalc {dosecalc.__version__}; algorithm {dose.engine}; {dose.quantity}; dose of all fractions in Gy; "
        f"machine model {dose.machine_name}, sha256 {dose.machine_sha256}"
    )[:10000]
    facts: dict[str, object] = {
        "software": f"dosecalc {dosecalc.__version__}",
        "engine": dose.engine,
        "quantity": dose.quantity,
        # not as a Referenced Structure Set Sequence: that belongs to the RT DVH module, and there are no DVHs in here
        "structure_set_uid": references.structure_set_uid,
        "machine": dose.machine_name,
        "machine_sha256": dose.machine_sha256,
        "provenance": dict(dose.provenance),
        "warnings": list(dose.warnings),
    }
    if beam:
        facts |= {"beam": {"number": beam.number, "mu": beam.mu, **beam.info}}
    block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "UT", json.dumps(facts, sort_keys=True, ensure_ascii=False, default=str))


def _heterogeneity(density_source: str) -> list[str]:
    """Where density came from, as Tissue Heterogeneity Correction says it."""
    if density_source.startswith("bulk"):
        return ["ROI_OVERRIDE"]
    return ["IMAGE", "ROI_OVERRIDE"] if density_source.endswith("stated densities") else ["IMAGE"]


def _short(text: str) -> str:
    return text[:64].replace("\\", "/").strip()


def _place(ds: Dataset, grid: Grid) -> None:
    dx, dy, dz = grid.spacing_mm
    frames, rows, columns = grid.shape
    ds.ImageType = ["DERIVED", "SECONDARY", "DOSE"]
    ds.ImagePositionPatient = [_decimal(v) for v in grid.origin_mm]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = [_decimal(dy), _decimal(dx)]
    ds.SliceThickness = _decimal(dz)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = str(frames)
    ds.FrameIncrementPointer = 0x3004000C
    ds.GridFrameOffsetVector = [_decimal(dz * k) for k in range(frames)]
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 32, 32, 31, 0


def _decimal(number: float) -> str:
    """A decimal string of at most 16 characters, good to a nanometre."""
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _plan_reference(beam: BeamDose | None, references: DoseReferences) -> Dataset:
    plan = _reference(references.plan_class_uid, references.plan_uid)
    if beam:
        plan.ReferencedFractionGroupSequence = [
            _fraction_group(number, beam.number) for number in references.beam_fraction_groups.get(beam.number) or (1,)
        ]
    return plan


def _fraction_group(number: int, beam_number: int) -> Dataset:
    group, reference = Dataset(), Dataset()
    reference.ReferencedBeamNumber = str(beam_number)
    group.ReferencedFractionGroupNumber = str(number)
    group.ReferencedBeamSequence = [reference]
    return group


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class
    reference.ReferencedSOPInstanceUID = sop_instance
    return reference


def _finished(ds: FileDataset, pixels: bytes, dose: Dose, references: DoseReferences) -> bytes:
    """Give the object its pixels, and UIDs that are derived from everything it holds, and encode it."""
    # one series for the doses of one computation: plan and beams share it
    ds.SeriesInstanceUID = derived_uid(
        "series", references.study_uid, references.plan_uid, dose.total_gy.tobytes(), str(dose.grid)
    )
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("2.25.0")
    instance = UID(derived_uid("instance", _encoded(ds), pixels))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = instance
    ds.add_new(0x7FE00010, "OW", pixels)
    return _encoded(ds)


def _encoded(ds: FileDataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()
