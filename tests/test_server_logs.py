"""What libraries log while a server runs: its origin, never its text, and never the end of a computation."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from dosecalc_server.logs import make_logger, silence_libraries, tell_of_devices


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    found = [logging.getLogger(name) for name in (None, "dosecalc.device")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in found]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def test_a_library_s_record_is_logged_without_its_text() -> None:
    stream = io.StringIO()
    silence_libraries(make_logger(stream))
    logging.getLogger("somebody").warning("the patient is called Lindqvist")
    line = json.loads(stream.getvalue())
    assert (line["library"], line["level_name"]) == ("somebody", "WARNING")
    assert "Lindqvist" not in stream.getvalue()


def test_a_closed_stream_ends_nothing() -> None:
    stream = io.StringIO()
    silence_libraries(make_logger(stream))
    tell_of_devices(make_logger(stream))
    stream.close()
    logging.getLogger("somebody").warning("unheard")
    logging.getLogger("dosecalc.device").warning("unheard")
