"""CUDA kernels compiled for the host by a C++ compiler, through the same wrappers: for tests on machines without a GPU.

Slow, in one thread, and strict: device memory is uninitialised (NaN), guarded on both sides, and not taken for host
memory; threads run in an order that the test chooses.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dosecalc_kernels.cuda.launch import DeviceArray, Dims, Launcher
from dosecalc_kernels.cuda.memory import DeviceMemory
from dosecalc_kernels.cuda.source import Source
from dosecalc_kernels.errors import DeviceFault

_SHIM, _RACES = Path(__file__).with_name("host_shim.h"), Path(__file__).with_name("host_races.cpp")
_OPTIONS = ("-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-w")
_WATCHED = "-fsanitize=thread"  # the compiler's part alone: its library is not linked, `host_races.cpp` is
_GUARD = 256  # bytes on both sides of every array
_POISON = 0xFF  # NaN as a float, -1 as an integer
_ONE_AT_A_TIME = threading.Lock()  # the shim keeps the indices of the running thread in variables of the library
ORDERS = {"forward": 0, "backward": 1, "strewn": 2}


def compiler() -> list[str] | None:
    """The command of a C++ compiler: ``$CXX``, one on the path, or the one in the wheel ``ziglang``; None without."""
    if os.environ.get("CXX"):
        return os.environ["CXX"].split()
    found = next((c for c in ("g++", "clang++", "c++") if shutil.which(c)), None)
    if found:
        return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


class HostArray(np.ndarray[Any, np.dtype[Any]]):
    """Stands for memory of the device: mixing it with arrays of the host is an error, as it is in CuPy."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        """Apply a function to device arrays and numbers only."""
        for a in (*inputs, *(out or ())):
            if isinstance(a, np.ndarray) and a.ndim and not isinstance(a, HostArray):
                raise TypeError("an array of the host was mixed with arrays of the device")
        plain = [a.view(np.ndarray) if isinstance(a, HostArray) else a for a in inputs]
        if out is not None:
            kwargs["out"] = tuple(a.view(np.ndarray) if isinstance(a, HostArray) else a for a in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        if out is not None:
            return out[0] if len(out) == 1 else out
        return _as_device(result)


def _as_device(result: Any) -> Any:
    if isinstance(result, np.ndarray):
        return result.view(HostArray)
    return tuple(_as_device(r) for r in result) if isinstance(result, tuple) else result


class _ArrayModule:
    """numpy, giving device arrays."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, type(np)):
            return _ArrayModule(found)
        if isinstance(found, type) or not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return _as_device(found(*args, **kwargs))

        return call


class HostLauncher(Launcher):
    """Runs the kernels on the host.

    Parameters
    ----------
    block : int, optional
        See `Launcher`.
    order : 'forward', 'backward' or 'strewn'
        In which blocks, and threads between barriers, run.
    memory_bytes : int
        Size of the memory that it pretends to have; taking more at a time fails as on a device.
    races : bool
        Watch every access to memory, slowly: one that nothing orders against another thread's, or that reads beside an
        array, is a fault.

    Raises
    ------
    DeviceFault
        ``DEVICE_NOT_AVAILABLE``: there is no C++ compiler.
    """

    name = "host-cuda"
    description = "CUDA kernels compiled for the host"
    multiprocessors = 1

    def __init__(
        self, block: int | None = None, order: str = "forward", memory_bytes: int = 2**40, races: bool = False
    ) -> None:
        super().__init__(block)
        self._races = races
        self.xp = _ArrayModule(np)
        self._order = ORDERS[order]
        self._total = memory_bytes
        self._guarded: list[weakref.ref[NDArray[np.uint8]]] = []
        self.memory = DeviceMemory(self)
        if compiler() is None:
            raise DeviceFault("DEVICE_NOT_AVAILABLE", "No C++ compiler was found; set CXX or install ziglang.")

    def put(self, array: Any, dtype: DTypeLike) -> DeviceArray:
        if self.is_device_array(array) and array.dtype == np.dtype(dtype) and array.flags.c_contiguous:
            return array
        plain = np.asarray(array.view(np.ndarray) if self.is_device_array(array) else array, dtype=dtype)
        out = self.empty(plain.shape, dtype)
        out.view(np.ndarray)[...] = plain
        return out

    def get(self, array: DeviceArray) -> NDArray[Any]:
        self.synchronise()
        return np.array(array.view(np.ndarray))

    def empty(self, shape: Dims | int, dtype: DTypeLike) -> DeviceArray:
        kind = np.dtype(dtype)
        n = int(np.prod(shape)) * kind.itemsize
        if n > self.free_bytes():
            raise DeviceFault("DEVICE_OUT_OF_MEMORY", f"The memory that the host pretends to have is full: {n} bytes.")
        memory = np.full(n + 2 * _GUARD, _POISON, np.uint8)
        self._guarded.append(weakref.ref(memory))
        return memory[_GUARD : _GUARD + n].view(kind).reshape(shape).view(HostArray)

    def total_bytes(self) -> int:
        """The memory that it pretends to have."""
        return self._total

    def free_bytes(self) -> int:
        """What of it nobody refers to."""
        return self._total - sum(m.nbytes - 2 * _GUARD for m in self._alive())

    def _alive(self) -> list[NDArray[np.uint8]]:
        self._guarded = [r for r in self._guarded if r() is not None]
        return [m for r in self._guarded if (m := r()) is not None]

    def is_device_array(self, array: Any) -> bool:
        return isinstance(array, HostArray)

    def use(self) -> None:
        """Nothing: there is one host."""

    def synchronise(self) -> None:
        for memory in self._alive():
            if (memory[:_GUARD] != _POISON).any() or (memory[-_GUARD:] != _POISON).any():
                raise DeviceFault("DEVICE_FAILED", "A kernel wrote outside its arrays.")

    def _launch(
        self, source: Source, kernel: str, grid: Dims, block: Dims, args: Sequence[Any], shared_bytes: int
    ) -> None:
        for a, p in zip(args, source.kernels()[kernel], strict=True):
            if p.pointer and a.ctypes.data % p.alignment:
                raise DeviceFault("DEVICE_FAILED", f"{source.name}.cu, {kernel}: {p.name} is a misaligned address.")
        start = time.perf_counter()
        library = _library(source, self._races)
        self.compile_seconds += time.perf_counter() - start
        values = [ctypes.c_void_p(a.ctypes.data) if self.is_device_array(a) else np.array(a) for a in args]
        pointers = (ctypes.c_void_p * len(values))(
            *(v.ctypes.data if isinstance(v, np.ndarray) else ctypes.addressof(v) for v in values)
        )
        dims = (ctypes.c_uint * 6)(*grid, *block)
        library.dosecalc_error.restype = ctypes.c_char_p
        with _ONE_AT_A_TIME:
            if self._races:
                _watch(library, source, kernel, args)
            failed = library[f"dosecalc_launch_{kernel}"](dims, shared_bytes, self._order, pointers)
            what = library.dosecalc_error().decode()
        if failed:
            raise DeviceFault("DEVICE_FAILED", f"{source.name}.cu, {kernel}: {what}")
        self.synchronise()


