"""Computing on a server, through the public client library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from dosecalc.cli.console import ServerFailure, Teller
from dosecalc.cli.reading import input_facts, read_inputs
from dosecalc.dicom.rtdose import read_rtdose
from dosecalc.dicom.study import Case
from dosecalc.errors import Cancelled, DosecalcError, InputError
from dosecalc.geometry import Grid
from dosecalc.outputs import DvhRecord, OutputContent
from dosecalc.outputs.content import beam_facts, grid_facts, picture_of, plan_facts, summary_head
from dosecalc.outputs.picture import draw_dose
from dosecalc.recompute import RecomputeRequest, choose_case, patient_of
from dosecalc_api.client import Client, DosecalcApiError, Tls, UploadedStudy, dose_request
from dosecalc_api.v1 import dose_pb2, geometry_pb2

#: codes that speak of the server or the way to it, not of the input
_SERVER_FAULTS = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
#: share of the progress bar that the server's computation takes
_COMPUTED = 0.95


@dataclass(frozen=True)
class Connection:
    """How to reach a server.

    Parameters
    ----------
    address : str
        ``HOST:PORT``.
    tls_ca, tls_cert, tls_key : str or None
        PEM files; none of them means in the clear.
    """

    address: str
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def open(self) -> Client:
        """A client of that server."""
        files = (self.tls_ca, self.tls_cert, self.tls_key)
        return Client(self.address, tls=Tls(*files) if any(files) else None, patience_s=10.0)


def compute_there(
    connection: Connection,
    inputs: Sequence[Path],
    request: RecomputeRequest,
    tell: Teller,
    stopped: Callable[[], bool],
) -> OutputContent:
    """Upload, compute, download and prepare the files.

    Raises
    ------
    DosecalcError
        As in this process; a `ServerFailure` when it is the server that failed.
    """
    _check_sendable(request)
    tell.show(0.0, "reading")
    study = read_inputs(inputs, tell.note)
    case = choose_case(study, request)
    uploaded: UploadedStudy | None = None
    try:
        with connection.open() as client:
            _greet(client, connection.address)
            tell.show(0.0, "uploading")
            uploaded = client.upload_files(inputs)
            job = _run(client, client.submit(_on_the_wire(uploaded.name, request)), tell, stopped)
            tell.show(_COMPUTED, "downloading")
            content = _fetched(client, job, case, request, connection.address)
            return replace(content, summary={**content.summary, "input": input_facts(study)})
    except DosecalcApiError as error:
        raise _as_local(error, uploaded) from error


def _greet(client: Client, address: str) -> None:
    """Find out at once whether there is a server, rather than after the patience of an upload."""
    try:
        client.info()
    except DosecalcApiError as error:
        if error.code is not grpc.StatusCode.UNAVAILABLE:
            raise
        raise ServerFailure(
            "SERVER_UNAVAILABLE",
            "No dosecalc server answers there: is it running, and is TLS used on both sides or on neither?",
            server=address,
        ) from error


def _check_sendable(request: RecomputeRequest) -> None:
    own_files = (*request.machines, request.hu_curve)
    if any(Path(name).suffix in (".yaml", ".yml", ".json", ".csv") for name in own_files):
        raise InputError(
            "SERVER_NAMES_ONLY",
            "A server computes with its own machine models and calibration curves: name one instead of giving a file.",
            field="server",
        )


def _on_the_wire(study: str, request: RecomputeRequest) -> dose_pb2.DoseRequest:
    exact = request.grid.exact
    return dose_request(
        study,
        plan=request.plan,
        structure_set_uid=request.structure_set_uid,
        ct_series_uid=request.ct_series_uid,
        machines=request.machines,
        mapping_yaml=request.mapping_yaml,
        engine=request.engine,
        device=request.device,
        quantity=request.quantity,
        cones=request.cones,
        heterogeneity=request.heterogeneity,
        arc_tolerance_deg=request.arc_tolerance_deg,
        spacing_mm=request.grid.spacing_mm,
        box_mm=request.grid.box_mm,
        grid_like_uid=request.grid.like_rtdose_uid or "",
        exact_grid=None if exact is None else (exact.origin_mm, exact.spacing_mm, exact.shape),
        density_g_cm3=request.density_g_cm3,
        without_ct=request.without_ct,
        hu_curve=request.hu_curve,
        threads=request.threads,
    )


def _run(client: Client, job: dose_pb2.Job, tell: Teller, stopped: Callable[[], bool]) -> dose_pb2.Job:
    def show(now: dose_pb2.Job) -> None:
        if stopped():
            raise Cancelled
        waiting = now.progress.queue_position
        step = f"{waiting} jobs before this one" if waiting else now.progress.step
        tell.show(_COMPUTED * now.progress.fraction, step)

    try:
        return client.wait(job.name, show)
    except (KeyboardInterrupt, Cancelled):
        client.cancel(job.name)
        raise


def _fetched(client: Client, job: dose_pb2.Job, case: Case, request: RecomputeRequest, address: str) -> OutputContent:
    result = job.result
    plan = client.download_dose(job.name)
    dose = read_rtdose(plan, "the server's RTDOSE").volume
    dvhs = tuple(_record(d) for d in client.dvhs(job.name))
    density = None if case.ct is not None else patient_of(case, request).density
    return OutputContent(
        rtdose_plan=plan,
        rtdose_beams={b.beam_number: client.download_dose(job.name, b.beam_number) for b in result.beams},
        dvhs=dvhs,
        picture=draw_dose(picture_of(case, dose, dvhs, result.engine, result.machine_name, density)),
        summary=_summary(job, case, request, address),
    )


def _record(dvh: dose_pb2.Dvh) -> DvhRecord:
    return DvhRecord(
        structure_name=dvh.structure_name,
        structure_number=dvh.structure_number,
        volume_cm3=dvh.volume_cm3,
        dose_gy=tuple(dvh.dose_gy),
        cumulative_cm3=tuple(dvh.cumulative_cm3),
        statistics=dict(dvh.statistics),
        notes=tuple(dvh.notes),
    )


def _summary(job: dose_pb2.Job, case: Case, request: RecomputeRequest, address: str) -> dict[str, Any]:
    result = job.result
    return {
        **summary_head(request),
        "server": {"address": address, "job": job.name},
        "plan": plan_facts(case),
        "dose": {
            "engine": result.engine,
            "quantity": result.quantity,
            "max_gy": result.max_dose_gy,
            "grid": grid_facts(_grid(result.grid)),
            "machine_model": result.machine_name,
            "machine_sha256": result.machine_sha256,
        },
        "beams": [beam_facts(b.beam_number, b.beam_name, b.mu, b.max_dose_gy, dict(b.info)) for b in result.beams],
        "provenance": dict(sorted(result.provenance.items())),
        "seconds": dict(sorted(result.seconds.items())),
        "warnings": list(result.warnings),
        "notes": list(result.notes),
    }


def _grid(grid: geometry_pb2.Grid) -> Grid:
    origin, spacing = grid.origin_mm, grid.spacing_mm
    shape = (grid.size_z, grid.size_y, grid.size_x)
    return Grid((origin.x, origin.y, origin.z), (spacing.x, spacing.y, spacing.z), shape)


def _as_local(error: DosecalcApiError, uploaded: UploadedStudy | None) -> DosecalcError:
    """The server's error as one of this side, with the file's own name where the server names it by its hash."""
    where = dict(error.metadata)
    if uploaded is not None and where.get("file") in uploaded.files:
        where["file"] = uploaded.files[where["file"]]
    message = error.message + "".join(f" {field}: {what}" for field, what in error.violations)
    if error.code is grpc.StatusCode.CANCELLED:
        return Cancelled()
    kind = ServerFailure if error.code in _SERVER_FAULTS else InputError
    return kind(error.reason, message, **where)
