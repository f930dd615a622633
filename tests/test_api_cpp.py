"""The C++ example of docs/api.md compiles with the stubs of protoc and speaks with a server."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from server_helpers import config

from dosecalc_server.app import Server

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("g++", "protoc", "grpc_cpp_plugin", "pkg-config")
CONTENT = b"an object"
#: what the example leaves to its reader: a digest and the content
FRAME = """
#include <cstdio>
#include <fstream>
#include <iterator>
#include <grpcpp/grpcpp.h>
#include <zlib.h>
%(includes)s
int main(int, char **arguments) {
  std::ifstream file(arguments[2], std::ios::binary), hash(arguments[3], std::ios::binary);
  std::string content(std::istreambuf_iterator<char>(file), {}), digest(std::istreambuf_iterator<char>(hash), {});
  %(body)s
  std::ofstream(arguments[4], std::ios::binary) << rtdose;
  if (!status.ok()) std::fprintf(stderr, "%%s", status.error_message().c_str());
  return status.ok() ? 0 : 1;
}
"""


def build(folder: Path) -> Path:
    generate, code = (
        re.search(rf"^```{language}\n(.*?)^```", _cpp_section(), re.DOTALL | re.MULTILINE)[1]
        for language in ("sh", "cpp")
    )
    (folder / "gen").mkdir()
    (folder / "proto").symlink_to(ROOT / "proto")
    subprocess.run(generate, shell=True, check=True, cwd=folder)
    lines = code.replace('"127.0.0.1:50051"', "arguments[1]").splitlines()
    source = FRAME % {
        "includes": "\n".join(line for line in lines if line.startswith("#include")),
        "body": "\n".join(line for line in lines if not line.startswith("#include")),
    }
    (folder / "main.cpp").write_text(source)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "grpc++", "protobuf", "zlib"], capture_output=True)
    assert flags.returncode == 0, flags.stderr
    stubs = sorted((folder / "gen").rglob("*.cc"))
    command = ["g++", "-std=c++17", "-Igen", "main.cpp", *map(str, stubs), *shlex.split(flags.stdout.decode())]
    subprocess.run([*command, "-o", "client"], check=True, cwd=folder)
    return folder / "client"


def _cpp_section() -> str:
    return (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("\n## C++\n")[1].split("\n## ")[0]


@pytest.mark.skipif(any(shutil.which(tool) is None for tool in NEEDED), reason=f"needs {', '.join(NEEDED)}")
def test_the_example_gets_a_dose(tmp_path: Path) -> None:
    client = build(tmp_path)
    (tmp_path / "object").write_bytes(CONTENT)
    (tmp_path / "digest").write_bytes(hashlib.sha256(CONTENT).digest())
    with Server(config(tmp_path / "store")) as server:
        files = [str(tmp_path / name) for name in ("object", "digest", "rtdose")]
        done = subprocess.run([client, server.address, *files], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "rtdose").read_bytes() == CONTENT + b"plan"  # what the fake computation makes of it
