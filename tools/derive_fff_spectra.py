"""Derive the spectra of the generic flattening-filter-free beams, and write them into their files.

Usage: python tools/derive_fff_spectra.py [--check]
Nobody's measured FFF spectrum is free to ship, so the generic ones are the published flattened spectra of the same
nominal energy (Mohan, Chui, Lidofsky 1985) with a thickness of stainless steel taken out again: a filter hardens the
axis, and without it the low energies are back. The thickness is the one with which the engine gives the beam quality
TPR(20, 10) below, which is what tells such beams from flattened ones. ``--check`` writes nothing and fails when a
stored spectrum gives another quality.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.geometry import Grid, Volume
from dosecalc.machine.library import load_machine
from dosecalc.machine.model import Machine, Spectrum
from dosecalc.patient.model import Patient
from dosecalc.photon.tables import attenuation_table, published_spectra
from dosecalc.plan import Beam, ControlPoint, FractionGroup, Plan

QUALITIES = Path(__file__).resolve().parent.parent / "dosecalc" / "machine" / "data" / "qualities"
#: file, flattened spectrum, TPR(20, 10) that the engine is to give: generic assumptions, round figures
BEAMS = (("6fff.yaml", "mohan6", 6.0, 0.630), ("10fff.yaml", "mohan10", 10.0, 0.705))
STEEL = ("stainless_steel_316", 7.9)
#: below, photons gain no more than here: it is the target, which stays in the beam, that stops them
LOWEST_MEV = 0.5
VOXEL_MM = 5.0


def without_steel(name: str, thickness_cm: float) -> Spectrum:
    """A published spectrum with some steel taken out of its way."""
    published = published_spectra()[name]
    edges = np.array(published["edges_mev"])
    energies = np.maximum((edges[1:] + edges[:-1]) / 2, LOWEST_MEV)
    mu = attenuation_table().coefficients(STEEL[0], energies)[0] * STEEL[1]
    photons = np.array(published["photons_per_bin"]) * np.exp(mu * thickness_cm)
    return Spectrum(
        edges_mev=tuple(edges), photons_per_bin=tuple(photons / photons.sum()), source=str(published["source"])
    )


def tpr_20_10(machine: Machine, spectrum: Spectrum) -> float:
    """Ratio of the doses at 20 and 10 cm depth, source to detector 100 cm, field 10 x 10 cm."""
    energy = machine.energies[0].model_copy(update={"spectrum": spectrum, "electrons": None})
    model = machine.model_copy(update={"energies": (energy,)})
    return _dose(model, 200.0) / _dose(model, 100.0)


def _dose(machine: Machine, depth_mm: float) -> float:
    n = int(300 / VOXEL_MM)
    grid = Grid((-150 + VOXEL_MM / 2, -depth_mm + VOXEL_MM / 2, -150 + VOXEL_MM / 2), (VOXEL_MM,) * 3, (n, n, n))
    water = Patient(Volume(grid, np.ones(grid.shape, np.float32)), np.zeros(grid.shape, np.uint8), ("water",), "HFS")
    energy = machine.energies[0]
    first = ControlPoint(0, 0.0, 0.0, 0.0, 0.0, "NONE", (0.0, 0.0, 0.0), (-50.0, 50.0), (-50.0, 50.0))
    beam = Beam(
        1, "tpr", "", "PHOTON", energy.nominal_mv, energy.fluence_mode, machine.sad_mm, "HFS", None,
        (first, replace(first, index=1, meterset_fraction=1.0)),
    )  # fmt: skip
    plan = Plan("tpr", (beam,), (FractionGroup(1, 1, {1: 1.0}),))
    dose: NDArray[np.float32] = compute_dose(water, plan, machine, DoseSettings(grid=grid)).total_gy
    middle = slice(n // 2 - 1, n // 2 + 1)
    axis = dose[middle, :, middle].mean((0, 2))
    near = np.abs(grid.y_mm) < 3.1 * VOXEL_MM
    return float(np.polyval(np.polyfit(grid.y_mm[near], axis[near], 2), 0.0))


def thickness_for(machine: Machine, name: str, wanted: float) -> float:
    """Centimetres of steel, by the secant rule."""
    a, b = 0.0, 1.0
    f_a, f_b = (tpr_20_10(machine, without_steel(name, t)) - wanted for t in (a, b))
    for _ in range(6):
        a, b, f_a = b, b - f_b * (b - a) / (f_b - f_a), f_b
        f_b = tpr_20_10(machine, without_steel(name, b)) - wanted
        if abs(f_b) < 1e-4:
            break
    return b


def _block(name: str, mv: float, thickness_cm: float, quality: float) -> str:
    spectrum = without_steel(name, thickness_cm)
    source = (
        f"derived, generic: the flattened spectrum of {mv:g} MV ({spectrum.source}) with {10 * thickness_cm:.1f} mm of "
        f"stainless steel taken out of its way, so that the engine gives TPR(20, 10) = {quality:g} "
        "(generic assumption, see docs/beam-model.md, section 5); tools/derive_fff_spectra.py"
    )
    content = {
        "spectrum": {
            "source": source,
            "edges_mev": list(spectrum.edges_mev),
            "photons_per_bin": [float(f"{v:.6g}") for v in spectrum.photons_per_bin],
        }
    }
    text = yaml.safe_dump(content, sort_keys=False, width=118, default_flow_style=None)
    return "".join(f"    {line}\n" for line in text.splitlines())


def main(check: bool) -> int:
    """Derive and write, or check."""
    wrong = 0
    for file, name, mv, quality in BEAMS:
        machine = load_machine(f"generic-{mv:g}fff-millennium120")
        found = tpr_20_10(machine, machine.energies[0].spectrum)
        print(f"{file}: TPR(20, 10) = {found:.4f}, wanted {quality:g}")
        wrong += abs(found - quality) > 5e-4
        if check:
            continue
        path = QUALITIES / file
        block = _block(name, mv, thickness_for(machine, name, quality), quality)
        text = re.sub(r"^    spectrum:\n(?:      .*\n)+", lambda _: block, path.read_text("utf-8"), flags=re.MULTILINE)  # noqa: B023
        path.write_text(text, encoding="utf-8")
    return 1 if check and wrong else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
