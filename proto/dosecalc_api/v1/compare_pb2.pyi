from dosecalc_api.v1 import dose_pb2 as _dose_pb2
from dosecalc_api.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CompareFile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARE_FILE_UNSPECIFIED: _ClassVar[CompareFile]
    COMPARE_FILE_PICTURE: _ClassVar[CompareFile]
    COMPARE_FILE_GAMMA: _ClassVar[CompareFile]
    COMPARE_FILE_DIFFERENCE: _ClassVar[CompareFile]
COMPARE_FILE_UNSPECIFIED: CompareFile
COMPARE_FILE_PICTURE: CompareFile
COMPARE_FILE_GAMMA: CompareFile
COMPARE_FILE_DIFFERENCE: CompareFile

class JobDose(_message.Message):
    __slots__ = ("job", "beam_number")
    JOB_FIELD_NUMBER: _ClassVar[int]
    BEAM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    job: str
    beam_number: int
    def __init__(self, job: _Optional[str] = ..., beam_number: _Optional[int] = ...) -> None: ...

class InlineDose(_message.Message):
    __slots__ = ("grid", "dose_gy_float32")
    GRID_FIELD_NUMBER: _ClassVar[int]
    DOSE_GY_FLOAT32_FIELD_NUMBER: _ClassVar[int]
    grid: _geometry_pb2.Grid
    dose_gy_float32: bytes
    def __init__(self, grid: _Optional[_Union[_geometry_pb2.Grid, _Mapping]] = ..., dose_gy_float32: _Optional[bytes] = ...) -> None: ...

class DoseSource(_message.Message):
    __slots__ = ("rtdose_sha256", "job", "inline_dose")
    RTDOSE_SHA256_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    INLINE_DOSE_FIELD_NUMBER: _ClassVar[int]
    rtdose_sha256: bytes
    job: JobDose
    inline_dose: InlineDose
    def __init__(self, rtdose_sha256: _Optional[bytes] = ..., job: _Optional[_Union[JobDose, _Mapping]] = ..., inline_dose: _Optional[_Union[InlineDose, _Mapping]] = ...) -> None: ...

