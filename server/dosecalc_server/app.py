"""Puts the server together, starts it and stops it."""

from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import FrameType, TracebackType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import dosecalc
from dosecalc.errors import InputError
from dosecalc_api.v1 import (
    compare_pb2,
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
from dosecalc_server.catalogue import Catalogue
from dosecalc_server.compare_service import CompareService
from dosecalc_server.config import ServerConfig
from dosecalc_server.executor import WorkerProcess
from dosecalc_server.interceptor import StatusInterceptor
from dosecalc_server.jobs import JobManager
from dosecalc_server.logs import make_logger, silence_libraries
from dosecalc_server.service import DoseService, InfoService, MachineService, StudyService
from dosecalc_server.store import Store
from dosecalc_server.tls import server_credentials

_SERVICES = (
    *(f.DESCRIPTOR.services_by_name[name].full_name for f, name in (
        (study_pb2, "StudyService"),
        (dose_pb2, "DoseService"),
        (machine_pb2, "MachineService"),
        (info_pb2, "InfoService"),
        (compare_pb2, "CompareService"),
    )),
    health.SERVICE_NAME,
    reflection.SERVICE_NAME,
)  # fmt: skip
#: calls that are not streams get threads of their own share, so that watchers cannot starve a health check
_UNARY_THREADS = 16


class Server:
    """A dosecalc server.

    Parameters
    ----------
    config : ServerConfig

    Raises
    ------
    InputError
        ``LISTEN_IN_THE_CLEAR``, ``LISTEN_INVALID``, ``LISTEN_FAILED``, ``TLS_FILE``.
    StoreError
        ``STORE_IN_USE``, ``STORE_IO``, ``STORE_VERSION``.
    """

    def __init__(self, config: ServerConfig) -> None:
        config.check()
        credentials = server_credentials(config.tls) if config.tls is not None else None
        self._config = config
        self._log = make_logger(sys.stderr)
        self._stopped = False
        self._store = Store(config.store, config.limits)
        try:
            executors = [WorkerProcess(config.computation, (i + 1, config.workers)) for i in range(config.workers)]
            self._jobs = JobManager(self._store, executors, config.limits.max_queued_jobs, self._log)
            catalogue = Catalogue.of_this_machine()
            self._compare = CompareService(
                self._store, WorkerProcess(config.comparison), config.limits, catalogue.device_names
            )
            self._health = health.HealthServicer()
            self._grpc = self._assembled(catalogue)
            self.port = self._listen(credentials)
        except BaseException:
            self._store.close()
            raise

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """``host:port`` to give to a client."""
        host = self._config.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def start(self) -> None:
        """Take calls and compute jobs, those first that an earlier server left."""
        self._jobs.start()
        self._grpc.start()
        for service in ("", *_SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._log.info(
            "listening", address=self.address, tls=self._config.tls is not None, version=dosecalc.__version__
        )

    def stop(self) -> None:
        """Refuse new calls, let running jobs finish for ``drain_s``, queue again what is not done, and end."""
        if self._stopped:
            return
        self._stopped = True
        self._log.info("stopping")
        self._health.enter_graceful_shutdown()
        self._jobs.stop(self._config.drain_s)
        self._compare.close()
        self._grpc.stop(grace=2.0).wait()
        self._store.close()
        self._log.info("stopped")

    def _assembled(self, catalogue: Catalogue) -> grpc.Server:
        limits = self._config.limits
        server = grpc.server(
            ThreadPoolExecutor(limits.max_streams + _UNARY_THREADS, thread_name_prefix="call"),
            maximum_concurrent_rpcs=2 * limits.max_streams + _UNARY_THREADS,
            interceptors=[StatusInterceptor(self._log, limits.max_streams, lambda: self._jobs.stopping)],
            options=[
                ("grpc.max_receive_message_length", limits.max_message_bytes),
                ("grpc.max_metadata_size", 16384),
                # find out within a minute and a half that a client has gone without a word
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),
            ],
        )
        study_pb2_grpc.add_StudyServiceServicer_to_server(StudyService(self._store, limits), server)
        dose_service = DoseService(self._store, self._jobs, catalogue, limits)
        dose_pb2_grpc.add_DoseServiceServicer_to_server(dose_service, server)
        machine_pb2_grpc.add_MachineServiceServicer_to_server(MachineService(catalogue), server)
        compare_pb2_grpc.add_CompareServiceServicer_to_server(self._compare, server)
        info_service = InfoService(catalogue, limits, self._config.workers)
        info_pb2_grpc.add_InfoServiceServicer_to_server(info_service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(_SERVICES, server)
        return server

    def _listen(self, credentials: grpc.ServerCredentials | None) -> int:
        address = self._config.address
        try:
            if credentials is None:
                return int(self._grpc.add_insecure_port(address))
            return int(self._grpc.add_secure_port(address, credentials))
        except RuntimeError:
            raise InputError(
                "LISTEN_FAILED", f"{address} cannot be listened on; is another program there?", field="listen"
            ) from None


def serve(config: ServerConfig) -> None:
    """Run a server until SIGTERM or SIGINT; see `Server` for errors."""
    silence_libraries(make_logger(sys.stderr))
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with Server(config):
        asked.wait()
