"""Plans computed with geometry mirrored on purpose, where the right one must fit best, and with other densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.clinical_comparison import high_dose_ratio, relative_misfit_percent
from benchmarks.clinical_sets import ClinicalSet
from dosecalc.dicom.study import Study
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.plan import Beam, ControlPoint
from dosecalc.recompute import RecomputeRequest, choose_case, machine_mapping, patient_of

Interval = tuple[float, float]


def _negative(interval: Interval | None) -> Interval | None:
    return None if interval is None else (-interval[1], -interval[0])


def _as_it_is(cp: ControlPoint) -> ControlPoint:
    return cp


def _gantry_turned_round(cp: ControlPoint) -> ControlPoint:
    return replace(cp, gantry_deg=(360.0 - cp.gantry_deg) % 360.0)


def _leaves_mirrored(cp: ControlPoint) -> ControlPoint:
    """Along the leaves' movement, with the jaws; every MLC of the sets moves along X."""
    leaves = None if cp.leaves_mm is None else -cp.leaves_mm[:, ::-1]
    return replace(cp, leaves_mm=leaves, jaw_x_mm=_negative(cp.jaw_x_mm))


def _leaf_order_reversed(cp: ControlPoint) -> ControlPoint:
    leaves = None if cp.leaves_mm is None else cp.leaves_mm[::-1]
    return replace(cp, leaves_mm=leaves, jaw_y_mm=_negative(cp.jaw_y_mm))


def _collimator_half_turn(cp: ControlPoint) -> ControlPoint:
    return replace(cp, collimator_deg=(cp.collimator_deg + 180.0) % 360.0)


HYPOTHESES: dict[str, Callable[[ControlPoint], ControlPoint]] = {
    "as implemented": _as_it_is,
    "gantry turns the other way": _gantry_turned_round,
    "leaf and jaw x mirrored": _leaves_mirrored,
    "leaf order and jaw y mirrored": _leaf_order_reversed,
    "collimator turned by 180°": _collimator_half_turn,
}


def misfits(study: Study, item: ClinicalSet) -> dict[str, tuple[float, float]]:
    """Fit to the clinical dose with changed geometry, and with the set's other densities.

    Returns
    -------
    mapping of name to (misfit, ratio)
        Root mean square difference after the best scale, percent of the clinical maximum; median of computed over
        clinical dose above half of the maximum.
    """
    clinical = study.doses[0].volume
    out = {}
    request = RecomputeRequest(machines=item.machines, density_g_cm3=item.densities)
    case = choose_case(study, request)
    patient = patient_of(case, request)
    machines = machine_mapping(request)
    settings = DoseSettings(grid=clinical.grid)
    for name, change in HYPOTHESES.items():
        beams = tuple(_changed(b, change) for b in case.plan.beams)
        computed = compute_dose(patient, replace(case.plan, beams=beams), machines, settings).volume
        out[name] = relative_misfit_percent(clinical, computed), high_dose_ratio(clinical, computed)
    for name, densities in item.variants.items():
        other = patient_of(case, replace(request, density_g_cm3=densities))
        computed = compute_dose(other, case.plan, machines, settings).volume
        out[name] = relative_misfit_percent(clinical, computed), high_dose_ratio(clinical, computed)
    return out


def _changed(beam: Beam, change: Callable[[ControlPoint], ControlPoint]) -> Beam:
    return replace(beam, control_points=tuple(change(cp) for cp in beam.control_points))
