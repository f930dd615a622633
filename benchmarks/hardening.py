"""One mean kernel for all energies beside every energy's own: what the hardening weights are worth.

Usage: python -m benchmarks.hardening [--json FILE]

Exact superpositions (`benchmarks.exact_slabs`) on the axis of a box of water of 30 cm, 100 cm from a point source:
every energy with its own kernel, all with the spectrum's mean one, and the mean one with the weights of the engine.
Differences of primary and of scattered dose in percent of the dose. Writes the figures of section 3.2 of the physics
manual.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.convergence import quality
from benchmarks.exact_slabs import Layers, dose, release

DEPTHS_CM = (0.9, 1.5, 2.5, 5.25, 10.25, 15.25, 20.25, 25.25, 29.25)
FIELDS_CM = {"6 MV": (3.0, 10.0, 20.0), "15 MV": (3.0, 10.0)}
WATER = Layers(np.array([0.0, 30.0]), np.ones(1), ("water",), (15.0, 15.0))


def main() -> None:
    """Compute, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    points = np.column_stack([np.zeros((len(DEPTHS_CM), 2)), DEPTHS_CM])
    results: list[dict[str, Any]] = []
    for name, fields in FIELDS_CM.items():
        spectrum = quality(name).spectrum
        own, mean, weighted = (release(WATER, spectrum, kernels) for kernels in ("own", "mean", "weighted"))
        for field in fields:
            exact = dose(points, WATER, own, (field, field), 100.0)
            row: dict[str, Any] = {"energy": name, "field_cm": field, "depth_cm": DEPTHS_CM}
            for label, other in (("mean", mean), ("weighted", weighted)):
                parts = dose(points, WATER, other, (field, field), 100.0)
                for part, of_part, true in zip(("primary", "scatter"), parts, exact, strict=True):
                    row[f"{part}_{label}"] = (100 * (of_part - true) / sum(exact)).tolist()
            results.append(row)
            print(f"{name}, {field:g} x {field:g} cm: percent of the dose at depths {DEPTHS_CM}")
            for key in ("primary_mean", "primary_weighted", "scatter_mean", "scatter_weighted"):
                print(f"  {key:18s}", *(f"{v:+6.2f}" for v in row[key]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
