"""Computing in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dosecalc.cli.console import Teller
from dosecalc.cli.reading import input_facts, read_inputs
from dosecalc.engine import Progress
from dosecalc.outputs import OutputContent, content_of
from dosecalc.recompute import RecomputeRequest, recompute


def compute_here(
    inputs: Sequence[Path], request: RecomputeRequest, tell: Teller, stopped: Callable[[], bool]
) -> OutputContent:
    """Load, compute and prepare the files.

    Raises
    ------
    DosecalcError
    """
    tell.show(0.0, "reading")
    study = read_inputs(inputs, tell.note)

    def show(progress: Progress) -> None:
        beam = "" if progress.beam_number is None else f"beam {progress.beam_number}, "
        tell.show(progress.fraction, beam + progress.step)

    computed = recompute(study, request, show, stopped)
    tell.show(1.0, "drawing")
    content = content_of(computed)
    return replace(content, summary={**content.summary, "input": input_facts(study)})
