"""Monte Carlo reference cases: dose of a rectangular photon field from a point source in a voxel phantom."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dosecalc.errors import InputError

FloatArray = NDArray[np.float64]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_ARRAYS = ("dose", "rel_unc", "density", "medium", "x_edges", "y_edges", "z_edges")


class _Header(BaseModel):
    """What is used of a case's JSON; the files hold more (how the run was made), which is for people."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Source(_Header):
    source_to_front_plane_cm: Positive
    field_at_front_plane_cm: tuple[Positive, Positive]


class _Spectrum(_Header):
    name: str
    reference: str
    energy_low_MeV: tuple[float, ...] = Field(min_length=1)
    energy_high_MeV: tuple[float, ...] = Field(min_length=1)
    probability_per_bin: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _joined(self) -> _Spectrum:
        n = len(self.energy_low_MeV)
        if len(self.energy_high_MeV) != n or len(self.probability_per_bin) != n:
            raise ValueError("energy_low_MeV, energy_high_MeV and probability_per_bin need the same length")
        if any(abs(a - b) > 1e-9 for a, b in zip(self.energy_high_MeV[:-1], self.energy_low_MeV[1:], strict=True)):
            raise ValueError("the bins must join")
        return self


class CaseHeader(_Header):
    """The JSON beside a case's arrays."""

    format_name: Literal["monte-carlo-case/1"] = Field(alias="schema")
    case: str
    description: str
    materials: tuple[str, ...] = Field(min_length=1)
    source: _Source
    spectrum: _Spectrum


@dataclass(frozen=True, eq=False)
class MonteCarloCase:
    """A reference dose with everything that an engine needs to compute the same.

    The frame is that of the case: z is depth from the front plane, the source stands on the negative z axis.

    Parameters
    ----------
    header : CaseHeader
    dose : float64 [z, y, x]
        Gy cm2: dose to the local medium per incident photon fluence on the axis at the front plane.
    sigma : float64 [z, y, x]
        One standard deviation of ``dose``, Gy cm2.
    density : float32 [z, y, x]
        g/cm3.
    medium : uint8 [z, y, x]
        Index into ``header.materials``.
    x_edges_cm, y_edges_cm, z_edges_cm : float64 [n + 1]
        Voxel boundaries.
    """

    header: CaseHeader
    dose: FloatArray
    sigma: FloatArray
    density: NDArray[np.float32]
    medium: NDArray[np.uint8]
    x_edges_cm: FloatArray
    y_edges_cm: FloatArray
    z_edges_cm: FloatArray

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.header.case

    @property
    def field_cm(self) -> tuple[float, float]:
        """Full widths (x, y) of the field at the front plane, cm."""
        return self.header.source.field_at_front_plane_cm

    @property
    def ssd_cm(self) -> float:
        """Distance from the source to the front plane, cm."""
        return self.header.source.source_to_front_plane_cm

    @property
    def layered(self) -> bool:
        """True when the phantom is made of even layers across the beam, as water and slabs are."""
        return bool(np.all(np.ptp(self.density, axis=(1, 2)) == 0) and np.all(np.ptp(self.medium, axis=(1, 2)) == 0))

    def centres_cm(self, axis: Literal["x", "y", "z"]) -> FloatArray:
        """Voxel centres along an axis, float64 [n], cm."""
        edges: FloatArray = getattr(self, f"{axis}_edges_cm")
        return (edges[1:] + edges[:-1]) / 2


def list_cases(folder: Path) -> tuple[Path, ...]:
    """The JSON files of all complete cases of a folder, by name."""
    return tuple(sorted(p for p in folder.glob("*.json") if p.with_suffix(".npz").is_file()))


def load_case(path: Path) -> MonteCarloCase:
    """Read a case from its JSON file and the NPZ file beside it.

    Raises
    ------
    InputError
        ``CASE_UNREADABLE``, ``CASE_INVALID``, naming the file.
    """
    try:
        header = CaseHeader.model_validate_json(path.read_bytes())
        with np.load(path.with_suffix(".npz")) as f:
            arrays = {name: f[name] for name in _ARRAYS}
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError("CASE_INVALID", f"{place}: {first['msg']}.", file=path.name) from None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            "CASE_UNREADABLE", f"The case cannot be read ({error}); a JSON and an NPZ file are needed.", file=path.name
        ) from None
    _check(arrays, header, path)
    dose = arrays["dose"].astype(np.float64)
    return MonteCarloCase(
        header,
        dose,
        dose * np.nan_to_num(arrays["rel_unc"].astype(np.float64), nan=1.0, posinf=1.0),
        arrays["density"].astype(np.float32),
        arrays["medium"].astype(np.uint8),
        *(arrays[f"{axis}_edges"].astype(np.float64) for axis in "xyz"),
    )


def _check(arrays: dict[str, NDArray[Any]], header: CaseHeader, path: Path) -> None:
    shape = tuple(len(arrays[f"{axis}_edges"]) - 1 for axis in "zyx")
    for name in ("dose", "rel_unc", "density", "medium"):
        if arrays[name].shape != shape:
            raise InputError(
                "CASE_INVALID", f"{name} has shape {arrays[name].shape}; the edges make {shape}.", file=path.name
            )
    for axis in "xyz":
        if not np.all(np.diff(arrays[f"{axis}_edges"]) > 0):
            raise InputError("CASE_INVALID", f"{axis}_edges must rise.", file=path.name)
    if int(arrays["medium"].max()) >= len(header.materials):
        raise InputError("CASE_INVALID", "medium names a material that is not in the list.", file=path.name)
    if not (np.isfinite(arrays["dose"]).all() and np.isfinite(arrays["density"]).all()):
        raise InputError("CASE_INVALID", "Dose and density must be finite.", file=path.name)
