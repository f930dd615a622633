"""What the electrons' transport starts with, so that in water it lays energy down as the Monte Carlo point kernels say.

Slowing down continuously, electrons of one energy all come equally far. Real ones lose energy in unequal steps, to
knock-on electrons and to bremsstrahlung: some stop short, few go further, and they are deflected on the way. All this
is in the point kernels. It is put into the transport where it costs nothing, in the source: the electrons that start
are a mixture, not negative, of those of the first interactions with their ranges multiplied and their directions
spread. The mixture is found by least squares on two distributions of the energy about its origin, which decide the
build-up of a wide beam and its penumbra: how much lies before a plane across the beam, and before one along it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.signal import lfilter

from dosecalc.photon.kernel import PolyKernel

FloatArray = NDArray[np.float64]

#: factors of the ranges that are mixed, and amounts of scattering that spread their directions
RANGE_FACTORS = (0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15)
SPREADS = (0.0, 0.1)
#: layers in which the distributions are computed, per longest range, and how far they reach, in longest ranges
_LAYERS, _BEFORE, _BEYOND = 100, 0.4, 0.9
#: pull towards the electrons as they are, per squared difference of the cumulated energy
_PULL = 1e-6
#: directions along a layer are as slow to cross it as this cosine
_LEAST_COSINE = 0.02
#: each way within a bin of the kernel, and about its axis, when it is projected
_WITHIN, _AROUND = 6, 48


def mixture(
    kernel: PolyKernel,
    sources: FloatArray,
    directions: FloatArray,
    width: FloatArray,
    deposit: FloatArray,
    scattering: FloatArray,
    theta: float,
) -> tuple[FloatArray, float]:
    """Weights of some sources that together deposit as a kernel.

    Parameters
    ----------
    kernel : PolyKernel
        Its primary part.
    sources : float64 [range factors, spreads, groups, directions]
        Electrons that start, each source so many that they deposit one unit in all.
    directions : float64 [directions, 3]
        The beam runs along -z.
    width, deposit : float64 [groups]
    scattering : float64 [groups - 1, directions, directions]
        In water; as `dosecalc_kernels.contract`, "electron_transport", takes them.
    theta : float

    Returns
    -------
    weights : float64 [range factors, spreads]
        Their sum is 1.
    residual : float
        Largest difference of both cumulated distributions from the kernel's, as a share of the energy.
    """
    layer = width.sum() / _LAYERS
    before, beyond = (round(reach * _LAYERS) for reach in (_BEFORE, _BEYOND))
    columns, wanted = [], []
    for cosines, projected in ((-directions[:, 2], _along_beam(kernel)), (directions[:, 0], _across_beam(kernel))):
        laid = laid_down(
            sources.reshape(-1, *sources.shape[2:]), cosines, width, deposit, scattering, theta, layer, before, beyond
        )
        columns.append(laid.cumsum(1).T)
        wanted.append(_in_layers(*projected, layer, before, beyond).cumsum())
    matrix, target = np.vstack(columns), np.concatenate(wanted)
    prior = np.zeros(sources.shape[:2])
    prior[RANGE_FACTORS.index(1.0), SPREADS.index(0.0)] = 1.0
    pull = np.sqrt(_PULL * len(target))
    certain = 100.0  # the weights' sum holds exactly, so it weighs heavily
    found, _ = nnls(
        np.vstack([matrix, pull * np.eye(prior.size), np.full((1, prior.size), certain)]),
        np.concatenate([target, pull * prior.ravel(), [certain]]),
    )
    weights = found / found.sum()
    return weights.reshape(prior.shape), float(abs(matrix @ weights - target).max())


def laid_down(
    sources: FloatArray,
    cosines: FloatArray,
    width: FloatArray,
    deposit: FloatArray,
    scattering: FloatArray,
    theta: float,
    layer: float,
    before: int,
    beyond: int,
) -> FloatArray:
    """Energy that electrons from an even sheet of water lay down about it: the transport in one dimension.

    Parameters
    ----------
    sources, width, deposit, scattering, theta
        As `mixture` takes them.
    cosines : float64 [directions]
        Between each direction and the normal of the layers.
    layer : float
        Thickness, g/cm2; the source fills one.
    before, beyond : int
        Layers before that of the source and beyond it.

    Returns
    -------
    float64 [n, before + 1 + beyond]
    """
    out = np.zeros((len(sources), before + 1 + beyond))
    flow = np.zeros((len(sources), len(cosines), out.shape[1]))
    for g, energy in enumerate(deposit):
        outflow = np.empty_like(flow)
        for d, cosine in enumerate(cosines):
            turned = slice(None, None, -1 if cosine < 0 else 1)
            inflow = flow[:, d, turned]
            x = layer / (theta * width[g] * max(abs(cosine), _LEAST_COSINE))
            relaxed = -np.expm1(-x)
            a = inflow.copy()
            a[:, beyond if cosine < 0 else before] += theta / layer * sources[:, g, d]
            b = np.zeros_like(a)
            b[:, 1:-1] = (inflow[:, 2:] - inflow[:, :-2]) / 2
            p = a - b / x - b / 2
            # what leaves a layer enters the next
            entering = lfilter([0.0, 1.0], [1.0, relaxed - 1.0], p * relaxed + b)
            mean = a - b / x + (entering - p) * relaxed / x
            out += energy * layer * mean[:, turned]
            outflow[:, d] = ((mean - (1 - theta) * inflow) / theta)[:, turned]
        if g + 1 < len(deposit):
            flow = np.moveaxis(np.tensordot(outflow, scattering[g], (1, 0)), 2, 1)
    return out


def _along_beam(kernel: PolyKernel) -> tuple[FloatArray, FloatArray]:
    """Places along the beam, cm, and the primary energy there."""
    radius, cosine, energy = _points(kernel)
    return cosine * radius, energy


def _across_beam(kernel: PolyKernel) -> tuple[FloatArray, FloatArray]:
    """Places across the beam, cm, and the primary energy there."""
    radius, cosine, energy = _points(kernel)
    phi = (np.arange(_AROUND) + 0.5) / _AROUND * np.pi
    across = (np.sqrt(1 - cosine**2) * radius)[:, None] * np.cos(phi)
    return across.ravel(), np.repeat(energy / _AROUND, _AROUND)


def _points(kernel: PolyKernel) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Radii, cosines and primary energy of points that fill the kernel's bins."""
    share = (np.arange(_WITHIN) + 0.5) / _WITHIN
    radius, cosine = (
        (edges[:-1, None] + np.diff(edges)[:, None] * share).ravel()
        for edges in (kernel.r_edges_cm, kernel.cos_theta_edges)
    )
    bins = np.diff(np.diff(kernel.primary, axis=0), axis=1) / _WITHIN**2
    energy = np.repeat(np.repeat(bins, _WITHIN, 0), _WITHIN, 1)
    return np.tile(radius, len(cosine)), np.repeat(cosine, len(radius)), energy.ravel()


def _in_layers(place: FloatArray, energy: FloatArray, layer: float, before: int, beyond: int) -> FloatArray:
    """Energy in each layer when what it belongs to starts anywhere in layer 0."""
    fine = 5
    edges = layer * ((np.arange((before + 1 + beyond) * fine + 1)) / fine - before - 0.5)
    found = np.histogram(place, edges, weights=energy)[0]
    return np.asarray(np.convolve(found, np.full(fine, 1 / fine), "same").reshape(-1, fine).sum(1))
