"""Any message to any call: an answer or a clear refusal, never INTERNAL or UNKNOWN, and never a computation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_helpers import config

from dosecalc_api.errors import from_rpc_error
from dosecalc_api.v1 import dose_pb2, dose_pb2_grpc, machine_pb2, machine_pb2_grpc, study_pb2, study_pb2_grpc
from dosecalc_server.app import Server

HASH = "0123456789abcdef" * 4
CALLS = [
    (study_pb2_grpc.StudyServiceStub, "FindMissingBlobs", study_pb2.FindMissingBlobsRequest),
    (study_pb2_grpc.StudyServiceStub, "UploadBlobs", study_pb2.UploadBlobsRequest),
    (study_pb2_grpc.StudyServiceStub, "CreateStudy", study_pb2.CreateStudyRequest),
    (study_pb2_grpc.StudyServiceStub, "GetStudy", study_pb2.GetStudyRequest),
    (study_pb2_grpc.StudyServiceStub, "ListStudies", study_pb2.ListStudiesRequest),
    (study_pb2_grpc.StudyServiceStub, "DeleteStudy", study_pb2.DeleteStudyRequest),
    (dose_pb2_grpc.DoseServiceStub, "CreateJob", dose_pb2.CreateJobRequest),
    (dose_pb2_grpc.DoseServiceStub, "GetJob", dose_pb2.GetJobRequest),
    (dose_pb2_grpc.DoseServiceStub, "ListJobs", dose_pb2.ListJobsRequest),
    (dose_pb2_grpc.DoseServiceStub, "WatchJob", dose_pb2.WatchJobRequest),
    (dose_pb2_grpc.DoseServiceStub, "CancelJob", dose_pb2.CancelJobRequest),
    (dose_pb2_grpc.DoseServiceStub, "DeleteJob", dose_pb2.DeleteJobRequest),
    (dose_pb2_grpc.DoseServiceStub, "GetDose", dose_pb2.GetDoseRequest),
    (dose_pb2_grpc.DoseServiceStub, "GetDvhs", dose_pb2.GetDvhsRequest),
    (machine_pb2_grpc.MachineServiceStub, "ListMachines", machine_pb2.ListMachinesRequest),
    (machine_pb2_grpc.MachineServiceStub, "GetMachine", machine_pb2.GetMachineRequest),
]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    with Server(config(tmp_path_factory.mktemp("store"))) as server, grpc.insecure_channel(server.address) as channel:
        yield channel


_TEXT = st.one_of(
    st.sampled_from([f"studies/{HASH}", f"jobs/{HASH}", "machines/x", "1.2.3", "cpu", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return st.floats() | st.sampled_from([0.0, -1.0, 2.5, math.nan, math.inf])
    if kind == field.CPPTYPE_BOOL:
        return st.booleans()
    if kind == field.CPPTYPE_STRING:
        return _TEXT if field.type == field.TYPE_STRING else st.binary(max_size=40) | st.just(bytes(32))
    bits = 64 if kind in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 32
    signed = kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64, field.CPPTYPE_ENUM)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from([0, 1, 2, 5])


@st.composite
def _messages(draw: st.DrawFn, make: type[Message], descriptor: Descriptor) -> Message:
    """A message with every field drawn or left out."""
    message = make()
    for field in descriptor.fields:
        if draw(st.booleans()):
            _fill(draw, message, field)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor) -> None:
    count = draw(st.integers(0, 3)) if field.is_repeated else 1
    for _ in range(count):
        target = getattr(message, field.name)
        if field.message_type is not None:
            inner = draw(_messages(type(target.add() if field.is_repeated else target), field.message_type))
            (target[-1] if field.is_repeated else target).CopyFrom(inner)
        elif field.is_repeated:
            target.append(draw(_scalar(field)))
        else:
            setattr(message, field.name, draw(_scalar(field)))


@pytest.mark.parametrize(("stub", "method", "make"), CALLS, ids=[method for _, method, _ in CALLS])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_message_is_answered_or_clearly_refused(
    channel: grpc.Channel, stub: Any, method: str, make: type[Message], data: st.DataObject
) -> None:
    message = data.draw(_messages(make, make.DESCRIPTOR))
    call = getattr(stub(channel), method)
    try:
        answer = call(iter([message]), timeout=10) if method == "UploadBlobs" else call(message, timeout=10)
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as caught:
        error = from_rpc_error(caught)
        assert error.code in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.DATA_LOSS,
            grpc.StatusCode.FAILED_PRECONDITION,
        ), error
        assert error.reason != error.code.name  # one of ours, with details
