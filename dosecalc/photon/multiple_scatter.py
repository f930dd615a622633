"""Kernels of photons that scatter more than once, in two flights: to the second interaction, and on from there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosecalc.photon.kernel import PolyKernel, collision_fraction, cumulate, kernel_bins
from dosecalc.photon.tables import attenuation_table, point_kernels

FloatArray = NDArray[np.float64]

ELECTRON_MEV = 0.51099895
#: electrons per gram of water times the square of the classical electron radius, cm2/g
_ELECTRONS_R2 = 3.3428e23 * (2.8179403e-13) ** 2
#: depth in water at which the spectrum is taken, cm
_DEPTH_CM = 10.0
_ANGLES = 1440
#: directions of first flights that share one rotation of the second flight's kernel
_TURNS = 72


def two_flight_kernel(energies_mev: FloatArray, energy_fluence: FloatArray) -> PolyKernel:
    """Kernels of both flights of multiply scattered photons.

    ``scatter``: the first flight. Of the scerma, the share that once-scattered photons carry on from the place where
    they interact again: Klein and Nishina's distribution, attenuated along its way (physics manual, eq. 3.10).
    ``primary``: the second flight. What that share deposits around the second place: the point kernels' scattered part
    for the energy of the once-scattered photon, turned into its direction and averaged over directions (eq. 3.11).

    Parameters
    ----------
    energies_mev : float64 [n]
    energy_fluence : float64 [n]
        Energy fluence of each energy at the surface, any unit.

    Returns
    -------
    PolyKernel
        Angles are from the direction of the primary photon in both.

    References
    ----------
    Klein, Nishina 1929, Z Phys 52:853.
    """
    k = point_kernels()
    theta, solid_angle = _angles()
    mu, _ = attenuation_table().coefficients("water", energies_mev)
    scerma = energy_fluence * mu * np.exp(-mu * _DEPTH_CM) * (1.0 - collision_fraction(energies_mev))
    released = energy_fluence * mu * np.exp(-mu * _DEPTH_CM) / scerma.sum()
    share, once = compton(energies_mev[:, None], np.cos(theta))
    mu_once, tr_once = attenuation_table().coefficients("water", once.ravel())
    mu_once, tr_once = mu_once.reshape(once.shape), tr_once.reshape(once.shape)
    # per scerma, energy that leaves the second interaction as photons, by primary energy and angle
    carried = released[:, None] * share * solid_angle * (1.0 - tr_once / mu_once)
    bin_of = np.clip(np.searchsorted(k.theta_edges_rad, theta) - 1, 0, len(k.theta_edges_rad) - 2)
    first = np.zeros((len(k.theta_edges_rad) - 1, len(k.r_edges_cm) - 1))
    for n, (near, far) in enumerate(zip(k.r_edges_cm[:-1], k.r_edges_cm[1:], strict=True)):
        interacting = np.exp(-mu_once * near) - np.exp(-mu_once * far)
        first[:, n] = np.bincount(bin_of, (carried * interacting).sum(0), minlength=len(first))
    second = _turned_mean(theta, carried, once)
    return PolyKernel(np.cos(k.theta_edges_rad), k.r_edges_cm, cumulate(second), cumulate(first))


def compton(energy_mev: FloatArray, cosine: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Energy that Compton scattering sends into a direction, per steradian and energy interacting, and its photons.

    Parameters
    ----------
    energy_mev, cosine : float64
        Broadcast against each other.

    Returns
    -------
    share : float64
        1/sr, in water.
    scattered_mev : float64
        Energy of the scattered photon.
    """
    shape = np.broadcast_shapes(np.shape(energy_mev), np.shape(cosine))
    energy = np.broadcast_to(energy_mev, shape)
    kept = 1.0 / (1.0 + energy / ELECTRON_MEV * (1.0 - cosine))
    cross_section = 0.5 * _ELECTRONS_R2 * kept**2 * (kept + 1.0 / kept - (1.0 - np.square(cosine)))
    mu, _ = attenuation_table().coefficients("water", energy.ravel())
    return cross_section * kept / mu.reshape(shape), energy * kept


def _angles() -> tuple[FloatArray, FloatArray]:
    """Even polar angles and the solid angle that each stands for."""
    edges = np.linspace(0, np.pi, _ANGLES + 1)
    return (edges[1:] + edges[:-1]) / 2, 2 * np.pi * -np.diff(np.cos(edges))


def _turned_mean(theta: FloatArray, carried: FloatArray, once_mev: FloatArray) -> FloatArray:
    """Mean kernel of the second flight about the first photon's direction, [angles, radii].

    The direction of the first flight is averaged over, wherever the second place is: the second flight starts from
    each place as it does on the average of all.
    """
    k = point_kernels()
    # a thousandth of the energy lies below the lowest kernel and takes it
    at_node = _node_weights(np.log(np.maximum(once_mev, k.energies_mev[0])), np.log(k.energies_mev), carried)
    _, scatter = kernel_bins(k.energies_mev)
    own = np.einsum("ntp,nkm->tkm", at_node.reshape(len(k.energies_mev), _TURNS, -1), scatter)
    n_bins = own.shape[1]
    fine = np.linspace(0, np.pi, 3 * n_bins + 1)
    inner = (fine[1:] + fine[:-1]) / 2
    weight = -np.diff(np.cos(fine)).reshape(n_bins, 3)
    weight = (weight / weight.sum(1, keepdims=True)).ravel()
    azimuth = (np.arange(48) + 0.5) * np.pi / 48
    total = np.zeros(own.shape[1:])
    for n, angle in enumerate((np.arange(_TURNS) + 0.5) * np.pi / _TURNS):
        cosine = np.cos(angle) * np.cos(inner)[:, None] + np.sin(angle) * np.sin(inner)[:, None] * np.cos(azimuth)
        to = np.clip(np.searchsorted(k.theta_edges_rad, np.arccos(np.clip(cosine, -1, 1))) - 1, 0, n_bins - 1)
        spread = np.zeros((n_bins, n_bins))
        np.add.at(spread, (to, np.repeat(np.arange(n_bins), 3)[:, None]), np.tile(weight[:, None] / 48, (1, 48)))
        total += spread @ own[n]
    return np.asarray(total / carried.sum())


def _node_weights(x: FloatArray, nodes: FloatArray, amount: FloatArray) -> FloatArray:
    """Amounts [energies, angles] at x shared out to the nodes beside them, [nodes, angles], as linear interpolation."""
    low = np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2)
    f = (x - nodes[low]) / (nodes[low + 1] - nodes[low])
    out = np.zeros((len(nodes), x.shape[1]))
    column = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    np.add.at(out, (low, column), amount * (1 - f))
    np.add.at(out, (low + 1, column), amount * f)
    return out
