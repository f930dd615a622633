"""The client library: a server's uploads, jobs and results as plain method calls.

>>> with Client("127.0.0.1:50051") as client:
...     study = client.upload_files(["plan.zip"])
...     job = client.submit(dose_request(study.name, machines=["generic-6mv-millennium120"], spacing_mm=2.5))
...     client.wait(job.name, lambda j: print(f"{j.progress.fraction:.0%}"))
...     rtdose = client.download_dose(job.name)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

import grpc

from dosecalc_api.aio import AsyncClient
from dosecalc_api.compare import Assembly, ComparedDoses, CompareOptions, Dose, Inquiry, array_dose, job_dose
from dosecalc_api.errors import DosecalcApiError, api_errors, succeeded
from dosecalc_api.options import CHANNEL_OPTIONS, Tls, dose_request
from dosecalc_api.patience import PAUSE_S, Patience
from dosecalc_api.results import DoseArray, UploadedStudy
from dosecalc_api.transfer import Blob, Download, Source, gather, refs
from dosecalc_api.v1 import (
    compare_pb2_grpc,
    dose_pb2,
    dose_pb2_grpc,
    info_pb2,
    info_pb2_grpc,
    machine_pb2,
    machine_pb2_grpc,
    study_pb2,
    study_pb2_grpc,
)

__all__ = [
    "AsyncClient",
    "Client",
    "CompareOptions",
    "ComparedDoses",
    "DoseArray",
    "DosecalcApiError",
    "Tls",
    "UploadedStudy",
    "array_dose",
    "dose_request",
    "job_dose",
]


class Client:
    """A connection to a server. Safe to share between threads; a context manager.

    Every method raises `DosecalcApiError`. When a server that has answered before is away for less than
    ``patience_s``, uploads, watches and downloads go on where they were and other calls are sent again; only what
    deletes is not, because its first attempt may have worked. A server that never answered is an error at once.

    Parameters
    ----------
    address : str
        ``host:port``.
    tls : Tls or None
        None speaks in the clear.
    timeout_s : float
        For calls that are not streams, seconds.
    patience_s : float
        How long a server may be away, seconds.
    """

    def __init__(
        self, address: str, *, tls: Tls | None = None, timeout_s: float = 60.0, patience_s: float = 30.0
    ) -> None:
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._met = False  # whether the server has ever answered
        self._studies = study_pb2_grpc.StudyServiceStub(self._channel)
        self._doses = dose_pb2_grpc.DoseServiceStub(self._channel)
        self._machines = machine_pb2_grpc.MachineServiceStub(self._channel)
        self._compares = compare_pb2_grpc.CompareServiceStub(self._channel)
        self._infos = info_pb2_grpc.InfoServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; jobs go on."""
        self._channel.close()

    # what the server is

    def info(self) -> info_pb2.Info:
        """Version, devices, engines, limits."""
        info: info_pb2.Info = self._call(self._infos.GetInfo, info_pb2.GetInfoRequest())
        return info

    def machines(self) -> list[machine_pb2.Machine]:
        """All machine models."""
        machines: list[machine_pb2.Machine] = []
        token = ""
        while True:
            page = self._call(self._machines.ListMachines, machine_pb2.ListMachinesRequest(page_token=token))
            machines += page.machines
            token = page.next_page_token
            if not token:
                return machines

    # studies

    def upload_files(self, sources: Iterable[Source]) -> UploadedStudy:
        """Make a study of files, folders, zip archives or bytes, sending only what the server does not hold."""
        blobs = gather(sources)
        patience = Patience(self._patience_s)
        sent = 0
        while True:
            try:
                missing = self._missing(blobs)
                if missing:
                    self._send(missing)
                    sent += len(missing)
                request = study_pb2.CreateStudyRequest(sha256=[b.sha256 for b in blobs])
                study = self._call(self._studies.CreateStudy, request)
                return UploadedStudy.of(study, {b.sha256.hex(): b.label for b in blobs}, sent)
            except DosecalcApiError as error:
                patience.check(error)
                time.sleep(PAUSE_S)

    def delete_study(self, study: str) -> None:
        """Remove a study, its finished jobs and their results."""
        self._call(self._studies.DeleteStudy, study_pb2.DeleteStudyRequest(name=study), again=False)

    # jobs

    def submit(self, request: dose_pb2.DoseRequest) -> dose_pb2.Job:
        """Queue a computation; the job may be done already. See `dose_request`."""
        job: dose_pb2.Job = self._call(self._doses.CreateJob, dose_pb2.CreateJobRequest(request=request))
        return job

    def job(self, name: str) -> dose_pb2.Job:
        """A job as it is now."""
        job: dose_pb2.Job = self._call(self._doses.GetJob, dose_pb2.GetJobRequest(name=name))
        return job

    def jobs(self, study: str = "") -> Iterator[dose_pb2.Job]:
        """All jobs, of one study or of all, newest first."""
        token = ""
        while True:
            request = dose_pb2.ListJobsRequest(study=study, page_token=token)
            page = self._call(self._doses.ListJobs, request)
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def watch(self, name: str) -> Iterator[dose_pb2.Job]:
        """The job now and after every change, until it is done."""
        patience = Patience(self._patience_s)
        while True:
            try:
                with api_errors():
                    for job in self._doses.WatchJob(dose_pb2.WatchJobRequest(name=name)):
                        patience.renew()
                        yield job
                        if job.done:
                            return
            except DosecalcApiError as error:
                patience.check(error)
                time.sleep(PAUSE_S)

    def wait(self, name: str, on_change: Callable[[dose_pb2.Job], None] | None = None) -> dose_pb2.Job:
        """The job when it has succeeded.

        Raises
        ------
        DosecalcApiError
            Why it failed; reason ``CANCELLED`` when somebody cancelled it.
        """
        for job in self.watch(name):
            if on_change is not None:
                on_change(job)
        return succeeded(job)

    def cancel(self, name: str) -> dose_pb2.Job:
        """Stop a job; the job after that."""
        job: dose_pb2.Job = self._call(self._doses.CancelJob, dose_pb2.CancelJobRequest(name=name))
        return job

    def delete_job(self, name: str) -> None:
        """Forget a job that is done, and its results."""
        self._call(self._doses.DeleteJob, dose_pb2.DeleteJobRequest(name=name), again=False)

    # results

    def download_dose(self, job: str, beam: int | None = None) -> bytes:
        """The RTDOSE file of the plan, or of the beam of this number."""
        return self._download(Download(job, beam, dose_pb2.DOSE_FORMAT_RTDOSE)).content()

    def dose_array(self, job: str, beam: int | None = None) -> DoseArray:
        """The dose of the plan, or of the beam of this number, as an array."""
        download = self._download(Download(job, beam, dose_pb2.DOSE_FORMAT_RAW_FLOAT32))
        assert download.header is not None
        return DoseArray.of(download.header, download.content())

    def dvhs(self, job: str, structures: Sequence[str] = ()) -> list[dose_pb2.Dvh]:
        """Dose-volume histograms and statistics, of these structures or of all."""

        def whole(request: dose_pb2.GetDvhsRequest, timeout: float) -> list[dose_pb2.Dvh]:
            return list(self._doses.GetDvhs(request, timeout=timeout))

        dvhs: list[dose_pb2.Dvh] = self._call(whole, dose_pb2.GetDvhsRequest(job=job, structures=structures))
        return dvhs

    # comparing

    def compare(self, reference: Dose, evaluated: Dose, options: CompareOptions | None = None) -> ComparedDoses:
        """Compare two doses: gamma, dose and DVH differences, maps and a picture if they are asked for.

        Parameters
        ----------
        reference, evaluated : path, bytes or DoseSource
            An RTDOSE file or its content, which is uploaded if need be, or what `job_dose` and `array_dose` make.
        options : CompareOptions, optional
        """
        inquiry = Inquiry(reference, evaluated, options or CompareOptions())
        patience = Patience(self._patience_s)
        while True:
            try:
                missing = self._missing(inquiry.blobs) if inquiry.blobs else []
                if missing:
                    self._send(missing)
                assembly = Assembly()
                with api_errors():
                    for response in self._compares.Compare(inquiry.request):
                        patience.renew()
                        assembly.take(response)
                return assembly.result()
            except DosecalcApiError as error:
                patience.check(error)
                time.sleep(PAUSE_S)

    def _call(self, method: Callable[..., Any], request: object, again: bool = True) -> Any:
        patience = Patience(self._patience_s if self._met and again else 0.0)
        while True:
            try:
                with api_errors():
                    answer = method(request, timeout=self._timeout_s)
                self._met = True
                return answer
            except DosecalcApiError as error:
                patience.check(error)
                time.sleep(PAUSE_S)

    def _missing(self, blobs: Sequence[Blob]) -> list[Blob]:
        request = study_pb2.FindMissingBlobsRequest(blobs=refs(blobs))
        missing = set(self._call(self._studies.FindMissingBlobs, request).missing_sha256)
        return [b for b in blobs if b.sha256 in missing]

    def _send(self, blobs: Sequence[Blob]) -> None:
        limit = self.info().limits.max_chunk_bytes
        with api_errors():
            self._studies.UploadBlobs(chunk for blob in blobs for chunk in blob.chunks(limit))

    def _download(self, download: Download) -> Download:
        patience = Patience(self._patience_s)
        while True:
            try:
                with api_errors():
                    for response in self._doses.GetDose(download.request()):
                        patience.renew()
                        download.take(response)
                return download
            except DosecalcApiError as error:
                patience.check(error)
                time.sleep(PAUSE_S)
