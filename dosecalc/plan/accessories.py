"""What is put into a beam or on the patient and is modelled: wedges, blocks with their tray, boluses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: DICOM wedge types that are modelled; a motorised one is moved in and out while the beam is on
WEDGE_KINDS = ("STANDARD", "MOTORIZED", "DYNAMIC")
BLOCK_KINDS = ("SHIELDING", "APERTURE")


@dataclass(frozen=True)
class Wedge:
    """A wedge of a beam.

    Parameters
    ----------
    number : int
        Wedge number of the plan; control points name by it which wedges are in the beam.
    kind : 'STANDARD', 'MOTORIZED' or 'DYNAMIC'
        A plate that is put in by hand, one that a motor moves in and out, or a jaw that crosses the field.
    angle_deg : float
        Nominal wedge angle, degrees.
    orientation_deg : float
        IEC 61217 wedge filter angle against the BLD frame, counter-clockwise seen from the source, degrees. At 0 the
        thin edge (toe) points to +y of the BLD frame, at 90 to -x.
    name : str
        Wedge ID of the plan; may be empty.
    """

    number: int
    kind: str
    angle_deg: float
    orientation_deg: float
    name: str = ""

    @property
    def label(self) -> str:
        """Name and angle, for messages."""
        return f"{self.name!r} of {self.angle_deg:g} degrees" if self.name else f"of {self.angle_deg:g} degrees"

    @property
    def toe_direction(self) -> tuple[float, float]:
        """Unit vector (x, y) from the thick to the thin edge, BLD frame (IEC 61217; DICOM PS3.3 C.36.2.2.10)."""
        angle = np.deg2rad(self.orientation_deg)
        return -float(np.sin(angle)), float(np.cos(angle))


@dataclass(frozen=True, eq=False)
class Block:
    """A block whose edges follow the beam's divergence.

    Parameters
    ----------
    kind : 'SHIELDING' or 'APERTURE'
        Whether the material lies inside the outline or outside.
    outline_mm : float64 [n, 2]
        Vertices (x, y) of a closed polygon, projected onto the isocentre plane, BLD frame (DICOM PS3.3 C.8.8.14).
    transmission : float
        Through the material, 0 to 1.
    name, tray : str
        Block name and tray ID of the plan; may be empty.
    tray_distance_mm : float or None
        From the source to the tray, where the plan states it.
    """

    kind: str
    outline_mm: NDArray[np.float64]
    transmission: float
    name: str = ""
    tray: str = ""
    tray_distance_mm: float | None = None


@dataclass(frozen=True)
class Bolus:
    """A bolus that lies on the patient for a beam.

    Parameters
    ----------
    structure_number : int
        ROI number in the structure set.
    name : str
        Bolus ID of the plan; may be empty.
    """

    structure_number: int
    name: str = ""

    @property
    def label(self) -> str:
        """Number and name, for messages."""
        return f"{self.structure_number} ({self.name})" if self.name else str(self.structure_number)


@dataclass(frozen=True)
class Accessories:
    """The accessories of one beam.

    Parameters
    ----------
    wedges : tuple of Wedge
    blocks : tuple of Block
    boluses : tuple of Bolus
    block_tray_factor : float or None
        Transmission of all block trays together as the plan states it; None when it states none.
    """

    wedges: tuple[Wedge, ...] = field(default=())
    blocks: tuple[Block, ...] = field(default=())
    boluses: tuple[Bolus, ...] = field(default=())
    block_tray_factor: float | None = None
