"""The client library for asyncio; the methods of `dosecalc_api.client.Client`, awaitable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from dosecalc_api.compare import Assembly, ComparedDoses, CompareOptions, Dose, Inquiry
from dosecalc_api.errors import DosecalcApiError, api_errors, succeeded
from dosecalc_api.options import CHANNEL_OPTIONS, Tls
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


class AsyncClient:
    """A connection to a server, for asyncio; an async context manager.

    Every method raises `DosecalcApiError`; what happens while a server is away is as with the other client.

    Parameters
    ----------
    address : str
        ``host:port``.
    tls : Tls or None
        None speaks in the clear.
    timeout_s, patience_s : float
        For calls that are not streams; how long a server may be away; seconds.
    """

    def __init__(
        self, address: str, *, tls: Tls | None = None, timeout_s: float = 60.0, patience_s: float = 30.0
    ) -> None:
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._met = False  # whether the server has ever answered
        # one set of generated stubs serves both libraries; what they return is awaitable on an asyncio channel
        channel: Any = self._channel
        self._studies: Any = study_pb2_grpc.StudyServiceStub(channel)
        self._doses: Any = dose_pb2_grpc.DoseServiceStub(channel)
        self._machines: Any = machine_pb2_grpc.MachineServiceStub(channel)
        self._compares: Any = compare_pb2_grpc.CompareServiceStub(channel)
        self._infos: Any = info_pb2_grpc.InfoServiceStub(channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; jobs go on."""
        await self._channel.close()

    async def info(self) -> info_pb2.Info:
        """Version, devices, engines, limits."""
        info: info_pb2.Info = await self._call(self._infos.GetInfo, info_pb2.GetInfoRequest())
        return info

    async def machines(self) -> list[machine_pb2.Machine]:
        """All machine models."""
        machines: list[machine_pb2.Machine] = []
        token = ""
        while True:
            page = await self._call(self._machines.ListMachines, machine_pb2.ListMachinesRequest(page_token=token))
            machines += page.machines
            token = page.next_page_token
            if not token:
                return machines

    async def upload_files(self, sources: Iterable[Source]) -> UploadedStudy:
        """Make a study of files, folders, zip archives or bytes, sending only what the server does not hold."""
        blobs = await asyncio.to_thread(gather, sources)
        patience = Patience(self._patience_s)
        sent = 0
        while True:
            try:
                missing = await self._missing(blobs)
                if missing:
                    await self._send(missing)
                    sent += len(missing)
                request = study_pb2.CreateStudyRequest(sha256=[b.sha256 for b in blobs])
                study = await self._call(self._studies.CreateStudy, request)
                return UploadedStudy.of(study, {b.sha256.hex(): b.label for b in blobs}, sent)
            except DosecalcApiError as error:
                patience.check(error)
                await asyncio.sleep(PAUSE_S)

    async def delete_study(self, study: str) -> None:
        """Remove a study, its finished jobs and their results."""
        await self._call(self._studies.DeleteStudy, study_pb2.DeleteStudyRequest(name=study), again=False)

    async def submit(self, request: dose_pb2.DoseRequest) -> dose_pb2.Job:
        """Queue a computation; the job may be done already. See `dosecalc_api.options.dose_request`."""
        return await self._job(self._doses.CreateJob, dose_pb2.CreateJobRequest(request=request))

    async def job(self, name: str) -> dose_pb2.Job:
        """A job as it is now."""
        return await self._job(self._doses.GetJob, dose_pb2.GetJobRequest(name=name))

    async def jobs(self, study: str = "") -> AsyncIterator[dose_pb2.Job]:
        """All jobs, of one study or of all, newest first."""
        token = ""
        while True:
            page = await self._call(self._doses.ListJobs, dose_pb2.ListJobsRequest(study=study, page_token=token))
            for job in page.jobs:
                yield job
            token = page.next_page_token
            if not token:
                return

    async def watch(self, name: str) -> AsyncIterator[dose_pb2.Job]:
        """The job now and after every change, until it is done."""
        patience = Patience(self._patience_s)
        while True:
            try:
                with api_errors():
                    async for job in self._doses.WatchJob(dose_pb2.WatchJobRequest(name=name)):
                        patience.renew()
                        yield job
                        if job.done:
                            return
            except DosecalcApiError as error:
                patience.check(error)
                await asyncio.sleep(PAUSE_S)

    async def wait(self, name: str, on_change: Callable[[dose_pb2.Job], None] | None = None) -> dose_pb2.Job:
        """The job when it has succeeded; raises why it failed, or ``CANCELLED``."""
        async for job in self.watch(name):
            if on_change is not None:
                on_change(job)
        return succeeded(job)

    async def cancel(self, name: str) -> dose_pb2.Job:
        """Stop a job; the job after that."""
        return await self._job(self._doses.CancelJob, dose_pb2.CancelJobRequest(name=name))

    async def delete_job(self, name: str) -> None:
        """Forget a job that is done, and its results."""
        await self._call(self._doses.DeleteJob, dose_pb2.DeleteJobRequest(name=name), again=False)

    async def download_dose(self, job: str, beam: int | None = None) -> bytes:
        """The RTDOSE file of the plan, or of the beam of this number."""
        return (await self._download(Download(job, beam, dose_pb2.DOSE_FORMAT_RTDOSE))).content()

    async def dose_array(self, job: str, beam: int | None = None) -> DoseArray:
        """The dose of the plan, or of the beam of this number, as an array."""
        download = await self._download(Download(job, beam, dose_pb2.DOSE_FORMAT_RAW_FLOAT32))
        assert download.header is not None
        return DoseArray.of(download.header, download.content())

    async def dvhs(self, job: str, structures: Sequence[str] = ()) -> list[dose_pb2.Dvh]:
        """Dose-volume histograms and statistics, of these structures or of all."""

        async def whole(request: dose_pb2.GetDvhsRequest, timeout: float) -> list[dose_pb2.Dvh]:
            return [dvh async for dvh in self._doses.GetDvhs(request, timeout=timeout)]

        dvhs: list[dose_pb2.Dvh] = await self._call(whole, dose_pb2.GetDvhsRequest(job=job, structures=structures))
        return dvhs

    async def compare(self, reference: Dose, evaluated: Dose, options: CompareOptions | None = None) -> ComparedDoses:
        """Compare two doses; see `dosecalc_api.client.Client.compare`."""
        inquiry = await asyncio.to_thread(Inquiry, reference, evaluated, options or CompareOptions())
        patience = Patience(self._patience_s)
        while True:
            try:
                missing = await self._missing(inquiry.blobs) if inquiry.blobs else []
                if missing:
                    await self._send(missing)
                assembly = Assembly()
                with api_errors():
                    async for response in self._compares.Compare(inquiry.request):
                        patience.renew()
                        assembly.take(response)
                return assembly.result()
            except DosecalcApiError as error:
                patience.check(error)
                await asyncio.sleep(PAUSE_S)

    async def _call(self, method: Callable[..., Any], request: object, again: bool = True) -> Any:
        patience = Patience(self._patience_s if self._met and again else 0.0)
        while True:
            try:
                with api_errors():
                    answer = await method(request, timeout=self._timeout_s)
                self._met = True
                return answer
            except DosecalcApiError as error:
                patience.check(error)
                await asyncio.sleep(PAUSE_S)

    async def _job(self, method: Callable[..., Any], request: object) -> dose_pb2.Job:
        job: dose_pb2.Job = await self._call(method, request)
        return job

    async def _missing(self, blobs: Sequence[Blob]) -> list[Blob]:
        request = study_pb2.FindMissingBlobsRequest(blobs=refs(blobs))
        missing = set((await self._call(self._studies.FindMissingBlobs, request)).missing_sha256)
        return [b for b in blobs if b.sha256 in missing]

    async def _send(self, blobs: Sequence[Blob]) -> None:
        limit = (await self.info()).limits.max_chunk_bytes

        async def chunks() -> AsyncIterator[study_pb2.UploadBlobsRequest]:
            for blob in blobs:
                for chunk in await asyncio.to_thread(list, blob.chunks(limit)):
                    yield chunk

        with api_errors():
            await self._studies.UploadBlobs(chunks())

    async def _download(self, download: Download) -> Download:
        patience = Patience(self._patience_s)
        while True:
            try:
                with api_errors():
                    async for response in self._doses.GetDose(download.request()):
                        patience.renew()
                        download.take(response)
                return download
            except DosecalcApiError as error:
                patience.check(error)
                await asyncio.sleep(PAUSE_S)
