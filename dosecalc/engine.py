"""The one entry point: patient, plan, machine and settings in, dose out."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import dosecalc
from dosecalc.devices import device_errors, open_devices, with_room
from dosecalc.dose import BeamDose, Dose
from dosecalc.errors import GeometryError, InputError, PatientError
from dosecalc.geometry import Grid
from dosecalc.geometry.frames import bld_from_patient, source_patient_mm
from dosecalc.machine import Machine, MachineMapping
from dosecalc.machine.model import Energy
from dosecalc.patient.bolus import check_boluses, with_boluses
from dosecalc.patient.model import Patient
from dosecalc.patient.resample import patient_on_grid
from dosecalc.patient.ssd import central_axis_ssd_mm
from dosecalc.photon.collapsed_cone import CollapsedCone, CollapsedConeSettings
from dosecalc.photon.dose_to_water import DoseToWater
from dosecalc.photon.engines import ARC_TOLERANCE_DEG, ENGINES, QUANTITIES, choose
from dosecalc.photon.fluence import check_geometry
from dosecalc.photon.modifiers import by_wedge, chosen, prepared
from dosecalc.photon.pencil_beam import PencilBeam, PencilBeamSettings
from dosecalc.photon.stopwatch import Stopwatch
from dosecalc.plan import Beam, Plan
from dosecalc.plan.support import check_supported
from dosecalc.spread import spread
from dosecalc_kernels.cpu import threads
from dosecalc_kernels.cuda.collapsed_cone import LANES
from dosecalc_kernels.offload import Offload
from dosecalc_kernels.registry import Backend

#: a stated SSD that differs by more is worth a warning: patients differ by that from day to day, plans should not
SSD_TOLERANCE_MM = 5.0
_LEAST_SURFACE_G_CM3 = 0.05


@dataclass(frozen=True)
class Progress:
    """Where a computation stands.

    Parameters
    ----------
    fraction : float
        Of the whole computation, 0 to 1, never falling.
    beam_number : int or None
        The beam that is being computed.
    beam_fraction : float
        Of that beam, 0 to 1.
    step : str
        What is being done, in words.
    """

    fraction: float
    beam_number: int | None = None
    beam_fraction: float = 0.0
    step: str = ""


#: called with the progress of the computation; see `Progress`
ProgressCallback = Callable[[Progress], None]
#: returns True when the caller wants the computation to stop
CancelCheck = Callable[[], bool]


class DoseEngine(Protocol):
    """An engine, prepared for one patient grid on one device; every engine of `ENGINES` has this form."""

    device: Backend
    stopwatch: Stopwatch

    def beam_dose(
        self,
        beam: Beam,
        machine: Machine,
        energy: Energy,
        progress: Callable[[float, str], None],
        cancelled: CancelCheck,
    ) -> tuple[NDArray[np.float32], dict[str, str]]:
        """Dose per MU of a beam on the grid, float32 [z, y, x], Gy/MU, and facts for the records."""


@dataclass(frozen=True)
class DoseSettings:
    """What may be chosen for a computation. Frozen and hashable: part of a job's identity.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    device : str
        ``cpu``; ``cuda`` for all GPUs, which share the beams, or ``cuda:N`` for one; ``auto`` for usable GPUs or else
        the CPU. A job that does not fit into a GPU is computed in several passes, or else on the CPU, with a warning
        in the result.
    grid : Grid or None
        The dose grid; None covers all matter of the patient with ``spacing_mm``.
    spacing_mm : (dx, dy, dz)
        Used when ``grid`` is None.
    quantity : 'water_equivalent', 'medium' or 'water_in_medium'
        What is reported, see `QUANTITIES`.
    cones, heterogeneity : str
        Options of the engine, see `ENGINES`; empty takes its default.
    arc_tolerance_deg : float
        Largest gantry rotation within an arc that shares one transport, degrees, see `ARC_TOLERANCE_DEG`.
    threads : int
        CPU threads, 0 for all; never changes the result.
    """

    engine: str = "collapsed_cone"
    device: str = "auto"
    grid: Grid | None = None
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    quantity: str = "water_equivalent"
    cones: str = ""
    heterogeneity: str = ""
    arc_tolerance_deg: float = ARC_TOLERANCE_DEG[2]
    threads: int = field(default=0, compare=False)


def compute_dose(
    patient: Patient,
    plan: Plan,
    machine: Machine | MachineMapping,
    settings: DoseSettings,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> Dose:
    """Dose of a plan in a patient, Gy to the whole plan, all fractions.

    Parameters
    ----------
    patient : Patient
    plan : Plan
    machine : Machine or MachineMapping
        One model for every beam, or the rules that give each beam its own.
    settings : DoseSettings
    progress, cancelled : callable, optional
        Called between steps of well under a second.

    Raises
    ------
    PlanError
        An element of the plan is not modelled; nothing was computed.
    MachineError
        No machine model fits a beam, or it lacks a wedge or tray of one.
    PatientError
        A bolus of a beam is not there or has no density.
    InputError
        ``ARC_TOLERANCE``, and what `choose` raises.
    GeometryError
        ``GRID_OUTSIDE_PATIENT``.
    DeviceError
        ``DEVICE_UNKNOWN``, ``DEVICE_NOT_AVAILABLE``, ``DEVICE_NOT_SUPPORTED``; ``DEVICE_OUT_OF_MEMORY`` or
        ``DEVICE_FAILED`` while computing.
    Cancelled
        ``cancelled`` returned True.
    """
    start = time.perf_counter()
    settings = _checked(settings)
    assignment = _assign(plan, machine)
    _check_boluses(plan, patient)
    devices = open_devices(settings.device, settings.engine, ENGINES[settings.engine].devices)
    compiled = threads.warm_up()
    if not threads.shared():
        devices = devices[:1]  # fluence is made on the host, by the thread of each device
    known = {d: d.compile_seconds for d in devices}
    with threads.limit(settings.threads), device_errors():
        grid = settings.grid or _grid_of(patient, settings.spacing_mm)
        whole, window = _cover_patient(grid, with_boluses(patient, _all_boluses(plan)))
        builder = _BUILDERS[settings.engine]
        devices, passes, warnings = with_room(
            devices, lambda passes: builder.device_bytes(whole, settings, passes), builder.most_passes
        )
        stopwatch: dict[str, float] = {}

        def engines_with(boluses: frozenset[int]) -> list[DoseEngine]:
            on_grid = patient_on_grid(with_boluses(patient, boluses), whole, Offload(devices[0]))
            return spread(devices, len(devices), lambda device, _: _engine(on_grid, settings, device, passes))

        beams = _beams(engines_with, stopwatch, plan, assignment, window, patient, progress, cancelled or _never)
        total = np.zeros(grid.shape, np.float32)
        for b in beams:
            total += b.dose_gy
    compiled += sum(d.compile_seconds - known.get(d, 0.0) for d in devices)
    machines = {m.name: m.sha256 for _, m, _ in assignment}
    seconds = {**stopwatch, "total": time.perf_counter() - start - compiled, "compile": compiled}
    return Dose(
        grid=grid,
        total_gy=total,
        beams=tuple(beams),
        quantity=QUANTITIES[settings.quantity],
        engine=settings.engine,
        machine_name=", ".join(machines),
        machine_sha256=", ".join(machines.values()),
        provenance=_provenance(patient, settings, devices),
        seconds=seconds,
        warnings=(*warnings, *_ssd_warnings(plan, patient), *_bolus_warnings(plan, patient)),
    )


def _never() -> bool:
    return False


def _checked(settings: DoseSettings) -> DoseSettings:
    """The settings with the engine's defaults filled in."""
    chosen = choose(
        settings.engine, quantity=settings.quantity, cones=settings.cones, heterogeneity=settings.heterogeneity
    )
    check_arc_tolerance(settings.arc_tolerance_deg)
    return replace(settings, quantity=chosen["quantity"], cones=chosen["cones"], heterogeneity=chosen["heterogeneity"])


