"""Bytes in pieces: what both clients need to send files and to put downloads together."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from dosecalc_api.errors import DosecalcApiError
from dosecalc_api.v1 import dose_pb2, study_pb2

#: length of the chunks of an upload, where the server takes as much
_CHUNK_BYTES = 512 * 1024

#: a file, a folder (all files below it), a zip archive (all its members), or the bytes of one object
Source = str | Path | bytes


@dataclass(frozen=True)
class Blob:
    """One object to send.

    Parameters
    ----------
    sha256 : bytes
        Its digest, 32 bytes.
    size_bytes : int
    source : Path, ZipFile or bytes
        The file, or the archive that it is in, or its content.
    member : str
        Its name in the archive.
    """

    sha256: bytes
    size_bytes: int
    source: Path | zipfile.ZipFile | bytes
    member: str = ""

    @property
    def label(self) -> str:
        """Where it came from, for a person; never sent."""
        if isinstance(self.source, zipfile.ZipFile):
            return f"{self.source.filename}:{self.member}"
        return "bytes" if isinstance(self.source, bytes) else str(self.source)

    def read(self) -> bytes:
        """Its content."""
        if isinstance(self.source, bytes):
            return self.source
        if isinstance(self.source, zipfile.ZipFile):
            return self.source.read(self.member)
        return self.source.read_bytes()

    def chunks(self, limit_bytes: int) -> Iterator[study_pb2.UploadBlobsRequest]:
        """Its content as upload messages with at most so many bytes in each."""
        content, step = self.read(), min(_CHUNK_BYTES, limit_bytes)
        for offset in range(0, self.size_bytes, step):
            data = content[offset : offset + step]
            yield study_pb2.UploadBlobsRequest(
                sha256=self.sha256,
                size_bytes=self.size_bytes,
                offset_bytes=offset,
                data=data,
                crc32=zlib.crc32(data),
            )


def gather(sources: Iterable[Source]) -> list[Blob]:
    """All objects of the sources, each content once; empty files are left out.

    Raises
    ------
    DosecalcApiError
        ``FILE_MISSING``, or ``STUDY_EMPTY`` when nothing is left.
    """
    blobs = [blob for source in sources for blob in _blobs_of(source)]
    unique = list({blob.sha256: blob for blob in blobs if blob.size_bytes}.values())
    if not unique:
        raise DosecalcApiError("STUDY_EMPTY", "There is no file to send.", grpc.StatusCode.INVALID_ARGUMENT)
    return unique


def refs(blobs: Sequence[Blob]) -> list[study_pb2.BlobRef]:
    """The objects as FindMissingBlobs asks about them."""
    return [study_pb2.BlobRef(sha256=b.sha256, size_bytes=b.size_bytes) for b in blobs]


class Download:
    """Puts a dose together from its pieces, across interruptions.

    Parameters
    ----------
    job : str
        ``jobs/…``.
    beam : int or None
    format : DoseFormat
    """

    def __init__(self, job: str, beam: int | None, format: dose_pb2.DoseFormat) -> None:
        self._request = dose_pb2.GetDoseRequest(job=job, beam_number=beam, format=format)
        self._data = bytearray()
        self.header: dose_pb2.DoseHeader | None = None

    def request(self) -> dose_pb2.GetDoseRequest:
        """What to ask for next: everything from the first byte that has not come."""
        self._request.offset_bytes = len(self._data)
        return self._request

    def take(self, response: dose_pb2.GetDoseResponse) -> None:
        """Add a piece.

        Raises
        ------
        DosecalcApiError
            ``DOWNLOAD_CORRUPT``.
        """
        if response.HasField("header"):
            if self.header is not None and self.header.sha256 != response.header.sha256:
                raise _corrupt("The result changed during the download; download it again.")
            self.header = response.header
            return
        chunk = response.chunk
        if chunk.offset_bytes != len(self._data) or zlib.crc32(chunk.data) != chunk.crc32:
            raise _corrupt("A piece of the download is out of place or damaged; download it again.")
        self._data += chunk.data

    def content(self) -> bytes:
        """The whole, checked.

        Raises
        ------
        DosecalcApiError
            ``DOWNLOAD_CORRUPT``.
        """
        data = bytes(self._data)
        if self.header is None or hashlib.sha256(data).digest() != self.header.sha256:
            raise _corrupt("The download does not have the SHA-256 announced; download it again.")
        return data


def _corrupt(message: str) -> DosecalcApiError:
    return DosecalcApiError("DOWNLOAD_CORRUPT", message, grpc.StatusCode.DATA_LOSS)


def _blobs_of(source: Source) -> Iterator[Blob]:
    if isinstance(source, bytes):
        yield Blob(hashlib.sha256(source).digest(), len(source), source)
        return
    path = Path(source)
    if not path.exists():
        raise DosecalcApiError("FILE_MISSING", f"There is no {path}.", grpc.StatusCode.NOT_FOUND, {"file": str(path)})
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if zipfile.is_zipfile(file):
            yield from _blobs_of_archive(file)
        else:
            content = file.read_bytes()
            yield Blob(hashlib.sha256(content).digest(), len(content), file)


def _blobs_of_archive(file: Path) -> Iterator[Blob]:
    archive = zipfile.ZipFile(file)  # stays open for the upload, and closes with the last blob that is in it
    for member in archive.infolist():
        if not member.is_dir():
            content = archive.read(member)
            yield Blob(hashlib.sha256(content).digest(), len(content), archive, member.filename)
