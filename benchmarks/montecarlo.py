"""Every Monte Carlo case of a reference folder: the engine's distance from it, as JSON and as tables for the docs.

    python -m benchmarks.montecarlo [REFERENCE] [--case c01 ...] [--json FILE] [--document docs/validation.md]

REFERENCE defaults to the environment variable DOSECALC_REFERENCE; cases lie in its folder ``montecarlo``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import dosecalc
from benchmarks.documents import replace_between_markers
from dosecalc.validation import CaseMeasures, compute_case, list_cases, load_case, measure
from dosecalc.validation.tables import axis_table, profile_table


def run(folder: Path, only: tuple[str, ...] = ()) -> list[tuple[CaseMeasures, float]]:
    """Measures of the cases whose names begin with one of ``only`` (all without), with the seconds of each dose."""
    out = []
    for path in list_cases(folder):
        if only and not path.name.startswith(only):
            continue
        case = load_case(path)
        begin = time.perf_counter()
        dose, _ = compute_case(case)
        seconds = time.perf_counter() - begin
        out.append((measure(case, dose), seconds))
        print(f"{case.name}: {seconds:.1f} s", file=sys.stderr)
    return out


def main() -> None:
    """Parse the command line, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reference", nargs="?", default=os.environ.get("DOSECALC_REFERENCE"))
    parser.add_argument("--case", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--document", type=Path)
    choices = parser.parse_args()
    if not choices.reference:
        parser.error("give the reference folder, or set DOSECALC_REFERENCE")
    results = run(Path(choices.reference) / "montecarlo", tuple(choices.case))
    if not results:
        parser.error("there is no such case")
    measures = [m for m, _ in results]
    tables = f"{axis_table(measures)}\n{profile_table(measures)}"
    print(tables)
    if choices.document:
        replace_between_markers(choices.document, "montecarlo", tables)
    if choices.json:
        content = {
            "schema_version": 1,
            "dosecalc": dosecalc.__version__,
            "cases": [m.as_dict() | {"seconds": seconds} for m, seconds in results],
        }
        choices.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
