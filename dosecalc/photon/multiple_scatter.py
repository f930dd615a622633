"""Kernels of photons that scatter more than once, flight by flight: to the second interaction, and on from there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dosecalc.photon.kernel import PolyKernel, collision_fraction, cumulate, kernel_bins
from dosecalc.photon.tables import attenuation_table, point_kernels

FloatArray = NDArray[np.float64]

ELECTRON_MEV = 0.51099895
#: photons that fly within this angle of the beam go on otherwise than the rest: behind the patient most of them do
FORWARD_DEG = 68.0
#: electrons per gram of water times the square of the classical electron radius, cm2/g
_ELECTRONS_R2 = 3.3428e23 * (2.8179403e-13) ** 2
#: depth in water at which the spectrum is taken, cm
_DEPTH_CM = 10.0
_ANGLES = 1440
#: directions of a flight that share one rotation of the next one's kernel
_TURNS = 72
#: energies of once-scattered photons that share one further flight, MeV
_GROUPS_MEV = np.geomspace(0.02, 20.0, 61)


class FlightKernels(NamedTuple):
    """Kernels of multiply scattered photons; angles are from the direction of the primary photon in all.

    Parameters
    ----------
    first : PolyKernel
        The first flight, the same in both parts. Of the scerma, the energy that once-scattered photons carry on from
        the place where they interact again: Klein and Nishina's distribution, attenuated along its way (physics manual,
        eq. 3.10).
    onward : PolyKernel
        The next flight: of what photons carry on from an interaction, what they carry on from the one after it (eq.
        3.11). ``primary`` for photons that came within `FORWARD_DEG` of the beam's direction, ``scatter`` for the rest.
    back : PolyKernel
        What photons that carry on from an interaction deposit around it in the end: the point kernels' scattered part
        for the energy of the once-scattered photon, turned into its direction (eq. 3.12). Parts as in ``onward``.
    """

    first: PolyKernel
    onward: PolyKernel
    back: PolyKernel


def flight_kernels(
    energies_mev: FloatArray, energy_fluence: FloatArray, look: Callable[[], None] = lambda: None
) -> FlightKernels:
    """Kernels of the flights of multiply scattered photons.

    The direction of a flight is averaged over, by the share that it carries on, among those that go forwards and among
    the rest: the next flight starts from each place as it does on the average of all places.

    Parameters
    ----------
    energies_mev : float64 [n]
    energy_fluence : float64 [n]
        Energy fluence of each energy at the surface, any unit.
    look : callable, optional
        Called between steps of a fraction of a second; what it raises ends the work.

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
    sent = released[:, None] * share * solid_angle
    mu_once, carried_on = _interaction(once)
    carried = sent * carried_on
    first = cumulate(_flown(carried, mu_once).sum(0))
    look()
    forwards = theta < np.deg2rad(FORWARD_DEG)
    parts = (carried * forwards, carried * ~forwards)

    def turned(flight: Callable[[FloatArray, FloatArray], FloatArray], part: FloatArray) -> FloatArray:
        flown = flight(part, once)
        look()
        of_part = cumulate(_turned(flown) / part.sum())
        look()
        return of_part

    onward = [turned(_next_flight, part) for part in parts]
    back = [turned(_deposited, part) for part in parts]
    cosines = np.cos(k.theta_edges_rad)
    return FlightKernels(*(PolyKernel(cosines, k.r_edges_cm, *pair) for pair in ((first, first), onward, back)))


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


def _interaction(photon_mev: FloatArray) -> tuple[FloatArray, FloatArray]:
    """mu/rho in water of photons, cm2/g, and the share of their energy that their next interaction sends on."""
    mu, mu_tr = attenuation_table().coefficients("water", photon_mev.ravel())
    return mu.reshape(photon_mev.shape), (1.0 - mu_tr / mu).reshape(photon_mev.shape)


