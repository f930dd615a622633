"""The engine on devices: the same dose, the device named, and no crash where one is missing, too small or broken."""

import logging
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from backends import TWINS, needs_compiler, usable
from builders_engine import bare_machine, box, dynamic, field, leaf_bank, plan_of
from fake_cupy import FakeCupy
from numpy.testing import assert_allclose, assert_array_equal

from dosecalc import devices
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.errors import DeviceError
from dosecalc.spread import spread
from dosecalc_kernels import registry
from dosecalc_kernels.cuda.host import HostLauncher
from dosecalc_kernels.cuda.launch import CudaLauncher
from dosecalc_kernels.cuda.memory import DeviceMemory
from dosecalc_kernels.errors import DeviceFault
from dosecalc_kernels.registry import Backend


@pytest.fixture(scope="module")
def patient():
    """Water with lung, bone and a cavity."""
    rng = np.random.default_rng(3)
    whole = box((120.0, 100.0, 110.0), (5.0, 5.0, 5.0))
    density = whole.density.values.copy()
    density[5:15, 5:12, 3:10] = 0.26
    density[10:18, 12:16, 12:18] = 1.6
    density[8:12, 3:6, 10:14] = 0.0012
    density *= rng.uniform(0.95, 1.05, density.shape).astype(np.float32)
    return replace(whole, density=replace(whole.density, values=density))


@pytest.fixture(scope="module")
def plan():
    """A short arc with moving leaves and an oblique static field."""
    mlc = leaf_bank()
    leaves = [np.tile([c - 15.0, c + 15.0], (mlc.n_pairs, 1)) for c in (-10.0, 0.0, 10.0)]
    arc = dynamic([0.0, 0.5, 1.0], leaves, mlc=mlc, gantry=[20.0, 26.0, 32.0])
    still = np.tile([-20.0, 20.0], (mlc.n_pairs, 1))
    static = field(20.0, 30.0, gantry=250.0, couch=15.0, number=2, mlc=mlc, leaves=still)
    return plan_of(arc, static, mu={1: 100.0, 2: 50.0})


@pytest.fixture(scope="module")
def machine():
    return bare_machine(mlc=leaf_bank(), leaf_transmission=0.01, jaw_transmission=0.002)


@pytest.fixture(scope="module")
def on_cpu(patient, plan, machine):
    return compute_dose(patient, plan, machine, DoseSettings(device="cpu"))


@pytest.mark.parametrize("backend", TWINS, indirect=True)
def test_devices_give_the_dose_of_the_cpu(backend, patient, plan, machine, on_cpu):
    dose = compute_dose(patient, plan, machine, DoseSettings(device=backend.name))
    assert backend.name in dose.provenance["device"] and backend.description in dose.provenance["device"]
    for found, expected in zip([dose.total_gy, *(b.dose_gy for b in dose.beams)],
                               [on_cpu.total_gy, *(b.dose_gy for b in on_cpu.beams)], strict=True):  # fmt: skip
        # the target for twins is 1e-4 of the maximum, everywhere
        assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


def host(memory_bytes=2**40):
    return Backend("host-cuda", HostLauncher(memory_bytes=memory_bytes))


def choose_devices(monkeypatch, *chosen):
    monkeypatch.setattr("dosecalc.engine.open_devices", lambda *_: chosen)


@needs_compiler
def test_beams_share_devices_and_keep_their_bits(monkeypatch, patient, plan, machine):
    doses = []
    for n in (1, 2):
        choose_devices(monkeypatch, *(host() for _ in range(n)))
        seen = []
        doses.append(compute_dose(patient, plan, machine, DoseSettings(), progress=seen.append))
        fractions = [p.fraction for p in seen]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert_array_equal(doses[0].total_gy, doses[1].total_gy)
    assert [b.number for b in doses[1].beams] == [1, 2]
    assert doses[1].provenance["device"].count("host-cuda") == 2


@needs_compiler
def test_a_job_too_large_for_a_device_is_computed_on_the_cpu_with_a_warning(
    monkeypatch, caplog, patient, plan, machine, on_cpu
):
    choose_devices(monkeypatch, host(memory_bytes=100_000))
    with caplog.at_level(logging.WARNING):
        dose = compute_dose(patient, plan, machine, DoseSettings())
    assert any("computed on the CPU" in w for w in dose.warnings)
    assert [r for r in caplog.records if "computed on the CPU" in r.message]
    assert dose.provenance["device"] == "cpu"
    assert_array_equal(dose.total_gy, on_cpu.total_gy)


