"""Starts servers for tests: in this process, or as a process of their own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dosecalc_api.client import Client, dose_request
from dosecalc_api.v1 import dose_pb2
from dosecalc_server.config import Limits, ServerConfig

FAKE = "server_fakes:compute"
#: what a small disk of a test machine must not stand in the way of
SMALL = {"min_free_bytes": 0}


def config(store: Path, **changes: Any) -> ServerConfig:
    """A server on a free loopback port that computes with the fakes."""
    limits = Limits(**{**SMALL, **changes.pop("limits", {})})
    return ServerConfig(**{"store": store, "port": 0, "computation": FAKE, "drain_s": 0.2, "limits": limits, **changes})


def request(study: str, action: str = "finish", **changes: Any) -> dose_pb2.DoseRequest:
    """A request that makes the fake do something."""
    return dose_request(study, **{"plan": action, **changes})


class ServerProcess:
    """``dosecalc_server`` in a process of its own, with the fakes."""

    def __init__(
        self,
        store: Path,
        *,
        port: int = 0,
        marks: Path | None = None,
        computation: str = FAKE,
        largest_file: int = -1,
    ) -> None:
        program = (
            "import resource, sys; from pathlib import Path; from dosecalc_server.app import serve;"
            "from server_helpers import config;"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file}, {largest_file}));"
            "serve(config(Path(sys.argv[1]), port=int(sys.argv[2]), computation=sys.argv[3]))"
        )
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
        if marks is not None:
            environment["DOSECALC_TEST_MARKS"] = str(marks)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(store), str(port), computation],
            env=environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.log: list[dict[str, Any]] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._listening.wait(30), f"the server did not start: {self.log}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line) if line.startswith("{") else {"event": "text", "text": line})
            if self.log[-1]["event"] == "listening":
                self.address = self.log[-1]["address"]
                self._listening.set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5)

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        self._reader.join(5)
        return status


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for a condition, failing when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def until_running(client: Client, job: str) -> None:
    """Wait until a job computes and has said how far it is."""
    until(lambda: client.job(job).progress.fraction > 0)
