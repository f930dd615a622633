"""Collapsed cones: directions, exponential fits, and how emission changes when the local ray is tilted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dosecalc.photon.kept import Kept
from dosecalc.photon.kernel import PolyKernel

FloatArray = NDArray[np.float64]


class Ring(NamedTuple):
    """Cones side by side about the beam's axis.

    Parameters
    ----------
    theta_low_deg, theta_high_deg : float
        Polar angles between which the ring takes up the kernel.
    cones : int
        Evenly spaced, half a step from the planes of the field's sides; a multiple of 4, which keeps the set symmetric.
    """

    theta_low_deg: float
    theta_high_deg: float
    cones: int


def _rings(*rings: tuple[float, int]) -> tuple[Ring, ...]:
    """Rings one behind the other from their upper angle and number of cones."""
    lower = (0.0, *(upper for upper, _ in rings[:-1]))
    return tuple(Ring(low, high, cones) for low, (high, cones) in zip(lower, rings, strict=True))


#: directions by the name that requests use; boundaries and numbers of cones were found by annealing: the least error of
#: open fields in water beside 6,900 directions (tools/anneal_cones.py); what they are worth is measured by
#: benchmarks/convergence.py. A ring across the beam takes a multiple of 8:
#: the lines of a cone at 45 degrees between two axes of the grid are swept along one of them, not evenly along both
CONE_SETS: dict[str, tuple[Ring, ...]] = {
    "standard": _rings(
        (6.7, 8), (12.7, 16), (17.9, 12), (30.0, 16), (45.0, 16), (69.6, 16), (94.0, 8), (137.0, 8), (180.0, 4)
    ),
    "fine": _rings(
        (4.6, 8), (7.5, 8), (10.2, 8), (14.7, 24), (20.7, 40), (32.8, 32), (45.2, 52), (62.6, 72), (80.9, 56),
        (97.9, 16), (134.9, 40), (143.6, 4), (161.2, 8), (180.0, 12),
    ),
}  # fmt: skip

#: exponents of u and v in the ten terms of the tilt polynomials
TILT_TERMS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))


@dataclass(frozen=True, eq=False)
class ConeSet:
    """Cones in the axial frame with what the transport needs of each.

    Cone i deposits, of the kerma released at a point, ``sum_k amplitude_k (1 - exp(-rate_k l))`` within the
    water-equivalent distance l (k = 0, 1 for the primary; 2, 3 with the scerma). Amplitudes are cubic polynomials in
    the tilt (u, v) = (x, y)/|z| of the local ray in the axial frame.

    Parameters
    ----------
    directions : float64 [n, 3]
        Unit vectors along which energy travels, axial frame (the beam runs along -z).
    rates : float64 [n, 4]
        1/(g/cm2).
    amplitudes : float64 [n, 4, 10]
        Coefficients of the terms `TILT_TERMS`.
    residual_primary, residual_scatter : float
        Largest absolute error of the fitted cumulative kernels over distance, summed over the cones.
    max_tilt : float
        Largest |u|, |v| that the polynomials hold for.
    residual_tilt : float
        Root mean square error of the amplitude polynomials over those tilts, summed over the cones, as a share of
        the energy.
    """

    directions: FloatArray
    rates: FloatArray
    amplitudes: FloatArray
    residual_primary: float
    residual_scatter: float
    max_tilt: float
    residual_tilt: float

    def __len__(self) -> int:
        return len(self.directions)


def build_cones(
    kernel: PolyKernel,
    rings: Sequence[Ring] = CONE_SETS["standard"],
    max_tilt: float = 0.1,
    look: Callable[[], None] = lambda: None,
) -> ConeSet:
    """Collapse a kernel on cones.

    Parameters
    ----------
    kernel : PolyKernel
    rings : sequence of Ring
    max_tilt : float
        Largest |u|, |v| that the polynomials are fitted for (0.2 reaches the edge of a 40 cm field); the narrower,
        the better they fit.
    look : callable, optional
        Called between steps of a fraction of a second; what it raises ends the work, and nothing half-done is kept.
    """
    tilt = np.array([(u, v) for u in np.linspace(-1, 1, 7) for v in np.linspace(-1, 1, 7)]) * max_tilt
    rays = np.column_stack([tilt, -np.ones(len(tilt))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)

    fits = _ring_fits(kernel, tuple(rings), look)
    cells = [(n, ring, (j + 0.5) * 2 * np.pi / ring.cones) for n, ring in enumerate(rings) for j in range(ring.cones)]
    rates = np.array([fits[n].rates for n, _, _ in cells])
    per_cell = []
    for _, ring, phi in cells:
        per_cell.append(_cell(kernel, ring, phi, rays))
        look()
    directions = np.array([direction for direction, _ in per_cell])
    # [cells, 2 components, tilts, radii]; the midpoint sums over all cells are brought to the kernel's own totals, so
    # that energy is conserved for every tilt, not nearly conserved
    deposited = np.array([d for _, d in per_cell])
    totals = np.array([kernel.primary[-1], kernel.scatter[-1]])[:, None, :]
    deposited *= (np.maximum(totals, 1e-30) / np.maximum(deposited.sum(0), 1e-30))[None]

    design = np.stack([tilt[:, 0] ** i * tilt[:, 1] ** j for i, j in TILT_TERMS], -1)
    project = np.linalg.pinv(design)
    amplitudes = np.empty((len(cells), 4, len(TILT_TERMS)))
    tilt_error = 0.0
    for n, cell in enumerate(deposited):
        look()
        weights = fits[cells[n][0]].weights
        for row in (0, 2):
            fitted = _fit_amplitudes(kernel.r_edges_cm, cell[row // 2], rates[n, row : row + 2], weights[row // 2])
            amplitudes[n, row : row + 2] = fitted @ project.T
            off = (fitted - amplitudes[n, row : row + 2] @ design.T).sum(0)
            tilt_error += float(np.sqrt(np.mean(off**2)))
    misplaced = np.sum([fit.misplaced for fit in fits], axis=0)
    return ConeSet(directions, rates, amplitudes, float(misplaced[0]), float(misplaced[1]), max_tilt, tilt_error / 2)


def _cell(kernel: PolyKernel, ring: Ring, phi: float, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean direction of a cone, and what it takes up of primary and scatter: [2, rays, radii], cumulative."""
    theta_lo, theta_hi, count = ring
    cos_sub, phi_sub = _sub_directions(theta_lo, theta_hi, count)
    phi_sub = phi_sub + phi
    sin_sub = np.sqrt(1 - cos_sub**2)
    sub = np.stack([sin_sub * np.cos(phi_sub), sin_sub * np.sin(phi_sub), -cos_sub], -1)
    omega = (np.cos(np.deg2rad(theta_lo)) - np.cos(np.deg2rad(theta_hi))) * 2 * np.pi / count / len(sub)
    angle = np.arccos(np.clip(sub @ rays.T, -1.0, 1.0))
    deposited = []
    moment = np.zeros(3)
    for table in _angular_tables(kernel):
        position = angle / np.pi * (len(table) - 1)
        low = np.minimum(position.astype(int), len(table) - 2)
        f = (position - low)[..., None]
        per_sr = table[low] * (1 - f) + table[low + 1] * f
        deposited.append(per_sr.sum(0) * omega)
        moment += per_sr[:, len(rays) // 2, -1] @ sub
    return moment / np.linalg.norm(moment), np.array(deposited)


@lru_cache(maxsize=8)
def _angular_tables(kernel: PolyKernel) -> tuple[FloatArray, FloatArray]:
    """Primary and scatter per steradian on 721 even angles from 0 to pi: [angles, radii], cumulative in radius."""
    cosines = np.cos(np.linspace(0, np.pi, 721))
    return kernel.per_steradian("primary", cosines), kernel.per_steradian("scatter", cosines)


class _RingFit(NamedTuple):
    """Two exponentials each for primary and scatter: rates [4], weights of the fit [2, radii], largest errors [2]."""

    rates: FloatArray
    weights: FloatArray
    misplaced: FloatArray


#: fits of kernels by their content: most of the work, and the same for every range of tilts
_KEPT: Kept[list[_RingFit]] = Kept(16)


def _ring_fits(kernel: PolyKernel, rings: tuple[Ring, ...], look: Callable[[], None]) -> list[_RingFit]:
    """The fits of all rings, kept for the next range of tilts of the same kernel."""

    def made() -> list[_RingFit]:
        fits = []
        for ring in rings:
            fits.append(_fit_ring(kernel, ring))
            look()
        return fits

    return _KEPT.get((kernel.primary.tobytes(), kernel.scatter.tobytes(), rings), made)


def _fit_ring(kernel: PolyKernel, ring: Ring) -> _RingFit:
    """The shape of a ring's kernel without tilt."""
    r = kernel.r_edges_cm
    edges = -np.cos(np.deg2rad([ring.theta_low_deg, ring.theta_high_deg]))
    rates: list[float] = []
    weights, misplaced = [], []
    for table, is_primary in ((kernel.primary, True), (kernel.scatter, False)):
        cumulative = np.diff([np.interp(edges, -kernel.cos_theta_edges, column) for column in table.T]).ravel()
        shape = cumulative / cumulative[-1]
        w = _range_weights(shape) if is_primary else np.ones_like(shape)
        a = _fit_rates(r, shape, w)
        rates.extend(a)
        weights.append(w)
        fitted = _exponentials(r, a) @ _fit_amplitudes(r, cumulative, a, w)
        misplaced.append(np.abs(fitted - cumulative).max())
    return _RingFit(np.array(rates), np.array(weights), np.array(misplaced))


def _exponentials(r: FloatArray, rates: FloatArray) -> FloatArray:
    return 1.0 - np.exp(-np.outer(r, rates))


def _fit_amplitudes(r: FloatArray, cumulative: FloatArray, rates: FloatArray, weights: FloatArray) -> FloatArray:
    """Two amplitudes by least squares whose fitted total at the table's end is that of the kernel exactly."""
    b = _exponentials(r, rates)
    # amplitude 1 follows from the total; amplitude 0 by least squares
    ratio = b[-1, 0] / b[-1, 1]
    base = b[:, 1:2] / b[-1, 1]
    slope = b[:, 0] - ratio * b[:, 1]
    y = cumulative.T.reshape(len(r), -1)
    weighted = slope * weights
    a0 = weighted @ (y - base * y[-1]) / (weighted @ slope)
    a1 = (y[-1] - b[-1, 0] * a0) / b[-1, 1]
    out = np.stack([a0, a1])
    return out[:, 0] if cumulative.ndim == 1 else out


def _range_weights(shape: FloatArray) -> FloatArray:
    """Weights of a primary kernel's fit: its last tenth decides the dose from the maximum on, where it must be right.

    Two exponentials leave 0.6 % there without weights and 0.5 % with them (6 MV). Ten times the weight would halve what
    is left there, and misplace twice as much of the energy in the build-up.
    """
    return np.asarray(1.0 + 10.0 * shape**8)


def _fit_rates(r: FloatArray, shape: FloatArray, weights: FloatArray) -> FloatArray:
    """Two rates, at least a factor 1.25 apart (nearer ones need huge amplitudes of opposite sign).

    The slower exponential is kept from a negative amplitude, with which the kernel would take energy back beyond the
    end of its table.
    """

    def loss(p: FloatArray) -> float:
        # `_fit_amplitudes` written out for one shape: it is asked a hundred thousand times for each kernel
        rate = np.exp(p[0])
        slow, fast = 1.0 - np.exp(-rate * r), 1.0 - np.exp(-rate * (1.25 + np.exp(p[1])) * r)
        slope = slow - slow[-1] / fast[-1] * fast
        weighted = slope * weights
        norm = weighted @ slope
        if not norm > 0:
            return np.inf  # so fast that both have ended within the first radius, and cannot be told apart
        first = weighted @ (shape - fast * (shape[-1] / fast[-1])) / norm
        e = first * slow + (shape[-1] - slow[-1] * first) / fast[-1] * fast - shape
        return float((weights * e) @ e + min(first, 0.0) ** 2 + 1e-9 * (p @ p))

    half = float(np.interp(0.5, shape, r))
    starts = [np.array([np.log(s * 0.7 / half), t]) for s in (0.5, 1.0, 2.0) for t in (-1.0, 0.5, 2.0)]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [minimize(loss, x, method="Nelder-Mead", options={"maxiter": 400}) for x in starts]
    best = min(found, key=lambda o: o.fun)
    return np.asarray(np.exp(best.x[0]) * np.array([1.0, 1.25 + np.exp(best.x[1])]))


def _sub_directions(
    theta_lo: float, theta_hi: float, count: int, n_theta: int = 8, n_phi: int = 8
) -> tuple[FloatArray, FloatArray]:
    """Directions that fill a cone evenly: midpoints in cosine and azimuth."""
    c0, c1 = np.cos(np.deg2rad(theta_lo)), np.cos(np.deg2rad(theta_hi))
    cos = c0 + (c1 - c0) * (np.arange(n_theta) + 0.5) / n_theta
    phi = ((np.arange(n_phi) + 0.5) / n_phi - 0.5) * 2 * np.pi / count
    grid = np.meshgrid(cos, phi, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()
