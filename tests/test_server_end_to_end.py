"""A phantom through the whole of it: client, server, worker, dose engine, RTDOSE; beside the same in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pydicom
import pytest
from server_helpers import SMALL, ServerProcess, until

from dosecalc.dicom.rtdose import read_rtdose
from dosecalc.dicom.study import load_study
from dosecalc.recompute import GridRequest, RecomputeRequest, recompute
from dosecalc_api.client import Client, DosecalcApiError, dose_request, job_dose
from dosecalc_api.v1 import dose_pb2
from dosecalc_phantoms import make_phantom
from dosecalc_phantoms.dicom import write_phantom
from dosecalc_server.app import Server
from dosecalc_server.config import Limits, ServerConfig

SPACING_MM = 10.0
MACHINE = "generic-6mv-millennium120"
ENGINE = "dosecalc_server.computation:compute"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(make_phantom("water-box", plan="box", spacing_mm=(5.0, 5.0, 5.0), language="sv"), folder)
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    config = ServerConfig(tmp_path_factory.mktemp("store"), port=0, limits=Limits(**SMALL))
    with Server(config) as server, Client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def seen() -> list[dose_pb2.Job]:
    return []


@pytest.fixture(scope="module")
def job(client: Client, phantom: Path, seen: list[dose_pb2.Job]) -> dose_pb2.Job:
    study = client.upload_files([phantom])
    request = dose_request(study.name, machines=[MACHINE], spacing_mm=SPACING_MM)
    return client.wait(client.submit(request).name, seen.append)


def test_the_dose_is_the_one_of_this_process_bit_by_bit(client: Client, job: dose_pb2.Job, phantom: Path) -> None:
    request = RecomputeRequest(machines=(MACHINE,), grid=GridRequest((SPACING_MM,) * 3))
    here = recompute(load_study(phantom), request)
    there = client.dose_array(job.name)
    assert (there.origin_mm, there.spacing_mm) == (here.dose.grid.origin_mm, here.dose.grid.spacing_mm)
    np.testing.assert_array_equal(there.dose_gy, here.dose.total_gy)
    for beam in here.dose.beams:
        np.testing.assert_array_equal(client.dose_array(job.name, beam.number).dose_gy, beam.dose_gy)
    means = {d.structure_name: d.statistics["mean_gy"] for d in client.dvhs(job.name)}
    assert means == {d.name: d.mean_gy for d in here.dvhs}


def test_the_dose_of_a_job_is_compared_with_its_rtdose(client: Client, job: dose_pb2.Job) -> None:
    found = client.compare(job_dose(job.name), client.download_dose(job.name))
    assert found.pass_rates_percent == {"2%/2mm": 100.0}
    assert found.comparison.difference.max_abs_percent == 0.0
    beam = job_dose(job.name, job.result.beams[0].beam_number)
    with pytest.raises(DosecalcApiError) as caught:
        client.compare(job_dose(job.name), beam)
    assert caught.value.reason == "DOSE_SUMMATION"


def test_the_result_says_what_made_it(client: Client, job: dose_pb2.Job) -> None:
    result = job.result
    assert (result.machine_name, result.engine) == (MACHINE, "collapsed_cone")
    assert result.machine_sha256 == next(m.sha256 for m in client.machines() if m.name == f"machines/{MACHINE}")
    assert "dose to water-equivalent medium" in result.quantity
    assert client.info().engines[0].quantities[0].description == result.quantity
    assert len(result.beams) == 4
    assert result.max_dose_gy > 0
    assert result.seconds


def test_the_rtdose_is_the_raw_dose(client: Client, job: dose_pb2.Job) -> None:
    for beam in (None, job.result.beams[0].beam_number):
        rtdose, raw = read_rtdose(client.download_dose(job.name, beam)), client.dose_array(job.name, beam).dose_gy
        assert rtdose.volume.values.shape == raw.shape
        # DoseGridScaling may lose a millionth of the maximum (the bound on written dose)
        np.testing.assert_allclose(rtdose.volume.values, raw, rtol=0, atol=1e-6 * raw.max())


def test_progress_names_the_beams(job: dose_pb2.Job, seen: list[dose_pb2.Job]) -> None:
    begun = {b.beam_number for s in seen for b in s.progress.beams}
    assert begun <= {b.beam_number for b in job.result.beams}
    assert [s.progress.fraction for s in seen] == sorted(s.progress.fraction for s in seen)


@pytest.fixture(scope="module")
def arc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom with an arc: seconds of computing."""
    folder = tmp_path_factory.mktemp("arc")
    write_phantom(make_phantom("water-lung-slab", plan="vmat", spacing_mm=5.0), folder)
    return folder


