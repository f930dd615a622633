"""The index of the store: which blobs, studies, jobs and results there are. SQLite with a write-ahead log."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dosecalc.errors import StoreError
from dosecalc_server.disk import disk_errors

_VERSION = 1

_SCHEMA = """
CREATE TABLE blobs (
    sha256 TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    stored REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE studies (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL
);
CREATE TABLE study_blobs (
    study TEXT NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (study, sha256)
) WITHOUT ROWID;
CREATE INDEX study_blobs_by_blob ON study_blobs (sha256);
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    study TEXT NOT NULL REFERENCES studies (id),
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    place INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    error TEXT,
    result TEXT
);
CREATE INDEX jobs_by_state ON jobs (state, place);
CREATE INDEX jobs_by_study ON jobs (study);
CREATE TABLE artifacts (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    beam INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (job, kind, beam)
) WITHOUT ROWID;
CREATE INDEX artifacts_by_blob ON artifacts (sha256);
"""

_UNUSED = "sha256 NOT IN (SELECT sha256 FROM study_blobs) AND sha256 NOT IN (SELECT sha256 FROM artifacts)"

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"
DONE = (SUCCEEDED, FAILED, CANCELLED)

#: `Artifact.beam` of what belongs to the whole plan
WHOLE_PLAN = -1


@dataclass(frozen=True)
class StudyRecord:
    """A study; ``created`` is in seconds since 1970 UTC."""

    id: str
    sequence: int
    created: float
    blobs: int
    size_bytes: int


@dataclass(frozen=True)
class JobRecord:
    """A job as the index has it; ``request``, ``error`` and ``result`` are JSON, times seconds since 1970 UTC."""

    id: str
    sequence: int
    study: str
    request: str
    state: str
    place: int
    attempts: int
    created: float
    started: float | None
    ended: float | None
    error: str | None
    result: str | None

    @property
    def done(self) -> bool:
        """Whether it will not change by itself any more."""
        return self.state in DONE


@dataclass(frozen=True)
class Artifact:
    """A file of a job's result.

    Parameters
    ----------
    kind : 'rtdose', 'raw' or 'dvhs'
    beam : int
        DICOM Beam Number, or `WHOLE_PLAN`.
    sha256 : str
        Digest of its blob.
    size_bytes : int
    """

    kind: str
    beam: int
    sha256: str
    size_bytes: int


class Index:
    """Tables in ``index.sqlite``; safe to call from any thread. Every method is one transaction, durable on return."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        with disk_errors():
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
        self._create_tables()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    def _create_tables(self) -> None:
        with self._transaction() as db:
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
        if found not in (0, _VERSION):
            raise StoreError(
                "STORE_VERSION",
                f"The store was written by another version of the server (layout {found}, this one has {_VERSION}); "
                "use that version, or an empty directory.",
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, disk_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # blobs

    def add_blob(self, sha256: str, size_bytes: int) -> None:
        """Record a blob that lies in the folder."""
        with self._transaction() as db:
            _insert_blob(db, sha256, size_bytes)

    def blob_sizes(self, digests: Sequence[str]) -> dict[str, int]:
        """Lengths in bytes of those of these blobs that are held."""
        sizes: dict[str, int] = {}
        with self._transaction() as db:
            for sha256 in digests:
                row = db.execute("SELECT size FROM blobs WHERE sha256 = ?", (sha256,)).fetchone()
                if row:
                    sizes[sha256] = int(row[0])
        return sizes

    def forget_blob(self, sha256: str) -> None:
        """Drop an unused blob from the index; a used one stays."""
        with self._transaction() as db:
            db.execute(f"DELETE FROM blobs WHERE sha256 = ? AND {_UNUSED}", (sha256,))

    def drop_unused_blobs(self, older_than_s: float) -> list[str]:
        """Forget blobs that no study and no result uses; their digests."""
        with self._transaction() as db:
            return _drop_unused(db, time.time() - older_than_s)

    # studies

    def add_study(self, study: str, digests: Sequence[str]) -> StudyRecord:
        """Record a study of blobs that are held; one that exists stays as it is.

        Raises
        ------
        StoreError
            ``BLOB_NOT_UPLOADED`` when one of them is not held.
        """
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM studies WHERE id = ?", (study,)).fetchone():
                _require_blobs(db, digests)
                db.execute("INSERT INTO studies (id, created) VALUES (?, ?)", (study, time.time()))
                db.executemany("INSERT INTO study_blobs VALUES (?, ?)", [(study, d) for d in digests])
        return self.study(study)

    def study(self, study: str) -> StudyRecord:
        """One study.

        Raises
        ------
        StoreError
            ``STUDY_UNKNOWN``.
        """
        with self._transaction() as db:
            row = db.execute(f"{_SELECT_STUDY} WHERE s.id = ? GROUP BY s.id", (study,)).fetchone()
        if row is None:
            raise StoreError("STUDY_UNKNOWN", "There is no such study; upload it and call CreateStudy.", study=study)
        return StudyRecord(*row)

    def studies(self, before: int | None, limit: int) -> list[StudyRecord]:
        """Studies with a sequence below ``before`` (None: all), newest first."""
        with self._transaction() as db:
            rows = db.execute(
                f"{_SELECT_STUDY} WHERE (?1 IS NULL OR s.sequence < ?1) "
                "GROUP BY s.id ORDER BY s.sequence DESC LIMIT ?2",
                (before, limit),
            ).fetchall()
        return [StudyRecord(*row) for row in rows]

    def study_blobs(self, study: str) -> list[tuple[str, int]]:
        """Digests and lengths in bytes of a study's blobs, by digest."""
        self.study(study)
        with self._transaction() as db:
            query = "SELECT sha256, size FROM study_blobs JOIN blobs USING (sha256) WHERE study = ? ORDER BY sha256"
            return [(str(s), int(n)) for s, n in db.execute(query, (study,))]

    def remove_study(self, study: str) -> list[str]:
        """Forget a study and its finished jobs; digests of blobs that nothing uses any more.

        Raises
        ------
        StoreError
            ``STUDY_UNKNOWN``, or ``STUDY_IN_USE`` while one of its jobs is not done.
        """
        self.study(study)
        with self._transaction() as db:
            busy = "SELECT 1 FROM jobs WHERE study = ? AND state IN ('QUEUED', 'RUNNING')"
            if db.execute(busy, (study,)).fetchone():
                raise StoreError("STUDY_IN_USE", "A job of this study is not done; cancel it first.", study=study)
            candidates = [r[0] for r in db.execute("SELECT sha256 FROM study_blobs WHERE study = ?", (study,))]
            of_results = "SELECT sha256 FROM artifacts JOIN jobs ON jobs.id = job WHERE study = ?"
            candidates += [r[0] for r in db.execute(of_results, (study,))]
            db.execute("DELETE FROM jobs WHERE study = ?", (study,))
            db.execute("DELETE FROM studies WHERE id = ?", (study,))
            return _drop_if_unused(db, candidates)

    # jobs

    def queue_job(self, job: str, study: str, request: str, max_queued: int) -> JobRecord:
        """Queue a new job, or one again that failed or was cancelled; any other stays as it is.

        Raises
        ------
        StoreError
            ``QUEUE_FULL``.
        """
        with self._transaction() as db:
            row = db.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
            if row is None or row[0] in (FAILED, CANCELLED):
                waiting = int(db.execute("SELECT count(*) FROM jobs WHERE state = 'QUEUED'").fetchone()[0])
                if waiting >= max_queued:
                    raise StoreError("QUEUE_FULL", f"{waiting} jobs are waiting already; try again later.")
                _queue(db, job, study, request, new=row is None)
        return self.job(job)

    def job(self, job: str) -> JobRecord:
        """One job.

        Raises
        ------
        StoreError
            ``JOB_UNKNOWN``.
        """
        with self._transaction() as db:
            row = db.execute(f"{_SELECT_JOB} WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise StoreError("JOB_UNKNOWN", "There is no such job; call CreateJob.", job=job)
        return JobRecord(*row)

    def jobs(self, before: int | None, limit: int, study: str | None, state: str | None) -> list[JobRecord]:
        """Jobs with a sequence below ``before`` (None: all), of a study and in a state (None: any), newest first."""
        with self._transaction() as db:
            rows = db.execute(
                f"{_SELECT_JOB} WHERE (?1 IS NULL OR sequence < ?1) AND (?2 IS NULL OR study = ?2) "
                "AND (?3 IS NULL OR state = ?3) ORDER BY sequence DESC LIMIT ?4",
                (before, study, state, limit),
            ).fetchall()
        return [JobRecord(*row) for row in rows]

    def queue_position(self, place: int) -> int:
        """Number of waiting jobs that come before this place."""
        with self._transaction() as db:
            query = "SELECT count(*) FROM jobs WHERE state = 'QUEUED' AND place < ?"
            return int(db.execute(query, (place,)).fetchone()[0])

    def start_next_job(self) -> JobRecord | None:
        """Mark the first waiting job as running and return it; None when none waits."""
        with self._transaction() as db:
            row = db.execute("SELECT id FROM jobs WHERE state = 'QUEUED' ORDER BY place LIMIT 1").fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'RUNNING', started = ?, attempts = attempts + 1 WHERE id = ?",
                (time.time(), row[0]),
            )
        return self.job(row[0])

    def requeue(self, job: str, *, count_attempt: bool) -> None:
        """Put a running job back where it was in the queue."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'QUEUED', started = NULL, attempts = attempts - ? "
                "WHERE id = ? AND state = 'RUNNING'",
                (0 if count_attempt else 1, job),
            )

    def running_jobs(self) -> list[JobRecord]:
        """Jobs marked as running."""
        with self._transaction() as db:
            return [JobRecord(*row) for row in db.execute(f"{_SELECT_JOB} WHERE state = 'RUNNING' ORDER BY place")]

    def cancel_queued(self, job: str) -> bool:
        """Cancel a job if it waits; whether it did."""
        with self._transaction() as db:
            query = "UPDATE jobs SET state = 'CANCELLED', ended = ? WHERE id = ? AND state = 'QUEUED'"
            return db.execute(query, (time.time(), job)).rowcount == 1

    def end_job(self, job: str, state: str, error: str | None = None) -> None:
        """Mark a job as failed or cancelled."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = ?, ended = ?, error = ? WHERE id = ?", (state, time.time(), error, job))

    def complete_job(self, job: str, result: str, artifacts: Sequence[Artifact]) -> None:
        """Mark a job as succeeded with its result files, all of which lie in the folder."""
        with self._transaction() as db:
            for a in artifacts:
                _insert_blob(db, a.sha256, a.size_bytes)
                db.execute("INSERT INTO artifacts VALUES (?, ?, ?, ?)", (job, a.kind, a.beam, a.sha256))
            query = "UPDATE jobs SET state = 'SUCCEEDED', ended = ?, error = NULL, result = ? WHERE id = ?"
            db.execute(query, (time.time(), result, job))

    def artifact(self, job: str, kind: str, beam: int) -> Artifact | None:
        """A file of a job's result; None when there is no such."""
        with self._transaction() as db:
            query = (
                "SELECT kind, beam, sha256, size FROM artifacts JOIN blobs USING (sha256) "
                "WHERE job = ? AND kind = ? AND beam = ?"
            )
            row = db.execute(query, (job, kind, beam)).fetchone()
        return Artifact(*row) if row else None

    def remove_job(self, job: str) -> list[str]:
        """Forget a job that is done; digests of blobs that nothing uses any more.

        Raises
        ------
        StoreError
            ``JOB_UNKNOWN``, or ``JOB_NOT_DONE``.
        """
        if not self.job(job).done:
            raise StoreError("JOB_NOT_DONE", "The job is not done; cancel it first.", job=job)
        with self._transaction() as db:
            candidates = [r[0] for r in db.execute("SELECT sha256 FROM artifacts WHERE job = ?", (job,))]
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))
            return _drop_if_unused(db, candidates)


