"""Durable files: what is named has been written whole and flushed to the disk."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dosecalc.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def store_full() -> StoreError:
    """The disk has no room."""
    return StoreError("STORE_FULL", "The server's disk is full; free space there or delete studies and jobs.")


def is_full(error: OSError) -> bool:
    """Whether the operation failed for want of room."""
    return error.errno in _FULL


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what the disk refuses into a StoreError.

    Raises
    ------
    StoreError
        ``STORE_FULL`` when there is no room, ``STORE_IO`` when the disk fails in another way.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise store_full() from None
        name = errno.errorcode.get(error.errno or 0, "unknown")
        raise StoreError("STORE_IO", f"The server's disk refused an operation ({name}).", errno=name) from error
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise store_full() from None
        raise StoreError("STORE_IO", "The server's index cannot be read or written.") from error
    except sqlite3.DatabaseError as error:
        raise StoreError("STORE_CORRUPT", "The server's index is damaged; restore it from a backup.") from error


def sync(path: Path) -> None:
    """Make a file's content, or the renames in a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