def _flown(carried: FloatArray, mu: FloatArray) -> FloatArray:
    """Energy by angle and radius of the next interaction, of energy [n, angles] sent off, [n, k, m]."""
    k = point_kernels()
    bins = len(k.theta_edges_rad) - 1
    theta, _ = _angles()
    of_bin = np.clip(np.searchsorted(k.theta_edges_rad, theta) - 1, 0, bins - 1)
    into = np.arange(bins)[:, None] == of_bin
    left = np.exp(-mu[..., None] * k.r_edges_cm)
    return np.asarray(
        np.einsum("ka,nam->nkm", into.astype(np.float64), carried[..., None] * -np.diff(left), optimize=True)
    )


def _next_flight(carried: FloatArray, once_mev: FloatArray) -> FloatArray:
    """Energy carried on from the interaction after the next, by direction of the flight before it, [turns, k, m]."""
    theta, solid_angle = _angles()
    middle = np.sqrt(_GROUPS_MEV[1:] * _GROUPS_MEV[:-1])
    share, twice = compton(middle[:, None], np.cos(theta))
    mu_twice, carried_on = _interaction(twice)
    sent = share * solid_angle
    own = _flown(sent / sent.sum(1, keepdims=True) * carried_on, mu_twice)
    group = np.clip(np.searchsorted(_GROUPS_MEV, once_mev) - 1, 0, len(middle) - 1)
    amount = np.zeros((_TURNS, len(middle)))
    turn = np.broadcast_to(np.arange(_ANGLES) * _TURNS // _ANGLES, once_mev.shape)
    np.add.at(amount, (turn, group), carried)
    return np.asarray(np.tensordot(amount, own, 1))


def _deposited(carried: FloatArray, once_mev: FloatArray) -> FloatArray:
    """Energy that photons deposit in the end around an interaction, by their direction before it, [turns, k, m]."""
    k = point_kernels()
    # a thousandth of the energy lies below the lowest kernel and takes it
    at_node = _node_weights(np.log(np.maximum(once_mev, k.energies_mev[0])), np.log(k.energies_mev), carried)
    _, scatter = kernel_bins(k.energies_mev)
    return np.asarray(np.einsum("ntp,nkm->tkm", at_node.reshape(len(k.energies_mev), _TURNS, -1), scatter))


def _turned(own: FloatArray) -> FloatArray:
    """Sum of kernels about directions at even angles from the beam's: [turns, k, m] to [k, m] about the beam's."""
    return np.asarray(np.einsum("tij,tjm->im", _spreads(), own))


@cache
def _spreads() -> FloatArray:
    """Share of each angular bin that a turn brings into each, evenly in azimuth, float64 [turns, to, from]."""
    edges = point_kernels().theta_edges_rad
    bins = len(edges) - 1
    fine = np.linspace(0, np.pi, 3 * bins + 1)
    inner = (fine[1:] + fine[:-1]) / 2
    weight = -np.diff(np.cos(fine)).reshape(bins, 3)
    weight = (weight / weight.sum(1, keepdims=True)).ravel()
    azimuth = (np.arange(48) + 0.5) * np.pi / 48
    out = np.zeros((_TURNS, bins, bins))
    for n, angle in enumerate((np.arange(_TURNS) + 0.5) * np.pi / _TURNS):
        cosine = np.cos(angle) * np.cos(inner)[:, None] + np.sin(angle) * np.sin(inner)[:, None] * np.cos(azimuth)
        to = np.clip(np.searchsorted(edges, np.arccos(np.clip(cosine, -1, 1))) - 1, 0, bins - 1)
        np.add.at(out[n], (to, np.repeat(np.arange(bins), 3)[:, None]), np.tile(weight[:, None] / 48, (1, 48)))
    return out


def _node_weights(x: FloatArray, nodes: FloatArray, amount: FloatArray) -> FloatArray:
    """Amounts [energies, angles] at x shared out to the nodes beside them, [nodes, angles], as linear interpolation."""
    low = np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2)
    f = (x - nodes[low]) / (nodes[low + 1] - nodes[low])
    out = np.zeros((len(nodes), x.shape[1]))
    column = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    np.add.at(out, (low, column), amount * (1 - f))
    np.add.at(out, (low + 1, column), amount * f)
    return out
