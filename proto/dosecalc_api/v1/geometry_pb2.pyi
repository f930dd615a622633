from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Vector3(_message.Message):
    __slots__ = ("x", "y", "z")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("lower_mm", "upper_mm")
    LOWER_MM_FIELD_NUMBER: _ClassVar[int]
    UPPER_MM_FIELD_NUMBER: _ClassVar[int]
    lower_mm: Vector3
    upper_mm: Vector3
    def __init__(self, lower_mm: _Optional[_Union[Vector3, _Mapping]] = ..., upper_mm: _Optional[_Union[Vector3, _Mapping]] = ...) -> None: ...

class Grid(_message.Message):
    __slots__ = ("origin_mm", "spacing_mm", "size_x", "size_y", "size_z")
    ORIGIN_MM_FIELD_NUMBER: _ClassVar[int]
    SPACING_MM_FIELD_NUMBER: _ClassVar[int]
    SIZE_X_FIELD_NUMBER: _ClassVar[int]
    SIZE_Y_FIELD_NUMBER: _ClassVar[int]
    SIZE_Z_FIELD_NUMBER: _ClassVar[int]
    origin_mm: Vector3
    spacing_mm: Vector3
    size_x: int
    size_y: int
    size_z: int
    def __init__(self, origin_mm: _Optional[_Union[Vector3, _Mapping]] = ..., spacing_mm: _Optional[_Union[Vector3, _Mapping]] = ..., size_x: _Optional[int] = ..., size_y: _Optional[int] = ..., size_z: _Optional[int] = ...) -> None: ...
