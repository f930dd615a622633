"""What a comparison compares, as plain data: what goes to the worker."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

#: names of the files that a comparison leaves in its output folder, by what they are (see compare.proto)
PICTURE, DIFFERENCE = "picture.png", "difference.f32"


def gamma_file(criterion: int) -> str:
    """Name of the gamma map of a criterion, counted from 0."""
    return f"gamma-{criterion}.f32"


@dataclass(frozen=True)
class DoseFile:
    """A dose in a file.

    Parameters
    ----------
    name : str
        The file is an RTDOSE, or without one 32-bit floats on ``grid``.
    grid : (origin_mm, spacing_mm, shape) or None
        As (x, y, z), (x, y, z), (z, y, x).
    """

    name: str
    grid: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class ComparisonRequest:
    """A checked request; what was left out has its default.

    Parameters
    ----------
    reference, evaluated : DoseFile
        Names of files of the task.
    criteria : tuple of (percent, mm)
    local, threshold_percent, normalisation_gy, max_gamma, sampling
        As in `dosecalc.dose.compare.compare`.
    rtstruct : str or None
        Name of a file of the task.
    structure_names : tuple of str
    ignore_frame, ignore_type : bool
        As in `dosecalc.dicom.comparable.refuse_strangers`.
    picture, gamma_maps, difference_map : bool
        Which files to leave.
    device : 'auto', 'cpu' or 'cuda'
    """

    reference: DoseFile
    evaluated: DoseFile
    criteria: tuple[tuple[float, float], ...] = ((2.0, 2.0),)
    local: bool = False
    threshold_percent: float = 10.0
    normalisation_gy: float | None = None
    max_gamma: float = 2.0
    sampling: int | None = 10
    rtstruct: str | None = None
    structure_names: tuple[str, ...] = ()
    ignore_frame: bool = False
    ignore_type: bool = False
    picture: bool = False
    gamma_maps: bool = False
    difference_map: bool = False
    device: str = "auto"

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ComparisonRequest:
        """What `to_json` wrote."""
        values = json.loads(text)
        for which in ("reference", "evaluated"):
            values[which] = DoseFile(**values[which])
        return cls(**{f.name: values[f.name] for f in fields(cls)})