@needs_compiler
def test_a_job_too_large_for_one_pass_is_divided_and_keeps_its_bits(monkeypatch, patient, plan, machine):
    from dosecalc.photon.collapsed_cone import CollapsedCone

    settings = DoseSettings(grid=patient.density.grid)
    needed = {n: CollapsedCone.device_bytes(patient.density.grid, passes=n) for n in (1, 2, 4)}
    choose_devices(monkeypatch, host())
    whole = compute_dose(patient, plan, machine, settings)
    # room for four passes but not for two; a device that is asked for more than it has fails
    small = int((needed[4] + needed[2]) / 2 / 0.95)
    choose_devices(monkeypatch, host(memory_bytes=small))
    divided = compute_dose(patient, plan, machine, settings)
    assert any("in 4 passes" in w for w in divided.warnings) and not whole.warnings
    assert "host-cuda" in divided.provenance["device"]
    assert_array_equal(divided.total_gy, whole.total_gy)


@needs_compiler
def test_what_is_made_of_a_patient_stays_on_the_device_for_the_next_request(monkeypatch, patient, plan, machine):
    device = host()
    choose_devices(monkeypatch, device)
    put, sizes = device.launcher.put, []

    def watched(array, dtype):
        if not device.launcher.is_device_array(array):
            sizes.append(array.shape)
        return put(array, dtype)

    monkeypatch.setattr(device.launcher, "put", watched)
    shape = patient.density.grid.shape
    doses, uploads = [], []
    denser = replace(patient, density=replace(patient.density, values=patient.density.values * 2))
    for case in (patient, patient, denser):
        sizes.clear()
        doses.append(compute_dose(case, plan, machine, DoseSettings(grid=patient.density.grid)).total_gy)
        uploads.append(sizes.count(shape))
    assert uploads[0] > 0 and uploads[1] == 0
    assert uploads[2] == uploads[0]  # of another density nothing is there
    assert_array_equal(doses[0], doses[1])
    assert abs(doses[2] - doses[0]).max() > 0.1 * doses[0].max()


@needs_compiler
def test_the_estimate_of_memory_holds(monkeypatch, patient, plan, machine):
    """What was said to fit does: the estimate is no less than what the engine takes at any time."""
    from dosecalc.photon.collapsed_cone import CollapsedCone

    needed = CollapsedCone.device_bytes(patient.density.grid)
    launcher = HostLauncher()
    least = [launcher.free_bytes()]
    empty = launcher.empty

    def watched(shape, dtype):
        out = empty(shape, dtype)
        least[0] = min(least[0], launcher.free_bytes())
        return out

    monkeypatch.setattr(launcher, "empty", watched)
    choose_devices(monkeypatch, Backend("host-cuda", launcher))
    compute_dose(patient, plan, machine, DoseSettings(grid=patient.density.grid))
    taken = launcher.total_bytes() - least[0]
    # tables of cones and spectra come on top: the spare share of memory is for them
    assert 0.4 * needed < taken < needed + 2_000_000


@needs_compiler
def test_the_launcher_of_gpus_hands_over_what_kernels_declare(monkeypatch, patient, plan, machine):
    """The code that a GPU would run through, with CuPy alone replaced: the host build's dose, bit for bit."""
    choose_devices(monkeypatch, host())
    expected = compute_dose(patient, plan, machine, DoseSettings(grid=patient.density.grid))
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    choose_devices(monkeypatch, Backend("cuda:0", CudaLauncher(0)))
    found = compute_dose(patient, plan, machine, DoseSettings(grid=patient.density.grid))
    assert_array_equal(found.total_gy, expected.total_gy)
    assert "cuda:0 (fake)" in found.provenance["device"]
    # each source is compiled once
    assert {"collapsed_cone", "terma", "fluence"} <= set(fake.compiled)
    assert len(fake.compiled) == len(set(fake.compiled))


@needs_compiler
@pytest.mark.parametrize("reason", ["DEVICE_FAILED", "DEVICE_OUT_OF_MEMORY"])
def test_a_device_that_fails_is_an_error_with_a_reason(monkeypatch, patient, plan, machine, reason):
    broken = host()

    def launch(*_, **__):
        raise DeviceFault(reason, "an illegal memory access was encountered")

    monkeypatch.setattr(broken.launcher, "launch", launch)
    choose_devices(monkeypatch, broken)
    with pytest.raises(DeviceError) as e:
        compute_dose(patient, plan, machine, DoseSettings())
    assert e.value.reason == reason


@pytest.mark.parametrize(
    ("share", "expected"), [("1/1", "0123"), ("1/2", "02"), ("2/2", "13"), ("3/8", "2"), ("6/8", "1")]
)
def test_processes_side_by_side_take_gpus_of_their_own(monkeypatch, share, expected):
    monkeypatch.setattr(devices, "cuda_devices", lambda: [f"cuda:{n}" for n in range(4)])
    monkeypatch.setattr(devices, "backend", lambda name: SimpleNamespace(name=name, launcher="one"))
    monkeypatch.setenv(devices.SHARE_VARIABLE, share)
    opened = devices.open_devices("cuda", "some", ("cuda",))
    assert [d.name for d in opened] == [f"cuda:{n}" for n in expected]