def check_arc_tolerance(value: float) -> None:
    """Raise InputError ``ARC_TOLERANCE`` unless an arc tolerance (degrees) is one that makes sense."""
    low, high, _ = ARC_TOLERANCE_DEG
    if not low <= value <= high:
        raise InputError(
            "ARC_TOLERANCE",
            f"The arc tolerance must lie between {low:g} and {high:g} degrees.",
            field="arc_tolerance_deg",
        )


def _collapsed_cone(patient: Patient, settings: DoseSettings, device: Backend, passes: int) -> DoseEngine:
    numerics = CollapsedConeSettings(
        # a view lies within half of what shares a transport, and never spans more than fluence maps allow
        view_tolerance_deg=min(CollapsedConeSettings.view_tolerance_deg, settings.arc_tolerance_deg / 2),
        transport_tolerance_deg=settings.arc_tolerance_deg,
        quantity=settings.quantity,
        cones=settings.cones,
        heterogeneity=settings.heterogeneity,
    )
    return CollapsedCone(patient, numerics, device, passes)


def _pencil_beam(patient: Patient, settings: DoseSettings, device: Backend, _: int) -> DoseEngine:
    numerics = PencilBeamSettings(
        arc_tolerance_deg=settings.arc_tolerance_deg,
        quantity=settings.quantity,
        heterogeneity=settings.heterogeneity,
    )
    return PencilBeam(patient, numerics, device)


