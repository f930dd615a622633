"""`dosecalc serve`: the gRPC server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Serve dose computations over gRPC.")
@click.option(
    "--listen",
    default="127.0.0.1:50051",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen. Port 0 takes a free one; the log names it.",
)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory for studies, jobs and results; made when it does not exist.",
)
@click.option("--workers", default=1, show_default=True, help="Computations at the same time, each in its own process.")
@click.option("--max-queued", type=int, help="Jobs that may wait; one more is refused.  [default: 64]")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM file: certificate.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="PEM file: private key.")
@click.option(
    "--tls-client-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file: only clients with a certificate of this authority are let in (mutual TLS).",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen beyond this machine without TLS: patient data then crosses the network in the clear.",
)
def serve(listen: str, store: Path, **options: Any) -> None:
    """Serve dose computations over gRPC until interrupted.

    The log on standard error says `listening` with the address when the server is ready; SIGTERM or Ctrl-C ends it in
    good order. What was uploaded, queued or finished is in the store, also after a crash.
    """
    from dosecalc_server.app import serve as serve_until_stopped
    from dosecalc_server.config import config_of

    serve_until_stopped(config_of(listen, store, **options))
