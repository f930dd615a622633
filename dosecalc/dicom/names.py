"""Names as people wrote them, whatever the object says of its character set."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from dosecalc.dicom import values
from dosecalc.errors import DicomError

#: declared sets under which other bytes are met in practice: none, ASCII, Latin-1 and UTF-8
_DOUBTFUL = {"", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO_IR 192"}


@dataclass(frozen=True)
class ReadableText:
    """A text, and the character set it was read as when that is not the declared one."""

    text: str
    guessed: str = ""


def readable_text(
    ds: Dataset, keyword: str, file: str, error: type[DicomError] = DicomError, root: Dataset | None = None
) -> ReadableText:
    """A single text, decoded by the declared character set unless the bytes contradict it.

    Exporters write UTF-8 under a declaration of Latin-1, or Latin-1 under none or under UTF-8. Bytes beyond ASCII that
    are valid UTF-8 are UTF-8, since Latin-1 text practically never is; other ones are Latin-1. Sets other than these
    two are decoded as declared.

    Parameters
    ----------
    ds : Dataset
        That holds the attribute.
    keyword, file, error
        As in `dosecalc.dicom.values.text`.
    root : Dataset, optional
        The whole object, which declares the character set for its sequences' items.

    Raises
    ------
    DicomError
        ``TAG_INVALID``.
    """
    raw = _raw_bytes(ds, keyword)
    declared = _declared(ds, file) or _declared(root, file) if root is not None else _declared(ds, file)
    if raw is None or raw.isascii() or declared not in _DOUBTFUL:
        return ReadableText(_clean(values.text(ds, keyword, file, "", error=error)))
    try:
        decoded, name, expected = raw.decode("utf-8"), "UTF-8", "ISO_IR 192"
    except UnicodeDecodeError:
        decoded, name, expected = raw.decode("latin-1"), "Latin-1", "ISO_IR 100"
    return ReadableText(_clean(decoded), "" if declared == expected else name)


def _raw_bytes(ds: Dataset, keyword: str) -> bytes | None:
    """The undecoded value; None when it was decoded already, is absent or damaged."""
    tag = tag_for_keyword(keyword)
    try:
        raw = None if tag is None else ds.get_item(tag)
    except Exception:  # the careful way finds and names what is wrong
        return None
    return bytes(raw.value) if isinstance(raw, RawDataElement) and raw.value else None


def _declared(ds: Dataset, file: str) -> str:
    try:
        return "\\".join(values.texts(ds, "SpecificCharacterSet", file))
    except DicomError:
        return ""  # an unreadable declaration declares nothing


def _clean(text: str) -> str:
    """Without padding and control characters."""
    return "".join(c for c in text if c.isprintable()).strip()
