"""Electrons that a photon spectrum sets in motion in water: energies and directions, by closed forms.

Compton recoil electrons after Klein and Nishina (free electrons); pairs share their energy evenly over all splits and
leave at the leading term of their angular distribution (Motz, Olsen and Koch 1969, Rev Mod Phys 41:581, eq. 3D-2003
without screening). Photoelectrons carry less than 0.1 % of the energy in the spectra of linear accelerators and are
left out; positrons count as electrons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.photon.electron_materials import AVOGADRO, CLASSICAL_RADIUS_CM, ELECTRON_REST_MEV
from dosecalc.photon.tables import attenuation_table

FloatArray = NDArray[np.float64]

_ELECTRONS_PER_GRAM_WATER = 0.55508 * AVOGADRO
_SPLITS = 64
_ANGLES = 24


@dataclass(frozen=True, eq=False)
class SourceElectrons:
    """Electrons set in motion: a list of (kinetic energy, polar angle, number).

    Parameters
    ----------
    energy_mev, angle_rad, number : float64 [n]
        Angles are from the photon's direction; numbers are relative.
    """

    energy_mev: FloatArray
    angle_rad: FloatArray
    number: FloatArray


def source_electrons(energies_mev: FloatArray, photons: FloatArray) -> SourceElectrons:
    """Electrons of the first interactions of a photon spectrum in water.

    Parameters
    ----------
    energies_mev : float64 [n]
        Within the attenuation table.
    photons : float64 [n]
        Fluence of each energy where they interact, any unit.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE``
    """
    mu, _ = attenuation_table().coefficients("water", energies_mev)
    parts = []
    for energy, fluence, total in zip(energies_mev, photons, mu, strict=True):
        electron_energy, angle, number = _compton(float(energy))
        parts.append((electron_energy, angle, fluence * number))
        pairs = total - number.sum()
        if energy > 2 * ELECTRON_REST_MEV and pairs > 0:
            electron_energy, angle, number = _pair(float(energy))
            parts.append((electron_energy, angle, fluence * pairs * number))
    return SourceElectrons(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _compton(energy_mev: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Recoil energies, angles, and cm2/g of each."""
    k = energy_mev / ELECTRON_REST_MEV
    edges = np.linspace(0, 2 * k * k / (1 + 2 * k), _SPLITS + 1)  # recoil energy in m c2
    t = (edges[1:] + edges[:-1]) / 2
    scattered = k - t
    cos_photon = 1 - t / (k * scattered)
    # d sigma/d t = pi r^2 / k^2 (k/k' + k'/k - sin^2)
    per_t = np.pi * CLASSICAL_RADIUS_CM**2 / k**2 * (k / scattered + scattered / k - 1 + cos_photon**2)
    cos_electron = (1 + k) / k * np.sqrt(t / (t + 2))
    number = per_t * np.diff(edges) * _ELECTRONS_PER_GRAM_WATER
    return t * ELECTRON_REST_MEV, np.arccos(np.minimum(cos_electron, 1.0)), number


def _pair(energy_mev: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Energies, angles and numbers of both particles of one pair."""
    shared = energy_mev - 2 * ELECTRON_REST_MEV
    kinetic = shared * (np.arange(_SPLITS) + 0.5) / _SPLITS
    total = kinetic + ELECTRON_REST_MEV
    beta = np.sqrt(1 - (ELECTRON_REST_MEV / total) ** 2)[:, None]
    # quantiles of d P ~ sin / (1 - beta cos)^2
    u = (np.arange(_ANGLES) + 0.5) / _ANGLES
    cos = ((1 + beta) * u - (1 - beta) * (1 - u)) / ((1 + beta) * u + (1 - beta) * (1 - u))
    number = np.full(cos.shape, 2 / cos.size)
    return np.repeat(kinetic, _ANGLES), np.arccos(np.clip(cos, -1, 1)).ravel(), number.ravel()
