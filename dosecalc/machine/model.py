"""The schema of a machine model."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA_VERSION = 1

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spectrum(_Model):
    """Photon number spectrum on the axis, as a histogram; energies are even within a bin.

    Parameters
    ----------
    edges_mev : bin boundaries, MeV, ascending.
    photons_per_bin : relative numbers of photons.
    source : where the numbers are from.
    """

    edges_mev: tuple[NotNegative, ...] = Field(min_length=2)
    photons_per_bin: tuple[NotNegative, ...] = Field(min_length=1)
    source: str

    @model_validator(mode="after")
    def _check(self) -> Spectrum:
        if len(self.edges_mev) != len(self.photons_per_bin) + 1:
            raise ValueError("edges_mev needs one value more than photons_per_bin")
        if any(b <= a for a, b in pairwise(self.edges_mev)):
            raise ValueError("edges_mev must rise")
        if sum(self.photons_per_bin) <= 0:
            raise ValueError("photons_per_bin holds no photon")
        return self


class PrimarySource(_Model):
    """The focal spot.

    Parameters
    ----------
    sigma_mm : standard deviation of the Gaussian spot, mm.
    """

    sigma_mm: NotNegative
    source: str


class ExtraFocalSource(_Model):
    """Photons scattered in the head, as a Gaussian source at the flattening filter.

    Parameters
    ----------
    fraction : share of the fluence on the axis of a wide open field.
    sigma_mm : standard deviation at its own plane, mm.
    distance_mm : from the target, mm.
    collimator_distance_mm : from the target to the plane at which the field is taken to cut it off, mm.
    """

    fraction: Fraction
    sigma_mm: Positive
    distance_mm: NotNegative
    collimator_distance_mm: Positive
    source: str


class OffAxis(_Model):
    """Emission of the open beam off the axis, relative to the axis, and how the spectrum softens.

    Parameters
    ----------
    radius_mm : radii at the isocentre plane, mm, from 0.
    relative_fluence : of the primary source, relative to isotropic emission: what a detector in air reads at the
        isocentre plane, times (r / SAD)^2 + 1.
    softening : ``tailor1998`` scales attenuation with the off-axis angle as Tailor et al. 1998 measured for flattened
        beams; ``none`` leaves the spectrum as on the axis.
    """

    radius_mm: tuple[NotNegative, ...] = Field(min_length=2)
    relative_fluence: tuple[Positive, ...] = Field(min_length=2)
    softening: Literal["none", "tailor1998"]
    source: str

    @model_validator(mode="after")
    def _check(self) -> OffAxis:
        if len(self.radius_mm) != len(self.relative_fluence) or self.radius_mm[0] != 0:
            raise ValueError("radius_mm and relative_fluence need the same number of values, the first radius 0")
        if any(b <= a for a, b in pairwise(self.radius_mm)):
            raise ValueError("radius_mm must rise")
        return self


class Calibration(_Model):
    """What one monitor unit is.

    Parameters
    ----------
    gy_per_mu : dose to water at the point below, Gy/MU.
    depth_mm, ssd_mm : the point on the axis of a water phantom, mm.
    field_mm : side of the square field at the isocentre, mm.
    photons_per_mu_cm2 : photon fluence (all energies) on the axis at the isocentre of that field without phantom, per
        MU, 1/cm2. It is what makes this engine give ``gy_per_mu``; `tools/calibrate_machines.py` finds it.
    """

    gy_per_mu: Positive
    depth_mm: Positive
    ssd_mm: Positive
    field_mm: Positive
    photons_per_mu_cm2: Positive
    source: str


class Energy(_Model):
    """One beam quality."""

    nominal_mv: Positive
    fluence_mode: Literal["STANDARD", "FFF"]
    spectrum: Spectrum
    primary_source: PrimarySource
    extra_focal: ExtraFocalSource | None
    off_axis: OffAxis
    calibration: Calibration


class Jaws(_Model):
    """A pair of jaws.

    Parameters
    ----------
    transmission : of one closed jaw.
    limits_mm : lowest and highest position at the isocentre plane.
    """

    transmission: Fraction
    limits_mm: tuple[float, float]
    source: str


class Mlc(_Model):
    """A multi-leaf collimator.

    Parameters
    ----------
    name : as users call it.
    axis : BLD axis of movement at collimator angle 0.
    boundaries_mm : leaf boundaries at the isocentre plane, mm, ascending.
    transmission : average through the closed leaves, interleaf leakage included.
    tip_offset_mm : how far the dosimetric edge of each leaf lies behind its nominal position, mm (half of the
        dosimetric leaf gap).
    limits_mm : lowest and highest leaf position at the isocentre plane.
    """

    name: str
    axis: Literal["X", "Y"]
    boundaries_mm: tuple[float, ...] = Field(min_length=2)
    transmission: Fraction
    tip_offset_mm: float = Field(ge=-5, le=5)
    limits_mm: tuple[float, float]
    source: str

    @field_validator("boundaries_mm")
    @classmethod
    def _rising(cls, v: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(v)):
            raise ValueError("boundaries_mm must rise")
        return v


class Machine(_Model):
    """A treatment machine: everything that the beam model knows of it.

    Parameters
    ----------
    schema_version : version of this schema.
    name, description : identifier, and what a physicist should know before using it.
    generic : True for models that represent a type of machine, not a commissioned one.
    treatment_machine_names : DICOM Treatment Machine Names that this model answers to by itself.
    sad_mm : source-axis distance, mm.
    jaw_x, jaw_y : None where the machine has no such jaw.
    mlc : None where there is none.
    energies : beam qualities.
    """

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    description: str
    generic: bool
    treatment_machine_names: tuple[str, ...] = ()
    sad_mm: Positive
    jaw_x: Jaws | None
    jaw_y: Jaws | None
    mlc: Mlc | None
    energies: tuple[Energy, ...] = Field(min_length=1)

    @property
    def sha256(self) -> str:
        """Hash of the content (not of the file's layout), hexadecimal."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def energy(self, nominal_mv: float | None, fluence_mode: str) -> Energy | None:
        """The beam quality of a nominal energy and fluence mode, None when there is none."""
        for e in self.energies:
            if nominal_mv is not None and abs(e.nominal_mv - nominal_mv) < 0.05 and e.fluence_mode == fluence_mode:
                return e
        return None

    def sources(self) -> dict[str, str]:
        """Where every number is from: path in the model -> source."""
        return dict(_sources(self.model_dump(mode="json"), ""))


def _sources(node: Any, path: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if isinstance(node, dict):
        if "source" in node and isinstance(node["source"], str):
            found.append((path or "model", node["source"]))
        for key, value in node.items():
            found += _sources(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            found += _sources(value, f"{path}[{i}]")
    return found


def spectrum_nodes(
    spectrum: Spectrum,
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Mean energies of the bins that hold photons, MeV, and photons per bin normalised to one; float64 [n] each."""
    edges = np.array(spectrum.edges_mev)
    photons = np.array(spectrum.photons_per_bin)
    keep = photons > 0
    return ((edges[1:] + edges[:-1]) / 2)[keep], (photons / photons.sum())[keep]
