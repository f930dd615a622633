"""The process that computes: ``python -m dosecalc_server.worker MODULE:FUNCTION``.

It reads tasks as JSON lines from standard input and answers on standard output with lines that hold one of
``progress``, ``error``, ``incident`` or ``done``. ``{"cancel": true}`` stops the task that runs. It ends with its
input, that is with the server, however the server ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import Any, TextIO

from dosecalc import errors
from dosecalc_server.disk import is_full, store_full
from dosecalc_server.logs import incident, make_logger, silence_libraries, tell_of_devices
from dosecalc_server.request import JobRequest
from dosecalc_server.tasks import Computation, Task, TaskProgress

_PROGRESS_INTERVAL_S = 0.05
_OUT_OF_MEMORY = errors.DeviceError(
    "OUT_OF_MEMORY", "The computation needs more memory than there is; choose larger voxels or a smaller box."
)


class _Worker:
    def __init__(self, compute: Computation, read_request: Callable[[str], Any], answers: TextIO) -> None:
        self._compute = compute
        self._read_request = read_request
        self._answers = answers
        self._cancel = threading.Event()
        self._log = make_logger(sys.stderr)
        self._told_at = 0.0
        self._held: TaskProgress | None = None

    def listen(self, tasks: Queue[dict[str, Any]]) -> None:
        """Take lines until the server is gone, then end this process whatever it is doing."""
        for line in sys.stdin:
            message = json.loads(line)
            if "cancel" in message:
                self._cancel.set()
            else:
                self._cancel.clear()
                tasks.put(message)
        os._exit(0)

    def work(self, message: dict[str, Any]) -> None:
        """Compute one task and answer how it ended."""
        files = tuple(Path(f) for f in message["files"])
        task = Task(message["job"], self._read_request(message["request"]), files, Path(message["output"]))
        self._held = None
        try:
            self._compute(task, self._progress, self._cancel.is_set)
        except errors.DosecalcError as error:
            self._answer({"error": _described(error, files)})
        except MemoryError:
            self._answer({"error": _described(_OUT_OF_MEMORY, files)})
        except Exception as error:
            if isinstance(error, OSError) and is_full(error):
                self._answer({"error": _described(store_full(), files)})
                return
            self._answer({"incident": incident(self._log, error, job=task.job)})
        else:
            self._answer({"done": True})

    def _progress(self, progress: TaskProgress) -> None:
        held, self._held = self._held, progress
        if held is not None and held.beam_number != progress.beam_number:
            self._answer({"progress": asdict(held)})  # how far the last beam came, too, is told
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_INTERVAL_S:
            self._told_at, self._held = now, None
            self._answer({"progress": asdict(progress)})

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def _described(error: errors.DosecalcError, files: tuple[Path, ...]) -> dict[str, Any]:
    """An error as plain data; the store's paths become the digests that the client knows."""
    folders = sorted({str(f.parent) + os.sep for f in files})

    def without_folders(text: str) -> str:
        for folder in folders:
            text = text.replace(folder, "")
        return text

    known = next(c.__name__ for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
    where = {k: without_folders(v) for k, v in error.where.items()}
    return {"kind": known, "reason": error.reason, "message": without_folders(error.message), "where": where}


def _private_stdout() -> TextIO:
    """Standard output for answers only: whatever a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _first_to_go() -> None:
    """When memory runs out, the kernel should take this process, not the server."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _load(name: str) -> tuple[Callable[..., None], Callable[[str], Any]]:
    """The computation, and what reads its requests: its module's ``request_from_json``, or else dose requests."""
    name, _, function = name.partition(":")
    module = importlib.import_module(name)
    return getattr(module, function), getattr(module, "request_from_json", JobRequest.from_json)


def main() -> None:
    """Serve tasks until the input ends."""
    answers = _private_stdout()
    silence_libraries()
    tell_of_devices(make_logger(sys.stderr))
    _first_to_go()
    worker = _Worker(*_load(sys.argv[1]), answers)
    tasks: Queue[dict[str, Any]] = Queue()
    threading.Thread(target=worker.listen, args=(tasks,), daemon=True).start()
    while True:
        worker.work(tasks.get())


if __name__ == "__main__":
    main()
