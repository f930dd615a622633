"""Pencil kernels as sums of a few fixed lateral shapes, with weights by depth and by lateral scale."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dosecalc.machine.model import Spectrum, spectrum_nodes
from dosecalc.photon.pencil_kernel import LARGEST_DEPTH_GCM2, PencilKernel, divergent, pencil_kernel

FloatArray = NDArray[np.float64]

#: rates of the lateral shapes a exp(-a r) / (2 pi r) at the isocentre plane, 1/cm, coarse ones first
RATES_CM = np.array([0.012, 0.05, 0.17, 0.5, 1.2, 3.0, 8.0, 28.0])
#: how many of them are wide: their convolutions vary slowly and exist beside the field too
WIDE = 4
#: depths of the table are even in the square root, dense in the build-up: depth = (index / this)^2, g/cm2
DEPTH_INDEX_PER_ROOT = 40.0
#: scales s (g/cm2 of lateral distance per cm at the isocentre plane) are even in 1 / (1 + s): from metal to thin lung
LEAST_SCALE_INDEX, LARGEST_SCALE_INDEX, SCALES = 0.07, 0.965, 72
#: radii at the isocentre plane at which the sums are fitted, cm: from a pixel to the largest field's half diagonal
_RADII_CM = np.geomspace(0.08, 35.0, 56)
#: keeps weights of neighbouring shapes from growing with opposite signs, per unit of relative error
_RIDGE = 2e-5


@dataclass(frozen=True, eq=False)
class PencilBasis:
    """A pencil kernel in the form that the engine needs.

    ``sum_i weight_i(d, s) (1 - exp(-a_i r))`` is the dose of an even circular field of radius r at depth d, with r
    measured at a plane where lateral distances count s times: by geometry, by density, or both.

    Parameters
    ----------
    rates_cm : float64 [8]
        a_i, 1/cm.
    primary, scatter : float32 [depths, scales, 8]
        Weights; their sum over i is the dose of a field without end.
    residual : float
        Largest error of the sum, relative to the dose of the same circular field, for radii of 0.2 to 20 cm, depths
        of 0.5 to 30 g/cm2 and scales of 0.8 to 1.3 (water).
    residual_lung : float
        The same for scales of 0.2 to 0.4.
    kernel : PencilKernel
    """

    rates_cm: FloatArray
    primary: NDArray[np.float32]
    scatter: NDArray[np.float32]
    residual: float
    residual_lung: float
    kernel: PencilKernel


@lru_cache(maxsize=32)
def pencil_basis(spectrum: Spectrum, survive: tuple[float, ...] | None = None) -> PencilBasis:
    """The decomposed pencil kernel of a beam quality.

    Parameters
    ----------
    spectrum : Spectrum
    survive : tuple of float, optional
        Share of the photons of each of its energies (`spectrum_nodes`) that is left behind something in the beam.

    Raises
    ------
    MachineError
        ``ENERGY_OUTSIDE_TABLE``.
    """
    energies, photons = spectrum_nodes(spectrum)
    parallel = pencil_kernel(energies, photons if survive is None else photons * np.array(survive))
    return decompose(divergent(parallel))


@lru_cache(maxsize=32)
def mean_weights(
    spectrum: Spectrum, survive: tuple[float, ...] | None, thickness_gcm2: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of primary and scatter averaged over the thickness of a voxel: float32 [depths, scales, 8] each.

    What a voxel receives is the mean over it; in the first millimetres that is not the dose in its middle. The part of
    the voxel in front of the surface counts as nothing.
    """
    basis = pencil_basis(spectrum, survive)
    depths = table_depths()
    low = np.maximum(depths - thickness_gcm2 / 2, 0.0)
    high = np.minimum(depths + thickness_gcm2 / 2, depths[-1])
    return _means(basis.primary, depths, low, high), _means(basis.scatter, depths, low, high)


def _means(table: NDArray[np.float32], depths: FloatArray, low: FloatArray, high: FloatArray) -> NDArray[np.float32]:
    """Means between pairs of depths of a table that is linear between its rows."""
    rows = table.reshape(len(depths), -1).astype(np.float64)
    areas = np.vstack([np.zeros(rows.shape[1]), ((rows[1:] + rows[:-1]) / 2 * np.diff(depths)[:, None]).cumsum(0)])

    def up_to(depth: FloatArray) -> FloatArray:
        j = np.clip(np.searchsorted(depths, depth, side="right") - 1, 0, len(depths) - 2)
        part = (depth - depths[j])[:, None]
        slope = (rows[j + 1] - rows[j]) / (depths[j + 1] - depths[j])[:, None]
        return np.asarray(areas[j] + part * (rows[j] + slope * part / 2))

    found = (up_to(high) - up_to(low)) / (high - low)[:, None]
    return np.ascontiguousarray(found.reshape(table.shape), np.float32)


