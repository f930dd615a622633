"""The clinical sets of the reference folder, and what has to be assumed to compute each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClinicalSet:
    """A set and the assumptions for it.

    Parameters
    ----------
    name : str
        Of the zip, without ending.
    title : str
        What it is, for the tables.
    machines : tuple of str
        Machine models, one per energy.
    densities : mapping of structure to g/cm3
        Empty when there is a CT.
    assumed : str
        Why these densities.
    variants : mapping of name to densities
        Other assumptions that are as good, to see what depends on them.
    grid_mm : float
        Where there is no clinical dose whose grid is used.
    """

    name: str
    title: str
    machines: tuple[str, ...]
    densities: Mapping[str, float] = field(default_factory=dict)
    assumed: str = ""
    variants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    grid_mm: float = 3.0


SETS = (
    ClinicalSet(
        "head-vmat",
        "head CT, two VMAT arcs, 6 MV",
        ("generic-6mv-millennium120",),
        assumed="density from the CT by the generic calibration curve; the plan was moved onto this CT, so no clinical "
        "dose belongs to it",
    ),
    ClinicalSet(
        "breast-sliding-window",
        "breast boost, four sliding-window fields, 6 and 10 MV",
        ("generic-6mv-millennium120", "generic-10mv-millennium120"),
        {"BODY": 1.0, "Lt Lung": 0.26},
        "one CT slice of 98 exists, which is no CT; the right lung and bones are not contoured and are water here, as "
        "fat is; the scar's 0.6 is stated by the structure set",
        {"BODY 0.95 (breast and fat)": {"BODY": 0.95, "Lt Lung": 0.26}},
    ),
    ClinicalSet(
        "brain-imrt",
        "five brain targets, 13 step-and-shoot fields, 6 MV, Agility",
        ("generic-6mv-agility",),
        {"BODY": 1.0},
        "neither skull nor air cavities are contoured: everything inside BODY is water",
        {"BODY 1.05 (brain 1.04, some bone)": {"BODY": 1.05}},
    ),
    ClinicalSet(
        "lung-imrt",
        "lymph node in the mediastinum, three dynamic fields, 6 MV, Agility",
        ("generic-6mv-agility",),
        {"BODY_P6": 1.0, "LUNGS-ITV's": 0.26, "TRACHEA": 0.1},
        "both lungs 0.26 g/cm3 and the trachea mostly air; bones are not contoured; the clinical dose is a Monte Carlo "
        "with its own noise",
        {
            "lungs 0.20": {"BODY_P6": 1.0, "LUNGS-ITV's": 0.20, "TRACHEA": 0.1},
            "lungs 0.32": {"BODY_P6": 1.0, "LUNGS-ITV's": 0.32, "TRACHEA": 0.1},
        },
    ),
)
