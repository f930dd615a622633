"""What cones keep of a kernel: how far the fitted energy lies from the tabulated one, along radius and over angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dosecalc.photon.cones import TILT_TERMS, ConeSet, Ring
from dosecalc.photon.kernel import PolyKernel

FloatArray = NDArray[np.float64]

#: rows of a cone's amplitudes that hold each part
_ROWS = {"primary": slice(0, 2), "scatter": slice(2, 4)}


@dataclass(frozen=True)
class PartResiduals:
    """Residuals of one part of a kernel, percent of the energy that drives it (collision kerma or scerma).

    Parameters
    ----------
    radial_max, radial_rms : float
        Of the energy within a radius, all directions together, over the radii of the table.
    angular_max, angular_rms : float
        Of the energy that each ring of cones takes up.
    misplaced_max : float
        Largest misplaced energy over radii of each ring, summed over the rings: no error of one ring makes up for that
        of another.
    conservation : float
        Of the whole energy, the largest over the tilts of the local ray that the polynomials hold for.
    """

    radial_max: float
    radial_rms: float
    angular_max: float
    angular_rms: float
    misplaced_max: float
    conservation: float


def part_residuals(kernel: PolyKernel, cones: ConeSet, rings: Sequence[Ring], part: str) -> PartResiduals:
    """Hold cones against the kernel that they were built from.

    Parameters
    ----------
    kernel : PolyKernel
    cones : ConeSet
        Of `build_cones(kernel, rings)`.
    rings : sequence of Ring
    part : 'primary' or 'scatter'
    """
    table = kernel.primary if part == "primary" else kernel.scatter
    rates = cones.rates[:, _ROWS[part]]
    grown = 1.0 - np.exp(-rates[..., None] * kernel.r_edges_cm)  # [cones, 2, radii]
    untilted = (cones.amplitudes[:, _ROWS[part], 0][..., None] * grown).sum(1)
    radial = untilted.sum(0) - table[-1]
    ring_of = np.repeat(np.arange(len(rings)), [ring.cones for ring in rings])
    of_rings = np.bincount(ring_of, untilted[:, -1])
    edges = -np.cos(np.deg2rad([rings[0].theta_low_deg, *(ring.theta_high_deg for ring in rings)]))
    angular = of_rings - np.diff(PchipInterpolator(-kernel.cos_theta_edges, table[:, -1])(edges))
    whole = _whole_energy(cones, _ROWS[part], grown[..., -1]) - table[-1, -1]
    misplaced = cones.residual_primary if part == "primary" else cones.residual_scatter
    return PartResiduals(
        100 * float(np.abs(radial).max()),
        100 * float(np.sqrt(np.mean(radial[1:] ** 2))),
        100 * float(np.abs(angular).max()),
        100 * float(np.sqrt(np.mean(angular**2))),
        100 * misplaced,
        100 * float(np.abs(whole).max()),
    )


def _whole_energy(cones: ConeSet, rows: slice, grown: FloatArray) -> FloatArray:
    """Energy of all cones together for the tilts of the local ray, float64 [tilts]."""
    at = np.linspace(-cones.max_tilt, cones.max_tilt, 7)
    u, v = (values.ravel() for values in np.meshgrid(at, at))
    terms = np.stack([u**i * v**j for i, j in TILT_TERMS])
    amplitudes: FloatArray = np.einsum("cat,tn->can", cones.amplitudes[:, rows], terms)
    return np.asarray((amplitudes * grown[..., None]).sum((0, 1)))
