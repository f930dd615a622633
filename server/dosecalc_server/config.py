"""What an operator may choose about a server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from dosecalc.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What a client may not exceed; all of it is told to clients by ``InfoService.GetInfo``.

    Parameters
    ----------
    max_blob_bytes, max_study_bytes, max_study_blobs : int
        Length of one uploaded object, of all objects of a study, and how many those are.
    max_chunk_bytes, max_message_bytes : int
        Length of the data of one upload message, and of any message.
    max_queued_jobs : int
        Jobs that may wait; running ones are not counted.
    max_queued_comparisons : int
        Comparisons that may wait for their turn.
    max_grid_voxels : int
        Voxels of a dose grid whose box is given with the request.
    max_streams : int
        Uploads, downloads and watches at the same time; each holds a thread.
    min_free_bytes : int
        What stays free on the store's disk; an upload that would leave less is refused.
    idle_upload_s : float
        An upload that sends nothing for so long is ended.
    """

    max_blob_bytes: int = 1 << 30
    max_chunk_bytes: int = 1 << 20
    max_study_bytes: int = 4 << 30
    max_study_blobs: int = 20_000
    max_message_bytes: int = 4 << 20
    max_queued_jobs: int = 64
    max_queued_comparisons: int = 8
    max_grid_voxels: int = 300_000_000
    max_streams: int = 48
    min_free_bytes: int = 256 << 20
    idle_upload_s: float = 60.0


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of the server's identity and, for mutual TLS, of who may call.

    Parameters
    ----------
    certificate, key : Path
        The server's certificate chain and its private key.
    client_ca : Path or None
        Certificates of the authorities whose clients are let in; None asks clients for nothing.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class ServerConfig:
    """A server's settings.

    Parameters
    ----------
    store : Path
        The directory that holds everything; made when absent. One server at a time may use it.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    tls : TlsFiles or None
        None speaks in the clear, which is refused beyond loopback unless ``insecure``.
    insecure : bool
        Listen beyond loopback in the clear: patient data then crosses the network readable by anybody on it.
    workers : int
        Jobs computed at the same time, each in a process of its own.
    limits : Limits
    drain_s : float
        How long a stopping server lets running jobs finish, seconds; what is not done then is queued again.
    computation, comparison : str
        ``module:function`` that computes a job or a comparison; see `dosecalc_server.computation.compute` and
        `dosecalc_server.comparison.compare_doses`.
    """

    store: Path
    host: str = "127.0.0.1"
    port: int = 50051
    tls: TlsFiles | None = None
    insecure: bool = False
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    drain_s: float = 5.0
    computation: str = "dosecalc_server.computation:compute"
    comparison: str = "dosecalc_server.comparison:compare_doses"

    def check(self) -> None:
        """Refuse settings that cannot or should not be served.

        Raises
        ------
        InputError
            ``LISTEN_INVALID``, ``LISTEN_IN_THE_CLEAR`` or ``WORKERS_INVALID``.
        """
        if not 0 <= self.port <= 65535 or not self.host:
            raise InputError("LISTEN_INVALID", "Give a host and a port from 0 to 65535.", field="listen")
        if self.workers < 1:
            raise InputError("WORKERS_INVALID", "At least one worker is needed.", field="workers")
        if self.tls is None and not self.insecure and not is_loopback(self.host):
            raise InputError(
                "LISTEN_IN_THE_CLEAR",
                f"{self.host} can be reached from other machines; give a certificate and key (TLS), or say that "
                "patient data may cross the network in the clear (--insecure).",
                field="listen",
            )

    @property
    def address(self) -> str:
        """``host:port`` as gRPC writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def config_of(
    listen: str,
    store: Path,
    *,
    workers: int = 1,
    max_queued: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_client_ca: Path | None = None,
    insecure: bool = False,
) -> ServerConfig:
    """Settings from the options of a command line.

    Parameters
    ----------
    listen : str
        As `parse_listen` takes it.
    store, workers, insecure
        As in `ServerConfig`.
    max_queued : int, optional
        Jobs that may wait; the default of `Limits` when None.
    tls_cert, tls_key, tls_client_ca : Path, optional
        As in `TlsFiles`.

    Raises
    ------
    InputError
        ``TLS_FILES`` or ``LISTEN_INVALID``.
    """
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca and not tls_cert):
        raise InputError("TLS_FILES", "TLS needs a certificate and its key (--tls-cert and --tls-key).", field="tls")
    host, port = parse_listen(listen)
    limits = Limits() if max_queued is None else Limits(max_queued_jobs=max_queued)
    tls = TlsFiles(tls_cert, tls_key, tls_client_ca) if tls_cert and tls_key else None
    return ServerConfig(store, host, port, tls, insecure, workers, limits)


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[IPV6]:PORT`` or ``PORT`` (loopback).

    Raises
    ------
    InputError
        ``LISTEN_INVALID``.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError("LISTEN_INVALID", f"{text!r} is not HOST:PORT with a port from 0 to 65535.", field="listen")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost is not trusted to be."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
