"""Jobs through the wire: from an upload to results, and everything that may happen to a job in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from server_fakes import GRID, dose_gy
from server_helpers import config, request, until, until_running

from dosecalc_api.client import Client, DosecalcApiError
from dosecalc_api.v1 import dose_pb2, dose_pb2_grpc
from dosecalc_server.app import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(config(tmp_path_factory.mktemp("store"), limits={"max_queued_jobs": 3})) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
def study(client: Client, request: pytest.FixtureRequest) -> str:
    """A study of this test's own, so that no other test has computed it."""
    return client.upload_files([request.node.name.encode(), b"second object"]).name


def test_results_are_what_was_computed(client: Client, study: str) -> None:
    job = client.wait(client.submit(request(study)).name)
    assert job.state == dose_pb2.JOB_STATE_SUCCEEDED
    assert job.done
    assert job.progress.fraction == 1
    assert [b.beam_number for b in job.result.beams] == [1, 7]
    assert job.result.grid.size_x == GRID["shape"][2]
    assert client.download_dose(job.name).endswith(b"plan")
    assert client.download_dose(job.name, beam=7).endswith(b"beam-7")
    array = client.dose_array(job.name)
    np.testing.assert_array_equal(array.dose_gy, dose_gy())
    assert (array.origin_mm, array.spacing_mm) == (tuple(GRID["origin_mm"]), tuple(GRID["spacing_mm"]))
    np.testing.assert_array_equal(client.dose_array(job.name, beam=1).dose_gy, dose_gy(0.25))
    assert [d.structure_name for d in client.dvhs(job.name)] == ["PTV", "Ryggmärg"]
    assert [d.structure_number for d in client.dvhs(job.name, ["Ryggmärg"])] == [2]


def test_progress_rises_per_beam_and_estimates_the_time_left(client: Client, study: str) -> None:
    seen = []
    client.wait(client.submit(request(study, "slow-1.5")).name, seen.append)
    running = [job.progress for job in seen if job.state == dose_pb2.JOB_STATE_RUNNING]
    fractions = [p.fraction for p in running]
    assert fractions == sorted(fractions)
    assert len(set(fractions)) >= 5
    assert {b.beam_number for p in running for b in p.beams} == {1, 7}
    halfway = next(p for p in running if p.fraction > 0.5)
    # the fake runs evenly, so the estimate is right but for the fifth of a second between messages and polls
    assert halfway.remaining_s == pytest.approx(1.5 * (1 - halfway.fraction), abs=0.4)


def test_an_identical_request_is_answered_from_the_store(client: Client, study: str) -> None:
    first = client.wait(client.submit(request(study)).name)
    again = client.submit(request(study, threads=1))
    assert again.name == first.name
    assert again.state == dose_pb2.JOB_STATE_SUCCEEDED
    assert again.start_time == first.start_time
    assert client.submit(request(study, spacing_mm=2.0)).name != first.name


