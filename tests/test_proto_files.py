"""The .proto files: what a caller in another language gets, and that the committed stubs are theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from dosecalc_server.status import REASON_CODES

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
FILES = sorted((PROTO / "dosecalc_api" / "v1").glob("*.proto"))


def _compile(*flags: str) -> int:
    names = [str(f.relative_to(PROTO)) for f in FILES]
    well_known = resources.files("grpc_tools") / "_proto"
    return int(protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", *flags, *names]))


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorSet:
    output = tmp_path_factory.mktemp("descriptors") / "set"
    assert _compile("--include_source_info", f"--descriptor_set_out={output}") == 0
    return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_nothing_but_well_known_types_is_imported(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for imported in re.findall(r'^import "(.*)";', text, re.MULTILINE):
        assert imported.startswith(("google/protobuf/", "dosecalc_api/v1/")), imported
    assert re.search(r"^package dosecalc_api\.v1;", text, re.MULTILINE)


def _uncommented(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Paths of messages, fields, enums, values, services and methods without a comment before them."""
    commented = {tuple(location.path) for location in file.source_code_info.location if location.leading_comments}
    for i, message in enumerate(file.message_type):
        if message.options.map_entry:
            continue
        yield from [message.name] if (4, i) not in commented else []
        for j, field in enumerate(message.field):
            yield from [f"{message.name}.{field.name}"] if (4, i, 2, j) not in commented else []
    for i, enum in enumerate(file.enum_type):
        yield from [enum.name] if (5, i) not in commented else []
        for j, value in enumerate(enum.value):
            yield from [value.name] if (5, i, 2, j) not in commented else []
    for i, service in enumerate(file.service):
        yield from [service.name] if (6, i) not in commented else []
        for j, method in enumerate(service.method):
            yield from [f"{service.name}.{method.name}"] if (6, i, 2, j) not in commented else []


def test_everything_is_documented(descriptors: descriptor_pb2.FileDescriptorSet) -> None:
    assert len(descriptors.file) == len(FILES)
    assert [name for file in descriptors.file for name in _uncommented(file)] == []


def test_every_number_with_a_unit_says_so(descriptors: descriptor_pb2.FileDescriptorSet) -> None:
    """A floating-point field ends with its unit, or is one of those that have none or whose holder names it."""
    without_unit = {"x", "y", "z", "fraction", "statistics", "seconds", "value"}
    # gamma is a number without a unit, as its name says
    units = ("_mm", "_gy", "_cm3", "_g_cm3", "_mv", "_s", "_deg", "mu", "_percent", "_gamma")
    for file in descriptors.file:
        for message in file.message_type:
            for field in message.field:
                if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT) and field.name not in without_unit:
                    assert field.name.endswith(units), f"{message.name}.{field.name}"


def test_the_committed_stubs_are_fresh() -> None:
    check = subprocess.run([sys.executable, ROOT / "tools" / "generate_stubs.py", "--check"], capture_output=True)
    assert check.returncode == 0, check.stderr.decode()


def test_the_documentation_names_every_reason_with_its_code() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for reason, code in REASON_CODES.items():
        assert any(reason in row and code.name in row for row in rows), reason


def test_the_documentation_names_every_call(descriptors: descriptor_pb2.FileDescriptorSet) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for file in descriptors.file:
        for service in file.service:
            assert service.name in text
            for method in service.method:
                assert method.name in text, method.name
