"""The client library: where files come from, both flavours, and what it makes of a damaged download."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from server_fakes import dose_gy
from server_helpers import config, request

from dosecalc_api.client import AsyncClient, Client, DosecalcApiError
from dosecalc_api.transfer import Download, gather
from dosecalc_api.v1 import dose_pb2
from dosecalc_server.app import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(config(tmp_path_factory.mktemp("store"))) as server:
        yield server


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_files_folders_archives_and_bytes_are_gathered_once(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deeper").mkdir(parents=True)
    (tmp_path / "folder" / "deeper" / "å.dcm").write_bytes(b"in a folder")
    (tmp_path / "folder" / "empty").write_bytes(b"")
    (tmp_path / "same").write_bytes(b"in a folder")
    with zipfile.ZipFile(tmp_path / "archive.anything", "w") as archive:
        archive.writestr("sub/member", b"in an archive")
    blobs = gather([tmp_path / "folder", str(tmp_path / "same"), tmp_path / "archive.anything", b"bytes"])
    assert sorted(b.read() for b in blobs) == [b"bytes", b"in a folder", b"in an archive"]
    assert all(b.sha256.hex() == _hex(b.read()) for b in blobs)
    for blob in blobs:
        messages = list(blob.chunks(4))
        assert b"".join(m.data for m in messages) == blob.read()
        assert all(len(m.data) <= 4 and zlib.crc32(m.data) == m.crc32 for m in messages)


@pytest.mark.parametrize(
    ("sources", "reason"), [([], "STUDY_EMPTY"), ([b""], "STUDY_EMPTY"), (["nowhere"], "FILE_MISSING")]
)
def test_nothing_to_send_is_said(sources: list[bytes | str], reason: str) -> None:
    with pytest.raises(DosecalcApiError) as caught:
        gather(sources)
    assert caught.value.reason == reason


def test_an_upload_says_which_file_is_which(server: Server, tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"a plan")
    with Client(server.address) as client:
        study = client.upload_files([tmp_path / "plan"])
        assert study.files == {_hex(b"a plan"): str(tmp_path / "plan")}
        with pytest.raises(DosecalcApiError) as caught:
            client.wait(client.submit(request(study.name, "refuse")).name)
        assert study.files[caught.value.metadata["file"]] == str(tmp_path / "plan")


def test_a_large_file_goes_and_comes_in_chunks(server: Server, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(5_000_001)
    (tmp_path / "large").write_bytes(content)
    with Client(server.address) as client:
        job = client.wait(client.submit(request(client.upload_files([tmp_path / "large"]).name)).name)
        assert client.download_dose(job.name) == content + b"plan"


@pytest.mark.asyncio
async def test_the_asyncio_client_does_the_same(server: Server) -> None:
    async with AsyncClient(server.address) as client:
        info, machines = await client.info(), await client.machines()
        assert info.workers == 1
        assert machines
        study = await client.upload_files([b"from asyncio"])
        assert study.sent == 1
        seen: list[dose_pb2.Job] = []
        job = await client.wait((await client.submit(request(study.name, "slow-0.5"))).name, seen.append)
        assert len(seen) > 2
        assert (await client.job(job.name)).done
        assert await client.download_dose(job.name, beam=1) == b"from asynciobeam-1"
        np.testing.assert_array_equal((await client.dose_array(job.name)).dose_gy, dose_gy())
        assert [d.structure_name for d in await client.dvhs(job.name, ["PTV"])] == ["PTV"]
        slow = await client.submit(request(study.name, "slow-30"))
        assert (await client.cancel(slow.name)).state == dose_pb2.JOB_STATE_CANCELLED
        with pytest.raises(DosecalcApiError) as caught:
            await client.wait(slow.name)
        assert caught.value.reason == "CANCELLED"
        with pytest.raises(DosecalcApiError) as caught:
            await client.submit(request(study.name, engine="magic"))
        assert caught.value.violations[0][0] == "request.engine"
        assert {j.name async for j in client.jobs(study.name)} == {job.name, slow.name}
        await client.delete_job(slow.name)
        await client.delete_study(study.name)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Client("127.0.0.1:1", timeout_s=5, patience_s=0) as client, pytest.raises(DosecalcApiError) as caught:
        client.info()
    assert (caught.value.reason, caught.value.code) == ("UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)


def _response(data: bytes, offset: int, crc32: int | None = None) -> dose_pb2.GetDoseResponse:
    crc32 = zlib.crc32(data) if crc32 is None else crc32
    return dose_pb2.GetDoseResponse(chunk=dose_pb2.DoseChunk(offset_bytes=offset, data=data, crc32=crc32))


def _header(content: bytes) -> dose_pb2.GetDoseResponse:
    header = dose_pb2.DoseHeader(size_bytes=len(content), sha256=hashlib.sha256(content).digest())
    return dose_pb2.GetDoseResponse(header=header)


def test_a_download_goes_on_where_it_stopped() -> None:
    download = Download("jobs/x", 3, dose_pb2.DOSE_FORMAT_RTDOSE)
    assert (download.request().offset_bytes, download.request().beam_number) == (0, 3)
    download.take(_header(b"abcdef"))
    download.take(_response(b"abc", 0))
    assert download.request().offset_bytes == 3
    download.take(_header(b"abcdef"))
    download.take(_response(b"def", 3))
    assert download.content() == b"abcdef"


@pytest.mark.parametrize(
    "responses",
    [
        [_header(b"abc"), _response(b"abc", 1)],
        [_header(b"abc"), _response(b"abc", 0, crc32=1)],
        [_header(b"abc"), _response(b"abd", 0)],
        [_header(b"abc"), _response(b"ab", 0)],
        [_header(b"abc"), _response(b"a", 0), _header(b"xyz")],
        [],
    ],
)
def test_a_damaged_download_is_noticed(responses: list[dose_pb2.GetDoseResponse]) -> None:
    download = Download("jobs/x", None, dose_pb2.DOSE_FORMAT_RTDOSE)
    with pytest.raises(DosecalcApiError) as caught:
        for response in responses:
            download.take(response)
        download.content()
    assert caught.value.reason == "DOWNLOAD_CORRUPT"
