"""What a worker does with a task: load the study, compute dose and DVHs, leave the result files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from dosecalc.dicom.rtdose import write_rtdose
from dosecalc.dicom.study import load_study
from dosecalc.dose import BeamDose
from dosecalc.engine import Progress
from dosecalc.geometry import Grid
from dosecalc.outputs import record_of
from dosecalc.recompute import GridRequest, Recomputation, RecomputeRequest, recompute
from dosecalc_server.request import JobRequest
from dosecalc_server.tasks import Task, TaskProgress, write_result

_WHOLE_PLAN = -1


def compute(task: Task[JobRequest], progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]) -> None:
    """Compute a task; see `dosecalc_server.tasks.Computation`.

    Raises
    ------
    DosecalcError
        What `dosecalc.recompute.recompute` raises.
    """

    def report(p: Progress) -> None:
        progress(TaskProgress(p.fraction, p.beam_number, p.beam_fraction, p.step))

    progress(TaskProgress(0.0, step="reading the study"))
    study = load_study(list(task.files))
    computed = recompute(study, library_request(task.request), report, cancelled)
    write_result(task.output, _summary(computed), [*_write_doses(task, computed), _write_dvhs(task, computed)])


def library_request(request: JobRequest) -> RecomputeRequest:
    """The request as the library takes it."""
    exact = None if request.exact_grid is None else Grid(*request.exact_grid)
    grid = GridRequest(request.spacing_mm, request.box_mm, request.grid_like_uid, exact)
    return RecomputeRequest(
        plan=request.plan or "",
        structure_set_uid=request.structure_set_uid or "",
        ct_series_uid=request.ct_series_uid or "",
        machines=request.machines,
        mapping_yaml=request.mapping_yaml or "",
        engine=request.engine,
        device=request.device,
        quantity=request.quantity,
        cones=request.cones,
        heterogeneity=request.heterogeneity,
        arc_tolerance_deg=request.arc_tolerance_deg,
        grid=grid,
        density_g_cm3=dict(request.density_g_cm3),
        without_ct=request.without_ct,
        hu_curve=request.hu_curve or "",
        threads=request.threads,
    )


def _write_doses(task: Task[JobRequest], computed: Recomputation) -> list[tuple[str, int, str]]:
    """RTDOSE and raw grid of the plan and of every beam; what `write_result` wants to know of them."""
    files: list[tuple[str, int, str]] = []
    doses: list[BeamDose | None] = [None, *computed.dose.beams]
    for beam in doses:
        number, name = (_WHOLE_PLAN, "plan") if beam is None else (beam.number, f"beam-{beam.number}")
        values = computed.dose.total_gy if beam is None else beam.dose_gy
        (task.output / f"{name}.dcm").write_bytes(write_rtdose(computed.dose, beam, computed.case.references))
        np.ascontiguousarray(values, dtype="<f4").tofile(task.output / f"{name}.f32")
        files += [("rtdose", number, f"{name}.dcm"), ("raw", number, f"{name}.f32")]
    return files


def _write_dvhs(task: Task[JobRequest], computed: Recomputation) -> tuple[str, int, str]:
    records = [asdict(record_of(dvh)) for dvh in computed.dvhs]
    (task.output / "dvhs.json").write_text(json.dumps(records), encoding="utf-8")
    return "dvhs", _WHOLE_PLAN, "dvhs.json"


def _summary(computed: Recomputation) -> dict[str, Any]:
    """The fields of ``DoseResult`` as plain data."""
    dose = computed.dose
    return {
        "grid": asdict(dose.grid),
        "beams": [
            {
                "beam_number": beam.number,
                "beam_name": beam.name,
                "mu": beam.mu,
                "max_dose_gy": float(beam.dose_gy.max()),
                "info": dict(beam.info),
            }
            for beam in dose.beams
        ],
        "quantity": dose.quantity,
        "engine": dose.engine,
        "machine_name": dose.machine_name,
        "machine_sha256": dose.machine_sha256,
        "max_dose_gy": float(dose.total_gy.max()),
        "provenance": dict(dose.provenance),
        "seconds": {**{f"dose.{k}": v for k, v in dose.seconds.items()}, **computed.seconds},
        "warnings": list(dose.warnings),
        "notes": list(computed.notes),
        "dvhs": len(computed.dvhs),
    }
