"""The store: one directory with everything that a server keeps; it survives ``kill -9`` at any moment."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from dosecalc.errors import InputError, StoreError
from dosecalc_server.blobs import BlobFolder, BlobWriter
from dosecalc_server.config import Limits
from dosecalc_server.disk import disk_errors
from dosecalc_server.index import Artifact, Index, StudyRecord

#: uploads that no study was made of are dropped at the first start after so long
_ABANDONED_UPLOAD_S = 7 * 86400.0


class Store:
    """Blobs by content and the index of studies, jobs and results.

    ::

        DIR/lock           held by the one server that uses the store
        DIR/index.sqlite   studies, jobs, results (SQLite, write-ahead log)
        DIR/blobs/ab/ab…   uploaded objects and result files, named by SHA-256
        DIR/tmp/           what is being written; emptied at every start

    A file is in the index only after it lies whole and flushed under its name, so what the index names can be served.

    Raises
    ------
    StoreError
        ``STORE_IN_USE`` when another server holds it; ``STORE_IO`` when the directory cannot be made or written.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root = root.resolve()
        _make(self.root)
        self._lock = _lock(self.root / "lock")
        # a file that one caller finds unused must not be what another is about to enter into the index
        self._content = threading.Lock()
        try:
            self.blobs = BlobFolder(self.root, limits.min_free_bytes)
            self.index = Index(self.root / "index.sqlite")
            self.blobs.remove(self.index.drop_unused_blobs(_ABANDONED_UPLOAD_S))
        except BaseException:
            os.close(self._lock)
            raise
        self._limits = limits

    def close(self) -> None:
        """Let another server have it."""
        self.index.close()
        os.close(self._lock)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those of these blobs that are not held, each once, in the order given."""
        unique = list(dict.fromkeys(digests))
        held = self.index.blob_sizes(unique)
        return [d for d in unique if d not in held or not self.blobs.path(d).is_file()]

    def begin_blob(self, sha256: str, size_bytes: int) -> BlobWriter:
        """A writer for an upload; `keep` it when it is complete."""
        if not 1 <= size_bytes <= self._limits.max_blob_bytes:
            raise InputError(
                "BLOB_TOO_LARGE" if size_bytes > 0 else "BLOB_EMPTY",
                f"A blob must have from 1 to {self._limits.max_blob_bytes} bytes, not {size_bytes}.",
                field="size_bytes",
            )
        return self.blobs.writer(sha256, size_bytes)

    def keep(self, writer: BlobWriter) -> None:
        """Finish a blob and enter it into the index."""
        with self._content:
            writer.finish()
            self.index.add_blob(writer.sha256, writer.size_bytes)

    def create_study(self, digests: Sequence[str]) -> StudyRecord:
        """The study that is this set of blobs.

        Raises
        ------
        InputError
            ``STUDY_EMPTY``, ``STUDY_TOO_LARGE``.
        StoreError
            ``BLOB_NOT_UPLOADED``.
        """
        unique = sorted(set(digests))
        if not unique:
            raise InputError("STUDY_EMPTY", "A study needs at least one blob.", field="sha256")
        total = sum(self.index.blob_sizes(unique).values())
        if len(unique) > self._limits.max_study_blobs or total > self._limits.max_study_bytes:
            raise InputError(
                "STUDY_TOO_LARGE",
                f"A study may have {self._limits.max_study_blobs} blobs and {self._limits.max_study_bytes} bytes.",
                field="sha256",
            )
        return self.index.add_study(study_hash(unique), unique)

    def study_files(self, study: str) -> tuple[Path, ...]:
        """The files of a study, checked against their digests.

        Raises
        ------
        StoreError
            ``STUDY_UNKNOWN``, ``OBJECT_MISSING``, ``OBJECT_CORRUPT``.
        """
        return tuple(self.blobs.require(sha256, size) for sha256, size in self.index.study_blobs(study))

    def remove_study(self, study: str) -> None:
        """Forget a study, its finished jobs and what only they use."""
        with self._content:
            self.blobs.remove(self.index.remove_study(study))

    def remove_job(self, job: str) -> None:
        """Forget a finished job and its results."""
        with self._content:
            self.blobs.remove(self.index.remove_job(job))

    def complete_job(self, job: str, result: str, files: Iterable[tuple[str, int, Path]]) -> None:
        """Move a job's result files (kind, beam, path) in and mark it as succeeded."""
        with self._content:
            artifacts = [Artifact(kind, beam, *self.blobs.adopt(file)) for kind, beam, file in files]
            self.index.complete_job(job, result, artifacts)

    def artifact(self, job: str, kind: str, beam: int) -> tuple[Artifact, Path]:
        """A result file of a job, checked.

        Raises
        ------
        StoreError
            ``RESULT_UNKNOWN`` when the job has no such, ``OBJECT_MISSING`` or ``OBJECT_CORRUPT`` when the disk lost it.
        """
        found = self.index.artifact(job, kind, beam)
        if found is None:
            raise StoreError(
                "RESULT_UNKNOWN", "The job has no such result.", kind=kind, beam=beam if beam >= 0 else None
            )
        try:
            return found, self.blobs.require(found.sha256, found.size_bytes)
        except StoreError as lost:
            message = "The server's disk lost a result; delete the job and ask for it again."
            raise StoreError(lost.reason, message, **lost.where) from None


def study_hash(digests: Iterable[str]) -> str:
    """Name of the study that is this set of blobs: SHA-256 over their sorted digests, as hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(set(digests))).encode()).hexdigest()


def _make(root: Path) -> None:
    """The store's directory, or a word to the operator why it cannot be one."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as cause:
        raise StoreError(
            "STORE_IO",
            f"The store cannot be kept in this directory ({cause.strerror}); choose one that the server's account may "
            "make and write (--store).",
            directory=root,
        ) from cause


def _lock(file: Path) -> int:
    with disk_errors():
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreError(
            "STORE_IN_USE", "Another server uses this store; stop it or choose another directory.", store=file.parent
        ) from None
    return descriptor
