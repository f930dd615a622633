"""`dosecalc compute` and `dosecalc dvh`: the files, here and through a server, and what is left when it fails."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dosecalc.cli.app import cli, run
from dosecalc.dicom.rtdose import read_rtdose
from dosecalc.engine import DoseSettings
from dosecalc.outputs import OutputContent, write_files
from dosecalc.photon.engines import QUANTITIES
from dosecalc_phantoms import make_phantom
from dosecalc_phantoms.dicom import write_phantom
from dosecalc_server.app import Server
from dosecalc_server.config import ServerConfig

#: a small grid about the isocentre: a second of computing
GRID = ("--grid", "10", "--box=-60,-60,-60,60,60,60", "--quiet")
FILES = {"RD.plan.dcm", "RD.beam-1.dcm", "RD.beam-2.dcm", "dvh.json", "dvh.csv", "dose.png", "summary.json"}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """Two beams of segments through a bone slab, with Swedish names."""
    folder = tmp_path_factory.mktemp("phantom")
    made = make_phantom("water-bone-slab", plan="step-and-shoot", spacing_mm=10.0, language="sv")
    write_phantom(made, folder)
    return folder


@pytest.fixture(scope="module")
def results(phantom, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    assert run(["compute", str(phantom), "--output", str(folder), *GRID]) == 0
    return folder


def test_all_files_and_nothing_else(results):
    assert {p.name for p in results.iterdir()} == FILES
    assert (results / "dose.png").read_bytes().startswith(b"\x89PNG")


def test_beams_add_up_to_the_plan(results):
    plan = read_rtdose(results / "RD.plan.dcm").volume.values
    beams = sum(read_rtdose(results / f"RD.beam-{n}.dcm").volume.values for n in (1, 2))
    # each file keeps 5e-10 of its maximum; float32 sums keep 1e-7
    np.testing.assert_allclose(beams, plan, atol=1e-6 * plan.max())


def test_rtdose_refers_to_plan_and_structures(results, phantom):
    plan, structures = pydicom.dcmread(phantom / "RP.dcm"), pydicom.dcmread(phantom / "RS.dcm")
    dose = pydicom.dcmread(results / "RD.plan.dcm")
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    assert dose.FrameOfReferenceUID == structures.FrameOfReferenceUID
    assert dose.PatientID == plan.PatientID


def test_dvh_files_hold_every_structure(results):
    curves = json.loads((results / "dvh.json").read_text(encoding="utf-8"))
    names = [s["structure_name"] for s in curves["structures"]]
    assert names == ["Ytterkontur", "Målvolym", "Riskorgan höger sida", "Benskiva åäö"]
    target = curves["structures"][1]
    assert target["dose_gy"][0] == 0.0
    assert target["cumulative_cm3"] == sorted(target["cumulative_cm3"], reverse=True)
    rows = list(csv.DictReader((results / "dvh.csv").read_text(encoding="utf-8").splitlines()))
    assert [r["structure"] for r in rows] == names
    assert float(rows[1]["mean_gy"]) == pytest.approx(target["statistics"]["mean_gy"], rel=1e-5)  # six digits
    assert "lies in the dose grid" in rows[0]["notes"]  # the box holds a part of the outline only


def test_summary_tells_how_it_was_made_and_not_of_whom(results, phantom):
    text = (results / "summary.json").read_text(encoding="utf-8")
    summary = json.loads(text)
    assert summary["beams"][0]["info"]["machine_model"] == "generic-6mv-millennium120"
    assert re.fullmatch("[0-9a-f]{64}", summary["dose"]["machine_sha256"])
    assert summary["dose"]["quantity"]
    assert {"patient", "dose", "dvh"} <= set(summary["seconds"])
    assert set(summary["files"]) == FILES
    plan = pydicom.dcmread(phantom / "RP.dcm")
    assert str(plan.PatientName) not in text
    assert plan.PatientID not in text


def test_quantity_reaches_engine_files_and_server(results, phantom, tmp_path):
    with Server(ServerConfig(store=tmp_path / "store", port=0)) as server:
        for name, where in (("here", ()), ("there", ("--server", server.address))):
            arguments = ["compute", str(phantom), "--output", str(tmp_path / name), "--quantity", "medium", *where]
            assert run([*arguments, *GRID]) == 0
    for name in ("here", "there"):
        summary = json.loads((tmp_path / name / "summary.json").read_text(encoding="utf-8"))
        assert summary["request"]["quantity"] == "medium"
        assert summary["dose"]["quantity"] == "dose to medium"
        assert "dose to medium" in pydicom.dcmread(tmp_path / name / "RD.plan.dcm").DoseComment
    plans = [(tmp_path / name / "RD.plan.dcm").read_bytes() for name in ("here", "there")]
    assert plans[0] == plans[1]
    before = read_rtdose(results / "RD.plan.dcm").volume.values
    assert not np.array_equal(read_rtdose(plans[0]).volume.values, before)
    assert "water-equivalent" in pydicom.dcmread(results / "RD.plan.dcm").DoseComment


def test_quantities_of_the_command_are_those_of_the_engine():
    (option,) = (p for p in cli.commands["compute"].params if p.name == "quantity")
    assert list(option.type.choices) == list(QUANTITIES)
    assert option.default == DoseSettings().quantity


def test_zip_gives_the_same_dose(results, phantom, tmp_path):
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for path in phantom.iterdir():
            z.write(path, f"folder/{path.stem}")
    assert run(["compute", str(archive), "--output", str(tmp_path / "o"), *GRID]) == 0
    assert (tmp_path / "o" / "RD.plan.dcm").read_bytes() == (results / "RD.plan.dcm").read_bytes()


def test_files_that_are_left_out_are_told(phantom, tmp_path, capsys):
    mixed = tmp_path / "in"
    mixed.mkdir()
    for path in phantom.iterdir():
        (mixed / path.name).write_bytes(path.read_bytes())
    (mixed / "notes.txt").write_text("not DICOM")
    (mixed / "broken.dcm").write_bytes((phantom / "RP.dcm").read_bytes()[:900])
    assert run(["compute", str(mixed), "--output", str(tmp_path / "o"), *GRID]) == 0
    err = capsys.readouterr().err
    assert "notes.txt" in err and "broken.dcm" in err
    summary = (tmp_path / "o" / "summary.json").read_text(encoding="utf-8")
    assert json.loads(summary)["input"]["plans"] == 1
    assert "notes.txt" not in summary  # names of files may be names of patients


def test_server_gives_the_same_files(results, phantom, tmp_path, capsys):
    with Server(ServerConfig(store=tmp_path / "store", port=0)) as server:
        arguments = ["compute", str(phantom), "--output", str(tmp_path / "o"), "--server", server.address, *GRID]
        assert run([*arguments, "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["server"]["job"].startswith("jobs/")
        assert run([*arguments, "--machine", "no-such-machine"]) == 2
        assert "MACHINE_UNKNOWN" in capsys.readouterr().err
    for name in FILES - {"summary.json"}:
        assert (tmp_path / "o" / name).read_bytes() == (results / name).read_bytes(), name
    here, there = (json.loads((f / "summary.json").read_text(encoding="utf-8")) for f in (results, tmp_path / "o"))
    for key in ("request_sha256", "plan", "dose", "beams", "provenance", "warnings", "notes", "files", "input"):
        assert there[key] == here[key], key


def test_no_server_there(phantom, tmp_path, capsys):
    arguments = ["compute", str(phantom), "--output", str(tmp_path), "--server", "127.0.0.1:1", *GRID]
    assert run(arguments) == 1  # nothing is wrong with the input
    assert "UNAVAILABLE" in capsys.readouterr().err


def test_grid_like_an_rtdose(results, phantom, tmp_path):
    like = results / "RD.beam-1.dcm"
    arguments = ["compute", str(phantom), "--output", str(tmp_path), "--grid-like", str(like), "--quiet"]
    assert run(arguments) == 0
    assert (tmp_path / "RD.plan.dcm").read_bytes() == (results / "RD.plan.dcm").read_bytes()


def test_structures_without_a_ct(phantom, tmp_path, capsys):
    only = tmp_path / "in"
    only.mkdir()
    for name in ("RS.dcm", "RP.dcm"):
        (only / name).write_bytes((phantom / name).read_bytes())
    arguments = ["compute", str(only), "--output", str(tmp_path / "o"), *GRID]
    assert run(arguments) == 2
    assert "DENSITY_UNKNOWN" in capsys.readouterr().err
    assert run([*arguments, "--density", "Ytterkontur=1.0, Benskiva åäö=1.85"]) == 0
    assert {p.name for p in (tmp_path / "o").iterdir()} == FILES


def test_earlier_results_outlive_a_run_that_fails(results, phantom, tmp_path, capsys):
    target = tmp_path / "o"
    content = OutputContent(b"dose", {1: b"one", 7: b"seven"}, (), b"png", {"dose": "first"})
    write_files(content, target)
    before = {p.name: p.read_bytes() for p in target.iterdir()}
    assert run(["compute", str(phantom), "--output", str(target), "--machine", "generic-10mv-agility", *GRID]) == 2
    assert "MACHINE_NOT_MAPPED" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    # a run that succeeds replaces them all, and leaves no beam of the other plan behind
    write_files(OutputContent(b"dose", {1: b"new"}, (), b"png", {}), target)
    assert not (target / "RD.beam-7.dcm").exists()
    assert (target / "RD.beam-1.dcm").read_bytes() == b"new"


def test_full_disk_leaves_the_earlier_results(monkeypatch, tmp_path):
    write_files(OutputContent(b"first", {}, (), b"png", {}), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    from dosecalc.errors import InputError

    with pytest.raises(InputError) as caught:
        write_files(OutputContent(b"second", {}, (), b"png", {}), tmp_path)
    assert caught.value.reason == "OUTPUT_DISK_FULL"
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_output_that_cannot_be_written_is_told_before_computing(phantom, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert run(["compute", str(phantom), "--output", str(blocked / "o"), *GRID]) == 2
    assert "OUTPUT_NOT_WRITABLE" in capsys.readouterr().err


def test_interrupt_ends_it_and_leaves_nothing(phantom, tmp_path):
    code = "from dosecalc.cli import main; main()"
    arguments = ["compute", str(phantom), "--output", str(tmp_path / "o"), "--grid", "2", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "o").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(4.0)  # into the computation, which takes far longer with voxels of 2 mm
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, said = process.communicate(timeout=60)
    # a second for the computation to notice, and one for the process to end on a machine with other work
    assert time.monotonic() - asked < 5.0
    assert process.returncode == 130
    assert b"nothing was written" in said
    assert list((tmp_path / "o").iterdir()) == []


def test_dvh_of_any_rtdose(results, phantom, tmp_path, capsys):
    dose, structures = str(results / "RD.plan.dcm"), str(phantom / "RS.dcm")
    files = ["--json", str(tmp_path / "d.json"), "--csv", str(tmp_path / "d.csv")]
    assert run(["dvh", dose, structures, "--structure", "Målvolym", *files]) == 0
    assert "Målvolym" in capsys.readouterr().out
    (own,) = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))["structures"]
    written = json.loads((results / "dvh.json").read_text(encoding="utf-8"))["structures"][1]
    # the file holds the dose to 5e-10 of its maximum, the computation had it as float32
    assert own["statistics"]["mean_gy"] == pytest.approx(written["statistics"]["mean_gy"], rel=1e-6)
    assert run(["dvh", dose, structures, "--structure", "nobody"]) == 2
    assert "STRUCTURE_UNKNOWN" in capsys.readouterr().err


def test_dvh_refuses_another_frame_of_reference(results, tmp_path, capsys):
    other = make_phantom("water-box", spacing_mm=10.0)
    files = write_phantom(other, tmp_path)
    assert run(["dvh", str(results / "RD.plan.dcm"), str(files.rtstruct)]) == 2
    assert "FRAME_OF_REFERENCE" in capsys.readouterr().err
