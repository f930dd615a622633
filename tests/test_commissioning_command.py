"""`dosecalc machine fit`: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from builders_commissioning import edge_positions, measured, profile

from dosecalc.cli.app import run
from dosecalc.commissioning.curves import Setup
from dosecalc.commissioning.formats.own_csv import as_text
from dosecalc.commissioning.forward import FINE
from dosecalc.commissioning.parameters import Model
from dosecalc.commissioning.prepare import Uncertainty
from dosecalc.machine import load_machine

START = "generic-6mv-millennium120"
SETUP = Setup(900.0, (40.0, 40.0))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one profile of a small field, of a wider focal spot than the starting model's."""
    folder = tmp_path_factory.mktemp("scans")
    start = Model(load_machine(START), 0)
    spot = start.energy.primary_source.model_copy(update={"sigma_mm": 1.3})
    curve = profile(SETUP, "x", edge_positions(20.0), 50.0)
    curves = measured([curve], start.with_energy(primary_source=spot), FINE, Uncertainty(0.002, 0.001, 0.1), 11)
    (folder / "profile.csv").write_text(as_text(curves))
    (folder / "notes.txt").write_text("warm water")
    return folder


@pytest.fixture(scope="module")
def fitted(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Exit code and folder of a fit with everything it can write."""
    out = tmp_path_factory.mktemp("out")
    code = run(
        ["machine", "fit", str(scans), "--from", START, "-o", str(out / "room-2.yaml"), "--threads", "1",
         "--report", str(out / "report.html")]
    )  # fmt: skip
    return code, out


def test_the_model_is_valid_and_tells_its_sources(fitted: tuple[int, Path], scans: Path) -> None:
    code, out = fitted
    assert code == 0  # the model that made the profile is within reach, so every test of the scorecard is met
    machine = load_machine(out / "room-2.yaml")
    start = load_machine(START)
    energy = machine.energies[0]
    assert (machine.name, machine.generic, machine.treatment_machine_names) == ("room-2", False, ())
    assert energy.primary_source.sigma_mm == pytest.approx(1.3, abs=0.15)
    assert energy.spectrum == start.energies[0].spectrum  # a profile tells nothing of it: untouched, source and all
    for source in (energy.primary_source.source, energy.extra_focal.source, energy.calibration.source):
        assert "fitted to 1 profile by dosecalc" in source
        assert start.sha256 in source
    from hashlib import sha256

    assert sha256((scans / "profile.csv").read_bytes()).hexdigest() in machine.description
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == []


def test_the_page_needs_nothing_else(fitted: tuple[int, Path]) -> None:
    page = (fitted[1] / "report.html").read_text()
    assert page.count("not a medical device") == 1
    assert page.count("data:image/svg+xml;base64,") == 1
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for words in ("MPPG 5.b", "focal spot", "profile.csv", "notes.txt", load_machine(fitted[1] / "room-2.yaml").sha256):
        assert words in page


def test_prints_what_a_script_can_read(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "b.yaml"
    code = run(
        ["machine", "fit", str(scans / "profile.csv"), "--from", START, "-o", str(out), "--threads", "1", "--json"]
    )
    result = json.loads(capsys.readouterr().out)
    assert code == (0 if all(s["met"] for s in result["scorecard"]) else 1)
    assert result["model"]["sha256"] == load_machine(out).sha256
    keys = [p["key"] for p in result["parameters"]]
    assert keys == ["primary_source.sigma_mm", "extra_focal.fraction", "extra_focal.sigma_mm"]
    assert np.array(result["correlation"]).shape == (3, 3)
    assert result["curves"][0]["rms_percent"]["after"] < result["curves"][0]["rms_percent"]["before"]


def test_check_only_looks(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["machine", "fit", str(scans), "--from", START, "--check"]) == 0
    printed = capsys.readouterr().out
    assert "profile.csv, curve 1: profile along x at 50 mm, 40 x 40 mm, SSD 900 mm" in printed
    assert "left out: notes.txt" in printed
    assert "1 curve can be fitted." in printed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--from", START, "-o", "{out}/exists.yaml"], "OUTPUT_EXISTS"),
        (["--from", START, "-o", "{out}/new.txt"], "OUTPUT_NAME"),
        (["--from", "no-such-model", "-o", "{out}/new.yaml"], "MACHINE_UNKNOWN"),
        (["--from", START, "-o", "{out}/new.yaml", "--energy", "10"], "ENERGY_NOT_IN_MODEL"),
        (["--from", START, "-o", "{out}/new.yaml", "--fff"], "ENERGY_NOT_IN_MODEL"),
        (["--from", START, "-o", "{out}/new.yaml", "--skip", "other.csv"], "MEASUREMENT_UNKNOWN"),
        (["--from", START, "-o", "{out}/new.yaml", "--skip", "profile.csv"], "MEASUREMENTS_NONE"),
        (["--from", START, "-o", "{out}/Room 2.yaml"], "MACHINE_NAME"),
    ],
)
def test_refuses_before_it_computes(
    arguments: list[str], reason: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "exists.yaml").write_text("mine")
    code = run(["machine", "fit", str(scans), *(a.format(out=tmp_path) for a in arguments)])
    assert code == 2
    assert f"reason: {reason}" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["exists.yaml"]
    assert (tmp_path / "exists.yaml").read_text() == "mine"


def test_needs_an_output(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["machine", "fit", str(scans), "--from", START]) == 2
    assert "-o" in capsys.readouterr().err


def test_tells_every_bad_curve(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (scans / "profile.csv").read_text()
    (tmp_path / "wide.csv").write_text(text.replace("field_x_mm: 40", "field_x_mm: 80"))
    (tmp_path / "cm.csv").write_text(text.replace("ssd_mm: 900", "ssd_mm: 90"))
    assert run(["machine", "fit", str(tmp_path), "--from", START, "-o", str(tmp_path / "new.yaml")]) == 2
    told = capsys.readouterr().err
    for words in ("FIELD_SIZE_CONTRADICTED", "wide.csv", "MEASUREMENT_UNITS", "cm.csv", "MEASUREMENTS_REFUSED"):
        assert words in told
    assert not (tmp_path / "new.yaml").exists()
