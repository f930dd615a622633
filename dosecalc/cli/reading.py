"""Reading the INPUT of `dosecalc compute`, and saying what of it is not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dosecalc.dicom.study import Study, load_study

#: lines about files that are left out; a folder may hold thousands of them
_MOST_LINES = 12


def read_inputs(inputs: Sequence[Path], note: Callable[[str], None]) -> Study:
    """Load the study; every file that is left out, and every object that cannot be read, is told.

    Raises
    ------
    DicomError
        The directory or archive itself cannot be read.
    """
    study = load_study(inputs[0] if len(inputs) == 1 else list(inputs))
    lines = [f"left out: {file.name}: {file.reason}" for file in study.skipped]
    lines += [f"cannot be read: {problem}" for problem in study.problems]
    for line in lines[:_MOST_LINES]:
        note(line)
    if len(lines) > _MOST_LINES:
        note(f"and {len(lines) - _MOST_LINES} files more")
    return study


def input_facts(study: Study) -> dict[str, Any]:
    """What was found and what was left out, without the names of files, which may tell of a person."""
    return {
        "ct_series": len(study.cts),
        "structure_sets": len(study.structure_sets),
        "plans": len(study.plans),
        "doses": len(study.doses),
        "left_out": dict(sorted(Counter(file.reason for file in study.skipped).items())),
        "cannot_be_read": sorted(problem.reason for problem in study.problems),
    }
