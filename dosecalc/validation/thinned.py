"""Thinned cases, small enough to ship: layers, the mean dose on the axis and a few profiles of a Monte Carlo case.

One NPZ file per case, written by ``tools/thin_montecarlo.py``; ``data/PROVENANCE.md`` says from what.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc.validation.case import Case, CaseHeader, ReferenceCurve
from dosecalc.validation.montecarlo import MonteCarloCase

FloatArray = NDArray[np.float64]

DATA_FOLDER = Path(__file__).parent / "data"


@dataclass(frozen=True, eq=False)
class ThinnedCase(Case):
    """A layered case with its reference on lines only.

    Parameters
    ----------
    axis_dose, axis_sigma : float64 [z]
        Mean dose about the axis and its standard deviation, Gy cm2.
    depths_cm : tuple of float
        Depths of the profiles.
    profile_dose, profile_sigma : float64 [depth, x]
        Gy cm2.
    """

    axis_dose: FloatArray
    axis_sigma: FloatArray
    depths_cm: tuple[float, ...]
    profile_dose: FloatArray
    profile_sigma: FloatArray

    @property
    def profile_depths_cm(self) -> tuple[float, ...]:
        """Depths at which profiles were kept."""
        return self.depths_cm

    def axis_reference(self) -> ReferenceCurve:
        """The kept depth dose."""
        return ReferenceCurve(self.axis_dose, self.axis_sigma)

    def profile_reference(self, depth_cm: float) -> ReferenceCurve:
        """The kept profile."""
        kept = self.depths_cm.index(depth_cm)
        return ReferenceCurve(self.profile_dose[kept], self.profile_sigma[kept])


def thinned_arrays(case: MonteCarloCase, header: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What is kept of a layered case; ``header`` is its whole JSON, which says how the run was made."""
    axis = case.axis_reference()
    depths = case.profile_depths_cm
    profiles = [case.profile_reference(depth) for depth in depths]
    return {
        "header": np.array(json.dumps(header)),
        "x_edges": case.x_edges_cm,
        "y_edges": case.y_edges_cm,
        "z_edges": case.z_edges_cm,
        "layer_density": case.density[:, 0, 0],
        "layer_medium": case.medium[:, 0, 0],
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
        axis_dose,
        axis_sigma,
        tuple(float(d) for d in arrays["profile_depths_cm"]),
        profile_dose,
        profile_sigma,
    )


def shipped_cases() -> tuple[ThinnedCase, ...]:
    """The cases that come with the package, by name."""
    return tuple(load_thinned(path) for path in sorted(DATA_FOLDER.glob("*.npz")))
