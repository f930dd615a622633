"""Exact superposition of point kernels in a phantom of layers, energy by energy: what the collapsed cone approximates.

No cones, no exponentials, no voxels, no mean kernel: every energy of the spectrum has its own kernels, whose axis is
the ray that the photon came along, and rays are followed through the layers. Density scaling, as the collapsed cone has
it: distances are mass distances, kernels those of endless water. A point source, a rectangular field, faces normal to
the axis of the beam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from dosecalc.machine.model import Spectrum, spectrum_nodes
from dosecalc.photon.kernel import (
    PolyKernel,
    collision_fraction,
    cumulate,
    hardening_weights,
    kernel_bins,
    poly_kernel,
)
from dosecalc.photon.spectral import GY_PER_MEV_G
from dosecalc.photon.tables import attenuation_table, point_kernels

FloatArray = NDArray[np.float64]

_ANGLES = 361
_AZIMUTHS = 24


@dataclass(frozen=True, eq=False)
class Layers:
    """A phantom of layers.

    Parameters
    ----------
    edges_cm : float64 [n + 1]
        Depths of their faces, from 0.
    density : float64 [n]
        g/cm3.
    materials : tuple of str
        Of the attenuation table, one for each layer.
    half_cm : (float, float)
        Half the phantom's width along x and y.
    """

    edges_cm: FloatArray
    density: FloatArray
    materials: tuple[str, ...]
    half_cm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Release:
    """What each energy of a spectrum releases in layers, and its kernels.

    Parameters
    ----------
    depth : float64 [energies, layers + 1]
        Line integral of the attenuation along the axis down to each face.
    kerma, scerma : float64 [energies, layers]
        Gy per photon/cm2 of the whole spectrum, before attenuation.
    primary, scatter : float64 [energies, angles, radii]
        Per steradian on even angles, cumulative in radius; per kerma and per scerma.
    """

    depth: FloatArray
    kerma: FloatArray
    scerma: FloatArray
    primary: FloatArray
    scatter: FloatArray


def release(layers: Layers, spectrum: Spectrum, kernels: Literal["own", "mean", "weighted"] = "own") -> Release:
    """Prepare a spectrum for a phantom; dose is to the local medium.

    Parameters
    ----------
    layers : Layers
    spectrum : Spectrum
    kernels : str
        ``own`` of each energy; the engine's ``mean`` one for all of them; the mean one with the engine's hardening
        weights, ``weighted``.
    """
    energies, photons = spectrum_nodes(spectrum)
    table = attenuation_table()
    fraction = collision_fraction(energies)
    mu_water, tr_water = table.coefficients("water", energies)
    weights = np.ones((2, len(energies)))
    if kernels == "weighted":
        weights = np.array(hardening_weights(energies, photons * energies))
    depth, kerma, scerma = [np.zeros(len(energies))], [], []
    for n, material in enumerate(layers.materials):
        mu, tr = table.coefficients(material, energies)
        depth.append(depth[-1] + mu * layers.density[n] * (layers.edges_cm[n + 1] - layers.edges_cm[n]))
        f = fraction * (tr / mu) / (tr_water / mu_water)
        terma = photons * energies * mu * GY_PER_MEV_G
        kerma.append(weights[0] * terma * f)
        scerma.append(weights[1] * terma * (1 - f))
    if kernels == "own":
        primary, scatter = (np.array([_per_steradian(cumulate(b)) for b in bins]) for bins in kernel_bins(energies))
    else:
        mean = poly_kernel(energies, photons * energies)
        primary, scatter = (np.array([_per_steradian(c)] * len(energies)) for c in (mean.primary, mean.scatter))
    return Release(np.array(depth).T, np.array(kerma).T, np.array(scerma).T, primary, scatter)


def _per_steradian(cumulative: FloatArray) -> FloatArray:
    """A cumulative kernel [k + 1, m + 1] on even angles, cumulative in radius: [angles, m + 1]."""
    k = point_kernels()
    whole = PolyKernel(np.cos(k.theta_edges_rad), k.r_edges_cm, cumulative, cumulative)
    return whole.per_steradian("primary", np.cos(np.linspace(0, np.pi, _ANGLES)))


def dose(
    points_cm: FloatArray, layers: Layers, of: Release, field_cm: tuple[float, float], ssd_cm: float
) -> tuple[FloatArray, FloatArray]:
    """Primary and scattered dose at points, Gy cm2.

    Parameters
    ----------
    points_cm : float64 [n, 3]
        x, y from the beam's axis, depth.
    layers : Layers
    of : Release
    field_cm : (float, float)
        Full widths at the front face.
    ssd_cm : float
    """
    theta = np.concatenate([np.linspace(0, 0.35, 40), np.linspace(0.35, 1.2, 40)[1:], np.linspace(1.2, np.pi, 50)[1:]])
    cosine = np.cos(theta)
    arguments: tuple[Any, ...] = (
        np.ascontiguousarray(points_cm, np.float64), layers.edges_cm, layers.density, of.depth,
        np.stack([of.kerma, of.scerma]), np.stack([of.primary, of.scatter]), point_kernels().r_edges_cm,
        np.array(field_cm) / 2, np.array(layers.half_cm), ssd_cm,
        (cosine[1:] + cosine[:-1]) / 2, -np.diff(cosine) * 2 * np.pi / _AZIMUTHS, _steps(),
    )  # fmt: skip
    out = _dose(*arguments)
    return out[:, 0], out[:, 1]


def _steps() -> FloatArray:
    """Distances along a ray at which it is cut into pieces, cm."""
    return np.concatenate([
        np.arange(0.0, 2.0, 0.05), np.arange(2.0, 6.0, 0.1), np.arange(6.0, 15.0, 0.25), np.arange(15.0, 60.1, 0.5)
    ])  # fmt: skip


@njit(inline="always")
def _place(z, edges):
    """Layer of a depth; the last one beyond it."""
    return min(max(np.searchsorted(edges, z) - 1, 0), len(edges) - 2)


@njit(parallel=True, error_model="numpy")
def _dose(points, edges, density, depth, released, kernels, radii, half, box, ssd, cosines, omega, steps):
    n_energies, n_angles = kernels.shape[1], kernels.shape[2]
    out = np.zeros((len(points), 2))
    for p in prange(len(points)):
        x0, y0, z0 = points[p]
        for it in range(len(cosines)):
            c = cosines[it]
            s = math.sqrt(1 - c * c)
            for ip in range(_AZIMUTHS):
                phi = (ip + 0.5) * 2 * math.pi / _AZIMUTHS
                dx, dy = s * math.cos(phi), s * math.sin(phi)
                near = 0.0
                for k in range(len(steps) - 1):
                    middle, size = (steps[k] + steps[k + 1]) / 2, steps[k + 1] - steps[k]
                    x, y, z = x0 - middle * dx, y0 - middle * dy, z0 - middle * c
                    if z < 0 or z > edges[-1] or abs(x) > box[0] or abs(y) > box[1]:
                        break
                    layer = _place(z, edges)
                    # exact where the step lies in one layer, by the layer of its middle where it crosses a face
                    far = near + density[layer] * size
                    if near >= radii[-1]:
                        break
                    down = ssd + z
                    if abs(x) / down * ssd < half[0] and abs(y) / down * ssd < half[1]:
                        away = math.sqrt(x * x + y * y + down * down)
                        slant = away / down
                        angle = math.acos(min(1.0, max(-1.0, (x * dx + y * dy + down * c) / away)))
                        at = angle / math.pi * (n_angles - 1)
                        low = min(int(at), n_angles - 2)
                        f = at - low
                        i, j = _cell(near, radii), _cell(far, radii)
                        g, h = _share(near, radii, i), _share(far, radii, j)
                        fluence = (ssd / away) ** 2 * omega[it]
                        within = (z - edges[layer]) / (edges[layer + 1] - edges[layer])
                        for e in range(n_energies):
                            path = depth[e, layer] + (depth[e, layer + 1] - depth[e, layer]) * within
                            left = fluence * math.exp(-path * slant)
                            for part in range(2):
                                t = kernels[part, e]
                                lower = t[low, j] + (t[low, j + 1] - t[low, j]) * h
                                lower -= t[low, i] + (t[low, i + 1] - t[low, i]) * g
                                upper = t[low + 1, j] + (t[low + 1, j + 1] - t[low + 1, j]) * h
                                upper -= t[low + 1, i] + (t[low + 1, i + 1] - t[low + 1, i]) * g
                                out[p, part] += left * released[part, e, layer] * (lower + (upper - lower) * f)
                    near = far
    return out


@njit(inline="always")
def _cell(r, radii):
    return min(np.searchsorted(radii, r, side="right") - 1, len(radii) - 2)


@njit(inline="always")
def _share(r, radii, i):
    return min((r - radii[i]) / (radii[i + 1] - radii[i]), 1.0)
