"""Comparing doses: requests from plain values, and what comes back."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosecalc_api.errors import DosecalcApiError
from dosecalc_api.options import device_from_name
from dosecalc_api.transfer import Blob, gather
from dosecalc_api.v1 import compare_pb2

Triple = tuple[float, float, float]
#: an RTDOSE file (its path or content), or what `job_dose` and `array_dose` make
Dose = str | Path | bytes | compare_pb2.DoseSource


def job_dose(job: str, beam: int | None = None) -> compare_pb2.DoseSource:
    """The dose of a job's plan, or of the beam of this number."""
    return compare_pb2.DoseSource(job=compare_pb2.JobDose(job=job, beam_number=beam))


def array_dose(dose_gy: ArrayLike, origin_mm: Triple, spacing_mm: Triple) -> compare_pb2.DoseSource:
    """A dose to send along: at most about a million voxels, see Info.limits.max_message_bytes.

    Parameters
    ----------
    dose_gy : float [z, y, x]
        Gy.
    origin_mm, spacing_mm : (x, y, z)
        Centre of voxel [0, 0, 0] and distances of voxel centres, mm, DICOM patient frame.
    """
    values = np.ascontiguousarray(dose_gy, dtype="<f4")
    source = compare_pb2.DoseSource()
    grid = source.inline_dose.grid
    grid.size_z, grid.size_y, grid.size_x = values.shape
    grid.origin_mm.x, grid.origin_mm.y, grid.origin_mm.z = origin_mm
    grid.spacing_mm.x, grid.spacing_mm.y, grid.spacing_mm.z = spacing_mm
    source.inline_dose.dose_gy_float32 = values.tobytes()
    return source


@dataclass(frozen=True)
class CompareOptions:
    """How to compare; see compare.proto.

    Parameters
    ----------
    criteria : sequence of (percent, mm)
    local : bool
    threshold_percent : float
    normalisation_gy : float
        0 takes the reference's maximum.
    max_gamma : float
    sampling : int or None
        Samples per distance criterion; None looks for the minimum over all points.
    structures : path, bytes or None
        An RTSTRUCT file or its content.
    structure_names : sequence of str
        Only these.
    ignore_frame, ignore_type : bool
        Compare although the frames of reference, or the summation or dose types, differ.
    picture, gamma_maps, difference_map : bool
        What to send beside the figures.
    device : 'auto', 'cpu' or 'cuda'
    """

    criteria: Sequence[tuple[float, float]] = ((2.0, 2.0),)
    local: bool = False
    threshold_percent: float = 10.0
    normalisation_gy: float = 0.0
    max_gamma: float = 2.0
    sampling: int | None = 10
    structures: str | Path | bytes | None = None
    structure_names: Sequence[str] = ()
    ignore_frame: bool = False
    ignore_type: bool = False
    picture: bool = False
    gamma_maps: bool = False
    difference_map: bool = False
    device: str = "auto"


class Inquiry:
    """A comparison to ask for: the files that must be uploaded first, and the request.

    Parameters
    ----------
    reference, evaluated : Dose
    options : CompareOptions
    """

    def __init__(self, reference: Dose, evaluated: Dose, options: CompareOptions) -> None:
        self.blobs: list[Blob] = []
        self.request = compare_pb2.CompareRequest(
            reference=self._source(reference),
            evaluated=self._source(evaluated),
            criteria=[compare_pb2.GammaCriterion(dose_percent=p, distance_mm=d) for p, d in options.criteria],
            local=options.local,
            threshold_percent=options.threshold_percent,
            normalisation_gy=options.normalisation_gy,
            max_gamma=options.max_gamma,
            sampling=options.sampling or 0,
            exact=options.sampling is None,
            structure_names=options.structure_names,
            ignore_frame=options.ignore_frame,
            ignore_type=options.ignore_type,
            picture=options.picture,
            gamma_maps=options.gamma_maps,
            difference_map=options.difference_map,
            device=device_from_name(options.device),
        )
        if options.structures is not None:
            self.request.rtstruct_sha256 = self._file(options.structures)

    def _source(self, dose: Dose) -> compare_pb2.DoseSource:
        if isinstance(dose, compare_pb2.DoseSource):
            return dose
        return compare_pb2.DoseSource(rtdose_sha256=self._file(dose))

    def _file(self, source: str | Path | bytes) -> bytes:
        """Digest of the one file that must be uploaded."""
        found = gather([source])
        if len(found) != 1:
            raise DosecalcApiError(
                "ONE_FILE_NEEDED",
                f"A comparison takes one file for each dose, not {len(found)}; name the file itself.",
                grpc.StatusCode.INVALID_ARGUMENT,
            )
        self.blobs += found
        return found[0].sha256


