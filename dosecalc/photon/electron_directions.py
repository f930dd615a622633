"""Discrete directions of electrons about a beam's axis, and how scattering moves electrons between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm
from scipy.optimize import nnls

FloatArray = NDArray[np.float64]

#: polar ring boundaries (degrees from the beam's axis) and cells in each ring; multiples of 4 keep the set symmetric
RINGS: tuple[tuple[float, float, int], ...] = (
    (0.0, 4.0, 1),
    (4.0, 12.0, 8),
    (12.0, 21.0, 12),
    (21.0, 32.0, 16),
    (32.0, 46.0, 16),
    (46.0, 62.0, 16),
    (62.0, 84.0, 12),
    (84.0, 115.0, 8),
    (115.0, 150.0, 4),
    (150.0, 180.0, 1),
)
#: cells each way within which the distribution of the source is summed
_SUB = 8


@dataclass(frozen=True, eq=False)
class DirectionSet:
    """Directions in the gantry frame (the beam runs along -z), with the cells of the sphere that they stand for.

    Parameters
    ----------
    directions : float64 [n, 3]
        Unit vectors along which electrons travel.
    sub : float64 [n, m, 3]
        Directions that fill each cell evenly.
    solid_angle : float64 [n]
    """

    directions: FloatArray
    sub: FloatArray
    solid_angle: FloatArray

    def __len__(self) -> int:
        return len(self.directions)


@cache
def direction_set(rings: tuple[tuple[float, float, int], ...] = RINGS) -> DirectionSet:
    """Cells of the rings, each with its mean direction."""
    sub, omega = [], []
    for low, high, count in rings:
        c0, c1 = np.cos(np.deg2rad([low, high]))
        cos = c0 + (c1 - c0) * (np.arange(_SUB) + 0.5) / _SUB
        sin = np.sqrt(1 - cos**2)
        for j in range(count):
            phi = (j + (np.arange(_SUB) + 0.5) / _SUB) * 2 * np.pi / count
            x, y = np.outer(sin, np.cos(phi)).ravel(), np.outer(sin, np.sin(phi)).ravel()
            sub.append(np.stack([x, y, -np.repeat(cos, _SUB)], -1))
            omega.append((c0 - c1) * 2 * np.pi / count)
    cells = np.array(sub)
    mean = cells.mean(1)
    return DirectionSet(mean / np.linalg.norm(mean, axis=1, keepdims=True), cells, np.array(omega))


@cache
def scattering_generator(ratio: float, rings: tuple[tuple[float, float, int], ...] = RINGS) -> FloatArray:
    """Rates of jumps between directions that reproduce the first two angular moments of elastic scattering.

    Per unit of the transport coefficient, the mean of every spherical harmonic of order 1 decays at rate 1 and of
    order 2 at ``ratio`` (Goudsmit and Saunderson 1940), exactly, from every direction: 8 equations for rates that are
    not negative and as local as they can be (least squares with the rates weighted by the square of the distance).

    Parameters
    ----------
    ratio : float
        Second over first transport coefficient, 3 for small-angle diffusion and less with large-angle scatters.

    Returns
    -------
    float64 [n, n]
        ``rate[i, j]`` from i to j; the diagonal makes rows sum to zero.
    """
    omega = direction_set(rings).directions
    n = len(omega)
    tensor = omega[:, :, None] * omega[:, None, :] - np.eye(3) / 3
    quadratic = tensor[:, (0, 0, 0, 1, 1), (0, 1, 2, 1, 2)]
    rate = np.zeros((n, n))
    for i in range(n):
        others = np.delete(np.arange(n), i)
        moments = np.hstack([omega[others] - omega[i], quadratic[others] - quadratic[i]]).T
        wanted = np.concatenate([-omega[i], -ratio * quadratic[i]])
        distance2 = ((omega[others] - omega[i]) ** 2).sum(1)
        # moments must hold, so they weigh heavily; the rest picks near directions
        scale = 1e4
        solution, _ = nnls(
            np.vstack([scale * moments, np.diag(distance2)]), np.concatenate([scale * wanted, 0 * others])
        )
        rate[i, others] = solution
        rate[i, i] = -solution.sum()
    return rate


def scattering_matrix(rate: FloatArray, amount: float) -> FloatArray:
    """Where electrons go: ``matrix[i, j]`` is the share of direction i that is in j after an amount of scattering.

    Parameters
    ----------
    rate : float64 [n, n]
        As from `scattering_generator`.
    amount : float
        Integral of the transport coefficient along the path.
    """
    return np.asarray(expm(rate * amount))
