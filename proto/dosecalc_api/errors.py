"""What a client raises when a server refuses or fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from dosecalc_api.v1 import dose_pb2

_STATUS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class DosecalcApiError(Exception):
    """A call or a job ended with an error.

    Parameters
    ----------
    reason : str
        Stable reason in upper snake case, for example ``QUEUE_FULL``; the name of the code where the server gave none.
    message : str
        What is wrong and what would mend it, for a person.
    code : grpc.StatusCode
        Canonical code.
    metadata : dict of str to str
        What the message speaks of: ``beam``, ``file``, ``tag``, ``field``, …
    violations : tuple of (field, what is wrong with it)
        Of a request with wrong fields.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        code: grpc.StatusCode,
        metadata: dict[str, str] | None = None,
        violations: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.metadata = metadata or {}
        self.violations = violations

    def __str__(self) -> str:
        place = ", ".join(f"{key} {value}" for key, value in self.metadata.items())
        return f"{self.message} [{self.reason}{'; ' + place if place else ''}]"


def from_rpc_error(error: grpc.RpcError) -> DosecalcApiError:
    """The error that a failed call carries, of the sync or the asyncio library."""
    call: Any = error
    metadata: Iterable[tuple[str, str | bytes]] = call.trailing_metadata() or ()
    for key, value in metadata:
        if key == _STATUS_KEY and isinstance(value, bytes):
            return _from_status(status_pb2.Status.FromString(value))
    code: grpc.StatusCode = call.code()
    return DosecalcApiError(code.name, call.details() or code.name, code)


@contextmanager
def api_errors() -> Iterator[None]:
    """Turn what gRPC raises, the sync or the asyncio library, into `DosecalcApiError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None


def succeeded(job: dose_pb2.Job) -> dose_pb2.Job:
    """A job that is done, if it has a result.

    Raises
    ------
    DosecalcApiError
        Why it failed; reason ``CANCELLED`` when somebody cancelled it.
    """
    if job.state == dose_pb2.JOB_STATE_FAILED:
        error = job.error
        raise DosecalcApiError(error.reason, error.message, _CODES[error.code], dict(error.metadata))
    if job.state == dose_pb2.JOB_STATE_CANCELLED:
        raise DosecalcApiError("CANCELLED", "The job was cancelled.", grpc.StatusCode.CANCELLED)
    return job


def _from_status(status: status_pb2.Status) -> DosecalcApiError:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for message in (info, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    code = _CODES[status.code]
    violations = tuple((v.field, v.description) for v in bad.field_violations)
    return DosecalcApiError(info.reason or code.name, status.message, code, dict(info.metadata), violations)
