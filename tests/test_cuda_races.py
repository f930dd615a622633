"""The watch over races of the host build: it sees each kind of race, and nothing where barriers order accesses."""

import numpy as np
import pytest
from backends import needs_compiler

from dosecalc_kernels.cuda.host import HostLauncher
from dosecalc_kernels.cuda.source import Source
from dosecalc_kernels.errors import DeviceFault

pytestmark = needs_compiler

#: without barriers: threads run to their end one by one
PLAIN = """
extern "C" __global__ void own(float* out) { out[blockIdx.x * blockDim.x + threadIdx.x] += 1.0f; }
extern "C" __global__ void same_place(float* out) { out[0] = 1.0f; }
extern "C" __global__ void lost_sum(float* out) { out[blockIdx.x] += 1.0f; }
extern "C" __global__ void all_read(const float* in, float* out)
{
    out[blockIdx.x * blockDim.x + threadIdx.x] = in[0] + in[1];
}
extern "C" __global__ void neighbour(float* out)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i + 1 < gridDim.x * blockDim.x)
        out[i] = out[i + 1];
}
extern "C" __global__ void counted(int* out) { atomicAdd(out, 1); }
extern "C" __global__ void counted_and_read(int* out)
{
    if (atomicAdd(out, 1) < 0 || out[0] < 0)
        out[1] = 1;
}
extern "C" __global__ void one_further(const float* in, float* out)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = i % 2 ? 0.0f : in[i + 2];
}
extern "C" __global__ void bytes(unsigned char* out) { out[blockIdx.x * blockDim.x + threadIdx.x] = 1; }
"""

#: with barriers: threads are fibers
MEETING = """
extern "C" __global__ void awaited(int* out)
{
    __shared__ int part[64];
    part[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = part[63 - threadIdx.x];
}
extern "C" __global__ void not_awaited(int* out)
{
    __shared__ int part[64];
    part[threadIdx.x] = threadIdx.x;
    out[blockIdx.x * blockDim.x + threadIdx.x] = part[63 - threadIdx.x];
}
extern "C" __global__ void within_warps(int* out)
{
    DYNAMIC_SHARED(int, part);
    part[threadIdx.x] = threadIdx.x;
    __syncwarp();
    out[blockIdx.x * blockDim.x + threadIdx.x] = part[threadIdx.x ^ 31];
}
extern "C" __global__ void across_warps(int* out)
{
    DYNAMIC_SHARED(int, part);
    part[threadIdx.x] = threadIdx.x;
    __syncwarp();
    out[blockIdx.x * blockDim.x + threadIdx.x] = part[threadIdx.x ^ 32];
}
extern "C" __global__ void again_without_waiting(int* out)
{
    __shared__ int part[64];
    int sum = 0;
    for (int round = 0; round < 2; ++round) {
        part[threadIdx.x] = threadIdx.x + round;
        __syncthreads();
        sum += part[threadIdx.x ^ 1];
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
extern "C" __global__ void across_blocks(int* out)
{
    if (threadIdx.x == 0)
        out[gridDim.x - 1 - blockIdx.x] = 1;
    __syncthreads();
    out[blockIdx.x] += 1;
}
extern "C" __global__ void past_the_end(int* out)
{
    DYNAMIC_SHARED(int, part);
    part[threadIdx.x + 1] = 1;
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = part[0];
}
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("races")
    for name, text in (("plain", PLAIN), ("meeting", MEETING)):
        (folder / f"{name}.cu").write_text(text)
    return {name: Source(name, (), folder) for name in ("plain", "meeting")}


def launched(sources, name, kernel, *arrays, order="forward"):
    launcher = HostLauncher(order=order, races=True)
    there = [launcher.put(a, a.dtype) for a in arrays]
    launcher.launch(sources[name], kernel, (2,), (64,), there, shared_bytes=64 * 4)
    return launcher.get(there[-1])


FLOATS, INTS = np.zeros(128, np.float32), np.zeros(128, np.int32)


@pytest.mark.parametrize("order", ["forward", "strewn"])
@pytest.mark.parametrize(
    ("name", "kernel", "arrays"),
    [
        ("plain", "own", (FLOATS,)),
        ("plain", "all_read", (FLOATS, FLOATS)),
        ("plain", "counted", (INTS,)),
        ("plain", "bytes", (np.zeros(128, np.uint8),)),
        ("meeting", "awaited", (INTS,)),
        ("meeting", "within_warps", (INTS,)),
    ],
)
def test_ordered_accesses_pass(sources, name, kernel, arrays, order):
    launched(sources, name, kernel, *arrays, order=order)


@pytest.mark.parametrize("order", ["forward", "backward", "strewn"])
@pytest.mark.parametrize(
    ("name", "kernel", "array"),
    [
        ("plain", "same_place", FLOATS),  # even if all write the same
        ("plain", "lost_sum", FLOATS),
        ("plain", "neighbour", FLOATS),
        ("plain", "counted_and_read", INTS),
        ("meeting", "not_awaited", INTS),
        ("meeting", "across_warps", INTS),
        ("meeting", "again_without_waiting", INTS),
        ("meeting", "across_blocks", INTS),
    ],
)
def test_races_are_found_in_any_order_of_threads(sources, name, kernel, array, order):
    with pytest.raises(DeviceFault, match="race: thread") as e:
        launched(sources, name, kernel, array, order=order)
    assert e.value.reason == "DEVICE_FAILED" and kernel in e.value.message


def test_reading_beside_an_array_is_found(sources):
    with pytest.raises(DeviceFault, match="reads outside in"):
        launched(sources, "plain", "one_further", np.zeros(127, np.float32), FLOATS)
    with pytest.raises(DeviceFault, match="writes outside dynamic shared memory"):
        launched(sources, "meeting", "past_the_end", INTS)


def test_a_part_of_an_array_is_watched_as_what_it_is(sources):
    """Neighbouring parts of one array are not each other's room."""
    launcher = HostLauncher(races=True)
    both, out = launcher.zeros((2, 127), np.float32), launcher.zeros(128, np.float32)
    with pytest.raises(DeviceFault, match="outside in"):
        launcher.launch(sources["plain"], "one_further", (2,), (64,), [both[0], out])