@dataclass(frozen=True)
class _Builder:
    """How an engine is made for a patient on a device, and how much of the device's memory it takes for a grid.

    A device with too little memory may be able to do the work in several passes, a power of 2.
    """

    make: Callable[[Patient, DoseSettings, Backend, int], DoseEngine]
    device_bytes: Callable[[Grid, DoseSettings, int], int]
    most_passes: int


#: one for each of `dosecalc.photon.engines.ENGINES`, which say what the engines can do
_BUILDERS = {
    "collapsed_cone": _Builder(
        _collapsed_cone, lambda grid, s, passes: CollapsedCone.device_bytes(grid, s.heterogeneity, passes), LANES
    ),
    "pencil_beam": _Builder(_pencil_beam, lambda grid, _settings, _passes: PencilBeam.device_bytes(grid.shape), 1),
}


def _engine(patient: Patient, settings: DoseSettings, device: Backend, passes: int) -> DoseEngine:
    """The engine on a device, which becomes that of the calling thread."""
    device.use()
    make = _BUILDERS[settings.engine].make
    if settings.quantity == "water_in_medium":
        to_medium = make(patient, replace(settings, quantity="medium"), device, passes)
        return DoseToWater(to_medium, patient.material, patient.materials)
    return make(patient, settings, device, passes)


def _add_seconds(stopwatch: dict[str, float], engines: list[DoseEngine]) -> None:
    """Add up seconds by step, of all devices together."""
    for engine in engines:
        for step, seconds in engine.stopwatch.seconds.items():
            stopwatch[step] = stopwatch.get(step, 0.0) + seconds


def _boluses(beam: Beam) -> frozenset[int]:
    return frozenset(b.structure_number for b in beam.accessories.boluses)


def _all_boluses(plan: Plan) -> frozenset[int]:
    return frozenset().union(*map(_boluses, plan.beams))


def _check_boluses(plan: Plan, patient: Patient) -> None:
    for beam in plan.beams:
        try:
            check_boluses(patient, _boluses(beam))
        except PatientError as error:
            where = {**error.where, "beam": beam.label}
            raise PatientError(error.reason, f"Beam {beam.label}: {error.message}", **where) from None


