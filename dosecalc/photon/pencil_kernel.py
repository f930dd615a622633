"""Pencil kernels in water, from the same point kernels and spectrum as the collapsed cone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.interpolate import PchipInterpolator

from dosecalc.errors import MachineError
from dosecalc.photon.spectral import GY_PER_MEV_G
from dosecalc.photon.tables import PointKernels, attenuation_table, point_kernels

FloatArray = NDArray[np.float64]

#: radiological depths that the kernels cover, g/cm2: a patient from head to thigh, or the diagonal of any phantom
LARGEST_DEPTH_GCM2 = 120.0
#: planes of the superposition, g/cm2: half of the smallest step that matters in the build-up of 6 MV
_STEP_GCM2 = 0.05
#: each bin of the point kernels (angle x radius) is divided, evenly in angle, so that rings of energy become smooth
_SUB_ANGLES = 10
_SUB_RADIUS_GCM2 = 0.05
_LEAST_SUB_RADII = 10
#: distances from the source for which a beam's divergence is corrected: the isocentre under 10 cm of tissue
_POINT_CM, _SURFACE_CM = 100.0, 90.0
#: radii of the cumulative table, g/cm2: from a tenth of a pixel of a fluence map to the end of the point kernels
_FIRST_RADIUS_GCM2, _RADII = 0.01, 64


@dataclass(frozen=True, eq=False)
class PencilKernel:
    """Dose of a parallel pencil of photons in semi-infinite water, by depth, cumulative over radius.

    Entry [d, r] is the dose at depth d on the axis of an even circular field of radius r: the energy per mass that a
    pencil deposits at that depth within r of its axis. The last column is a field without end.

    Parameters
    ----------
    depths_gcm2 : float64 [n]
        Even.
    radii_gcm2 : float64 [m]
        From 0.
    primary, scatter : float64 [n, m]
        Gy per (photon/cm2) of the whole spectrum at the surface; by charged particles of first interactions, and by
        everything later.
    terma : float64 [n]
        Energy released per mass at the same depths, Gy per (photon/cm2).
    primary_range, scatter_range : float
        How far forward of the interaction the energy is deposited on average, g/cm2.
    """

    depths_gcm2: FloatArray
    radii_gcm2: FloatArray
    primary: FloatArray
    scatter: FloatArray
    terma: FloatArray
    primary_range: float
    scatter_range: float


def pencil_kernel(energies_mev: FloatArray, photons: FloatArray) -> PencilKernel:
    """Pencil kernel of a spectrum: released energy along the pencil, superposed with point kernels energy by energy.

    Parameters
    ----------
    energies_mev : float64 [n]
    photons : float64 [n]
        Photons of each energy per photon of the spectrum.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE`` when the point kernels do not cover the spectrum.

    Notes
    -----
    p(r, z) = sum_E int n_E E mu_E exp(-mu_E z') k_E(r, z - z') dz': the pencil beam as an integral of point kernels
    (Ahnesjo, Saxner, Trepp 1992, Med Phys 19:263). Hardening is exact: no kernel at a reference depth. Nothing is
    renormalised: what leaves the 60 cm of the point kernels is lost, as it is to the collapsed cone.
    """
    k = point_kernels()
    if energies_mev.min() < k.energies_mev[0] or energies_mev.max() > k.energies_mev[-1]:
        raise MachineError(
            "ENERGY_OUTSIDE_TABLE",
            f"The spectrum spans {energies_mev.min():g} to {energies_mev.max():g} MeV; the point kernels cover "
            f"{k.energies_mev[0]:g} to {k.energies_mev[-1]:g} MeV.",
        )
    n_depths = round(LARGEST_DEPTH_GCM2 / _STEP_GCM2)
    half = _half_planes(k)
    # released at the middles of planes; deposited there too, because point kernels lie on whole steps
    planes = np.asarray((np.arange(n_depths + half) + 0.5) * _STEP_GCM2, np.float64)
    released = _released_by_node(k, energies_mev, photons, planes)
    length = next_fast_len(len(planes) + 2 * half + 1, real=True)
    spectrum = rfft(released * _STEP_GCM2, length, axis=1)
    deposited, ranges = [], []
    for component in ("primary", "scatter"):
        total = np.zeros((length // 2 + 1, _RADII + 1), np.complex128)
        moment = energy = 0.0
        for node in np.flatnonzero(released.max(1) > 0):
            rings, lever = _rings(component, int(node))
            total += spectrum[node, :, None] * rfft(rings, length, axis=0)
            share = released[node].sum()
            moment += share * lever
            energy += share * float(rings[:, -1].sum())
        ranges.append(moment / energy)
        deposited.append(irfft(total, length, axis=0)[half : half + n_depths] / _STEP_GCM2)
    terma = released[:, :n_depths].sum(0)
    return PencilKernel(planes[:n_depths], _radii(k), deposited[0], deposited[1], terma, ranges[0], ranges[1])


def divergent(kernel: PencilKernel) -> PencilKernel:
    """The kernel as a point on the axis sees the pencils of a beam that diverges, instead of parallel ones.

    The foot of the perpendicular from a point at distance L onto a pencil at distance r lies nearer to the source by
    r^2 / 2L than the point does, and behind a flat surface at the distance S from the source the pencil has gone
    through less matter still: its depth there is less by r^2 (1 + S/L) / 2L. The distances are typical ones; the
    correction itself is below 1 % of the dose in a field of 20 cm.
    """
    shortening = (1 + _SURFACE_CM / _POINT_CM) / (2 * _POINT_CM)
    middle = np.sqrt(kernel.radii_gcm2[1:] * np.maximum(kernel.radii_gcm2[:-1], kernel.radii_gcm2[1] / 2))

    def shortened(table: FloatArray) -> FloatArray:
        rings = np.diff(table, axis=1)
        for j, radius in enumerate(middle):
            shallower = np.maximum(kernel.depths_gcm2 - shortening * radius**2, 0.0)
            rings[:, j] = np.interp(shallower, kernel.depths_gcm2, rings[:, j])
        return np.pad(rings.cumsum(1), ((0, 0), (1, 0))) + table[:, :1]

    return replace(kernel, primary=shortened(kernel.primary), scatter=shortened(kernel.scatter))


def _released_by_node(k: PointKernels, energies: FloatArray, photons: FloatArray, depths: FloatArray) -> FloatArray:
    """Energy released per mass at depths, shared among the energies of the point kernels: float64 [nodes, depths]."""
    mu, _ = attenuation_table().coefficients("water", energies)
    # linear between the tabulated energies, as the collapsed cone mixes its kernel
    share = np.array([np.interp(energies, k.energies_mev, one) for one in np.eye(len(k.energies_mev))])
    strength = photons * energies * mu * GY_PER_MEV_G
    return np.asarray((share * strength) @ np.exp(-np.outer(mu, depths)))


def _half_planes(k: PointKernels) -> int:
    return round(float(k.r_edges_cm[-1]) / _STEP_GCM2)


def _radii(k: PointKernels) -> FloatArray:
    return np.concatenate([[0.0], np.geomspace(_FIRST_RADIUS_GCM2, k.r_edges_cm[-1], _RADII)])


@lru_cache(maxsize=64)
def _rings(component: str, node: int) -> tuple[NDArray[np.float32], float]:
    """A monoenergetic point kernel in planes and cylinders, and its mean forward reach.

    Returns
    -------
    rings : float32 [2 half + 1, radii]
        Share of the energy within each radius, by plane; the interaction is in the middle plane.
    lever : float
        Sum of energy share x forward distance, g/cm2.
    """
    k = point_kernels()
    bins = (k.primary if component == "primary" else k.scatter)[node]
    theta, radius, energy = _fine_bins(k, bins)
    along = np.cos(theta)[:, None] * radius
    across = np.sin(theta)[:, None] * radius
    half, edges = _half_planes(k), _radii(k)
    place = along / _STEP_GCM2 + half
    plane = np.floor(place).astype(np.int64)
    upper = place - plane
    # a ring lies within the radii that are not smaller than its own
    column = np.searchsorted(edges, across)
    shape = (2 * half + 2, len(edges))
    flat = plane * len(edges) + column
    rings = np.bincount(flat.ravel(), (energy * (1 - upper)).ravel(), shape[0] * shape[1])
    rings += np.bincount((flat + len(edges)).ravel(), (energy * upper).ravel(), shape[0] * shape[1])
    cumulative = rings.reshape(shape)[: 2 * half + 1].cumsum(1)
    return cumulative.astype(np.float32), float((energy * along).sum())


def _fine_bins(k: PointKernels, bins: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Middles of finer angles and radii, and the energy in each; monotone cubics through the cumulative tables."""
    cumulative = np.pad(bins.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    theta = np.linspace(0.0, np.pi, (len(k.theta_edges_rad) - 1) * _SUB_ANGLES + 1)
    edges = k.r_edges_cm
    parts = np.maximum(_LEAST_SUB_RADII, np.ceil(np.diff(edges) / _SUB_RADIUS_GCM2)).astype(int)
    radius = np.concatenate(
        [*(np.linspace(a, b, n, endpoint=False) for a, b, n in zip(edges, edges[1:], parts, strict=False)), edges[-1:]]
    )
    finer = PchipInterpolator(-np.cos(k.theta_edges_rad), cumulative, axis=0)(-np.cos(theta))
    finer = PchipInterpolator(edges, finer, axis=1)(radius)
    energy = np.diff(np.diff(finer, axis=0), axis=1)
    return (theta[1:] + theta[:-1]) / 2, (radius[1:] + radius[:-1]) / 2, energy
