"""Speed of the collapsed cone on the CPU: the transport sweep, whole beams, memory.

Usage: python -m benchmarks.transport [--output FILE] [--repeat N] [--document docs/performance.md]

Beside the sweep stands what the memory of the machine could feed: each voxel of each cone reads kerma, scerma and
density and reads and writes dose, five float32 or 20 bytes; the bandwidth is that of a copy of large arrays, measured
in the same run. Whole beams state seconds of wall time by step. ``--document`` writes the tables between its markers.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine_info import machine_info
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine import load_machine
from dosecalc.outputs.documents import check_markers, replace_between_markers
from dosecalc.patient.model import Patient
from dosecalc.plan import Beam, ControlPoint, FractionGroup, MlcGeometry, Plan
from dosecalc_kernels.cpu import threads
from dosecalc_kernels.cpu.collapsed_cone import ConeTransport

BYTES_PER_VOXEL_CONE = 20


def best(work: Callable[[], Any], repeat: int) -> tuple[float, float]:
    """Least wall and least processor seconds of several runs (the latter does not count what others ran meanwhile)."""
    wall, cpu = [], []
    for _ in range(repeat):
        w, c = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return min(wall), min(cpu)


def sweep(shape: tuple[int, int, int], n_threads: int, repeat: int) -> dict[str, float]:
    """Voxel-cones per second through a heterogeneous volume, over directions of all kinds."""
    rng = np.random.default_rng(1)
    density = rng.uniform(0.2, 1.8, shape).astype(np.float32)
    released = rng.random(shape, np.float32)
    transport = ConeTransport(density, (0.25, 0.25, 0.25))
    directions = rng.normal(size=(24, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rates = np.tile([2.2, 8.0, 0.04, 0.9], (len(directions), 1))
    amplitudes = np.zeros((len(directions), 4, 10))
    amplitudes[:, :, 0] = (0.01, 0.001, 0.01, -0.001)
    projection = np.array([[0.25, 0, 0, -20.0], [0, 0.25, 0, -20.0], [0, 0, 0.25, 90.0]])

    def run() -> None:
        for _ in transport.sweep(directions, rates, amplitudes, projection, 0.2):
            pass

    with threads.limit(n_threads):
        transport.load(released, released)
        wall, cpu = best(run, repeat)
    work = float(np.prod(shape)) * len(directions)
    return {"voxel_cones_per_s": work / wall, "voxel_cones_per_core_s": work / cpu}


def copy_bandwidth(repeat: int) -> float:
    """Bytes read and written per second by a copy of arrays that no cache holds."""
    a = np.ones(64_000_000, np.float32)
    b = np.empty_like(a)
    wall, _ = best(lambda: np.copyto(b, a), repeat)
    return 2 * a.nbytes / wall


def water(spacing_mm: float) -> Patient:
    """A box of water of 30 cm."""
    grid = Grid.covering((-150.0, -100.0, -150.0), (150.0, 200.0, 150.0), (spacing_mm,) * 3)
    return Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")


def beam(kind: str) -> Beam:
    """An open 10 x 10 field, or an arc of 178 control points with a moving aperture."""
    machine = load_machine("generic-6mv-millennium120")
    assert machine.mlc is not None
    mlc = MlcGeometry("X", np.array(machine.mlc.boundaries_mm))
    n = 2 if kind == "open" else 178
    points = []
    for i in range(n):
        offset = 15.0 * np.sin(i / 9.0) if kind == "arc" else 0.0
        half = 50.0 if kind == "open" else 25.0
        leaves = np.tile([offset - half, offset + half], (mlc.n_pairs, 1))
        angle = 181.0 + 358.0 * i / (n - 1) if kind == "arc" else 0.0
        points.append(
            ControlPoint(
                i, i / (n - 1), angle % 360, 0.0, 0.0, "CW" if kind == "arc" else "NONE", (0.0, 0.0, 0.0),
                (-60.0, 60.0), (-50.0, 50.0), leaves,
            )
        )  # fmt: skip
    return Beam(1, kind, "benchmark", "PHOTON", 6.0, "STANDARD", 1000.0, "HFS", mlc, tuple(points))


def whole_beam(kind: str, spacing_mm: float) -> dict[str, Any]:
    """Time from plan to dose of one beam in water, by step."""
    plan = Plan(kind, (beam(kind),), (FractionGroup(1, 1, {1: 100.0}),))
    patient = water(spacing_mm)
    dose = compute_dose(
        patient, plan, load_machine("generic-6mv-millennium120"), DoseSettings(grid=patient.density.grid)
    )
    return {
        "beam": kind,
        "spacing_mm": spacing_mm,
        "voxels": patient.density.grid.size,
        "seconds": dict(dose.seconds),
        "transports": int(dose.beams[0].info["transports"]),
        "views": int(dose.beams[0].info["views"]),
    }


def document(result: dict[str, Any]) -> str:
    """The tables of a run, as Markdown."""
    machine, limit = result["machine"], result["memory_limit_voxel_cones_per_s"]
    lines = [
        f"Commit {machine['commit']}; {machine['processor']}, {machine['cores']} cores; Python {machine['python']}, "
        f"Numba {machine['numba']}, NumPy {machine['numpy']}. A copy of large arrays moved "
        f"{result['copy_bytes_per_s'] / 1e9:.1f} GB/s in the same run: at {BYTES_PER_VOXEL_CONE} bytes at most "
        f"{limit:.2e} voxel-cones per second.",
        "",
        "| volume | threads | voxel-cones/s | per core (processor time) | of the memory's limit |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for sweep_ in result["sweeps"]:
        lines.append(
            f"| {'x'.join(map(str, sweep_['shape']))} | {sweep_['threads'] or 'all'} "
            f"| {sweep_['voxel_cones_per_s']:.2e} | {sweep_['voxel_cones_per_core_s']:.2e} "
            f"| {sweep_['voxel_cones_per_s'] / limit:.0%} |"
        )
    lines += ["", "| beam | grid | views / transports | seconds by step |", "| --- | --- | --- | --- |"]
    for b in result["beams"]:
        steps = ", ".join(f"{k} {v:.2f}" for k, v in b["seconds"].items())
        size = f"{b['spacing_mm']} mm, {b['voxels']:.2e}"
        lines.append(f"| {b['beam']} | {size} | {b['views']} / {b['transports']} | {steps} |")
    return "\n".join([*lines, "", f"Peak memory {result['peak_memory_mib']:.0f} MiB."])


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--document", type=Path)
    args = parser.parse_args()
    if args.document:
        check_markers(args.document, "transport")
    compile_s = threads.warm_up()
    bandwidth = copy_bandwidth(args.repeat)
    limit = bandwidth / BYTES_PER_VOXEL_CONE
    result: dict[str, Any] = {
        "machine": machine_info(),
        "compile_or_load_s": compile_s,
        "copy_bytes_per_s": bandwidth,
        "memory_limit_voxel_cones_per_s": limit,
        "sweeps": [],
        "beams": [],
    }
    print(f"kernels compiled or loaded in {compile_s:.1f} s; copy {bandwidth / 1e9:.1f} GB/s, so at most {limit:.2e}/s")
    print(f"{'volume':>18} {'threads':>8} {'voxel-cones/s':>14} {'per core':>10} {'of memory limit':>16}")
    for shape in ((64, 80, 96), (120, 120, 128), (160, 192, 256)):
        for n in (1, 0):
            r = sweep(shape, n, args.repeat)
            result["sweeps"].append({"shape": shape, "threads": n, **r})
            share = r["voxel_cones_per_s"] / limit
            print(
                f"{'x'.join(map(str, shape)):>18} {n or 'all':>8} {r['voxel_cones_per_s']:14.2e} "
                f"{r['voxel_cones_per_core_s']:10.2e} {share:16.0%}"
            )
    for kind, spacing in (("open", 2.5), ("arc", 5.0)):
        whole = whole_beam(kind, spacing)
        result["beams"].append(whole)
        steps = ", ".join(f"{k} {v:.2f}" for k, v in whole["seconds"].items())
        print(f"{kind} beam, {whole['voxels']:.2e} voxels of {spacing} mm, {whole['transports']} transports: {steps} s")
    result["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {result['peak_memory_mib']:.0f} MiB")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=1) + "\n")
    if args.document:
        replace_between_markers(args.document, "transport", document(result))


if __name__ == "__main__":
    main()
