"""Dose to water in the medium: dose to the medium times the ratio of stopping powers, water to medium."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dosecalc.machine import Machine
from dosecalc.machine.model import Energy, Spectrum, spectrum_nodes
from dosecalc.photon.electron_materials import electron_material
from dosecalc.photon.electron_source import source_electrons
from dosecalc.photon.stopwatch import Stopwatch
from dosecalc.plan import Beam
from dosecalc_kernels.registry import Backend

FloatArray = NDArray[np.float64]

#: where Bethe's formula begins to hold; electrons below deposit what they have on the spot
_LEAST_MEV = 0.01


class _ToMedium(Protocol):
    device: Backend
    stopwatch: Stopwatch

    def beam_dose(
        self,
        beam: Beam,
        machine: Machine,
        energy: Energy,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[NDArray[np.float32], dict[str, str]]: ...


class DoseToWater:
    """An engine whose dose to medium becomes dose to water in the medium.

    Parameters
    ----------
    engine : an engine that gives dose to medium
    material : uint8 [z, y, x]
        Index into ``materials`` per voxel of the engine's grid.
    materials : tuple of str
        Names of the attenuation table.
    """

    def __init__(self, engine: _ToMedium, material: NDArray[np.uint8], materials: tuple[str, ...]) -> None:
        self._engine = engine
        self._material = material
        self._materials = materials
        self.device = engine.device
        self.stopwatch = engine.stopwatch

    def beam_dose(
        self,
        beam: Beam,
        machine: Machine,
        energy: Energy,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[NDArray[np.float32], dict[str, str]]:
        """Dose to water per MU, float32 [z, y, x], Gy/MU, and facts for the records; raises what the engine raises."""
        dose, facts = self._engine.beam_dose(beam, machine, energy, progress, cancelled)
        ratio = np.array([water_to_medium(energy.spectrum, m) for m in self._materials], np.float32)
        return dose * ratio[self._material], facts


@lru_cache(maxsize=256)
def water_to_medium(spectrum: Spectrum, material: str) -> float:
    """Mean ratio of the collision stopping powers of water and a material for the electrons of a photon beam.

    The electrons of the first interactions slow down continuously, so that in the material there are N(E)/S_m(E) of
    them per energy, N(E) the number that started above E, and

        s = integral N S_w/S_m dE / integral N dE

    (the ratio of Siebers, Keall, Nahum and Mohan 2000, Phys Med Biol 45:983, there from Monte Carlo; unrestricted
    stopping powers here).

    Parameters
    ----------
    spectrum : Spectrum
        Of the photons at the surface.
    material : str
        A name of the attenuation table.

    Raises
    ------
    MachineError
        ``MATERIAL_UNKNOWN`` for a material without a composition.
    """
    if material == "water":
        return 1.0
    electrons = source_electrons(*spectrum_nodes(spectrum))
    energy = np.geomspace(_LEAST_MEV, electrons.energy_mev.max(), 200)
    order = np.argsort(electrons.energy_mev)
    sums = np.concatenate([[0.0], np.cumsum(electrons.number[order])])
    above = sums[-1] - sums[np.searchsorted(electrons.energy_mev[order], energy)]
    ratio = electron_material("water").collision(energy) / electron_material(material).collision(energy)
    at_rest = above[0] * _LEAST_MEV  # the last 10 keV of every track
    own = np.trapezoid(above, energy) + at_rest
    return float((np.trapezoid(above * ratio, energy) + at_rest * ratio[0]) / own)
