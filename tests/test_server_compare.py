"""Comparing over gRPC: the same figures, maps and pictures as in this process, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from builders_dicom import FRAME, make_rtdose, to_bytes
from builders_structures import box, make_rtstruct
from server_helpers import config, request, until

from dosecalc.dicom.rtdose import read_rtdose
from dosecalc.dicom.rtstruct import read_rtstruct
from dosecalc.dose.compare import compare
from dosecalc_api.client import AsyncClient, Client, CompareOptions, DosecalcApiError, array_dose, job_dose
from dosecalc_api.errors import from_rpc_error
from dosecalc_api.v1 import compare_pb2, compare_pb2_grpc
from dosecalc_server.app import Server

INVALID = grpc.StatusCode.INVALID_ARGUMENT
SHAPE = (8, 10, 12)


def rtdose(scale: float = 1.0, *, frame: str = FRAME, summation: str = "PLAN") -> bytes:
    """An RT Dose that rises along x, 10 to 20 Gy, times a factor."""
    stored = np.broadcast_to(np.linspace(10_000, 20_000, 12) * scale, SHAPE).round().astype(np.uint32)
    ds = make_rtdose(stored, spacing_mm=(2.5, 2.5), offsets_mm=[2.5 * k for k in range(8)], frame=frame)
    ds.DoseSummationType = summation
    return to_bytes(ds)


REFERENCE, EVALUATED = rtdose(), rtdose(1.013)
PARTS = [box((5, 5, 5), (20, 15, 12), name="Målvolym"), box((2, 2, 2), (8, 8, 8), name="B", number=2)]
RTSTRUCT = to_bytes(make_rtstruct(PARTS))
OPTIONS = CompareOptions(
    criteria=[(2, 2), (0.5, 0.5)],
    local=True,
    threshold_percent=55,
    max_gamma=3,
    structures=RTSTRUCT,
    picture=True,
    gamma_maps=True,
    difference_map=True,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(config(tmp_path_factory.mktemp("store"))) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same comparison in this process."""
    file = tmp_path_factory.mktemp("rtstruct") / "rs.dcm"
    file.write_bytes(RTSTRUCT)
    return compare(
        read_rtdose(REFERENCE).volume,
        read_rtdose(EVALUATED).volume,
        criteria=["2%/2mm", "0.5%/0.5mm"],
        local=True,
        threshold_percent=55,
        max_gamma=3,
        structures=read_rtstruct(file).structures,
    )


def same_figures(message: Any, figures: dict[str, Any], suffix: str = "") -> None:
    """Every figure of a dictionary is in a message, to the last bit; one that does not exist is absent."""
    for name, value in figures.items():
        if value is None or (isinstance(value, float) and math.isnan(value)):
            assert not message.HasField(name + suffix)
        else:
            assert getattr(message, name + suffix) == value


def test_everything_is_as_in_this_process(client: Client, here: Any) -> None:
    found = client.compare(REFERENCE, EVALUATED, OPTIONS)
    there, wanted = found.comparison, here.to_dict()
    assert found.pass_rates_percent == here.pass_rates_percent
    assert 0 < found.pass_rates_percent["0.5%/0.5mm"] < 100
    assert (there.local, there.max_gamma, there.sampling) == (True, 3.0, 10)
    for name in ("reference_max_gy", "evaluated_max_gy", "points_above_threshold", "points_without_gamma"):
        assert getattr(there, name) == wanted[name]
    assert (there.normalisation_gy, there.threshold_gy) == (here.gamma.normalisation_gy, here.gamma.threshold_gy)
    assert (there.worst_mm.x, there.worst_mm.y, there.worst_mm.z) == here.worst_mm
    same_figures(there.difference, wanted["difference"])
    for sent, known in zip(there.gamma, wanted["gamma"], strict=True):
        criterion = sent.criterion.dose_percent, sent.criterion.distance_mm
        assert criterion == (known["dose_percent"], known["distance_mm"])
        assert (sent.points, sent.pass_rate_percent) == (known["points"], known["pass_rate_percent"])
        same_figures(sent, {k: known[k] for k in ("mean", "median", "p95", "p99", "max")}, "_gamma")
    for structure, own in zip(there.structures, wanted["structures"], strict=True):
        assert (structure.structure_name, structure.structure_number) == (own["name"], own["number"])
        assert [g.pass_rate_percent for g in structure.gamma] == [g["pass_rate_percent"] for g in own["gamma"]]
        same_figures(structure.difference, own["difference"])
        for sent_map, known_map in (
            (structure.reference_statistics, own["dvh"]["reference"]),
            (structure.evaluated_statistics, own["dvh"]["evaluated"]),
            (structure.dvh_difference_statistics, own["dvh"]["difference"]),
        ):
            assert dict(sent_map) == {k: v for k, v in known_map.items() if v is not None}


