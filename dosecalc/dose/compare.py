"""Two doses beside each other: gamma, dose differences, and DVH differences of structures."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosecalc.devices import offload
from dosecalc.dose.dvh import Dvh, compute_dvh
from dosecalc.dose.dvh_statistics import DvhDifference, compare_dvhs
from dosecalc.dose.gamma import MAX_GAMMA, SAMPLING, THRESHOLD_PERCENT, Criterion, GammaResult, gamma
from dosecalc.errors import GeometryError
from dosecalc.geometry import Grid, Volume
from dosecalc.patient.masks import fractional_mask
from dosecalc.patient.structures import Structure
from dosecalc_kernels.offload import Offload

Mask = NDArray[np.bool_]

#: shape of ``Comparison.to_dict()``; raised when a field changes its meaning
SCHEMA_VERSION = 1
#: dose grids cover the same part of a structure when the volumes agree to this share: less moves no figure of interest
_SAME_PART = 1e-3


@dataclass(frozen=True)
class DoseDifference:
    """Evaluated minus reference at reference voxels, Gy; NaN where there are none.

    Parameters
    ----------
    points : int
    mean_gy, sd_gy, rms_gy, mean_abs_gy, median_gy : float
    p5_gy, p95_gy : float
        5th and 95th percentile.
    min_gy, max_gy : float
    mean_percent, rms_percent, max_abs_percent : float
        Percent of the normalisation dose.
    """

    points: int
    mean_gy: float
    sd_gy: float
    rms_gy: float
    mean_abs_gy: float
    median_gy: float
    p5_gy: float
    p95_gy: float
    min_gy: float
    max_gy: float
    mean_percent: float
    rms_percent: float
    max_abs_percent: float

    @classmethod
    def of(cls, difference_gy: NDArray[np.float32], normalisation_gy: float) -> DoseDifference:
        """Statistics of differences, float32 [n], Gy."""
        if not len(difference_gy):
            return cls(0, *[float("nan")] * 12)
        d = difference_gy.astype(np.float64)
        percent = 100.0 / normalisation_gy
        rms = math.sqrt(float(np.mean(d * d)))
        median, p5, p95 = (float(v) for v in np.percentile(d, (50.0, 5.0, 95.0)))
        low, high = float(d.min()), float(d.max())
        mean = float(d.mean())
        return cls(
            points=len(d),
            mean_gy=mean,
            sd_gy=float(d.std()),
            rms_gy=rms,
            mean_abs_gy=float(np.abs(d).mean()),
            median_gy=median,
            p5_gy=p5,
            p95_gy=p95,
            min_gy=low,
            max_gy=high,
            mean_percent=mean * percent,
            rms_percent=rms * percent,
            max_abs_percent=max(-low, high) * percent,
        )

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON-ready, ``None`` for what does not exist."""
        return _without_nan(asdict(self))


