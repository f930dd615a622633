"""The documentation is true: its commands exist with their options, its Python runs, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from dosecalc.cli.app import cli
from dosecalc_phantoms import make_phantom
from dosecalc_phantoms.dicom import write_phantom
from dosecalc_server.app import Server
from dosecalc_server.config import ServerConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shown_commands() -> list[tuple[str, str]]:
    lines = []
    for page in PAGES:
        for block in code_blocks(page, "sh"):
            joined = block.replace("\\\n", " ")
            lines += [(page.name, line) for line in joined.splitlines() if line.startswith("dosecalc ")]
    return lines


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_shown_command_exists(page, line):
    words = [w for w in shlex.split(line, comments=True) if w != "&"][1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words[0] in command.commands, f"{page}: {line}"
        command = command.commands[words.pop(0)]
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    used = {w.split("=")[0] for w in words if w.startswith("--")}
    assert used <= known, f"{page}: {line}"


def test_options_of_compute_are_all_described():
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for parameter in cli.commands["compute"].params:
        for name in parameter.opts:
            if name.startswith("--"):
                assert f"{name}" in text, f"docs/command-line.md does not speak of {name}"


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_index_lists_every_page():
    listed = re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(p.name for p in (ROOT / "docs").glob("*.md") if p.name != "index.md")


@pytest.mark.parametrize("page", ["README.md", "docs/phantoms.md", "docs/quick-start-python.md"])
def test_python_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_phantom(make_phantom("water-box", spacing_mm=10.0), tmp_path / "patient")
    code = "\n".join(code_blocks(ROOT / page, "python"))
    # coarse voxels: what is tested is that the examples run, not their dose
    code = code.replace("(3.0, 3.0, 3.0)", "(20.0, 20.0, 20.0)").replace("(5.0, 5.0, 5.0)", "(20.0, 20.0, 20.0)")
    if "127.0.0.1:50051" in code:
        with Server(ServerConfig(store=tmp_path / "store", port=0)) as server:
            code = code.replace("127.0.0.1:50051", server.address).replace("spacing_mm=3.0", "spacing_mm=20.0")
            exec(compile(code, page, "exec"), {})
        assert (tmp_path / "RD.plan.dcm").stat().st_size > 0
        assert "MACHINE_UNKNOWN" in capsys.readouterr().out
    else:
        exec(compile(code, page, "exec"), {})
