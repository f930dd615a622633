"""What a job hands to whoever computes it, and what comes back: paths and plain data, so any worker can do it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

RESULT_FILE = "result.json"


@dataclass(frozen=True)
class TaskProgress:
    """Where a computation stands; see `dosecalc.engine.Progress`."""

    fraction: float
    beam_number: int | None = None
    beam_fraction: float = 0.0
    step: str = ""


class Wanted(Protocol):
    """What a computation is asked for, as plain data."""

    def to_json(self) -> str:
        """As text; the computation's module reads it again (see `dosecalc_server.worker`)."""


R = TypeVar("R", bound=Wanted)


@dataclass(frozen=True)
class Task(Generic[R]):
    """A computation to do.

    Parameters
    ----------
    job : str
        Job id, for the log.
    request : JobRequest or ComparisonRequest
    files : tuple of Path
        DICOM objects, named by their SHA-256; not to be changed.
    output : Path
        An empty folder for the result.
    """

    job: str
    request: R
    files: tuple[Path, ...]
    output: Path


class Computation(Protocol):
    """Computes a task and leaves its result, as `write_result` does it, in ``task.output``."""

    def __call__(
        self, task: Task[Any], progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]
    ) -> None: ...


class Executor(Protocol):
    """Runs tasks one at a time, wherever that is."""

    def run(self, task: Task[Any], progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]) -> None:
        """Compute a task to its end.

        Raises
        ------
        DosecalcError
            The computation refused the task.
        Cancelled
            ``cancelled`` returned True; obeyed within a second.
        WorkerFailed
            The computation broke in a way nobody foresaw.
        """

    def prepare(self) -> None:
        """Get ready for the first task."""

    def close(self) -> None:
        """Stop at once; a task that is running ends with WorkerFailed."""


class WorkerFailed(Exception):
    """A computation ended without a result or a reason.

    Parameters
    ----------
    incident : str or None
        Under which the log has more; None when the worker died (crash, out of memory, killed).
    """

    def __init__(self, incident: str | None) -> None:
        super().__init__("the worker died" if incident is None else f"incident {incident}")
        self.incident = incident


def write_result(output: Path, summary: dict[str, Any], files: list[tuple[str, int, str]]) -> None:
    """Write ``result.json``: the summary and the list of result files (kind, beam number or -1, file name)."""
    text = json.dumps({"summary": summary, "files": files}, sort_keys=True)
    (output / RESULT_FILE).write_text(text, encoding="utf-8")


def read_result(output: Path) -> tuple[str, list[tuple[str, int, Path]]]:
    """The summary as JSON, and the result files (kind, beam, path)."""
    content = json.loads((output / RESULT_FILE).read_text(encoding="utf-8"))
    files = [(str(kind), int(beam), output / Path(name).name) for kind, beam, name in content["files"]]
    return json.dumps(content["summary"], sort_keys=True), files