def _until_in_the_dose(client: Client, name: str) -> None:
    until(lambda: any(b.fraction > 0 for b in client.job(name).progress.beams), 120)


def test_the_engine_obeys_a_cancel_within_a_second(client: Client, arc: Path) -> None:
    request = dose_request(client.upload_files([arc]).name, machines=[MACHINE], spacing_mm=4.0)
    job = client.submit(request).name
    _until_in_the_dose(client, job)
    begin = time.monotonic()
    assert client.cancel(job).state == dose_pb2.JOB_STATE_CANCELLED
    assert time.monotonic() - begin < 1.0


def test_a_computation_survives_kill_9_of_its_server(phantom: Path, tmp_path: Path) -> None:
    first = ServerProcess(tmp_path / "store", computation=ENGINE)
    servers = [first]
    try:
        with Client(first.address) as client:
            request = dose_request(client.upload_files([phantom]).name, machines=[MACHINE], spacing_mm=6.0)
            job = client.submit(request).name
            _until_in_the_dose(client, job)
            first.kill()
            servers.append(ServerProcess(tmp_path / "store", port=first.port, computation=ENGINE))
            client.wait(job)
            there = client.dose_array(job).dose_gy
    finally:
        for server in servers:
            server.kill()
    library = RecomputeRequest(machines=(MACHINE,), grid=GridRequest((6.0,) * 3))
    np.testing.assert_array_equal(there, recompute(load_study(phantom), library).dose.total_gy)


def test_a_study_without_a_plan_is_refused_with_the_readers_reason(client: Client, phantom: Path) -> None:
    slices = sorted(phantom.rglob("CT*"))[:3]
    study = client.upload_files([*slices, b"not DICOM at all"])
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(client.submit(dose_request(study.name)).name)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert caught.value.reason.startswith("PLAN")


def test_an_unknown_treatment_machine_is_refused_by_the_beam(client: Client, phantom: Path, tmp_path: Path) -> None:
    made = make_phantom("water-box", spacing_mm=(10.0, 10.0, 10.0), machine_name="LINAC-OF-NOBODY")
    write_phantom(made, tmp_path)
    with pytest.raises(DosecalcApiError) as caught:
        client.wait(client.submit(dose_request(client.upload_files([tmp_path]).name)).name)
    assert caught.value.code.name in ("NOT_FOUND", "FAILED_PRECONDITION")
    assert "beam" in caught.value.metadata


def test_the_log_names_no_patient_whatever_the_readers_meet(phantom: Path, tmp_path: Path) -> None:
    plan = pydicom.dcmread(phantom / "RP.dcm")
    plan.PatientName, plan.PatientID = "Lindqvist^Anna", "19121212-1212"
    good, bad = tmp_path / "good", tmp_path / "bad"
    plan.save_as(good)
    # values that their VR does not allow, which pydicom quotes in warnings and exceptions
    plan.PatientBirthDate = "19121212"
    plan.BeamSequence[0].ControlPointSequence[0].GantryAngle = "87654321"
    plan.save_as(bad)
    bad.write_bytes(bad.read_bytes().replace(b"87654321", b"Lindqvis").replace(b"19121212", b"Lindqvis"))
    server = ServerProcess(tmp_path / "store", computation=ENGINE)
    try:
        with Client(server.address) as client:
            for file in (good, bad):
                request = dose_request(client.upload_files([*phantom.glob("CT*"), file]).name, spacing_mm=20.0)
                client.submit(request)
            until(lambda: all(job.done for job in client.jobs()), 60)
            refused, computed = client.jobs()  # newest first
        server.terminate()
    finally:
        server.kill()
    assert computed.state == dose_pb2.JOB_STATE_SUCCEEDED
    assert refused.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "Lindqv" not in str(refused)
    for part in ("Lindqv", "Anna", "19121212"):
        assert part not in str(server.log)
