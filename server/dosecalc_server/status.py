"""From errors to gRPC: the one table of canonical codes, and the rich status that goes to the client."""

from __future__ import annotations

import json

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from dosecalc import errors
from dosecalc.errors import DosecalcError, InputError

DOMAIN = "dosecalc"

#: reasons whose code is not that of their class
REASON_CODES = {
    "BLOB_CHECKSUM": grpc.StatusCode.DATA_LOSS,
    "CHUNK_CHECKSUM": grpc.StatusCode.DATA_LOSS,
    "OFFSET_OUT_OF_RANGE": grpc.StatusCode.OUT_OF_RANGE,
    "BLOB_NOT_UPLOADED": grpc.StatusCode.FAILED_PRECONDITION,
    "STUDY_UNKNOWN": grpc.StatusCode.NOT_FOUND,
    "STUDY_IN_USE": grpc.StatusCode.FAILED_PRECONDITION,
    "JOB_UNKNOWN": grpc.StatusCode.NOT_FOUND,
    "JOB_NOT_DONE": grpc.StatusCode.FAILED_PRECONDITION,
    "JOB_NOT_SUCCEEDED": grpc.StatusCode.FAILED_PRECONDITION,
    "RESULT_UNKNOWN": grpc.StatusCode.NOT_FOUND,
    "COMPARISONS_BUSY": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "TOO_MANY_STREAMS": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "STORE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "OBJECT_MISSING": grpc.StatusCode.DATA_LOSS,
    "OBJECT_CORRUPT": grpc.StatusCode.DATA_LOSS,
    "STORE_CORRUPT": grpc.StatusCode.DATA_LOSS,
    "SERVER_STOPPING": grpc.StatusCode.UNAVAILABLE,
    "DEVICE_OUT_OF_MEMORY": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEVICE_FAILED": grpc.StatusCode.ABORTED,
    "OUT_OF_MEMORY": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "WORKER_DIED": grpc.StatusCode.ABORTED,
    "MACHINE_UNKNOWN": grpc.StatusCode.NOT_FOUND,
    "STRUCTURE_UNKNOWN": grpc.StatusCode.NOT_FOUND,
}

_BY_CLASS: dict[type[DosecalcError], grpc.StatusCode] = {
    errors.InputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.DicomError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.GeometryError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PatientError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PlanError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.MachineError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DeviceError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreError: grpc.StatusCode.UNAVAILABLE,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
}

# A status travels in the trailing metadata, of which every gRPC library takes 8 KiB: the text once percent-encoded (up
# to three times as long), and once with the details in base64 (a third longer). Bytes:
_MAX_MESSAGE = 600
_MAX_VALUE = 120
_MAX_KEY = 40
_MAX_ENTRIES = 8


class RequestError(InputError):
    """A request with wrong fields, all of them named.

    Parameters
    ----------
    violations : list of (field path, what is wrong with it)
    """

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        text = f"The request is wrong: {violations[0][0]} {violations[0][1]}{more}."
        super().__init__("REQUEST_INVALID", text, field=violations[0][0])
        self.violations = violations


def code_of(error: DosecalcError) -> grpc.StatusCode:
    """The canonical code of an error: by its reason, else by the nearest class of the table."""
    by_class = (_BY_CLASS[c] for c in type(error).__mro__ if c in _BY_CLASS)
    return REASON_CODES.get(error.reason) or next(by_class, grpc.StatusCode.INTERNAL)


def status_of(error: DosecalcError) -> status_pb2.Status:
    """The google.rpc.Status of an error: ErrorInfo with reason and place, BadRequest where fields are to blame."""
    status = _status(code_of(error), error.message, _cut(error.reason, _MAX_KEY), error.where)
    violations = error.violations if isinstance(error, RequestError) else _blamed(error)
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, wrong in violations[:_MAX_ENTRIES]:
            bad.field_violations.add(field=_cut(field, _MAX_VALUE), description=_cut(wrong, _MAX_VALUE))
        _pack(status, bad)
    return status


def internal_status(incident: str) -> status_pb2.Status:
    """What a client learns of an error that nobody foresaw: under which id the server's log has it."""
    message = f"An internal error happened; the server's log has it as incident {incident}."
    return _status(grpc.StatusCode.INTERNAL, message, "INTERNAL_ERROR", {"incident": incident})


def failure_json(error: DosecalcError) -> str:
    """An error as a job keeps it."""
    return _failure(code_of(error), error.reason, error.message, error.where)


def internal_json(incident: str) -> str:
    """An unforeseen error as a job keeps it."""
    message = f"An internal error happened; the server's log has it as incident {incident}."
    return _failure(grpc.StatusCode.INTERNAL, "INTERNAL_ERROR", message, {"incident": incident})


def _failure(code: grpc.StatusCode, reason: str, message: str, where: dict[str, str]) -> str:
    return json.dumps({"code": code.value[0], "reason": reason, "message": message, "metadata": where})


def _blamed(error: DosecalcError) -> list[tuple[str, str]]:
    if isinstance(error, InputError) and "field" in error.where:
        return [(error.where["field"], error.message)]
    return []


def _status(code: grpc.StatusCode, message: str, reason: str, where: dict[str, str]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=_cut(message, _MAX_MESSAGE))
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    for key, value in list(where.items())[:_MAX_ENTRIES]:
        info.metadata[_cut(key, _MAX_KEY)] = _cut(value, _MAX_VALUE)
    _pack(status, info)
    return status


def _pack(status: status_pb2.Status, detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str, length: int) -> str:
    """The text, or as much of it as fits into so many bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= length else encoded[: length - 3].decode(errors="ignore") + "…"
