"""Takes the chunks of an upload stream apart and puts blobs together."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator

from dosecalc.errors import InputError
from dosecalc_api.v1 import study_pb2
from dosecalc_server.blobs import BlobWriter
from dosecalc_server.config import Limits
from dosecalc_server.convert import sha256_from_wire
from dosecalc_server.store import Store


def receive(chunks: Iterator[study_pb2.UploadBlobsRequest], store: Store, limits: Limits) -> tuple[int, int]:
    """Store the blobs of a stream, one after the other; their number and bytes.

    Whatever ends the stream early, complete blobs are kept and the incomplete one leaves nothing behind.

    Raises
    ------
    InputError
        ``CHUNK_CHECKSUM``, ``CHUNK_SIZE``, ``CHUNK_ORDER``, ``BLOB_CHECKSUM``, ``BLOB_INCOMPLETE``,
        ``BLOB_TOO_LARGE``.
    StoreError
        ``STORE_FULL``.
    """
    blobs, size_bytes = 0, 0
    writer: BlobWriter | None = None
    try:
        for chunk in chunks:
            _check(chunk, limits)
            writer = writer or store.begin_blob(sha256_from_wire(chunk.sha256, "sha256"), chunk.size_bytes)
            _check_order(chunk, writer)
            writer.append(chunk.data)
            if writer.written_bytes == writer.size_bytes:
                store.keep(writer)
                blobs, size_bytes, writer = blobs + 1, size_bytes + writer.size_bytes, None
        if writer is not None:
            raise InputError(
                "BLOB_INCOMPLETE", "The stream ended within a blob; send that blob again.", file=writer.sha256
            )
    finally:
        if writer is not None:
            writer.discard()
    return blobs, size_bytes


def _check(chunk: study_pb2.UploadBlobsRequest, limits: Limits) -> None:
    if not 1 <= len(chunk.data) <= limits.max_chunk_bytes:
        raise InputError(
            "CHUNK_SIZE",
            f"A chunk must have from 1 to {limits.max_chunk_bytes} bytes, not {len(chunk.data)}.",
            field="data",
        )
    if zlib.crc32(chunk.data) != chunk.crc32:
        raise InputError(
            "CHUNK_CHECKSUM", "A chunk does not have the CRC-32 announced; send its blob again.", field="crc32"
        )


def _check_order(chunk: study_pb2.UploadBlobsRequest, writer: BlobWriter) -> None:
    same = chunk.sha256.hex() == writer.sha256 and chunk.size_bytes == writer.size_bytes
    if not same or chunk.offset_bytes != writer.written_bytes:
        raise InputError(
            "CHUNK_ORDER",
            f"A chunk at byte {chunk.offset_bytes} came where the one at byte {writer.written_bytes} of the same blob "
            "belongs; send the chunks of a blob in order and blobs one after the other.",
            field="offset_bytes",
        )
    if writer.written_bytes + len(chunk.data) > writer.size_bytes:
        raise InputError("CHUNK_ORDER", "A blob is longer than its size announced.", field="size_bytes")


class IdleWatch:
    """Calls ``expire`` when nobody called `alive` for some time; ends with `close`."""

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self._seconds, self._expire = seconds, expire
        self._awake = threading.Event()
        self._closed = False
        self.expired = False
        threading.Thread(target=self._watch, daemon=True).start()

    def alive(self) -> None:
        """There was traffic."""
        self._awake.set()

    def close(self) -> None:
        """Watch no longer."""
        self._closed = True
        self._awake.set()

    def _watch(self) -> None:
        while self._awake.wait(self._seconds) and not self._closed:
            self._awake.clear()
        if not self._closed:
            self.expired = True
            self._expire()


def until_idle(
    chunks: Iterator[study_pb2.UploadBlobsRequest], seconds: float, expire: Callable[[], object]
) -> Iterator[study_pb2.UploadBlobsRequest]:
    """The chunks, with ``expire`` called when the next one is so long in coming: a silent stream holds a thread."""
    watch = IdleWatch(seconds, expire)
    try:
        for chunk in chunks:
            watch.alive()
            yield chunk
    finally:
        watch.close()
