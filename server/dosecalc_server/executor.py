"""Runs tasks in a process of its own, so that a crash, a leak or a stubborn loop cannot take the server down."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import Any

from dosecalc import errors
from dosecalc.devices import SHARE_VARIABLE
from dosecalc_server.tasks import Task, TaskProgress, WorkerFailed

#: what a computation gets to stop by itself, s; then its process is killed, so that a cancel is obeyed within a second
_CANCEL_GRACE_S = 0.6
_POLL_S = 0.05


class WorkerProcess:
    """An executor that keeps one worker process, started when first needed and again whenever it died.

    They speak JSON lines over the worker's standard input and output; see `dosecalc_server.worker`.

    Parameters
    ----------
    computation : str
        ``module:function`` of a `dosecalc_server.tasks.Computation`.
    place : (int, int)
        Which of how many executors this is, from 1: with several GPUs each takes its own.
    """

    def __init__(self, computation: str, place: tuple[int, int] = (1, 1)) -> None:
        self._computation = computation
        self._place = place
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[dict[str, Any] | None] = Queue()
        self._closed = False

    def prepare(self) -> None:
        """Start the worker, so that the first task does not wait for it."""
        with contextlib.suppress(WorkerFailed):
            self._started()

    def run(self, task: Task[Any], progress: Callable[[TaskProgress], None], cancelled: Callable[[], bool]) -> None:
        """See `dosecalc_server.tasks.Executor.run`."""
        process = self._started()
        self._send(process, _task_message(task))
        asked_at: float | None = None
        while True:
            answer = self._answer(process)
            try:
                if answer is not None and _handle(answer, progress):
                    return
            except errors.DeviceError as error:
                if error.reason == "DEVICE_FAILED":
                    self._kill()  # after a fault a CUDA device is lost to the process that met it
                raise
            if asked_at is None and cancelled():
                asked_at = time.monotonic()
                self._send(process, {"cancel": True})
            if asked_at is not None and time.monotonic() - asked_at > _CANCEL_GRACE_S:
                self._kill()
                raise errors.Cancelled()

    def close(self) -> None:
        """Kill the worker."""
        self._closed = True
        self._kill()

    def _started(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise WorkerFailed(None)
            if self._process is None or self._process.poll() is not None:
                self._answers = Queue()
                self._process = _spawn(self._computation, self._place)
                threading.Thread(target=_read, args=(self._process, self._answers), daemon=True).start()
            return self._process

    def _send(self, process: subprocess.Popen[str], message: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except OSError:  # it died; the reader sees the end of its output and says so
            return

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any] | None:
        try:
            answer = self._answers.get(timeout=_POLL_S)
        except Empty:
            return None
        if answer is None:
            process.wait()
            raise WorkerFailed(None)
        return answer

    def _kill(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _spawn(computation: str, place: tuple[int, int]) -> subprocess.Popen[str]:
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, SHARE_VARIABLE: f"{place[0]}/{place[1]}"}
    return subprocess.Popen(
        # -P: whatever lies in the directory where the server was started is no part of it
        [sys.executable, "-P", "-m", "dosecalc_server.worker", computation],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
        start_new_session=True,  # a Ctrl-C at the terminal is the server's to handle
    )


def _read(process: subprocess.Popen[str], answers: Queue[dict[str, Any] | None]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            answers.put(json.loads(line))
    except ValueError:  # it died in the middle of a line
        process.kill()
    finally:
        answers.put(None)


def _task_message(task: Task[Any]) -> dict[str, Any]:
    return {
        "job": task.job,
        "request": task.request.to_json(),
        "files": [str(f) for f in task.files],
        "output": str(task.output),
    }


def _handle(answer: dict[str, Any], progress: Callable[[TaskProgress], None]) -> bool:
    """Act on a worker's answer; whether the task is done."""
    if "progress" in answer:
        progress(TaskProgress(**answer["progress"]))
        return False
    if "error" in answer:
        raise _rebuilt(**answer["error"])
    if "incident" in answer:
        raise WorkerFailed(answer["incident"])
    return True


def _rebuilt(kind: str, reason: str, message: str, where: dict[str, str]) -> errors.DosecalcError:
    cls = getattr(errors, kind, errors.DosecalcError)
    if cls is errors.Cancelled:
        return errors.Cancelled(message)
    error: errors.DosecalcError = cls(reason, message, **where)
    return error