@pytest.mark.parametrize("action", ["slow-30", "deaf-30"])
def test_a_running_job_is_cancelled_within_a_second(client: Client, study: str, action: str) -> None:
    job = client.submit(request(study, action))
    until(lambda: client.job(job.name).state == dose_pb2.JOB_STATE_RUNNING)
    begin = time.monotonic()
    assert client.cancel(job.name).state == dose_pb2.JOB_STATE_CANCELLED
    assert time.monotonic() - begin < 1.0  # the promise of dose.proto
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(job.name)
    assert caught.value.reason == "CANCELLED"
    # the worker is fit for the next job
    assert client.wait(client.submit(request(study)).name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_a_waiting_job_is_cancelled_at_once_and_can_be_asked_for_again(client: Client, study: str) -> None:
    running = client.submit(request(study, "slow-30"))
    waiting = client.submit(request(study))
    assert client.cancel(waiting.name).state == dose_pb2.JOB_STATE_CANCELLED
    assert client.submit(request(study)).name == waiting.name
    client.cancel(running.name)
    assert client.wait(waiting.name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_the_queue_has_a_limit(client: Client, study: str) -> None:
    running = client.submit(request(study, "slow-30"))
    until_running(client, running.name)
    waiting = [client.submit(request(study, spacing_mm=s)) for s in (2, 4, 5)]
    assert [client.job(job.name).progress.queue_position for job in waiting] == [0, 1, 2]
    with pytest.raises(DosecalcApiError) as caught:
        client.submit(request(study, spacing_mm=6))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert client.submit(request(study, spacing_mm=2)).name == waiting[0].name  # known: takes no place
    client.cancel(running.name)
    for job in waiting:
        client.wait(job.name)


def test_a_job_outlives_its_client(server: Server, client: Client, study: str) -> None:
    with Client(server.address) as leaving:
        job = leaving.submit(request(study, "slow-1"))
        watching = leaving.watch(job.name)
        next(watching)
    assert client.wait(job.name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_a_refused_plan_says_why_and_where(client: Client, study: str) -> None:
    job = client.submit(request(study, "refuse"))
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(job.name)
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODIFIER_NOT_MODELLED")
    assert error.metadata["beam"] == "1"
    assert len(error.metadata["file"]) == 64  # the digest that the client knows, not a path of the server's


def test_a_bug_is_internal_with_an_incident_and_quotes_nothing(client: Client, study: str) -> None:
    job = client.submit(request(study, "bug"))
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(job.name)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
    assert caught.value.metadata["incident"] in caught.value.message
    assert "second object" not in str(caught.value)


def test_a_worker_that_dies_is_tried_again_and_then_given_up(client: Client, study: str) -> None:
    job = client.submit(request(study, "die"))
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(job.name)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.ABORTED, "WORKER_DIED")
    assert client.wait(client.submit(request(study)).name).state == dose_pb2.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize(("action", "reason"), [("full", "STORE_FULL"), ("memory", "OUT_OF_MEMORY")])
def test_a_machine_that_is_too_small_is_resource_exhausted(
    client: Client, study: str, action: str, reason: str
) -> None:
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(client.submit(request(study, action)).name)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)


def test_a_device_that_fails_fails_the_job_and_the_next_one_gets_a_fresh_process(client: Client, study: str) -> None:
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(client.submit(request(study, "fault")).name)
    assert caught.value.reason == "DEVICE_FAILED"
    assert client.wait(client.submit(request(study)).name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_a_library_that_prints_does_not_disturb_the_worker(client: Client, study: str) -> None:
    assert client.wait(client.submit(request(study, "print")).name).state == dose_pb2.JOB_STATE_SUCCEEDED


def test_jobs_are_listed_in_pages_newest_first(server: Server, client: Client, study: str) -> None:
    names = [client.wait(client.submit(request(study, spacing_mm=s)).name).name for s in (2, 4, 5)]
    assert [job.name for job in client.jobs(study)] == names[::-1]
    with grpc.insecure_channel(server.address) as channel:
        stub = dose_pb2_grpc.DoseServiceStub(channel)
        first = stub.ListJobs(dose_pb2.ListJobsRequest(study=study, page_size=2))
        assert [job.name for job in first.jobs] == names[:0:-1]
        last = stub.ListJobs(dose_pb2.ListJobsRequest(study=study, page_token=first.next_page_token))
        assert ([job.name for job in last.jobs], last.next_page_token) == (names[:1], "")
        failed = dose_pb2.ListJobsRequest(study=study, state=dose_pb2.JOB_STATE_FAILED)
        assert not stub.ListJobs(failed).jobs


def test_a_deleted_job_is_gone_and_a_running_one_cannot_be_deleted(client: Client, study: str) -> None:
    done = client.wait(client.submit(request(study)).name)
    client.delete_job(done.name)
    with pytest.raises(DosecalcApiError) as caught:
        client.download_dose(done.name)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_UNKNOWN")
    running = client.submit(request(study, "slow-30"))
    for refused, reason in (
        (lambda: client.delete_job(running.name), "JOB_NOT_DONE"),
        (lambda: client.delete_study(study), "STUDY_IN_USE"),
        (lambda: client.download_dose(running.name), "JOB_NOT_SUCCEEDED"),
        (lambda: client.dvhs(running.name), "JOB_NOT_SUCCEEDED"),
    ):
        with pytest.raises(DosecalcApiError) as caught:
            refused()
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
    client.cancel(running.name)


def test_a_deleted_study_takes_its_blobs_along(server: Server, client: Client, tmp_path: Path) -> None:
    files = [b"only in this study"]
    study = client.upload_files(files)
    assert study.sent == 1
    assert client.upload_files(files).sent == 0
    client.delete_study(study.name)
    assert client.upload_files(files).sent == 1


def test_a_download_resumes_at_any_offset(server: Server, client: Client, study: str) -> None:
    job = client.wait(client.submit(request(study)).name)
    whole = client.download_dose(job.name)
    with grpc.insecure_channel(server.address) as channel:
        stub = dose_pb2_grpc.DoseServiceStub(channel)
        for offset in (0, 5, len(whole)):
            parts = list(stub.GetDose(dose_pb2.GetDoseRequest(job=job.name, offset_bytes=offset)))
            assert parts[0].header.size_bytes == len(whole)
            assert b"".join(p.chunk.data for p in parts[1:]) == whole[offset:]
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.GetDose(dose_pb2.GetDoseRequest(job=job.name, offset_bytes=len(whole) + 1)))
        assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_result_that_the_disk_lost_is_never_served(server: Server, client: Client, study: str, damage: str) -> None:
    job = client.wait(client.submit(request(study)).name)
    _, path = server._store.artifact(job.name.removeprefix("jobs/"), "rtdose", -1)
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DosecalcApiError) as caught:
        client.download_dose(job.name)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.DATA_LOSS, f"OBJECT_{damage.upper()}")
