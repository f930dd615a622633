"""Which numerical choice makes the collapsed cone's distance from an exact superposition in small fields.

Usage: python -m benchmarks.slab_parts REFERENCE_DIR [--json FILE] [--cases NAME ...]

The first of the two distances of `benchmarks.slab_distances`, taken apart: on the axes of layered cases with fields of
up to 3 cm, one choice after the other is switched on in the exact superposition or off in the engine. Percent of the
local dose. Writes the last table of section 3.7 of the physics manual.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.convergence import DENSE
from benchmarks.exact_slabs import Layers, Release, release
from benchmarks.slab_distances import engine_axis, exact_axis, looked_at
from dosecalc.machine.model import Spectrum, spectrum_nodes
from dosecalc.photon import cones
from dosecalc.photon.kernel import collision_fraction, poly_kernel
from dosecalc.photon.tables import attenuation_table
from dosecalc.validation.compute import ACROSS_MM, ALONG_MM, case_machine
from dosecalc.validation.montecarlo import MonteCarloCase, list_cases, load_case

FloatArray = NDArray[np.float64]
WIDEST_CM = 3.0
#: what is held beside what, and the words for it
PARTS = {
    "everything": ("standard", "own"),
    "mean kernel": ("weighted", "own"),
    "two mean kernels": ("two", "own"),
    "exponentials": ("fitted", "weighted"),
    "directions": ("standard", "dense"),
    "voxels": ("fine", "fine, half the voxels"),
    "left": ("fine, half the voxels", "fitted"),
    "engine with two mean kernels": ("standard, two", "own"),
    "fine with two mean kernels": ("fine, two", "own"),
}


def weighted(layers: Layers, spectrum: Spectrum) -> Release:
    """The engine's mean kernel with its hardening weights."""
    return release(layers, spectrum, "weighted")


def halves(spectrum: Spectrum) -> list[tuple[float, Spectrum]]:
    """The lower and the upper half of a spectrum's collision kerma in water, with their shares of its photons."""
    energies, photons = spectrum_nodes(spectrum)
    mu, _ = attenuation_table().coefficients("water", energies)
    kerma = (photons * energies * mu * collision_fraction(energies)).cumsum()
    middle = float(energies[np.searchsorted(kerma, kerma[-1] / 2)])
    edges, counts = np.array(spectrum.edges_mev), np.array(spectrum.photons_per_bin)
    low = (edges[1:] + edges[:-1]) / 2 < middle
    return [
        (
            float(counts[group].sum() / counts.sum()),
            spectrum.model_copy(update={"photons_per_bin": tuple(np.where(group, counts, 0.0).tolist())}),
        )
        for group in (low, ~low)
    ]


def two(layers: Layers, spectrum: Spectrum) -> Release:
    """A mean kernel with weights for each half of the collision kerma."""
    parts = []
    for share, half in halves(spectrum):
        part = weighted(layers, half)
        parts.append(replace(part, kerma=share * part.kerma, scerma=share * part.scerma))
    names = ("depth", "kerma", "scerma", "primary", "scatter")
    return Release(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def engine_with_two(case: MonteCarloCase, name: str) -> FloatArray:
    """The engine run for each half of the collision kerma, as one with two kernels would be."""
    parts = halves(case_machine(case).energies[0].spectrum)
    doses = [share * engine_axis(case, name, False, spectrum=half) for share, half in parts]
    return np.asarray(np.sum(doses, 0))


def fitted(layers: Layers, spectrum: Spectrum) -> Release:
    """The mean kernel as two exponentials per part, with the rates of the standard rings, in every direction."""
    energies, photons = spectrum_nodes(spectrum)
    kernel = poly_kernel(energies, photons * energies)
    rings = cones.CONE_SETS["standard"]
    of = weighted(layers, spectrum)
    theta = np.linspace(0, 180, of.primary.shape[1])
    tables = []
    for which, table in enumerate((of.primary[0], of.scatter[0])):
        out = np.zeros_like(table)
        for ring in rings:
            fit = cones._fit_ring(kernel, ring)
            inside = (theta >= ring.theta_low_deg) & (theta <= ring.theta_high_deg)
            rates = fit.rates[2 * which : 2 * which + 2]
            amplitudes = cones._fit_amplitudes(kernel.r_edges_cm, table[inside], rates, fit.weights[which])
            out[inside] = (cones._exponentials(kernel.r_edges_cm, rates) @ amplitudes).T
        tables.append(np.broadcast_to(out, of.primary.shape).copy())
    return replace(of, primary=tables[0], scatter=tables[1])


def compare(case: MonteCarloCase) -> dict[str, Any]:
    """The parts of a case's distance at each depth, percent of the local dose."""
    planes = looked_at(case)
    doses = {"own": exact_axis(case, planes)}
    doses |= {f.__name__: exact_axis(case, planes, f) for f in (weighted, two, fitted)}
    for name in ("standard", "fine", "dense"):
        doses[name] = engine_axis(case, name, False)[planes]
    for name in ("standard", "fine"):
        doses[f"{name}, two"] = engine_with_two(case, name)[planes]
    doses["fine, half the voxels"] = engine_axis(case, "fine", False, (ACROSS_MM / 2, ALONG_MM / 2))[planes]
    return {
        "case": case.name,
        "depth_cm": case.centres_cm("z")[planes].tolist(),
        **{name: (100 * (doses[a] / doses[b] - 1)).tolist() for name, (a, b) in PARTS.items()},
    }


def main() -> None:
    """Compute, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", nargs="*", default=[])
    args = parser.parse_args()
    cones.CONE_SETS["dense"] = DENSE
    results = []
    for path in list_cases(args.reference / "montecarlo"):
        if args.cases and path.stem not in args.cases:
            continue
        case = load_case(path)
        if not case.layered or case.field_cm[0] != case.field_cm[1] or case.field_cm[0] > WIDEST_CM:
            continue
        results.append(compare(case))
        cells = [case.name]
        for part in PARTS:
            d = np.array(results[-1][part])
            at = int(np.argmax(np.abs(d)))
            place = results[-1]["depth_cm"][at]
            cells.append(f"{np.sqrt(np.mean(d**2)):.2f}, {d.mean():+.2f}, {d[at]:+.2f} ({place:.1f} cm)")
        print("|", " | ".join(cells), "|", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
