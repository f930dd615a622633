"""Speed on a GPU beside the CPU: kernels with their share of what the memory allows, whole plans from plan to dose.

Usage: python -m benchmarks.cuda [--device cuda] [--output FILE] [--repeat N] [--plans imrt,vmat] [--spacing MM]

The bandwidth is that of a copy on the device, measured in the same run. Kernels are timed from the first launch to the
end of the last one, plans from `compute_dose` to the dose on the host; what compiles is run once before. The same
command with ``--device cpu`` fills the other half of the table, with ``host-cuda`` it tests itself (and is slow).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine_info import machine_info
from benchmarks.transport import beam as water_beam
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine import load_machine
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan
from dosecalc_kernels.cuda.collapsed_cone import BYTES_PER_VOXEL_CONE
from dosecalc_kernels.registry import Backend, backend

#: what each voxel-cone moves if the cache holds no more than a plane's neighbours: density and released energy 8 bytes
#: (as the stated target counts), dose read and written 8
TARGET_BYTES = 16
MACHINE = "generic-6mv-millennium120"
#: plans by name: stated targets on an H200, s
TARGETS_S = {"imrt": 0.3, "vmat": 1.0}


def synchronise(device: Backend) -> None:
    """Wait for the device."""
    if device.launcher is not None:
        device.launcher.synchronise()


def best_of(device: Backend, work: Callable[[], Any], repeat: int) -> float:
    """Least wall seconds of several runs, after one that compiles."""
    times = []
    for n in range(repeat + 1):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        if n:
            times.append(time.perf_counter() - start)
    return min(times)


def copy_bandwidth(device: Backend, repeat: int, mib: int) -> float:
    """Bytes read and written per second by a copy of arrays that no cache holds."""
    a = device.zeros((mib * 2**18,), np.float32)
    b = device.zeros((mib * 2**18,), np.float32)

    def copy() -> None:
        b[...] = a

    return 2 * int(a.nbytes) / best_of(device, copy, repeat)


def transport(device: Backend, shape: tuple[int, int, int], cones: int, repeat: int) -> dict[str, Any]:
    """Voxel-cones per second through a heterogeneous volume in which energy is released everywhere."""
    rng = np.random.default_rng(1)
    density = rng.uniform(0.2, 1.8, shape).astype(np.float32)
    released = device.put(rng.random(shape, np.float32))
    engine = device.kernel("ConeTransport")(density, (0.25, 0.25, 0.25))
    directions = rng.normal(size=(cones, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rates = np.tile([2.2, 8.0, 0.04, 0.9], (cones, 1))
    amplitudes = np.zeros((cones, 4, 10))
    amplitudes[:, :, 0] = (0.01, 0.001, 0.01, -0.001)
    projection = np.array([[0.25, 0, 0, -20.0], [0, 0.25, 0, -20.0], [0, 0, 0.25, 90.0]])
    engine.load(released, released)
    seconds = best_of(device, lambda: list(engine.sweep(directions, rates, amplitudes, projection, 0.2)), repeat)
    return {"kernel": "transport", "shape": shape, "cones": cones, "seconds": seconds,
            "voxel_cones_per_s": float(np.prod(shape)) * cones / seconds}  # fmt: skip


def tracing(device: Backend, shape: tuple[int, int, int], repeat: int) -> dict[str, Any]:
    """Rays per second: one to each voxel, 30 energies, from a source 1 m away."""
    rng = np.random.default_rng(2)
    density = device.put(rng.uniform(0.2, 1.8, shape).astype(np.float32))
    kerma, scerma = (device.zeros(shape, np.float32) for _ in range(2))
    release = device.put(np.zeros(shape, np.int16))
    spacing = np.full(3, 2.5)
    middle = spacing * (np.array(shape[::-1]) - 1) / 2
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    source = middle - rotation[2] * -1000.0
    integral = np.add.outer(np.arange(401.0), np.arange(401.0)) * 200
    table = np.full(30, 0.05, np.float32)
    seconds = best_of(
        device,
        lambda: device.kernel("add_terma")(
            kerma, scerma, density, density, release, np.zeros(3), spacing, source, rotation, 1000.0, integral,
            np.array([-200.0, -200.0]), 1.0, 0.0, table, table, table[None], table[None], np.zeros(3),
        ),
        repeat,
    )  # fmt: skip
    return {"kernel": "ray tracing", "shape": shape, "seconds": seconds, "rays_per_s": float(np.prod(shape)) / seconds}


def imrt() -> Plan:
    """Nine step-and-shoot fields of ten segments."""
    mlc = _mlc()
    beams = []
    for n in range(9):
        points = []
        for i in range(20):
            centre = 30.0 * np.sin(i // 2 + n)
            leaves = np.tile([centre - 20.0, centre + 20.0], (mlc.n_pairs, 1))
            share = (i + 1) // 2 / 10
            points.append(
                ControlPoint(
                    i, share, 40.0 * n, 0.0, 0.0, "NONE", (0.0, 0.0, 0.0), (-60.0, 60.0), (-50.0, 50.0), leaves
                )
            )
        beams.append(
            Beam(n + 1, f"field {n}", "benchmark", "PHOTON", 6.0, "STANDARD", 1000.0, "HFS", mlc, tuple(points))
        )
    return _plan("imrt", beams)


def vmat() -> Plan:
    """Two arcs of 178 control points."""
    arcs = [water_beam("arc") for _ in range(2)]
    return _plan("vmat", [Beam(n + 1, f"arc {n}", *_rest(a)) for n, a in enumerate(arcs)])


def water(spacing_mm: float) -> Patient:
    """A box of water of 36 cm: 3 million voxels of 2.5 mm."""
    grid = Grid.covering((-180.0,) * 3, (180.0,) * 3, (spacing_mm,) * 3)
    return Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")


def _rest(b: Beam) -> tuple[Any, ...]:
    return (b.machine_name, b.radiation, b.energy_mv, b.fluence_mode, b.sad_mm, b.patient_position, b.mlc,
            b.control_points)  # fmt: skip


def _plan(label: str, beams: list[Beam]) -> Plan:
    return Plan(label, tuple(beams), (FractionGroup(1, 1, {b.number: 100.0 for b in beams}),))


def _mlc() -> MlcGeometry:
    machine = load_machine(MACHINE)
    assert machine.mlc is not None
    return MlcGeometry("X", np.array(machine.mlc.boundaries_mm))


def whole_plan(name: str, device: str, spacing_mm: float, repeat: int) -> dict[str, Any]:
    """Seconds from plan to dose on the host, in a water box of 36 cm."""
    plan = {"imrt": imrt, "vmat": vmat}[name]()
    patient, machine = water(spacing_mm), load_machine(MACHINE)
    settings = DoseSettings(grid=patient.density.grid, device=device)
    runs = []
    for _ in range(repeat + 1):  # the first one compiles
        start = time.perf_counter()
        dose = compute_dose(patient, plan, machine, settings)
        runs.append((time.perf_counter() - start, dict(dose.seconds)))
    seconds, steps = min(runs[1:], key=lambda r: r[0])
    return {
        "plan": name, "spacing_mm": spacing_mm, "voxels": patient.density.grid.size, "seconds": seconds, "steps": steps,
        "first_call_s": runs[0][0], "transports": sum(int(b.info["transports"]) for b in dose.beams),
        "views": sum(int(b.info["views"]) for b in dose.beams), "device": dose.provenance["device"],
    }  # fmt: skip


def device_info(device: Backend) -> dict[str, str]:
    """The device, its driver and the versions that made the kernels."""
    out = {"device": device.name, "description": device.description}
    if device.name.startswith("cuda"):
        import cupy

        runtime = cupy.cuda.runtime
        out |= {
            "cupy": cupy.__version__,
            "cuda_driver": str(runtime.driverGetVersion()),
            "cuda_runtime": str(runtime.runtimeGetVersion()),
        }
    return out


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--plans", default="imrt,vmat", help="which of imrt, vmat; empty for none")
    parser.add_argument("--spacing", type=float, default=2.5)
    parser.add_argument("--shape", default="144,144,144", help="volume of the kernels' benchmarks, z,y,x")
    parser.add_argument("--cones", type=int, default=96)
    parser.add_argument("--copy-mib", type=int, default=1024)
    args = parser.parse_args()
    device = backend(args.device)
    nz, ny, nx = map(int, args.shape.split(","))
    bandwidth = copy_bandwidth(device, args.repeat, args.copy_mib)
    kernels = [
        transport(device, (nz, ny, nx), args.cones, args.repeat),
        tracing(device, (nz, ny, nx), args.repeat),
    ]
    print(f"{device.description}: copy {bandwidth / 1e9:.0f} GB/s")
    rate = kernels[0]["voxel_cones_per_s"]
    for what, nbytes in (("as the target counts", TARGET_BYTES), ("through the caches", BYTES_PER_VOXEL_CONE)):
        kernels[0][f"share_of_limit_at_{nbytes}_bytes"] = rate * nbytes / bandwidth
        print(
            f"transport {rate:.2e} voxel-cones/s: {rate * nbytes / bandwidth:.0%} of the copy at {nbytes} bytes, {what}"
        )
    print(f"ray tracing {kernels[1]['rays_per_s']:.2e} rays/s")
    plans = []
    for name in filter(None, args.plans.split(",")):
        plans.append(whole_plan(name, args.device, args.spacing, args.repeat))
        steps = ", ".join(f"{k} {v:.3f}" for k, v in plans[-1]["steps"].items())
        print(f"{name}: {plans[-1]['seconds']:.3f} s (target on an H200: {TARGETS_S[name]} s); {steps}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        result = {"machine": machine_info(), "device": device_info(device), "copy_bytes_per_s": bandwidth,
                  "kernels": kernels, "plans": plans}  # fmt: skip
        args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
