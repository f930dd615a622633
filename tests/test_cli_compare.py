"""`dosecalc compare`: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders_dicom import FRAME, make_rtdose, save
from builders_structures import box, make_rtstruct

from dosecalc.cli.app import run


def rtdose(path: Path, scale: float = 1.0, *, frame: str = FRAME, summation: str = "PLAN", units: str = "GY") -> str:
    """An RT Dose that rises along x, 10 to 20 Gy, times a factor."""
    stored = np.broadcast_to(np.linspace(10_000, 20_000, 12) * scale, (8, 10, 12)).round().astype(np.uint32)
    ds = make_rtdose(stored, spacing_mm=(2.5, 2.5), offsets_mm=[2.5 * k for k in range(8)], frame=frame)
    ds.DoseSummationType, ds.DoseUnits = summation, units
    return str(save(ds, path))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return rtdose(tmp_path / "a.dcm"), rtdose(tmp_path / "b.dcm", 1.01)


def test_table_json_and_picture(pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rtstruct = save(make_rtstruct([box((5, 5, 5), (20, 15, 12), name="Målvolym")]), tmp_path / "rs.dcm")
    json_file, picture = tmp_path / "c.json", tmp_path / "c.png"
    options = ["--gamma", "2%/2mm", "--gamma", "0.3%/0.3mm", "--structures", str(rtstruct)]
    options += ["--json", str(json_file), "--picture", str(picture)]
    assert run(["compare", *pair, *options]) == 0
    out = capsys.readouterr().out
    assert "2%/2mm" in out
    assert "Målvolym" in out
    content = json.loads(json_file.read_text())
    assert [g["criterion"] for g in content["gamma"]] == ["2%/2mm", "0.3%/0.3mm"]
    assert content["gamma"][0]["pass_rate_percent"] == 100.0
    # 1 % of 10 to 20 Gy
    assert content["difference"]["mean_gy"] == pytest.approx(0.15, abs=1e-3)
    assert content["structures"][0]["dvh"]["difference"]["mean_gy"] == pytest.approx(0.15, abs=0.02)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_figures_are_whole_on_a_narrow_terminal(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minus sign and many criteria make lines long; a figure that is cut would be a wrong one."""
    monkeypatch.setenv("COLUMNS", "40")
    rtstruct = save(make_rtstruct([box((5, 5, 5), (20, 15, 12), name="A rather long name")]), tmp_path / "rs.dcm")
    criteria = [a for n in (1, 2, 3) for a in ("--gamma", f"{n}%/{n}mm")]
    assert run(["compare", pair[1], pair[0], "--structures", str(rtstruct), *criteria]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "A rather long name" in shown


def test_minimum_pass_rate_ends_with_1(pair: tuple[str, str]) -> None:
    assert run(["compare", *pair, "--min-pass", "99%"]) == 0
    assert run(["compare", *pair, "--min-pass", "99", "--gamma", "2/2", "--gamma", "0.3/0.1"]) == 1


def test_local_threshold_and_exact(pair: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    options = ["--local", "--threshold", "60%", "--sampling", "exact", "--max-gamma", "3", "--normalisation", "20"]
    assert run(["compare", *pair, *options, "--json", str(file)]) == 0
    settings = json.loads(file.read_text())["settings"]
    assert settings == {
        "local": True,
        "normalisation_gy": 20.0,
        "threshold_gy": 12.0,
        "max_gamma": 3.0,
        "sampling": None,
    }


def test_strangers_are_refused_unless_told(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other_frame = rtdose(tmp_path / "frame.dcm", frame=FRAME + ".9")
    assert run(["compare", pair[0], other_frame]) == 2
    assert "reason: FRAME_OF_REFERENCE" in capsys.readouterr().err
    assert run(["compare", pair[0], other_frame, "--ignore-frame"]) == 0
    beam = rtdose(tmp_path / "beam.dcm", summation="BEAM")
    assert run(["compare", pair[0], beam]) == 2
    assert "reason: DOSE_SUMMATION" in capsys.readouterr().err
    assert run(["compare", pair[0], beam, "--ignore-type"]) == 0
    relative = rtdose(tmp_path / "relative.dcm", units="RELATIVE")
    assert run(["compare", pair[0], relative]) == 2
    assert "reason: DOSE_UNITS" in capsys.readouterr().err


def test_array_files(tmp_path: Path) -> None:
    dose = np.broadcast_to(np.linspace(1, 2, 9), (4, 5, 9))
    np.savez(tmp_path / "a.npz", dose_gy=dose, spacing_mm=(2.0, 2.0, 2.0), origin_mm=(0.0, 0.0, 0.0))
    np.save(tmp_path / "b.npy", dose)
    a, b = str(tmp_path / "a.npz"), str(tmp_path / "b.npy")
    assert run(["compare", a, b, "--spacing", "2", "--min-pass", "100"]) == 0
    assert run(["compare", b, b]) == 2


def test_device_is_chosen_by_name(pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for device in ("cpu", "auto"):
        file = tmp_path / f"{device}.json"
        assert run(["compare", *pair, "--device", device, "--json", str(file)]) == 0
        found.append(json.loads(file.read_text()))
    assert found[0] == found[1]
    capsys.readouterr()
    assert run(["compare", *pair, "--device", "cuda:97"]) == 2
    assert "reason: DEVICE_NOT_AVAILABLE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--gamma", "two"], "GAMMA_CRITERION"),
        (["--threshold", "low"], "NUMBER_INVALID"),
        (["--sampling", "0"], "NUMBER_INVALID"),
        (["--max-gamma", "-1"], "GAMMA_OPTION"),
        (["--structure", "PTV"], "STRUCTURES_MISSING"),
    ],
)
def test_bad_options_end_with_2(
    options: list[str], reason: str, pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *pair, *options]) == 2
    assert f"reason: {reason}" in capsys.readouterr().err