def _watch(library: ctypes.CDLL, source: Source, kernel: str, args: Sequence[Any]) -> None:
    """Tell the library which arrays the next launch may touch; where several overlap, their union."""
    spans: list[list[Any]] = []
    arrays = [(a, p.name) for a, p in zip(args, source.kernels()[kernel], strict=True) if p.pointer]
    for array, name in sorted(arrays, key=lambda a: int(a[0].ctypes.data)):
        begin, end = array.ctypes.data, array.ctypes.data + array.nbytes
        grain = min(4, array.itemsize)
        if spans and begin < spans[-1][1]:
            spans[-1][1:] = max(end, spans[-1][1]), min(grain, spans[-1][2]), spans[-1][3] + b" or " + name.encode()
        else:
            spans.append([begin, end, grain, name.encode()])
    n = len(spans)
    begins, ends, grains, names = zip(*spans, strict=True) if spans else ((), (), (), ())
    sizes = ctypes.c_size_t * n
    library.dosecalc_race_watch(sizes(*begins), sizes(*ends), sizes(*grains), (ctypes.c_char_p * n)(*names), n)


@cache
def _library(source: Source, races: bool) -> ctypes.CDLL:
    trampolines = "".join(
        f'extern "C" int dosecalc_launch_{k}(const unsigned* dims, unsigned shared, unsigned order, void** args)\n'
        f"{{ return dosecalc_shim::launch(&dosecalc_shim::Trampoline<&{k}>::call, args, dims, shared, order); }}\n"
        for k in source.kernels()
    )
    text = (
        ("#define DOSECALC_BARRIERS 1\n" if source.talks() else "")
        + ("#define DOSECALC_RACES 1\n" if races else "")
        + _SHIM.read_text(encoding="utf-8").replace("#pragma once\n", "")
        + source.text()
        + "\n"
        + trampolines
        + 'extern "C" const char* dosecalc_error() { return dosecalc_shim::error.c_str(); }\n'
    )
    parts = [(text, _WATCHED), (_RACES.read_text(encoding="utf-8"), "")] if races else [(text, "")]
    command = compiler()
    assert command is not None  # the launcher looked for it
    key = hashlib.sha256("\0".join([*(t + o for t, o in parts), *command, *_OPTIONS]).encode()).hexdigest()[:32]
    file = _cache_folder() / f"{source.name}-{key}.so"
    if not file.is_file():
        with tempfile.TemporaryDirectory(dir=file.parent) as work:
            made = Path(work) / "kernel.so"
            objects = [_compiled(command, source, Path(work) / f"part{n}", *part) for n, part in enumerate(parts)]
            _run([*command, "-shared", "-o", str(made), *objects], source)
            os.replace(made, file)
    return ctypes.CDLL(str(file))


def _compiled(command: Sequence[str], source: Source, file: Path, text: str, option: str) -> str:
    """Compile a text to an object file."""
    file.with_suffix(".cpp").write_text(text, encoding="utf-8")
    made = str(file.with_suffix(".o"))
    options = [*_OPTIONS, option] if option else _OPTIONS
    _run([*command, *options, "-c", "-o", made, str(file.with_suffix(".cpp"))], source)
    return made


def _run(command: Sequence[str], source: Source) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DeviceFault("KERNEL_NOT_COMPILED", f"{source.name}.cu for the host:\n{done.stderr[-4000:]}")


@cache
def _cache_folder() -> Path:
    """A folder that is ours alone: what lies in it is loaded and run."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "dosecalc" / "host-kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="dosecalc-host-kernels-"))
