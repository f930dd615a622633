"""Thin the Monte Carlo cases of a reference folder to what ships with the package.

Usage: python tools/thin_montecarlo.py REFERENCE_DIR
Reads ``montecarlo/*.json`` + ``.npz``; writes ``dosecalc/validation/data/*.npz`` and ``PROVENANCE.md``. Only
phantoms of even layers are carried over: where density varies across the beam it comes from somebody's CT, which is not
ours to publish.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from dosecalc.validation.montecarlo import list_cases, load_case
from dosecalc.validation.thinned import DATA_FOLDER, thinned_arrays

_HEAD = """# Where these cases come from

Written by `python tools/thin_montecarlo.py`; not edited by hand. Each file holds a case's layers, its mean dose on the
axis and its profiles, the voxels above 10 % of the maximum (one of every eight mirror images), all with their standard
deviations, and the case's whole header: spectrum, transport settings, histories. Dose per on-axis incident photon
fluence, Gy cm2.

| file | phantom | code, histories | sha256 of the full arrays |
| --- | --- | --- | --- |
"""


def thin(source: Path, target: Path) -> list[str]:
    """Write the thinned cases of a folder; one line of provenance each."""
    lines = []
    for path in list_cases(source):
        case = load_case(path)
        if not case.layered:
            print(f"{case.name}: left out, not made of layers", file=sys.stderr)
            continue
        header = json.loads(path.read_text(encoding="utf-8"))
        np.savez_compressed(target / f"{case.name}.npz", allow_pickle=False, **thinned_arrays(case, header))
        digest = hashlib.sha256(path.with_suffix(".npz").read_bytes()).hexdigest()
        run = f"{header['code']} run for this project, {header['histories']:.3g}"
        lines.append(f"| `{case.name}.npz` | {case.header.description} | {run} | {digest} |")
    return lines


def main() -> None:
    """Thin the cases of the folder named on the command line."""
    DATA_FOLDER.mkdir(exist_ok=True)
    lines = thin(Path(sys.argv[1]) / "montecarlo", DATA_FOLDER)
    (DATA_FOLDER / "PROVENANCE.md").write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
