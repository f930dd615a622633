"""The ground the CUDA twins stand on: sources, the checks of a launch, and the shim that runs kernels on the host."""

import shutil

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dosecalc_kernels.cuda.host import ORDERS, HostLauncher, compiler
from dosecalc_kernels.cuda.source import Source
from dosecalc_kernels.errors import DeviceFault

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler (CXX, g++, clang++ or ziglang)")

HELPER = "#pragma once\n__device__ float helper(float a, double by) { return a + by; }\n"

KERNELS = """
#include "helper.cuh"

extern "C" __global__ void shifted(const float* __restrict__ a, float* b, int n, double by)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n + EXTRA)
        b[i] = helper(a[i < n ? i : 0], by);
}

extern "C" __global__ void by_fours(float4* out) { out[threadIdx.x] = make_float4(1.0f, 2.0f, 3.0f, 4.0f); }

extern "C" __global__ void race(int* last)
{
    *last = blockIdx.x * blockDim.x + threadIdx.x;
}
"""

BARRIERS = """
extern "C" __global__ void block_sum(const float* values, float* sums, int n)
{
    __shared__ float part[256];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    part[threadIdx.x] = i < n ? values[i] : 0.0f;
    __syncthreads();
    for (int width = blockDim.x / 2; width > 0; width /= 2) {
        if (threadIdx.x < width)
            part[threadIdx.x] += part[threadIdx.x + width];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        sums[blockIdx.x] = part[0];
}

extern "C" __global__ void warp_sum(const int* values, int* sums)
{
    int v = values[blockIdx.x * blockDim.x + threadIdx.x];
    for (int bits = 16; bits > 0; bits /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, bits);
    sums[blockIdx.x * blockDim.x + threadIdx.x] = v;
}

extern "C" __global__ void lost(int* out)
{
    if (threadIdx.x % 2)
        __syncthreads();
    else {
        out[threadIdx.x] = 1;
        __syncthreads();
    }
}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "plain.cu").write_text(KERNELS)
    (tmp_path / "barriers.cu").write_text(BARRIERS)
    (tmp_path / "helper.cuh").write_text(
        "#pragma once\n__device__ float helper(float a, double by) { return a + by; }\n"
    )
    return tmp_path


@pytest.fixture
def plain(folder):
    return Source("plain", (("EXTRA", "0"),), folder)


def test_source_knows_the_parameters_of_its_kernels(plain):
    a, b, n, by = plain.kernels()["shifted"]
    assert (a.dtype, a.pointer, a.constant) == (np.float32, True, True)
    assert (b.dtype, b.pointer, b.constant) == (np.float32, True, False)
    assert (n.dtype, n.pointer) == (np.int32, False)
    assert (by.name, by.dtype) == ("by", np.float64)
    assert not plain.talks()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [1, 37, 256])
def test_every_thread_runs_once_whatever_the_geometry(plain, order, block):
    launcher = HostLauncher(block=block, order=order)
    values = np.arange(1000, dtype=np.float32)
    out = launcher.empty(1000, np.float32)
    launcher.over(plain, "shifted", 1000, [launcher.put(values, np.float32), out, 1000, 0.5])
    assert_array_equal(launcher.get(out), values + np.float32(0.5))


def test_a_race_shows_in_the_order_of_threads(plain):
    last = []
    for order in ORDERS:
        launcher = HostLauncher(order=order)
        out = launcher.zeros(1, np.int32)
        launcher.launch(plain, "race", (4,), (32,), [out])
        last.append(int(launcher.get(out)[0]))
    assert last[:2] == [127, 0] and len(set(last)) == 3


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_and_warp_exchanges_are_honoured(folder, order):
    source = Source("barriers", (), folder)
    launcher = HostLauncher(order=order)
    values = np.arange(500, dtype=np.float32)
    sums = launcher.empty(2, np.float32)
    launcher.launch(source, "block_sum", (2,), (256,), [launcher.put(values, np.float32), sums, 500])
    assert_array_equal(launcher.get(sums), [values[:256].sum(), values[256:].sum()])
    whole = np.arange(128, dtype=np.int32)
    lanes = launcher.empty(128, np.int32)
    launcher.launch(source, "warp_sum", (2,), (64,), [launcher.put(whole, np.int32), lanes])
    assert_array_equal(launcher.get(lanes), whole.reshape(-1, 32).sum(1).repeat(32))


def test_threads_at_different_barriers_are_an_error(folder):
    launcher = HostLauncher()
    with pytest.raises(DeviceFault, match="different barriers") as e:
        launcher.launch(Source("barriers", (), folder), "lost", (1,), (64,), [launcher.zeros(64, np.int32)])
    assert e.value.reason == "DEVICE_FAILED"


def test_more_shared_memory_than_every_device_gives_is_an_error(plain):
    launcher = HostLauncher()
    arrays = [launcher.zeros(32, np.float32), launcher.zeros(32, np.float32), 32, 0.5]
    launcher.launch(plain, "shifted", (1,), (32,), arrays, shared_bytes=48 * 1024)
    with pytest.raises(DeviceFault, match="shared memory"):
        launcher.launch(plain, "shifted", (1,), (32,), arrays, shared_bytes=48 * 1024 + 4)


def test_a_misaligned_address_is_an_error(plain):
    launcher = HostLauncher()
    there = launcher.zeros(12, np.float32)
    launcher.launch(plain, "by_fours", (1,), (2,), [there[4:]])
    assert_array_equal(launcher.get(there), [0, 0, 0, 0, 1, 2, 3, 4, 1, 2, 3, 4])
    with pytest.raises(DeviceFault, match="misaligned"):
        launcher.launch(plain, "by_fours", (1,), (2,), [there[2:]])


def test_writing_outside_an_array_is_an_error(folder):
    launcher = HostLauncher()
    values, out = launcher.zeros(10, np.float32), launcher.empty(10, np.float32)
    with pytest.raises(DeviceFault, match="outside its arrays"):
        launcher.over(Source("plain", (("EXTRA", "1"),), folder), "shifted", 11, [values, out, 10, 0.0])


def test_arguments_that_do_not_fit_are_refused(plain):
    launcher = HostLauncher()
    values, out = launcher.zeros(4, np.float32), launcher.zeros(4, np.float32)
    for args, what in [
        ([values, out, 4], "4 arguments"),
        ([values, out, 4.0, 0.5], "whole number"),
        ([values, out, 2**31, 0.5], "does not fit"),
        ([launcher.zeros(4, np.float64), out, 4, 0.5], "float32"),
        ([np.zeros(4, np.float32), out, 4, 0.5], "device array"),
        ([launcher.zeros((4, 2), np.float32)[:, 0], out, 4, 0.5], "C-contiguous"),
    ]:
        with pytest.raises(TypeError, match=what):
            launcher.launch(plain, "shifted", (1,), (4,), args)
    with pytest.raises(TypeError, match="no kernel 'other'"):
        launcher.launch(plain, "other", (1,), (4,), [])


def test_memory_of_device_and_host_are_kept_apart():
    launcher = HostLauncher()
    there = launcher.put(np.ones(3), np.float64)
    with pytest.raises(TypeError, match="mixed"):
        there + np.ones(3)
    assert launcher.is_device_array(there * 2.0 + there)
    assert launcher.is_device_array(launcher.xp.fft.rfft(there))
    assert np.isnan(launcher.get(launcher.empty(3, np.float32))).all()
    host = np.zeros(3)
    with launcher.inout(host) as (device,):
        device += 1.0
    assert_array_equal(host, np.ones(3))
    assert launcher.as_given(there, host, there) is there
    assert isinstance(launcher.as_given(there, host), np.ndarray) and not launcher.is_device_array(
        launcher.as_given(there, host)
    )


def test_a_source_that_does_not_compile_says_why(tmp_path):
    (tmp_path / "broken.cu").write_text('extern "C" __global__ void f(int* a)\n{ *a = missing; }\n')
    launcher = HostLauncher()
    with pytest.raises(DeviceFault, match="missing") as e:
        launcher.launch(Source("broken", (), tmp_path), "f", (1,), (1,), [launcher.zeros(1, np.int32)])
    assert e.value.reason == "KERNEL_NOT_COMPILED"


def test_a_compiler_is_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("CXX", "some-compiler --flag")
    assert compiler() == ["some-compiler", "--flag"]
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert compiler() is None
    with pytest.raises(DeviceFault) as e:
        HostLauncher()
    assert e.value.reason == "DEVICE_NOT_AVAILABLE"
