"""Bytes to a pydicom dataset, with the checks that pydicom leaves out.

pydicom accepts a file that ends in the middle of an element and drops what follows without an error, follows sequences
as deep as they go, and inflates a deflated object to whatever size it has. For a treatment plan a silently missing
control point is a wrong dose, so the element structure is walked first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import dcmread, read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dosecalc.dicom.errors import ScanError

#: bytes at the start of a file that `looks_like_dicom` needs
HEAD_BYTES = 1024
#: an inflated object may be this much larger than the file; headers and contours shrink tenfold, bombs a thousandfold
LARGEST_INFLATION = 100
#: RT objects nest about six sequences deep
DEEPEST_NESTING = 32

_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)


def _letters(two: bytes) -> bool:
    return len(two) == 2 and two.isalpha() and two.isupper()


def looks_like_dicom(head: bytes, size: int) -> bool:
    """Whether a file that begins with ``head`` and is ``size`` bytes long may be DICOM, with or without preamble."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    group, element = struct.unpack_from("<HH", head)
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    return _letters(head[4:6]) or struct.unpack_from("<I", head, 4)[0] <= min(size, 0x10000)


@dataclass(frozen=True)
class _Encoding:
    implicit: bool
    order: str  # '<' or '>', as struct has it


class _Damaged(Exception):
    """The bytes are no sequence of DICOM elements; the text says why."""


class _Walker:
    """Follows the elements of a dataset through their lengths, without decoding a value."""

    def __init__(self, data: bytes, encoding: _Encoding) -> None:
        self.data = data
        self.encoding = encoding

    def header(self, pos: int, end: int, implicit: bool) -> tuple[tuple[int, int], bytes, int, int]:
        """Tag, VR, length and start of the value of the element at ``pos``."""
        if end - pos < 8:
            raise _Damaged("ends in the middle of an element")
        order = self.encoding.order
        tag: tuple[int, int] = struct.unpack_from(order + "HH", self.data, pos)
        if implicit or tag[0] == 0xFFFE:
            return tag, b"", struct.unpack_from(order + "I", self.data, pos + 4)[0], pos + 8
        vr = self.data[pos + 4 : pos + 6]
        if not b"AA" <= vr <= b"ZZ":  # some writers switch to implicit inside a sequence; pydicom goes along, so do we
            return tag, b"", struct.unpack_from(order + "I", self.data, pos + 4)[0], pos + 8
        if vr not in _LONG_VRS:
            return tag, vr, struct.unpack_from(order + "H", self.data, pos + 6)[0], pos + 8
        if end - pos < 12:
            raise _Damaged("ends in the middle of an element")
        return tag, vr, struct.unpack_from(order + "I", self.data, pos + 8)[0], pos + 12

    def elements(self, pos: int, end: int, implicit: bool, depth: int, in_item: bool = False) -> int:
        """Walk to the end of the dataset, or of the item of undefined length; returns the position behind it."""
        if depth > DEEPEST_NESTING:
            raise _Damaged(f"nests sequences more than {DEEPEST_NESTING} deep")
        while pos < end:
            if not in_item and not any(self.data[pos : pos + 64]) and not any(self.data[pos:end]):
                return end  # padding behind the last element
            tag, vr, length, pos = self.header(pos, end, implicit)
            if in_item and tag == _ITEM_END:
                return pos
            if tag[0] == 0xFFFE:
                raise _Damaged("holds a delimiter that delimits nothing")
            if length == _UNDEFINED:
                # a sequence of unknown VR is implicit inside (PS3.5, 6.2.2), unless its writer forgot that
                unknown = vr == b"UN" and not _letters(self.data[pos + 12 : pos + 14])
                pos = self.sequence(pos, end, implicit or unknown, depth, tag == _PIXEL_DATA or vr in (b"OB", b"OW"))
            elif length > end - pos:
                raise _Damaged("ends in the middle of an element")
            else:
                if vr == b"SQ" or (not vr and _is_sequence(tag)):
                    self.items(pos, pos + length, implicit or not vr, depth)
                pos += length
        if in_item:
            raise _Damaged("ends in the middle of a sequence")
        return pos

    def items(self, pos: int, end: int, implicit: bool, depth: int) -> None:
        """Walk over the items of a sequence of defined length, which must fill it."""
        while pos < end:
            tag, _, length, pos = self.header(pos, end, implicit)
            if tag == _SEQUENCE_END and length == 0:
                continue  # superfluous, and harmless
            if tag != _ITEM:
                raise _Damaged("holds a sequence without items")
            if length == _UNDEFINED:
                pos = self.elements(pos, end, implicit, depth + 1, in_item=True)
            elif length > end - pos:
                raise _Damaged("holds an item that is longer than its sequence")
            else:
                self.elements(pos, pos + length, implicit, depth + 1)
                pos += length

    def sequence(self, pos: int, end: int, implicit: bool, depth: int, pixels: bool) -> int:
        """Walk over the items of a sequence of undefined length, or over the fragments of compressed pixels."""
        while True:
            if end - pos < 8:
                raise _Damaged("ends in the middle of a sequence")
            tag, _, length, pos = self.header(pos, end, implicit)
            if tag == _SEQUENCE_END:
                return pos
            if tag != _ITEM or (pixels and length == _UNDEFINED):
                raise _Damaged("holds a sequence without items")
            if length == _UNDEFINED:
                pos = self.elements(pos, end, implicit, depth + 1, in_item=True)
            elif length > end - pos:
                raise _Damaged("ends in the middle of a sequence")
            else:
                if not pixels:
                    self.elements(pos, pos + length, implicit, depth + 1)
                pos += length


