"""Two distances of the collapsed cone on the axes of layered Monte Carlo cases: numerics, and physics.

Usage: python -m benchmarks.slab_distances REFERENCE_DIR [--json FILE] [--cases NAME ...]

REFERENCE_DIR holds ``montecarlo`` with cases as `dosecalc validate` takes them. On the axis of each case that is made
of layers: (a) the engine beside an exact superposition with density scaling (`benchmarks.exact_slabs`), which is
numerics; (b) that superposition beside the Monte Carlo, which is physics. Percent of the local dose, averaged across
the axis as the validation does. The scatter that is missing because the phantom ends is taken from the superposition as
the engine takes it from its own dose, so it is not part of (a). Writes the table of section 3.7 of the physics manual.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.exact_slabs import Layers, Release, dose, release
from dosecalc.machine.model import Spectrum
from dosecalc.photon.collapsed_cone import CollapsedCone, CollapsedConeSettings
from dosecalc.validation.case import AIR_BELOW_G_CM3
from dosecalc.validation.compute import ACROSS_MM, ALONG_MM, case_machine, case_patient, case_plan, in_case_frame
from dosecalc.validation.montecarlo import MonteCarloCase, list_cases, load_case

FloatArray = NDArray[np.float64]

#: every so many planes of voxels is looked at
EVERY = 4


def engine_axis(
    case: MonteCarloCase,
    cones: str,
    missing_scatter: bool,
    voxels_mm: tuple[float, float] = (ACROSS_MM, ALONG_MM),
    spectrum: Spectrum | None = None,
) -> FloatArray:
    """Dose of the engine about the axis, Gy cm2, float64 [z].

    Its voxels are given across and along the beam; a spectrum takes the place of the case's.
    """
    patient = case_patient(case, *voxels_mm)
    machine = case_machine(case)
    settings = CollapsedConeSettings(quantity="medium", cones=cones, missing_scatter=missing_scatter)
    engine = CollapsedCone(patient, settings)
    beam = case_plan(case).beams[0]
    energy = machine.energies[0] if spectrum is None else machine.energies[0].model_copy(update={"spectrum": spectrum})
    values, _ = engine.beam_dose(beam, machine, energy, lambda share, what: None, lambda: False)
    return case.axis_mean(in_case_frame(values, patient.density.grid, case))


def looked_at(case: MonteCarloCase) -> NDArray[np.intp]:
    """The planes of voxels at which both are held together."""
    planes = np.arange(2, len(case.centres_cm("z")), EVERY)
    return np.asarray(planes[case.density[planes, 0, 0] >= AIR_BELOW_G_CM3])


def exact_axis(
    case: MonteCarloCase, planes: NDArray[np.intp], prepare: Callable[[Layers, Spectrum], Release] = release
) -> FloatArray:
    """Dose of the exact superposition about the axis in some planes of voxels, Gy cm2."""
    layers = Layers(
        case.z_edges_cm,
        case.density[:, 0, 0].astype(np.float64),
        tuple(case.header.materials[m] for m in case.medium[:, 0, 0]),
        (float(case.x_edges_cm[-1]), float(case.y_edges_cm[-1])),
    )
    spectrum = case_machine(case).energies[0].spectrum
    # Gauss points: two along each axis; across, the four are the same by symmetry
    across = float(case.x_edges_cm[case.about_axis("x")[-1] + 1]) / np.sqrt(3)
    low, high = case.z_edges_cm[planes], case.z_edges_cm[planes + 1]
    depths = np.stack([(low + high) / 2 + side * (high - low) / np.sqrt(12) for side in (-1, 1)], -1).ravel()
    points = np.column_stack([np.full(len(depths), across), np.full(len(depths), across), depths])
    primary, scatter = dose(points, layers, prepare(layers, spectrum), case.field_cm, case.ssd_cm)
    return np.asarray((primary + scatter).reshape(-1, 2).mean(1))


def compare(case: MonteCarloCase) -> dict[str, Any]:
    """Both distances of a case at each depth, percent of the local dose."""
    planes = looked_at(case)
    reference = case.axis_reference()
    exact = exact_axis(case, planes)
    endless = {cones: engine_axis(case, cones, False)[planes] for cones in ("standard", "fine")}
    missing = endless["standard"] - engine_axis(case, "standard", True)[planes]
    of_mc = reference.dose[planes]
    return {
        "case": case.name,
        "depth_cm": case.centres_cm("z")[planes].tolist(),
        "density": case.density[planes, 0, 0].astype(float).tolist(),
        **{f"engine_{name}": (100 * (values / exact - 1)).tolist() for name, values in endless.items()},
        "exact_beside_monte_carlo": (100 * ((exact - missing) / of_mc - 1)).tolist(),
        "sigma": (100 * reference.sigma[planes] / of_mc).tolist(),
    }


def main() -> None:
    """Compute, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", nargs="*", default=[])
    args = parser.parse_args()
    results = []
    for path in list_cases(args.reference / "montecarlo"):
        if args.cases and path.stem not in args.cases:
            continue
        case = load_case(path)
        if not case.layered or case.field_cm[0] != case.field_cm[1]:
            continue
        results.append(compare(case))
        _print(results[-1])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def _print(row: dict[str, Any]) -> None:
    depth, sigma = np.array(row["depth_cm"]), np.array(row["sigma"])
    print(row["case"])
    for key, noise in (("engine_standard", 0 * sigma), ("engine_fine", 0 * sigma), ("exact_beside_monte_carlo", sigma)):
        d = np.array(row[key])
        counted = np.maximum(np.abs(d) - 2 * noise, 0.0)
        worst = int(np.argmax(counted))
        print(
            f"  {key:26s} rms {np.sqrt(np.mean(d**2)):.2f}  mean {d.mean():+.2f}  "
            f"largest {d[worst]:+.2f} at {depth[worst]:.2f} cm (counted {counted[worst]:.2f})"
        )
    columns = (row["engine_standard"], row["engine_fine"], row["exact_beside_monte_carlo"], row["sigma"])
    for z, density, *values in zip(depth, row["density"], *columns, strict=True):
        a, fine, b, noise = values
        print(f"    {z:6.2f} cm, {density:.2f} g/cm3: {a:+6.2f} {fine:+6.2f} | {b:+6.2f} ({noise:.2f})", flush=True)


if __name__ == "__main__":
    main()
