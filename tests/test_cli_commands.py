"""The small commands: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from dosecalc.cli.app import run
from dosecalc.cli.machine_text import described
from dosecalc.machine import MachineSummary, list_machines, load_machine
from dosecalc_phantoms import list_phantoms

COMMANDS = ("serve", "compute", "dvh", "phantom", "machine", "kernels", "devices")


def test_help_names_every_command(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {c} " in out for c in COMMANDS)
    assert "not a medical device" in out


@pytest.mark.parametrize("command", [*([c] for c in COMMANDS), ["machine", "list"], ["machine", "show"]])
def test_help_of_every_command(command, capsys):
    assert run([*command, "--help"]) == 0
    assert "Usage: dosecalc" in capsys.readouterr().out


def test_help_is_quick_because_it_loads_no_engine():
    heavy = ("numba", "pydicom", "grpc", "matplotlib", "scipy")
    code = f"import sys, dosecalc.cli.app; print([m for m in {heavy} if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["compute"],
        ["compute", "/no/such/input", "--output", "x"],
        ["phantom"],
        ["machine", "show"],
        ["serve"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["machine", "show", "no-such-machine"], "MACHINE_UNKNOWN"),
        (["phantom", "no-such-phantom", "--output", "{tmp}/p"], "PHANTOM_UNKNOWN"),
        (["phantom", "water-box", "--output", "{tmp}/p", "--spacing", "wide"], "NUMBER_INVALID"),
        (["compute", "{tmp}", "--output", "{tmp}/o", "--grid", "0"], "GRID_SPACING"),
        (["compute", "{tmp}", "--output", "{tmp}/o", "--box", "0,0,0,1,1,0"], "GRID_BOX_EMPTY"),
        (["compute", "{tmp}", "--output", "{tmp}/o", "--density", "BODY"], "DENSITY_LIST_INVALID"),
        (["compute", "{tmp}", "--output", "{tmp}/o"], "PLAN_MISSING"),
        (["serve", "--store", "{tmp}/s", "--listen", "0.0.0.0:0"], "LISTEN_IN_THE_CLEAR"),
        (["serve", "--store", "{tmp}/s", "--listen", "nowhere"], "LISTEN_INVALID"),
    ],
)
def test_bad_input_ends_with_2_and_the_reason(arguments, reason, tmp_path, capsys):
    assert run([a.format(tmp=tmp_path) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert f"reason: {reason}" in captured.err
    assert captured.out == ""


def test_an_empty_mapping_is_not_taken_for_none(tmp_path, capsys):
    (tmp_path / "mapping.yaml").touch()
    arguments = ["compute", str(tmp_path), "--output", str(tmp_path / "o"), "--machine-mapping"]
    assert run([*arguments, str(tmp_path / "mapping.yaml")]) == 2
    assert "reason: MAPPING_INVALID" in capsys.readouterr().err


def test_a_file_that_is_no_zip_is_said_to_be_none(tmp_path, capsys):
    (tmp_path / "study.zip").write_text("no archive")
    assert run(["compute", str(tmp_path / "study.zip"), "--output", str(tmp_path / "o")]) == 2
    assert "study.zip: not DICOM, nor a zip archive" in capsys.readouterr().err


def test_an_unexpected_fault_ends_with_1(monkeypatch, capsys):
    def broken(*_arguments):
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("dosecalc.machine.load_machine", broken)
    assert run(["machine", "show", "generic-6mv-millennium120"]) == 1
    assert "broken on purpose" in capsys.readouterr().err


def test_machine_list(capsys):
    assert run(["machine", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in listed] == [m.name for m in list_machines()]
    assert run(["machine", "list"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80  # a terminal of the usual width
    for m in list_machines():
        (line,) = (text for text in lines if text.startswith(f"{m.name} "))
        assert all(f"{mv:g} MV" in line for mv, _ in m.energies)
        assert m.mlc in line
        assert m.description not in out
    assert "not commissioned" in out


def test_machine_list_cuts_nothing_whatever_the_names(capsys, monkeypatch):
    long = MachineSummary(
        name="clinic-" + 60 * "x",
        description="",
        sha256="0" * 64,
        schema_version=1,
        generic=False,
        energies=((6.0, "STANDARD"), (10.0, "FFF"), (15.0, "STANDARD")),
        mlc="Millennium 120",
    )
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("dosecalc.machine.list_machines", lambda: (long,))
    assert run(["machine", "list"]) == 0
    out = capsys.readouterr().out
    assert f"{long.name}  6 MV, 10 MV FFF, 15 MV  Millennium 120  commissioned\n" in out
    assert "Generic" not in out


def test_machine_show_gives_every_source(capsys):
    model = load_machine("generic-6mv-millennium120")
    assert run(["machine", "show", model.name]) == 0
    out = capsys.readouterr().out
    assert model.sha256 in out
    assert all(source in out for source in model.sources().values())
    assert run(["machine", "show", model.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == model.sha256


@pytest.mark.parametrize("name", [m.name for m in list_machines()])
def test_machine_show_leaves_out_no_block(name):
    """Whatever number stands in a model's file stands in what is printed, but the spectrum's bins and leaf edges."""
    model = load_machine(name)
    text = "\n".join(described(model))
    content = model.model_dump(mode="json")
    for energy in content["energies"]:
        energy.pop("spectrum")
    for layer in ("mlc", "second_mlc"):
        if content[layer]:
            content[layer].pop("boundaries_mm")
    printed = {float(n) for n in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", text)}

    def is_printed(number):
        # as it is or in percent, with three digits at least; a leaf gap is twice its offset
        return any(abs(p - n) <= 2e-3 * abs(n) for p in printed for n in (number, 100 * number))

    numbers = {n for n in all_numbers(content) if not isinstance(n, bool)}
    assert {n for n in numbers if not is_printed(n)} == set()


def all_numbers(node):
    if isinstance(node, dict):
        return [n for v in node.values() for n in all_numbers(v)]
    if isinstance(node, list):
        return [n for v in node for n in all_numbers(v)]
    return [node] if isinstance(node, int | float) else []


def test_machine_show_prints_what_few_machines_have(capsys, tmp_path):
    """Backup jaws, transmission by jaw and pair, an offset table, monitor back-scatter, trays, lead plates."""
    content = load_machine("generic-6mv-agility").model_dump(mode="json")
    n = len(content["mlc"]["boundaries_mm"]) - 1
    content["backup_jaws"] = {"transmission": 0.11, "margin_mm": 7, "distance_mm": 431, "source": "of backup jaws"}
    content["jaw_y"] |= {"each_transmission": [0.004, 0.006]}
    content["mlc"] |= {
        "pair_transmission": [0.005] * n,
        "tip_offset_table": {"position_mm": [-100, 100], "offset_mm": [0.3, -0.3], "source": "of the offset table"},
    }
    content["energies"][0]["monitor_backscatter"] = [
        {"axis": "Y", "opening_mm": [0, 400], "relative_output": [0.97, 1.0], "source": "of back-scatter"}
    ]
    lead = {"energies_mev": [0.1, 20], "mu_over_rho_cm2_g": [5.0, 0.06], "source": "of lead"}
    content["accessories"]["wedges"][0] |= {"material": "", "attenuation": lead}
    content["accessories"]["wedges"][0]["output_gain"] = [{"nominal_mv": 6, "fluence_mode": "STANDARD", "value": 1.02}]
    content["accessories"]["trays"] = [
        {"name": "t", "ids": ["T*"], "transmission": [{"nominal_mv": 6, "value": 0.96}], "source": "of the tray"}
    ]
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert run(["machine", "show", str(path)]) == 0
    out = capsys.readouterr().out
    for words in (
        "of backup jaws", "7 mm behind the outermost", "0.4 % (Y1), 0.6 % (Y2)", "of the offset table",
        "of back-scatter", "0: 0.97, 400: 1", "of lead", "1.02 (6 MV)", "0.96 (6 MV)", "of the tray",
    ):  # fmt: skip
        assert words in out


def test_devices_name_the_cpu(capsys):
    assert run(["devices", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["kind"] == "cpu"
    assert first["units"] >= 1
    assert run(["devices"]) == 0
    assert "threads" in capsys.readouterr().out


def test_phantom_list_and_json(tmp_path, capsys):
    assert run(["phantom", "--list", "--json"]) == 0
    assert [k["name"] for k in json.loads(capsys.readouterr().out)] == [k.name for k in list_phantoms()]
    options = ["--output", str(tmp_path), "--spacing", "10", "--swedish", "--patient-position", "FFP", "--json"]
    assert run(["phantom", "water-box", *options]) == 0
    written = json.loads(capsys.readouterr().out)
    assert "Målvolym" in written["structures"]
    assert len(written["ct"]) == len(list(tmp_path.glob("CT.*.dcm")))