def test_maps_and_picture_are_as_in_this_process(client: Client, here: Any) -> None:
    found = client.compare(REFERENCE, EVALUATED, OPTIONS)
    for sent, known in zip(found.gamma, here.gamma.maps, strict=True):
        np.testing.assert_array_equal(sent, known.values)
    np.testing.assert_array_equal(found.difference_gy, here.difference_gy.values)
    assert found.picture is not None
    assert found.picture.startswith(b"\x89PNG")


def test_only_what_was_asked_for_is_sent(client: Client) -> None:
    found = client.compare(REFERENCE, EVALUATED)
    assert (found.gamma, found.difference_gy, found.picture) == ([], None, None)
    assert list(found.pass_rates_percent) == ["2%/2mm"]
    assert (found.comparison.sampling, found.comparison.max_gamma) == (10, 2.0)


def test_asyncio_finds_the_same(server: Server, client: Client) -> None:
    async def there() -> Any:
        async with AsyncClient(server.address) as other:
            return await other.compare(REFERENCE, EVALUATED, OPTIONS)

    found, known = asyncio.run(there()), client.compare(REFERENCE, EVALUATED, OPTIONS)
    assert found.comparison == known.comparison
    np.testing.assert_array_equal(found.gamma[1], known.gamma[1])
    assert found.picture == known.picture


def test_doses_that_are_sent_along(client: Client) -> None:
    """On grids of their own, exactly searched: a ramp against one that is 1 % higher, in closed form."""
    x = np.arange(20.0)
    ramp = np.broadcast_to(50 + x, (5, 6, 20)).astype(np.float32)
    finer = np.broadcast_to(50.5 + np.arange(0, 19.1, 0.5), (5, 6, 39)).astype(np.float32)
    found = client.compare(
        array_dose(ramp, (0, 0, 0), (2, 2, 2)),
        array_dose(finer, (0, 0, 0), (1, 2, 2)),
        CompareOptions(criteria=[(2, 2)], normalisation_gy=50, sampling=None, gamma_maps=True),
    )
    assert found.comparison.sampling == 0
    # 0.5 Gy apart, 0.5 Gy per mm, criteria 1 Gy and 2 mm; float32 doses
    assert found.gamma[0][:, :, 2:-2] == pytest.approx(0.5 / math.hypot(1, 0.5 * 2), abs=1e-5)
    assert found.comparison.grid.size_x == 20


def test_a_device_is_chosen(client: Client) -> None:
    there = client.compare(UNIT, UNIT, CompareOptions(device="cpu"))
    assert there.pass_rates_percent == {"2%/2mm": 100.0}
    if "cuda" not in {d.kind for d in client.info().devices}:
        with pytest.raises(DosecalcApiError, match="this server has cpu") as caught:
            client.compare(UNIT, UNIT, CompareOptions(device="cuda"))
        assert caught.value.reason == "REQUEST_INVALID"
    with pytest.raises(ValueError, match="no device"):
        client.compare(UNIT, UNIT, CompareOptions(device="tpu"))


def test_names_choose_structures(client: Client) -> None:
    found = client.compare(REFERENCE, EVALUATED, CompareOptions(structures=RTSTRUCT, structure_names=["B"]))
    assert [s.structure_name for s in found.comparison.structures] == ["B"]


def test_strangers_are_compared_when_told(client: Client) -> None:
    stranger = rtdose(1.01, frame=FRAME + ".9", summation="BEAM")
    assert client.compare(REFERENCE, stranger, CompareOptions(ignore_frame=True, ignore_type=True)).comparison.gamma


def blob(content: bytes) -> compare_pb2.DoseSource:
    """An object that is named by its digest, uploaded or not."""
    return compare_pb2.DoseSource(rtdose_sha256=hashlib.sha256(content).digest())


def inline(**changes: Any) -> compare_pb2.DoseSource:
    """A dose that is sent along, changed."""
    source = array_dose(np.ones((2, 2, 2)), (0, 0, 0), (1, 1, 1))
    for name, value in changes.items():
        if name == "dose_gy_float32":
            source.inline_dose.dose_gy_float32 = value
        else:
            setattr(source.inline_dose.grid, name, value)
    return source


