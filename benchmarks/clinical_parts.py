"""The clinical sets computed without one part of the beam model after the other: what each part is worth there.

    python -m benchmarks.clinical_parts [REFERENCE] [--set NAME ...] [--json FILE] [--document docs/validation.md]

REFERENCE defaults to the environment variable DOSECALC_REFERENCE. Every changed model is calibrated again, so that its
calibration dose is as before. The last row takes all the parts off, which is the beam model that the first version had.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.clinical_comparison import gamma_pass_rates, high_dose_ratio, relative_misfit_percent
from benchmarks.clinical_sets import SETS, ClinicalSet
from dosecalc.commissioning.calibration import calibration_dose
from dosecalc.commissioning.forward import FINE
from dosecalc.dicom.study import load_study
from dosecalc.engine import DoseSettings, compute_dose
from dosecalc.machine import Machine, MachineMapping
from dosecalc.machine.library import load_machine
from dosecalc.outputs.documents import replace_between_markers
from dosecalc.recompute import RecomputeRequest, choose_case, patient_of
from dosecalc.validation.tables import markdown

Change = Callable[[Machine], Machine]
Row = dict[str, Any]


def _as_it_is(machine: Machine) -> Machine:
    return machine


def _square_leaf_ends(machine: Machine) -> Machine:
    assert machine.mlc is not None
    return machine.model_copy(update={"mlc": machine.mlc.model_copy(update={"tip": None})})


def _plane_leaf_sides(machine: Machine) -> Machine:
    assert machine.mlc is not None
    return machine.model_copy(update={"mlc": machine.mlc.model_copy(update={"sides": None})})


def _one_collimator_plane(machine: Machine) -> Machine:
    """Where a part's plane is not stated, it lies at the extra-focal source's own mean collimator distance."""
    changed = {
        name: part.model_copy(update={"distance_mm": None})
        for name in ("jaw_x", "jaw_y", "mlc")
        if (part := getattr(machine, name)) is not None
    }
    return machine.model_copy(update=changed)


def _no_electrons(machine: Machine) -> Machine:
    energies = tuple(e.model_copy(update={"electrons": None}) for e in machine.energies)
    return machine.model_copy(update={"energies": energies})


def _without_all(machine: Machine) -> Machine:
    for change in (_square_leaf_ends, _plane_leaf_sides, _one_collimator_plane, _no_electrons):
        machine = change(machine)
    return machine


CHANGES: dict[str, Change] = {
    "as it is": _as_it_is,
    "leaf ends without curvature": _square_leaf_ends,
    "no tongue and groove, no interleaf leakage": _plane_leaf_sides,
    "collimators in one plane": _one_collimator_plane,
    "no contamination electrons": _no_electrons,
    "without all four": _without_all,
}


def calibrated(machine: Machine, change: Change) -> Machine:
    """The changed machine, its photons per MU such that its calibration dose is as before."""
    changed = change(machine)
    energies = []
    for before, after in zip(machine.energies, changed.energies, strict=True):
        factor = calibration_dose(machine, before, FINE) / calibration_dose(changed, after, FINE)
        calibration = after.calibration.model_copy(
            update={"photons_per_mu_cm2": factor * after.calibration.photons_per_mu_cm2}
        )
        energies.append(after.model_copy(update={"calibration": calibration}))
    return changed.model_copy(update={"energies": tuple(energies)})


def run_set(item: ClinicalSet, archive: Path) -> list[Row]:
    """One row for each change: median ratio, misfit and gamma beside the clinical dose."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as z:
            z.extractall(folder)
        study = load_study(Path(folder))
    clinical = study.doses[0].volume
    request = RecomputeRequest(machines=item.machines, density_g_cm3=item.densities)
    case = choose_case(study, request)
    patient = patient_of(case, request)
    rows = []
    for name, change in CHANGES.items():
        machines = [calibrated(load_machine(m), change) for m in item.machines]
        settings = DoseSettings(grid=clinical.grid)
        computed = compute_dose(patient, case.plan, MachineMapping.of(machines), settings).volume
        rows.append(
            {
                "set": item.name,
                "computed": name,
                "ratio": high_dose_ratio(clinical, computed),
                "misfit_percent": relative_misfit_percent(clinical, computed),
                "gamma": gamma_pass_rates(clinical, computed.values)["3%/2mm"],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(results: Sequence[Row]) -> str:
    """Ratio, misfit and gamma 3 % / 2 mm (above 10 % of the maximum) by set and change."""
    sets = list(dict.fromkeys(r["set"] for r in results))
    cells = {
        (r["set"], r["computed"]): f"{r['ratio']:.3f}, {r['misfit_percent']:.2f}, {r['gamma'][0]:.1f}" for r in results
    }
    rows = [(name, *(cells[s, name] for s in sets)) for name in CHANGES]
    return markdown(("computed", *sets), rows)


def main() -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("reference", nargs="?", default=os.environ.get("DOSECALC_REFERENCE"))
    names = [s.name for s in SETS if s.name != "head-vmat"]  # no clinical dose belongs to that one
    parser.add_argument("--set", nargs="*", choices=names, default=names)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--document", type=Path)
    choices = parser.parse_args()
    if not choices.reference:
        parser.error("give the reference folder, or set DOSECALC_REFERENCE")
    folder = Path(choices.reference) / "dicom"
    results = [row for s in SETS if s.name in choices.set for row in run_set(s, folder / f"{s.name}.zip")]
    text = table(results)
    print(text)
    if choices.json:
        choices.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if choices.document:
        replace_between_markers(choices.document, "clinical-parts", text)


if __name__ == "__main__":
    main()