@lru_cache(maxsize=4096)
def _is_sequence(tag: tuple[int, int]) -> bool:
    """Whether the data dictionary knows the element as a sequence."""
    number = tag[0] << 16 | tag[1]
    return bool(dictionary_has_tag(number)) and dictionary_VR(number) == "SQ"


def _meta(data: bytes, start: int) -> tuple[int, str]:
    """Where the dataset begins, and the transfer syntax UID, ``""`` when the file meta names none."""
    pos, syntax = start, ""
    walker = _Walker(data, _Encoding(False, "<"))
    while len(data) - pos >= 8 and data[pos : pos + 2] == b"\x02\x00":
        tag, _, length, value_at = walker.header(pos, len(data), not _letters(data[pos + 4 : pos + 6]))
        if length > len(data) - value_at:
            raise _Damaged("ends in the middle of an element")
        pos = value_at + length
        if tag == (0x0002, 0x0010):
            syntax = data[value_at:pos].decode("latin-1").strip(" \0")
    return pos, syntax


def _inflate(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(data, limit)
    except zlib.error:
        raise _Damaged("cannot be inflated") from None
    if inflater.unconsumed_tail:
        raise _Damaged("inflates to a size that no such object has")
    if not inflater.eof:
        raise _Damaged("ends in the middle of its compressed part")
    return body


def parse(data: bytes, name: str) -> Dataset:
    """The dataset of a DICOM file, values still undecoded; its file meta names a transfer syntax in any case.

    Parameters
    ----------
    data : bytes
        The whole file, with or without preamble and file meta.
    name : str
        Name of the file, for messages.

    Raises
    ------
    ScanError
        ``DICOM_DAMAGED`` when the bytes are no complete DICOM dataset.
    """
    try:
        return _parse(data, name)
    except _Damaged as cause:
        why = str(cause)
    except Exception as cause:  # pydicom raises almost anything on damaged input
        why = f"cannot be parsed ({type(cause).__name__})"
    raise ScanError("DICOM_DAMAGED", f"The file {why}; export or copy it again.", file=name)


def _parse(data: bytes, name: str) -> Dataset:
    start = 132 if data[128:132] == b"DICM" else 0
    body_at, syntax = _meta(data, start)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    body = _inflate(data[body_at:], LARGEST_INFLATION * len(data)) if deflated else data
    first = 0 if deflated else body_at
    if len(body) - first < 8:
        raise _Damaged("holds no dataset")
    encoding = _Encoding(not _letters(body[first + 4 : first + 6]), ">" if syntax == ExplicitVRBigEndian else "<")
    _Walker(body, encoding).elements(first, len(body), encoding.implicit, 0)
    ds: Dataset
    if deflated:
        meta = FileMetaDataset(read_dataset(BytesIO(data[start:body_at]), False, True))
        ds = FileDataset(name, read_dataset(BytesIO(body), False, True), None, meta, False, True)
    else:
        ds = dcmread(BytesIO(data), force=True)
    if not syntax:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if encoding.implicit else ExplicitVRLittleEndian
    return ds
