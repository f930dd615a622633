"""Backends to bind kernel tests to, and launches that must not change a result."""

import pytest

from dosecalc_kernels.cuda.host import HostLauncher, compiler
from dosecalc_kernels.errors import DeviceFault
from dosecalc_kernels.registry import Backend
from dosecalc_kernels.registry import backend as named

#: block sizes and orders of threads: the same bits are wanted from each
LAUNCHES = [(None, "forward"), (32, "backward"), (96, "strewn")]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler (CXX, g++, clang++ or ziglang)")
#: for `pytest.mark.parametrize("backend", BACKENDS, indirect=True)`; the fixture stands in conftest.py
BACKENDS = [
    "cpu",
    pytest.param("host-cuda", marks=needs_compiler),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
#: the CUDA twins alone
TWINS = BACKENDS[1:]


def usable(name: str) -> Backend:
    """A backend, or a skipped test."""
    try:
        return named(name)
    except DeviceFault as fault:
        pytest.skip(f"{fault.reason}: {fault.message}")


def host_backends() -> list[Backend]:
    """The host build in every launch of `LAUNCHES`, and watched for races."""
    launchers = [HostLauncher(block, order) for block, order in LAUNCHES] + [HostLauncher(races=True)]
    return [Backend("host-cuda", launcher) for launcher in launchers]
