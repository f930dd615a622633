"""The devices that can compute here, and the one that a computation takes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dosecalc.errors import DeviceError
from dosecalc_kernels.errors import DeviceFault
from dosecalc_kernels.offload import Offload
from dosecalc_kernels.registry import Backend, backend, cuda_devices, fault_of

#: environment variable that tells a process which of several it is, ``1/2`` for the first of two, so that each takes
#: GPUs of its own for ``cuda`` and ``auto``
SHARE_VARIABLE = "DOSECALC_GPU_SHARE"
_LOG = logging.getLogger("dosecalc.device")
#: what a computation may ask for
NAMES = re.compile(r"cpu|cuda(:\d+)?|auto")


@dataclass(frozen=True)
class Device:
    """A device that can compute.

    Parameters
    ----------
    kind : 'cpu' or 'cuda'
    name : str
        As requests name it: ``cpu``, ``cuda:0``.
    description : str
        What it is called.
    units : int
        Threads of a CPU, multiprocessors of a GPU.
    memory_bytes : int
    """

    kind: str
    name: str
    description: str
    units: int
    memory_bytes: int


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn what the kernels, and operations on a device's arrays, say of a device into `DeviceError`."""
    try:
        yield
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        mend = " Choose the device cpu or auto." if fault.reason == "DEVICE_NOT_AVAILABLE" else ""
        raise DeviceError(fault.reason, f"{fault.message.removesuffix('.')}.{mend}") from error


def open_devices(choice: str, engine: str, supported: tuple[str, ...]) -> tuple[Backend, ...]:
    """The devices for a computation: a named one, all GPUs for ``cuda``, those or else the CPU for ``auto``.

    Parameters
    ----------
    choice : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
    engine : str
        For the message.
    supported : tuple of str
        Device kinds that the engine runs on.

    Raises
    ------
    DeviceError
        ``DEVICE_UNKNOWN``, ``DEVICE_NOT_AVAILABLE``, ``DEVICE_NOT_SUPPORTED``. Never with ``auto``.
    """
    if choice == "auto" and "cuda" not in supported:
        choice = "cpu"
    kind = choice.partition(":")[0].replace("host-cuda", "cuda")
    if kind in ("cpu", "cuda") and kind not in supported:
        raise DeviceError(
            "DEVICE_NOT_SUPPORTED",
            f"The engine {engine} does not run on the device {choice}; it runs on {', '.join(supported)}.",
            field="device",
        )
    with device_errors():
        first = backend(choice)
        if first.launcher is None or choice not in ("cuda", "auto"):
            return (first,)
        return tuple(backend(name) for name in _share(tuple(cuda_devices()), os.environ.get(SHARE_VARIABLE, "1/1")))


def offload(choice: str | Offload) -> Offload:
    """Kernels for what surrounds the dose engine (masks, resampling, DVHs, gamma), on one device or the CPU.

    Parameters
    ----------
    choice : str or Offload
        ``cpu``, ``cuda`` (of all GPUs the first), ``cuda:N`` or ``auto``; or what this function gave.

    Raises
    ------
    DeviceError
        ``DEVICE_UNKNOWN``, ``DEVICE_NOT_AVAILABLE``; never with ``auto``. A device that is there and fails later is
        replaced by the CPU, with a line in the log.
    """
    if isinstance(choice, Offload):
        return choice
    with device_errors():
        first = backend(choice)
        if first.launcher is not None and choice in ("cuda", "auto"):
            first = backend(_share(tuple(cuda_devices()), os.environ.get(SHARE_VARIABLE, "1/1"))[0])
        return Offload(first)


def _share(names: tuple[str, ...], share: str) -> tuple[str, ...]:
    """The GPUs for one of several processes side by side, each at least one: of two, every other one."""
    which, _, of = share.partition("/")
    return names[(int(which) - 1) % len(names) :: int(of)]


def with_room(
    devices: tuple[Backend, ...], nbytes: Callable[[int], int], most_passes: int
) -> tuple[tuple[Backend, ...], int, tuple[str, ...]]:
    """Those of the devices that a job fits into, in as few passes as it can, or else the CPU.

    Parameters
    ----------
    devices : tuple of Backend
    nbytes : callable
        What the job takes of a device's memory when it is done in so many passes.
    most_passes : int
        A power of 2; 1 for a job that cannot be divided.

    Returns
    -------
    devices : tuple of Backend
    passes : int
    warnings : tuple of str
        For the result.
    """
    passes = 1
    while passes <= most_passes:
        fitting = tuple(d for d in devices if d.launcher is None or d.launcher.memory.has_room(nbytes(passes)))
        if fitting:
            break
        passes *= 2
    if fitting and passes == 1:
        return fitting, 1, ()
    what = f"it was computed in {passes} passes, which takes longer" if fitting else "it was computed on the CPU"
    warning = (
        f"The job needs {nbytes(1) / 2**30:.2f} GiB, more than is free on {', '.join(d.name for d in devices)}: {what}."
    )
    _LOG.warning(warning)
    return fitting or (backend("cpu"),), passes if fitting else 1, (warning,)


def found_devices() -> tuple[Device, ...]:
    """What can compute on this machine, the CPU first."""
    gpus = (Device("cuda", name, *about) for name, about in cuda_devices().items())
    return (_cpu(), *gpus)


def why_no_gpu() -> str:
    """Why no GPU can be used, for a person; empty where one can."""
    try:
        backend("cuda")
    except DeviceFault as fault:
        return fault.message
    return ""


def _cpu() -> Device:
    model = "CPU"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Device("cpu", "cpu", model, threads, memory)
