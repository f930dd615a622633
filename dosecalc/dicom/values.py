"""Safe access to the values of a dataset.

pydicom decodes a value when it is first touched, and raises whatever the bytes provoke: wrong VR, text in a number, an
unknown character set, a sequence cut short. Every reader goes through these functions, so that each of those becomes a
`DicomError` that names the file and the tag and quotes no value that could be a person's.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Final, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

from dosecalc.errors import DicomError


class Required(Enum):
    """Marks an attribute without which the object cannot be used."""

    REQUIRED = "required"


REQUIRED: Final = Required.REQUIRED
ErrorType = type[DicomError]
_T = TypeVar("_T")

#: a dose plan has no use for lengths, doses or weights beyond this; what is larger is damage
LARGEST = 1e9


def tag_name(keyword: str) -> str:
    """``(3004,000E) DoseGridScaling``, for messages."""
    number = tag_for_keyword(keyword)
    if number is None:
        return keyword
    tag = Tag(number)
    return f"({tag.group:04X},{tag.element:04X}) {keyword}"


def invalid(keyword: str, file: str, why: str, error: ErrorType = DicomError) -> DicomError:
    """The error for an attribute whose value cannot be used (``TAG_INVALID``); ``why`` completes "it ..."."""
    name = tag_name(keyword)
    return error("TAG_INVALID", f"{name} cannot be used: it {why}; export the object again.", file=file, tag=name)


def missing(keyword: str, file: str, error: ErrorType = DicomError) -> DicomError:
    """The error for a required attribute that is absent or empty (``TAG_MISSING``)."""
    name = tag_name(keyword)
    return error("TAG_MISSING", f"{name} is missing or empty, and is needed.", file=file, tag=name)


def value(ds: Dataset, keyword: str, file: str, error: ErrorType = DicomError) -> Any:
    """The decoded value, or None when the attribute is absent or empty.

    Raises
    ------
    DicomError
        ``TAG_INVALID`` when the bytes cannot be decoded.
    """
    try:
        found = ds.get(keyword)
        if found is None or (isinstance(found, (str, bytes, MultiValue, PersonName)) and len(found) == 0):
            return None
        return found
    except Exception as cause:  # pydicom raises almost anything, and memory is never the cause here
        raise invalid(keyword, file, f"cannot be decoded ({type(cause).__name__})", error) from None


def present(ds: Dataset, keyword: str) -> bool:
    """Whether the attribute is there with a non-empty value; never raises, a damaged value counts as present."""
    try:
        return value(ds, keyword, "") is not None
    except DicomError:
        return True


def _or_default(keyword: str, file: str, default: _T | Required, error: ErrorType) -> _T:
    if isinstance(default, Required):
        raise missing(keyword, file, error)
    return default


@overload
def number(
    ds: Dataset, keyword: str, file: str, default: float | Required = ..., *,
    minimum: float = ..., maximum: float = ..., error: ErrorType = ...,
) -> float: ...  # fmt: skip
@overload
def number(
    ds: Dataset, keyword: str, file: str, default: None, *,
    minimum: float = ..., maximum: float = ..., error: ErrorType = ...,
) -> float | None: ...  # fmt: skip
def number(
    ds: Dataset,
    keyword: str,
    file: str,
    default: float | Required | None = REQUIRED,
    *,
    minimum: float = -LARGEST,
    maximum: float = LARGEST,
    error: ErrorType = DicomError,
) -> float | None:
    """One finite number.

    Parameters
    ----------
    ds : Dataset
    keyword : str
        DICOM keyword.
    file : str
        Name of the file, for the message.
    default : float or None, optional
        Returned when the attribute is absent or empty; without it that is an error.
    minimum, maximum : float
        Inclusive bounds.
    error : type
        The subclass of `DicomError` to raise.

    Raises
    ------
    DicomError
        ``TAG_MISSING``, or ``TAG_INVALID`` when it is not one finite number within the bounds.
    """
    found = value(ds, keyword, file, error)
    if found is None:
        return _or_default(keyword, file, default, error)
    return _checked(found, keyword, file, minimum, maximum, error)


def _checked(found: Any, keyword: str, file: str, minimum: float, maximum: float, error: ErrorType) -> float:
    if isinstance(found, (MultiValue, DicomSequence, list, tuple)):
        raise invalid(keyword, file, f"has {len(found)} values where one is expected", error)
    try:
        result = float(found)
    except (TypeError, ValueError, OverflowError):
        raise invalid(keyword, file, "is not a number", error) from None
    if not math.isfinite(result):
        raise invalid(keyword, file, "is not finite", error)
    if not minimum <= result <= maximum:
        raise invalid(keyword, file, f"is {result:g}, outside {minimum:g} to {maximum:g}", error)
    return result


@overload
def integer(
    ds: Dataset, keyword: str, file: str, default: int | Required = ..., *,
    minimum: int = ..., maximum: int = ..., error: ErrorType = ...,
) -> int: ...  # fmt: skip
@overload
def integer(
    ds: Dataset, keyword: str, file: str, default: None, *,
    minimum: int = ..., maximum: int = ..., error: ErrorType = ...,
) -> int | None: ...  # fmt: skip
def integer(
    ds: Dataset,
    keyword: str,
    file: str,
    default: int | Required | None = REQUIRED,
    *,
    minimum: int = -(2**31),
    maximum: int = 2**32 - 1,
    error: ErrorType = DicomError,
) -> int | None:
    """One whole number; see `number`."""
    found = value(ds, keyword, file, error)
    if found is None:
        return _or_default(keyword, file, default, error)
    result = _checked(found, keyword, file, minimum, maximum, error)
    if result != int(result):
        raise invalid(keyword, file, "is not a whole number", error)
    return int(result)


@overload
def numbers(
    ds: Dataset, keyword: str, file: str, default: Required = ..., *,
    count: int | None = ..., minimum: float = ..., maximum: float = ..., error: ErrorType = ...,
) -> NDArray[np.float64]: ...  # fmt: skip
@overload
def numbers(
    ds: Dataset, keyword: str, file: str, default: None, *,
    count: int | None = ..., minimum: float = ..., maximum: float = ..., error: ErrorType = ...,
) -> NDArray[np.float64] | None: ...  # fmt: skip
def numbers(
    ds: Dataset,
    keyword: str,
    file: str,
    default: Required | None = REQUIRED,
    *,
    count: int | None = None,
    minimum: float = -LARGEST,
    maximum: float = LARGEST,
    error: ErrorType = DicomError,
) -> NDArray[np.float64] | None:
    """Finite numbers, float64 [n]; ``count`` asks for exactly so many. Long lists are parsed quickly.

    Raises
    ------
    DicomError
        ``TAG_MISSING``, or ``TAG_INVALID`` for a wrong count or a value that is not finite or out of bounds.
    """
    result = _decimal_list(ds, keyword)
    if result is None:
        found = value(ds, keyword, file, error)
        if found is None:
            return _or_default(keyword, file, default, error)
        many = found if isinstance(found, (MultiValue, list, tuple)) else [found]
        try:
            result = np.array([float(v) for v in many], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise invalid(keyword, file, "is not a list of numbers", error) from None
    if count is not None and len(result) != count:
        raise invalid(keyword, file, f"has {len(result)} values where {count} are expected", error)
    if not np.all(np.isfinite(result)):
        raise invalid(keyword, file, "holds a value that is not finite", error)
    if np.any(result < minimum) or np.any(result > maximum):
        raise invalid(keyword, file, f"holds a value outside {minimum:g} to {maximum:g}", error)
    return result


def _decimal_list(ds: Dataset, keyword: str) -> NDArray[np.float64] | None:
    """Undecoded decimal strings parsed at once: contours have millions, and pydicom makes an object of each."""
    tag = tag_for_keyword(keyword)
    try:
        raw = None if tag is None else ds.get_item(tag)
        if not isinstance(raw, RawDataElement) or not raw.value or raw.VR not in (None, "DS"):
            return None
        if raw.VR is None and len(raw.value) < 200:
            return None  # the VR is unknown here; a long text in an implicit file that parses as numbers is a DS
        parts = bytes(raw.value).rstrip(b" \0").split(b"\\")
        return np.array([float(part) for part in parts], dtype=np.float64)
    except Exception:  # whatever is wrong, the careful way finds and names it
        return None


@overload
def text(
    ds: Dataset, keyword: str, file: str, default: str | Required = ..., *, error: ErrorType = ...
) -> str: ...  # fmt: skip
@overload
def text(ds: Dataset, keyword: str, file: str, default: None, *, error: ErrorType = ...) -> str | None: ...
def text(
    ds: Dataset, keyword: str, file: str, default: str | Required | None = REQUIRED, *, error: ErrorType = DicomError
) -> str | None:
    """A text, decoded by the object's character set, without padding; several values are joined by a backslash.

    Raises
    ------
    DicomError
        ``TAG_MISSING`` or ``TAG_INVALID``.
    """
    many = texts(ds, keyword, file, error=error)
    joined = "\\".join(many)
    return joined if joined else _or_default(keyword, file, default, error)


def texts(ds: Dataset, keyword: str, file: str, *, error: ErrorType = DicomError) -> tuple[str, ...]:
    """All values of a text attribute, without padding; an empty tuple when it is absent.

    Raises
    ------
    DicomError
        ``TAG_INVALID``.
    """
    found = value(ds, keyword, file, error)
    if found is None:
        return ()
    if isinstance(found, DicomSequence):
        raise invalid(keyword, file, "is a sequence where text is expected", error)
    many = found if isinstance(found, (MultiValue, list, tuple)) else [found]
    try:
        return tuple(_as_text(v) for v in many)
    except Exception as cause:  # a person name decodes when it is turned into text
        raise invalid(keyword, file, f"cannot be decoded ({type(cause).__name__})", error) from None


def _as_text(one: Any) -> str:
    decoded = one.decode("latin-1") if isinstance(one, bytes) else str(one)
    return decoded.strip(" \0\t\r\n")


def items(
    ds: Dataset, keyword: str, file: str, *, required: bool = False, error: ErrorType = DicomError
) -> tuple[Dataset, ...]:
    """The items of a sequence; an empty tuple when it is absent and not required.

    Raises
    ------
    DicomError
        ``TAG_MISSING`` when it is required and absent or empty; ``TAG_INVALID`` when it is no readable sequence.
    """
    found = value(ds, keyword, file, error)
    if found is not None and not isinstance(found, DicomSequence):
        raise invalid(keyword, file, "is not a sequence", error)
    try:
        result = tuple(found) if found is not None else ()
    except Exception as cause:
        raise invalid(keyword, file, f"cannot be decoded ({type(cause).__name__})", error) from None
    if required and not result:
        raise missing(keyword, file, error)
    return result