@dataclass(frozen=True, eq=False)
class StructureComparison:
    """What one structure gets from either dose.

    Parameters
    ----------
    number, name, kind : int, str, str
        Of the structure.
    gamma : tuple of dict
        For each criterion ``points``, ``pass_rate_percent``, ``mean``, … of the evaluated voxels whose larger half lies
        in the structure.
    difference : DoseDifference
        At those voxels.
    reference_dvh, evaluated_dvh : Dvh
    dvh_difference : DvhDifference or None
        Evaluated minus reference; None where the dose grids cover different parts of the structure, or none of it.
    """

    number: int
    name: str
    kind: str
    gamma: tuple[dict[str, float], ...]
    difference: DoseDifference
    reference_dvh: Dvh
    evaluated_dvh: Dvh
    dvh_difference: DvhDifference | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known about its DVHs."""
        pairs = (("reference", self.reference_dvh), ("evaluated", self.evaluated_dvh))
        notes = [f"{which}: {note}" for which, dvh in pairs for note in dvh.notes]
        if self.dvh_difference is None and self.reference_dvh.covered_cm3 != self.evaluated_dvh.covered_cm3:
            notes.append("DVHs are not compared, because the dose grids cover different parts of the structure.")
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        statistics = {
            which: _without_nan({"volume_cm3": dvh.volume_cm3, **dvh.statistics()})
            for which, dvh in (("reference", self.reference_dvh), ("evaluated", self.evaluated_dvh))
        }
        return {
            "number": self.number,
            "name": self.name,
            "kind": self.kind,
            "gamma": [_without_nan(g) for g in self.gamma],
            "difference": self.difference.to_dict(),
            "dvh": {**statistics, "difference": self.dvh_difference.to_dict() if self.dvh_difference else None},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """An evaluated dose beside a reference.

    Parameters
    ----------
    gamma : GammaResult
        ``gamma.maps`` are in the order of the criteria, on the reference grid.
    difference_gy : Volume
        Evaluated minus reference on the reference grid, Gy; NaN beyond the evaluated grid.
    difference : DoseDifference
        Of the voxels at or above the threshold.
    reference_max_gy, evaluated_max_gy : float
    structures : tuple of StructureComparison
    notes : tuple of str
        What a physicist should read.
    """

    gamma: GammaResult
    difference_gy: Volume
    difference: DoseDifference
    reference_max_gy: float
    evaluated_max_gy: float
    structures: tuple[StructureComparison, ...]
    notes: tuple[str, ...]

    @property
    def pass_rates_percent(self) -> dict[str, float]:
        """Pass rate by criterion, such as ``{"2%/2mm": 99.1}``."""
        return {str(m.criterion): m.pass_rate_percent for m in self.gamma.maps}

    @property
    def worst_mm(self) -> tuple[float, float, float]:
        """Where gamma for the first criterion is largest (of equals: the dose difference), (x, y, z), mm."""
        grid = self.difference_gy.grid
        values = np.nan_to_num(self.gamma.maps[0].values, nan=-1.0)
        apart = np.nan_to_num(np.abs(self.difference_gy.values), nan=0.0)
        worst = int(np.argmax(np.where(values == values.max(), apart, -1.0)))
        z, y, x = np.unravel_index(worst, grid.shape)
        return float(grid.x_mm[x]), float(grid.y_mm[y]), float(grid.z_mm[z])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, JSON-ready: units in the names, ``None`` for what does not exist."""
        g = self.gamma
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": {
                "local": g.local,
                "normalisation_gy": g.normalisation_gy,
                "threshold_gy": g.threshold_gy,
                "max_gamma": None if math.isinf(g.max_gamma) else g.max_gamma,
                "sampling": g.sampling,
            },
            "reference_max_gy": self.reference_max_gy,
            "evaluated_max_gy": self.evaluated_max_gy,
            "points_above_threshold": g.above_threshold,
            "points_without_gamma": g.unreached,
            "gamma": [m.to_dict() for m in g.maps],
            "worst_mm": list(self.worst_mm),
            "difference": self.difference.to_dict(),
            "structures": [s.to_dict() for s in self.structures],
            "notes": list(self.notes),
        }


def compare(
    reference: Volume,
    evaluated: Volume,
    *,
    criteria: Criterion | str | Iterable[Criterion | str] = "2%/2mm",
    local: bool = False,
    threshold_percent: float = THRESHOLD_PERCENT,
    normalisation_gy: float | None = None,
    max_gamma: float | None = MAX_GAMMA,
    sampling: int | None = SAMPLING,
    structures: Sequence[Structure] = (),
    reference_sigma_gy: ArrayLike | None = None,
    device: str | Offload = "cpu",
) -> Comparison:
    """Compare an evaluated dose with a reference in the same frame.

    Parameters
    ----------
    reference, evaluated : Volume
        Gy, each on its own grid.
    criteria, local, threshold_percent, normalisation_gy, max_gamma, sampling, reference_sigma_gy
        As in `dosecalc.dose.gamma.gamma`.
    device : str or Offload
        Where gamma, dose differences, masks and DVHs are computed, as `dosecalc.devices.offload` takes it.
    structures : sequence of Structure
        For each of them gamma, dose differences and DVHs are compared.

    Raises
    ------
    GeometryError
        ``GRIDS_APART``: the grids do not overlap.
    InputError, DeviceError
        As `dosecalc.dose.gamma.gamma`.
    PatientError
        ``CONTOUR_NOT_AXIAL``.
    """
    _refuse_apart(reference.grid, evaluated.grid)
    kernels = offload(device)
    found = gamma(
        reference,
        evaluated,
        criteria,
        local=local,
        threshold_percent=threshold_percent,
        normalisation_gy=normalisation_gy,
        max_gamma=max_gamma,
        sampling=sampling,
        reference_sigma_gy=reference_sigma_gy,
        device=kernels,
    )
    difference = on_grid(evaluated, reference.grid, kernels).values - reference.values
    counted = (reference.values >= found.threshold_gy) & ~np.isnan(difference)

    def of(structure: Structure) -> StructureComparison:
        return _compare_structure(structure, reference, evaluated, found, difference, counted, kernels)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # DVH kernels leave the interpreter to others
        compared = tuple(pool.map(of, structures))
    return Comparison(
        gamma=found,
        difference_gy=Volume(reference.grid, difference),
        difference=DoseDifference.of(difference[counted], found.normalisation_gy),
        reference_max_gy=float(reference.values.max()),
        evaluated_max_gy=float(evaluated.values.max()),
        structures=compared,
        notes=_notes(found, counted),
    )


