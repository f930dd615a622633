"""What the CUDA kernels use of a multiprocessor: registers, spills, shared memory. Needs NVRTC, no device.

Usage: python -m benchmarks.cuda_resources [--output FILE]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine_info import machine_info
from dosecalc_kernels.cuda import nvrtc


def table() -> list[dict[str, Any]]:
    """One row per kernel and architecture."""
    return [
        {"source": source.name, "kernel": kernel, "architecture": architecture, **asdict(used)}
        for source in nvrtc.sources()
        for architecture in nvrtc.ARCHITECTURES
        for kernel, used in nvrtc.usage(source, architecture).items()
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Registers per thread by architecture, and the most that any architecture spills or puts on the stack."""
    kernels = dict.fromkeys((r["source"], r["kernel"]) for r in rows)
    lines = [
        f"| kernel | {' | '.join(f'registers {a}' for a in nvrtc.ARCHITECTURES)} | spilled bytes | stack bytes |",
        "| --- |" + " ---: |" * (len(nvrtc.ARCHITECTURES) + 2),
    ]
    for source, kernel in kernels:
        mine = {r["architecture"]: r for r in rows if (r["source"], r["kernel"]) == (source, kernel)}
        registers = " | ".join(str(mine[a]["registers"]) for a in nvrtc.ARCHITECTURES)
        spilled = max(r["spill_store_bytes"] + r["spill_load_bytes"] for r in mine.values())
        stack = max(r["stack_bytes"] for r in mine.values())
        lines.append(f"| `{source}.cu` {kernel} | {registers} | {spilled} | {stack} |")
    return "\n".join(lines)


def main() -> None:
    """Compile, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = table()
    version = ".".join(map(str, nvrtc.version()))
    print(f"NVRTC {version}\n\n{markdown(rows)}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({"machine": machine_info(), "nvrtc": version, "kernels": rows}, indent=1))


if __name__ == "__main__":
    main()
