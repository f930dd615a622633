"""How materials slow electrons down and scatter them: collision stopping power, residual range, transport coefficient.

Everything follows from a material's composition by closed forms; the elements' data lie in
``data/electron_materials.yaml``.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dosecalc.errors import MachineError

FloatArray = NDArray[np.float64]

ELECTRON_REST_MEV = 0.51099895
AVOGADRO = 6.02214076e23
CLASSICAL_RADIUS_CM = 2.8179403262e-13
FINE_STRUCTURE = 1 / 137.035999
#: 4 pi r_e^2 N_A m c^2 / 2, MeV cm2/g per Z/A: the factor of the electron's Bethe formula (ICRU Report 37, eq. 2.14)
_BETHE = 2 * np.pi * CLASSICAL_RADIUS_CM**2 * AVOGADRO * ELECTRON_REST_MEV


class Element(BaseModel):
    """An element: charge, atomic weight, mean excitation energies (eV) alone and in condensed compounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    z: int = Field(gt=0)
    a: float = Field(gt=0)
    excitation_ev: float = Field(gt=0)
    excitation_in_compound_ev: float = Field(gt=0)


class _Composition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    mass_fraction: dict[str, float]
    #: density of the substance whose electrons screen the field; lung is tissue with air between, not a thin tissue
    density_g_cm3: float = Field(gt=0)
    gas: bool = False
    #: instead of Bragg's rule
    excitation_ev: float | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: dict[str, Element]
    materials: dict[str, _Composition]


class ElectronMaterial:
    """A material as electrons see it.

    Parameters
    ----------
    name : str
        One of the attenuation table.

    Raises
    ------
    MachineError
        ``MATERIAL_UNKNOWN``
    """

    def __init__(self, name: str) -> None:
        data = _data()
        if name not in data.materials:
            raise MachineError(
                "MATERIAL_UNKNOWN",
                f"Electrons cannot be transported in {name!r}: there is no composition; known: "
                f"{', '.join(data.materials)}.",
            )
        composition = data.materials[name]
        total = sum(composition.mass_fraction.values())
        self.name = name
        self._parts = [(data.elements[e], w / total) for e, w in composition.mass_fraction.items()]
        self._z_over_a = sum(w * e.z / e.a for e, w in self._parts)
        self.excitation_ev = composition.excitation_ev or self._bragg()
        self._delta = _density_effect(
            self.excitation_ev, 28.816 * np.sqrt(composition.density_g_cm3 * self._z_over_a), composition.gas
        )

    def _bragg(self) -> float:
        """Mean excitation energy by Bragg's rule (ICRU Report 37, eq. 2.11 and table 5.3)."""
        alone = len(self._parts) == 1 or all(e.z > 20 for e, _ in self._parts)  # metals and alloys
        logs = sum(
            w * e.z / e.a * np.log(e.excitation_ev if alone else e.excitation_in_compound_ev) for e, w in self._parts
        )
        return float(np.exp(logs / self._z_over_a))

    def collision(self, energy_mev: FloatArray) -> FloatArray:
        """Unrestricted collision stopping power of electrons, MeV cm2/g (ICRU Report 37, 1984, eq. 2.14).

        Parameters
        ----------
        energy_mev : float64 [n]
            Kinetic energy; the formula holds from 10 keV up.
        """
        tau = energy_mev / ELECTRON_REST_MEV
        beta2 = _beta2(tau)
        bracket = (
            2 * np.log(energy_mev * 1e6 / self.excitation_ev)
            + np.log1p(tau / 2)
            + (1 - beta2) * (1 + tau**2 / 8 - (2 * tau + 1) * np.log(2))
            - self._delta(energy_mev)
        )
        return np.asarray(_BETHE * self._z_over_a / beta2 * bracket)

    def transport(self, energy_mev: FloatArray, order: int = 1) -> FloatArray:
        """Transport coefficient ``N int (1 - P_l(cos)) dsigma`` of elastic scattering, cm2/g.

        The screened Rutherford cross section with Moliere's screening angle, and Z(Z + 1) for what the electrons
        scatter (Moliere 1947; Kawrakow and Bielajew 1998, NIM B 134:325).

        Parameters
        ----------
        energy_mev : float64 [n]
        order : 1 or 2
            l.
        """
        tau = energy_mev / ELECTRON_REST_MEV
        beta2 = _beta2(tau)
        momentum = np.sqrt(tau * (tau + 2))  # in m c
        total = np.zeros_like(energy_mev)
        for e, w in self._parts:
            alpha2 = (e.z * FINE_STRUCTURE) ** 2 / beta2
            chi0 = FINE_STRUCTURE * e.z ** (1 / 3) / (0.88534 * momentum)
            eta = chi0**2 * (1.13 + 3.76 * alpha2) / 4
            shape = np.log1p(1 / eta) - 1 / (1 + eta)
            if order == 2:
                shape = 3 * ((1 + 2 * eta) * np.log1p(1 / eta) - 2)
            total += w * AVOGADRO / e.a * e.z * (e.z + 1) * shape
        return np.asarray(2 * np.pi * CLASSICAL_RADIUS_CM**2 * total / (momentum**2 * beta2))


@cache
def electron_material(name: str) -> ElectronMaterial:
    """A material by its name in the attenuation table; raises `MachineError` ``MATERIAL_UNKNOWN``."""
    return ElectronMaterial(name)


@cache
def _data() -> _File:
    text = (resources.files("dosecalc.photon") / "data" / "electron_materials.yaml").read_text(encoding="utf-8")
    return _File.model_validate(yaml.safe_load(text))


def _beta2(tau: FloatArray) -> FloatArray:
    return np.asarray(tau * (tau + 2) / (tau + 1) ** 2)


class _density_effect:
    """The density-effect correction with the general parameters of Sternheimer and Peierls 1971, Phys Rev B 3:3681."""

    def __init__(self, excitation_ev: float, plasma_ev: float, gas: bool) -> None:
        self._c = 2 * np.log(excitation_ev / plasma_ev) + 1
        self._x0, self._x1 = _gas_limits(self._c) if gas else _condensed_limits(self._c, excitation_ev)
        self._a = (self._c - 2 * np.log(10) * self._x0) / (self._x1 - self._x0) ** 3

    def __call__(self, energy_mev: FloatArray) -> FloatArray:
        tau = energy_mev / ELECTRON_REST_MEV
        x = 0.5 * np.log10(tau * (tau + 2))
        delta = 2 * np.log(10) * x - self._c + self._a * np.maximum(self._x1 - x, 0.0) ** 3
        return np.asarray(np.where(x < self._x0, 0.0, delta))


def _condensed_limits(c: float, excitation_ev: float) -> tuple[float, float]:
    if excitation_ev < 100:
        return (0.2 if c < 3.681 else 0.326 * c - 1.0), 2.0
    return (0.2 if c < 5.215 else 0.326 * c - 1.5), 3.0


def _gas_limits(c: float) -> tuple[float, float]:
    for below, limits in (
        (10.0, (1.6, 4.0)), (10.5, (1.7, 4.0)), (11.0, (1.8, 4.0)), (11.5, (1.9, 4.0)), (12.25, (2.0, 4.0)),
        (13.804, (2.0, 5.0)),
    ):  # fmt: skip
        if c < below:
            return limits
    return 0.326 * c - 2.5, 5.0
