"""The comparison service: finds the doses, has a worker compare them, and sends what it found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from dosecalc.errors import Cancelled, StoreError
from dosecalc_api.v1 import compare_pb2, compare_pb2_grpc
from dosecalc_server import convert, index
from dosecalc_server.compare_request import DIFFERENCE, PICTURE, ComparisonRequest, DoseFile, gamma_file
from dosecalc_server.config import Limits
from dosecalc_server.convert_compare import comparison_to_wire, inline_grid, options_from_wire
from dosecalc_server.disk import disk_errors
from dosecalc_server.index import WHOLE_PLAN
from dosecalc_server.status import RequestError
from dosecalc_server.store import Store
from dosecalc_server.tasks import Executor, Task, TaskProgress, WorkerFailed, read_result

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.1


class CompareService(compare_pb2_grpc.CompareServiceServicer):
    """Comparisons, one at a time on a worker of their own, so that they neither wait for jobs nor hold them up.

    Parameters
    ----------
    store : Store
    executor : Executor
        Of `dosecalc_server.comparison.compare_doses`.
    limits : Limits
    devices : tuple of str
        That requests may name.
    """

    def __init__(self, store: Store, executor: Executor, limits: Limits, devices: tuple[str, ...]) -> None:
        self._store, self._executor, self._limits, self._devices = store, executor, limits, devices
        self._turn = threading.Lock()
        self._waiting = threading.BoundedSemaphore(limits.max_queued_comparisons + 1)

    def Compare(
        self, request: compare_pb2.CompareRequest, context: grpc.ServicerContext
    ) -> Iterator[compare_pb2.CompareResponse]:
        """See compare.proto."""
        with self._scratch() as inputs, self._scratch() as output:
            wanted = self._collect(request, inputs)
            files = tuple(sorted(inputs.iterdir()))
            summary = self._run(Task("comparison", wanted, files, output), context.is_active)
            yield compare_pb2.CompareResponse(comparison=comparison_to_wire(json.loads(summary)))
            yield from _files(wanted, output)

    def close(self) -> None:
        """Stop the worker."""
        self._executor.close()

    def _run(self, task: Task[ComparisonRequest], wanted: Callable[[], bool]) -> str:
        """The summary of a comparison, when its turn has come."""
        if not self._waiting.acquire(blocking=False):
            most = self._limits.max_queued_comparisons
            raise StoreError("COMPARISONS_BUSY", f"{most} comparisons are waiting already; try again later.")
        try:
            while not self._turn.acquire(timeout=_POLL_S):
                if not wanted():
                    raise Cancelled
            try:
                self._executor.run(task, _unheeded, lambda: not wanted())
            except WorkerFailed as failure:
                if failure.incident is not None:
                    raise
                if not wanted():
                    raise Cancelled from None
                raise StoreError("WORKER_DIED", "The comparison ended its process; it may need less memory.") from None
            finally:
                self._turn.release()
        finally:
            self._waiting.release()
        return read_result(task.output)[0]

    def _collect(self, request: compare_pb2.CompareRequest, inputs: Path) -> ComparisonRequest:
        """The checked request; what it names lies in ``inputs``, whatever is deleted meanwhile."""
        reference = self._dose(request.reference, "reference", inputs)
        evaluated = self._dose(request.evaluated, "evaluated", inputs)
        rtstruct = self._blob(request.rtstruct_sha256, "rtstruct_sha256", inputs) if request.rtstruct_sha256 else None
        return options_from_wire(request, reference, evaluated, rtstruct, self._devices)

    def _dose(self, source: compare_pb2.DoseSource, field: str, inputs: Path) -> DoseFile:
        which = source.WhichOneof("source")
        if which == "rtdose_sha256":
            return DoseFile(self._blob(source.rtdose_sha256, f"{field}.rtdose_sha256", inputs))
        if which == "job":
            return DoseFile(self._job_dose(source.job, f"{field}.job.job", inputs))
        if which == "inline_dose":
            grid = inline_grid(source.inline_dose, f"{field}.inline_dose", self._limits)
            with disk_errors():
                (inputs / f"{field}.f32").write_bytes(source.inline_dose.dose_gy_float32)
            return DoseFile(f"{field}.f32", grid)
        raise RequestError([(field, "must name a dose: an uploaded RTDOSE, a job, or one that is sent along")])

    def _blob(self, digest: bytes, field: str, inputs: Path) -> str:
        """Name of the link to an uploaded object."""
        sha256 = convert.sha256_from_wire(digest, field)
        sizes = self._store.index.blob_sizes([sha256])
        if sha256 not in sizes:
            raise StoreError(
                "BLOB_NOT_UPLOADED", "The server does not hold this object; send it first.", file=sha256, field=field
            )
        return _link(self._store.blobs.require(sha256, sizes[sha256]), inputs, sha256)

    def _job_dose(self, dose: compare_pb2.JobDose, field: str, inputs: Path) -> str:
        record = self._store.index.job(convert.id_from_name(dose.job, "jobs", field))
        if record.state != index.SUCCEEDED:
            raise StoreError(
                "JOB_NOT_SUCCEEDED",
                f"The job is {record.state}; only a job that SUCCEEDED has results.",
                state=record.state,
                field=field,
            )
        beam = dose.beam_number if dose.HasField("beam_number") else WHOLE_PLAN
        artifact, path = self._store.artifact(record.id, "rtdose", beam)
        return _link(path, inputs, artifact.sha256)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        folder = self._store.blobs.scratch()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _unheeded(progress: TaskProgress) -> None:
    """Nobody watches a comparison."""


def _link(path: Path, folder: Path, name: str) -> str:
    with disk_errors():
        if not (folder / name).exists():  # both doses may be the same
            os.link(path, folder / name)
    return name


def _files(wanted: ComparisonRequest, output: Path) -> Iterator[compare_pb2.CompareResponse]:
    if wanted.picture:
        yield from _file(output / PICTURE, compare_pb2.COMPARE_FILE_PICTURE)
    if wanted.gamma_maps:
        for number in range(len(wanted.criteria)):
            yield from _file(output / gamma_file(number), compare_pb2.COMPARE_FILE_GAMMA, number)
    if wanted.difference_map:
        yield from _file(output / DIFFERENCE, compare_pb2.COMPARE_FILE_DIFFERENCE)


def _file(path: Path, kind: compare_pb2.CompareFile, criterion: int = 0) -> Iterator[compare_pb2.CompareResponse]:
    with disk_errors():
        content = path.read_bytes()
    header = compare_pb2.CompareFileHeader(
        kind=kind, criterion_index=criterion, size_bytes=len(content), sha256=hashlib.sha256(content).digest()
    )
    yield compare_pb2.CompareResponse(file=header)
    for offset in range(0, len(content), _CHUNK_BYTES):
        data = content[offset : offset + _CHUNK_BYTES]
        chunk = compare_pb2.CompareFileChunk(offset_bytes=offset, data=data, crc32=zlib.crc32(data))
        yield compare_pb2.CompareResponse(chunk=chunk)
