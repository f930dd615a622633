"""Carry the point kernels and attenuation tables of a reference folder into the package in compact form.

Usage: python tools/build_photon_data.py REFERENCE_DIR
Reads ``kernels/edk_water.npz`` + ``.json``, ``attenuation/photon_mass_coefficients.csv`` and ``spectra/*.json``;
writes ``dosecalc/photon/data/{edk_water.npz, attenuation.npz, spectra.yaml, kernels.json, PROVENANCE.md}``.
``kernels.json`` is the report of the kernels that the engine derives for the spectra of the shipped machine models, as
``dosecalc kernels build`` makes it for any spectrum.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

from dosecalc import __version__
from dosecalc.machine.library import shipped_machines
from dosecalc.machine.model import Spectrum
from dosecalc.photon.edk import EdkFolder, packed, read_edk
from dosecalc.photon.kernel_report import REPORT_FILE, build

OUT = Path(__file__).resolve().parent.parent / "dosecalc" / "photon" / "data"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def point_kernels(folder: Path) -> EdkFolder:
    source = read_edk(folder)
    (OUT / "edk_water.npz").write_bytes(packed(source.kernels))
    return source


def kernel_report(source: EdkFolder) -> None:
    by_spectrum: dict[Spectrum, str] = {}
    for machine in shipped_machines():
        for energy in machine.energies:
            fff = " FFF" if energy.fluence_mode == "FFF" else ""
            by_spectrum.setdefault(energy.spectrum, f"{energy.nominal_mv:g} MV{fff}")
    program = f"dosecalc {__version__}, tools/build_photon_data.py"
    files = build(source, [(name, spectrum) for spectrum, name in by_spectrum.items()], program, lambda share: None)
    (OUT / REPORT_FILE).write_bytes(files[REPORT_FILE])


def attenuation(path: Path) -> None:
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with path.open() as f:
        for row in csv.DictReader(f):
            rows[row["material"]].append(
                (float(row["energy_MeV"]), float(row["mu_over_rho_cm2_g"]), float(row["mu_tr_over_rho_cm2_g"]))
            )
    names = sorted(rows)
    energies = [e for e, _, _ in rows["water"]]
    assert all([e for e, _, _ in rows[n]] == energies for n in names)
    np.savez_compressed(
        OUT / "attenuation.npz",
        materials=np.array(names),
        energies_mev=np.array(energies),
        mu_over_rho_cm2_g=np.array([[m for _, m, _ in rows[n]] for n in names]),
        mu_tr_over_rho_cm2_g=np.array([[t for _, _, t in rows[n]] for n in names]),
    )


def spectra(folder: Path) -> None:
    out = {}
    for path in sorted(folder.glob("*.json")):
        s = json.loads(path.read_text())
        edges = [*s["E_low_MeV"], s["E_high_MeV"][-1]]
        out[s["name"]] = {
            "source": s["reference"],
            "edges_mev": [float(e) for e in edges],
            "photons_per_bin": [float(f"{p:.9g}") for p in s["probability_per_bin"]],
        }
    (OUT / "spectra.yaml").write_text(yaml.safe_dump(out, sort_keys=False, default_flow_style=None, width=110))


def main(reference: Path) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    kernels, table = reference / "kernels" / "edk_water.npz", reference / "attenuation" / "photon_mass_coefficients.csv"
    source = point_kernels(reference / "kernels")
    attenuation(table)
    spectra(reference / "spectra")
    kernel_report(source)
    (OUT / "PROVENANCE.md").write_text(
        # ruff: noqa: E501 (rows of a Markdown table)
        f"""# Where these tables come from

Written by `python tools/build_photon_data.py`; not edited by hand.

| file | what | from |
| --- | --- | --- |
| `edk_water.npz` | point kernels in water: fraction of the interacting photon's energy per (energy, polar angle bin, radius bin), primary and everything else apart | EGSnrc EDKnrc run for this project, sha256 {sha256(kernels)} |
| `kernels.json` | what the engine derives from `edk_water.npz` for each energy and each spectrum of the shipped models, with the residuals of the fits | this program |
| `attenuation.npz` | mu/rho and mu_tr/rho, cm2/g, of 17 materials | XCOM cross sections, mixtures by mass fraction, Klein-Nishina energy transfer, sha256 {sha256(table)} |
| `spectra.yaml` | photon number spectra 4, 6, 10, 15, 24 MV | Mohan, Chui, Lidofsky 1985, Med Phys 12:592 |
"""
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
