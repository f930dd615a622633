"""Launching kernels: one interface, on a GPU through CuPy (here) or compiled for the host (`host`).

Floating point: contraction of a * b + c into one rounding is off on both (``--fmad=false``, ``-ffp-contract=off``), and
neither is compiled with fast mathematics. Where the fused operation is wanted, the source says ``fmaf``. So the host
build does the device's operations in the device's order, library functions (``exp``, ``atan``, …) apart, which may
differ in their last bit; and NaN keeps its meaning.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dosecalc_kernels.cuda.memory import DeviceMemory
from dosecalc_kernels.cuda.source import Source
from dosecalc_kernels.errors import DeviceFault

#: compiler options of every kernel (NVRTC)
NVRTC_OPTIONS = ("--std=c++17", "--fmad=false")

DeviceArray = Any  # a cupy.ndarray, or its stand-in on the host: both take slices, arithmetic and `xp` functions
Dims = tuple[int, ...]


class Launcher(ABC):
    """What the wrappers use of a device: arrays on it, and launches.

    Parameters
    ----------
    block : int, optional
        Threads per block wherever a wrapper lets the launcher choose (`threads`): results must not depend on it.
    """

    #: short name of the backend: "cuda", "host-cuda"
    name: str
    #: array functions that take and return device arrays: numpy's or cupy's
    xp: Any
    #: what the device is called, its multiprocessors and its memory
    description: str
    multiprocessors: int
    memory: DeviceMemory
    #: what compiling kernels has taken so far
    compile_seconds: float

    def __init__(self, block: int | None = None) -> None:
        self._block = block
        self.compile_seconds = 0.0

    def threads(self, default: int) -> int:
        """Threads per block for a launch whose result does not depend on them."""
        return self._block or default

    @abstractmethod
    def put(self, array: Any, dtype: DTypeLike) -> DeviceArray:
        """An array on the device, C-contiguous, of this dtype; what is there already, and so, is returned itself."""

    @abstractmethod
    def get(self, array: DeviceArray) -> NDArray[Any]:
        """A copy on the host. Waits for the device; faults of earlier launches surface here."""

    @abstractmethod
    def empty(self, shape: Dims | int, dtype: DTypeLike) -> DeviceArray:
        """Uninitialised memory on the device."""

    def zeros(self, shape: Dims | int, dtype: DTypeLike) -> DeviceArray:
        """Zeros on the device."""
        out = self.empty(shape, dtype)
        out[...] = 0
        return out

    @abstractmethod
    def is_device_array(self, array: Any) -> bool:
        """Whether an array lives on this device."""

    @abstractmethod
    def synchronise(self) -> None:
        """Wait for all launches."""

    @abstractmethod
    def use(self) -> None:
        """Make this the device of the calling thread: to be called by every thread that computes on it."""

    @contextmanager
    def inout(self, *arrays: Any) -> Iterator[tuple[DeviceArray, ...]]:
        """Device arrays for arrays that are changed in place: host arrays are copied there and, at the end, back."""
        there = tuple(a if self.is_device_array(a) else self.put(a, a.dtype) for a in arrays)
        yield there
        for array, device in zip(arrays, there, strict=True):
            if array is not device:
                array[...] = self.get(device)

    def as_given(self, result: DeviceArray, *inputs: Any) -> Any:
        """A result where the inputs were: on the device if any of them is there, otherwise copied to the host."""
        return result if any(self.is_device_array(a) for a in inputs) else self.get(result)

    def over(self, source: Source, kernel: str, n: int, args: Sequence[Any], block: int = 256) -> None:
        """Launch one thread for each of n items, in one dimension."""
        if n > 0:
            block = self.threads(block)
            self.launch(source, kernel, (-(-n // block),), (block,), args)

    def launch(
        self, source: Source, kernel: str, grid: Dims, block: Dims, args: Sequence[Any], shared_bytes: int = 0
    ) -> None:
        """Start a kernel.

        Parameters
        ----------
        source : Source
        kernel : str
            Name of an ``extern "C" __global__`` function.
        grid, block : (x[, y[, z]])
        args : sequence
            Device arrays for pointers; numbers for scalars, which take the declared type.
        shared_bytes : int
            Dynamic shared memory.

        Raises
        ------
        TypeError
            Arguments do not fit the kernel's declaration.
        DeviceFault
        """
        if min(grid) < 1:
            return
        checked = self._checked(source, kernel, args)
        self._launch(source, kernel, (*grid, 1, 1)[:3], (*block, 1, 1)[:3], checked, shared_bytes)

    @abstractmethod
    def _launch(
        self, source: Source, kernel: str, grid: Dims, block: Dims, args: Sequence[Any], shared_bytes: int
    ) -> None: ...

    def _checked(self, source: Source, kernel: str, args: Sequence[Any]) -> list[Any]:
        """Neither CUDA nor ctypes would notice a wrong type: the kernel would read rubbish."""
        parameters = source.kernels().get(kernel)
        if parameters is None:
            raise TypeError(f"{source.name}.cu declares no kernel {kernel!r}")
        if len(parameters) != len(args):
            raise TypeError(f"{kernel} takes {len(parameters)} arguments, {len(args)} were given")
        out = []
        for p, a in zip(parameters, args, strict=True):
            if not p.pointer:
                out.append(_scalar(kernel, p.name, p.dtype, a))
                continue
            if not self.is_device_array(a) or a.dtype != p.dtype or not a.flags.c_contiguous:
                what = getattr(a, "dtype", type(a).__name__)
                raise TypeError(f"{kernel}: {p.name} must be a C-contiguous device array of {p.dtype}, it is {what}")
            out.append(a)
        return out


def _scalar(kernel: str, name: str, dtype: np.dtype[Any], value: Any) -> Any:
    whole = dtype.kind in "iub"
    if whole and not isinstance(value, int | np.integer | np.bool_):
        raise TypeError(f"{kernel}: {name} must be a whole number, it is {type(value).__name__}")
    if whole and dtype.kind in "iu" and not np.iinfo(dtype).min <= int(value) <= np.iinfo(dtype).max:
        raise TypeError(f"{kernel}: {name} = {value} does not fit {dtype}")
    return dtype.type(value)


class CudaLauncher(Launcher):
    """Launches on one CUDA device through CuPy.

    Parameters
    ----------
    device : int
        CUDA device number.
    block : int, optional
        See `Launcher`.

    Raises
    ------
    DeviceFault
        ``DEVICE_NOT_AVAILABLE``: no CuPy, no driver, no such device.
    """

    name = "cuda"

    def __init__(self, device: int = 0, block: int | None = None) -> None:
        super().__init__(block)
        try:
            import cupy
        except ImportError as e:
            raise DeviceFault(
                "DEVICE_NOT_AVAILABLE", "CuPy is not installed; install dosecalc[cuda12] or dosecalc[cuda13]."
            ) from e
        self.xp = cupy
        self.device = device
        self._functions: dict[tuple[Source, str], Any] = {}
        with self.faults():
            count = cupy.cuda.runtime.getDeviceCount()
            if not 0 <= device < count:
                raise DeviceFault("DEVICE_NOT_AVAILABLE", f"There is no CUDA device {device}; {count} were found.")
            self._context = cupy.cuda.Device(device)
            self._context.use()
            self.description, self.multiprocessors, total = device_properties(device)
            self.memory = DeviceMemory(_CudaMeter(self, total))

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn CuPy's errors into `DeviceFault`."""
        try:
            yield
        except Exception as error:
            fault = fault_of(error)
            if fault is None or fault is error:
                raise
            raise fault from error

    def put(self, array: Any, dtype: DTypeLike) -> DeviceArray:
        with self.faults(), self._context:
            return self.xp.ascontiguousarray(self.xp.asarray(array, dtype=dtype))

    def get(self, array: DeviceArray) -> NDArray[Any]:
        with self.faults(), self._context:
            return np.asarray(self.xp.asnumpy(array))

    def empty(self, shape: Dims | int, dtype: DTypeLike) -> DeviceArray:
        with self.faults(), self._context:
            return self.xp.empty(shape, dtype)

    def is_device_array(self, array: Any) -> bool:
        return isinstance(array, self.xp.ndarray)

    def use(self) -> None:
        with self.faults():
            self._context.use()

    def free_bytes(self) -> int:
        """Memory that can be taken now, with what CuPy's pool holds unused."""
        with self.faults(), self._context:
            free, _ = self.xp.cuda.runtime.memGetInfo()
            return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def synchronise(self) -> None:
        with self.faults(), self._context:
            self.xp.cuda.get_current_stream().synchronize()

    def _launch(
        self, source: Source, kernel: str, grid: Dims, block: Dims, args: Sequence[Any], shared_bytes: int
    ) -> None:
        with self.faults(), self._context:
            self._function(source, kernel)(grid, block, tuple(args), shared_mem=shared_bytes)

    def _function(self, source: Source, kernel: str) -> Any:
        """A kernel of this device; its source is compiled when the first of its kernels is asked for."""
        if (source, kernel) not in self._functions:
            start = time.perf_counter()
            module = self.xp.RawModule(code=source.text(), options=NVRTC_OPTIONS)
            for name in source.kernels():
                self._functions[source, name] = module.get_function(name)
            self.compile_seconds += time.perf_counter() - start
        return self._functions[source, kernel]


