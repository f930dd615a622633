"""The one entry point: patient, plan, machine and settings in, dose out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dosecalc.dose import Dose
from dosecalc.errors import PlanError
from dosecalc.geometry import Grid
from dosecalc.machine import Machine
from dosecalc.patient.model import Patient
from dosecalc.plan import Plan

#: called with the progress of the computation; see `Progress`
ProgressCallback = Callable[["Progress"], None]
#: returns True when the caller wants the computation to stop
CancelCheck = Callable[[], bool]


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


@dataclass(frozen=True)
class DoseSettings:
    """What may be chosen for a computation. Frozen and hashable: part of a job's identity.

    Parameters
    ----------
    engine : str
        ``collapsed_cone``.
    device : 'cpu', 'cuda' or 'auto'
    grid : Grid or None
        The dose grid; None covers the External (or the density) with ``spacing_mm``.
    spacing_mm : (dx, dy, dz)
        Used when ``grid`` is None.
    threads : int
        CPU threads, 0 for all; never changes the result.
    """

    engine: str = "collapsed_cone"
    device: str = "auto"
    grid: Grid | None = None
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    threads: int = field(default=0, compare=False)


def compute_dose(
    patient: Patient,
    plan: Plan,
    machine: Machine,
    settings: DoseSettings,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> Dose:
    """Dose of a plan in a patient.

    Raises
    ------
    PlanError
        An element of the plan is not modelled; nothing was computed.
    MachineError
        The machine model does not fit the plan.
    DeviceError
        The device cannot be used.
    Cancelled
        ``cancelled`` returned True.
    """
    raise PlanError("ENGINE_UNKNOWN", f"There is no engine {settings.engine!r}.")
