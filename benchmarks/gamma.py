"""Gamma beside pymedphys: time, pass rate and gamma on the same doses, as JSON or the table of docs/gamma.md.

Both run in this process, one after the other, with one thread unless NUMBA_NUM_THREADS says otherwise, and both have
run before they are timed: the least of several runs counts. ``--size 100`` takes the largest volume; pymedphys needs
minutes for it. The time of the first call, in which kernels are compiled or loaded, is reported apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

# before numba is imported: with more threads than free cores, pymedphys waits and looks slower than it is
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
from scipy.special import erf

from dosecalc.dose.gamma import GammaResult, gamma_on_axes

Axes = tuple[np.ndarray, ...]


def field(axes: Axes, shift_mm: float = 0.0, factor: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """A square field of 60 mm with penumbrae of 4 mm and, in three dimensions, a depth dose; 50 Gy."""
    *depth, y, x = axes

    def profile(at: np.ndarray, by: float) -> np.ndarray:
        return 0.5 * (erf((at + 30 - by) / 4) - erf((at - 30 - by) / 4))

    dose = 50 * factor * profile(y, shift_mm / 2)[:, None] * profile(x, shift_mm)
    if depth:
        dose = dose * np.exp(-(depth[0] - depth[0][0]) / 200)[:, None, None]
    return dose * (1 + noise * np.random.default_rng(7).standard_normal(dose.shape))


#: evaluated doses by name: (shift mm, factor, noise)
CASES = {"equal": (0.0, 1.0, 0.0), "agree": (0.5, 1.005, 0.0), "noise": (0.3, 1.0, 0.01), "disagree": (5.0, 1.06, 0.0)}


def timed(call: Callable[[], Any], repeat: int) -> tuple[Any, float, float]:
    """Result, least wall time and least process time, seconds."""
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return result, min(walls), min(cpus)


def measure(dimensions: int, size: int, case: str, criterion: tuple[float, float], edge: float) -> dict[str, Any]:
    """One comparison by either program; ``edge``: edge of an evaluated voxel in voxels of the reference."""
    import pymedphys

    spacing = 2.5 if dimensions == 3 else 1.0
    n = size if dimensions == 3 else 2 * size
    axes = tuple((np.arange(n) - n / 2) * spacing for _ in range(dimensions))
    m = round(n / edge)
    other = axes if edge == 1 else tuple((np.arange(m) - m / 2) * (spacing * edge) for _ in range(dimensions))
    reference, evaluated = field(axes), field(other, *CASES[case])

    def ours(sampling: int | None) -> GammaResult:
        text = f"{criterion[0]}%/{criterion[1]}mm"
        return gamma_on_axes(axes, reference, other, evaluated, text, sampling=sampling)

    def theirs() -> np.ndarray:
        options = {"lower_percent_dose_cutoff": 10, "interp_fraction": 10, "max_gamma": 2}
        return pymedphys.gamma(axes, reference, other, evaluated, *criterion, **options)  # type: ignore[no-any-return]

    start = time.perf_counter()
    ours(10)
    first = time.perf_counter() - start
    found, wall, cpu = timed(lambda: ours(10), 15)
    exact, exact_wall, exact_cpu = timed(lambda: ours(None), 5)
    # its cost is minutes where doses in a volume disagree: there once is enough
    given, their_wall, their_cpu = timed(theirs, 1 if case == "disagree" and dimensions == 3 else 4)
    values = found.maps[0].values
    rate = 100 * float(np.mean(given[~np.isnan(given)] <= 1))
    return {
        "case": case,
        "dimensions": dimensions,
        "size": n,
        "spacing_mm": spacing,
        "evaluated_spacing_mm": spacing * edge,
        "criterion": f"{criterion[0]:g}%/{criterion[1]:g}mm",
        "points": found.above_threshold,
        "first_call_s": first,
        "wall_s": wall,
        "cpu_s": cpu,
        "exact_wall_s": exact_wall,
        "exact_cpu_s": exact_cpu,
        "pymedphys_wall_s": their_wall,
        "pymedphys_cpu_s": their_cpu,
        "wall_ratio": their_wall / wall,
        "cpu_ratio": their_cpu / cpu,
        "pass_percent": found.maps[0].pass_rate_percent,
        "pymedphys_pass_percent": rate,
        "exact_pass_percent": exact.maps[0].pass_rate_percent,
        "max_gamma_difference": float(np.nanmax(np.abs(values - given))),
        "same_points_without_gamma": bool(np.array_equal(np.isnan(values), np.isnan(given))),
    }


def main() -> None:
    """Measure all cases and print them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=60, help="voxels of 2.5 mm along each axis (3-D); 2-D takes twice")
    options.add_argument("--dimensions", type=int, nargs="+", default=[2, 3])
    options.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    options.add_argument(
        "--edge", type=float, default=1.0, help="edge of an evaluated voxel in voxels of the reference"
    )
    options.add_argument("--table", action="store_true", help="print the table of docs/gamma.md instead of JSON")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for dimensions in chosen.dimensions:
        for case in chosen.cases:
            rows.append(measure(dimensions, chosen.size, case, (2.0, 2.0), chosen.edge))
            print(rows[-1], file=sys.stderr)
    if chosen.table:
        print("\n".join(table(rows)))
    else:
        print(json.dumps({"threads": os.environ["NUMBA_NUM_THREADS"], "rows": rows}, indent=1))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown lines; processor times."""
    lines = [
        "| doses | case | points | dosecalc ms | exact ms | pymedphys ms | ratio | pass % | pymedphys % | exact % | "
        "largest difference in gamma |",
        "|" + " --- |" * 11,
    ]
    for r in rows:
        lines.append(
            f"| {r['dimensions']}-D, {r['size']} voxels of {r['spacing_mm']:g} mm a side on "
            f"{r['evaluated_spacing_mm']:g} mm | {r['case']} | {r['points']} | "
            f"{1e3 * r['cpu_s']:.2f} | "
            f"{1e3 * r['exact_cpu_s']:.2f} | {1e3 * r['pymedphys_cpu_s']:.1f} | {r['cpu_ratio']:.0f} | "
            f"{r['pass_percent']:.2f} | {r['pymedphys_pass_percent']:.2f} | {r['exact_pass_percent']:.2f} | "
            f"{r['max_gamma_difference']:.1e} |"
        )
    return lines


if __name__ == "__main__":
    main()
