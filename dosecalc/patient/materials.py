"""The materials that voxels are made of, and what follows from a density alone."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from dosecalc.errors import PatientError

AIR = "air_dry"
#: dry air at 20 degC and 101.325 kPa, NIST; what fills space outside the patient
AIR_DENSITY_G_CM3 = 0.00120479
#: beyond any solid (osmium has 22.6 g/cm3)
HIGHEST_DENSITY_G_CM3 = 25.0


class Material(BaseModel):
    """A material of the attenuation table.

    Parameters
    ----------
    name : str
    density_g_cm3 : float
        Nominal density.
    relative_electrons_per_gram : float
        Electrons per gram relative to water.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    density_g_cm3: float = Field(gt=0, le=HIGHEST_DENSITY_G_CM3)
    relative_electrons_per_gram: float = Field(gt=0, le=2)


class _MaterialFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    materials: tuple[Material, ...]


@cache
def known_materials() -> tuple[Material, ...]:
    """The shipped materials in order of density."""
    text = files("dosecalc.patient").joinpath("data/materials.yaml").read_text(encoding="utf-8")
    return _MaterialFile.model_validate(yaml.safe_load(text)).materials


def material_of_density(density_g_cm3: float) -> str:
    """The material whose nominal density is nearest: what an override that states only a density is made of."""
    materials = known_materials()
    return min(materials, key=lambda m: abs(m.density_g_cm3 - density_g_cm3)).name


def density_of_relative_electron_density(relative_electron_density: float) -> float:
    """Mass density of the tissue, or metal, that has an electron density.

    Linear between the shipped materials, from air through lung, adipose tissue, water, muscle, cartilage and bone to
    aluminium, titanium and steel: exact for each of them, and 1 g/cm3 for 1.

    Parameters
    ----------
    relative_electron_density : float
        Electrons per volume relative to water.

    Returns
    -------
    float
        g/cm3.

    Raises
    ------
    PatientError
        ``DENSITY_OUT_OF_RANGE`` below that of air or above that of steel.
    """
    materials = known_materials()
    electrons = [m.density_g_cm3 * m.relative_electrons_per_gram for m in materials]
    if not 0.0 <= relative_electron_density <= electrons[-1]:
        raise PatientError(
            "DENSITY_OUT_OF_RANGE",
            f"A relative electron density of {relative_electron_density:g} is outside 0 to {electrons[-1]:.3f} "
            "(steel); state the mass density instead.",
        )
    return float(np.interp(relative_electron_density, electrons, [m.density_g_cm3 for m in materials]))
