"""A CT image in Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

from dosecalc.geometry import Volume


@dataclass(frozen=True, eq=False)
class CtImage:
    """A CT series as one regular volume.

    Parameters
    ----------
    hu : Volume
        Hounsfield units, axes along +x, +y, +z of the patient frame.
    patient_position : str
        HFS, HFP, …, as the scanner wrote it.
    frame_of_reference_uid, series_uid, study_uid : str or None
    manufacturer, model, kvp : str
        What a calibration curve may be chosen by; empty when absent. Nothing here identifies a person.
    notes : tuple of str
        What the reader did that a physicist should know (resampled slices, ...).
    """

    hu: Volume
    patient_position: str
    frame_of_reference_uid: str | None = None
    series_uid: str | None = None
    study_uid: str | None = None
    manufacturer: str = ""
    model: str = ""
    kvp: str = ""
    notes: tuple[str, ...] = ()
