"""The result of a dose computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dosecalc.geometry import Grid, Volume


@dataclass(frozen=True, eq=False)
class BeamDose:
    """Dose of one beam, all fractions.

    Parameters
    ----------
    number, name : int, str
        Of the plan's beam.
    dose_gy : float32 [z, y, x]
        Gy to the whole plan.
    mu : float
        Total MU over all fractions.
    info : mapping of str to str
        Per-beam facts for the records (machine model and energy used, SSD found, transports done, …).
    """

    number: int
    name: str
    dose_gy: NDArray[np.float32]
    mu: float
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dose:
    """Dose of a plan on a grid.

    Parameters
    ----------
    grid : Grid
    total_gy : float32 [z, y, x]
        Gy to the whole plan (all fractions): the sum of the beams.
    beams : tuple of BeamDose
    quantity : str
        Dose convention: ``dose to medium``, ``dose to water``, ``dose to water-equivalent medium``, as the engine says.
    engine, machine_name, machine_sha256 : str
        Algorithm and machine model that made it.
    provenance : mapping of str to str
        Everything else that a rerun needs: versions, settings, curve hashes. No personal data.
    seconds : mapping of str to float
        Wall time by step (``compile``, ``fluence``, ``terma``, ``transport``, …).
    warnings : tuple of str
        What a physicist should read (SSD differs from the plan's, …).
    """

    grid: Grid
    total_gy: NDArray[np.float32]
    beams: tuple[BeamDose, ...]
    quantity: str
    engine: str
    machine_name: str
    machine_sha256: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def volume(self) -> Volume:
        """The plan's dose as a volume, Gy."""
        return Volume(self.grid, self.total_gy)
