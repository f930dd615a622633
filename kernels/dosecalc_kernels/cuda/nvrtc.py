"""Compiling for devices that are not here, and what the compiled kernels use of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosecalc_kernels.cuda.launch import NVRTC_OPTIONS
from dosecalc_kernels.cuda.source import Source
from dosecalc_kernels.errors import DeviceFault

#: what the kernels are compiled for in the tests: Turing, Ampere, Hopper, Blackwell (which needs CUDA 12.8)
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
_FUNCTION = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Usage:
    """What one kernel uses: registers per thread, bytes of stack and spills per thread, bytes of shared memory."""

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int


def sources() -> tuple[Source, ...]:
    """Every CUDA source of this package."""
    return tuple(Source(f.stem) for f in sorted(Path(__file__).parent.glob("*.cu")))


def usage(source: Source, architecture: str) -> dict[str, Usage]:
    """Compile a source for an architecture, without a device; what each kernel uses.

    Raises
    ------
    DeviceFault
        ``DEVICE_NOT_AVAILABLE``: CuPy or NVRTC is not installed. ``KERNEL_NOT_COMPILED``, with the compiler's words.
    """
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(source.text(), f"{source.name}.cu", [], [])
    try:
        nvrtc.compileProgram(program, [f"-arch={architecture}", *NVRTC_OPTIONS, "--ptxas-options=-v"])
        return _read(nvrtc.getProgramLog(program))
    except nvrtc.NVRTCError as e:
        log = nvrtc.getProgramLog(program)
        raise DeviceFault("KERNEL_NOT_COMPILED", f"{source.name}.cu for {architecture}: {e}\n{log}") from e
    finally:
        nvrtc.destroyProgram(program)


def version() -> tuple[int, int]:
    """Version of NVRTC, (major, minor)."""
    major, minor = _nvrtc().getVersion()
    return int(major), int(minor)


def _nvrtc() -> Any:
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as e:  # CuPy loads the library on first use and fails in ways of its own
        raise DeviceFault("DEVICE_NOT_AVAILABLE", f"NVRTC cannot be used: {e}") from e
    return nvrtc


def _read(log: str) -> dict[str, Usage]:
    out = {}
    for part in log.split("Compiling entry function")[1:]:
        name = _FUNCTION.search("Compiling entry function" + part)
        spills, registers, shared = _SPILLS.search(part), _REGISTERS.search(part), _SHARED.search(part)
        assert name and spills and registers  # ptxas -v prints them for every kernel
        out[name[1]] = Usage(
            int(registers[1]), int(spills[1]), int(spills[2]), int(spills[3]), int(shared[1]) if shared else 0
        )
    return out
