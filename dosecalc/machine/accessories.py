"""The schema of what a machine can put into its beam: wedge plates, dynamic wedges, block trays."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ByEnergy(_Model):
    """A number that depends on the beam quality."""

    nominal_mv: Positive
    fluence_mode: Literal["STANDARD", "FFF"] = "STANDARD"
    value: Positive


class AttenuationData(_Model):
    """Mass attenuation of a material that the shipped table does not have (lead alloys).

    Parameters
    ----------
    energies_mev : MeV, ascending; interpolation is double logarithmic.
    mu_over_rho_cm2_g : cm2/g.
    """

    energies_mev: tuple[Positive, ...] = Field(min_length=2)
    mu_over_rho_cm2_g: tuple[Positive, ...] = Field(min_length=2)
    source: str

    @model_validator(mode="after")
    def _check(self) -> AttenuationData:
        if len(self.energies_mev) != len(self.mu_over_rho_cm2_g):
            raise ValueError("energies_mev and mu_over_rho_cm2_g need the same number of values")
        if any(b <= a for a, b in pairwise(self.energies_mev)):
            raise ValueError("energies_mev must rise")
        return self


class WedgePlate(_Model):
    """A plate of metal in the beam, put in by hand or by a motor.

    Parameters
    ----------
    name : identifier within the model.
    ids : patterns of the plan's Wedge ID that this plate answers to (``*`` and ``?`` as in file names).
    kind : ``STANDARD`` or, for one that a motor moves in and out, ``MOTORIZED``.
    angle_deg : nominal wedge angle.
    orientations_deg : IEC 61217 wedge filter angles in which it can be mounted.
    material : name in the attenuation table; the table below goes before it.
    attenuation : for other materials.
    density_g_cm3 : of the plate.
    toe_position_mm : positions along its slope at the isocentre plane, positive towards the thin edge (toe), ascending;
        a field that reaches beyond them is an error.
    thickness_mm : of the plate there, measured along the beam's axis; linear in between.
    half_width_mm : how far the plate reaches to either side along its edge, at the isocentre plane.
    output_gain : by beam quality what the fluence is multiplied by beside the attenuation (photons scattered in the
        plate; what makes a measured wedge factor come out). 1 where it is not given.
    """

    name: str = Field(min_length=1)
    ids: tuple[str, ...] = ("*",)
    kind: Literal["STANDARD", "MOTORIZED"]
    angle_deg: Annotated[float, Field(gt=0, lt=90)]
    orientations_deg: tuple[Annotated[float, Field(ge=0, lt=360)], ...] = (0.0, 90.0, 180.0, 270.0)
    material: str = ""
    attenuation: AttenuationData | None = None
    density_g_cm3: Positive
    toe_position_mm: tuple[Finite, ...] = Field(min_length=2)
    thickness_mm: tuple[NotNegative, ...] = Field(min_length=2)
    half_width_mm: Positive
    output_gain: tuple[ByEnergy, ...] = ()
    source: str

    @model_validator(mode="after")
    def _check(self) -> WedgePlate:
        if bool(self.material) == (self.attenuation is not None):
            raise ValueError("a wedge needs either a material or attenuation data")
        if len(self.toe_position_mm) != len(self.thickness_mm):
            raise ValueError("toe_position_mm and thickness_mm need the same number of values")
        if any(b <= a for a, b in pairwise(self.toe_position_mm)):
            raise ValueError("toe_position_mm must rise")
        if self.thickness_mm[0] <= self.thickness_mm[-1]:
            raise ValueError("the plate must be thinner at its toe, the last position")
        return self


class DynamicWedge(_Model):
    """A jaw that crosses the field while the beam is on (Varian enhanced dynamic wedge), of one beam quality.

    Parameters
    ----------
    name : identifier within the model.
    ids : patterns of the plan's Wedge ID that it answers to.
    nominal_mv, fluence_mode : the beam quality.
    angles_deg : wedge angles that the machine delivers, up to 60.
    jaw_y_mm : positions of the moving lower Y jaw, mm, ascending, with 0 among them; the upper one mirrors them.
    dose : of a 60-degree wedge, cumulative at each position, in any unit; rising (golden segmented treatment table).
    final_gap_mm : how far from the other jaw the moving one stops.
    """

    name: str = Field(min_length=1)
    ids: tuple[str, ...] = ("*",)
    nominal_mv: Positive
    fluence_mode: Literal["STANDARD", "FFF"] = "STANDARD"
    angles_deg: tuple[Annotated[float, Field(gt=0, le=60)], ...] = Field(min_length=1)
    jaw_y_mm: tuple[Finite, ...] = Field(min_length=3)
    dose: tuple[Positive, ...] = Field(min_length=3)
    final_gap_mm: NotNegative
    source: str

    @model_validator(mode="after")
    def _check(self) -> DynamicWedge:
        if len(self.jaw_y_mm) != len(self.dose):
            raise ValueError("jaw_y_mm and dose need the same number of values")
        if any(b <= a for a, b in pairwise(self.jaw_y_mm)) or any(b <= a for a, b in pairwise(self.dose)):
            raise ValueError("jaw_y_mm and dose must rise")
        if 0.0 not in self.jaw_y_mm:
            raise ValueError("jaw_y_mm must hold 0: lesser angles mix in the dose of that position")
        return self


class Tray(_Model):
    """A tray that carries blocks.

    Parameters
    ----------
    name : identifier within the model.
    ids : patterns of the plan's Block Tray ID that it answers to.
    transmission : by beam quality, 0 to 1.
    distance_mm : from the target to the blocks, for plans that do not state it: the sharpness of their edges.
    """

    name: str = Field(min_length=1)
    ids: tuple[str, ...] = Field(min_length=1)
    transmission: tuple[ByEnergy, ...] = Field(min_length=1)
    distance_mm: Positive | None = None
    source: str

    @model_validator(mode="after")
    def _check(self) -> Tray:
        if any(t.value > 1 for t in self.transmission):
            raise ValueError("a transmission is no larger than 1")
        return self


class MachineAccessories(_Model):
    """Everything that the machine can put into its beam."""

    wedges: tuple[WedgePlate, ...] = ()
    dynamic_wedges: tuple[DynamicWedge, ...] = ()
    trays: tuple[Tray, ...] = ()
