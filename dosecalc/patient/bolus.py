"""Boluses kept apart from the patient, because only the beams that they are planned for see them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PatientError
from dosecalc.geometry import Volume
from dosecalc.patient.materials import AIR_DENSITY_G_CM3

if TYPE_CHECKING:
    from dosecalc.patient.model import Patient


@dataclass(frozen=True, eq=False)
class BolusLayer:
    """What one bolus adds to the patient's density, in the voxels where it lies outside.

    Parameters
    ----------
    number, name : int, str
        Of the structure.
    voxels : int64 [n]
        Flat indices into the patient's grid.
    share, room : float32 [n]
        Share of each voxel that the bolus covers, and the share that neither patient nor couch covers: with several
        boluses on one voxel no more than that is filled.
    density_g_cm3 : float32 [n]
    material : uint8 [n]
        Index into the patient's materials.
    problem : PatientError or None
        Why it cannot be used, for a beam that needs it.
    """

    number: int
    name: str
    voxels: NDArray[np.int64]
    share: NDArray[np.float32]
    room: NDArray[np.float32]
    density_g_cm3: NDArray[np.float32]
    material: NDArray[np.uint8]
    problem: PatientError | None = None


def with_boluses(patient: Patient, numbers: Collection[int]) -> Patient:
    """The patient with some of its boluses on.

    Parameters
    ----------
    patient : Patient
    numbers : collection of int
        Structure numbers.

    Returns
    -------
    Patient
        The same one when there are no numbers; else with ``boluses`` empty, for they have become density.

    Raises
    ------
    PatientError
        ``BOLUS_UNKNOWN`` for a structure that is no bolus of the patient, and what its layer could not be built for:
        ``BOLUS_WITHOUT_DENSITY``, ``BOLUS_INSIDE_PATIENT``, ``BOLUS_OUTSIDE_CT``.
    """
    if not numbers:
        return patient
    layers = [_layer(patient, number) for number in sorted(numbers)]
    density, material = patient.density.values.copy(), patient.material.copy()
    flat_density, flat_material = density.reshape(-1), material.reshape(-1)
    filled = np.zeros(density.size if len(layers) > 1 else 0, np.float32)
    for layer in layers:
        share = layer.share
        if len(layers) > 1:
            share = np.clip(layer.room - filled[layer.voxels], 0.0, share)
            filled[layer.voxels] += share
        rest = flat_density[layer.voxels] - share * np.float32(AIR_DENSITY_G_CM3)
        mass = share * layer.density_g_cm3
        flat_density[layer.voxels] = rest + mass
        heaviest = mass > rest
        flat_material[layer.voxels[heaviest]] = layer.material[heaviest]
    return replace(patient, density=Volume(patient.density.grid, density), material=material, boluses=())


def check_boluses(patient: Patient, numbers: Collection[int]) -> None:
    """Raise what `with_boluses` would raise, without making anything."""
    for number in sorted(numbers):
        _layer(patient, number)


def _layer(patient: Patient, number: int) -> BolusLayer:
    layer = next((b for b in patient.boluses if b.number == number), None)
    if layer is None:
        known = ", ".join(f"{b.number} ({b.name})" for b in patient.boluses) or "none"
        raise PatientError(
            "BOLUS_UNKNOWN",
            f"Structure {number} is no bolus outside the patient; there are {known}. It needs the type BOLUS in the "
            "structure set, and an External that it lies on.",
            structure=number,
        )
    if layer.problem is not None:
        raise layer.problem
    return layer
