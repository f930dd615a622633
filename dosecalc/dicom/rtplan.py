"""RT Plan to `Plan`. Everything that changes dose is read; what is not modelled is refused later, by name."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import DicomError, RtPlanError
from dosecalc.dicom.parse import parse
from dosecalc.dicom.rtplan_beam import read_beam
from dosecalc.dicom.rtplan_context import beam_label, within
from dosecalc.dicom.rtplan_fractions import read_fraction_groups, without
from dosecalc.errors import DosecalcError
from dosecalc.plan import Beam, FractionGroup, Plan


def read_rtplan(source: Dataset | Path | str, file: str | None = None) -> Plan:
    """Read an RT Plan.

    Parameters
    ----------
    source : Dataset or path
        The object, or its file.
    file : str, optional
        Name to give in messages; by default the path's own name.

    Returns
    -------
    Plan
        Beams that are delivered, every control point complete. Setup beams and beams without monitor units are named in
        ``skipped_beams``; what was assumed is in ``notes``.

    Raises
    ------
    RtPlanError
        With a stable reason, the file, and where it applies the tag, the beam and the control point.
    """
    dataset, name = (source, file or "RTPLAN") if isinstance(source, Dataset) else _open(Path(source), file)
    try:
        return _read(dataset, name)
    except RtPlanError:
        raise
    except DosecalcError as error:  # a check of the domain types that the reader did not foresee
        raise RtPlanError(error.reason, error.message, **{"file": name, **error.where}) from None


def _open(path: Path, file: str | None) -> tuple[Dataset, str]:
    name = file or path.name
    try:
        return parse(path.read_bytes(), name), name
    except OSError as cause:
        raise RtPlanError("FILE_UNREADABLE", f"Cannot be read ({type(cause).__name__}).", file=name) from None
    except DicomError as error:
        raise RtPlanError(error.reason, error.message, **error.where) from None


def _read(ds: Dataset, file: str) -> Plan:
    _check_kind(ds, file)
    groups = read_fraction_groups(ds, file)
    setups = values.items(ds, "PatientSetupSequence", file, error=RtPlanError)
    beams, skipped, assumed = _read_beams(ds, groups, setups, file)
    kept = {beam.number: beam for beam in beams}
    return Plan(
        label=values.text(ds, "RTPlanLabel", file, "", error=RtPlanError),
        beams=tuple(beams),
        fraction_groups=tuple(without(group, kept) for group in groups),
        sop_instance_uid=values.text(ds, "SOPInstanceUID", file, None, error=RtPlanError),
        frame_of_reference_uid=values.text(ds, "FrameOfReferenceUID", file, None, error=RtPlanError),
        structure_set_uid=_structure_set(ds, file),
        prescription_gy=_prescription(ds, groups, file),
        skipped_beams=tuple(skipped),
        notes=tuple(f"Beam {', '.join(labels)}: {what}." for what, labels in assumed.items()),
    )


def _check_kind(ds: Dataset, file: str) -> None:
    modality = values.text(ds, "Modality", file, "", error=RtPlanError).upper()
    if modality and modality != "RTPLAN":
        raise RtPlanError("NOT_AN_RTPLAN", "This is not an RT Plan.", file=file, tag=values.tag_name("Modality"))
    if values.present(ds, "IonBeamSequence"):
        raise RtPlanError(
            "ION_PLAN_NOT_SUPPORTED", "This is an RT Ion Plan; proton and ion beams are not computed.", file=file
        )
    if values.present(ds, "ApplicationSetupSequence"):
        raise RtPlanError("BRACHY_NOT_SUPPORTED", "This is a brachytherapy plan, which is not computed.", file=file)


def _read_beams(
    ds: Dataset, groups: tuple[FractionGroup, ...], setups: tuple[Dataset, ...], file: str
) -> tuple[list[Beam], list[str], dict[str, list[str]]]:
    """The beams that are delivered, those that are not with the reason, and what was assumed of which beams."""
    beams: list[Beam] = []
    skipped: list[str] = []
    assumed: dict[str, list[str]] = {}
    numbers: set[int] = set()
    for item in values.items(ds, "BeamSequence", file, required=True, error=RtPlanError):
        number = values.integer(item, "BeamNumber", file, error=RtPlanError)
        name = values.text(item, "BeamName", file, "", error=RtPlanError)
        label = beam_label(number, name)
        if number in numbers:
            raise RtPlanError("BEAM_NUMBER_DUPLICATE", f"Two beams have the number {number}.", file=file, beam=label)
        numbers.add(number)
        with within(beam=label):
            why = _why_skipped(item, number, groups, file)
            if why:
                skipped.append(f"{label}: {why}")
                continue
            beams.append(read_beam(item, number, name, setups, file))
            for what in _assumptions(item):
                assumed.setdefault(what, []).append(label)
    _check_references(numbers, groups, file)
    if not beams:
        listed = "; ".join(skipped)
        raise RtPlanError("NO_TREATMENT_BEAM", f"No beam of the plan gives dose ({listed}).", file=file)
    return beams, skipped, assumed


def _why_skipped(item: Dataset, number: int, groups: tuple[FractionGroup, ...], file: str) -> str | None:
    metersets = [group.beam_mu[number] for group in groups if number in group.beam_mu]
    if values.text(item, "TreatmentDeliveryType", file, "", error=RtPlanError).upper() == "SETUP":
        mu = sum(metersets)
        return "setup beam" + (f" ({mu:g} MU)" if mu else "")
    if not metersets:
        return "no fraction group gives it a meterset"
    return None if sum(metersets) > 0 else "0 MU"


def _check_references(numbers: set[int], groups: tuple[FractionGroup, ...], file: str) -> None:
    for group in groups:
        for number, mu in group.beam_mu.items():
            if number not in numbers and mu > 0:
                raise RtPlanError(
                    "BEAM_UNKNOWN",
                    f"Fraction group {group.number} gives {mu:g} MU to beam {number}, which is not in the plan.",
                    file=file,
                    beam=number,
                )


def _assumptions(item: Dataset) -> list[str]:
    """What an absent attribute is taken to mean, for the record."""
    assumed = []
    if not values.present(item, "PrimaryFluenceModeSequence"):
        assumed.append("no primary fluence mode is given, a flattened beam is assumed")
    if not values.present(item, "FinalCumulativeMetersetWeight"):
        assumed.append("no final cumulative meterset weight is given, that of the last control point is taken")
    if not values.present(item, "ReferencedPatientSetupNumber"):
        assumed.append("no patient setup is named, the only one of the plan is taken")
    return assumed


def _structure_set(ds: Dataset, file: str) -> str | None:
    references = values.items(ds, "ReferencedStructureSetSequence", file, error=RtPlanError)
    return values.text(references[0], "ReferencedSOPInstanceUID", file, None, error=RtPlanError) if references else None


def _prescription(ds: Dataset, groups: tuple[FractionGroup, ...], file: str) -> float | None:
    """The largest target prescription; None when there are several that belong to different fraction groups.

    Groups may follow one another on one target or run side by side on two: their prescriptions make no single dose.
    """
    doses = []
    for reference in values.items(ds, "DoseReferenceSequence", file, error=RtPlanError):
        if values.text(reference, "DoseReferenceType", file, "", error=RtPlanError).upper() == "TARGET":
            dose = values.number(reference, "TargetPrescriptionDose", file, None, minimum=0.0, error=RtPlanError)
            doses += [dose] if dose else []
    if not doses or (len(groups) > 1 and len(doses) > 1):
        return None
    return max(doses)