UNIT = array_dose(np.ones((2, 2, 2)), (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("reference", "evaluated", "options", "code", "reason"),
    [
        (compare_pb2.DoseSource(), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (compare_pb2.DoseSource(rtdose_sha256=b"short"), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (blob(b"never sent"), UNIT, {}, grpc.StatusCode.FAILED_PRECONDITION, "BLOB_NOT_UPLOADED"),
        (job_dose("jobs/" + 64 * "0"), UNIT, {}, grpc.StatusCode.NOT_FOUND, "JOB_UNKNOWN"),
        (job_dose("studies/" + 64 * "0"), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (inline(size_x=3), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (inline(size_x=0), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (inline(size_x=10_000, size_y=10_000, size_z=10_000), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (inline(dose_gy_float32=np.full(8, np.nan, "<f4").tobytes()), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (inline(dose_gy_float32=np.full(8, -1, "<f4").tobytes()), UNIT, {}, INVALID, "REQUEST_INVALID"),
        (inline(dose_gy_float32=np.zeros(8, "<f4").tobytes()), UNIT, {}, INVALID, "DOSE_ZERO"),
        (UNIT, array_dose(np.ones((2, 2, 2)), (500, 0, 0), (1, 1, 1)), {}, INVALID, "GRIDS_APART"),
        (UNIT, UNIT, {"criteria": [(0, 2)]}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"criteria": [(2, math.nan)]}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"criteria": [(2, 2)] * 9}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"threshold_percent": 101}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"normalisation_gy": -1}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"max_gamma": math.inf}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"sampling": 51}, INVALID, "REQUEST_INVALID"),
        (UNIT, UNIT, {"structure_names": ["PTV"]}, INVALID, "REQUEST_INVALID"),
        (REFERENCE, EVALUATED, {"structures": RTSTRUCT, "structure_names": ["X"]}, None, "STRUCTURE_UNKNOWN"),
        (REFERENCE, rtdose(frame=FRAME + ".9"), {}, INVALID, "FRAME_OF_REFERENCE"),
        (REFERENCE, rtdose(summation="BEAM"), {}, INVALID, "DOSE_SUMMATION"),
        (REFERENCE, RTSTRUCT, {}, INVALID, None),
        (REFERENCE, b"no DICOM at all", {}, INVALID, None),
    ],
)
def test_refused(
    server: Server,
    client: Client,
    reference: Any,
    evaluated: Any,
    options: dict[str, Any],
    code: Any,
    reason: str | None,
) -> None:
    with pytest.raises(DosecalcApiError) as caught:
        client.compare(reference, evaluated, CompareOptions(**options))
    assert caught.value.code is (code or grpc.StatusCode.NOT_FOUND)
    assert caught.value.reason == (reason or caught.value.reason) != "INTERNAL_ERROR"
    assert str(server._store.root) not in str(caught.value.message) + str(caught.value.metadata)


def test_a_job_that_is_not_done_has_no_dose(client: Client) -> None:
    study = client.upload_files([b"anything"])
    job = client.submit(request(study.name, "slow-30"))
    with pytest.raises(DosecalcApiError) as caught:
        client.compare(job_dose(job.name), UNIT)
    assert caught.value.reason == "JOB_NOT_SUCCEEDED"
    client.cancel(job.name)


class _Slow:
    """A server whose comparisons wait when they are told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = folder / "begun"
        monkeypatch.setenv("DOSECALC_TEST_BEGUN", str(self.begun))
        limits = {"max_queued_comparisons": 1}
        self.server = Server(config(folder / "store", comparison="compare_fakes:compare", limits=limits))

    def runs(self) -> int:
        return len(self.begun.read_text().splitlines()) if self.begun.exists() else 0


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Slow]:
    slow = _Slow(tmp_path, monkeypatch)
    with slow.server:
        yield slow


@pytest.mark.parametrize("max_gamma", [9, 8], ids=["obeys", "deaf"])
def test_a_cancelled_comparison_makes_room(slow: _Slow, max_gamma: float) -> None:
    """Whether it stops by itself or has to be killed; meanwhile the server answers others and refuses too many."""
    wanted = compare_pb2.CompareRequest(reference=UNIT, evaluated=UNIT, max_gamma=max_gamma)
    with grpc.insecure_channel(slow.server.address) as channel, Client(slow.server.address) as client:
        stub: Callable[..., Any] = compare_pb2_grpc.CompareServiceStub(channel).Compare
        running = stub(wanted)
        until(lambda: slow.runs() == 1, 60)
        waiting = stub(wanted)
        assert client.info().limits.max_queued_comparisons == 1
        until(lambda: _refused(stub(wanted)) == "COMPARISONS_BUSY")
        waiting.cancel()
        running.cancel()
        until(lambda: _refused(stub(compare_pb2.CompareRequest(reference=UNIT, evaluated=UNIT))) is None, 60)
        assert not list((slow.server._store.root / "tmp").iterdir())


def test_a_worker_that_dies_is_an_error_and_no_more(slow: _Slow) -> None:
    with Client(slow.server.address) as client:
        with pytest.raises(DosecalcApiError) as caught:
            client.compare(UNIT, UNIT, CompareOptions(max_gamma=7))
        assert (caught.value.reason, caught.value.code) == ("WORKER_DIED", grpc.StatusCode.ABORTED)
        assert client.compare(UNIT, UNIT).pass_rates_percent == {"2%/2mm": 100.0}


def _refused(call: Any) -> str | None:
    """Why a call failed; None when it did not."""
    try:
        list(call)
    except grpc.RpcError as error:
        return from_rpc_error(error).reason
    return None
