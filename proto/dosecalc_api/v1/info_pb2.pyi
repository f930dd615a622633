from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeviceInfo(_message.Message):
    __slots__ = ("kind", "description", "units", "memory_bytes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    description: str
    units: int
    memory_bytes: int
    def __init__(self, kind: _Optional[str] = ..., description: _Optional[str] = ..., units: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class DoseQuantity(_message.Message):
    __slots__ = ("name", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class EngineChoice(_message.Message):
    __slots__ = ("name", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class EngineInfo(_message.Message):
    __slots__ = ("name", "radiations", "devices", "quantities", "description", "cones", "heterogeneities")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RADIATIONS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    QUANTITIES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CONES_FIELD_NUMBER: _ClassVar[int]
    HETEROGENEITIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    radiations: _containers.RepeatedScalarFieldContainer[str]
    devices: _containers.RepeatedScalarFieldContainer[str]
    quantities: _containers.RepeatedCompositeFieldContainer[DoseQuantity]
    description: str
    cones: _containers.RepeatedCompositeFieldContainer[EngineChoice]
    heterogeneities: _containers.RepeatedCompositeFieldContainer[EngineChoice]
    def __init__(self, name: _Optional[str] = ..., radiations: _Optional[_Iterable[str]] = ..., devices: _Optional[_Iterable[str]] = ..., quantities: _Optional[_Iterable[_Union[DoseQuantity, _Mapping]]] = ..., description: _Optional[str] = ..., cones: _Optional[_Iterable[_Union[EngineChoice, _Mapping]]] = ..., heterogeneities: _Optional[_Iterable[_Union[EngineChoice, _Mapping]]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_blob_bytes", "max_chunk_bytes", "max_study_bytes", "max_study_blobs", "max_message_bytes", "max_queued_jobs", "max_grid_voxels", "max_queued_comparisons")
    MAX_BLOB_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STUDY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STUDY_BLOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_GRID_VOXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    max_blob_bytes: int
    max_chunk_bytes: int
    max_study_bytes: int
    max_study_blobs: int
    max_message_bytes: int
    max_queued_jobs: int
    max_grid_voxels: int
    max_queued_comparisons: int
    def __init__(self, max_blob_bytes: _Optional[int] = ..., max_chunk_bytes: _Optional[int] = ..., max_study_bytes: _Optional[int] = ..., max_study_blobs: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_queued_jobs: _Optional[int] = ..., max_grid_voxels: _Optional[int] = ..., max_queued_comparisons: _Optional[int] = ...) -> None: ...

class Info(_message.Message):
    __slots__ = ("version", "devices", "engines", "limits", "workers", "engine_sha256", "hu_curves")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_SHA256_FIELD_NUMBER: _ClassVar[int]
    HU_CURVES_FIELD_NUMBER: _ClassVar[int]
    version: str
    devices: _containers.RepeatedCompositeFieldContainer[DeviceInfo]
    engines: _containers.RepeatedCompositeFieldContainer[EngineInfo]
    limits: Limits
    workers: int
    engine_sha256: str
    hu_curves: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[DeviceInfo, _Mapping]]] = ..., engines: _Optional[_Iterable[_Union[EngineInfo, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., workers: _Optional[int] = ..., engine_sha256: _Optional[str] = ..., hu_curves: _Optional[_Iterable[str]] = ...) -> None: ...
