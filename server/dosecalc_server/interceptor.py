"""Stands between gRPC and the service: every call ends with a proper status and one line in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc_status import rpc_status
from structlog.typing import FilteringBoundLogger

from dosecalc.errors import DosecalcError, StoreError
from dosecalc_server.logs import incident
from dosecalc_server.status import code_of, internal_status, status_of

_Handler = Callable[[Any, grpc.ServicerContext], Any]


class StatusInterceptor(grpc.ServerInterceptor):
    """Turns exceptions into rich statuses, refuses streams past a number, and logs method, code and time.

    Never in the log: requests, answers, texts of errors.

    Parameters
    ----------
    log : logger
    max_streams : int
        Streaming calls at the same time.
    stopping : callable
        Whether the server is shutting down, so that new calls are refused.
    """

    def __init__(self, log: FilteringBoundLogger, max_streams: int, stopping: Callable[[], bool]) -> None:
        self._log = log
        self._max_streams = max_streams
        self._streams: set[object] = set()
        self._stopping = stopping

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the methods of dosecalc's services; health and reflection stay as they are."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/dosecalc_api."):
            return handler
        kind = ("stream" if handler.request_streaming else "unary", "stream" if handler.response_streaming else "unary")
        behaviour = getattr(handler, "_".join(kind))
        if handler.response_streaming:
            wrapped = self._streaming(method, behaviour)
        else:
            wrapped = self._single(method, behaviour, handler.request_streaming)
        make = getattr(grpc, f"{kind[0]}_{kind[1]}_rpc_method_handler")
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _single(self, method: str, behaviour: _Handler, is_stream: bool) -> _Handler:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with _Call(self, method, context, is_stream):
                return behaviour(request, context)

        return call

    def _streaming(self, method: str, behaviour: _Handler) -> _Handler:
        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with _Call(self, method, context, True):
                yield from behaviour(request, context)

        return call

    def enter(self, token: object, is_stream: bool) -> None:
        """Let a call in, or refuse it."""
        if self._stopping():
            raise StoreError("SERVER_STOPPING", "The server is shutting down; ask again when it is back.")
        if is_stream:
            if len(self._streams) >= self._max_streams:
                raise StoreError("TOO_MANY_STREAMS", f"{self._max_streams} streams are open already; try again later.")
            self._streams.add(token)

    def leave(self, token: object, method: str, began: float, error: BaseException | None) -> Any:
        """Log the call; the status that the client gets for an error."""
        self._streams.discard(token)
        status, code = None, "OK"
        if isinstance(error, DosecalcError):
            status, code = status_of(error), code_of(error).name
        elif isinstance(error, GeneratorExit | grpc.RpcError):
            code = "CANCELLED"
        elif error is not None:
            status, code = internal_status(incident(self._log, error, method=method)), "INTERNAL"
        reason = error.reason if isinstance(error, DosecalcError) else None
        self._log.info("call", method=method, code=code, reason=reason, seconds=round(time.monotonic() - began, 4))
        return status


class _Call:
    def __init__(self, owner: StatusInterceptor, method: str, context: grpc.ServicerContext, is_stream: bool) -> None:
        self._owner, self._method, self._context, self._is_stream = owner, method, context, is_stream
        self._began = time.monotonic()

    def __enter__(self) -> None:
        try:
            self._owner.enter(self, self._is_stream)
        except DosecalcError as error:
            self._finish(error)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        status = self._owner.leave(self, self._method, self._began, error)
        if status is not None:
            self._context.abort_with_status(rpc_status.to_status(status))
        if isinstance(error, grpc.RpcError):  # the client has gone in the middle of its stream
            self._context.abort(grpc.StatusCode.CANCELLED, "The client went away.")
