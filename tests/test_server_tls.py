"""TLS and mutual TLS with certificates made here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from server_helpers import config

from dosecalc.errors import InputError
from dosecalc_api.client import Client, DosecalcApiError, Tls
from dosecalc_server.app import Server
from dosecalc_server.config import TlsFiles


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        self._request("ca", "-x509", "-days", "2", "-out", self.certificate)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a server or a client on loopback."""
        request, certificate = self._folder / f"{name}.csr", self._folder / f"{name}.pem"
        self._request(name, "-out", request)
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        ca = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *ca, "-days", "2", "-extfile", extensions, "-out", certificate)
        return certificate, self._folder / f"{name}.key"

    def _request(self, name: str, *more: str | Path) -> None:
        key = (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            self._folder / f"{name}.key",
        )
        _openssl("req", *key, "-subj", f"/CN={name}", *more)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours") / "ca")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs") / "ca")


def _says(server: Server, tls: Tls | None) -> str:
    """``OK``, or the code with which a call ends."""
    try:
        with Client(server.address, tls=tls, timeout_s=5, patience_s=0) as client:
            client.info()
    except DosecalcApiError as error:
        return error.code.name
    return "OK"


def test_tls_proves_the_server(ours: Authority, theirs: Authority, tmp_path: Path) -> None:
    with Server(config(tmp_path, tls=TlsFiles(*ours.issue("server")))) as server:
        assert _says(server, Tls(ours.certificate)) == "OK"
        assert _says(server, Tls(theirs.certificate)) == "UNAVAILABLE"
        assert _says(server, None) == "UNAVAILABLE"


def test_mutual_tls_proves_the_client(ours: Authority, theirs: Authority, tmp_path: Path) -> None:
    tls = TlsFiles(*ours.issue("server"), client_ca=ours.certificate)
    with Server(config(tmp_path, tls=tls)) as server:
        assert _says(server, Tls(ours.certificate, *ours.issue("client"))) == "OK"
        assert _says(server, Tls(ours.certificate)) == "UNAVAILABLE"
        assert _says(server, Tls(ours.certificate, *theirs.issue("stranger"))) == "UNAVAILABLE"


def test_with_tls_it_may_listen_beyond_loopback(ours: Authority, tmp_path: Path) -> None:
    config(tmp_path, host="0.0.0.0", tls=TlsFiles(*ours.issue("server"))).check()


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_a_wrong_file_is_named(ours: Authority, tmp_path: Path, content: bytes | None) -> None:
    wrong = tmp_path / "wrong.pem"
    if content is not None:
        wrong.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Server(config(tmp_path / "store", tls=TlsFiles(wrong, ours.issue("server")[1])))
    assert (caught.value.reason, caught.value.where["file"]) == ("TLS_FILE", str(wrong))


def test_grpc_refuses_a_key_of_another_certificate(ours: Authority, tmp_path: Path) -> None:
    certificate, _ = ours.issue("server")
    _, key = ours.issue("other")
    with pytest.raises(InputError) as caught:
        Server(config(tmp_path, tls=TlsFiles(certificate, key)))
    assert caught.value.reason in ("LISTEN_FAILED", "TLS_FILE")
