"""What a caller may get wrong, and what every caller may rely on: codes and reasons, limits, health, reflection."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from server_helpers import config, request, until

from dosecalc import errors
from dosecalc.errors import DosecalcError, InputError, StoreError
from dosecalc.photon.engines import ENGINES, QUANTITIES
from dosecalc_api.client import Client, DosecalcApiError
from dosecalc_api.errors import from_rpc_error
from dosecalc_api.v1 import dose_pb2, dose_pb2_grpc, machine_pb2, machine_pb2_grpc, study_pb2, study_pb2_grpc
from dosecalc_server import convert
from dosecalc_server.app import Server
from dosecalc_server.computation import library_request
from dosecalc_server.config import Limits, ServerConfig, parse_listen
from dosecalc_server.request import JobRequest
from dosecalc_server.status import RequestError, code_of, status_of

LIMITS = {
    "max_blob_bytes": 1000,
    "max_chunk_bytes": 400,
    "max_study_bytes": 1500,
    "max_study_blobs": 3,
    "max_streams": 4,
    "max_message_bytes": 100_000,
    "idle_upload_s": 0.5,
}
INVALID = grpc.StatusCode.INVALID_ARGUMENT
Chunks = list[study_pb2.UploadBlobsRequest]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(config(tmp_path_factory.mktemp("store"), limits=LIMITS)) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def studies(channel: grpc.Channel) -> Any:
    return study_pb2_grpc.StudyServiceStub(channel)


@pytest.fixture(scope="module")
def doses(channel: grpc.Channel) -> Any:
    return dose_pb2_grpc.DoseServiceStub(channel)


def refused(call: Callable[[], Any]) -> DosecalcApiError:
    """The error that a call ends with, with the rich details that every one must have."""
    with pytest.raises(grpc.RpcError) as caught:
        result = call()
        if hasattr(result, "__next__"):
            list(result)
    assert any(key == "grpc-status-details-bin" for key, _ in caught.value.trailing_metadata())
    error = from_rpc_error(caught.value)
    assert error.code is caught.value.code()
    assert error.code is not grpc.StatusCode.UNKNOWN
    assert "Traceback" not in error.message
    return error


def chunks(content: bytes, step: int = 400) -> Chunks:
    """A blob as right upload messages."""
    digest = hashlib.sha256(content).digest()
    return [
        study_pb2.UploadBlobsRequest(
            sha256=digest,
            size_bytes=len(content),
            offset_bytes=n,
            data=content[n : n + step],
            crc32=zlib.crc32(content[n : n + step]),
        )
        for n in range(0, len(content), step)
    ]


def _changed(messages: Chunks, number: int, **fields: Any) -> Chunks:
    for name, value in fields.items():
        setattr(messages[number], name, value)
    return messages


def _wrong_hash(content: bytes) -> Chunks:
    messages = chunks(content)
    for message in messages:
        message.sha256 = bytes(32)
    return messages


CONTENT = os.urandom(1000)


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        (_changed(chunks(CONTENT), 1, crc32=1), grpc.StatusCode.DATA_LOSS, "CHUNK_CHECKSUM"),
        (_wrong_hash(CONTENT), grpc.StatusCode.DATA_LOSS, "BLOB_CHECKSUM"),
        (_changed(chunks(CONTENT), 1, offset_bytes=0), INVALID, "CHUNK_ORDER"),
        (_changed(chunks(CONTENT), 0, offset_bytes=400), INVALID, "CHUNK_ORDER"),
        (_changed(chunks(CONTENT), 1, offset_bytes=-1), INVALID, "CHUNK_ORDER"),
        (_changed(chunks(CONTENT), 1, size_bytes=999), INVALID, "CHUNK_ORDER"),
        (_changed(chunks(CONTENT), 1, sha256=bytes(32)), INVALID, "CHUNK_ORDER"),
        ([*chunks(CONTENT)[:1], *chunks(b"another blob")], INVALID, "CHUNK_ORDER"),
        (chunks(CONTENT)[::-1], INVALID, "CHUNK_ORDER"),
        (_changed(chunks(CONTENT[:500]), 0, size_bytes=300), INVALID, "CHUNK_ORDER"),
        (chunks(CONTENT)[:-1], INVALID, "BLOB_INCOMPLETE"),
        (chunks(CONTENT, step=401), INVALID, "CHUNK_SIZE"),
        (_changed(chunks(CONTENT), 0, data=b""), INVALID, "CHUNK_SIZE"),
        (chunks(CONTENT + b"x"), INVALID, "BLOB_TOO_LARGE"),
        (_changed(chunks(CONTENT), 0, size_bytes=1 << 62), INVALID, "BLOB_TOO_LARGE"),
        (_changed(chunks(CONTENT), 0, size_bytes=0), INVALID, "BLOB_EMPTY"),
        (_changed(chunks(CONTENT), 0, sha256=b"../../etc/passwd"), INVALID, "REQUEST_INVALID"),
    ],
)
def test_a_wrong_upload_is_refused_and_leaves_nothing(
    server: Server, studies: Any, messages: Chunks, code: grpc.StatusCode, reason: str
) -> None:
    error = refused(lambda: studies.UploadBlobs(iter(messages)))
    assert (error.code, error.reason) == (code, reason)
    assert not list((server._store.root / "tmp").iterdir())
    assert server._store.missing([hashlib.sha256(CONTENT).hexdigest()])


def test_one_stream_carries_many_blobs(studies: Any) -> None:
    answer = studies.UploadBlobs(iter([*chunks(b"one"), *chunks(b"two" * 200), *chunks(b"one")]))
    assert (answer.blobs, answer.size_bytes) == (3, 606)


def test_a_silent_upload_is_ended(server: Server, studies: Any) -> None:
    def silent() -> Iterator[study_pb2.UploadBlobsRequest]:
        yield chunks(CONTENT)[0]
        until(lambda: call.done())

    call = studies.UploadBlobs.future(silent())
    with pytest.raises(grpc.RpcError) as caught:
        call.result(10)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    until(lambda: not list((server._store.root / "tmp").iterdir()))


def test_a_client_that_leaves_in_an_upload_leaves_nothing(server: Server, studies: Any) -> None:
    def half() -> Iterator[study_pb2.UploadBlobsRequest]:
        yield chunks(CONTENT)[0]
        until(lambda: call.done())

    call = studies.UploadBlobs.future(half())
    until(lambda: list((server._store.root / "tmp").iterdir()))
    call.cancel()
    until(lambda: not list((server._store.root / "tmp").iterdir()))


def test_the_store_is_for_its_owner_only(tmp_path: Path) -> None:
    with Server(config(tmp_path / "store")):
        for path in (tmp_path / "store", *(tmp_path / "store").iterdir()):
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_study_is_bounded_and_made_of_what_is_here(client: Client, studies: Any) -> None:
    first, second = os.urandom(900), os.urandom(900)
    digests = [hashlib.sha256(c).digest() for c in (first, second)]
    for wanted, code, reason in (
        ([], INVALID, "STUDY_EMPTY"),
        ([b"short"], INVALID, "REQUEST_INVALID"),
        (digests[:1], grpc.StatusCode.FAILED_PRECONDITION, "BLOB_NOT_UPLOADED"),
    ):
        error = refused(lambda wanted=wanted: studies.CreateStudy(study_pb2.CreateStudyRequest(sha256=wanted)))
        assert (error.code, error.reason) == (code, reason)
    client.upload_files([first])
    with pytest.raises(DosecalcApiError) as caught:
        client.upload_files([first, second])
    assert (caught.value.code, caught.value.reason) == (INVALID, "STUDY_TOO_LARGE")
    with pytest.raises(DosecalcApiError) as caught:
        client.upload_files([b"1", b"2", b"3", b"4"])
    assert (caught.value.code, caught.value.reason) == (INVALID, "REQUEST_INVALID")


def test_a_study_is_its_content_whatever_the_order(client: Client) -> None:
    names = {client.upload_files(files).name for files in ([b"a", b"b"], [b"b", b"a"], [b"a", b"b", b"a"])}
    assert len(names) == 1


def test_studies_are_listed_in_pages(client: Client, studies: Any) -> None:
    names = [client.upload_files([b"listed %d" % n]).name for n in range(3)]
    page = studies.ListStudies(study_pb2.ListStudiesRequest(page_size=2))
    assert [s.name for s in page.studies] == names[:0:-1]
    page = studies.ListStudies(study_pb2.ListStudiesRequest(page_size=1, page_token=page.next_page_token))
    assert [s.name for s in page.studies] == names[:1]
    assert studies.GetStudy(study_pb2.GetStudyRequest(name=names[0])).size_bytes == len(b"listed 0")


NOWHERE = "0" * 64


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("request.grid.spacing_mm.y", {"spacing_mm": (2.0, -1.0, 2.0)}),
        ("request.grid.spacing_mm.x", {"spacing_mm": (float("nan"), 2.0, 2.0)}),
        ("request.grid.spacing_mm.z", {"spacing_mm": (2.0, 2.0, 0.1)}),
        ("request.grid.box.upper_mm", {"box_mm": ((0, 0, 0), (10, 0, 10))}),
        ("request.grid.box.lower_mm.x", {"box_mm": ((float("-inf"), 0, 0), (10, 10, 10))}),
        ("request.grid.box", {"box_mm": ((-5000, -5000, -5000), (5000, 5000, 5000))}),
        ("request.grid.like_rtdose_uid", {"grid_like_uid": "1.2.3", "spacing_mm": 2.0}),
        ("request.grid.like_rtdose_uid", {"grid_like_uid": "../1"}),
        ("request.structure_set_uid", {"structure_set_uid": "not a uid"}),
        ("request.ct_series_uid", {"ct_series_uid": "1" * 65}),
        ("request.engine", {"engine": "magic"}),
        ("request.quantity", {"quantity": "rads"}),
        ("request.cones", {"cones": "traffic"}),
        ("request.heterogeneity", {"heterogeneity": "none"}),
        ("request.arc_tolerance_deg", {"arc_tolerance_deg": 0.1}),
        ("request.arc_tolerance_deg", {"arc_tolerance_deg": float("nan")}),
        ("request.threads", {"threads": -1}),
        ("request.hu_curve", {"hu_curve": "/etc/passwd"}),
        ("request.hu_curve", {"hu_curve": ".."}),
        ("request.machines", {"machines": ["../machine.yaml"]}),
        ("request.mapping_yaml", {"machines": ["a"], "mapping_yaml": "rules: []"}),
        ("request.mapping_yaml", {"mapping_yaml": "x" * 65537}),
        ("request.grid.exact.size_z", {"exact_grid": ((0, 0, 0), (2, 2, 2), (0, 10, 10))}),
        ("request.grid.exact", {"exact_grid": ((0, 0, 0), (2, 2, 2), (9999, 9999, 9999))}),
        ("request.grid.exact.origin_mm.x", {"exact_grid": ((float("nan"), 0, 0), (2, 2, 2), (9, 9, 9))}),
        ("request.grid.exact", {"exact_grid": ((0, 0, 0), (2, 2, 2), (9, 9, 9)), "spacing_mm": 2.0}),
        ("request.densities", {"density_g_cm3": {"BODY": -0.1}}),
        ("request.densities", {"density_g_cm3": {"BODY": float("nan")}}),
        ("request.densities", {"density_g_cm3": {"": 1.0}}),
        ("request.plan", {"plan": "x" * 257}),
        ("request.study", {"study": "studies/../../etc"}),
    ],
)
def test_a_wrong_request_names_its_field(doses: Any, field: str, changes: dict[str, Any]) -> None:
    study = changes.pop("study", f"studies/{NOWHERE}") if "study" in changes else f"studies/{NOWHERE}"
    wrong = request(study, **changes)
    error = refused(lambda: doses.CreateJob(dose_pb2.CreateJobRequest(request=wrong)))
    assert (error.code, error.reason) == (INVALID, "REQUEST_INVALID")
    assert field in [f for f, _ in error.violations]


def test_a_device_from_a_later_version_is_a_wrong_field(doses: Any) -> None:
    wrong = request(f"studies/{NOWHERE}")
    wrong.device = 99  # type: ignore[assignment]
    error = refused(lambda: doses.CreateJob(dose_pb2.CreateJobRequest(request=wrong)))
    assert [f for f, _ in error.violations] == ["request.device"]
    with pytest.raises(ValueError, match=r"'tpu'.*auto, cpu, cuda"):
        request(f"studies/{NOWHERE}", device="tpu")


@pytest.mark.parametrize(
    ("engine", "option", "asked"),
    [(e.name, option, name) for e in ENGINES.values() for option, names in e.options.items() for name in ("", *names)],
)
def test_options_go_over_the_wire_and_back(engine: str, option: str, asked: str) -> None:
    message = request(f"studies/{NOWHERE}", engine=engine, **{option: asked})
    wanted = convert.request_from_wire(message, ("cpu",), (), Limits())
    canonical = asked or next(iter(ENGINES[engine].options[option]))
    assert getattr(wanted, option) == canonical
    assert getattr(convert.request_to_wire(wanted), option) == canonical
    assert getattr(library_request(wanted), option) == canonical


def test_the_arc_tolerance_goes_over_the_wire_and_back() -> None:
    for asked, canonical in ((0.0, 5.0), (2.0, 2.0)):
        message = request(f"studies/{NOWHERE}", arc_tolerance_deg=asked)
        wanted = convert.request_from_wire(message, ("cpu",), (), Limits())
        assert convert.request_to_wire(wanted).arc_tolerance_deg == canonical
        assert library_request(wanted).arc_tolerance_deg == canonical


def test_all_wrong_fields_are_named_at_once(doses: Any) -> None:
    wrong = request(f"studies/{NOWHERE}", engine="magic", threads=-1, spacing_mm=-1.0)
    error = refused(lambda: doses.CreateJob(dose_pb2.CreateJobRequest(request=wrong)))
    assert len(error.violations) == 5


def test_what_is_not_there_is_not_found(doses: Any, studies: Any, channel: grpc.Channel, client: Client) -> None:
    study = client.upload_files([b"here"]).name
    machines = machine_pb2_grpc.MachineServiceStub(channel)
    job = f"jobs/{NOWHERE}"

    def create(wanted: dose_pb2.DoseRequest) -> Any:
        return doses.CreateJob(dose_pb2.CreateJobRequest(request=wanted))

    for call, reason in (
        (lambda: create(request(f"studies/{NOWHERE}")), "STUDY_UNKNOWN"),
        (lambda: create(request(study, machines=["no-such-linac"])), "MACHINE_UNKNOWN"),
        (lambda: doses.GetJob(dose_pb2.GetJobRequest(name=job)), "JOB_UNKNOWN"),
        (lambda: doses.WatchJob(dose_pb2.WatchJobRequest(name=job)), "JOB_UNKNOWN"),
        (lambda: doses.CancelJob(dose_pb2.CancelJobRequest(name=job)), "JOB_UNKNOWN"),
        (lambda: doses.DeleteJob(dose_pb2.DeleteJobRequest(name=job)), "JOB_UNKNOWN"),
        (lambda: doses.GetDose(dose_pb2.GetDoseRequest(job=job)), "JOB_UNKNOWN"),
        (lambda: doses.GetDvhs(dose_pb2.GetDvhsRequest(job=job)), "JOB_UNKNOWN"),
        (lambda: studies.GetStudy(study_pb2.GetStudyRequest(name=f"studies/{NOWHERE}")), "STUDY_UNKNOWN"),
        (lambda: studies.DeleteStudy(study_pb2.DeleteStudyRequest(name=f"studies/{NOWHERE}")), "STUDY_UNKNOWN"),
        (lambda: machines.GetMachine(machine_pb2.GetMachineRequest(name="machines/no")), "MACHINE_UNKNOWN"),
    ):
        error = refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, reason)
    done = client.wait(client.submit(request(study)).name).name
    for call, reason in (
        (lambda: doses.GetDose(dose_pb2.GetDoseRequest(job=done, beam_number=99)), "RESULT_UNKNOWN"),
        (lambda: doses.GetDvhs(dose_pb2.GetDvhsRequest(job=done, structures=["none"])), "STRUCTURE_UNKNOWN"),
    ):
        assert refused(call).reason == reason


@pytest.mark.parametrize(
    "name", ["", "jobs", "jobs/", "jobs/../x", f"studies/{NOWHERE}", "jobs/" + "A" * 64, "jobs/\x00"]
)
def test_a_name_that_is_none_is_refused(doses: Any, name: str) -> None:
    error = refused(lambda: doses.GetJob(dose_pb2.GetJobRequest(name=name)))
    assert (error.code, error.violations[0][0]) == (INVALID, "name")


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ({"page_size": -1}, "REQUEST_INVALID"),
        ({"page_size": 1001}, "REQUEST_INVALID"),
        ({"page_token": "å"}, "PAGE_TOKEN_INVALID"),
    ],
)
def test_a_wrong_page_is_refused(doses: Any, page: dict[str, Any], reason: str) -> None:
    assert refused(lambda: doses.ListJobs(dose_pb2.ListJobsRequest(**page))).reason == reason


def test_too_many_streams_are_refused_and_unary_calls_still_answered(client: Client, doses: Any) -> None:
    job = client.submit(request(client.upload_files([b"watched"]).name, "slow-20")).name
    watches = [doses.WatchJob(dose_pb2.WatchJobRequest(name=job)) for _ in range(LIMITS["max_streams"])]
    for watch in watches:
        next(watch)
    error = refused(lambda: doses.WatchJob(dose_pb2.WatchJobRequest(name=job)))
    assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    assert client.job(job).name == job
    for watch in watches:
        watch.cancel()
    until(lambda: _can_watch(doses, job))  # a place is free again once the server has seen the cancellation
    client.cancel(job)


def _can_watch(doses: Any, job: str) -> bool:
    watch = doses.WatchJob(dose_pb2.WatchJobRequest(name=job))
    try:
        return bool(next(watch).name)
    except grpc.RpcError:
        return False
    finally:
        watch.cancel()


def test_a_message_beyond_the_limit_is_refused(studies: Any) -> None:
    huge = study_pb2.UploadBlobsRequest(data=bytes(LIMITS["max_message_bytes"] + 1))
    with pytest.raises(grpc.RpcError) as caught:
        studies.UploadBlobs(iter([huge]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_full_disk_is_resource_exhausted(tmp_path: Path) -> None:
    with Server(config(tmp_path, limits={"min_free_bytes": 1 << 60})) as server, Client(server.address) as client:
        with pytest.raises(DosecalcApiError) as caught:
            client.upload_files([b"no room"])
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")


def test_an_exception_that_nobody_foresaw_is_internal(
    server: Server, doses: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(server._jobs, "view", broken)
    error = refused(lambda: doses.GetJob(dose_pb2.GetJobRequest(name=f"jobs/{NOWHERE}")))
    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
    assert len(error.metadata["incident"]) == 32
    assert "secret" not in error.message


def test_health(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "dosecalc_api.v1.DoseService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_and_describes_the_services(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    ask = reflection_pb2.ServerReflectionRequest
    listed, described = stub.ServerReflectionInfo(
        iter([ask(list_services=""), ask(file_containing_symbol="dosecalc_api.v1.DoseService")])
    )
    names = {service.name for service in listed.list_services_response.service}
    assert {f"dosecalc_api.v1.{n}Service" for n in ("Dose", "Study", "Machine", "Info")} <= names
    assert "grpc.health.v1.Health" in names
    assert described.file_descriptor_response.file_descriptor_proto


def test_info_tells_limits_engines_and_devices(client: Client) -> None:
    info = client.info()
    assert info.limits.max_blob_bytes == LIMITS["max_blob_bytes"]
    assert [e.name for e in info.engines] == list(ENGINES)
    assert [q.name for q in info.engines[0].quantities] == list(QUANTITIES)
    assert [q.description for q in info.engines[0].quantities] == list(QUANTITIES.values())
    assert info.devices[0].kind == "cpu"
    assert info.devices[0].units >= 1
    assert info.version
    assert len(info.engine_sha256) == 64
    assert info.hu_curves


def test_machines_are_listed_with_their_hashes(client: Client, channel: grpc.Channel) -> None:
    machines = client.machines()
    names = [m.name for m in machines]
    assert "machines/generic-6mv-millennium120" in names
    assert names == sorted(names)
    assert all(len(m.sha256) == 64 and m.energies and m.generic for m in machines)
    stub = machine_pb2_grpc.MachineServiceStub(channel)
    assert stub.GetMachine(machine_pb2.GetMachineRequest(name=names[0])) == machines[0]
    page = stub.ListMachines(machine_pb2.ListMachinesRequest(page_size=1))
    rest = stub.ListMachines(machine_pb2.ListMachinesRequest(page_token=page.next_page_token))
    assert [*page.machines, *rest.machines] == machines


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_does_not_listen_beyond_loopback_in_the_clear(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError) as caught:
        Server(ServerConfig(tmp_path, host=host, port=0))
    assert caught.value.reason == "LISTEN_IN_THE_CLEAR"
    ServerConfig(tmp_path, host=host, port=0, insecure=True).check()


def test_the_command_says_why_it_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dosecalc_server", "--listen", "0.0.0.0:0", "--store", tmp_path / "store"]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    ended = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert ended.returncode == 2
    assert "LISTEN_IN_THE_CLEAR" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "store").exists()


def test_a_port_that_is_taken_is_said_to_be(tmp_path: Path) -> None:
    with Server(config(tmp_path / "a")) as server, pytest.raises(InputError) as caught:
        Server(config(tmp_path / "b", port=server.port))
    assert caught.value.reason == "LISTEN_FAILED"
    Server(config(tmp_path / "b")).stop()  # the refused one has let go of its store


def test_a_store_that_cannot_be_made_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        Server(config(tmp_path / "file"))
    assert caught.value.reason == "STORE_IO"
    assert caught.value.where["directory"] == str(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("50051", ("127.0.0.1", 50051)), ("h:1", ("h", 1))],
)
def test_listen_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", ":80", "host:65536", "host:-1"])
def test_wrong_listen_addresses(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_listen(text)
    assert caught.value.reason == "LISTEN_INVALID"


def _error_classes(cls: type[DosecalcError]) -> Iterator[type[DosecalcError]]:
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _error_classes(child)


def test_every_error_class_has_a_code() -> None:
    for cls in _error_classes(DosecalcError):
        error = cls("stop") if cls is errors.Cancelled else cls("ANY_REASON", "A message.")
        assert code_of(error) not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), cls


def test_a_long_error_still_fits_the_trailing_metadata(
    server: Server, doses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {f"key{n}" * 20: "å" * 5000 for n in range(50)}
    violations = [("field.of.a.message" * 20, "ö" * 5000)] * 50

    def raising(error: DosecalcError) -> Callable[[str], None]:
        def view(job: str) -> None:
            raise error

        return view

    for error in (errors.PlanError("MANY", "å" * 5000, **where), RequestError(violations)):
        status = status_of(error)
        encoded = len(base64.b64encode(status.SerializeToString())) + len(quote(status.message))
        assert encoded < 8000  # a default client takes 8192 bytes, some of which are other headers
        monkeypatch.setattr(server._jobs, "view", raising(error))
        call = lambda: doses.GetJob(dose_pb2.GetJobRequest(name=f"jobs/{NOWHERE}"))  # noqa: E731
        assert refused(call).reason == error.reason


def test_the_identity_of_a_job() -> None:
    base = JobRequest("a" * 64, machines=("m",))
    assert JobRequest.from_json(base.to_json()) == base
    box = ((0.0, 0.1, 0.2), (1.0, 2.0, 3.0))
    earlier = json.loads(base.to_json())
    del earlier["quantity"]  # written before there was a choice
    assert JobRequest.from_json(json.dumps(earlier)) == base
    full = JobRequest("a" * 64, box_mm=box, density_g_cm3=(("Ö", 1.1), ("A", 0.0)), threads=3, without_ct=True)
    assert JobRequest.from_json(full.to_json()) == full
    exact = JobRequest("a" * 64, spacing_mm=None, exact_grid=(box[0], box[1], (4, 5, 6)))
    assert JobRequest.from_json(exact.to_json()) == exact
    identity = base.job_id(("h1", "h2"), "1.0")
    assert base.job_id(("h2", "h1"), "1.0") == identity
    assert JobRequest("a" * 64, machines=("m",), threads=4).job_id(("h1", "h2"), "1.0") == identity
    for other in (
        base.job_id(("h1",), "1.0"),
        base.job_id(("h1", "h2"), "1.1"),
        JobRequest("b" * 64, machines=("m",)).job_id(("h1", "h2"), "1.0"),
        JobRequest("a" * 64, machines=("m",), device="cpu").job_id(("h1", "h2"), "1.0"),
        JobRequest("a" * 64, machines=("m",), quantity="medium").job_id(("h1", "h2"), "1.0"),
    ):
        assert other != identity
