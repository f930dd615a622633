"""A result's files, all of them or none."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosecalc.errors import InputError
from dosecalc.outputs.dvh_records import DvhRecord, dvhs_as_csv, dvhs_as_json

PLAN_FILE, SUMMARY_FILE, PICTURE_FILE = "RD.plan.dcm", "summary.json", "dose.png"
_BEAM_FILE = re.compile(r"RD\.beam-\d+\.dcm")


@dataclass(frozen=True, eq=False)
class OutputContent:
    """What is written for one computation.

    Parameters
    ----------
    rtdose_plan : bytes
        RTDOSE of the plan.
    rtdose_beams : mapping of beam number to bytes
    dvhs : sequence of DvhRecord
    picture : bytes
        PNG.
    summary : mapping
        For ``summary.json``; the names of the files are added.
    """

    rtdose_plan: bytes
    rtdose_beams: Mapping[int, bytes]
    dvhs: Sequence[DvhRecord]
    picture: bytes
    summary: Mapping[str, Any]


def check_writable(directory: Path) -> None:
    """Make the directory and try it, before anything is computed for it.

    Raises
    ------
    InputError
        ``OUTPUT_NOT_WRITABLE`` or ``OUTPUT_DISK_FULL``.
    """
    with _explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".dosecalc-"):
            pass


def write_files(content: OutputContent, directory: Path) -> tuple[Path, ...]:
    """Write all files of a result.

    They are written aside and moved into place when they are complete; what an earlier run left is replaced only then,
    the summary last. Beam doses of an earlier run that this one has not are removed, lest they be taken for its own.

    Returns
    -------
    tuple of Path
        The files, the plan's RTDOSE first.

    Raises
    ------
    InputError
        ``OUTPUT_NOT_WRITABLE`` or ``OUTPUT_DISK_FULL``; earlier results are untouched.
    """
    files: dict[str, bytes] = {PLAN_FILE: content.rtdose_plan}
    files |= {f"RD.beam-{number}.dcm": data for number, data in content.rtdose_beams.items()}
    files["dvh.json"] = dvhs_as_json(content.dvhs).encode()
    files["dvh.csv"] = dvhs_as_csv(content.dvhs).encode()
    files[PICTURE_FILE] = content.picture
    summary = {**content.summary, "files": [*files, SUMMARY_FILE]}
    files[SUMMARY_FILE] = (json.dumps(summary, ensure_ascii=False, indent=1) + "\n").encode()
    write_file_set(files, directory)
    with _explained(directory):
        for old in directory.iterdir():
            if _BEAM_FILE.fullmatch(old.name) and old.name not in files:
                old.unlink()
    return tuple(directory / name for name in files)


def write_file_set(files: Mapping[str, bytes], directory: Path) -> None:
    """Write files of one directory: aside first, then moved into place in their order when all are complete.

    Raises
    ------
    InputError
        ``OUTPUT_NOT_WRITABLE`` or ``OUTPUT_DISK_FULL``; what was there is untouched.
    """
    with _explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=directory, prefix=".dosecalc-"))
        try:
            for name, data in files.items():
                _write_through(aside / name, data)
            for name in files:
                (aside / name).replace(directory / name)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def write_text_file(path: Path, text: str) -> None:
    """Write one text file, complete or not at all.

    Raises
    ------
    InputError
        ``OUTPUT_NOT_WRITABLE`` or ``OUTPUT_DISK_FULL``.
    """
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            _write_through(aside, text.encode())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # a full disk is told here at the latest, not after the old files are gone


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                "OUTPUT_DISK_FULL",
                "The disk is full: nothing was written; make room and run again.",
                directory=directory,
            ) from cause
        raise InputError(
            "OUTPUT_NOT_WRITABLE",
            f"The results cannot be written here ({cause.strerror}); choose another directory.",
            directory=directory,
        ) from cause