@dataclass
class ComparedDoses:
    """What a comparison found.

    Parameters
    ----------
    comparison : Comparison
        All figures; see compare.proto.
    gamma : list of float32 [z, y, x]
        For each criterion, on ``comparison.grid``; NaN where there is none. Empty unless asked for.
    difference_gy : float32 [z, y, x] or None
        Evaluated minus reference; NaN beyond the evaluated grid.
    picture : bytes or None
        A PNG file.
    """

    comparison: compare_pb2.Comparison
    gamma: list[NDArray[np.float32]] = field(default_factory=list)
    difference_gy: NDArray[np.float32] | None = None
    picture: bytes | None = None

    @property
    def pass_rates_percent(self) -> dict[str, float]:
        """Pass rate by criterion, such as ``{"2%/2mm": 99.1}``; NaN where no point was evaluated."""
        return {
            f"{g.criterion.dose_percent:g}%/{g.criterion.distance_mm:g}mm": (
                g.pass_rate_percent if g.HasField("pass_rate_percent") else float("nan")
            )
            for g in self.comparison.gamma
        }


class Assembly:
    """Puts a comparison together from the messages of a call."""

    def __init__(self) -> None:
        self._found: ComparedDoses | None = None
        self._file: compare_pb2.CompareFileHeader | None = None
        self._data = bytearray()

    def take(self, response: compare_pb2.CompareResponse) -> None:
        """Add a message.

        Raises
        ------
        DosecalcApiError
            ``DOWNLOAD_CORRUPT``.
        """
        part = response.WhichOneof("part")
        if part == "comparison":
            self._found = ComparedDoses(response.comparison)
        elif part == "file":
            self._end_file()
            self._file = response.file
        elif part == "chunk":
            chunk = response.chunk
            if self._file is None or chunk.offset_bytes != len(self._data) or zlib.crc32(chunk.data) != chunk.crc32:
                raise _corrupt("A piece of the comparison is out of place or damaged; compare again.")
            self._data += chunk.data

    def result(self) -> ComparedDoses:
        """The whole, checked.

        Raises
        ------
        DosecalcApiError
            ``DOWNLOAD_CORRUPT``.
        """
        self._end_file()
        if self._found is None:
            raise _corrupt("The server ended without a comparison; compare again.")
        return self._found

    def _end_file(self) -> None:
        header, data = self._file, bytes(self._data)
        self._file, self._data = None, bytearray()
        if header is None:
            return
        if self._found is None or hashlib.sha256(data).digest() != header.sha256:
            raise _corrupt("A file of the comparison does not have the SHA-256 announced; compare again.")
        if header.kind == compare_pb2.COMPARE_FILE_PICTURE:
            self._found.picture = data
        elif header.kind == compare_pb2.COMPARE_FILE_GAMMA:
            self._found.gamma.append(self._map(data))
        elif header.kind == compare_pb2.COMPARE_FILE_DIFFERENCE:
            self._found.difference_gy = self._map(data)

    def _map(self, data: bytes) -> NDArray[np.float32]:
        assert self._found is not None
        grid = self._found.comparison.grid
        return np.frombuffer(data, "<f4").reshape(grid.size_z, grid.size_y, grid.size_x).astype(np.float32)


def _corrupt(message: str) -> DosecalcApiError:
    return DosecalcApiError("DOWNLOAD_CORRUPT", message, grpc.StatusCode.DATA_LOSS)
