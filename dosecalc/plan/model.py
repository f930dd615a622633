"""A treatment plan: beams, control points, metersets. What is read is kept, whether or not an engine can model it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dosecalc.errors import PlanError
from dosecalc.plan.accessories import Accessories


@dataclass(frozen=True, eq=False)
class MlcGeometry:
    """A multi-leaf collimator as the plan describes it.

    Parameters
    ----------
    axis : 'X' or 'Y'
        BLD axis along which the leaves move.
    boundaries_mm : float64 [n_pairs + 1]
        Leaf boundaries across the direction of movement, ascending, at the isocentre plane.
    """

    axis: str
    boundaries_mm: NDArray[np.float64]

    @property
    def n_pairs(self) -> int:
        """Number of leaf pairs."""
        return len(self.boundaries_mm) - 1


@dataclass(frozen=True, eq=False)
class ControlPoint:
    """The complete state of a beam at one control point; nothing is inherited any more.

    Parameters
    ----------
    index : int
        Control point index of the plan, from 0.
    meterset_fraction : float
        Cumulative meterset weight over the final cumulative meterset weight, 0 to 1.
    gantry_deg, collimator_deg, couch_deg : float
        IEC 61217 angles, degrees.
    gantry_direction : 'CW', 'CC' or 'NONE'
        Sense of rotation from this control point to the next.
    isocentre_patient_mm : (x, y, z)
        DICOM patient frame.
    jaw_x_mm, jaw_y_mm : (lower, upper) or None
        Jaw edges at the isocentre plane in BLD coordinates; None where the machine has no such jaw.
    leaves_mm : float64 [n_pairs, 2] or None
        Positions of bank 1 (lower) and bank 2 (upper) of every pair, at the isocentre plane.
    ssd_mm : float or None
        Source to surface distance that the plan states.
    collimator_direction, couch_direction : 'CW', 'CC' or 'NONE'
        Sense of rotation from this control point to the next. DICOM looks at the collimator from the source and at the
        couch from above, so for both, other than for the gantry, CC raises the angle.
    wedges_in : frozenset of int
        Numbers of the wedges that are in the beam from this control point to the next.
    second_leaves_mm : float64 [n_pairs, 2] or None
        As ``leaves_mm``, of the second of two stacked layers.
    """

    index: int
    meterset_fraction: float
    gantry_deg: float
    collimator_deg: float
    couch_deg: float
    gantry_direction: str
    isocentre_patient_mm: tuple[float, float, float]
    jaw_x_mm: tuple[float, float] | None = None
    jaw_y_mm: tuple[float, float] | None = None
    leaves_mm: NDArray[np.float64] | None = None
    ssd_mm: float | None = None
    collimator_direction: str = "NONE"
    couch_direction: str = "NONE"
    wedges_in: frozenset[int] = frozenset()
    second_leaves_mm: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Modifier:
    """Something in the beam or on the patient that changes dose and is not modelled, or not described well enough.

    Parameters
    ----------
    kind : str
        ``WEDGE``, ``BLOCK``, ``BOLUS``, ``COMPENSATOR``, ``APPLICATOR``, ``TRAY``, ``SECOND_MLC``, ``TABLE_TOP_TILT``,
        ``GANTRY_PITCH``, … : an engine refuses every kind that it does not know.
    name : str
        Identifier or description from the plan, for messages; may be empty.
    details : mapping of str to str
        What else the plan says (wedge type and angle, block transmission, …), as text.
    """

    kind: str
    name: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Beam:
    """One treatment beam.

    Parameters
    ----------
    number, name : int, str
        Beam number and name of the plan.
    machine_name : str
        Treatment machine of the plan; empty when the plan names none.
    radiation : str
        DICOM radiation type, ``PHOTON`` for what the photon engines compute.
    energy_mv : float or None
        Nominal beam energy, MV (MeV for other radiations).
    fluence_mode : 'STANDARD' or 'FFF' (or other text of the plan)
        ``FFF`` for flattening-filter-free beams.
    sad_mm : float
        Source-axis distance.
    patient_position : str
        HFS, HFP, … for this beam's patient setup.
    mlc : MlcGeometry or None
    control_points : tuple of ControlPoint
        At least two, meterset fractions ascending from 0 to 1.
    modifiers : tuple of Modifier
        Whatever else of this beam changes dose; an engine refuses it.
    delivery_type : str
        DICOM treatment delivery type (``TREATMENT``, ``CONTINUATION``, …); setup beams are never here.
    accessories : Accessories
        Wedges, blocks and boluses that are modelled.
    second_mlc : MlcGeometry or None
        The other of two stacked layers of leaves that move along the same axis: of DICOM's MLCX1 and MLCX2 the latter.
    """

    number: int
    name: str
    machine_name: str
    radiation: str
    energy_mv: float | None
    fluence_mode: str
    sad_mm: float
    patient_position: str
    mlc: MlcGeometry | None
    control_points: tuple[ControlPoint, ...]
    modifiers: tuple[Modifier, ...] = ()
    delivery_type: str = "TREATMENT"
    accessories: Accessories = field(default_factory=Accessories)
    second_mlc: MlcGeometry | None = None

    def __post_init__(self) -> None:
        f = [c.meterset_fraction for c in self.control_points]
        if len(f) < 2 or abs(f[0]) > 1e-6 or abs(f[-1] - 1) > 1e-6 or np.any(np.diff(f) < -1e-9):
            raise PlanError(
                "METERSET_ORDER",
                "A beam needs at least two control points whose cumulative meterset rises from 0 to its final value.",
                beam=self.name,
            )

    @property
    def label(self) -> str:
        """Number and name, for messages and reports."""
        return f"{self.number} ({self.name})" if self.name else str(self.number)


@dataclass(frozen=True)
class FractionGroup:
    """How often which beams are given.

    Parameters
    ----------
    number : int
    fractions : int
        Number of fractions planned.
    beam_mu : mapping of beam number to float
        Meterset of each beam in one fraction, MU.
    """

    number: int
    fractions: int
    beam_mu: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan: beams and how they are fractionated.

    Parameters
    ----------
    label : str
        RT Plan Label.
    beams : tuple of Beam
        Treatment beams only; setup beams are not here.
    fraction_groups : tuple of FractionGroup
    sop_instance_uid, frame_of_reference_uid, structure_set_uid : str or None
        References of the DICOM object, for the RTDOSE that is written.
    prescription_gy : float or None
        Target prescription dose of the whole plan, Gy, where the plan states one.
    skipped_beams : tuple of str
        Labels of beams left out, with the reason (``"4 (CBCT): setup beam"``), for the summary.
    notes : tuple of str
        What the reader assumed or found odd, for a physicist to read.
    """

    label: str
    beams: tuple[Beam, ...]
    fraction_groups: tuple[FractionGroup, ...]
    sop_instance_uid: str | None = None
    frame_of_reference_uid: str | None = None
    structure_set_uid: str | None = None
    prescription_gy: float | None = None
    skipped_beams: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def total_mu(self, beam: Beam) -> float:
        """MU of a beam over all fractions of all fraction groups."""
        return sum(g.fractions * g.beam_mu.get(beam.number, 0.0) for g in self.fraction_groups)

    @property
    def fractions(self) -> int:
        """Number of fractions over all groups."""
        return sum(g.fractions for g in self.fraction_groups)
