"""The electrons' transport of a beam quality: energy groups, source, scattering and stopping of each material."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dosecalc.photon.cones import TILT_TERMS
from dosecalc.photon.electron_calibration import RANGE_FACTORS, SPREADS, mixture
from dosecalc.photon.electron_directions import DirectionSet, direction_set, scattering_generator, scattering_matrix
from dosecalc.photon.electron_materials import electron_material
from dosecalc.photon.electron_source import source_electrons
from dosecalc.photon.kernel import PRIMARY_DEPTH_CM, poly_kernel
from dosecalc.photon.tables import attenuation_table

FloatArray = NDArray[np.float64]

#: share of a group's outflow in its mean: 1/2 makes the slowing down exact to second order in the groups' width
THETA = 0.5
#: decay of the second over the first angular moment: 2.6 to 2.8 for 0.1 to 15 MeV in water (`ElectronMaterial`)
SECOND_MOMENT = 2.7
#: width of the lowest group (half a voxel of water) and growth from one to the next, g/cm2
_FIRST, _GROWTH = 0.1, 1.25
#: electrons below this stop on the spot, MeV
_LEAST_MEV = 0.01
#: nodes of the source's angular distribution from 0 to pi
_ANGLES = 361


@dataclass(frozen=True, eq=False)
class ElectronGroups:
    """Tables of the transport, group by group from the fastest electrons down.

    Parameters
    ----------
    directions : DirectionSet
    width : float64 [groups]
        Water-equivalent path within each group, g/cm2.
    deposit : float64 [groups]
        Energy that an electron deposits in each, MeV.
    source : float64 [groups, directions, terms]
        Electrons that start, per collision kerma: polynomials in the tilt of the local ray (`TILT_TERMS`). A mixture
        that deposits in water as the point kernels say (`electron_calibration`).
    stopping : float64 [groups, materials]
        Collision stopping power relative to water.
    scattering : float64 [groups - 1, materials, directions, directions]
        ``[g, m, i, j]``: flux in j at the middle of the next group per flux in i at that of group g.
    max_tilt : float
        Largest tilt that the polynomials hold for.
    residual_tilt : float
        Root mean square error of the source's polynomials, summed over directions, as a share of the electrons.
    residual_kernel : float
        Largest error of the energy before any plane across or along the beam, as a share of all (`mixture`).
    """

    directions: DirectionSet
    width: FloatArray
    deposit: FloatArray
    source: FloatArray
    stopping: FloatArray
    scattering: FloatArray
    max_tilt: float
    residual_tilt: float
    residual_kernel: float

    def __len__(self) -> int:
        return len(self.width)

    @property
    def longest_gcm2(self) -> float:
        """Longest path of an electron."""
        return float(self.width.sum())


def electron_groups(
    energies_mev: FloatArray,
    photons: FloatArray,
    materials: tuple[str, ...],
    max_tilt: float,
    depth_cm: float = PRIMARY_DEPTH_CM,
) -> ElectronGroups:
    """Prepare the transport for a spectrum and a patient's materials.

    Parameters
    ----------
    energies_mev, photons : float64 [n]
        Spectrum at the surface, photons in any unit.
    materials : tuple of str
        Names of the attenuation table: what electrons travel in, by the patient's material index.
    max_tilt : float
        Largest |u|, |v| that the source's polynomials are fitted for.
    depth_cm : float
        Depth in water of the spectrum that sets electrons in motion, as for the kernels.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE``, ``MATERIAL_UNKNOWN``
    """
    mu, _ = attenuation_table().coefficients("water", energies_mev)
    electrons = source_electrons(energies_mev, photons * np.exp(-mu * depth_cm))
    ranges = _Ranges(float(electrons.energy_mev.max()) * 1.5)
    residual = np.interp(electrons.energy_mev, ranges.energy, ranges.range)
    edges = _edges(float(residual.max()) * max(RANGE_FACTORS))
    width, deposit = -np.diff(edges), -np.diff(ranges.energy_at(edges))
    directions = direction_set()
    rate = scattering_generator(SECOND_MOMENT)
    stopping, amounts = _per_material(edges, ranges, ("water", *materials))
    # from the middle of a group to the middle of the next
    between = (amounts[:-1] + amounts[1:]) / 2
    scattering = np.array([[scattering_matrix(rate, float(a)) for a in row] for row in between])
    starts = np.array([_start_groups(residual * factor, edges) for factor in RANGE_FACTORS]) * electrons.number
    spreads = np.array([scattering_matrix(rate, spread) for spread in SPREADS])
    down = np.array([[0.0, 0.0, -1.0]])
    numbers = np.array([_numbers(start, electrons.angle_rad, directions, down)[..., 0] for start in starts])
    kinds = np.einsum("fgd,sde->fsge", numbers, spreads)
    # an electron that starts in a group leaves a share of theta of its energy loss there, and all that is below
    below = np.append(np.cumsum(deposit[::-1])[::-1][1:], 0.0)
    carried = kinds.sum(-1) @ (THETA * deposit + below)
    weights, misfit = mixture(
        poly_kernel(energies_mev, photons * energies_mev), kinds / carried[..., None, None], directions.directions,
        width, deposit, scattering[:, 0], THETA,
    )  # fmt: skip
    source, off = np.zeros((len(width), len(directions), len(TILT_TERMS))), 0.0
    for spread, share in zip(spreads, (weights / carried).T, strict=True):
        narrow, off_here = _source(np.tensordot(share, starts, 1), electrons.angle_rad, directions, max_tilt)
        source += np.einsum("gdt,de->get", narrow, spread)
        off += off_here
    deposit /= float((THETA * deposit + below) @ source[:, :, 0].sum(1))
    # the electrons that leave a group are stopping times flux, and as many enter the next
    scattering *= (stopping[:-1] / stopping[1:])[:, :, None, None]
    return ElectronGroups(
        directions, width, deposit, source, stopping[:, 1:], scattering[:, 1:], max_tilt,
        off / float(source[..., 0].sum()), misfit,
    )  # fmt: skip


class _Ranges:
    """Residual range and energy of electrons in water that slow down continuously, by collisions.

    Radiative losses are rare and large: most electrons have none, and what they carry off is not in the kerma.
    """

    def __init__(self, highest_mev: float) -> None:
        self.energy = np.geomspace(_LEAST_MEV, highest_mev, 2000)
        stopping = electron_material("water").collision(self.energy)
        # the range of the last 10 keV, 0.25 mg/cm2, matters to nobody: half of what its stopping power would give
        self.range = 0.5 * _LEAST_MEV / stopping[0] + _integral(1 / stopping, self.energy)

    def energy_at(self, residual: FloatArray) -> FloatArray:
        """Energy of an electron of some residual range, MeV."""
        return np.asarray(np.interp(residual, np.append(0.0, self.range), np.append(0.0, self.energy)))


def _integral(y: FloatArray, x: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(np.diff(x) * (y[1:] + y[:-1]) / 2)])


def _edges(longest: float) -> FloatArray:
    """Residual ranges that bound the groups, from the longest to zero, g/cm2."""
    steps = [_FIRST]
    while sum(steps) < longest:
        steps.append(steps[-1] * _GROWTH)
    edges = np.append(0.0, np.cumsum(steps))[::-1]
    return np.asarray(edges * (longest / edges[0]))


def _start_groups(residual: FloatArray, edges: FloatArray) -> FloatArray:
    """Numbers with which electrons of some residual range start in each group, [groups, n].

    One that starts in group g travels theta times its width there and all that is below. Numbers are split between
    neighbours so that the mean path is the residual range; what is shorter than the shortest path counts as a part.
    """
    path = THETA * -np.diff(edges) + edges[1:]
    rising = path[::-1]
    upper = np.clip(np.searchsorted(rising, residual), 1, len(path) - 1)
    share = (residual - rising[upper - 1]) / (rising[upper] - rising[upper - 1])
    short = residual < rising[0]
    share = np.where(short, 0.0, np.minimum(share, 1.0))
    out = np.zeros((len(path), len(residual)))
    n = np.arange(len(residual))
    out[len(path) - 1 - upper, n] = share
    out[len(path) - upper, n] = np.where(short, residual / rising[0], 1 - share)
    return out


def _source(
    number: FloatArray, angle_rad: FloatArray, directions: DirectionSet, max_tilt: float
) -> tuple[FloatArray, float]:
    """Polynomials of the numbers that start in each group and direction, and their error summed over all."""
    tilt = np.array([(u, v) for u in np.linspace(-1, 1, 7) for v in np.linspace(-1, 1, 7)]) * max_tilt
    rays = np.column_stack([tilt, -np.ones(len(tilt))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    design = np.stack([tilt[:, 0] ** i * tilt[:, 1] ** j for i, j in TILT_TERMS], -1)
    taken = _numbers(number, angle_rad, directions, rays)
    out = taken @ np.linalg.pinv(design).T
    return out, float(np.sqrt(((out @ design.T - taken) ** 2).mean(-1)).sum())


def _numbers(number: FloatArray, angle_rad: FloatArray, directions: DirectionSet, rays: FloatArray) -> FloatArray:
    """Electrons that start in each group and direction, for rays of some directions, float64 [groups, directions, n].

    ``number`` [groups, m] is how many start at each of the m angles from the ray.
    """
    nodes = np.linspace(0, np.pi, _ANGLES)
    faces = np.concatenate([[0.0], (nodes[1:] + nodes[:-1]) / 2, [np.pi]])
    ring = 2 * np.pi * np.diff(-np.cos(faces))
    position = angle_rad / nodes[1]
    low = np.minimum(position.astype(int), _ANGLES - 2)
    angle = np.arccos(np.clip(directions.sub @ rays.T, -1, 1))  # [directions, within the cell, rays]
    omega = directions.solid_angle[:, None] / directions.sub.shape[1]
    out = np.empty((len(number), len(directions), len(rays)))
    for g, here in enumerate(number):
        histogram = np.bincount(low, here * (1 - position + low), _ANGLES)
        histogram += np.bincount(low + 1, here * (position - low), _ANGLES)
        taken = (np.interp(angle, nodes, histogram / ring) * omega[:, :, None]).sum(1)
        out[g] = _with_moments(taken, directions.directions, rays, here, angle_rad)
    return out


def _with_moments(
    taken: FloatArray, directions: FloatArray, rays: FloatArray, number: FloatArray, angle_rad: FloatArray
) -> FloatArray:
    """Numbers by direction whose sum and first two angular moments are those of the electrons, for every ray.

    What falls into a cell travels along its middle, which by itself spreads a narrow source and bends it outwards; the
    numbers are multiplied with a polynomial of second order in the direction, found from its nine moments.
    """
    cosine = np.cos(angle_rad)
    moment1 = float(number @ cosine)
    moment2 = float(number @ (1.5 * cosine**2 - 0.5))
    out = np.empty_like(taken)
    basis = _harmonics(directions)
    for n, ray in enumerate(rays):
        wanted = _harmonics(ray[None])[0] * np.array([number.sum(), *[moment1] * 3, *[moment2] * 5])
        w = taken[:, n]
        gram = (basis * w[:, None]).T @ basis
        factor = np.linalg.lstsq(gram, wanted - basis.T @ w, rcond=1e-9)[0]
        out[:, n] = w * (1 + basis @ factor)
    return out


def _harmonics(unit: FloatArray) -> FloatArray:
    """1, the three components, and the five independent second moments of unit vectors, float64 [n, 9]."""
    x, y, z = unit.T
    return np.stack([np.ones(len(unit)), x, y, z, x * y, x * z, y * z, x * x - y * y, z * z - 1 / 3], -1)


def _per_material(edges: FloatArray, ranges: _Ranges, materials: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """Stopping relative to water, and amount of scattering, of each group and material."""
    within = (np.arange(16) + 0.5) / 16
    stopping = np.empty((len(edges) - 1, len(materials)))
    amounts = np.empty_like(stopping)
    for g, (upper, lower) in enumerate(pairwise(edges)):
        energy = np.maximum(ranges.energy_at(lower + (upper - lower) * within), _LEAST_MEV)
        water = electron_material("water").collision(energy)
        for m, name in enumerate(materials):
            material = electron_material(name)
            relative = material.collision(energy) / water
            stopping[g, m] = relative.mean()
            amounts[g, m] = (material.transport(energy) / relative).mean() * (upper - lower)
    return stopping, amounts
