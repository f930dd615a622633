"""From a computation to the files that are written for it."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

import dosecalc
from dosecalc.dicom.rtdose import write_rtdose
from dosecalc.dicom.study import Case
from dosecalc.dose.dvh import Dvh
from dosecalc.geometry import Grid, Volume
from dosecalc.outputs.dvh_records import DvhRecord
from dosecalc.outputs.files import OutputContent
from dosecalc.outputs.picture import PictureContent, draw_dose
from dosecalc.recompute import Recomputation, RecomputeRequest

#: shape of ``summary.json``; raised when a field changes its meaning
SUMMARY_SCHEMA = 1
#: Hounsfield units shown black and white: lung and air still differ, and so do soft tissue and bone
_HU_WINDOW = (-1000.0, 500.0)
_DENSITY_WINDOW = (0.0, 1.8)


def content_of(computed: Recomputation) -> OutputContent:
    """Everything that is written for a computation.

    Parameters
    ----------
    computed : Recomputation

    Raises
    ------
    DicomError
        The dose cannot be written as RTDOSE.
    """
    dose, case = computed.dose, computed.case
    records = tuple(record_of(d) for d in computed.dvhs)
    background = None if case.ct is not None else computed.patient.density
    return OutputContent(
        rtdose_plan=write_rtdose(dose, None, case.references),
        rtdose_beams={b.number: write_rtdose(dose, b, case.references) for b in dose.beams},
        dvhs=records,
        picture=draw_dose(picture_of(case, dose.volume, records, dose.engine, dose.machine_name, background)),
        summary=summary_of(computed),
    )


def record_of(dvh: Dvh) -> DvhRecord:
    """A DVH as a plain record; statistics that are not defined are left out."""
    statistics = {name: float(value) for name, value in dvh.statistics().items() if not math.isnan(value)}
    return DvhRecord(
        structure_name=dvh.name,
        structure_number=dvh.number,
        volume_cm3=float(dvh.volume_cm3),
        dose_gy=tuple(float(v) for v in dvh.dose_gy),
        cumulative_cm3=tuple(float(v) for v in dvh.cumulative_cm3),
        statistics=statistics,
        notes=tuple(dvh.notes),
    )


def picture_of(
    case: Case,
    dose: Volume,
    dvhs: tuple[DvhRecord, ...],
    engine: str,
    machine: str,
    density: Volume | None = None,
) -> PictureContent:
    """What the picture of a case shows.

    Parameters
    ----------
    case : Case
    dose : Volume
        Gy.
    dvhs : tuple of DvhRecord
    engine, machine : str
        For the subtitle.
    density : Volume, optional
        Shown in grey where there is no CT; without both, the dose stands alone.
    """
    prescription = case.plan.prescription_gy
    maximum = float(dose.values.max())
    if case.ct is not None:
        background, window = case.ct.hu, _HU_WINDOW
    else:
        background = density or Volume(dose.grid, np.zeros(dose.grid.shape, dtype=np.float32))
        window = _DENSITY_WINDOW
    beams = case.plan.beams
    return PictureContent(
        title=f"{len(beams)} beam{'s' if len(beams) > 1 else ''}, {case.plan.fractions} fractions, "
        f"maximum {maximum:.2f} Gy",
        subtitle=f"dosecalc {dosecalc.__version__}, {engine}, machine model {machine}; "
        f"voxels {' x '.join(f'{s:g}' for s in dose.grid.spacing_mm)} mm",
        background=background,
        window=window,
        dose=dose,
        centre_mm=_centre(case, dose),
        reference_gy=prescription or maximum or 1.0,
        reference_name="prescription" if prescription else "maximum",
        structures=case.structures.structures if case.structures else (),
        dvhs=dvhs,
    )


def _centre(case: Case, dose: Volume) -> tuple[float, float, float]:
    """The first beam's isocentre where it lies in high dose; else the middle of the high dose."""
    isocentre = case.plan.beams[0].control_points[0].isocentre_patient_mm
    maximum = float(dose.values.max())
    if _value_at(dose, isocentre) > 0.7 * maximum:
        return isocentre
    k, j, i = (float(np.median(index)) for index in np.nonzero(dose.values >= 0.85 * maximum))
    grid = dose.grid
    x, y, z = (o + s * n for o, s, n in zip(grid.origin_mm, grid.spacing_mm, (i, j, k), strict=True))
    return x, y, z


def _value_at(dose: Volume, point: tuple[float, float, float]) -> float:
    """Value of the voxel that holds a point; 0 outside."""
    grid = dose.grid
    index = [round((p - o) / s) for p, o, s in zip(point, grid.origin_mm, grid.spacing_mm, strict=True)]
    if any(not 0 <= n < size for n, size in zip(index, grid.shape[::-1], strict=True)):
        return 0.0
    return float(dose.values[index[2], index[1], index[0]])


def summary_of(computed: Recomputation) -> dict[str, Any]:
    """What is kept of a computation besides its dose: versions, hashes, settings, times, warnings; no personal data."""
    dose = computed.dose
    return {
        **summary_head(computed.request),
        "plan": plan_facts(computed.case),
        "dose": {
            "engine": dose.engine,
            "quantity": dose.quantity,
            "max_gy": float(dose.total_gy.max()),
            "grid": grid_facts(dose.grid),
            "machine_model": dose.machine_name,
            "machine_sha256": dose.machine_sha256,
        },
        "beams": [beam_facts(b.number, b.name, b.mu, float(b.dose_gy.max()), b.info) for b in dose.beams],
        "provenance": dict(sorted(dose.provenance.items())),
        "seconds": dict(sorted({**computed.seconds, **{f"dose: {k}": v for k, v in dose.seconds.items()}}.items())),
        "warnings": list(dose.warnings),
        "notes": list(computed.notes),
    }


def summary_head(request: RecomputeRequest) -> dict[str, Any]:
    """Versions and the request: how every summary begins."""
    return {
        "schema_version": SUMMARY_SCHEMA,
        "notice": "dosecalc is not a medical device",
        "software": f"dosecalc {dosecalc.__version__}",
        "libraries": {name: version(name) for name in ("numpy", "numba", "scipy", "pydicom", "shapely")},
        "python": platform.python_version(),
        "request": request.as_dict(),
        "request_sha256": request.sha256,
    }


def plan_facts(case: Case) -> dict[str, Any]:
    """What names a plan without naming a person."""
    plan = case.plan
    return {
        "sop_instance_uid": plan.sop_instance_uid,
        "structure_set_uid": case.structures.sop_instance_uid if case.structures else None,
        "ct_series_uid": case.ct.series_uid if case.ct else None,
        "fractions": plan.fractions,
        "prescription_gy": plan.prescription_gy,
    }


def beam_facts(number: int, name: str, mu: float, max_gy: float, info: Mapping[str, str]) -> dict[str, Any]:
    """One beam's line of the summary."""
    return {"number": number, "name": name, "mu": mu, "max_gy": max_gy, "info": dict(sorted(info.items()))}


def grid_facts(grid: Grid) -> dict[str, Any]:
    """A grid in plain numbers; the shape is that of the arrays, z first."""
    return {"origin_mm": list(grid.origin_mm), "spacing_mm": list(grid.spacing_mm), "shape_zyx": list(grid.shape)}