def table_depths() -> FloatArray:
    """Depths of the weight tables, g/cm2, float64 [depths]."""
    last = pencil_depth_limit()
    return np.asarray((np.arange(int(np.sqrt(last) * DEPTH_INDEX_PER_ROOT) + 1) / DEPTH_INDEX_PER_ROOT) ** 2)


def pencil_depth_limit() -> float:
    """The largest radiological depth that can be looked up, g/cm2."""
    return LARGEST_DEPTH_GCM2 - 1.0


def table_scales() -> FloatArray:
    """Lateral scales of the weight tables, float64 [scales], falling."""
    return np.asarray(1 / np.linspace(LEAST_SCALE_INDEX, LARGEST_SCALE_INDEX, SCALES) - 1)


def decompose(kernel: PencilKernel) -> PencilBasis:
    """Weights of the fixed shapes by linear least squares, with the energy of every depth exact.

    The error that counts is that of the cumulative kernel relative to its own value, primary and scatter together:
    the error of the dose on the axis of circular fields. Bortfeld, Schlegel, Rhein 1993, Med Phys 20:311 decompose
    into depth weights and lateral shapes too, but with shapes from a singular value decomposition at one scale; shapes
    of one family, a exp(-a r)/r (Ahnesjo, Saxner, Trepp 1992, Med Phys 19:263), serve every scale.
    """
    depths, scales = table_depths(), table_scales()
    inside = [_at(kernel, table, depths) for table in (kernel.primary, kernel.scatter)]
    shapes = 1 - np.exp(-np.outer(_RADII_CM, RATES_CM))
    weights = [np.empty((len(depths), len(scales), len(RATES_CM)), np.float32) for _ in inside]
    residuals = np.zeros((len(depths), len(scales)))
    checked = (_RADII_CM >= 0.2) & (_RADII_CM <= 20)
    for j, scale in enumerate(scales):
        reach = np.minimum(_RADII_CM * scale, kernel.radii_gcm2[-1])
        wanted = [f(reach).T for f in inside]
        total = wanted[0] + wanted[1]
        importance = 1 / np.maximum(total, 0.02 * total[:, -1:])
        error = np.zeros_like(total)
        for table, part, f in zip(weights, wanted, inside, strict=True):
            table[:, j] = _fit(shapes, part, f(kernel.radii_gcm2[-1]), importance)
            error += (table[:, j] @ shapes.T - part) * importance
        residuals[:, j] = np.abs(error[:, checked]).max(1)
    deep = (depths >= 0.5) & (depths <= 30)
    water, lung = (residuals[deep][:, (scales >= lo) & (scales <= hi)].max() for lo, hi in ((0.8, 1.3), (0.2, 0.4)))
    return PencilBasis(RATES_CM, weights[0], weights[1], float(water), float(lung), kernel)


def _at(kernel: PencilKernel, table: FloatArray, depths: FloatArray) -> PchipInterpolator:
    """A cumulative table at other depths, as a function of radius; on the surface as in the first half step."""
    rows = np.array([np.interp(depths, kernel.depths_gcm2, column) for column in table.T])
    return PchipInterpolator(kernel.radii_gcm2, rows)


def _fit(shapes: FloatArray, wanted: FloatArray, total: FloatArray, importance: FloatArray) -> FloatArray:
    """Weights [depths, shapes] whose sum is ``total`` [depths], nearest to ``wanted`` [depths, radii]."""
    # the last weight follows from the total
    free = shapes[:, :-1] - shapes[:, -1:]
    goal = wanted - total[:, None] * shapes[:, -1]
    design = free * importance[..., None]
    scale = _RIDGE / total[:, None, None] ** 2
    normal = design.transpose(0, 2, 1) @ design + scale * np.eye(free.shape[1])
    right = np.einsum("drk,dr->dk", design, goal * importance)
    found = np.linalg.solve(normal, right[..., None])[..., 0]
    return np.concatenate([found, (total - found.sum(1))[:, None]], axis=1)
