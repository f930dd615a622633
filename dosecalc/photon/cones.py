"""Collapsed cones: directions, exponential fits, and how emission changes when the local ray is tilted."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    directions: FloatArray
    rates: FloatArray
    amplitudes: FloatArray
    residual_primary: float
    residual_scatter: float

    def __len__(self) -> int:
        return len(self.directions)


def build_cones(
    kernel: PolyKernel,
    rings: tuple[tuple[float, float, int], ...] = DEFAULT_RINGS,
    max_tilt: float = 0.25,
) -> ConeSet:
    """Collapse a kernel on cones.

    Parameters
    ----------
    kernel : PolyKernel
    rings : tuple of (theta_low_deg, theta_high_deg, cones)
        Each ring is divided evenly in azimuth; the number of cones is a multiple of 4, which keeps the set symmetric.
    max_tilt : float
        Largest |u|, |v| that the polynomials are fitted for (0.2 reaches the corner axis of a 40 cm field).
    """
    directions, rates, amplitudes, errors = [], [], [], []
    for theta_lo, theta_hi, count in rings:
        shape, error = _fit_ring(kernel, np.cos(np.deg2rad(theta_lo)), np.cos(np.deg2rad(theta_hi)))
        errors.append(error)
        polynomials, node = _tilt_polynomials(kernel, theta_lo, theta_hi, count, shape, max_tilt)
        for j in range(count):
            phi = (j + 0.5) * 2 * np.pi / count
            directions.append(_about_beam(node, phi))
            rates.append(shape)
            amplitudes.append(_rotate_polynomials(polynomials, phi))
    total = np.sum(errors, axis=0)
    return ConeSet(np.array(directions), np.array(rates), np.array(amplitudes), float(total[0]), float(total[1]))


def _about_beam(node: FloatArray, phi: float) -> FloatArray:
    c, s = np.cos(phi), np.sin(phi)
    return np.array([c * node[0] - s * node[1], s * node[0] + c * node[1], node[2]])


def _fit_ring(kernel: PolyKernel, cos_lo: float, cos_hi: float) -> tuple[FloatArray, tuple[float, float]]:
    """Rates of the two exponentials of primary and scatter of a ring (no tilt), and the residual of its energy."""
    rates, errors = [], []
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
    return np.exp(best.x[0]) * np.array([1.0, 1.25 + np.exp(best.x[1])])


def _tilt_polynomials(
    kernel: PolyKernel, theta_lo: float, theta_hi: float, count: int, rates: FloatArray, max_tilt: float
) -> tuple[FloatArray, FloatArray]:
    """Amplitude polynomials [4, 10] of a cone of a ring centred on azimuth 0, and its mean direction."""
    cos_sub, phi_sub = _sub_directions(theta_lo, theta_hi, count)
    sin_sub = np.sqrt(1 - cos_sub**2)
    sub = np.stack([sin_sub * np.cos(phi_sub), sin_sub * np.sin(phi_sub), -cos_sub], -1)
    omega = (np.cos(np.deg2rad(theta_lo)) - np.cos(np.deg2rad(theta_hi))) * 2 * np.pi / count / len(sub)

    tilt = np.array([(u, v) for u in np.linspace(-1, 1, 7) for v in np.linspace(-1, 1, 7)]) * max_tilt
    rays = np.column_stack([tilt, -np.ones(len(tilt))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    cosines = sub @ rays.T
    design = np.stack([tilt[:, 0] ** i * tilt[:, 1] ** j for i, j in TILT_TERMS], -1)

    polynomials = np.zeros((4, len(TILT_TERMS)))
    moment = np.zeros(3)
    centre = len(tilt) // 2
    for row, component in ((0, "primary"), (2, "scatter")):
        per_sr = kernel.per_steradian(component, cosines.ravel()).reshape(*cosines.shape, -1)
        cumulative = per_sr.sum(0) * omega
        amplitude = _fit_amplitudes(kernel.r_edges_cm, cumulative, rates[row : row + 2])
        polynomials[row : row + 2] = np.linalg.lstsq(design, amplitude.T, rcond=None)[0].T
        moment += per_sr[:, centre, -1] @ sub
    return polynomials, moment / np.linalg.norm(moment)


def _sub_directions(theta_lo: float, theta_hi: float, count: int, n_theta: int = 12, n_phi: int = 8) -> tuple[FloatArray, FloatArray]:
    """Directions that fill a cone evenly: midpoints in cosine and azimuth."""
    c0, c1 = np.cos(np.deg2rad(theta_lo)), np.cos(np.deg2rad(theta_hi))
    cos = c0 + (c1 - c0) * (np.arange(n_theta) + 0.5) / n_theta
    phi = ((np.arange(n_phi) + 0.5) / n_phi - 0.5) * 2 * np.pi / count
    grid = np.meshgrid(cos, phi, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def _rotate_polynomials(polynomials: FloatArray, phi: float) -> FloatArray:
    """The polynomials of the cone at azimuth 0 expressed for the cone turned by phi: p'(u, v) = p(R(-phi) (u, v))."""
    c, s = np.cos(phi), np.sin(phi)
    sample = np.array([(u, v) for u in np.linspace(-1, 1, 4) for v in np.linspace(-1, 1, 4)])
    turned = np.column_stack([c * sample[:, 0] + s * sample[:, 1], -s * sample[:, 0] + c * sample[:, 1]])
    terms = lambda t: np.stack([t[:, 0] ** i * t[:, 1] ** j for i, j in TILT_TERMS], -1)  # noqa: E731
    values = terms(turned) @ polynomials.T
    return np.linalg.lstsq(terms(sample), values, rcond=None)[0].T
