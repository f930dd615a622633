"""The tables that ship with the photon engines: attenuation, point kernels, published spectra."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dosecalc.errors import MachineError

FloatArray = NDArray[np.float64]


def _load(name: str) -> dict[str, NDArray[Any]]:
    with np.load(BytesIO((resources.files("dosecalc.photon") / "data" / name).read_bytes())) as f:
        return {k: f[k] for k in f.files}


@dataclass(frozen=True, eq=False)
class AttenuationTable:
    """mu/rho and mu_tr/rho of materials, cm2/g.

    Parameters
    ----------
    materials : tuple of str
    energies_mev : float64 [n]
    mu, mu_tr : float64 [materials, n]
        Mass attenuation and mass energy-transfer coefficients, cm2/g.
    """

    materials: tuple[str, ...]
    energies_mev: FloatArray
    mu: FloatArray
    mu_tr: FloatArray

    def coefficients(self, material: str, energies_mev: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(mu/rho, mu_tr/rho) of a material at some energies, cm2/g; log-log interpolation.

        Raises
        ------
        MachineError
            ``MATERIAL_UNKNOWN``; ``ENERGY_OUTSIDE_TABLE`` for energies that the table does not cover.
        """
        if material not in self.materials:
            raise MachineError(
                "MATERIAL_UNKNOWN", f"There are no coefficients for {material!r}; known: {', '.join(self.materials)}."
            )
        lo, hi = self.energies_mev[0], self.energies_mev[-1]
        if energies_mev.min() < lo or energies_mev.max() > hi:
            raise MachineError(
                "ENERGY_OUTSIDE_TABLE",
                f"Photon energies from {energies_mev.min():g} to {energies_mev.max():g} MeV are asked for; "
                f"the attenuation table covers {lo:g} to {hi:g} MeV.",
            )
        i = self.materials.index(material)
        x, x0 = np.log(energies_mev), np.log(self.energies_mev)
        return np.exp(np.interp(x, x0, np.log(self.mu[i]))), np.exp(np.interp(x, x0, np.log(self.mu_tr[i])))


@cache
def attenuation_table() -> AttenuationTable:
    """The attenuation data that ship with the package (XCOM cross sections; see data/PROVENANCE.md)."""
    d = _load("attenuation.npz")
    return AttenuationTable(
        tuple(str(m) for m in d["materials"]), d["energies_mev"], d["mu_over_rho_cm2_g"], d["mu_tr_over_rho_cm2_g"]
    )


@dataclass(frozen=True, eq=False)
class PointKernels:
    """Monoenergetic photon point kernels in water.

    Parameters
    ----------
    energies_mev : float64 [n]
    theta_edges_rad : float64 [k + 1]
        Polar angle from the photon's direction.
    r_edges_cm : float64 [m + 1]
    primary, scatter : float64 [n, k, m]
        Fraction of the interacting photon's energy that is deposited in each sector: by the charged particles of the
        first interaction, and by everything later (scattered, bremsstrahlung and annihilation photons).
    mu : float64 [n]
        mu/rho of the transport that made the kernels, cm2/g.
    """

    energies_mev: FloatArray
    theta_edges_rad: FloatArray
    r_edges_cm: FloatArray
    primary: FloatArray
    scatter: FloatArray
    mu: FloatArray


@cache
def point_kernels() -> PointKernels:
    """The EDKnrc kernels that ship with the package (see data/PROVENANCE.md)."""
    d = _load("edk_water.npz")
    return PointKernels(
        d["energies_mev"],
        np.deg2rad(d["theta_edges_deg"]),
        d["r_edges_cm"],
        d["primary"].astype(np.float64),
        d["scatter"].astype(np.float64),
        d["mu_over_rho_cm2_g"],
    )


@cache
def published_spectra() -> dict[str, dict[str, Any]]:
    """Published photon number spectra by name: ``source``, ``edges_mev``, ``photons_per_bin``."""
    text = (resources.files("dosecalc.photon") / "data" / "spectra.yaml").read_text()
    spectra: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return spectra