_SELECT_STUDY = (
    "SELECT s.id, s.sequence, s.created, count(b.sha256), sum(b.size) FROM studies s "
    "JOIN study_blobs x ON x.study = s.id JOIN blobs b ON b.sha256 = x.sha256"
)
_SELECT_JOB = (
    "SELECT id, sequence, study, request, state, place, attempts, created, started, ended, error, result FROM jobs"
)


def _insert_blob(db: sqlite3.Connection, sha256: str, size_bytes: int) -> None:
    db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (sha256, size_bytes, time.time()))


def _require_blobs(db: sqlite3.Connection, digests: Sequence[str]) -> None:
    for sha256 in digests:
        if not db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", (sha256,)).fetchone():
            raise StoreError(
                "BLOB_NOT_UPLOADED", "An object of the study is not here; upload it with UploadBlobs.", file=sha256
            )


def _queue(db: sqlite3.Connection, job: str, study: str, request: str, *, new: bool) -> None:
    place = int(db.execute("SELECT coalesce(max(place), 0) + 1 FROM jobs").fetchone()[0])
    if new:
        db.execute(
            "INSERT INTO jobs (id, study, request, state, place, created) VALUES (?, ?, ?, 'QUEUED', ?, ?)",
            (job, study, request, place, time.time()),
        )
    else:
        db.execute(
            "UPDATE jobs SET state = 'QUEUED', place = ?, attempts = 0, request = ?, started = NULL, ended = NULL, "
            "error = NULL WHERE id = ?",
            (place, request, job),
        )


def _drop_unused(db: sqlite3.Connection, stored_before: float) -> list[str]:
    query = f"DELETE FROM blobs WHERE stored < ? AND {_UNUSED} RETURNING sha256"
    return [str(r[0]) for r in db.execute(query, (stored_before,)).fetchall()]


def _drop_if_unused(db: sqlite3.Connection, digests: Sequence[str]) -> list[str]:
    query = f"DELETE FROM blobs WHERE sha256 = ? AND {_UNUSED} RETURNING sha256"
    return [str(row[0]) for d in digests for row in db.execute(query, (d,)).fetchall()]
