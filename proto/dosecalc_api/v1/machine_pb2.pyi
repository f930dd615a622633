from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MachineEnergy(_message.Message):
    __slots__ = ("nominal_mv", "fluence_mode")
    NOMINAL_MV_FIELD_NUMBER: _ClassVar[int]
    FLUENCE_MODE_FIELD_NUMBER: _ClassVar[int]
    nominal_mv: float
    fluence_mode: str
    def __init__(self, nominal_mv: _Optional[float] = ..., fluence_mode: _Optional[str] = ...) -> None: ...

class Machine(_message.Message):
    __slots__ = ("name", "description", "sha256", "schema_version", "generic", "energies", "mlc")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERIC_FIELD_NUMBER: _ClassVar[int]
    ENERGIES_FIELD_NUMBER: _ClassVar[int]
    MLC_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    sha256: str
    schema_version: str
    generic: bool
    energies: _containers.RepeatedCompositeFieldContainer[MachineEnergy]
    mlc: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., sha256: _Optional[str] = ..., schema_version: _Optional[str] = ..., generic: _Optional[bool] = ..., energies: _Optional[_Iterable[_Union[MachineEnergy, _Mapping]]] = ..., mlc: _Optional[str] = ...) -> None: ...

class ListMachinesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMachinesResponse(_message.Message):
    __slots__ = ("machines", "next_page_token")
    MACHINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    machines: _containers.RepeatedCompositeFieldContainer[Machine]
    next_page_token: str
    def __init__(self, machines: _Optional[_Iterable[_Union[Machine, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetMachineRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
