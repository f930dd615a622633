"""A stand-in for CuPy over the host build: `CudaLauncher` itself runs, with what it would hand to a device checked."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

from dosecalc_kernels.cuda import nvrtc
from dosecalc_kernels.cuda.host import HostArray, HostLauncher

GIB = 2**30


class Kernel:
    """Called as a RawKernel is: with a grid, a block and a tuple of arguments whose types nobody converts."""

    def __init__(self, host, source, name):
        self.host, self.source, self.name = host, source, name

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert len(grid) == len(block) == 3
        assert all(isinstance(n, int) and n > 0 for n in (*grid, *block))
        assert isinstance(args, tuple) and isinstance(shared_mem, int) and shared_mem <= 48 * 1024
        for given, declared in zip(args, self.source.kernels()[self.name], strict=True):
            if declared.pointer:
                assert type(given) is HostArray and given.dtype == declared.dtype and given.flags.c_contiguous
            else:  # a Python number would go as 8 bytes, whatever the kernel declares
                assert isinstance(given, np.generic) and given.dtype == declared.dtype
        self.host._launch(self.source, self.name, grid, block, args, shared_mem)


class FakeCupy:
    """The part of the module `cupy` that the launcher and the recipes use, on one device of some memory."""

    ndarray = HostArray

    def __init__(self, memory_bytes=64 * GIB):
        self._host = host = HostLauncher(memory_bytes=memory_bytes)
        self.compiled = []
        errors = {name: type(name, (RuntimeError,), {}) for name in
                  ("OutOfMemoryError", "CompileException", "CUDARuntimeError", "CUDADriverError")}  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: 1,
                getDeviceProperties=lambda _: {
                    "name": b"fake",
                    "multiProcessorCount": 4,
                    "totalGlobalMem": memory_bytes,
                },
                memGetInfo=lambda: (host.free_bytes(), memory_bytes),
                CUDARuntimeError=errors["CUDARuntimeError"],
            ),
            Device=lambda _: _Device(),
            get_current_stream=lambda: SimpleNamespace(synchronize=host.synchronise),
            memory=SimpleNamespace(OutOfMemoryError=errors["OutOfMemoryError"]),
            compiler=SimpleNamespace(CompileException=errors["CompileException"]),
            driver=SimpleNamespace(CUDADriverError=errors["CUDADriverError"]),
        )

    def __getattr__(self, name):
        return getattr(self._host.xp, name)

    def RawModule(self, *, code, options):
        assert isinstance(options, tuple) and all(isinstance(o, str) for o in options)
        source = next(s for s in nvrtc.sources() if s.text() == code)
        self.compiled.append(source.name)
        return SimpleNamespace(get_function=lambda name: Kernel(self._host, source, name))

    def get_default_memory_pool(self):
        return SimpleNamespace(free_bytes=lambda: 0)

    def asarray(self, array, dtype=None):
        return self._host.put(array, dtype)

    def ascontiguousarray(self, array):
        assert type(array) is HostArray
        return self._host.put(array, array.dtype)

    def asnumpy(self, array):
        assert type(array) is HostArray, "what lies on the host needs no copy"
        return self._host.get(array)

    def empty(self, shape, dtype):
        return self._host.empty(shape, dtype)


class _Device(nullcontext):
    def use(self):
        """One device, always the current one."""
