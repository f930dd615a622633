"""Files by content: one folder in which a file's name is the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from dosecalc.errors import InputError, StoreError
from dosecalc_server.disk import disk_errors, store_full, sync

_READ_BYTES = 1 << 20


class BlobFolder:
    """Blobs below a folder.

    Nothing of a client's choosing becomes a path: names are made from digests. A blob appears under its name by a
    rename, after it was written whole, checked and flushed, so that a crash leaves it either absent or right.

    Parameters
    ----------
    root : Path
        Holds ``blobs/`` and ``tmp/``, which are made; leftovers in ``tmp/`` are removed.
    min_free_bytes : int
        What must stay free on the disk.
    """

    def __init__(self, root: Path, min_free_bytes: int) -> None:
        self._blobs = root / "blobs"
        self._tmp = root / "tmp"
        self._min_free_bytes = min_free_bytes
        with disk_errors():
            shutil.rmtree(self._tmp, ignore_errors=True)
            for folder in (self._blobs, self._tmp):
                folder.mkdir(mode=0o700, exist_ok=True)  # patient data: for nobody but the server's own account

    def path(self, sha256: str) -> Path:
        """Where the blob of this digest (64 hexadecimal digits) lies, whether or not it does."""
        return self._blobs / sha256[:2] / sha256

    def scratch(self) -> Path:
        """A new empty folder on the same disk; removed at the next start if not before."""
        folder = self._tmp / uuid.uuid4().hex
        with disk_errors():
            folder.mkdir()
        return folder

    def writer(self, sha256: str, size_bytes: int) -> BlobWriter:
        """Begin a blob whose digest and length are known.

        Raises
        ------
        StoreError
            ``STORE_FULL`` when it would leave less than the minimum free.
        """
        self._require_room(size_bytes)
        return BlobWriter(self, self._tmp / uuid.uuid4().hex, sha256, size_bytes)

    def adopt(self, file: Path) -> tuple[str, int]:
        """Move a finished file in; its digest and length."""
        with disk_errors():
            sha256, size = digest(file)
            sync(file)
            self._place(file, sha256)
        return sha256, size

    def require(self, sha256: str, size_bytes: int) -> Path:
        """The path of a blob that is there and is what its name says.

        Raises
        ------
        StoreError
            ``OBJECT_MISSING`` or ``OBJECT_CORRUPT``: the disk lost what had been stored.
        """
        path = self.path(sha256)
        with disk_errors():
            if not path.is_file():
                raise StoreError(
                    "OBJECT_MISSING", "An object is gone from the server's store; send it again.", file=sha256
                )
            if digest(path) != (sha256, size_bytes):
                path.unlink(missing_ok=True)  # so that it counts as missing and can be sent again
                raise StoreError(
                    "OBJECT_CORRUPT", "An object in the server's store had changed on disk; send it again.", file=sha256
                )
        return path

    def remove(self, digests: Iterable[str]) -> None:
        """Delete blobs; those that are not there are fine."""
        with disk_errors():
            for sha256 in digests:
                self.path(sha256).unlink(missing_ok=True)

    def _place(self, file: Path, sha256: str) -> None:
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True)
        os.replace(file, target)
        sync(target.parent)

    def _require_room(self, size_bytes: int) -> None:
        with disk_errors():
            if shutil.disk_usage(self._tmp).free - size_bytes < self._min_free_bytes:
                raise store_full()


class BlobWriter:
    """A blob that is being written; as a context manager it leaves nothing behind unless `finish` was called."""

    def __init__(self, folder: BlobFolder, temporary: Path, sha256: str, size_bytes: int) -> None:
        self._folder = folder
        self._temporary = temporary
        self._hash = hashlib.sha256()
        self.sha256 = sha256
        self.size_bytes = size_bytes
        self.written_bytes = 0
        with disk_errors():
            self._file = temporary.open("xb")

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        with disk_errors():
            self._file.write(data)
        self._hash.update(data)
        self.written_bytes += len(data)

    def finish(self) -> None:
        """Give the blob its name.

        Raises
        ------
        InputError
            ``BLOB_CHECKSUM`` when the bytes are not those that were announced.
        """
        if self.written_bytes != self.size_bytes or self._hash.hexdigest() != self.sha256:
            raise InputError(
                "BLOB_CHECKSUM",
                "The bytes of a blob do not have the SHA-256 announced; send it again.",
                file=self.sha256,
            )
        with disk_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._folder._place(self._temporary, self.sha256)

    def discard(self) -> None:
        """Leave nothing of it; harmless after `finish`."""
        with disk_errors():
            self._file.close()
            self._temporary.unlink(missing_ok=True)


def digest(file: Path) -> tuple[str, int]:
    """SHA-256 of a file as hexadecimal digits, and its length in bytes."""
    sha256, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while data := stream.read(_READ_BYTES):
            sha256.update(data)
            size += len(data)
    return sha256.hexdigest(), size
