"""Calibration curves: Hounsfield units to mass density, and density to material."""

from __future__ import annotations

import csv
import hashlib
import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dosecalc.errors import InputError, PatientError
from dosecalc.patient.materials import HIGHEST_DENSITY_G_CM3, known_materials

DEFAULT_CURVE = "generic-120kvp"


class HuPoint(BaseModel):
    """One point of a curve: a CT number, the mass density it stands for, and where the pair is from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hu: float = Field(ge=-32768, le=65535)
    density_g_cm3: float = Field(ge=0, le=HIGHEST_DENSITY_G_CM3)
    source: str = Field(min_length=1)


class MaterialRange(BaseModel):
    """A material of the attenuation table and the density from which on it is taken, g/cm3."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    from_g_cm3: float = Field(ge=0, le=HIGHEST_DENSITY_G_CM3)


class HuCurve(BaseModel):
    """A named calibration curve; frozen, validated, identified by the hash of its content.

    Parameters
    ----------
    schema_version : 1
    name, description, source : str
    generic : bool
        True for curves that belong to no scanner in particular.
    points : tuple of HuPoint
        HU strictly rising, density never falling; linear between.
    below, above : 'error' or 'clamp'
        What holds beyond the first and the last point: an error, or the density of that point.
    materials : tuple of MaterialRange
        In order of density; the first starts at 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    name: str = Field(min_length=1, max_length=64)
    description: str = ""
    source: str = Field(min_length=1)
    generic: bool = False
    points: tuple[HuPoint, ...] = Field(min_length=2)
    below: Literal["error", "clamp"] = "error"
    above: Literal["error", "clamp"] = "error"
    materials: tuple[MaterialRange, ...] = Field(min_length=1, max_length=250)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        hu = [p.hu for p in self.points]
        density = [p.density_g_cm3 for p in self.points]
        starts = [m.from_g_cm3 for m in self.materials]
        if np.any(np.diff(hu) <= 0):
            raise ValueError("the HU of the points must rise strictly")
        if np.any(np.diff(density) < 0):
            raise ValueError("the density of the points must not fall")
        if starts[0] != 0 or np.any(np.diff(starts) <= 0):
            raise ValueError("the densities from which materials hold must start at 0 and rise strictly")
        unknown = {m.name for m in self.materials} - {m.name for m in known_materials()}
        if unknown:
            known = ", ".join(m.name for m in known_materials())
            raise ValueError(f"unknown material {', '.join(sorted(unknown))}; there are {known}")
        return self

    @property
    def sha256(self) -> str:
        """Hash of the content, hexadecimal; comments and layout of the file do not matter."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def material_names(self) -> tuple[str, ...]:
        """Names that `material_index` refers to."""
        return tuple(m.name for m in self.materials)

    def density(self, hu: NDArray[Any]) -> NDArray[np.float32]:
        """Mass density of CT numbers, g/cm3, float32 of the same shape.

        Raises
        ------
        PatientError
            ``HU_BELOW_CURVE`` or ``HU_ABOVE_CURVE`` when a number lies beyond the curve and the curve does not clamp;
            ``HU_NOT_FINITE``.
        """
        self._check_range(hu)
        x = [p.hu for p in self.points]
        values = np.interp(hu, x, [p.density_g_cm3 for p in self.points])
        return np.asarray(values, dtype=np.float32)

    def material_index(self, density_g_cm3: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Index into `material_names` of densities, uint8 of the same shape."""
        starts = np.array([m.from_g_cm3 for m in self.materials[1:]], dtype=np.float32)
        return np.searchsorted(starts, density_g_cm3, side="right").astype(np.uint8)

    def material_of(self, density_g_cm3: float) -> str:
        """Name of the material of one density."""
        index = self.material_index(np.array([density_g_cm3], dtype=np.float32))
        return self.material_names[int(index[0])]

    def _check_range(self, hu: NDArray[Any]) -> None:
        if not hu.size:
            return
        lowest, highest = float(hu.min()), float(hu.max())
        if not np.isfinite(lowest) or not np.isfinite(highest):
            raise PatientError("HU_NOT_FINITE", "The CT holds a voxel that is not a finite number.")
        first, last = self.points[0].hu, self.points[-1].hu
        if self.below == "error" and lowest < first:
            raise PatientError(
                "HU_BELOW_CURVE",
                f"The CT holds {lowest:g} HU, below the first point ({first:g} HU) of the calibration curve; extend "
                "the curve or let it clamp there.",
                curve=self.name,
            )
        if self.above == "error" and highest > last:
            raise PatientError(
                "HU_ABOVE_CURVE",
                f"The CT holds {highest:g} HU, above the last point ({last:g} HU) of the calibration curve; extend the "
                "curve, or give metal a density override.",
                curve=self.name,
            )


def list_curves() -> tuple[str, ...]:
    """Names of the shipped curves."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _shipped().iterdir() if f.name.endswith(".yaml")))


def load_curve(name_or_path: str | Path = DEFAULT_CURVE) -> HuCurve:
    """A shipped curve by its name, or one from a YAML or CSV file.

    A CSV file has the columns HU and density (g/cm3), separated by comma or semicolon, and perhaps a heading; lines
    that start with ``#`` are comments. Its materials are those of the default curve, and beyond its ends is an error.

    Raises
    ------
    InputError
        ``CURVE_UNKNOWN`` or ``CURVE_INVALID``.
    """
    text = str(name_or_path)
    if text in list_curves():
        return _from_yaml(_shipped().joinpath(f"{text}.yaml").read_text(encoding="utf-8"), text)
    path = Path(name_or_path)
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".csv") or not path.is_file():
        raise InputError(
            "CURVE_UNKNOWN",
            f"There is no calibration curve {text!r}: name {', '.join(list_curves())}, or a YAML or CSV file.",
        )
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(
            "CURVE_INVALID", f"The curve cannot be read ({type(cause).__name__}).", file=path.name
        ) from None
    return _from_csv(content, path) if suffix == ".csv" else _from_yaml(content, path.name)


def _shipped() -> Traversable:
    return files("dosecalc.patient").joinpath("data/curves")


def _from_yaml(text: str, where: str) -> HuCurve:
    try:
        return HuCurve.model_validate(yaml.safe_load(text))
    except ValidationError as cause:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in cause.errors()[:5])
        raise InputError("CURVE_INVALID", f"The calibration curve is invalid: {problems}.", file=where) from None
    except (yaml.YAMLError, RecursionError) as cause:
        raise InputError("CURVE_INVALID", f"The curve is not YAML ({type(cause).__name__}).", file=where) from None


def _from_csv(text: str, path: Path) -> HuCurve:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    semicolons = bool(lines) and ";" in lines[0]
    points = []
    for number, row in enumerate(csv.reader(lines, delimiter=";" if semicolons else ",")):
        try:
            hu, density = (float(cell.replace(",", ".") if semicolons else cell) for cell in row[:2])
        except ValueError:
            if number == 0:
                continue  # the heading
            raise InputError(
                "CURVE_INVALID", f"Row {number + 1} does not hold two numbers (HU, g/cm3).", file=path.name
            ) from None
        points.append({"hu": hu, "density_g_cm3": density, "source": f"row {number + 1} of {path.name}"})
    materials = [m.model_dump() for m in load_curve().materials]
    content = {
        "schema_version": 1, "name": path.stem[:64], "source": path.name, "points": points, "materials": materials
    }  # fmt: skip
    return _from_yaml(json.dumps(content), path.name)
