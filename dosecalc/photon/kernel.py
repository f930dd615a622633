"""Polyenergetic point kernels: the monoenergetic ones weighted with what a spectrum releases at a reference depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dosecalc.errors import MachineError
from dosecalc.photon.tables import attenuation_table, point_kernels

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PolyKernel:
    """Energy deposited around an interaction point in water, per energy that drives it.

    ``primary`` is per collision kerma and integrates to 1; ``scatter`` is per scerma (TERMA less collision kerma) and
    integrates to less than 1, because photons leave the 60 cm that the tables cover: that energy is really gone and is
    not renormalised away.

    Parameters
    ----------
    cos_theta_edges : float64 [k + 1]
        Descending from 1 to -1.
    r_edges_cm : float64 [m + 1]
    primary, scatter : float64 [k + 1, m + 1]
        Cumulative over both: the fraction deposited within angle theta (row) and radius r (column).
    """

    cos_theta_edges: FloatArray
    r_edges_cm: FloatArray
    primary: FloatArray
    scatter: FloatArray

    def per_steradian(self, component: str, cos_theta: FloatArray) -> FloatArray:
        """Fraction per steradian that is deposited within each radius, in some directions.

        Parameters
        ----------
        component : 'primary' or 'scatter'
        cos_theta : float64 [n]
            Cosines of the angle from the photon's direction.

        Returns
        -------
        float64 [n, m + 1]
            Derivative of a monotone cubic through the cumulative table, so that no energy is made or lost.
        """
        table = self.primary if component == "primary" else self.scatter
        spline = PchipInterpolator(-self.cos_theta_edges, table, axis=0).derivative()
        return np.asarray(spline(-np.clip(cos_theta, -1.0, 1.0))) / (2 * np.pi)


def collision_fraction(energies_mev: FloatArray) -> FloatArray:
    """Share of the released energy that becomes collision kerma in water: the kernels' primary fraction.

    Parameters
    ----------
    energies_mev : float64 [n]

    Returns
    -------
    float64 [n]
        Within 0.2 % of mu_en/mu (the kernels' own statistics).
    """
    k = point_kernels()
    return np.asarray(np.interp(np.log(energies_mev), np.log(k.energies_mev), k.primary.sum((1, 2))))


def poly_kernel(energies_mev: FloatArray, energy_fluence: FloatArray, depth_cm: float = 5.0) -> PolyKernel:
    """Kernel of a spectrum, weighted with its TERMA at a depth in water.

    Parameters
    ----------
    energies_mev : float64 [n]
    energy_fluence : float64 [n]
        Energy fluence of each energy at the surface, any unit.
    depth_cm : float
        Reference depth: the spectrum hardens with depth, the kernel is taken at one.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE`` when the kernels do not cover the spectrum.
    """
    k = point_kernels()
    if energies_mev.min() < k.energies_mev[0] or energies_mev.max() > k.energies_mev[-1]:
        raise MachineError(
            "ENERGY_OUTSIDE_TABLE",
            f"The spectrum spans {energies_mev.min():g} to {energies_mev.max():g} MeV; the point kernels cover "
            f"{k.energies_mev[0]:g} to {k.energies_mev[-1]:g} MeV.",
        )
    mu, _ = attenuation_table().coefficients("water", energies_mev)
    terma = energy_fluence * mu * np.exp(-mu * depth_cm)
    weights = _energy_weights(energies_mev, terma / terma.sum(), k.energies_mev)
    primary = np.tensordot(weights, k.primary, 1)
    scatter = np.tensordot(weights, k.scatter, 1)
    carried = primary.sum()
    return PolyKernel(
        np.cos(k.theta_edges_rad),
        k.r_edges_cm,
        _cumulate(primary / carried),
        _cumulate(scatter / (1.0 - carried)),
    )


def _energy_weights(energies: FloatArray, share: FloatArray, nodes: FloatArray) -> FloatArray:
    """Shares of the nodes of the energy table, by linear interpolation in energy."""
    j = np.clip(np.searchsorted(nodes, energies) - 1, 0, len(nodes) - 2)
    f = (energies - nodes[j]) / (nodes[j + 1] - nodes[j])
    out = np.zeros(len(nodes))
    np.add.at(out, j, share * (1 - f))
    np.add.at(out, j + 1, share * f)
    return out


def _cumulate(bins: FloatArray) -> FloatArray:
    return np.pad(bins.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
