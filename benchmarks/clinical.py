"""The clinical sets of a reference folder through `dosecalc compute`, in this process or on a server, and beside the
clinical doses; tables for the docs and JSON.

    python -m benchmarks.clinical [REFERENCE] [--set NAME ...] [--server] [--hypotheses]
                                  [--json FILE] [--document docs/validation.md]

REFERENCE defaults to the environment variable DOSECALC_REFERENCE; the sets lie in its folder ``dicom``. ``--server``
starts a server of its own on a free port and computes everything a second time there. ``--hypotheses`` computes each
plan with mirrored geometry as well (were a sign wrong, one of those would fit better) and with other densities. Needs
`dciodvfy` (dicom3tools).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import dosecalc
from benchmarks import clinical_tables
from benchmarks.clinical_comparison import (
    beam_weights,
    best_shift_mm,
    dose_at,
    gamma_pass_rates,
    high_dose_ratio,
    relative_misfit_percent,
    structure_differences,
)
from benchmarks.clinical_hypotheses import misfits
from benchmarks.clinical_sets import SETS, ClinicalSet
from benchmarks.dicom_check import dciodvfy_errors
from dosecalc.dicom.errors import DicomError
from dosecalc.dicom.rtdose import RtDose, read_rtdose
from dosecalc.dicom.study import Study, load_study
from dosecalc.geometry import Volume
from dosecalc.outputs.documents import replace_between_markers


def run_set(item: ClinicalSet, archive: Path, server: str | None, hypotheses: bool) -> dict[str, Any]:
    """Compute a set and compare it; everything as plain data."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "in"
        with zipfile.ZipFile(archive) as z:
            z.extractall(folder)
        study = load_study(folder)
        clinical_file = _clinical_file(folder)
        here = Path(scratch) / "here"
        facts = _compute(item, folder, here, clinical_file, None)
        facts |= {"name": item.name, "title": item.title, "machines": item.machines, "assumed": item.assumed}
        facts |= {"densities_g_cm3": dict(item.densities), "dciodvfy_errors": _dciodvfy_errors(here)}
        facts["structures"] = len(study.structure_sets[0].structures)
        facts["structures_with_dvh"] = len(json.loads((here / "dvh.json").read_text(encoding="utf-8"))["structures"])
        if server:
            there = Path(scratch) / "there"
            facts["server"] = _compute(item, folder, there, clinical_file, server)
            facts["server"] |= {"same_results": _same(here, there), "dciodvfy_errors": _dciodvfy_errors(there)}
        if clinical_file:
            facts["comparison"] = _compare(study, read_rtdose(clinical_file), here)
            if hypotheses:
                facts["hypotheses"] = misfits(study, item)
        return facts


def _clinical_file(folder: Path) -> Path | None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            read_rtdose(path)
        except DicomError:
            continue
        return path
    return None


def _compute(
    item: ClinicalSet, folder: Path, output: Path, clinical_file: Path | None, server: str | None
) -> dict[str, Any]:
    """Run the command as a user would; its wall time and what it says of itself."""
    command = [_program(), "compute", str(folder), "--output", str(output), "--quiet", "--json"]
    for machine in item.machines:
        command += ["--machine", machine]
    if item.densities:
        command += ["--density", ",".join(f"{name}={value}" for name, value in item.densities.items())]
    command += ["--grid-like", str(clinical_file)] if clinical_file else ["--grid", str(item.grid_mm)]
    command += ["--server", server] if server else []
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"{item.name}: dosecalc compute ended with {done.returncode}: {done.stderr.strip()}")
    return {"wall_seconds": time.perf_counter() - begin, "summary": _public(json.loads(done.stdout))}


def _program() -> str:
    beside = Path(sys.executable).with_name("dosecalc")
    return str(beside) if beside.exists() else shutil.which("dosecalc") or "dosecalc"


def _public(summary: dict[str, Any]) -> dict[str, Any]:
    """What of a summary is about the computation: no paths, no identifiers of the study."""
    return {k: summary[k] for k in ("versions", "seconds", "grid", "warnings") if k in summary}


