"""Structured logs: one JSON object per line, and nothing of a patient in them.

What an exception or a library says may quote the DICOM object that upset it. So an exception is logged as its type and
the places in the code that it passed, never its text, and libraries' own log records as their origin and level only.
"""

from __future__ import annotations

import logging
import traceback
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger


def make_logger(stream: TextIO) -> FilteringBoundLogger:
    """A logger that writes JSON lines with time (UTC), level and event."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    return logger


def incident(log: FilteringBoundLogger, error: BaseException, **about: str) -> str:
    """Log an exception that nobody foresaw; the id under which it stands in the log."""
    identifier = uuid.uuid4().hex
    frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    log.error("incident", incident=identifier, exception=type(error).__qualname__, frames=frames, **about)
    return identifier


def silence_libraries(log: FilteringBoundLogger | None = None) -> None:
    """Let libraries' warnings and log records reach ``log`` only as where they came from; None drops them."""
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    root.handlers[:] = [_OriginOnly(log)]
    root.setLevel(logging.WARNING)


def tell_of_devices(log: FilteringBoundLogger) -> None:
    """Log which device computes, and why not a GPU: these lines hold nothing of a patient."""
    about = logging.getLogger("dosecalc.device")
    about.setLevel(logging.INFO)
    about.propagate = False
    about.handlers[:] = [_Lines(log)]


@contextmanager
def _whatever_becomes_of_the_stream() -> Iterator[None]:
    """A record that cannot be written, to a closed stream or a full disk, must not end the computation that made it."""
    with suppress(OSError, ValueError):
        yield


class _Lines(logging.Handler):
    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        with _whatever_becomes_of_the_stream():
            self._log.info("device", line=record.getMessage())


class _OriginOnly(logging.Handler):
    def __init__(self, log: FilteringBoundLogger | None) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if self._log is not None:
            place = f"{record.module}:{record.lineno}"
            with _whatever_becomes_of_the_stream():
                self._log.warning("library", library=record.name, level_name=record.levelname, place=place)
