"""The life of jobs: queued, run one after another, watched, cancelled, and taken up again after a crash."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from dosecalc.errors import Cancelled, DosecalcError, StoreError
from dosecalc_server import index
from dosecalc_server.index import JobRecord
from dosecalc_server.logs import incident
from dosecalc_server.request import JobRequest
from dosecalc_server.status import failure_json, internal_json
from dosecalc_server.store import Store
from dosecalc_server.tasks import Executor, Task, TaskProgress, WorkerFailed, read_result

#: a job in whose course the server or the worker died so often is not tried again
MAX_ATTEMPTS = 3
_WATCH_INTERVAL_S = 0.1
_CANCEL_WAIT_S = 2.0
_MENDING_S = 2.0


@dataclass(frozen=True)
class JobView:
    """A job as it is now.

    Parameters
    ----------
    record : JobRecord
    fraction : float
        0 to 1.
    beams : tuple of (beam number, fraction)
    step : str
    elapsed_s : float
    queue_position : int
        Waiting jobs before it.
    """

    record: JobRecord
    fraction: float = 0.0
    beams: tuple[tuple[int, float], ...] = ()
    step: str = ""
    elapsed_s: float = 0.0
    queue_position: int = 0

    @property
    def remaining_s(self) -> float | None:
        """Time left if it goes on as until now, s; None before a hundredth is done or when it does not run."""
        if self.record.state != index.RUNNING or self.fraction < 0.01:
            return None
        return self.elapsed_s * (1 - self.fraction) / self.fraction


@dataclass
class _Run:
    """What is known of a running job beyond the index."""

    begun: float = field(default_factory=time.monotonic)
    fraction: float = 0.0
    beams: dict[int, float] = field(default_factory=dict)
    step: str = ""
    cancel: bool = False

    def advance(self, progress: TaskProgress) -> None:
        self.fraction = min(1.0, max(self.fraction, progress.fraction))
        self.step = progress.step
        if progress.beam_number is not None:
            before = self.beams.get(progress.beam_number, 0.0)
            self.beams[progress.beam_number] = min(1.0, max(before, progress.beam_fraction))


class JobManager:
    """Queues jobs in the store's index and runs them on executors, one thread for each.

    Parameters
    ----------
    store : Store
    executors : sequence of Executor
    max_queued : int
    log : logger
    """

    def __init__(self, store: Store, executors: Sequence[Executor], max_queued: int, log: FilteringBoundLogger) -> None:
        self._store = store
        self._executors = executors
        self._max_queued = max_queued
        self._log = log
        self._changed = threading.Condition()
        self._runs: dict[str, _Run] = {}
        self._stopping = False
        self._parking = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, with what an earlier server left first."""
        for executor in self._executors:
            thread = threading.Thread(target=self._work, args=(executor,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, drain_s: float) -> None:
        """Begin no more jobs, let running ones finish for so long, then put them back into the queue."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._join(drain_s)
        self._parking = True
        for executor in self._executors:
            executor.close()
        self._join(10.0)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def submit(self, request: JobRequest, job: str) -> JobView:
        """Queue a request under its name; see ``Index.queue_job``."""
        self._store.index.queue_job(job, request.study, request.to_json(), self._max_queued)
        self._notify()
        return self.view(job)

    def view(self, job: str) -> JobView:
        """A job as it is now."""
        with self._changed:
            return self._view(self._store.index.job(job))

    def views(self, before: int | None, limit: int, study: str | None, state: str | None) -> list[JobView]:
        """A page of jobs; see ``Index.jobs``."""
        with self._changed:
            return [self._view(r) for r in self._store.index.jobs(before, limit, study, state)]

    def cancel(self, job: str) -> JobView:
        """Stop a job, waiting until it has stopped; one that is done stays as it is."""
        deadline = time.monotonic() + _CANCEL_WAIT_S
        with self._changed:
            if not self._store.index.cancel_queued(job) and job in self._runs:
                self._runs[job].cancel = True
            self._changed.notify_all()
            while job in self._runs and time.monotonic() < deadline:
                self._changed.wait(0.1)
        return self.view(job)

    def watch(self, job: str, wanted: Callable[[], bool]) -> Iterator[JobView]:
        """The job now and after every change, until it is done or not ``wanted`` any more.

        Raises
        ------
        StoreError
            ``JOB_UNKNOWN``; ``SERVER_STOPPING``.
        """
        told: JobView | None = None
        while wanted():
            view = self.view(job)
            if told is None or _news(view) != _news(told):
                yield view
                told = view
            if view.record.done:
                return
            if self._stopping:
                raise StoreError("SERVER_STOPPING", "The server is shutting down; ask again when it is back.")
            # not woken by every progress of every job: ten messages a second are enough for anybody who watches
            time.sleep(_WATCH_INTERVAL_S)

    def _view(self, record: JobRecord) -> JobView:
        run = self._runs.get(record.id)
        if record.state == index.QUEUED:
            return JobView(record, queue_position=self._store.index.queue_position(record.place))
        if run is None or record.done:
            elapsed = record.ended - record.started if record.ended and record.started else 0.0
            return JobView(record, 1.0 if record.state == index.SUCCEEDED else 0.0, elapsed_s=elapsed)
        return JobView(record, run.fraction, tuple(run.beams.items()), run.step, time.monotonic() - run.begun)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _take_up(self, record: JobRecord) -> None:
        if record.attempts < MAX_ATTEMPTS:
            self._store.index.requeue(record.id, count_attempt=True)
            self._log.info("job queued again", job=record.id, attempts=record.attempts)
        else:
            self._store.index.end_job(record.id, index.FAILED, _crashed())
            self._log.error("job given up", job=record.id, attempts=record.attempts)

    def _work(self, executor: Executor) -> None:
        executor.prepare()
        while not self._stopping:
            try:
                record = self._next()
                if record is not None:
                    self._run_and_forget(record, executor)
            except Exception as error:  # the index itself failed, a full disk perhaps; go on when it is mended
                incident(self._log, error)
                time.sleep(_MENDING_S)

    def _run_and_forget(self, record: JobRecord, executor: Executor) -> None:
        try:
            self._run(record, executor)
        finally:
            with self._changed:
                self._runs.pop(record.id, None)
                self._changed.notify_all()

    def _next(self) -> JobRecord | None:
        with self._changed:
            while not self._stopping:
                for left in self._store.index.running_jobs():
                    if left.id not in self._runs:  # its server died, or its end could not be written down
                        self._take_up(left)
                record = self._store.index.start_next_job()
                if record is not None:
                    self._runs[record.id] = _Run()
                    return record
                self._changed.wait(1.0)
        return None

    def _run(self, record: JobRecord, executor: Executor) -> None:
        run = self._runs[record.id]
        self._log.info("job started", job=record.id, attempt=record.attempts)
        output = self._store.blobs.scratch()
        failure: Exception | None = None
        try:
            self._compute(record, run, executor, output)
        except Exception as error:
            failure = error
        finally:  # before the end is written down: on a full disk that needs the room
            shutil.rmtree(output, ignore_errors=True)
        if failure is None:
            self._log.info("job succeeded", job=record.id, seconds=round(time.monotonic() - run.begun, 3))
        else:
            self._settle(record, failure)

    def _compute(self, record: JobRecord, run: _Run, executor: Executor, output: Path) -> None:
        request = JobRequest.from_json(record.request)
        task = Task(record.id, request, self._store.study_files(request.study), output)
        executor.run(task, run.advance, lambda: run.cancel)
        result, files = read_result(output)
        self._store.complete_job(record.id, result, files)

    def _settle(self, record: JobRecord, failure: Exception) -> None:
        """Write down how a job ended that did not succeed."""
        if isinstance(failure, Cancelled):
            self._end(record, index.CANCELLED, None)
        elif isinstance(failure, WorkerFailed):
            self._broken(record, failure)
        elif isinstance(failure, DosecalcError):
            self._log.info("job refused", job=record.id, reason=failure.reason)
            self._end(record, index.FAILED, failure_json(failure))
        else:
            self._end(record, index.FAILED, internal_json(incident(self._log, failure, job=record.id)))

    def _broken(self, record: JobRecord, failure: WorkerFailed) -> None:
        if self._parking:
            self._store.index.requeue(record.id, count_attempt=False)
            self._log.info("job parked", job=record.id)
        elif failure.incident is not None:
            self._end(record, index.FAILED, internal_json(failure.incident))
        elif self._runs[record.id].cancel:
            self._end(record, index.CANCELLED, None)
        else:
            self._log.error("worker died", job=record.id, attempt=record.attempts)
            self._take_up(record)

    def _end(self, record: JobRecord, state: str, error: str | None) -> None:
        self._store.index.end_job(record.id, state, error)
        self._log.info("job ended", job=record.id, state=state)


def _crashed() -> str:
    return failure_json(
        StoreError("WORKER_DIED", f"The computation ended its process {MAX_ATTEMPTS} times; it may need less memory.")
    )


def _news(view: JobView) -> tuple[object, ...]:
    return view.record.state, view.fraction, view.beams, view.step, view.queue_position