class GammaCriterion(_message.Message):
    __slots__ = ("dose_percent", "distance_mm")
    DOSE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_MM_FIELD_NUMBER: _ClassVar[int]
    dose_percent: float
    distance_mm: float
    def __init__(self, dose_percent: _Optional[float] = ..., distance_mm: _Optional[float] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("reference", "evaluated", "criteria", "local", "threshold_percent", "normalisation_gy", "max_gamma", "sampling", "exact", "rtstruct_sha256", "structure_names", "ignore_frame", "ignore_type", "picture", "gamma_maps", "difference_map", "device")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    EVALUATED_FIELD_NUMBER: _ClassVar[int]
    CRITERIA_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_PERCENT_FIELD_NUMBER: _ClassVar[int]
    NORMALISATION_GY_FIELD_NUMBER: _ClassVar[int]
    MAX_GAMMA_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    RTSTRUCT_SHA256_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    IGNORE_FRAME_FIELD_NUMBER: _ClassVar[int]
    IGNORE_TYPE_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    GAMMA_MAPS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_MAP_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    reference: DoseSource
    evaluated: DoseSource
    criteria: _containers.RepeatedCompositeFieldContainer[GammaCriterion]
    local: bool
    threshold_percent: float
    normalisation_gy: float
    max_gamma: float
    sampling: int
    exact: bool
    rtstruct_sha256: bytes
    structure_names: _containers.RepeatedScalarFieldContainer[str]
    ignore_frame: bool
    ignore_type: bool
    picture: bool
    gamma_maps: bool
    difference_map: bool
    device: _dose_pb2.Device
    def __init__(self, reference: _Optional[_Union[DoseSource, _Mapping]] = ..., evaluated: _Optional[_Union[DoseSource, _Mapping]] = ..., criteria: _Optional[_Iterable[_Union[GammaCriterion, _Mapping]]] = ..., local: _Optional[bool] = ..., threshold_percent: _Optional[float] = ..., normalisation_gy: _Optional[float] = ..., max_gamma: _Optional[float] = ..., sampling: _Optional[int] = ..., exact: _Optional[bool] = ..., rtstruct_sha256: _Optional[bytes] = ..., structure_names: _Optional[_Iterable[str]] = ..., ignore_frame: _Optional[bool] = ..., ignore_type: _Optional[bool] = ..., picture: _Optional[bool] = ..., gamma_maps: _Optional[bool] = ..., difference_map: _Optional[bool] = ..., device: _Optional[_Union[_dose_pb2.Device, str]] = ...) -> None: ...

class GammaStatistics(_message.Message):
    __slots__ = ("criterion", "points", "pass_rate_percent", "mean_gamma", "median_gamma", "p95_gamma", "p99_gamma", "max_gamma")
    CRITERION_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    PASS_RATE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEAN_GAMMA_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_GAMMA_FIELD_NUMBER: _ClassVar[int]
    P95_GAMMA_FIELD_NUMBER: _ClassVar[int]
    P99_GAMMA_FIELD_NUMBER: _ClassVar[int]
    MAX_GAMMA_FIELD_NUMBER: _ClassVar[int]
    criterion: GammaCriterion
    points: int
    pass_rate_percent: float
    mean_gamma: float
    median_gamma: float
    p95_gamma: float
    p99_gamma: float
    max_gamma: float
    def __init__(self, criterion: _Optional[_Union[GammaCriterion, _Mapping]] = ..., points: _Optional[int] = ..., pass_rate_percent: _Optional[float] = ..., mean_gamma: _Optional[float] = ..., median_gamma: _Optional[float] = ..., p95_gamma: _Optional[float] = ..., p99_gamma: _Optional[float] = ..., max_gamma: _Optional[float] = ...) -> None: ...

class DoseDifference(_message.Message):
    __slots__ = ("points", "mean_gy", "sd_gy", "rms_gy", "mean_abs_gy", "median_gy", "p5_gy", "p95_gy", "min_gy", "max_gy", "mean_percent", "rms_percent", "max_abs_percent")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    MEAN_GY_FIELD_NUMBER: _ClassVar[int]
    SD_GY_FIELD_NUMBER: _ClassVar[int]
    RMS_GY_FIELD_NUMBER: _ClassVar[int]
    MEAN_ABS_GY_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_GY_FIELD_NUMBER: _ClassVar[int]
    P5_GY_FIELD_NUMBER: _ClassVar[int]
    P95_GY_FIELD_NUMBER: _ClassVar[int]
    MIN_GY_FIELD_NUMBER: _ClassVar[int]
    MAX_GY_FIELD_NUMBER: _ClassVar[int]
    MEAN_PERCENT_FIELD_NUMBER: _ClassVar[int]
    RMS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    points: int
    mean_gy: float
    sd_gy: float
    rms_gy: float
    mean_abs_gy: float
    median_gy: float
    p5_gy: float
    p95_gy: float
    min_gy: float
    max_gy: float
    mean_percent: float
    rms_percent: float
    max_abs_percent: float
    def __init__(self, points: _Optional[int] = ..., mean_gy: _Optional[float] = ..., sd_gy: _Optional[float] = ..., rms_gy: _Optional[float] = ..., mean_abs_gy: _Optional[float] = ..., median_gy: _Optional[float] = ..., p5_gy: _Optional[float] = ..., p95_gy: _Optional[float] = ..., min_gy: _Optional[float] = ..., max_gy: _Optional[float] = ..., mean_percent: _Optional[float] = ..., rms_percent: _Optional[float] = ..., max_abs_percent: _Optional[float] = ...) -> None: ...

class StructureComparison(_message.Message):
    __slots__ = ("structure_name", "structure_number", "kind", "gamma", "difference", "reference_statistics", "evaluated_statistics", "dvh_difference_statistics", "notes")
    class ReferenceStatisticsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class EvaluatedStatisticsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class DvhDifferenceStatisticsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STRUCTURE_NAME_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GAMMA_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    EVALUATED_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    DVH_DIFFERENCE_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    structure_name: str
    structure_number: int
    kind: str
    gamma: _containers.RepeatedCompositeFieldContainer[GammaStatistics]
    difference: DoseDifference
    reference_statistics: _containers.ScalarMap[str, float]
    evaluated_statistics: _containers.ScalarMap[str, float]
    dvh_difference_statistics: _containers.ScalarMap[str, float]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, structure_name: _Optional[str] = ..., structure_number: _Optional[int] = ..., kind: _Optional[str] = ..., gamma: _Optional[_Iterable[_Union[GammaStatistics, _Mapping]]] = ..., difference: _Optional[_Union[DoseDifference, _Mapping]] = ..., reference_statistics: _Optional[_Mapping[str, float]] = ..., evaluated_statistics: _Optional[_Mapping[str, float]] = ..., dvh_difference_statistics: _Optional[_Mapping[str, float]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("grid", "local", "normalisation_gy", "threshold_gy", "max_gamma", "sampling", "reference_max_gy", "evaluated_max_gy", "points_above_threshold", "points_without_gamma", "gamma", "worst_mm", "difference", "structures", "notes")
    GRID_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    NORMALISATION_GY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_GY_FIELD_NUMBER: _ClassVar[int]
    MAX_GAMMA_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_MAX_GY_FIELD_NUMBER: _ClassVar[int]
    EVALUATED_MAX_GY_FIELD_NUMBER: _ClassVar[int]
    POINTS_ABOVE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    POINTS_WITHOUT_GAMMA_FIELD_NUMBER: _ClassVar[int]
    GAMMA_FIELD_NUMBER: _ClassVar[int]
    WORST_MM_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    STRUCTURES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    grid: _geometry_pb2.Grid
    local: bool
    normalisation_gy: float
    threshold_gy: float
    max_gamma: float
    sampling: int
    reference_max_gy: float
    evaluated_max_gy: float
    points_above_threshold: int
    points_without_gamma: int
    gamma: _containers.RepeatedCompositeFieldContainer[GammaStatistics]
    worst_mm: _geometry_pb2.Vector3
    difference: DoseDifference
    structures: _containers.RepeatedCompositeFieldContainer[StructureComparison]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, grid: _Optional[_Union[_geometry_pb2.Grid, _Mapping]] = ..., local: _Optional[bool] = ..., normalisation_gy: _Optional[float] = ..., threshold_gy: _Optional[float] = ..., max_gamma: _Optional[float] = ..., sampling: _Optional[int] = ..., reference_max_gy: _Optional[float] = ..., evaluated_max_gy: _Optional[float] = ..., points_above_threshold: _Optional[int] = ..., points_without_gamma: _Optional[int] = ..., gamma: _Optional[_Iterable[_Union[GammaStatistics, _Mapping]]] = ..., worst_mm: _Optional[_Union[_geometry_pb2.Vector3, _Mapping]] = ..., difference: _Optional[_Union[DoseDifference, _Mapping]] = ..., structures: _Optional[_Iterable[_Union[StructureComparison, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class CompareFileHeader(_message.Message):
    __slots__ = ("kind", "criterion_index", "size_bytes", "sha256")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CRITERION_INDEX_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    kind: CompareFile
    criterion_index: int
    size_bytes: int
    sha256: bytes
    def __init__(self, kind: _Optional[_Union[CompareFile, str]] = ..., criterion_index: _Optional[int] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class CompareFileChunk(_message.Message):
    __slots__ = ("offset_bytes", "data", "crc32")
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    offset_bytes: int
    data: bytes
    crc32: int
    def __init__(self, offset_bytes: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("comparison", "file", "chunk")
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    comparison: Comparison
    file: CompareFileHeader
    chunk: CompareFileChunk
    def __init__(self, comparison: _Optional[_Union[Comparison, _Mapping]] = ..., file: _Optional[_Union[CompareFileHeader, _Mapping]] = ..., chunk: _Optional[_Union[CompareFileChunk, _Mapping]] = ...) -> None: ...