def _dciodvfy_errors(folder: Path) -> int:
    """Errors over all DICOM files of a folder."""
    return sum(len(dciodvfy_errors(path.read_bytes())) for path in sorted(folder.glob("*.dcm")))


def _same(here: Path, there: Path) -> bool:
    """Whether both computed the same dose, voxel by voxel, and the same DVHs."""
    names = sorted(p.name for p in here.glob("RD.*.dcm"))
    if names != sorted(p.name for p in there.glob("RD.*.dcm")):
        return False
    doses = all(
        np.array_equal(read_rtdose(here / n).volume.values, read_rtdose(there / n).volume.values) for n in names
    )
    first, second = (json.loads((f / "dvh.json").read_text(encoding="utf-8")) for f in (here, there))
    statistics = [[s["statistics"] for s in d["structures"]] for d in (first, second)]
    return doses and statistics[0] == statistics[1]


def _compare(study: Study, clinical: RtDose, output: Path) -> dict[str, Any]:
    c = clinical.volume
    computed = read_rtdose(output / "RD.plan.dcm").volume
    plan = study.plans[0]
    ratio = high_dose_ratio(c, computed)
    isocentres = sorted({cp.isocentre_patient_mm for b in plan.beams for cp in b.control_points})
    beams = [read_rtdose(output / f"RD.beam-{b.number}.dcm").volume for b in plan.beams]
    scaled = Volume(computed.grid, computed.values / np.float32(ratio))
    return {
        "beams": len(plan.beams),
        "control_points": sum(len(b.control_points) for b in plan.beams),
        "mu": sum(plan.total_mu(b) for b in plan.beams),
        "maximum_gy": [float(c.values.max()), float(computed.values.max())],
        "high_dose_ratio": ratio,
        "isocentre_gy": [[dose_at(c, p), dose_at(computed, p)] for p in isocentres],
        "gamma_absolute": gamma_pass_rates(c, computed.values),
        "gamma_relative": gamma_pass_rates(c, scaled.values),
        "misfit_percent": relative_misfit_percent(c, computed),
        "shift_mm": best_shift_mm(c, computed),
        "beam_weights": beam_weights(c, beams),
        "dvhs": [
            {"name": s.name, "volume_cm3": s.volume_cm3, "clinical_gy": s.clinical, "computed_gy": s.computed}
            for s in structure_differences(study.structure_sets[0], c, computed)
        ],
    }


@contextmanager
def _server() -> Iterator[str]:
    """A server in a process of its own on a free loopback port; its address."""
    with tempfile.TemporaryDirectory() as store:
        command = [_program(), "serve", "--listen", "127.0.0.1:0", "--store", store]
        with open(Path(store) / "server.log", "w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stderr=log)
            try:
                yield _address(Path(store) / "server.log")
            finally:
                process.terminate()
                process.wait(30)


def _address(log: Path) -> str:
    for _ in range(600):
        found = re.search(r"127\.0\.0\.1:[1-9]\d*", log.read_text(encoding="utf-8"))
        if found:
            return found.group()
        time.sleep(0.1)
    raise SystemExit("the server did not say where it listens")


def main() -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("reference", nargs="?", default=os.environ.get("DOSECALC_REFERENCE"))
    parser.add_argument("--set", nargs="*", default=[s.name for s in SETS])
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--hypotheses", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--document", type=Path)
    choices = parser.parse_args()
    if not choices.reference:
        parser.error("give the reference folder, or set DOSECALC_REFERENCE")
    chosen = [s for s in SETS if s.name in choices.set]
    folder = Path(choices.reference) / "dicom"

    def run_all(server: str | None) -> list[dict[str, Any]]:
        out = []
        for item in chosen:
            print(f"{item.name} …", file=sys.stderr, flush=True)
            out.append(run_set(item, folder / f"{item.name}.zip", server, choices.hypotheses))
        return out

    if choices.server:
        with _server() as address:
            results = run_all(address)
    else:
        results = run_all(None)
    tables = clinical_tables.document(results)
    print(tables)
    if choices.document:
        replace_between_markers(choices.document, "clinical", tables)
    if choices.json:
        content = {"schema_version": 1, "dosecalc": dosecalc.__version__, "sets": results}
        choices.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
