"""What the clients give back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosecalc_api.v1 import dose_pb2, study_pb2

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class UploadedStudy:
    """A study on the server.

    Parameters
    ----------
    name : str
        ``studies/…``.
    files : dict of str to str
        Where each object came from on this side, by SHA-256 (hexadecimal), which is how the server's errors name it.
    sent : int
        Number of objects that the server did not hold yet.
    """

    name: str
    files: dict[str, str]
    sent: int

    @classmethod
    def of(cls, study: study_pb2.Study, files: dict[str, str], sent: int) -> UploadedStudy:
        """From the server's answer."""
        return cls(study.name, files, sent)


@dataclass(frozen=True, eq=False)
class DoseArray:
    """Dose on a grid.

    Parameters
    ----------
    dose_gy : float32 [z, y, x]
        Gy over all fractions.
    origin_mm : (x, y, z)
        Centre of voxel [0, 0, 0], mm, DICOM patient frame.
    spacing_mm : (dx, dy, dz)
        Distances of voxel centres, mm.
    """

    dose_gy: NDArray[np.float32]
    origin_mm: Triple
    spacing_mm: Triple

    @classmethod
    def of(cls, header: dose_pb2.DoseHeader, content: bytes) -> DoseArray:
        """From a raw download."""
        grid = header.grid
        values = np.frombuffer(content, dtype="<f4").reshape(grid.size_z, grid.size_y, grid.size_x)
        origin, spacing = grid.origin_mm, grid.spacing_mm
        return cls(values.astype(np.float32), (origin.x, origin.y, origin.z), (spacing.x, spacing.y, spacing.z))
