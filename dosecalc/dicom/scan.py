"""Find DICOM objects by content: in a folder, a zip archive, a file, or a list of these."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
)

from dosecalc.dicom.errors import DicomError, ScanError
from dosecalc.dicom.parse import HEAD_BYTES, looks_like_dicom, parse
from dosecalc.dicom.values import text

#: Varian's private storage class for plans; the content is that of an RT Plan
VARIAN_PLAN_STORAGE = "1.2.246.352.70.1.70"

#: what is used, by SOP class
KINDS = {
    CTImageStorage: "CT",
    EnhancedCTImageStorage: "CT",
    LegacyConvertedEnhancedCTImageStorage: "CT",
    RTStructureSetStorage: "RTSTRUCT",
    RTPlanStorage: "RTPLAN",
    VARIAN_PLAN_STORAGE: "RTPLAN",
    RTDoseStorage: "RTDOSE",
}


@dataclass(frozen=True)
class ScanLimits:
    """How much is read before a scan is refused, so that no input can exhaust the machine.

    Parameters
    ----------
    files : int
        Files or archive members looked at.
    file_bytes : int
        Size of one DICOM file; a larger one is skipped.
    total_bytes : int
        Of all DICOM files together.
    """

    files: int = 50_000
    file_bytes: int = 2 * 2**30
    total_bytes: int = 4 * 2**30


@dataclass(frozen=True, eq=False)
class DicomFile:
    """One object that was found.

    Parameters
    ----------
    name : str
        File name relative to what was scanned, for messages.
    kind : 'CT', 'RTSTRUCT', 'RTPLAN' or 'RTDOSE'
    dataset : pydicom Dataset
        Values still undecoded.
    sha256 : str
        Of the file, hexadecimal.
    """

    name: str
    kind: str
    dataset: Dataset = field(repr=False)
    sha256: str


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left aside, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ScanResult:
    """What a scan found, what it left aside, and which DICOM files are damaged."""

    found: tuple[DicomFile, ...]
    skipped: tuple[SkippedFile, ...]
    problems: tuple[DicomError, ...]


class _Unreadable(Exception):
    """One file cannot be read; the text says why."""


@dataclass(frozen=True)
class _Entry:
    """Something that may be a DICOM file; ``read(n)`` gives its first n bytes."""

    name: str
    size: int
    read: Callable[[int], bytes]


def scan(source: Path | str | Sequence[Path | str], limits: ScanLimits | None = None) -> ScanResult:
    """Find the DICOM objects in a folder (with its subfolders), a zip archive, a file, or a list of these.

    Files are known by their content; names and folders do not matter. Nothing is written to disk. Files are taken in
    the order of their names, so that the same input gives the same result.

    Raises
    ------
    ScanError
        ``PATH_MISSING``, ``ZIP_DAMAGED``, ``SCAN_TOO_LARGE``: nothing can be said about the input as a whole. A single
        bad file does not raise: it is among the skipped or the problems.
    """
    return _Scan(limits or ScanLimits()).run([source] if isinstance(source, (str, Path)) else list(source))


class _Scan:
    def __init__(self, limits: ScanLimits) -> None:
        self.limits = limits
        self.found: list[DicomFile] = []
        self.skipped: list[SkippedFile] = []
        self.problems: list[DicomError] = []
        self.seen: dict[str, str] = {}
        self.total = 0
        self.count = 0

    def run(self, sources: Sequence[Path | str]) -> ScanResult:
        for source in sources:
            for entry in self.entries(Path(source)):
                self.count += 1
                if self.count > self.limits.files:
                    raise _too_large(f"more than {self.limits.files} files")
                self.take(entry)
        return ScanResult(tuple(self.found), tuple(self.skipped), tuple(self.problems))

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append(SkippedFile(name, reason))

    def entries(self, path: Path) -> Iterator[_Entry]:
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            raise ScanError("PATH_MISSING", "The path does not exist or cannot be read.", file=path.name) from None
        if stat.S_ISDIR(mode):
            yield from self.in_folder(path)
        elif stat.S_ISREG(mode) and _is_zip(path):
            yield from self.in_zip(path)
        else:
            yield from self.one_file(path, path.name)

    def in_folder(self, root: Path) -> Iterator[_Entry]:
        def unreadable(error: OSError) -> None:
            self.skip(os.path.relpath(error.filename or root, root), "the folder cannot be read")

        # links to folders are not followed: they may form a circle
        for folder, subfolders, files in os.walk(root, onerror=unreadable, followlinks=False):
            subfolders.sort()
            for name in sorted(files):
                path = Path(folder) / name
                yield from self.one_file(path, _printable(os.path.relpath(path, root)))

    def one_file(self, path: Path, name: str) -> Iterator[_Entry]:
        try:
            info = path.stat()
        except (OSError, ValueError):
            self.skip(name, "a link that leads nowhere" if path.is_symlink() else "it cannot be read")
            return
        if not stat.S_ISREG(info.st_mode):
            self.skip(name, "not a regular file")
            return
        yield _Entry(name, info.st_size, lambda n: _read_file(path, n))

    def in_zip(self, path: Path) -> Iterator[_Entry]:
        try:
            with zipfile.ZipFile(path) as archive:
                for member in sorted(archive.infolist(), key=lambda m: m.filename):
                    if not member.is_dir():
                        yield from self.member(archive, member)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeError):
            raise ScanError(
                "ZIP_DAMAGED", "The zip archive cannot be opened; pack or copy it again.", file=path.name
            ) from None

    def member(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[_Entry]:
        name = _printable(member.filename)
        if member.flag_bits & 1:
            self.skip(name, "encrypted inside the archive")
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            self.skip(name, "compressed by a method other than deflate")
        else:
            yield _Entry(name, member.file_size, lambda n: _read_member(archive, member, n))

    def take(self, entry: _Entry) -> None:
        try:
            self.take_readable(entry)
        except _Unreadable as cause:
            self.skip(entry.name, str(cause))

    def take_readable(self, entry: _Entry) -> None:
        if entry.size == 0:
            return self.skip(entry.name, "empty")
        head = entry.read(HEAD_BYTES)
        if not looks_like_dicom(head, entry.size):
            if head[:4] == b"PK\x03\x04":
                return self.skip(entry.name, "not DICOM (a zip archive; unpack it first)")
            of_zip = entry.name.lower().endswith(".zip")
            return self.skip(entry.name, "not DICOM, nor a zip archive" if of_zip else "not DICOM")
        if entry.size > self.limits.file_bytes:
            return self.skip(entry.name, f"larger than the limit of {self.limits.file_bytes} bytes")
        self.total += entry.size
        if self.total > self.limits.total_bytes:
            raise _too_large(f"more than {self.limits.total_bytes} bytes of DICOM")
        data = entry.read(self.limits.file_bytes)
        try:
            dataset = parse(data, entry.name)
            kind, why_not = _kind(dataset, entry.name)
        except DicomError as problem:
            if head[128:132] != b"DICM":  # without the mark nothing says that it was ever meant to be DICOM
                return self.skip(entry.name, "not DICOM")
            self.problems.append(problem)
            return None
        if not kind:
            return self.skip(entry.name, why_not)
        digest = hashlib.sha256(data).hexdigest()
        if digest in self.seen:
            return self.skip(entry.name, f"an identical copy of {self.seen[digest]}")
        self.seen[digest] = entry.name
        self.found.append(DicomFile(entry.name, kind, dataset, digest))
        return None


def _kind(dataset: Dataset, name: str) -> tuple[str, str]:
    """The kind of object, or ``""`` and the reason why it is not used."""
    sop_class = text(dataset, "SOPClassUID", name, "")
    sop_class = sop_class or text(dataset.file_meta, "MediaStorageSOPClassUID", name, "")
    if sop_class in KINDS:
        return KINDS[sop_class], ""
    if not sop_class:
        # some exporters of plans leave the class out; the modality says the same for these
        modality = text(dataset, "Modality", name, "")
        if modality in ("RTSTRUCT", "RTPLAN", "RTDOSE"):
            return modality, ""
        return "", "DICOM without a SOP class, so of unknown kind"
    if sop_class == MediaStorageDirectoryStorage:
        return "", "a DICOMDIR; files are found by content, it is not needed"
    known = UID(sop_class).name if re.fullmatch(r"[0-9.]{1,64}", sop_class) else "an invalid SOP class"
    return "", f"not used: {known if known != sop_class else 'SOP class ' + sop_class}"


def _too_large(what: str) -> ScanError:
    return ScanError("SCAN_TOO_LARGE", f"The input holds {what}; give one study at a time.")


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")


def _is_zip(path: Path) -> bool:
    try:
        head = _read_file(path, 132)
        return head[:4] == b"PK\x03\x04" or (head[128:132] != b"DICM" and zipfile.is_zipfile(path))
    except _Unreadable:
        return False


def _read_file(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        raise _Unreadable("it cannot be read") from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, count: int) -> bytes:
    try:
        with archive.open(member) as file:
            # never more than the directory of the archive declared, whatever the member inflates to
            return file.read(min(count, member.file_size))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError):
        raise _Unreadable("damaged inside the archive") from None