def _bolus_warnings(plan: Plan, patient: Patient) -> list[str]:
    used = _all_boluses(plan)
    return [f"No beam uses the bolus {b.name!r}; it is left out." for b in patient.boluses if b.number not in used]


def _assign(plan: Plan, machine: Machine | MachineMapping) -> list[tuple[Beam, Machine, Energy]]:
    """Machine and energy of every beam that gives dose, after everything that would be refused was."""
    check_supported(plan)
    mapping = MachineMapping.of([machine]) if isinstance(machine, Machine) else machine
    out = []
    for beam in plan.beams:
        model = mapping.resolve(beam)
        check_geometry(beam, model)
        energy = model.energy(beam.energy_mv, beam.fluence_mode)
        assert energy is not None  # resolve looked for it
        out.append((prepared(beam, model, energy), model, energy))
    return out


def _grid_of(patient: Patient, spacing_mm: tuple[float, float, float]) -> Grid:
    """A grid over all matter: density above that of air."""
    matter = patient.density.values > 0.05
    if not matter.any():
        raise GeometryError("PATIENT_EMPTY", "The patient has no matter: every density is that of air.")
    g = patient.density.grid
    lower, upper = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != 2 - axis)
        (where,) = np.nonzero(matter.any(others))
        edges = g.edges_mm(axis)
        lower.append(float(edges[where[0]]))
        upper.append(float(edges[where[-1] + 1]))
    return Grid.covering((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]), spacing_mm)


def _cover_patient(grid: Grid, patient: Patient) -> tuple[Grid, tuple[slice, slice, slice]]:
    """The lattice of the dose grid, extended over all matter, and the window of the dose grid in it.

    What lies outside a small dose grid still attenuates and scatters.
    """
    body = _grid_of(patient, grid.spacing_mm)
    shape, origin, window = [], [], []
    for axis in range(3):
        s, o, n = grid.spacing_mm[axis], grid.origin_mm[axis], grid.shape[2 - axis]
        before = max(0, int(np.ceil((o - s / 2 - body.lower_mm[axis]) / s - 1e-6)))
        after = max(0, int(np.ceil((body.upper_mm[axis] - (o + (n - 0.5) * s)) / s - 1e-6)))
        if body.upper_mm[axis] <= o - s / 2 or body.lower_mm[axis] >= o + (n - 0.5) * s:
            raise GeometryError(
                "GRID_OUTSIDE_PATIENT",
                f"The dose grid ({grid.lower_mm} to {grid.upper_mm} mm) does not touch the patient "
                f"({body.lower_mm} to {body.upper_mm} mm); check the frame of reference.",
            )
        shape.append(before + n + after)
        origin.append(o - before * s)
        window.append(slice(before, before + n))
    whole = Grid((origin[0], origin[1], origin[2]), grid.spacing_mm, (shape[2], shape[1], shape[0]))
    return whole, (window[2], window[1], window[0])


