"""Polyenergetic point kernels: the monoenergetic ones weighted with what a spectrum releases at a reference depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dosecalc.errors import MachineError
from dosecalc.photon.tables import PointKernels, attenuation_table, point_kernels

FloatArray = NDArray[np.float64]

#: depths in water at which a spectrum's released energy weights its kernels
PRIMARY_DEPTH_CM, SCATTER_DEPTH_CM = 0.0, 10.0
#: how far the scatter looks that `hardening_weights` compares
SCATTER_REACH_CM = 15.0


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


def collision_fraction(energies_mev: FloatArray, kernels: PointKernels | None = None) -> FloatArray:
    """Share of the released energy that becomes collision kerma in water: the kernels' primary fraction.

    Parameters
    ----------
    energies_mev : float64 [n]
    kernels : PointKernels, optional
        The shipped ones if not given, here and in the functions below.

    Returns
    -------
    float64 [n]
        Within 0.2 % of mu_en/mu (the kernels' own statistics).
    """
    k = kernels or point_kernels()
    return np.asarray(np.interp(np.log(energies_mev), np.log(k.energies_mev), k.primary.sum((1, 2))))


def poly_kernel(
    energies_mev: FloatArray, energy_fluence: FloatArray, kernels: PointKernels | None = None
) -> PolyKernel:
    """Kernel of a spectrum, weighted with what it releases in water.

    The primary part is weighted at the surface: there the shape of the build-up is decided, and further in the weights
    of `hardening_weights` make up for it. The scattered part is weighted at 10 cm, from where most of the scatter of a
    therapy field comes.

    Parameters
    ----------
    energies_mev : float64 [n]
    energy_fluence : float64 [n]
        Energy fluence of each energy at the surface, any unit.
    kernels : PointKernels, optional

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE`` when the kernels do not cover the spectrum.
    """
    tables = kernels or point_kernels()
    primary, scatter = _mean_bins(energies_mev, energy_fluence, tables)
    return PolyKernel(np.cos(tables.theta_edges_rad), tables.r_edges_cm, cumulate(primary), cumulate(scatter))


def hardening_weights(
    energies_mev: FloatArray, energy_fluence: FloatArray, kernels: PointKernels | None = None
) -> tuple[FloatArray, FloatArray]:
    """What each energy's kerma and scerma are weighted with, so that one kernel serves a spectrum at every depth.

    Released energy that falls as exp(-mu s) along a wide beam, superposed with a kernel k, gives a dose of
    M(k) = integral of k exp(mu r cos(theta)) times the energy released at the point. An energy's own kernel gives
    another M than the mean kernel of the spectrum; the weight is the ratio, M(own) / M(mean), with the energy's own mu.
    With it the primary dose beyond the build-up is right for every mixture of the energies (physics manual, eq. 3.8).
    Scatter comes from as far as field and phantom reach: its integrals end at 15 cm.

    Parameters
    ----------
    energies_mev : float64 [n]
    energy_fluence : float64 [n]
        Energy fluence of each energy at the surface, any unit: the spectrum of `poly_kernel`.
    kernels : PointKernels, optional

    Returns
    -------
    primary, scatter : float64 [n]
        About 1, lower for low energies.
    """
    tables = kernels or point_kernels()
    mu, _ = attenuation_table().coefficients("water", energies_mev)
    polar = (tables.theta_edges_rad[1:] + tables.theta_edges_rad[:-1]) / 2
    radius = (tables.r_edges_cm[1:] + tables.r_edges_cm[:-1]) / 2
    forward = np.cos(polar)[:, None] * radius
    weights = []
    own_bins, mean_bins = kernel_bins(energies_mev, tables), _mean_bins(energies_mev, energy_fluence, tables)
    for own, mean, reach in zip(own_bins, mean_bins, (np.inf, SCATTER_REACH_CM), strict=True):
        near = radius < reach
        growth = np.exp(mu[:, None, None] * forward)[..., near]
        weights.append((own[..., near] * growth).sum((1, 2)) / (mean[:, near] * growth).sum((1, 2)))
    return weights[0], weights[1]


def _mean_bins(
    energies_mev: FloatArray, energy_fluence: FloatArray, kernels: PointKernels
) -> tuple[FloatArray, FloatArray]:
    """Primary and scatter [k, m], averaged over a spectrum."""
    mu, _ = attenuation_table().coefficients("water", energies_mev)
    fraction = collision_fraction(energies_mev, kernels)
    primary, scatter = kernel_bins(energies_mev, kernels)
    kerma = energy_fluence * mu * fraction * np.exp(-mu * PRIMARY_DEPTH_CM)
    scerma = energy_fluence * mu * (1.0 - fraction) * np.exp(-mu * SCATTER_DEPTH_CM)
    return np.tensordot(kerma / kerma.sum(), primary, 1), np.tensordot(scerma / scerma.sum(), scatter, 1)


def kernel_bins(energies_mev: FloatArray, kernels: PointKernels | None = None) -> tuple[FloatArray, FloatArray]:
    """Point kernels between the tabulated energies, linear in the logarithm of energy.

    The shares of both parts are interpolated in the same way by `collision_fraction`: interpolating the kernels
    themselves linearly in energy makes the primary share 0.4 % too low between the nodes at 2 and 3 MeV.

    Parameters
    ----------
    energies_mev : float64 [n]
    kernels : PointKernels, optional

    Returns
    -------
    primary, scatter : float64 [n, k, m]
        By angle and radius; primary per collision kerma, scatter per scerma.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE`` when the kernels do not cover the energies.
    """
    k = kernels or point_kernels()
    if energies_mev.min() < k.energies_mev[0] or energies_mev.max() > k.energies_mev[-1]:
        raise MachineError(
            "ENERGY_OUTSIDE_TABLE",
            f"The spectrum spans {energies_mev.min():g} to {energies_mev.max():g} MeV (centres of its bins); the point "
            f"kernels cover {k.energies_mev[0]:g} to {k.energies_mev[-1]:g} MeV. Leave out bins that hold hardly any "
            "energy, or give kernels of more energies.",
        )
    share = k.primary.sum((1, 2))[:, None, None]
    x, nodes = np.log(energies_mev), np.log(k.energies_mev)
    j = np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2)
    f = ((x - nodes[j]) / (nodes[j + 1] - nodes[j]))[:, None, None]
    primary, scatter = (part[j] * (1 - f) + part[j + 1] * f for part in (k.primary / share, k.scatter / (1.0 - share)))
    return primary, scatter


def cumulate(bins: FloatArray) -> FloatArray:
    """Sums from the first bin on along both axes, [k, m] to [k + 1, m + 1]."""
    return np.pad(bins.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
