"""Every error that dosecalc raises on purpose: what is wrong, where, and what would mend it."""

from __future__ import annotations


class DosecalcError(Exception):
    """Base of all deliberate errors.

    Parameters
    ----------
    reason : str
        Stable identifier in upper snake case (``CT_SLICE_MISSING``); callers may branch on it, its meaning stays.
    message : str
        One or two sentences for a person: what is wrong and what would mend it. Never a patient's name or identifier.
    **where : object
        What the message speaks of, by name: ``file``, ``tag``, ``beam``, ``control_point``, ``structure``, ``field``, …
        Values are kept as text; ``None`` values are dropped.
    """

    def __init__(self, reason: str, message: str, **where: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.where: dict[str, str] = {k: str(v) for k, v in where.items() if v is not None}

    def __str__(self) -> str:
        place = ", ".join(f"{k} {v}" for k, v in self.where.items())
        return f"{self.message} [{self.reason}{'; ' + place if place else ''}]"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.reason, self.message, self.where))


def _rebuild(cls: type[DosecalcError], reason: str, message: str, where: dict[str, str]) -> DosecalcError:
    return cls(reason, message, **where)


class InputError(DosecalcError):
    """An argument, option or file that is not DICOM (a machine file, a density list) is wrong."""


class DicomError(DosecalcError):
    """A DICOM object, or a set of them, cannot be used."""


class GeometryError(DosecalcError):
    """A grid or a position is impossible: negative spacing, a box without volume, no overlap."""


class PatientError(DosecalcError):
    """The patient model cannot be built: no density, HU beyond the calibration curve, no External."""


class PlanError(DosecalcError):
    """The plan holds something that is not modelled, so no dose is computed. ``where['beam']`` names the beam."""


class MachineError(DosecalcError):
    """A machine model is invalid, unknown, or does not fit the plan."""


class DeviceError(DosecalcError):
    """The chosen device is missing, too small or failed."""


class StoreError(DosecalcError):
    """The server's store cannot take or give what was asked (full disk, missing object)."""


class Cancelled(DosecalcError):
    """The caller asked to stop."""

    def __init__(self, message: str = "The computation was cancelled on request.") -> None:
        super().__init__("CANCELLED", message)

    def __reduce__(self) -> tuple[object, ...]:
        return (Cancelled, (self.message,))