def _beams(
    engines_with: Callable[[frozenset[int]], list[DoseEngine]],
    stopwatch: dict[str, float],
    plan: Plan,
    assignment: list[tuple[Beam, Machine, Energy]],
    window: tuple[slice, slice, slice],
    patient: Patient,
    progress: ProgressCallback | None,
    cancelled: CancelCheck,
) -> list[BeamDose]:
    """Dose of every beam, in the plan's order; those with the same boluses are shared between the engines."""
    reached = [0.0] * len(assignment)
    lock = threading.Lock()

    def compute(engine: DoseEngine, n: int) -> BeamDose:
        beam, machine, energy = assignment[n]

        def report(fraction: float, step: str) -> None:
            if progress is not None:
                with lock:
                    reached[n] = fraction
                    progress(Progress(sum(reached) / len(reached), beam.number, fraction, step))

        engine.device.use()
        report(0.0, "fluence")
        per_mu, facts = _dose_of_parts(engine, beam, machine, energy, report, cancelled)
        mu = plan.total_mu(beam)
        dose = np.ascontiguousarray(per_mu[window]) * np.float32(mu)
        facts["machine_model"] = machine.name
        facts["machine_sha256"] = machine.sha256
        facts["energy"] = f"{energy.nominal_mv:g} MV{' FFF' if energy.fluence_mode == 'FFF' else ''}"
        facts |= chosen(next(b for b in plan.beams if b.number == beam.number), machine, energy)
        ssd = _ssd(beam, patient)
        facts["ssd_mm"] = "none" if ssd is None else f"{ssd:.1f}"
        report(1.0, "done")
        return BeamDose(beam.number, beam.name, dose, mu, facts)

    done: dict[int, BeamDose] = {}
    for boluses in dict.fromkeys(_boluses(beam) for beam, _, _ in assignment):
        members = [n for n, (beam, _, _) in enumerate(assignment) if _boluses(beam) == boluses]
        engines = engines_with(boluses)

        def compute_member(engine: DoseEngine, k: int, members: list[int] = members) -> BeamDose:
            return compute(engine, members[k])

        done.update(zip(members, spread(engines, len(members), compute_member), strict=True))
        _add_seconds(stopwatch, engines)
    return [done[n] for n in range(len(assignment))]


def _dose_of_parts(
    engine: DoseEngine,
    beam: Beam,
    machine: Machine,
    energy: Energy,
    report: Callable[[float, str], None],
    cancelled: CancelCheck,
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Dose per MU and facts of a beam, its wedged and its open part each with kernels of its own."""
    total: NDArray[np.float32] | None = None
    facts: dict[str, str] = {}
    parts = by_wedge(beam)
    for n, (part, share) in enumerate(parts):

        def report_part(fraction: float, step: str, n: int = n) -> None:
            report((n + fraction) / len(parts), step)

        per_mu, facts = engine.beam_dose(part, machine, energy, report_part, cancelled)
        if share != 1.0:
            per_mu = per_mu * np.float32(share)
        total = per_mu if total is None else total + per_mu
    assert total is not None  # a beam has a part
    return total, facts


def _ssd(beam: Beam, patient: Patient) -> float | None:
    cp = beam.control_points[0]
    rotation = bld_from_patient(cp.gantry_deg, cp.collimator_deg, cp.couch_deg, beam.patient_position)
    source = source_patient_mm(cp.isocentre_patient_mm, rotation, beam.sad_mm)
    isocentre = np.array(cp.isocentre_patient_mm)
    found = central_axis_ssd_mm(patient.density, source, isocentre)
    # an axis through nothing denser than lung has a surface too
    return found if found is not None else central_axis_ssd_mm(patient.density, source, isocentre, _LEAST_SURFACE_G_CM3)


def _ssd_warnings(plan: Plan, patient: Patient) -> list[str]:
    out = []
    for beam in plan.beams:
        stated, found = beam.control_points[0].ssd_mm, _ssd(beam, patient)
        if found is None:
            out.append(f"Beam {beam.label}: its axis misses the patient.")
        elif stated is not None and abs(stated - found) > SSD_TOLERANCE_MM:
            out.append(
                f"Beam {beam.label}: the plan states an SSD of {stated:.1f} mm, the density gives {found:.1f} mm."
            )
    return out


def _provenance(patient: Patient, settings: DoseSettings, devices: tuple[Backend, ...]) -> dict[str, str]:
    versions = {
        "dosecalc": dosecalc.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": metadata.version("numba"),
    }
    return {
        **{f"version_{k}": v for k, v in versions.items()},
        "device": ", ".join(d.name if d.launcher is None else f"{d.name} ({d.description})" for d in devices),
        "density_source": patient.density_source,
        "quantity": QUANTITIES[settings.quantity],
        "cones": settings.cones,
        "heterogeneity": settings.heterogeneity,
        "arc_tolerance_deg": f"{settings.arc_tolerance_deg:g}",
    }
