"""What this server can compute with: machine models, engines, devices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import dosecalc
import dosecalc_kernels
from dosecalc.devices import found_devices
from dosecalc.errors import MachineError
from dosecalc.machine import MachineSummary, list_machines
from dosecalc.patient.hu import list_curves
from dosecalc.photon import engines
from dosecalc_api.v1 import info_pb2, machine_pb2
from dosecalc_server.request import JobRequest

#: what the engine is made of; compiled caches are not
_ENGINE_FILES = (".py", ".yaml", ".json", ".csv", ".npz", ".cu", ".cuh", ".h")


def _choices(kind: engines.EngineKind, option: str) -> list[info_pb2.EngineChoice]:
    return [info_pb2.EngineChoice(name=n, description=text) for n, text in kind.options.get(option, {}).items()]


ENGINES = tuple(
    info_pb2.EngineInfo(
        name=kind.name,
        description=kind.description,
        radiations=kind.radiations,
        devices=kind.devices,
        quantities=[info_pb2.DoseQuantity(name=c.name, description=c.description) for c in _choices(kind, "quantity")],
        cones=_choices(kind, "cones"),
        heterogeneities=_choices(kind, "heterogeneity"),
    )
    for kind in engines.ENGINES.values()
)


@dataclass(frozen=True)
class Catalogue:
    """Machine models, devices, calibration curves and the engine, as they were when the server started.

    Parameters
    ----------
    machines : tuple of MachineSummary
        By name.
    devices : tuple of DeviceInfo
        The CPU first.
    hu_curves : tuple of str
        Names of HU calibration curves.
    engine_sha256 : str
        Hash over the engine's code and data, so that a result is never taken for that of changed code.
    """

    machines: tuple[MachineSummary, ...]
    devices: tuple[info_pb2.DeviceInfo, ...]
    hu_curves: tuple[str, ...]
    engine_sha256: str

    @classmethod
    def of_this_machine(cls) -> Catalogue:
        """The shipped machine models and the devices found here."""
        machines = tuple(sorted(list_machines(), key=lambda m: m.name))
        devices = tuple(
            info_pb2.DeviceInfo(kind=d.kind, description=d.description, units=d.units, memory_bytes=d.memory_bytes)
            for d in found_devices()
        )
        return cls(machines, devices, list_curves(), _engine_hash())

    @property
    def device_names(self) -> tuple[str, ...]:
        """Device kinds that are here."""
        return tuple(dict.fromkeys(device.kind for device in self.devices))

    def machine(self, name: str) -> MachineSummary:
        """A machine model's summary.

        Raises
        ------
        MachineError
            ``MACHINE_UNKNOWN``.
        """
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(m.name for m in self.machines)
        raise MachineError("MACHINE_UNKNOWN", f"There is no machine model {name!r}; there are {known}.", machine=name)

    def machine_hashes(self, request: JobRequest) -> tuple[str, ...]:
        """Content hashes of the models that a request may use; all of them when it names none.

        Raises
        ------
        MachineError
            ``MACHINE_UNKNOWN``.
        """
        if request.machines:
            return tuple(self.machine(name).sha256 for name in request.machines)
        return tuple(machine.sha256 for machine in self.machines)


def machine_to_wire(machine: MachineSummary) -> machine_pb2.Machine:
    """A machine model's summary as a message."""
    return machine_pb2.Machine(
        name=f"machines/{machine.name}",
        description=machine.description,
        sha256=machine.sha256,
        schema_version=str(machine.schema_version),
        generic=machine.generic,
        energies=[machine_pb2.MachineEnergy(nominal_mv=mv, fluence_mode=mode) for mv, mode in machine.energies],
        mlc=machine.mlc,
    )


def _engine_hash() -> str:
    found = hashlib.sha256()
    for package in (dosecalc, dosecalc_kernels):
        for root in sorted(package.__path__):
            for file in sorted(Path(root).rglob("*")):
                if file.is_file() and file.suffix in _ENGINE_FILES:
                    found.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()
