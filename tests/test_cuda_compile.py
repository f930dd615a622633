"""Every CUDA source compiles for the devices that are meant to be served, and its kernels fit into them."""

import pytest

from dosecalc_kernels.cuda import nvrtc
from dosecalc_kernels.errors import DeviceFault


@pytest.fixture(scope="module")
def compiler():
    try:
        found = nvrtc.version()
    except DeviceFault as fault:
        pytest.skip(f"{fault.reason}: {fault.message}")
    if found < (12, 8):
        pytest.skip(f"NVRTC {found[0]}.{found[1]} does not know sm_100; 12.8 does")


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("source", nvrtc.sources(), ids=lambda s: s.name)
def test_source_compiles_without_spills(compiler, source, architecture):
    used = nvrtc.usage(source, architecture)
    assert set(used) == set(source.kernels())
    for kernel, u in used.items():
        # a spilled register costs memory traffic, which is what limits these kernels
        assert u.spill_store_bytes == u.spill_load_bytes == 0, kernel
