"""Pixel data to arrays of stored values, whatever the transfer syntax, without trusting the header's sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian

from dosecalc.dicom import values
from dosecalc.dicom.errors import CtError, RtDoseError

ErrorType = type[CtError] | type[RtDoseError]

#: compressed pixels that claim to grow by more than this are damage (a blank CT slice shrinks a few hundredfold)
LARGEST_COMPRESSION = 1000
#: grids larger than this are refused: 2 GiB as float32, 2000 slices of 512 x 512
MOST_VOXELS = 2**29


@dataclass(frozen=True)
class PixelFormat:
    """Sizes and bits of the pixel data of one object, checked against its length."""

    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """Little-endian integer type of a stored value."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")


def read_format(ds: Dataset, file: str, error: ErrorType) -> PixelFormat:
    """The pixel format, when the header is consistent with the length of the pixel data.

    Raises
    ------
    DicomError
        ``PIXELS_UNSUPPORTED``, ``PIXELS_TRUNCATED``, ``PIXELS_TOO_LARGE``, ``TAG_MISSING``, ``TAG_INVALID``.
    """

    def whole(keyword: str, low: int, high: int, default: int | values.Required = values.REQUIRED) -> int:
        return values.integer(ds, keyword, file, default, minimum=low, maximum=high, error=error)

    frames = whole("NumberOfFrames", 1, 2**20, 1)
    rows, columns = whole("Rows", 1, 2**16 - 1), whole("Columns", 1, 2**16 - 1)
    allocated = whole("BitsAllocated", 1, 64)
    if allocated not in (8, 16, 32) or whole("SamplesPerPixel", 1, 4, 1) != 1:
        raise error("PIXELS_UNSUPPORTED", "Only one sample of 8, 16 or 32 bits per pixel can be read.", file=file)
    stored = whole("BitsStored", 1, allocated, allocated)
    high_bit = whole("HighBit", stored - 1, allocated - 1, stored - 1)
    signed = whole("PixelRepresentation", 0, 1) == 1
    shape = PixelFormat(frames, rows, columns, allocated, stored, high_bit, signed)
    _check_length(ds, shape, file, error)
    return shape


def _check_length(ds: Dataset, shape: PixelFormat, file: str, error: ErrorType) -> None:
    voxels = shape.frames * shape.rows * shape.columns
    expected = voxels * shape.allocated // 8
    data = values.value(ds, "PixelData", file, error)
    if not isinstance(data, bytes):
        raise values.missing("PixelData", file, error)
    if voxels > MOST_VOXELS:
        raise error("PIXELS_TOO_LARGE", f"The image claims {voxels} pixels; {MOST_VOXELS} is the limit.", file=file)
    compressed = _is_compressed(ds)
    if expected > (LARGEST_COMPRESSION * len(data) if compressed else len(data)):
        raise error(
            "PIXELS_TRUNCATED",
            f"The pixel data has {len(data)} bytes where the header asks for {expected}; export the object again.",
            file=file,
        )


def _is_compressed(ds: Dataset) -> bool:
    syntax = UID(str(ds.file_meta.TransferSyntaxUID))
    return bool(syntax.is_transfer_syntax and syntax.is_encapsulated)


def stored_values(ds: Dataset, shape: PixelFormat, file: str, error: ErrorType) -> NDArray[np.integer]:
    """Stored values [frame, row, column]: the significant bits only, sign extended.

    Raises
    ------
    DicomError
        ``PIXELS_UNDECODABLE`` when the compressed pixels cannot be decoded here.
    """
    if _is_compressed(ds):
        try:
            raw = np.asarray(ds.pixel_array).astype(shape.dtype)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as cause:  # decoders raise what they like; the RLE one panics outside of Exception
            raise error(
                "PIXELS_UNDECODABLE",
                f"The compressed pixels cannot be decoded ({type(cause).__name__}); export them uncompressed.",
                file=file,
            ) from None
    else:
        # PS3.5: pixel words follow the byte order of the dataset
        big = str(ds.file_meta.TransferSyntaxUID) == ExplicitVRBigEndian
        dtype = shape.dtype.newbyteorder(">") if big else shape.dtype
        count = shape.frames * shape.rows * shape.columns
        raw = np.frombuffer(ds.PixelData, dtype=dtype, count=count)
    if raw.size != shape.frames * shape.rows * shape.columns:
        raise error("PIXELS_TRUNCATED", "The decoded pixels do not fill the image that the header states.", file=file)
    raw = raw.reshape(shape.frames, shape.rows, shape.columns)
    if shape.stored == shape.allocated:
        return raw
    # shifting up and down again drops overlay bits above, whatever lies below, and extends the sign
    significant: NDArray[np.integer] = raw << (shape.allocated - 1 - shape.high_bit) >> (shape.allocated - shape.stored)
    return significant
