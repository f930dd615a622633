"""The server's identity, and who may call."""

from __future__ import annotations

from pathlib import Path

import grpc

from dosecalc.errors import InputError
from dosecalc_server.config import TlsFiles


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials for TLS, or for mutual TLS when a client CA is given.

    Raises
    ------
    InputError
        ``TLS_FILE`` when a file cannot be read.
    """
    client_ca = _read(files.client_ca, "client CA") if files.client_ca is not None else None
    pair = (_read(files.key, "key"), _read(files.certificate, "certificate"))
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def _read(file: Path, what: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError("TLS_FILE", f"The TLS {what} cannot be read: {reason}.", file=file) from None
    if b"-----BEGIN " not in content:
        raise InputError("TLS_FILE", f"The TLS {what} is not a PEM file.", file=file)
    return content
