"""Which implementation of the kernels computes: backends by name, each giving every kernel by its contract's name.

``cpu``; ``cuda`` or ``cuda:N`` for CUDA device N; ``host-cuda`` (the CUDA sources compiled for the host: for tests). A
named backend is taken or fails with the reason; only ``auto`` chooses, a usable GPU before the CPU.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dosecalc_kernels.errors import DeviceFault

if TYPE_CHECKING:
    from dosecalc_kernels.cuda.launch import Launcher

_LOG = logging.getLogger("dosecalc.device")
#: kernels and classes of kernels by the name that they have in their module, which has the same name in cpu/ and cuda/
KERNELS = {
    "add_transmission": "fluence",
    "integral_image": "fluence",
    "add_source_share": "source_share",
    "add_terma": "terma",
    "ConeTransport": "collapsed_cone",
    "ElectronTransport": "electron_transport",
    "gamma_of_points": "gamma",
    "inside": "dvh",
    "signed_distance": "dvh",
    "chord_power": "dvh",
    "accumulate": "dvh",
    "raster_area": "dvh",
    "extremes": "dvh",
    "average_axis": "resample",
    "dominant_material": "resample",
    "trilinear": "resample",
    "polygon_coverage": "rasterise",
    "add_contamination": "contamination",
    "trace_fan": "pencil_beam",
    "add_pencil_dose": "pencil_beam",
}


class Backend:
    """Kernels on one device, and that device's arrays.

    Parameters
    ----------
    name : str
        "cpu", "cuda:0", "host-cuda".
    launcher : Launcher or None
        None for the CPU, whose arrays are numpy's.
    """

    def __init__(self, name: str, launcher: Launcher | None = None) -> None:
        self.name = name
        self.launcher = launcher
        self.description = "CPU" if launcher is None else launcher.description

    @property
    def xp(self) -> Any:
        """The module of array functions that take and return this backend's arrays: numpy's or cupy's."""
        return np if self.launcher is None else self.launcher.xp

    @property
    def fft(self) -> Any:
        """The module of Fourier transforms (numpy's names) of this backend's arrays, which keep their precision."""
        if self.launcher is not None:
            return self.launcher.xp.fft
        import scipy.fft  # takes a while: what only looks kernels up does not wait for it

        return scipy.fft

    @property
    def compile_seconds(self) -> float:
        """What compiling kernels for this device has taken in this process; those of the CPU are timed apart."""
        return 0.0 if self.launcher is None else self.launcher.compile_seconds

    def use(self) -> None:
        """Make this the device of the calling thread: to be called by every thread that computes on it."""
        if self.launcher is not None:
            self.launcher.use()

    def kernel(self, name: str) -> Callable[..., Any]:
        """The implementation of one of `KERNELS`; it takes what the contract says, host or device arrays.

        Raises
        ------
        KeyError
            There is no such kernel.
        """
        module = KERNELS[name]
        if self.launcher is None:
            return _attribute(f"dosecalc_kernels.cpu.{module}", name)
        return partial(_attribute(f"dosecalc_kernels.cuda.{module}", name), self.launcher)

    def put(self, array: NDArray[Any], dtype: DTypeLike | None = None) -> Any:
        """An array for this backend's kernels: on its device, C-contiguous."""
        kind = array.dtype if dtype is None else dtype
        return np.ascontiguousarray(array, kind) if self.launcher is None else self.launcher.put(array, kind)

    def keep(self, make: Callable[..., NDArray[Any]], *arguments: Any) -> Any:
        """What a function makes of its (hashable) arguments, as an array of this backend.

        On a device it stays there for the next caller, as long as there is room; on the CPU the function sees to that.
        """
        if self.launcher is None:
            return make(*arguments)
        put = self.launcher.put

        def made() -> tuple[Any]:
            array = make(*arguments)
            return (put(array, array.dtype),)

        return self.launcher.memory.keep((make, *arguments), made)[0]

    def get(self, array: Any) -> NDArray[Any]:
        """An array of this backend on the host."""
        return np.asarray(array) if self.launcher is None else self.launcher.get(array)

    def kept_under(self, key: Hashable, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """Arrays of this backend that a device keeps between requests, by a key of their content; else made anew."""
        return make() if self.launcher is None else self.launcher.memory.keep(key, make)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Zeros for this backend's kernels."""
        return np.zeros(shape, dtype) if self.launcher is None else self.launcher.zeros(shape, dtype)


def backend(name: str) -> Backend:
    """The backend of that name, or the one that ``auto`` takes.

    Raises
    ------
    DeviceFault
        ``DEVICE_UNKNOWN``; ``DEVICE_NOT_AVAILABLE`` with the reason.
    """
    if name == "auto":
        return _first_usable()
    return _named(name)


def fault_of(error: BaseException) -> DeviceFault | None:
    """What an error says of a device; None for errors that have nothing to do with one."""
    from dosecalc_kernels.cuda import launch

    return launch.fault_of(error)


def cuda_devices() -> dict[str, tuple[str, int, int]]:
    """The CUDA devices that are here, by name: what each is called, its multiprocessors, its bytes of memory."""
    from dosecalc_kernels.cuda.launch import device_count, device_properties

    return {f"cuda:{n}": device_properties(n) for n in range(device_count())}


@cache
def _first_usable() -> Backend:
    try:
        found = _named("cuda:0")
    except DeviceFault as fault:
        _LOG.warning("device auto: computing on the CPU, no usable GPU: %s", fault.message)
        return _named("cpu")
    _LOG.info("device auto: computing on %s", found.name)
    return found


@cache
def _named(name: str) -> Backend:
    if name == "cuda":
        return _named("cuda:0")
    if name == "cpu":
        return Backend("cpu")
    if name == "host-cuda":
        from dosecalc_kernels.cuda.host import HostLauncher

        return Backend(name, HostLauncher())
    match = re.fullmatch(r"cuda:(\d+)", name)
    if match is None:
        raise DeviceFault("DEVICE_UNKNOWN", f"There is no device {name!r}; choose cpu, cuda, cuda:N or auto.")
    from dosecalc_kernels.cuda.launch import CudaLauncher

    return Backend(name, CudaLauncher(int(match[1])))


def _attribute(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
