"""Indices that are read from DVHs, and how two DVHs differ."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from dosecalc.dose.dvh import Dvh, DvhCurve, compute_dvh
from dosecalc.errors import InputError
from dosecalc.geometry import Volume
from dosecalc.patient.structures import Contour, Structure

#: relative volumes at which two DVHs are compared: all but half a percent at either end, where single voxels rule
_LEVELS = np.arange(0.5, 99.75, 0.5) / 100.0


@dataclass(frozen=True)
class Homogeneity:
    """How even the dose in a target is.

    Parameters
    ----------
    icru83 : float
        (D2 - D98) / D50; 0 is even. ICRU Report 83 (2010), equation 3.2.
    rtog : float
        Maximum dose over prescribed dose; NaN without a prescription. Shaw et al. 1993, IJROBP 27:1231.
    """

    icru83: float
    rtog: float


@dataclass(frozen=True)
class Conformity:
    """How well a reference isodose fits a target.

    TV is the target's volume, PIV the volume inside the reference isodose, TV_PIV the volume inside both.

    Parameters
    ----------
    target_cm3, isodose_cm3, target_in_isodose_cm3 : float
        TV, PIV, TV_PIV.
    coverage : float
        TV_PIV / TV.
    selectivity : float
        TV_PIV / PIV.
    rtog : float
        PIV / TV. Shaw et al. 1993, IJROBP 27:1231; ICRU Report 62 (1999).
    paddick : float
        TV_PIV^2 / (TV PIV). Paddick 2000, J Neurosurg 93 suppl 3:219.
    van_t_riet : float
        Conformation number, (TV_PIV / TV) (TV_PIV / PIV). van 't Riet et al. 1997, IJROBP 37:731. Paddick's index is
        the same number; both names are in use.
    """

    target_cm3: float
    isodose_cm3: float
    target_in_isodose_cm3: float
    coverage: float
    selectivity: float
    rtog: float
    paddick: float
    van_t_riet: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready, ``None`` for what does not exist."""
        return {k: None if math.isnan(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class DvhDifference:
    """Evaluated minus reference; doses in Gy.

    Parameters
    ----------
    volume_percent : float
        Difference of the volumes, percent of the reference's.
    max_abs_gy : float
        Largest absolute difference of the doses at equal relative volume, over 0.5 to 99.5 percent of the volume.
    mean_gy, d98_gy, d95_gy, d50_gy, d5_gy, d2_gy : float
        Differences of the mean dose and of doses at a volume.
    """

    volume_percent: float
    max_abs_gy: float
    mean_gy: float
    d98_gy: float
    d95_gy: float
    d50_gy: float
    d5_gy: float
    d2_gy: float

    def to_dict(self) -> dict[str, float | None]:
        """JSON-ready, ``None`` for what does not exist."""
        return {k: None if math.isnan(v) else v for k, v in asdict(self).items()}


def homogeneity(target: Dvh, *, prescription_gy: float | None = None) -> Homogeneity:
    """Homogeneity indices of a target; NaN where nothing of it is covered by the dose grid."""
    d2, d50, d98 = (target.dose_at_volume(percent=p) for p in (2.0, 50.0, 98.0))
    icru = (d2 - d98) / d50 if d50 > 0 else float("nan")
    rtog = target.max_gy / prescription_gy if prescription_gy is not None and prescription_gy > 0 else float("nan")
    return Homogeneity(icru83=icru, rtog=rtog)


def conformity(target: Dvh, *, reference_gy: float, isodose_cm3: float) -> Conformity:
    """Conformity indices of a target.

    Parameters
    ----------
    target : Dvh
    reference_gy : float
        Dose of the reference isodose, Gy.
    isodose_cm3 : float
        Volume inside that isodose anywhere in the patient: ``isodose_volume_cm3``, or from the External's DVH.

    Raises
    ------
    InputError
        ``CONFORMITY_REFERENCE`` for a reference dose that is not positive or an isodose volume that is negative.
    """
    if not reference_gy > 0 or not isodose_cm3 >= 0:
        raise InputError(
            "CONFORMITY_REFERENCE",
            f"Conformity needs a positive reference dose and a volume of its isodose, not {reference_gy} Gy and "
            f"{isodose_cm3} cm3.",
        )
    tv = target.covered_cm3
    both = target.volume_at_dose(gy=reference_gy) if tv > 0 else float("nan")
    nan = float("nan")
    coverage = both / tv if tv > 0 else nan
    selectivity = both / isodose_cm3 if isodose_cm3 > 0 else nan
    return Conformity(
        target_cm3=tv,
        isodose_cm3=isodose_cm3,
        target_in_isodose_cm3=both,
        coverage=coverage,
        selectivity=selectivity,
        rtog=isodose_cm3 / tv if tv > 0 else nan,
        paddick=both**2 / (tv * isodose_cm3) if tv > 0 and isodose_cm3 > 0 else nan,
        van_t_riet=coverage * selectivity,
    )


def isodose_volume_cm3(dose: Volume, gy: float) -> float:
    """Volume of the dose grid that receives at least a dose, cm3, with trilinear dose inside the voxels."""
    grid = dose.grid
    (x0, y0, _), (x1, y1, _) = grid.lower_mm, grid.upper_mm
    box = tuple(Contour(np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])) for z in grid.z_mm)
    whole = Structure(0, "dose grid", contours=box, plane_spacing_mm=grid.spacing_mm[2])
    return compute_dvh(whole, dose, min_samples=2_000_000, max_samples=8_000_000).volume_at_dose(gy=gy)


def compare_dvhs(evaluated: Dvh | DvhCurve, reference: Dvh | DvhCurve) -> DvhDifference:
    """How a DVH differs from another one of the same structure, each relative to its own volume.

    Raises
    ------
    InputError
        ``DVH_EMPTY`` when one of them has no volume.
    """
    a, b = _fine_curve(evaluated), _fine_curve(reference)
    if not (a.volume_cm3 > 0 and b.volume_cm3 > 0):
        raise InputError("DVH_EMPTY", "A DVH without volume cannot be compared.")
    at = {p: _dose_at(a, p / 100) - _dose_at(b, p / 100) for p in (98.0, 95.0, 50.0, 5.0, 2.0)}
    return DvhDifference(
        volume_percent=100.0 * (a.volume_cm3 / b.volume_cm3 - 1.0),
        max_abs_gy=max(abs(_dose_at(a, v) - _dose_at(b, v)) for v in _LEVELS),
        mean_gy=_mean(a) - _mean(b),
        d98_gy=at[98.0],
        d95_gy=at[95.0],
        d50_gy=at[50.0],
        d5_gy=at[5.0],
        d2_gy=at[2.0],
    )


def _fine_curve(dvh: Dvh | DvhCurve) -> DvhCurve:
    return dvh if isinstance(dvh, DvhCurve) else DvhCurve(dvh.samples.edges_gy, dvh.samples.cumulative_cm3)


def _dose_at(curve: DvhCurve, fraction: float) -> float:
    return curve.dose_at_cm3(fraction * curve.volume_cm3)


def _mean(curve: DvhCurve) -> float:
    """Mean dose: the first dose plus the area under the curve, over its volume."""
    v, d = curve.cumulative_cm3, curve.dose_gy
    return float(d[0] + np.sum((v[1:] + v[:-1]) / 2.0 * np.diff(d)) / v[0])
