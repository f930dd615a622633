"""The gRPC services, thin: what a call means in terms of the store and the jobs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
from google.protobuf import empty_pb2

import dosecalc
from dosecalc.errors import InputError, StoreError
from dosecalc_api.v1 import (
    dose_pb2,
    dose_pb2_grpc,
    info_pb2,
    info_pb2_grpc,
    machine_pb2,
    machine_pb2_grpc,
    study_pb2,
    study_pb2_grpc,
)
from dosecalc_server import convert, index
from dosecalc_server.catalogue import ENGINES, Catalogue, machine_to_wire
from dosecalc_server.config import Limits
from dosecalc_server.index import WHOLE_PLAN, JobRecord
from dosecalc_server.jobs import JobManager
from dosecalc_server.status import RequestError
from dosecalc_server.store import Store
from dosecalc_server.uploads import receive, until_idle

_DOWNLOAD_CHUNK_BYTES = 1 << 20
#: a page of jobs ends here; every gRPC library takes 4 MiB unless told otherwise
_PAGE_BYTES = 1 << 20
_KINDS = {
    dose_pb2.DOSE_FORMAT_UNSPECIFIED: "rtdose",
    dose_pb2.DOSE_FORMAT_RTDOSE: "rtdose",
    dose_pb2.DOSE_FORMAT_RAW_FLOAT32: "raw",
}


class StudyService(study_pb2_grpc.StudyServiceServicer):
    """Uploads and studies."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store, self._limits = store, limits

    def FindMissingBlobs(
        self, request: study_pb2.FindMissingBlobsRequest, context: grpc.ServicerContext
    ) -> study_pb2.FindMissingBlobsResponse:
        """See study.proto."""
        if len(request.blobs) > self._limits.max_study_blobs:
            raise RequestError([("blobs", f"at most {self._limits.max_study_blobs}")])
        for number, blob in enumerate(request.blobs):
            if not 1 <= blob.size_bytes <= self._limits.max_blob_bytes:
                field = f"blobs[{number}].size_bytes"
                message = f"A blob must have from 1 to {self._limits.max_blob_bytes} bytes, not {blob.size_bytes}."
                raise InputError("BLOB_TOO_LARGE" if blob.size_bytes > 0 else "BLOB_EMPTY", message, field=field)
        digests = [convert.sha256_from_wire(b.sha256, f"blobs[{n}].sha256") for n, b in enumerate(request.blobs)]
        missing = [bytes.fromhex(digest) for digest in self._store.missing(digests)]
        return study_pb2.FindMissingBlobsResponse(missing_sha256=missing)

    def UploadBlobs(
        self, request_iterator: Iterator[study_pb2.UploadBlobsRequest], context: grpc.ServicerContext
    ) -> study_pb2.UploadBlobsResponse:
        """See study.proto."""
        chunks = until_idle(request_iterator, self._limits.idle_upload_s, context.cancel)
        blobs, size_bytes = receive(chunks, self._store, self._limits)
        return study_pb2.UploadBlobsResponse(blobs=blobs, size_bytes=size_bytes)

    def CreateStudy(self, request: study_pb2.CreateStudyRequest, context: grpc.ServicerContext) -> study_pb2.Study:
        """See study.proto."""
        digests = [convert.sha256_from_wire(d, f"sha256[{n}]") for n, d in enumerate(request.sha256)]
        return convert.study_to_wire(self._store.create_study(digests))

    def GetStudy(self, request: study_pb2.GetStudyRequest, context: grpc.ServicerContext) -> study_pb2.Study:
        """See study.proto."""
        return convert.study_to_wire(self._store.index.study(_study_id(request.name)))

    def ListStudies(
        self, request: study_pb2.ListStudiesRequest, context: grpc.ServicerContext
    ) -> study_pb2.ListStudiesResponse:
        """See study.proto."""
        size = convert.page_size(request.page_size)
        records = self._store.index.studies(convert.page_position(request.page_token), size + 1)
        token = convert.page_token(records[size - 1].sequence) if len(records) > size else ""
        studies = [convert.study_to_wire(r) for r in records[:size]]
        return study_pb2.ListStudiesResponse(studies=studies, next_page_token=token)

    def DeleteStudy(self, request: study_pb2.DeleteStudyRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """See study.proto."""
        self._store.remove_study(_study_id(request.name))
        return empty_pb2.Empty()


class DoseService(dose_pb2_grpc.DoseServiceServicer):
    """Jobs and results."""

    def __init__(self, store: Store, jobs: JobManager, catalogue: Catalogue, limits: Limits) -> None:
        self._store, self._jobs, self._catalogue, self._limits = store, jobs, catalogue, limits

    def CreateJob(self, request: dose_pb2.CreateJobRequest, context: grpc.ServicerContext) -> dose_pb2.Job:
        """See dose.proto."""
        here = self._catalogue
        wanted = convert.request_from_wire(request.request, here.device_names, here.hu_curves, self._limits)
        self._store.index.study(wanted.study)
        job = wanted.job_id(here.machine_hashes(wanted), f"{dosecalc.__version__} {here.engine_sha256}")
        return convert.job_to_wire(self._jobs.submit(wanted, job))

    def GetJob(self, request: dose_pb2.GetJobRequest, context: grpc.ServicerContext) -> dose_pb2.Job:
        """See dose.proto."""
        return convert.job_to_wire(self._jobs.view(_job_id(request.name)))

    def ListJobs(self, request: dose_pb2.ListJobsRequest, context: grpc.ServicerContext) -> dose_pb2.ListJobsResponse:
        """See dose.proto."""
        size = convert.page_size(request.page_size)
        study = convert.id_from_name(request.study, "studies", "study") if request.study else None
        state = convert.state_from_wire(request.state)
        views = self._jobs.views(convert.page_position(request.page_token), size + 1, study, state)
        page = dose_pb2.ListJobsResponse()
        for view in views[:size]:
            page.jobs.append(convert.job_to_wire(view))
            if page.ByteSize() > _PAGE_BYTES:
                break
        if len(views) > len(page.jobs):
            page.next_page_token = convert.page_token(views[len(page.jobs) - 1].record.sequence)
        return page

    def WatchJob(self, request: dose_pb2.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[dose_pb2.Job]:
        """See dose.proto."""
        for view in self._jobs.watch(_job_id(request.name), context.is_active):
            yield convert.job_to_wire(view)

    def CancelJob(self, request: dose_pb2.CancelJobRequest, context: grpc.ServicerContext) -> dose_pb2.Job:
        """See dose.proto."""
        return convert.job_to_wire(self._jobs.cancel(_job_id(request.name)))

    def DeleteJob(self, request: dose_pb2.DeleteJobRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """See dose.proto."""
        self._store.remove_job(_job_id(request.name))
        return empty_pb2.Empty()

    def GetDose(
        self, request: dose_pb2.GetDoseRequest, context: grpc.ServicerContext
    ) -> Iterator[dose_pb2.GetDoseResponse]:
        """See dose.proto."""
        if request.format not in _KINDS:
            raise RequestError([("format", "must be RTDOSE or RAW_FLOAT32")])
        record = self._succeeded(request.job)
        if request.HasField("beam_number") and request.beam_number < 0:
            raise RequestError([("beam_number", "must not be negative")])
        beam = request.beam_number if request.HasField("beam_number") else WHOLE_PLAN
        artifact, path = self._store.artifact(record.id, _KINDS[request.format], beam)
        if not 0 <= request.offset_bytes <= artifact.size_bytes:
            message = f"The offset must be from 0 to {artifact.size_bytes}, not {request.offset_bytes}."
            raise InputError("OFFSET_OUT_OF_RANGE", message, field="offset_bytes")
        header = dose_pb2.DoseHeader(
            size_bytes=artifact.size_bytes,
            sha256=bytes.fromhex(artifact.sha256),
            grid=convert.grid_to_wire(json.loads(record.result or "")["grid"]),
            format=request.format or dose_pb2.DOSE_FORMAT_RTDOSE,
        )
        yield dose_pb2.GetDoseResponse(header=header)
        yield from _chunks(path, request.offset_bytes)

    def GetDvhs(self, request: dose_pb2.GetDvhsRequest, context: grpc.ServicerContext) -> Iterator[dose_pb2.Dvh]:
        """See dose.proto."""
        record = self._succeeded(request.job)
        _, path = self._store.artifact(record.id, "dvhs", WHOLE_PLAN)
        dvhs = json.loads(path.read_text(encoding="utf-8"))
        known = {dvh["structure_name"] for dvh in dvhs}
        for name in request.structures:
            if name not in known:
                message = "The result has no structure of one of the names asked for."
                raise InputError("STRUCTURE_UNKNOWN", message, field="structures", structure=name)
        for dvh in dvhs:
            if not request.structures or dvh["structure_name"] in request.structures:
                yield dose_pb2.Dvh(**dvh)

    def _succeeded(self, name: str) -> JobRecord:
        record = self._store.index.job(_job_id(name))
        if record.state != index.SUCCEEDED:
            message = f"The job is {record.state}; only a job that SUCCEEDED has results."
            raise StoreError("JOB_NOT_SUCCEEDED", message, state=record.state)
        return record


class MachineService(machine_pb2_grpc.MachineServiceServicer):
    """Machine models."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def ListMachines(
        self, request: machine_pb2.ListMachinesRequest, context: grpc.ServicerContext
    ) -> machine_pb2.ListMachinesResponse:
        """See machine.proto."""
        size, begin = convert.page_size(request.page_size), convert.page_position(request.page_token) or 0
        machines = self._catalogue.machines
        token = convert.page_token(begin + size) if len(machines) > begin + size else ""
        page = [machine_to_wire(m) for m in machines[begin : begin + size]]
        return machine_pb2.ListMachinesResponse(machines=page, next_page_token=token)

    def GetMachine(self, request: machine_pb2.GetMachineRequest, context: grpc.ServicerContext) -> machine_pb2.Machine:
        """See machine.proto."""
        prefix, _, name = request.name.partition("/")
        if prefix != "machines" or not name:
            raise RequestError([("name", "must be `machines/` and a model's name")])
        return machine_to_wire(self._catalogue.machine(name))


class InfoService(info_pb2_grpc.InfoServiceServicer):
    """What the server is."""

    def __init__(self, catalogue: Catalogue, limits: Limits, workers: int) -> None:
        self._info = info_pb2.Info(
            version=dosecalc.__version__,
            devices=catalogue.devices,
            engines=ENGINES,
            limits=info_pb2.Limits(
                max_blob_bytes=limits.max_blob_bytes,
                max_chunk_bytes=limits.max_chunk_bytes,
                max_study_bytes=limits.max_study_bytes,
                max_study_blobs=limits.max_study_blobs,
                max_message_bytes=limits.max_message_bytes,
                max_queued_jobs=limits.max_queued_jobs,
                max_queued_comparisons=limits.max_queued_comparisons,
                max_grid_voxels=limits.max_grid_voxels,
            ),
            workers=workers,
            engine_sha256=catalogue.engine_sha256,
            hu_curves=catalogue.hu_curves,
        )

    def GetInfo(self, request: info_pb2.GetInfoRequest, context: grpc.ServicerContext) -> info_pb2.Info:
        """See info.proto."""
        return self._info


def _study_id(name: str) -> str:
    return convert.id_from_name(name, "studies", "name")


def _job_id(name: str) -> str:
    return convert.id_from_name(name, "jobs", "name")


def _chunks(path: Path, offset: int) -> Iterator[dose_pb2.GetDoseResponse]:
    with path.open("rb") as stream:
        stream.seek(offset)
        while data := stream.read(_DOWNLOAD_CHUNK_BYTES):
            chunk = dose_pb2.DoseChunk(offset_bytes=offset, data=data, crc32=zlib.crc32(data))
            yield dose_pb2.GetDoseResponse(chunk=chunk)
            offset += len(data)
