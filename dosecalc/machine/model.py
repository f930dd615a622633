"""The schema of a machine model."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dosecalc.machine.accessories import MachineAccessories

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


class ContaminationElectrons(_Model):
    """Electrons that the head and the air send along with the photons: dose in the first centimetres.

    Parameters
    ----------
    surface_dose : at the surface of a very wide field, as a share of the collision kerma that the open beam's photons
        release in water at the same place.
    depth_gcm2 : water-equivalent depth within which it falls to 1/e, g/cm2.
    sigma_mm : width of the Gaussian with which electrons spread from where the photons pass, at the isocentre plane,
        mm; it is what makes the term grow with the field.
    """

    surface_dose: NotNegative
    depth_gcm2: Annotated[float, Field(gt=0, le=5, allow_inf_nan=False)]
    sigma_mm: Positive
    source: str


class MonitorBackscatter(_Model):
    """Photons per MU against the opening of a pair of jaws: closed jaws send more back into the monitor chamber.

    Parameters
    ----------
    axis : the pair of jaws.
    opening_mm : distance between the two jaws at the isocentre plane, mm, ascending, from 0.
    relative_output : photons per MU, in any unit; that of the calibration field is the reference.
    """

    axis: Literal["X", "Y"]
    opening_mm: tuple[NotNegative, ...] = Field(min_length=2)
    relative_output: tuple[Positive, ...] = Field(min_length=2)
    source: str

    @model_validator(mode="after")
    def _check(self) -> MonitorBackscatter:
        if len(self.opening_mm) != len(self.relative_output) or self.opening_mm[0] != 0:
            raise ValueError("opening_mm and relative_output need the same number of values, the first opening 0")
        if any(b <= a for a, b in pairwise(self.opening_mm)):
            raise ValueError("opening_mm must rise")
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
    """One beam quality.

    Parameters
    ----------
    nominal_mv, fluence_mode : as RTPLAN names them.
    extra_focal : None where head scatter is not modelled.
    electrons : contamination electrons, None for a pure photon beam.
    monitor_backscatter : at most one table for each pair of jaws; empty where the monitor does not see the jaws.
    """

    nominal_mv: Positive
    fluence_mode: Literal["STANDARD", "FFF"]
    spectrum: Spectrum
    primary_source: PrimarySource
    extra_focal: ExtraFocalSource | None
    off_axis: OffAxis
    calibration: Calibration
    electrons: ContaminationElectrons | None = None
    monitor_backscatter: tuple[MonitorBackscatter, ...] = ()

    @field_validator("monitor_backscatter")
    @classmethod
    def _one_per_axis(cls, v: tuple[MonitorBackscatter, ...]) -> tuple[MonitorBackscatter, ...]:
        if len({table.axis for table in v}) < len(v):
            raise ValueError("there is more than one table for an axis")
        return v


class Jaws(_Model):
    """A pair of jaws.

    Parameters
    ----------
    transmission : of one closed jaw; the mean of both where they differ.
    limits_mm : lowest and highest position at the isocentre plane.
    each_transmission : of the lower and the upper jaw (X1, X2 or Y1, Y2), where they differ.
    distance_mm : from the target to the plane at which the jaws are taken to cut the beam off, mm; None for the
        ``collimator_distance_mm`` of the extra-focal source.
    """

    transmission: Fraction
    limits_mm: tuple[float, float]
    each_transmission: tuple[Fraction, Fraction] | None = None
    distance_mm: Positive | None = None
    source: str

    @model_validator(mode="after")
    def _check(self) -> Jaws:
        if self.each_transmission is not None and abs(sum(self.each_transmission) / 2 - self.transmission) > 1e-6:
            raise ValueError("transmission must be the mean of each_transmission")
        return self

    @property
    def lower_upper(self) -> tuple[float, float]:
        """Transmission of the lower and of the upper jaw."""
        return self.each_transmission or (self.transmission, self.transmission)


class BackupJaws(_Model):
    """Jaws along the leaves that no plan mentions: they follow the outermost open leaf ends by themselves.

    Parameters
    ----------
    transmission : of one of them.
    margin_mm : how far behind the outermost open leaf end of its bank each stays, mm at the isocentre plane.
    distance_mm : as for `Jaws`.
    """

    transmission: Fraction
    margin_mm: NotNegative
    distance_mm: Positive | None = None
    source: str


class LeafTip(_Model):
    """The rounded end of the leaves: a ray at the distance u behind the tip crosses a chord of 2 sqrt(2 R u - u^2).

    The tip only shapes the edge; where its mean lies is `Mlc.tip_offset_mm`, as commissioned.

    Parameters
    ----------
    radius_mm : of the end, at the leaf itself, mm.
    thickness_mm : of the leaf along the beam: no chord is longer, mm.
    attenuation_per_mm : effective linear attenuation coefficient of the leaf, 1/mm.
    """

    radius_mm: Positive
    thickness_mm: Positive
    attenuation_per_mm: Positive
    source: str

    @model_validator(mode="after")
    def _check(self) -> LeafTip:
        if self.thickness_mm > 2 * self.radius_mm:
            raise ValueError("thickness_mm is more than the diameter of the end")
        return self


class LeafSides(_Model):
    """Tongue and groove: a strip along each boundary in which either leaf is only a part of its thickness.

    Parameters
    ----------
    width_mm : of the strip at the isocentre plane, centred on the boundary, mm.
    transmission : through the strip where only one of its two leaves covers it.
    interleaf_transmission : where both do: the leakage between leaves.
    """

    width_mm: Positive
    transmission: Fraction
    interleaf_transmission: Fraction
    source: str

    @model_validator(mode="after")
    def _check(self) -> LeafSides:
        if self.interleaf_transmission > self.transmission:
            raise ValueError("interleaf_transmission (both leaves) is more than transmission (one of them)")
        return self


class TipOffsetTable(_Model):
    """What is added to the tip offset away from the axis: light and radiation field part for leaves that stand askew.

    Parameters
    ----------
    position_mm : leaf position at the isocentre plane, positive on the leaf's own side of the axis and negative beyond
        the axis, mm, ascending.
    offset_mm : added to `Mlc.tip_offset_mm`, mm; linear in between, the outermost values hold beyond the table.
    """

    position_mm: tuple[float, ...] = Field(min_length=2)
    offset_mm: tuple[float, ...] = Field(min_length=2)
    source: str

    @model_validator(mode="after")
    def _check(self) -> TipOffsetTable:
        if len(self.position_mm) != len(self.offset_mm):
            raise ValueError("position_mm and offset_mm need the same number of values")
        if any(b <= a for a, b in pairwise(self.position_mm)):
            raise ValueError("position_mm must rise")
        if max(map(abs, self.offset_mm)) > 5:
            raise ValueError("offset_mm is more than 5 mm")
        return self


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
    distance_mm : from the target to the plane at which the leaves are taken to cut the beam off, mm; None for the
        ``collimator_distance_mm`` of the extra-focal source.
    pair_transmission : of each leaf pair, averaged over its width, where they differ; `transmission` is their mean
        over the whole width.
    tip : shape of the leaf ends; None for a sharp edge at the offset.
    tip_offset_table : what the offset changes by away from the axis.
    sides : tongue and groove and interleaf leakage; None for leaves that meet in a plane.
    """

    name: str
    axis: Literal["X", "Y"]
    boundaries_mm: tuple[float, ...] = Field(min_length=2)
    transmission: Fraction
    tip_offset_mm: float = Field(ge=-5, le=5)
    limits_mm: tuple[float, float]
    distance_mm: Positive | None = None
    pair_transmission: tuple[Fraction, ...] | None = None
    tip: LeafTip | None = None
    tip_offset_table: TipOffsetTable | None = None
    sides: LeafSides | None = None
    source: str

    @field_validator("boundaries_mm")
    @classmethod
    def _rising(cls, v: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(v)):
            raise ValueError("boundaries_mm must rise")
        return v

    @model_validator(mode="after")
    def _check(self) -> Mlc:
        widths = np.diff(self.boundaries_mm)
        if self.pair_transmission is not None:
            if len(self.pair_transmission) != len(widths):
                raise ValueError("pair_transmission needs one value for each leaf pair")
            mean = float(np.average(self.pair_transmission, weights=widths))
            if abs(mean - self.transmission) > 1e-3 * self.transmission:
                raise ValueError(f"transmission must be the mean of pair_transmission over the width, {mean:.5g}")
        if self.sides is not None and self.sides.width_mm >= widths.min():
            raise ValueError("sides.width_mm is not less than the narrowest leaf")
        if self.body_transmission().min() < 0:
            raise ValueError("interleaf leakage alone is more than transmission, of which it is a part")
        return self

    def body_transmission(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Transmission of each leaf pair between its strips, such that each pair's average is the commissioned one."""
        widths = np.diff(self.boundaries_mm)
        mean = np.broadcast_to(self.pair_transmission or self.transmission, widths.shape)
        if self.sides is None:
            return np.array(mean, np.float64)
        # half a strip on each side that has a neighbour
        strip = np.full(len(widths), self.sides.width_mm)
        strip[[0, -1]] -= self.sides.width_mm / 2
        return np.asarray((mean * widths - self.sides.interleaf_transmission * strip) / (widths - strip))


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
    mlc : None where there is none; of two stacked layers the one that plans name MLCX1 (or MLCY1).
    energies : beam qualities.
    second_mlc : the other of two stacked layers, MLCX2 (or MLCY2).
    backup_jaws : jaws along the leaves that follow them and are not in plans; only without jaws of that axis.
    accessories : wedges and block trays that it can put into its beam.
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
    second_mlc: Mlc | None = None
    backup_jaws: BackupJaws | None = None
    accessories: MachineAccessories = MachineAccessories()

    @model_validator(mode="after")
    def _check(self) -> Machine:
        if self.mlc is None and (self.second_mlc is not None or self.backup_jaws is not None):
            raise ValueError("second_mlc and backup_jaws need an mlc")
        if self.mlc is not None and self.second_mlc is not None and self.second_mlc.axis != self.mlc.axis:
            raise ValueError("the leaves of stacked layers must move along the same axis")
        if self.mlc is not None and self.backup_jaws is not None:
            along = self.jaw_x if self.mlc.axis == "X" else self.jaw_y
            if along is not None:
                raise ValueError("backup_jaws stand where no jaws are: along the leaves")
        for energy in self.energies:
            for table in energy.monitor_backscatter:
                self._check_backscatter(table)
        return self

    def _check_backscatter(self, table: MonitorBackscatter) -> None:
        jaws = self.jaw_x if table.axis == "X" else self.jaw_y
        if jaws is None:
            raise ValueError(f"monitor_backscatter has a table for {table.axis} jaws, which the machine does not have")
        if table.opening_mm[-1] < jaws.limits_mm[1] - jaws.limits_mm[0]:
            raise ValueError(f"monitor_backscatter of the {table.axis} jaws ends before they are wide open")

    @property
    def sha256(self) -> str:
        """Hash of the content (not of the file's layout), hexadecimal.

        Optional blocks that a model does not use do not count, so that a later version which knows more of them gives
        the same hash.
        """
        content = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
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
