"""Collapsed cones: directions, exponential fits, and how emission changes when the local ray is tilted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dosecalc.photon.kernel import PolyKernel

FloatArray = NDArray[np.float64]

#: polar ring boundaries (degrees from the beam's axis) and cones in each ring, fine where the energy goes
DEFAULT_RINGS: tuple[tuple[float, float, int], ...] = (
    (0.0, 9.0, 4),
    (9.0, 20.0, 8),
    (20.0, 32.0, 12),
    (32.0, 45.0, 16),
    (45.0, 60.0, 16),
    (60.0, 80.0, 16),
    (80.0, 105.0, 12),
    (105.0, 135.0, 8),
    (135.0, 180.0, 4),
)

#: exponents of u and v in the ten terms of the tilt polynomials
TILT_TERMS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))


@dataclass(frozen=True, eq=False)
class ConeSet:
    """Cones in the gantry frame with what the transport needs of each.

    Cone i deposits, of the kerma released at a point, ``sum_k amplitude_k (1 - exp(-rate_k l))`` within the
    water-equivalent distance l (k = 0, 1 for the primary; 2, 3 with the scerma). Amplitudes are cubic polynomials in
    the tilt (u, v) = (x, y)/|z| of the local ray in the gantry frame.

    Parameters
    ----------
    directions : float64 [n, 3]
        Unit vectors along which energy travels, gantry frame (the beam runs along -z).
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
    rings: tuple[tuple[float, float, int], ...] = DEFAULT_RINGS,
    max_tilt: float = 0.1,
) -> ConeSet:
    """Collapse a kernel on cones.

    Parameters
    ----------
    kernel : PolyKernel
    rings : tuple of (theta_low_deg, theta_high_deg, cones)
        Each ring is divided evenly in azimuth; the number of cones is a multiple of 4, which keeps the set symmetric.
    max_tilt : float
        Largest |u|, |v| that the polynomials are fitted for (0.2 reaches the edge of a 40 cm field); the narrower,
        the better they fit.
    """
    tilt = np.array([(u, v) for u in np.linspace(-1, 1, 7) for v in np.linspace(-1, 1, 7)]) * max_tilt
    rays = np.column_stack([tilt, -np.ones(len(tilt))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)

    shapes, errors = zip(*(_fit_ring(kernel, lo, hi) for lo, hi, _ in rings), strict=True)
    cells = [
        (ring, theta_lo, theta_hi, count, (j + 0.5) * 2 * np.pi / count)
        for ring, (theta_lo, theta_hi, count) in enumerate(rings)
        for j in range(count)
    ]
    rates = np.array([shapes[ring] for ring, *_ in cells])
    per_cell = [_cell(kernel, lo, hi, count, phi, rays) for _, lo, hi, count, phi in cells]
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
        for row in (0, 2):
            fitted = _fit_amplitudes(kernel.r_edges_cm, cell[row // 2], rates[n, row : row + 2])
            amplitudes[n, row : row + 2] = fitted @ project.T
            off = (fitted - amplitudes[n, row : row + 2] @ design.T).sum(0)
            tilt_error += float(np.sqrt(np.mean(off**2)))
    total_error = np.sum(errors, axis=0)
    return ConeSet(
        directions, rates, amplitudes, float(total_error[0]), float(total_error[1]), max_tilt, tilt_error / 2
    )


def _cell(
    kernel: PolyKernel, theta_lo: float, theta_hi: float, count: int, phi: float, rays: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean direction of a cone, and what it takes up of primary and scatter: [2, rays, radii], cumulative."""
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


def _fit_ring(kernel: PolyKernel, theta_lo: float, theta_hi: float) -> tuple[FloatArray, tuple[float, float]]:
    """Rates of the two exponentials of primary and scatter of a ring (no tilt), and the residual of its energy."""
    cos_lo, cos_hi = np.cos(np.deg2rad(theta_lo)), np.cos(np.deg2rad(theta_hi))
    rates: list[float] = []
    errors: list[float] = []
    for table in (kernel.primary, kernel.scatter):
        rows = [np.array([np.interp(-c, -kernel.cos_theta_edges, col) for col in table.T]) for c in (cos_lo, cos_hi)]
        cumulative = rows[1] - rows[0]
        a = _fit_rates(kernel.r_edges_cm, cumulative / cumulative[-1])
        rates.extend(a)
        fitted = _exponentials(kernel.r_edges_cm, a) @ _fit_amplitudes(kernel.r_edges_cm, cumulative, a)
        errors.append(float(np.abs(fitted - cumulative).max()))
    return np.array(rates), (errors[0], errors[1])


def _exponentials(r: FloatArray, rates: FloatArray) -> FloatArray:
    return 1.0 - np.exp(-np.outer(r, rates))


def _fit_amplitudes(r: FloatArray, cumulative: FloatArray, rates: FloatArray) -> FloatArray:
    """Two amplitudes by least squares whose fitted total at the table's end is that of the kernel exactly."""
    b = _exponentials(r, rates)
    # amplitude 1 follows from the total; amplitude 0 by least squares
    ratio = b[-1, 0] / b[-1, 1]
    base = b[:, 1:2] / b[-1, 1]
    slope = b[:, 0] - ratio * b[:, 1]
    y = cumulative.T.reshape(len(r), -1)
    a0 = slope @ (y - base * y[-1]) / (slope @ slope)
    a1 = (y[-1] - b[-1, 0] * a0) / b[-1, 1]
    out = np.stack([a0, a1])
    return out[:, 0] if cumulative.ndim == 1 else out


def _fit_rates(r: FloatArray, shape: FloatArray) -> FloatArray:
    """Two rates, at least a factor 1.25 apart (nearer ones need huge amplitudes of opposite sign)."""

    def loss(p: FloatArray) -> float:
        a = np.exp(p[0]) * np.array([1.0, 1.25 + np.exp(p[1])])
        e = _exponentials(r, a) @ _fit_amplitudes(r, shape, a) - shape
        return float(e @ e + 1e-9 * (p @ p))

    half = float(np.interp(0.5, shape, r))
    starts = [np.array([np.log(s * 0.7 / half), t]) for s in (0.5, 1.0, 2.0) for t in (-1.0, 0.5, 2.0)]
    best = min((minimize(loss, x, method="Nelder-Mead", options={"maxiter": 400}) for x in starts), key=lambda o: o.fun)
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
