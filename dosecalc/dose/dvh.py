"""Dose-volume histograms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc.dose.dvh_sampling import MAX_SAMPLES, MIN_SAMPLES, DoseSamples, sample_dose
from dosecalc.dose.dvh_shape import ShapeModel
from dosecalc.errors import InputError
from dosecalc.geometry import Volume
from dosecalc.patient.structures import Structure
from dosecalc_kernels.offload import Offload

FloatArray = NDArray[np.float64]

#: share of a structure that may lie outside the dose grid by rounding of the two geometries
_COVERED_ENOUGH = 1.0 - 1e-6

#: statistics that every report carries: name and percent of the volume
_DOSE_AT_PERCENT = {"d99": 99.0, "d98": 98.0, "d95": 95.0, "d50": 50.0, "d5": 5.0, "d2": 2.0, "d1": 1.0}


@dataclass(frozen=True, eq=False)
class DvhCurve:
    """A cumulative dose-volume curve, linear between its points.

    Parameters
    ----------
    dose_gy : float64 [n]
        Rising doses.
    cumulative_cm3 : float64 [n]
        Volume that receives at least that dose; never rising.
    """

    dose_gy: FloatArray
    cumulative_cm3: FloatArray

    @property
    def volume_cm3(self) -> float:
        """Volume at zero dose, cm3."""
        return float(self.cumulative_cm3[0]) if len(self.cumulative_cm3) else 0.0

    def dose_at_cm3(self, cm3: float) -> float:
        """Largest dose that at least this volume receives, Gy; NaN when there is less volume than that."""
        if not self.volume_cm3 > 0 or not 0 <= cm3 <= self.volume_cm3 * (1 + 1e-9):
            return float("nan")
        return float(np.interp(-cm3, -self.cumulative_cm3, self.dose_gy))

    def volume_at_gy(self, gy: float) -> float:
        """Volume that receives at least a dose, cm3."""
        if not len(self.dose_gy):
            return 0.0
        return float(np.interp(gy, self.dose_gy, self.cumulative_cm3))


@dataclass(frozen=True, eq=False)
class Dvh:
    """Dose-volume histogram of one structure.

    Every statistic is of the part of the structure that the dose grid covers: what is not covered counts neither as
    zero dose nor as volume, and ``status`` and ``covered_fraction`` say so.

    Parameters
    ----------
    number, name, kind : int, str, str
        Of the structure.
    status : str
        ``ok``; ``empty``: the structure encloses no volume; ``outside``: none of it lies in the dose grid;
        ``partly_outside``; ``below_voxel``: complete, but smaller than one voxel of the dose grid, so that its doses
        are interpolated from the few voxels about it. The first of these that applies.
    notes : tuple of str
        The status in words, for a report; empty when it is ``ok``.
    volume_cm3 : float
        Volume of the whole structure.
    covered_cm3 : float
        Its part inside the dose grid (to the outer faces of the outermost voxels).
    min_gy, max_gy, mean_gy, median_gy : float
        Of the covered part, minimum and maximum including its surface. NaN when nothing is covered.
    curve : DvhCurve
        At regular doses from 0 up, for display; the statistics do not depend on its bin width.
    samples : DoseSamples
        The fine histogram that they are read from.
    """

    number: int
    name: str
    kind: str
    status: str
    notes: tuple[str, ...]
    volume_cm3: float
    covered_cm3: float
    min_gy: float
    max_gy: float
    mean_gy: float
    median_gy: float
    curve: DvhCurve
    samples: DoseSamples

    @property
    def covered_fraction(self) -> float:
        """Share of the volume inside the dose grid, 0 to 1; 0 for an empty structure."""
        return self.covered_cm3 / self.volume_cm3 if self.volume_cm3 > 0 else 0.0

    @property
    def dose_gy(self) -> FloatArray:
        """Doses of the cumulative curve, float64 [n], Gy."""
        return self.curve.dose_gy

    @property
    def cumulative_cm3(self) -> FloatArray:
        """Covered volume that receives at least ``dose_gy``, float64 [n], cm3."""
        return self.curve.cumulative_cm3

    @property
    def cumulative_percent(self) -> FloatArray:
        """``cumulative_cm3`` in percent of the covered volume, float64 [n]."""
        return self.curve.cumulative_cm3 * (100.0 / self.covered_cm3 if self.covered_cm3 > 0 else 0.0)

    def dose_at_volume(self, *, percent: float | None = None, cc: float | None = None) -> float:
        """D_x%: the dose that the hottest x percent, or x cm3, of the volume receive at least, Gy.

        Parameters
        ----------
        percent : float
            0 (the maximum) to 100 (the minimum), of the covered volume.
        cc : float
            cm3. NaN when less than that is covered.

        Raises
        ------
        InputError
            ``DVH_QUESTION`` unless exactly one of the two is given, in its range.
        """
        if (percent is None) == (cc is None):
            raise InputError("DVH_QUESTION", "Give either a percentage or a volume in cm3.")
        if percent is not None:
            if not 0 <= percent <= 100:
                raise InputError("DVH_QUESTION", f"A DVH has no volume of {percent} percent; use 0 to 100.")
            cc = percent / 100.0 * self.covered_cm3
        assert cc is not None
        if not cc >= 0:
            raise InputError("DVH_QUESTION", f"A volume of {cc} cm3 is not possible.")
        if not self.covered_cm3 > 0 or cc > self.covered_cm3 * (1 + 1e-9):
            return float("nan")
        fine = DvhCurve(self.samples.edges_gy, self.samples.cumulative_cm3)
        return min(max(fine.dose_at_cm3(min(cc, fine.volume_cm3)), self.min_gy), self.max_gy)

    def volume_at_dose(
        self,
        *,
        gy: float | None = None,
        percent_of: tuple[float, float] | None = None,
        unit: str = "cm3",
    ) -> float:
        """V_x: volume that receives at least a dose.

        Parameters
        ----------
        gy : float
            The dose.
        percent_of : (float, float)
            Or: so many percent of this reference dose in Gy, ``(95, 50.0)`` for 95 % of 50 Gy.
        unit : str
            ``cm3``, or ``percent`` of the covered volume.

        Returns
        -------
        float
            NaN when nothing is covered.

        Raises
        ------
        InputError
            ``DVH_QUESTION`` unless exactly one of the two doses is given, and for any other unit.
        """
        if (gy is None) == (percent_of is None):
            raise InputError("DVH_QUESTION", "Give either a dose in Gy or a percentage of a reference dose.")
        if unit not in ("cm3", "percent"):
            raise InputError("DVH_QUESTION", f"A volume is asked for in 'cm3' or 'percent', not in {unit!r}.")
        if percent_of is not None:
            gy = percent_of[0] / 100.0 * percent_of[1]
        assert gy is not None
        if not self.covered_cm3 > 0:
            return float("nan")
        cm3 = DvhCurve(self.samples.edges_gy, self.samples.cumulative_cm3).volume_at_gy(gy)
        if gy <= self.min_gy:
            cm3 = self.covered_cm3
        elif gy > self.max_gy:
            cm3 = 0.0
        return cm3 if unit == "cm3" else 100.0 * cm3 / self.covered_cm3

    def differential(self) -> tuple[FloatArray, FloatArray]:
        """Differential histogram: middles of the bins (Gy) and volume per dose (cm3/Gy), float64 [n - 1] each."""
        edges, cumulative = self.curve.dose_gy, self.curve.cumulative_cm3
        if len(edges) < 2:
            return np.zeros(0), np.zeros(0)
        return (edges[1:] + edges[:-1]) / 2.0, -np.diff(cumulative) / np.diff(edges)

    def statistics(self) -> dict[str, float]:
        """The usual figures, units in the names; near minimum and near maximum are D98 and D2 (ICRU 83)."""
        out = {
            "min_gy": self.min_gy,
            "max_gy": self.max_gy,
            "mean_gy": self.mean_gy,
            "median_gy": self.median_gy,
            "near_min_d98_gy": self.dose_at_volume(percent=98.0),
            "near_max_d2_gy": self.dose_at_volume(percent=2.0),
        }
        out.update({f"{k}_gy": self.dose_at_volume(percent=p) for k, p in _DOSE_AT_PERCENT.items()})
        out.update({"d0_03cc_gy": self.dose_at_volume(cc=0.03), "d1cc_gy": self.dose_at_volume(cc=1.0)})
        return out


def compute_dvh(
    structure: Structure,
    dose: Volume,
    *,
    bin_gy: float = 0.05,
    shape: ShapeModel | None = None,
    min_samples: int = MIN_SAMPLES,
    max_samples: int = MAX_SAMPLES,
    device: str | Offload = "cpu",
) -> Dvh:
    """Dose-volume histogram of a structure.

    The structure is integrated on cells that are finer than its own thickness (at least ``min_samples`` of them, cut
    exactly where its surface passes), with trilinear dose that is spread over each cell: see ``docs/dvh.md``. Bits do
    not depend on the number of threads; the function may run for several structures at once.

    Parameters
    ----------
    structure : Structure
        Patient frame, mm.
    dose : Volume
        Gy.
    bin_gy : float
        Distance of the points of the returned curve, Gy. Statistics do not depend on it.
    shape : ShapeModel, optional
        What lies between and beyond the contours; the default is documented with its accuracy in ``docs/dvh.md``.
    min_samples, max_samples : int
        Bounds of the number of samples.
    device : str or Offload
        As in `dosecalc.dose.dvh_sampling.sample_dose`.

    Raises
    ------
    InputError
        ``DVH_BIN`` for a bin that is not positive; ``DOSE_NOT_FINITE``.
    PatientError
        ``CONTOUR_NOT_AXIAL``.
    """
    if not (math.isfinite(bin_gy) and bin_gy > 0):
        raise InputError("DVH_BIN", f"The bin width of a DVH must be positive, not {bin_gy} Gy.")
    samples = sample_dose(structure, dose, shape=shape, min_samples=min_samples, max_samples=max_samples, device=device)
    status, notes = _status(structure, samples, dose)
    fine = DvhCurve(samples.edges_gy, samples.cumulative_cm3)
    return Dvh(
        number=structure.number,
        name=structure.name,
        kind=structure.kind,
        status=status,
        notes=notes,
        volume_cm3=samples.volume_cm3,
        covered_cm3=samples.covered_cm3,
        min_gy=samples.min_gy,
        max_gy=samples.max_gy,
        mean_gy=samples.mean_gy,
        median_gy=fine.dose_at_cm3(samples.covered_cm3 / 2.0),
        curve=_resampled(fine, samples, bin_gy),
        samples=samples,
    )


def _status(structure: Structure, samples: DoseSamples, dose: Volume) -> tuple[str, tuple[str, ...]]:
    if not samples.volume_cm3 > 0:
        what = "has no closed contour" if structure.empty else "has contours that enclose no area"
        return "empty", (f"The structure {what}: it has no volume and no DVH.",)
    if not samples.covered_cm3 > 0:
        return "outside", ("The structure lies wholly outside the dose grid: it has no DVH.",)
    voxel = dose.grid.voxel_volume_cm3
    notes = []
    if samples.covered_cm3 < samples.volume_cm3 * _COVERED_ENOUGH:
        covered = 100.0 * samples.covered_cm3 / samples.volume_cm3
        notes.append(f"Only {covered:.2f} % of the structure lies in the dose grid: all figures are of that part.")
    if samples.volume_cm3 < voxel:
        notes.append(
            f"The structure ({samples.volume_cm3:.4g} cm3) is smaller than one voxel of the dose grid "
            f"({voxel:.4g} cm3): its doses are interpolated."
        )
    if not notes:
        return "ok", ()
    return ("partly_outside" if notes[0].startswith("Only") else "below_voxel"), tuple(notes)


def _resampled(fine: DvhCurve, samples: DoseSamples, bin_gy: float) -> DvhCurve:
    """The curve at multiples of the bin width, from 0 (or the multiple below a negative minimum) past the maximum."""
    if not samples.covered_cm3 > 0:
        return DvhCurve(np.zeros(0), np.zeros(0))
    first = min(0, math.floor(samples.min_gy / bin_gy))
    last = max(1, math.floor(samples.max_gy / bin_gy) + 1)
    doses = bin_gy * np.arange(first, last + 1, dtype=np.float64)
    volume = np.interp(doses, fine.dose_gy, fine.cumulative_cm3)
    volume[doses <= samples.min_gy] = samples.covered_cm3
    volume[doses > samples.max_gy] = 0.0
    return DvhCurve(doses, volume)