def on_grid(volume: Volume, grid: Grid, device: str | Offload = "cpu") -> Volume:
    """A volume at the voxel centres of another grid, trilinear; NaN beyond its voxels."""
    kernels = offload(device)
    source = kernels.hold(volume.values)
    z, y, x = (
        (at - first) / step
        for at, first, step in zip(
            (grid.z_mm, grid.y_mm, grid.x_mm), volume.grid.origin_mm[::-1], volume.grid.spacing_mm[::-1], strict=True
        )
    )
    values = np.empty(grid.shape, dtype=np.float32)
    index = np.empty((len(y) * len(x), 3))  # a layer at a time: indices take more memory than doses
    index[:, 1], index[:, 2] = np.repeat(y, len(x)), np.tile(x, len(y))
    for k, position in enumerate(z):
        index[:, 0] = position
        values[k] = kernels.run("trilinear", len(index), source, index, np.nan).reshape(len(y), len(x))
    return Volume(grid, values)


def _refuse_apart(a: Grid, b: Grid) -> None:
    low = np.maximum(a.lower_mm, b.lower_mm)
    high = np.minimum(a.upper_mm, b.upper_mm)
    if np.any(low > high):
        raise GeometryError(
            "GRIDS_APART", "The two dose grids do not overlap, so there is nothing to compare; check their origins."
        )


def _compare_structure(
    structure: Structure,
    reference: Volume,
    evaluated: Volume,
    found: GammaResult,
    difference: NDArray[np.float32],
    counted: Mask,
    kernels: Offload,
) -> StructureComparison:
    inside = fractional_mask(structure, reference.grid, kernels) >= 0.5
    dvhs = compute_dvh(structure, reference, device=kernels), compute_dvh(structure, evaluated, device=kernels)
    covered = [d.covered_cm3 for d in dvhs]
    alike = min(covered) > 0 and abs(covered[1] - covered[0]) <= _SAME_PART * max(covered)
    return StructureComparison(
        number=structure.number,
        name=structure.name,
        kind=structure.kind,
        gamma=tuple({**m.statistics(inside)} for m in found.maps),
        difference=DoseDifference.of(difference[inside & counted], found.normalisation_gy),
        reference_dvh=dvhs[0],
        evaluated_dvh=dvhs[1],
        dvh_difference=compare_dvhs(dvhs[1], dvhs[0]) if alike else None,
    )


def _notes(found: GammaResult, counted: Mask) -> tuple[str, ...]:
    notes = []
    beyond = found.above_threshold - int(np.count_nonzero(counted))
    if beyond > 0:
        notes.append(
            f"{beyond} of {found.above_threshold} reference voxels above the threshold lie beyond the evaluated grid; "
            "their gamma counts where evaluated dose is within reach, their dose difference does not."
        )
    if found.unreached:
        notes.append(f"{found.unreached} of them have no evaluated dose within reach and no gamma.")
    return tuple(notes)


def _without_nan(figures: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in figures.items()}
