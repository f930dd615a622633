"""A spectrum with everything the ray tracing needs: attenuation of each material on two bases, energy released."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.machine.model import Energy, spectrum_nodes
from dosecalc.photon.kernel import collision_fraction, hardening_weights
from dosecalc.photon.tables import attenuation_table

FloatArray = NDArray[np.float64]

GY_PER_MEV_G = 1.602176634e-10
#: the two materials whose attenuation the others are combined from
BASIS = ("water", "bone_cortical_icrp")
#: Tailor et al. 1998, Med Phys 25:662: mu(theta)/mu(0) = 1 + a theta + b theta^2 + c theta^3, theta in degrees
SOFTENING = {"none": (0.0, 0.0, 0.0), "tailor1998": (0.00181, 0.00202, -0.0000942)}


@dataclass(frozen=True, eq=False)
class SpectralModel:
    """Attenuation and release per energy of a beam quality.

    Parameters
    ----------
    mu_basis : float64 [2, n]
        mu/rho of the basis materials, cm2/g.
    combination : float64 [materials, 2]
        mu/rho of each material as a combination of the basis, by weighted least squares.
    combination_error : float
        Largest relative error of that in the effective attenuation of a material, after 10 g/cm2.
    release_kerma, release_scerma : float64 [materials, n]
        Gy per (photon/cm2) of the whole spectrum at the point, before attenuation, each energy with its weight of
        `hardening_weights`.
    softening : (a, b, c)
    """

    mu_basis: FloatArray
    combination: FloatArray
    combination_error: float
    release_kerma: FloatArray
    release_scerma: FloatArray
    softening: tuple[float, float, float]


def spectral_model(energy: Energy, materials: tuple[str, ...], quantity: str) -> SpectralModel:
    """Prepare a beam quality for a patient's materials.

    Parameters
    ----------
    energy : Energy
    materials : tuple of str
        Names of the attenuation table.
    quantity : 'water_equivalent' or 'medium'
        Whether a voxel releases energy as water does, per mass, or as its own material.
    """
    energies, photons = spectrum_nodes(energy.spectrum)
    table = attenuation_table()
    basis = np.array([table.coefficients(m, energies)[0] for m in BASIS])
    fraction = collision_fraction(energies)
    weight_kerma, weight_scerma = hardening_weights(energies, photons * energies)
    mu_water, tr_water = table.coefficients("water", energies)
    combination, kerma, scerma, errors = [], [], [], []
    weight = photons * energies * np.exp(-5 * mu_water)
    for m in materials:
        mu, tr = table.coefficients(m, energies)
        w = np.sqrt(weight)
        c = np.linalg.lstsq((basis * w).T, mu * w, rcond=None)[0]
        combination.append(c)
        errors.append(_effective_error(weight, mu, c @ basis))
        mu_r, ratio = (mu, tr / mu / (tr_water / mu_water)) if quantity == "medium" else (mu_water, np.ones_like(mu))
        terma = photons * energies * mu_r * GY_PER_MEV_G
        kerma.append(weight_kerma * terma * fraction * ratio)
        scerma.append(weight_scerma * terma * (1 - fraction * ratio))
    return SpectralModel(
        basis,
        np.array(combination),
        float(max(errors)),
        np.array(kerma),
        np.array(scerma),
        SOFTENING[energy.off_axis.softening],
    )


def _effective_error(weight: FloatArray, true: FloatArray, fitted: FloatArray) -> float:
    a, b = (-np.log((weight * np.exp(-10 * m)).sum() / weight.sum()) for m in (true, fitted))
    return float(abs(b / a - 1))
