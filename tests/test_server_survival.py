"""``kill -9`` of a real server at the worst moments, and SIGTERM: nothing finished is lost, nothing half is served."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from server_helpers import ServerProcess, config, request, until, until_running

from dosecalc.errors import StoreError
from dosecalc_api.client import Client, DosecalcApiError
from dosecalc_api.transfer import Download
from dosecalc_api.v1 import dose_pb2, study_pb2, study_pb2_grpc
from dosecalc_server.app import Server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def servers() -> Iterator[list[ServerProcess]]:
    """Servers that a test started, killed at its end."""
    started: list[ServerProcess] = []
    yield started
    for server in started:
        server.kill()


def _blob(content: bytes, chunk: int) -> list[study_pb2.UploadBlobsRequest]:
    digest = hashlib.sha256(content).digest()
    pieces = [(n, content[n : n + chunk]) for n in range(0, len(content), chunk)]
    return [
        study_pb2.UploadBlobsRequest(
            sha256=digest, size_bytes=len(content), offset_bytes=n, data=data, crc32=zlib.crc32(data)
        )
        for n, data in pieces
    ]


def _stored(store: Path) -> list[Path]:
    return [p for p in (store / "blobs").rglob("*") if p.is_file()]


def test_killed_during_an_upload(store: Path, servers: list[ServerProcess]) -> None:
    whole, half = os.urandom(300_000), os.urandom(300_000)
    servers.append(ServerProcess(store))
    sent, go_on = threading.Event(), threading.Event()

    def chunks() -> Iterator[study_pb2.UploadBlobsRequest]:
        yield from _blob(whole, 100_000)
        yield from _blob(half, 100_000)[:2]
        sent.set()
        go_on.wait(20)

    with grpc.insecure_channel(servers[0].address) as channel:
        call = study_pb2_grpc.StudyServiceStub(channel).UploadBlobs.future(chunks())
        assert sent.wait(10)
        until(lambda: _stored(store) and any((store / "tmp").iterdir()))
        servers[0].kill()
        go_on.set()
        with pytest.raises(grpc.RpcError):
            call.result(10)

    servers.append(ServerProcess(store))
    assert [p.name for p in _stored(store)] == [hashlib.sha256(whole).hexdigest()]
    assert not list((store / "tmp").iterdir())
    with Client(servers[1].address) as client:
        study = client.upload_files([whole, half])
        assert study.sent == 1  # the complete one was kept, the half one is asked for again
        assert client.wait(client.submit(request(study.name)).name).done


def test_killed_while_a_client_uploads_the_client_goes_on(store: Path, servers: list[ServerProcess]) -> None:
    servers.append(ServerProcess(store))
    contents = [os.urandom(3 << 20) for _ in range(12)]
    result = []
    with Client(servers[0].address) as client:
        thread = threading.Thread(target=lambda: result.append(client.upload_files(contents)))
        thread.start()
        until(lambda: len(_stored(store)) >= 2)
        servers[0].kill()
        servers.append(ServerProcess(store, port=servers[0].port))
        thread.join(30)
        assert client.wait(client.submit(request(result[0].name)).name).done
        expected = b"".join(sorted(contents, key=lambda c: hashlib.sha256(c).hexdigest())) + b"plan"
        assert client.download_dose(client.submit(request(result[0].name)).name) == expected


def test_killed_during_a_computation(store: Path, servers: list[ServerProcess], tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    servers.append(ServerProcess(store, marks=marks))
    with Client(servers[0].address) as client:
        study = client.upload_files([b"a study"]).name
        finished = client.wait(client.submit(request(study)).name)
        before = client.download_dose(finished.name)
        running = client.submit(request(study, "slow-2"))
        queued = client.submit(request(study, spacing_mm=2.0))
        until_running(client, running.name)
        watched: list[dose_pb2.Job] = []
        watcher = threading.Thread(target=lambda: watched.extend(client.watch(running.name)))
        watcher.start()
        until(lambda: watched)
        servers[0].kill()
        servers.append(ServerProcess(store, port=servers[0].port, marks=marks))

        assert client.job(finished.name).state == dose_pb2.JOB_STATE_SUCCEEDED
        assert client.download_dose(finished.name) == before
        assert client.wait(running.name).state == dose_pb2.JOB_STATE_SUCCEEDED
        assert client.wait(queued.name).state == dose_pb2.JOB_STATE_SUCCEEDED
        assert client.download_dose(queued.name) == before
        watcher.join(20)
        assert watched[-1].state == dose_pb2.JOB_STATE_SUCCEEDED  # whoever watched is told after all
    runs = [f"jobs/{line}" for line in marks.read_text().split()]
    assert sorted(runs) == sorted([finished.name, running.name, running.name, queued.name])


def test_plain_calls_wait_for_a_server_that_was_there(store: Path, servers: list[ServerProcess]) -> None:
    servers.append(ServerProcess(store))
    with Client(servers[0].address) as client:
        job = client.wait(client.submit(request(client.upload_files([b"a study"]).name)).name)
        servers[0].kill()
        answers: list[dose_pb2.Job] = []
        asking = threading.Thread(target=lambda: answers.append(client.job(job.name)))
        asking.start()
        servers.append(ServerProcess(store, port=servers[0].port))
        asking.join(30)
        assert [a.state for a in answers] == [dose_pb2.JOB_STATE_SUCCEEDED]
        servers[1].kill()
        with pytest.raises(DosecalcApiError) as caught:
            client.delete_job(job.name)  # its first attempt may have worked, so it is not sent again
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    # an hour's patience is for servers that were there, not for a wrong address
    with Client(servers[1].address, patience_s=3600) as client, pytest.raises(DosecalcApiError) as caught:
        client.job(job.name)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_the_worker_of_a_killed_server_ends(store: Path, servers: list[ServerProcess]) -> None:
    servers.append(ServerProcess(store))
    with Client(servers[0].address) as client:
        job = client.submit(request(client.upload_files([b"a study"]).name, "slow-60"))
        until_running(client, job.name)
    children = Path(f"/proc/{servers[0].process.pid}/task/{servers[0].process.pid}/children").parents[1]
    workers = {int(pid) for task in children.iterdir() for pid in (task / "children").read_text().split()}
    assert workers
    servers[0].kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_ended_during_a_download(store: Path, servers: list[ServerProcess], end: str) -> None:
    servers.append(ServerProcess(store))
    with Client(servers[0].address) as client:
        job = client.wait(client.submit(request(client.upload_files([b"a study"]).name, "big")).name)
        whole = client.download_dose(job.name)
        taken = threading.Event()
        killed = threading.Event()
        original = Download.take

        def slow_take(self: Download, response: dose_pb2.GetDoseResponse) -> None:
            original(self, response)
            if response.HasField("chunk") and not killed.is_set():
                taken.set()
                killed.wait(20)

        result: list[bytes] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Download, "take", slow_take)
            thread = threading.Thread(target=lambda: result.append(client.download_dose(job.name)))
            thread.start()
            assert taken.wait(10)
            getattr(servers[0], end)()
            servers.append(ServerProcess(store, port=servers[0].port))
            killed.set()
            thread.join(30)
        assert result == [whole]


def test_a_job_that_kills_the_server_each_time_is_given_up(store: Path, servers: list[ServerProcess]) -> None:
    servers.append(ServerProcess(store))
    with Client(servers[0].address) as client:
        job = client.submit(request(client.upload_files([b"a study"]).name, "slow-60"))
        for _ in range(3):
            until_running(client, job.name)
            servers[-1].kill()
            servers.append(ServerProcess(store, port=servers[0].port))
        with pytest.raises(DosecalcApiError) as caught:
            client.wait(job.name)
        assert caught.value.reason == "WORKER_DIED"


def test_sigterm_parks_the_running_job_and_the_next_server_runs_it(store: Path, servers: list[ServerProcess]) -> None:
    servers.append(ServerProcess(store))
    with Client(servers[0].address, patience_s=0) as client:
        job = client.submit(request(client.upload_files([b"a study"]).name, "slow-2"))
        until_running(client, job.name)
        watch = client.watch(job.name)
        next(watch)
        begin = time.monotonic()
        assert servers[0].terminate() == 0
        assert time.monotonic() - begin < 5  # drains for 0.2 s here
        with pytest.raises(DosecalcApiError) as caught:
            list(watch)
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    servers.append(ServerProcess(store))
    with Client(servers[1].address) as client:
        assert client.wait(job.name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_sigterm_lets_a_short_job_finish(store: Path) -> None:
    with Server(config(store, drain_s=10.0)) as server, Client(server.address) as client:
        job = client.submit(request(client.upload_files([b"a study"]).name, "slow-1"))
        until_running(client, job.name)
    with Server(config(store)) as server, Client(server.address) as client:
        assert client.job(job.name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_a_store_has_one_server(store: Path) -> None:
    with Server(config(store)), pytest.raises(StoreError) as caught:
        Server(config(store))
    assert caught.value.reason == "STORE_IN_USE"
    Server(config(store)).stop()


def test_the_log_says_what_happened_and_nothing_of_the_patient(store: Path, servers: list[ServerProcess]) -> None:
    servers.append(ServerProcess(store))
    secret = b"Lindqvist^Anna 19121212-1212"
    with Client(servers[0].address) as client:
        study = client.upload_files([secret]).name
        bug = client.submit(request(study, "bug", density_g_cm3={"Lindqvist": 1.0}))
        with pytest.raises(DosecalcApiError) as caught:
            client.wait(bug.name)
        for action in ("refuse", "finish"):
            job = client.submit(request(study, action, density_g_cm3={"Lindqvist": 1.0}))
            until(lambda job=job: client.job(job.name).done)
        with pytest.raises(DosecalcApiError):
            client.dvhs(job.name, ["Lindqvist"])
    servers[0].terminate()
    text = str(servers[0].log)
    assert caught.value.metadata["incident"] in text
    assert "ValueError" in text
    assert {"listening", "call", "job succeeded", "job refused", "stopped"} <= {e["event"] for e in servers[0].log}
    for part in ("Lindqvist", "Anna", "19121212"):
        assert part not in text
    assert "text" not in {e["event"] for e in servers[0].log}  # every line is JSON


def test_a_disk_that_fills_up_is_said_to_be_full_and_then_used_again(store: Path, servers: list[ServerProcess]) -> None:
    # a limit on the size of files stands for the full disk; the kernel refuses the write in the same place
    servers.append(ServerProcess(store, largest_file=1 << 20))
    with Client(servers[0].address) as client:
        with pytest.raises(DosecalcApiError) as caught:
            client.upload_files([os.urandom(2 << 20)])
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
        study = client.upload_files([b"a study"]).name
        with pytest.raises(DosecalcApiError) as caught:
            client.wait(client.submit(request(study, "big")).name)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
        assert client.wait(client.submit(request(study)).name).state == dose_pb2.JOB_STATE_SUCCEEDED
    assert not list((store / "tmp").iterdir())
    assert len(_stored(store)) == 1 + 7  # the object, and seven files of the result
