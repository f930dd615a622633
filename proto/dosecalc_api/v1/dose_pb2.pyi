import datetime

from dosecalc_api.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Device(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_UNSPECIFIED: _ClassVar[Device]
    DEVICE_CPU: _ClassVar[Device]
    DEVICE_CUDA: _ClassVar[Device]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class DoseFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DOSE_FORMAT_UNSPECIFIED: _ClassVar[DoseFormat]
    DOSE_FORMAT_RTDOSE: _ClassVar[DoseFormat]
    DOSE_FORMAT_RAW_FLOAT32: _ClassVar[DoseFormat]
DEVICE_UNSPECIFIED: Device
DEVICE_CPU: Device
DEVICE_CUDA: Device
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
DOSE_FORMAT_UNSPECIFIED: DoseFormat
DOSE_FORMAT_RTDOSE: DoseFormat
DOSE_FORMAT_RAW_FLOAT32: DoseFormat

class GridRequest(_message.Message):
    __slots__ = ("spacing_mm", "box", "like_rtdose_uid", "exact")
    SPACING_MM_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    LIKE_RTDOSE_UID_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    spacing_mm: _geometry_pb2.Vector3
    box: _geometry_pb2.Box
    like_rtdose_uid: str
    exact: _geometry_pb2.Grid
    def __init__(self, spacing_mm: _Optional[_Union[_geometry_pb2.Vector3, _Mapping]] = ..., box: _Optional[_Union[_geometry_pb2.Box, _Mapping]] = ..., like_rtdose_uid: _Optional[str] = ..., exact: _Optional[_Union[_geometry_pb2.Grid, _Mapping]] = ...) -> None: ...

class StructureDensity(_message.Message):
    __slots__ = ("structure_name", "density_g_cm3")
    STRUCTURE_NAME_FIELD_NUMBER: _ClassVar[int]
    DENSITY_G_CM3_FIELD_NUMBER: _ClassVar[int]
    structure_name: str
    density_g_cm3: float
    def __init__(self, structure_name: _Optional[str] = ..., density_g_cm3: _Optional[float] = ...) -> None: ...

class DoseRequest(_message.Message):
    __slots__ = ("study", "plan", "structure_set_uid", "ct_series_uid", "machines", "mapping_yaml", "engine", "device", "grid", "densities", "hu_curve", "threads", "without_ct", "quantity", "cones", "heterogeneity", "arc_tolerance_deg")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_SET_UID_FIELD_NUMBER: _ClassVar[int]
    CT_SERIES_UID_FIELD_NUMBER: _ClassVar[int]
    MACHINES_FIELD_NUMBER: _ClassVar[int]
    MAPPING_YAML_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    DENSITIES_FIELD_NUMBER: _ClassVar[int]
    HU_CURVE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_CT_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    CONES_FIELD_NUMBER: _ClassVar[int]
    HETEROGENEITY_FIELD_NUMBER: _ClassVar[int]
    ARC_TOLERANCE_DEG_FIELD_NUMBER: _ClassVar[int]
    study: str
    plan: str
    structure_set_uid: str
    ct_series_uid: str
    machines: _containers.RepeatedScalarFieldContainer[str]
    mapping_yaml: str
    engine: str
    device: Device
    grid: GridRequest
    densities: _containers.RepeatedCompositeFieldContainer[StructureDensity]
    hu_curve: str
    threads: int
    without_ct: bool
    quantity: str
    cones: str
    heterogeneity: str
    arc_tolerance_deg: float
    def __init__(self, study: _Optional[str] = ..., plan: _Optional[str] = ..., structure_set_uid: _Optional[str] = ..., ct_series_uid: _Optional[str] = ..., machines: _Optional[_Iterable[str]] = ..., mapping_yaml: _Optional[str] = ..., engine: _Optional[str] = ..., device: _Optional[_Union[Device, str]] = ..., grid: _Optional[_Union[GridRequest, _Mapping]] = ..., densities: _Optional[_Iterable[_Union[StructureDensity, _Mapping]]] = ..., hu_curve: _Optional[str] = ..., threads: _Optional[int] = ..., without_ct: _Optional[bool] = ..., quantity: _Optional[str] = ..., cones: _Optional[str] = ..., heterogeneity: _Optional[str] = ..., arc_tolerance_deg: _Optional[float] = ...) -> None: ...

class BeamProgress(_message.Message):
    __slots__ = ("beam_number", "fraction")
    BEAM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    beam_number: int
    fraction: float
    def __init__(self, beam_number: _Optional[int] = ..., fraction: _Optional[float] = ...) -> None: ...

class JobProgress(_message.Message):
    __slots__ = ("fraction", "beams", "step", "elapsed_s", "remaining_s", "queue_position")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    BEAMS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    REMAINING_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    beams: _containers.RepeatedCompositeFieldContainer[BeamProgress]
    step: str
    elapsed_s: float
    remaining_s: float
    queue_position: int
    def __init__(self, fraction: _Optional[float] = ..., beams: _Optional[_Iterable[_Union[BeamProgress, _Mapping]]] = ..., step: _Optional[str] = ..., elapsed_s: _Optional[float] = ..., remaining_s: _Optional[float] = ..., queue_position: _Optional[int] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("code", "reason", "message", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class BeamResult(_message.Message):
    __slots__ = ("beam_number", "beam_name", "mu", "max_dose_gy", "info")
    class InfoEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BEAM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    BEAM_NAME_FIELD_NUMBER: _ClassVar[int]
    MU_FIELD_NUMBER: _ClassVar[int]
    MAX_DOSE_GY_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    beam_number: int
    beam_name: str
    mu: float
    max_dose_gy: float
    info: _containers.ScalarMap[str, str]
    def __init__(self, beam_number: _Optional[int] = ..., beam_name: _Optional[str] = ..., mu: _Optional[float] = ..., max_dose_gy: _Optional[float] = ..., info: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DoseResult(_message.Message):
    __slots__ = ("grid", "beams", "quantity", "engine", "machine_name", "machine_sha256", "max_dose_gy", "provenance", "seconds", "warnings", "dvhs", "notes")
    class ProvenanceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    GRID_FIELD_NUMBER: _ClassVar[int]
    BEAMS_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_NAME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_SHA256_FIELD_NUMBER: _ClassVar[int]
    MAX_DOSE_GY_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    DVHS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    grid: _geometry_pb2.Grid
    beams: _containers.RepeatedCompositeFieldContainer[BeamResult]
    quantity: str
    engine: str
    machine_name: str
    machine_sha256: str
    max_dose_gy: float
    provenance: _containers.ScalarMap[str, str]
    seconds: _containers.ScalarMap[str, float]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    dvhs: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, grid: _Optional[_Union[_geometry_pb2.Grid, _Mapping]] = ..., beams: _Optional[_Iterable[_Union[BeamResult, _Mapping]]] = ..., quantity: _Optional[str] = ..., engine: _Optional[str] = ..., machine_name: _Optional[str] = ..., machine_sha256: _Optional[str] = ..., max_dose_gy: _Optional[float] = ..., provenance: _Optional[_Mapping[str, str]] = ..., seconds: _Optional[_Mapping[str, float]] = ..., warnings: _Optional[_Iterable[str]] = ..., dvhs: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("name", "request", "state", "done", "progress", "error", "result", "create_time", "start_time", "end_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    request: DoseRequest
    state: JobState
    done: bool
    progress: JobProgress
    error: JobError
    result: DoseResult
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., request: _Optional[_Union[DoseRequest, _Mapping]] = ..., state: _Optional[_Union[JobState, str]] = ..., done: _Optional[bool] = ..., progress: _Optional[_Union[JobProgress, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., result: _Optional[_Union[DoseResult, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateJobRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: DoseRequest
    def __init__(self, request: _Optional[_Union[DoseRequest, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "study", "state")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    study: str
    state: JobState
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., study: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetDoseRequest(_message.Message):
    __slots__ = ("job", "beam_number", "format", "offset_bytes")
    JOB_FIELD_NUMBER: _ClassVar[int]
    BEAM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    job: str
    beam_number: int
    format: DoseFormat
    offset_bytes: int
    def __init__(self, job: _Optional[str] = ..., beam_number: _Optional[int] = ..., format: _Optional[_Union[DoseFormat, str]] = ..., offset_bytes: _Optional[int] = ...) -> None: ...

class DoseHeader(_message.Message):
    __slots__ = ("size_bytes", "sha256", "grid", "format")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    sha256: bytes
    grid: _geometry_pb2.Grid
    format: DoseFormat
    def __init__(self, size_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., grid: _Optional[_Union[_geometry_pb2.Grid, _Mapping]] = ..., format: _Optional[_Union[DoseFormat, str]] = ...) -> None: ...

class DoseChunk(_message.Message):
    __slots__ = ("offset_bytes", "data", "crc32")
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    offset_bytes: int
    data: bytes
    crc32: int
    def __init__(self, offset_bytes: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class GetDoseResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: DoseHeader
    chunk: DoseChunk
    def __init__(self, header: _Optional[_Union[DoseHeader, _Mapping]] = ..., chunk: _Optional[_Union[DoseChunk, _Mapping]] = ...) -> None: ...

class GetDvhsRequest(_message.Message):
    __slots__ = ("job", "structures")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STRUCTURES_FIELD_NUMBER: _ClassVar[int]
    job: str
    structures: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., structures: _Optional[_Iterable[str]] = ...) -> None: ...

class Dvh(_message.Message):
    __slots__ = ("structure_name", "structure_number", "volume_cm3", "dose_gy", "cumulative_cm3", "statistics", "notes")
    class StatisticsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STRUCTURE_NAME_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    VOLUME_CM3_FIELD_NUMBER: _ClassVar[int]
    DOSE_GY_FIELD_NUMBER: _ClassVar[int]
    CUMULATIVE_CM3_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    structure_name: str
    structure_number: int
    volume_cm3: float
    dose_gy: _containers.RepeatedScalarFieldContainer[float]
    cumulative_cm3: _containers.RepeatedScalarFieldContainer[float]
    statistics: _containers.ScalarMap[str, float]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, structure_name: _Optional[str] = ..., structure_number: _Optional[int] = ..., volume_cm3: _Optional[float] = ..., dose_gy: _Optional[_Iterable[float]] = ..., cumulative_cm3: _Optional[_Iterable[float]] = ..., statistics: _Optional[_Mapping[str, float]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...