def test_errors_of_cupy_become_device_errors():
    cupy = pytest.importorskip("cupy")
    for error, reason in [
        (cupy.cuda.memory.OutOfMemoryError(1000, 500), "DEVICE_OUT_OF_MEMORY"),
        (cupy.cuda.runtime.CUDARuntimeError(700), "DEVICE_FAILED"),  # cudaErrorIllegalAddress
        (cupy.cuda.runtime.CUDARuntimeError(100), "DEVICE_NOT_AVAILABLE"),  # cudaErrorNoDevice
    ]:
        with pytest.raises(DeviceError) as e, devices.device_errors():
            raise error
        assert e.value.reason == reason
    with pytest.raises(ValueError, match="of another kind"), devices.device_errors():
        raise ValueError("of another kind")


def test_auto_falls_back_to_the_cpu_with_one_log_line(monkeypatch, caplog):
    def missing(*_):
        raise DeviceFault("DEVICE_NOT_AVAILABLE", "no driver")

    monkeypatch.setattr("dosecalc_kernels.cuda.launch.CudaLauncher", missing)
    registry._first_usable.cache_clear()
    registry._named.cache_clear()
    try:
        with caplog.at_level(logging.INFO, logger="dosecalc.device"):
            chosen = [devices.open_devices("auto", "collapsed_cone", ("cpu", "cuda")) for _ in range(3)]
        assert all([d.name for d in c] == ["cpu"] for c in chosen)
        (line,) = caplog.records
        assert "CPU" in line.getMessage() and "no driver" in line.getMessage()
        with pytest.raises(DeviceError) as e:  # a named choice is never overridden
            devices.open_devices("cuda", "collapsed_cone", ("cpu", "cuda"))
        assert e.value.reason == "DEVICE_NOT_AVAILABLE"
    finally:
        registry._first_usable.cache_clear()
        registry._named.cache_clear()


def test_a_device_that_the_engine_does_not_know_is_refused():
    with pytest.raises(DeviceError) as e:
        devices.open_devices("cuda", "some", ("cpu",))
    assert e.value.reason == "DEVICE_NOT_SUPPORTED"
    assert devices.open_devices("auto", "some", ("cpu",))[0].name == "cpu"


def test_the_cpu_is_listed_first():
    first = devices.found_devices()[0]
    assert (first.kind, first.name) == ("cpu", "cpu")
    assert first.units >= 1 and first.memory_bytes > 2**20


@pytest.mark.gpu
def test_gpus_are_listed_by_the_names_that_requests_use():
    usable("cuda")
    for device in devices.found_devices()[1:]:
        assert devices.open_devices(device.name, "some", ("cuda",))[0].name == device.name


class Meter:
    """A device of 1000 bytes whose free memory the test sets."""

    free = 1000

    def total_bytes(self):
        return 1000

    def free_bytes(self):
        return self.free


def arrays(nbytes):
    return (np.zeros(nbytes, np.uint8),)


def test_memory_keeps_what_was_used_last_within_its_bound():
    memory = DeviceMemory(Meter(), kept_share=0.25)
    made = []

    def make(name, nbytes):
        made.append(name)
        return arrays(nbytes)

    for name in ("a", "b", "a", "c"):  # 100 + 100 fit; c takes the place of b, which was used before a
        memory.keep(name, lambda name=name: make(name, 100))
    assert made == ["a", "b", "c"] and memory.kept_bytes == 200
    memory.keep("a", lambda: make("a", 100))
    assert made == ["a", "b", "c"]
    memory.keep("large", lambda: make("large", 300))  # larger than all that may be kept: given, not kept
    assert memory.kept_bytes == 200


def test_what_is_kept_makes_way_for_a_job():
    meter = Meter()
    memory = DeviceMemory(meter, kept_share=0.5)
    memory.keep("a", lambda: arrays(200))
    memory.keep("b", lambda: arrays(200))
    assert memory.has_room(900) and memory.kept_bytes == 400
    meter.free = 600
    assert not memory.has_room(900)
    assert memory.kept_bytes == 0


def test_work_is_spread_and_keeps_its_order():
    together = threading.Barrier(2, timeout=30)

    def work(worker, i):
        if i < 2:
            together.wait()  # both workers are at work at the same time, or this breaks
        return worker, i

    results = spread(["a", "b"], 7, work)
    assert [i for _, i in results] == list(range(7))
    assert {w for w, _ in results[:2]} == {"a", "b"}


def test_an_error_in_one_piece_ends_the_work():
    begun = []

    def work(worker, i):
        begun.append(i)
        raise ValueError(f"piece {i}")

    with pytest.raises(ValueError, match="piece"):
        spread(["a", "b"], 100, work)
    assert len(begun) <= 2
