"""Computing in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dosecalc.cli.console import Tell
from dosecalc.dicom.study import load_study
from dosecalc.engine import Progress
from dosecalc.outputs import OutputContent, content_of
from dosecalc.recompute import RecomputeRequest, recompute


def compute_here(
    inputs: Sequence[Path], request: RecomputeRequest, tell: Tell, stopped: Callable[[], bool]
) -> OutputContent:
    """Load, compute and prepare the files.

    Raises
    ------
    DosecalcError
    """
    tell(0.0, "reading")
    study = load_study(inputs[0] if len(inputs) == 1 else list(inputs))

    def show(progress: Progress) -> None:
        beam = "" if progress.beam_number is None else f"beam {progress.beam_number}, "
        tell(progress.fraction, beam + progress.step)

    computed = recompute(study, request, show, stopped)
    tell(1.0, "drawing")
    return content_of(computed)
