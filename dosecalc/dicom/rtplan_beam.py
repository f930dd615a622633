"""One beam of an RT Plan."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.dicom.errors import RtPlanError
from dosecalc.dicom.rtplan_accessories import read_accessories
from dosecalc.dicom.rtplan_control_points import read_control_points
from dosecalc.dicom.rtplan_devices import read_devices
from dosecalc.dicom.rtplan_modifiers import read_modifiers
from dosecalc.geometry.frames import PATIENT_POSITIONS
from dosecalc.plan import Beam


def read_beam(item: Dataset, number: int, name: str, setups: tuple[Dataset, ...], file: str) -> Beam:
    """One item of the Beam Sequence that is delivered.

    Parameters
    ----------
    item : Dataset
    number, name : int, str
        Already read from it.
    setups : tuple of Dataset
        The plan's Patient Setup Sequence.
    file : str
        Name of the file, for messages.

    Raises
    ------
    RtPlanError
        ``PATIENT_SETUP_MISSING``, ``PATIENT_POSITION_UNKNOWN``, or what the control points, devices and `values` have
        wrong.
    """
    setup = _patient_setup(item, setups, file)
    devices = read_devices(item, file)
    control_points = values.items(item, "ControlPointSequence", file, required=True, error=RtPlanError)
    accessories = read_accessories(item, control_points, file)
    points = read_control_points(item, control_points, devices, accessories.wedges_in, file)
    return Beam(
        number=number,
        name=name,
        machine_name=values.text(item, "TreatmentMachineName", file, "", error=RtPlanError),
        radiation=values.text(item, "RadiationType", file, "", error=RtPlanError).upper(),
        energy_mv=_energy(control_points[0], file),
        fluence_mode=_fluence_mode(item, file),
        # positions of jaws and leaves are given at this distance; it is never assumed
        sad_mm=values.number(item, "SourceAxisDistance", file, minimum=100.0, maximum=10_000.0, error=RtPlanError),
        patient_position=_patient_position(setup, file),
        mlc=devices.layer(0),
        control_points=points,
        modifiers=(*accessories.lacking, *read_modifiers(item, control_points, points, devices, setup, file)),
        delivery_type=values.text(item, "TreatmentDeliveryType", file, "TREATMENT", error=RtPlanError).upper(),
        accessories=accessories.modelled,
        second_mlc=devices.layer(1),
    )


def _energy(first: Dataset, file: str) -> float | None:
    energy = values.number(first, "NominalBeamEnergy", file, None, minimum=0.0, maximum=10_000.0, error=RtPlanError)
    return energy or None


def _fluence_mode(item: Dataset, file: str) -> str:
    """``STANDARD`` (also when the plan says nothing), or the identifier of the mode, ``FFF`` as a rule."""
    modes = values.items(item, "PrimaryFluenceModeSequence", file, error=RtPlanError)
    if not modes:
        return "STANDARD"
    mode = values.text(modes[0], "FluenceMode", file, "STANDARD", error=RtPlanError).upper()
    if mode == "STANDARD":
        return mode
    return values.text(modes[0], "FluenceModeID", file, mode, error=RtPlanError).upper()


def _patient_setup(item: Dataset, setups: tuple[Dataset, ...], file: str) -> Dataset:
    number = values.integer(item, "ReferencedPatientSetupNumber", file, None, error=RtPlanError)
    if number is None and len(setups) == 1:
        return setups[0]
    for setup in setups:
        if number is not None and values.integer(setup, "PatientSetupNumber", file, None, error=RtPlanError) == number:
            return setup
    why = "names no patient setup" if number is None else f"names patient setup {number}, which is not there"
    raise RtPlanError(
        "PATIENT_SETUP_MISSING",
        f"The beam {why}, so the patient's position is not known; export the plan with its patient setups.",
        file=file,
        tag=values.tag_name("ReferencedPatientSetupNumber"),
    )


def _patient_position(setup: Dataset, file: str) -> str:
    position = values.text(setup, "PatientPosition", file, "", error=RtPlanError).upper()
    if position not in PATIENT_POSITIONS:
        what = "is missing" if not position else "is not one that is modelled"
        raise RtPlanError(
            "PATIENT_POSITION_UNKNOWN",
            f"The patient position of the beam's setup {what}; it must be one of {', '.join(PATIENT_POSITIONS)}.",
            file=file,
            tag=values.tag_name("PatientPosition"),
        )
    return position
