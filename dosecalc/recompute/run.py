"""Patient, machine, dose and DVHs of a chosen case, in that order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from dosecalc.devices import offload
from dosecalc.dicom.study import Case, Study
from dosecalc.dose import Dose
from dosecalc.dose.dvh import Dvh, compute_dvh
from dosecalc.engine import CancelCheck, DoseSettings, Progress, ProgressCallback, compute_dose
from dosecalc.errors import Cancelled, DicomError, PatientError
from dosecalc.geometry import Grid
from dosecalc.machine import MachineMapping, load_machine
from dosecalc.patient.build import build_patient
from dosecalc.patient.hu import load_curve
from dosecalc.patient.model import Patient
from dosecalc.patient.structures import StructureSet
from dosecalc.plan.support import check_supported
from dosecalc.recompute.region import dose_region
from dosecalc.recompute.request import Point, RecomputeRequest

T = TypeVar("T")

#: share of the whole progress that is done when the patient is built, and when the dose is
_PATIENT_DONE, _DOSE_DONE = 0.03, 0.95


@dataclass(frozen=True, eq=False)
class Recomputation:
    """A computed case.

    Parameters
    ----------
    case : Case
    patient : Patient
    dose : Dose
    dvhs : tuple of Dvh
        One per structure, in the order of the structure set.
    seconds : mapping of str to float
        Wall time of the steps around the dose (``patient``, ``dose``, ``dvh``); the dose has its own.
    notes : tuple of str
        What a physicist should read: from the readers, the patient and the choice of objects.
    request : RecomputeRequest
    """

    case: Case
    patient: Patient
    dose: Dose
    dvhs: tuple[Dvh, ...]
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    request: RecomputeRequest


def recompute(
    study: Study,
    request: RecomputeRequest,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> Recomputation:
    """Compute the dose and the DVHs of a plan of a study.

    Parameters
    ----------
    study : Study
        As loaded from files.
    request : RecomputeRequest
    progress : callable, optional
        Called with the `Progress` of the whole.
    cancelled : callable, optional
        Asked often; a True stops the computation within a second.

    Raises
    ------
    DicomError
        The study does not hold what is needed, or it cannot be read.
    PlanError
        The plan holds something that is not modelled; nothing was computed.
    MachineError
        No machine model fits a beam.
    PatientError
        The density cannot be found.
    InputError, GeometryError, DeviceError
        The request cannot be met.
    Cancelled
        ``cancelled`` returned True.
    """
    report = _Reporter(progress, cancelled)
    case = choose_case(study, request)
    check_supported(case.plan)
    machines = machine_mapping(request)
    for beam in case.plan.beams:  # an unknown machine is told before the patient is built
        machines.resolve(beam)

    seconds: dict[str, float] = {}
    report.at(0.0, "building the patient")
    patient = _timed(seconds, "patient", lambda: patient_of(case, request))
    report.at(_PATIENT_DONE, "preparing the dose")
    settings = _settings(study, case, patient, request)
    dose = _timed(
        seconds,
        "dose",
        lambda: compute_dose(patient, case.plan, machines, settings, report.of_dose, report.cancelled),
    )
    dvhs, without = _timed(seconds, "dvh", lambda: _dvhs(case.structures, dose, request.device, report))
    report.at(1.0, "done")
    notes = (*_without_ct(case, request), *case.notes, *patient.notes, *_reader_notes(case), *without)
    return Recomputation(case, patient, dose, dvhs, seconds, tuple(dict.fromkeys(notes)), request)


def choose_case(study: Study, request: RecomputeRequest) -> Case:
    """The plan that is asked for, with its structures and CT; see `Study.select` for the errors."""
    case = study.select(request.plan or None, request.structure_set_uid or None, request.ct_series_uid or None)
    return replace(case, ct=None, ct_problem=None) if request.without_ct else case


def machine_mapping(request: RecomputeRequest) -> MachineMapping:
    """The machine models that a request may use.

    Raises
    ------
    MachineError
        ``MACHINE_UNKNOWN`` and others of the loader.
    """
    if request.mapping_yaml:
        folder = Path(request.mapping_folder) if request.mapping_folder else None
        return MachineMapping.from_text(request.mapping_yaml, folder=folder)
    if request.machines:
        return MachineMapping.of([load_machine(name) for name in request.machines])
    return MachineMapping.default()


def patient_of(case: Case, request: RecomputeRequest) -> Patient:
    """The patient model of a case.

    Raises
    ------
    PatientError, DicomError, InputError
        There is no density, or the curve or a stated density is wrong.
    """
    asked_for = request.without_ct or bool(request.density_g_cm3)
    if case.ct is None and not asked_for:
        if case.ct_problem is not None:
            raise case.ct_problem
        raise PatientError(
            "DENSITY_UNKNOWN",
            "There is no CT in the plan's frame of reference. Add it, or give densities of structures "
            "(--density 'BODY=1.0,Lungs=0.26') to compute without one.",
            field="density",
        )
    return build_patient(
        case.ct,
        case.structures,
        curve=load_curve(request.hu_curve) if request.hu_curve else None,
        density_overrides=request.density_g_cm3 or None,
        patient_position=case.plan.beams[0].patient_position,
        device=request.device,
    )


def _without_ct(case: Case, request: RecomputeRequest) -> list[str]:
    if case.ct is not None:
        return []
    if request.without_ct or case.ct_problem is None:
        return ["computed without a CT: density from structures only"]
    return [f"computed without a CT, which could not be used: {case.ct_problem.message}"]


def _reader_notes(case: Case) -> tuple[str, ...]:
    of_ct = case.ct.notes if case.ct else ()
    of_structures = case.structures.notes if case.structures else ()
    return (*of_ct, *of_structures, *(f"left out: beam {b}" for b in case.plan.skipped_beams))


def _settings(study: Study, case: Case, patient: Patient, request: RecomputeRequest) -> DoseSettings:
    wanted = request.grid
    spacing = wanted.spacing_mm or (3.0, 3.0, 3.0)
    if wanted.exact is not None:
        grid = wanted.exact
    elif wanted.like_rtdose_uid is not None:
        grid = _grid_like(study, wanted.like_rtdose_uid)
    elif wanted.box_mm is not None:
        grid = Grid.covering(wanted.box_mm[0], wanted.box_mm[1], spacing)
    else:
        lower, upper = dose_region(patient, case.plan)
        # a voxel of surroundings, so that dose on the surface is interpolated, not cut off
        grid = Grid.covering(_shifted(lower, spacing, -1), _shifted(upper, spacing, 1), spacing)
    return DoseSettings(
        engine=request.engine,
        device=request.device,
        grid=grid,
        quantity=request.quantity,
        cones=request.cones,
        heterogeneity=request.heterogeneity,
        arc_tolerance_deg=request.arc_tolerance_deg,
        threads=request.threads,
    )


def _shifted(point: Point, by: Point, sign: int) -> Point:
    x, y, z = (p + sign * b for p, b in zip(point, by, strict=True))
    return x, y, z


def _grid_like(study: Study, uid: str) -> Grid:
    for dose in study.doses:
        if dose.sop_instance_uid == uid:
            return dose.volume.grid
    study.raise_problem("RTDOSE")
    raise DicomError(
        "RTDOSE_UNKNOWN", "The study holds no RTDOSE of this UID that can be read.", field="grid.like_rtdose_uid"
    )


def _dvhs(
    structures: StructureSet | None, dose: Dose, device: str, report: _Reporter
) -> tuple[tuple[Dvh, ...], list[str]]:
    """DVHs, and a note for each structure whose contours enclose no volume that can be found (tilted planes)."""
    if structures is None:
        return (), []
    bin_gy = curve_bin_gy(float(dose.total_gy.max()))
    kernels = offload(device)
    dvhs, without = [], []
    for number, structure in enumerate(structures.structures):
        share = number / len(structures.structures)
        report.at(_DOSE_DONE + (1 - _DOSE_DONE) * share, "dose-volume histograms")
        try:
            dvhs.append(compute_dvh(structure, dose.volume, bin_gy=bin_gy, device=kernels))
        except PatientError as e:
            without.append(f"no DVH of structure {structure.number}: {e.message} [{e.reason}]")
    return tuple(dvhs), without


def curve_bin_gy(maximum_gy: float) -> float:
    """Distance of a DVH curve's points: 1, 2 or 5 times a power of ten, so that there are 1000 to 2500 of them."""
    wanted = max(maximum_gy, 1e-6) / 1000.0
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(m * power for m in (5.0, 2.0, 1.0) if m * power <= wanted * (1 + 1e-9))


class _Reporter:
    """Puts the progress of the steps on one scale, and asks whether to stop."""

    def __init__(self, progress: ProgressCallback | None, cancelled: CancelCheck | None) -> None:
        self._progress = progress
        self._cancelled = cancelled

    def at(self, fraction: float, step: str) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled
        if self._progress is not None:
            self._progress(Progress(fraction, step=step))

    def of_dose(self, inner: Progress) -> None:
        if self._progress is not None:
            fraction = _PATIENT_DONE + (_DOSE_DONE - _PATIENT_DONE) * inner.fraction
            self._progress(Progress(fraction, inner.beam_number, inner.beam_fraction, inner.step))

    def cancelled(self) -> bool:
        return self._cancelled is not None and self._cancelled()


def _timed(seconds: dict[str, float], step: str, work: Callable[[], T]) -> T:
    begin = time.perf_counter()
    result = work()
    seconds[step] = time.perf_counter() - begin
    return result
