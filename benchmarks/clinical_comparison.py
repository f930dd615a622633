"""A computed dose beside a clinical one: gamma, points, DVHs, and what a systematic difference looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymedphys
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, shift
from scipy.optimize import minimize, nnls

from dosecalc.dose.dvh import compute_dvh
from dosecalc.geometry import Volume
from dosecalc.patient.structures import StructureSet

FloatArray = NDArray[np.float64]

#: gamma criteria: percent of the clinical maximum, mm; below 10 % of the maximum nothing is judged
GAMMAS = ((3.0, 3.0), (3.0, 2.0), (2.0, 2.0))
THRESHOLD_PERCENT = 10.0


@dataclass(frozen=True)
class StructureDifference:
    """Doses of a structure, clinical and computed, Gy; the same DVH code reads both."""

    name: str
    volume_cm3: float
    clinical: dict[str, float]
    computed: dict[str, float]


def high_dose_ratio(clinical: Volume, computed: Volume) -> float:
    """Median of computed over clinical dose where the clinical one exceeds half of its maximum."""
    c, d = clinical.values, computed.values
    high = c > 0.5 * c.max()
    return float(np.median(d[high] / c[high]))


def gamma_pass_rates(clinical: Volume, computed: NDArray[np.floating[Any]]) -> dict[str, tuple[float, float]]:
    """Percent of voxels that pass above 10 and above 50 % of the maximum; pymedphys, global, reference clinical.

    Parameters
    ----------
    clinical : Volume
    computed : float [z, y, x]
        On the clinical grid.
    """
    box = _around(clinical.values > THRESHOLD_PERCENT / 100 * clinical.values.max(), 3)
    g = clinical.grid
    axes = tuple(a[s] for a, s in zip((g.z_mm, g.y_mm, g.x_mm), box, strict=True))
    reference, evaluated = (np.asarray(v[box], np.float64) for v in (clinical.values, computed))
    rates = {}
    for percent, mm in GAMMAS:
        values = pymedphys.gamma(
            axes, reference, axes, evaluated, percent, mm, lower_percent_dose_cutoff=THRESHOLD_PERCENT,
            interp_fraction=10, max_gamma=1.01, skip_once_passed=True,
            global_normalisation=float(clinical.values.max()),
        )  # fmt: skip
        high = values[reference > 0.5 * reference.max()]
        judged = values[np.isfinite(values)]
        rates[f"{percent:g}%/{mm:g}mm"] = 100.0 * float((judged <= 1).mean()), 100.0 * float((high <= 1).mean())
    return rates


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice, slice]:
    slices = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        slices.append(slice(max(0, int(filled[0]) - margin), int(filled[-1]) + margin + 1))
    return slices[0], slices[1], slices[2]


def dose_at(volume: Volume, point_mm: Sequence[float]) -> float:
    """Dose at a point of the patient frame, linear between voxels, Gy."""
    g = volume.grid
    index = [(point_mm[a] - g.origin_mm[a]) / g.spacing_mm[a] for a in (2, 1, 0)]
    return float(map_coordinates(volume.values, np.array(index)[:, None], order=1)[0])


def best_shift_mm(clinical: Volume, computed: Volume) -> tuple[float, float, float]:
    """The rigid displacement (x, y, z) of the computed dose, mm, that with a free scale fits the clinical one best.

    Where geometry is right it is a fraction of a voxel, whatever the beam model does.
    """
    box = _around(clinical.values > THRESHOLD_PERCENT / 100 * clinical.values.max(), 3)
    c, d = clinical.values[box].astype(np.float64), computed.values[box].astype(np.float64)
    judged = c > THRESHOLD_PERCENT / 100 * c.max()

    def misfit(offset: FloatArray) -> float:
        return _scaled_misfit(c[judged], shift(d, offset, order=3, mode="nearest")[judged])

    simplex = np.vstack([np.zeros(3), 0.3 * np.eye(3)])
    found = minimize(misfit, np.zeros(3), method="Nelder-Mead", options={"xatol": 0.01, "initial_simplex": simplex})
    x, y, z = (float(v) for v in found.x[::-1] * np.array(clinical.grid.spacing_mm))
    return x, y, z


def relative_misfit_percent(clinical: Volume, computed: Volume) -> float:
    """Root mean square difference after the best scale, percent of the clinical maximum, where there is 10 % dose."""
    judged = clinical.values > THRESHOLD_PERCENT / 100 * clinical.values.max()
    c, d = clinical.values[judged].astype(np.float64), computed.values[judged].astype(np.float64)
    return 100 * float(np.sqrt(_scaled_misfit(c, d))) / float(c.max())


def _scaled_misfit(c: FloatArray, d: FloatArray) -> float:
    scale = float(c @ d) / max(float(d @ d), 1e-30)
    return float(np.mean((scale * d - c) ** 2))


def beam_weights(clinical: Volume, beams: Sequence[Volume]) -> tuple[float, ...]:
    """Factors of the computed beams that together fit the clinical dose best; least squares, not negative.

    They hint at what depends on the beam (output of small fields, a density on its way); beams that overlap everywhere
    cannot be told apart.
    """
    judged = clinical.values > THRESHOLD_PERCENT / 100 * clinical.values.max()
    matrix = np.stack([b.values[judged] for b in beams], -1).astype(np.float64)
    weights, _ = nnls(matrix, clinical.values[judged].astype(np.float64))
    return tuple(float(w) for w in weights)


def structure_differences(
    structures: StructureSet, clinical: Volume, computed: Volume
) -> tuple[StructureDifference, ...]:
    """Mean, D98 and D2 of every structure that has a volume and at least 1 % of the maximum."""
    out = []
    for structure in structures.structures:
        both = [compute_dvh(structure, volume) for volume in (clinical, computed)]
        found = [
            {"mean": s["mean_gy"], "d98": s["near_min_d98_gy"], "d2": s["near_max_d2_gy"]}
            for s in (dvh.statistics() for dvh in both)
        ]
        if both[0].volume_cm3 > 0 and found[0]["d2"] > 0.01 * float(clinical.values.max()):
            out.append(StructureDifference(structure.name, both[0].volume_cm3, found[0], found[1]))
    return tuple(out)
