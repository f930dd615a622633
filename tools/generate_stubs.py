"""Generate the gRPC stubs beside the .proto files; with ``--check``, say whether the committed ones are stale."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTO_ROOT = Path(__file__).resolve().parent.parent / "proto"
PACKAGE = Path("dosecalc_api") / "v1"


def generate(output: Path) -> None:
    """Write ``*_pb2.py``, ``*_pb2.pyi`` and ``*_pb2_grpc.py`` of every .proto below ``output``."""
    protos = sorted(str(path.relative_to(PROTO_ROOT)) for path in (PROTO_ROOT / PACKAGE).glob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    flags = [f"--{kind}={output}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    status = protoc.main(["protoc", f"-I{PROTO_ROOT}", f"-I{well_known}", *flags, *protos])
    if status:
        raise SystemExit(f"protoc failed with status {status}")
    for stub in (output / PACKAGE).glob("*_pb2_grpc.py"):
        if "class " not in stub.read_text(encoding="utf-8"):  # a file of messages only has no service to stub
            stub.unlink()


def stale() -> list[str]:
    """Names of generated files that are missing, superfluous or differ from what the .proto files make."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = _contents(Path(folder) / PACKAGE)
    committed = _contents(PROTO_ROOT / PACKAGE)
    return sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*_pb2*.py*") if path.is_file()}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed stubs are stale; write nothing")
    if not parser.parse_args().check:
        generate(PROTO_ROOT)
        return 0
    names = stale()
    for name in names:
        print(f"stale: {PACKAGE / name}", file=sys.stderr)
    if names:
        print("Run `make proto` with the pinned grpcio-tools and commit the result.", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
