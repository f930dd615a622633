"""Thinned cases, small enough to ship: what of a layered Monte Carlo case the measures look at, and no more.

That is the layers, the mean dose on the axis, the profiles, and the voxels that gamma judges, one of every eight that
are mirror images of each other. So the measures are those of the full arrays.

One NPZ file per case, written by ``tools/thin_montecarlo.py``; ``data/PROVENANCE.md`` says from what.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.validation.case import GAMMA_THRESHOLD_PERCENT, Axis, Case, CaseHeader, Reference
from dosecalc.validation.montecarlo import MonteCarloCase

FloatArray = NDArray[np.float64]

DATA_FOLDER = Path(__file__).parent / "data"


@dataclass(frozen=True, eq=False)
class ThinnedCase(Case):
    """A layered case with its reference where it is looked at.

    Parameters
    ----------
    dose, sigma : float64 [z, y, x]
        Gy cm2; zero where gamma is not judged.
    axis_dose, axis_sigma : float64 [z]
        Mean dose about the axis and its standard deviation, Gy cm2.
    depths_cm : tuple of float
        Depths of the profiles.
    profile_dose, profile_sigma : float64 [depth, x]
        Gy cm2.
    """

    dose: FloatArray
    sigma: FloatArray
    axis_dose: FloatArray
    axis_sigma: FloatArray
    depths_cm: tuple[float, ...]
    profile_dose: FloatArray
    profile_sigma: FloatArray

    @property
    def profile_depths_cm(self) -> tuple[float, ...]:
        """Depths at which profiles were kept."""
        return self.depths_cm

    def voxel_reference(self) -> Reference:
        """The kept voxels."""
        return Reference(self.dose, self.sigma)

    def axis_reference(self) -> Reference:
        """The kept depth dose."""
        return Reference(self.axis_dose, self.axis_sigma)

    def profile_reference(self, depth_cm: float, axis: Axis) -> Reference:
        """The kept profile, the same along both axes."""
        kept = self.depths_cm.index(depth_cm)
        return Reference(self.profile_dose[kept], self.profile_sigma[kept])


def thinned_arrays(case: MonteCarloCase, header: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What is kept of a layered case; ``header`` is its whole JSON, which says how the run was made.

    Raises
    ------
    ValueError
        The doses are not mirror images of each other, so that an eighth of them would not be all.
    """
    part = _folded(case.dose)
    kept = part >= GAMMA_THRESHOLD_PERCENT / 100 * case.dose.max()
    if not np.array_equal(_unfolded(part, case.dose.shape[1]), case.dose):
        raise ValueError(f"{case.name} is not symmetric")
    axis = case.axis_reference()
    depths = case.profile_depths_cm
    profiles = [case.profile_reference(depth, "x") for depth in depths]
    return {
        "header": np.array(json.dumps(header)),
        "x_edges": case.x_edges_cm,
        "y_edges": case.y_edges_cm,
        "z_edges": case.z_edges_cm,
        "layer_density": case.density[:, 0, 0],
        "layer_medium": case.medium[:, 0, 0],
        "voxels_kept": np.packbits(kept),
        "voxel_dose": part[kept].astype(np.float32),
        "voxel_rel_unc": (_folded(case.sigma)[kept] / part[kept]).astype(np.float16),
        "axis_dose": axis.dose.astype(np.float32),
        "axis_sigma": axis.sigma.astype(np.float32),
        "profile_depths_cm": np.array(depths),
        "profile_dose": np.array([p.dose for p in profiles], np.float32),
        "profile_sigma": np.array([p.sigma for p in profiles], np.float32),
    }


def load_thinned(path: Path) -> ThinnedCase:
    """Read a file of `thinned_arrays`."""
    with np.load(path) as f:
        arrays = {name: f[name] for name in f.files}
    edges = [arrays[f"{axis}_edges"].astype(np.float64) for axis in "xyz"]
    shape = tuple(len(e) - 1 for e in reversed(edges))
    density, medium = (
        np.broadcast_to(arrays[name][:, None, None], shape) for name in ("layer_density", "layer_medium")
    )
    dose, sigma = _voxels(arrays, shape)
    axis_dose, axis_sigma, profile_dose, profile_sigma = (
        arrays[name].astype(np.float64) for name in ("axis_dose", "axis_sigma", "profile_dose", "profile_sigma")
    )
    return ThinnedCase(
        CaseHeader.model_validate_json(str(arrays["header"])),
        density,
        medium,
        edges[0],
        edges[1],
        edges[2],
        dose,
        sigma,
        axis_dose,
        axis_sigma,
        tuple(float(d) for d in arrays["profile_depths_cm"]),
        profile_dose,
        profile_sigma,
    )


def shipped_cases() -> tuple[ThinnedCase, ...]:
    """The cases that come with the package, by name."""
    return tuple(load_thinned(path) for path in sorted(DATA_FOLDER.glob("*.npz")))


def _voxels(arrays: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Dose and standard deviation on all voxels, zero where none were kept."""
    part = np.zeros((shape[0], len(_fold_indices(shape[1])[0])))
    kept = np.unpackbits(arrays["voxels_kept"], count=part.size).astype(bool).reshape(part.shape)
    part[kept] = arrays["voxel_dose"]
    dose = _unfolded(part, shape[1])
    part[kept] *= arrays["voxel_rel_unc"].astype(np.float64)
    return dose, _unfolded(part, shape[1])


def _fold_indices(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the quadrant beyond the axis that are on and above its diagonal, for n x n voxels."""
    y, x = np.triu_indices(n // 2)
    return y, x


def _folded(values: FloatArray) -> FloatArray:
    """The eighth of each plane that all others are mirror images of, [z, k]."""
    n = values.shape[1]
    y, x = _fold_indices(n)
    return np.asarray(values[:, n - n // 2 + y, n - n // 2 + x])


def _unfolded(part: FloatArray, n: int) -> FloatArray:
    """Whole planes [z, n, n] of `_folded` ones."""
    y, x = _fold_indices(n)
    quadrant = np.zeros((len(part), n // 2, n // 2))
    quadrant[:, y, x] = quadrant[:, x, y] = part
    half = np.concatenate([quadrant[:, ::-1], quadrant], axis=1)
    return np.concatenate([half[:, :, ::-1], half], axis=2)
