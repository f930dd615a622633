"""What the dose engine sees of a patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PatientError
from dosecalc.geometry import Volume
from dosecalc.patient.bolus import BolusLayer
from dosecalc.patient.structures import StructureSet


@dataclass(frozen=True, eq=False)
class Patient:
    """Mass density and material on a grid.

    Parameters
    ----------
    density : Volume
        Mass density, g/cm3; at the resolution of the CT (or of the bulk-density grid).
    material : uint8 [z, y, x]
        Index into ``materials`` per voxel, on the grid of ``density``.
    materials : tuple of str
        Names of the attenuation table (``water``, ``lung_icru44``, …).
    patient_position : str
        HFS, HFP, …
    structures : StructureSet or None
        For DVHs; the density already contains what they override.
    frame_of_reference_uid, study_uid : str or None
    density_source : str
        How density was found (the name and hash of the calibration curve, or ``bulk``), for the records.
    notes : tuple of str
    boluses : tuple of BolusLayer
        Boluses that are not in the density, see `with_boluses`.
    """

    density: Volume
    material: NDArray[np.uint8]
    materials: tuple[str, ...]
    patient_position: str
    structures: StructureSet | None = None
    frame_of_reference_uid: str | None = None
    study_uid: str | None = None
    density_source: str = ""
    notes: tuple[str, ...] = ()
    boluses: tuple[BolusLayer, ...] = ()

    def __post_init__(self) -> None:
        if self.material.shape != self.density.grid.shape or self.material.dtype != np.uint8:
            raise PatientError("MATERIAL_SHAPE", "The material array must be uint8 and have the shape of the density.")
        if int(self.material.max(initial=0)) >= len(self.materials):
            raise PatientError("MATERIAL_UNKNOWN", "A voxel names a material that is not in the list.")