class _CudaMeter:
    def __init__(self, launcher: CudaLauncher, total: int) -> None:
        self._launcher, self._total = launcher, total

    def total_bytes(self) -> int:
        return self._total

    def free_bytes(self) -> int:
        return self._launcher.free_bytes()


def fault_of(error: BaseException) -> DeviceFault | None:
    """What an error says of a CUDA device; None for errors that have nothing to do with one."""
    cupy = sys.modules.get("cupy")
    if isinstance(error, DeviceFault) or cupy is None:
        return error if isinstance(error, DeviceFault) else None
    cuda = cupy.cuda
    if isinstance(error, cuda.memory.OutOfMemoryError):
        return DeviceFault("DEVICE_OUT_OF_MEMORY", f"The memory of the CUDA device is full: {error}")
    if isinstance(error, cuda.compiler.CompileException):
        return DeviceFault("KERNEL_NOT_COMPILED", f"A CUDA kernel could not be compiled: {error}")
    if isinstance(error, cuda.runtime.CUDARuntimeError | cuda.driver.CUDADriverError):
        missing = any(name in str(error) for name in ("InsufficientDriver", "NoDevice", "InvalidDevice"))
        return DeviceFault("DEVICE_NOT_AVAILABLE" if missing else "DEVICE_FAILED", f"The CUDA device: {error}")
    return None


def device_count() -> int:
    """How many CUDA devices can be used; 0 without CuPy or a driver."""
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount())
    except Exception:  # no CuPy, no driver, a driver that is too old: each raises something of its own
        return 0


def device_properties(device: int) -> tuple[str, int, int]:
    """Name, multiprocessors and bytes of memory of a CUDA device; takes none of that memory."""
    import cupy

    found = cupy.cuda.runtime.getDeviceProperties(device)
    return found["name"].decode(), int(found["multiProcessorCount"]), int(found["totalGlobalMem"])
