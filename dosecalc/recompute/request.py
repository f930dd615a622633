"""What may be asked of a recomputation, checked and in canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dosecalc.engine import check_arc_tolerance
from dosecalc.errors import InputError
from dosecalc.geometry import Grid
from dosecalc.photon.engines import ARC_TOLERANCE_DEG, choose

Point = tuple[float, float, float]


@dataclass(frozen=True)
class GridRequest:
    """Which dose grid is wanted; everything None means 3 mm over the patient's outline.

    Parameters
    ----------
    spacing_mm : (dx, dy, dz), optional
        Distances of voxel centres; 0.5 to 50 mm.
    box_mm : (lower, upper), optional
        Corners (x, y, z), patient frame, of the box that the voxels fill.
    like_rtdose_uid : str, optional
        SOP Instance UID of an RTDOSE of the study whose grid is used as it is; excludes the others.
    exact : Grid, optional
        This very grid; excludes the others.
    """

    spacing_mm: Point | None = None
    box_mm: tuple[Point, Point] | None = None
    like_rtdose_uid: str | None = None
    exact: Grid | None = None

    def __post_init__(self) -> None:
        ways = (self.like_rtdose_uid, self.exact, self.spacing_mm or self.box_mm)
        if sum(w is not None for w in ways) > 1:
            raise InputError(
                "GRID_OPTIONS",
                "The grid of an RTDOSE, an exact grid, and spacing with box exclude each other; give one of them.",
                field="grid",
            )
        if self.spacing_mm is not None and not all(0.5 <= s <= 50 for s in self.spacing_mm):
            raise InputError("GRID_SPACING", "Grid spacings must lie between 0.5 and 50 mm.", field="grid.spacing_mm")
        if self.box_mm is not None and not all(lo < hi for lo, hi in zip(*self.box_mm, strict=True)):
            raise InputError("GRID_BOX_EMPTY", "The box's upper corner must lie above the lower one.", field="grid.box")


@dataclass(frozen=True)
class RecomputeRequest:
    """What to compute from a study. Frozen; everything but ``threads`` is part of a result's identity.

    Parameters
    ----------
    plan : str
        SOP Instance UID or label of the RTPLAN; may be empty when the study holds one.
    structure_set_uid : str
        SOP Instance UID of the RTSTRUCT; empty means the one that the plan refers to, or the only one that fits.
    ct_series_uid : str
        Series of the CT; empty means the one that the structures refer to, or the only one in their frame.
    machines : tuple of str
        Names (or paths) of machine models among which each beam finds the one that has its energy.
    mapping_yaml : str
        Text of a machine-mapping file; excludes ``machines``. Without both, the shipped models are found by the
        treatment machine names that they claim.
    mapping_folder : str
        Where model files lie that the mapping names; without it they are refused.
    engine : str
    device : 'cpu', 'cuda' or 'auto'
    quantity : 'water_equivalent', 'medium' or 'water_in_medium'
        What the dose is reported to, see `dosecalc.photon.engines.QUANTITIES`.
    cones, heterogeneity : str
        Options of the engine, see `dosecalc.photon.engines.ENGINES`; empty takes its default.
    arc_tolerance_deg : float
        Largest gantry rotation within an arc that shares one transport, degrees.
    grid : GridRequest
    density_g_cm3 : mapping of structure name to float
        Mass density, g/cm3, that overrides the CT in that structure, and makes a computation without a CT possible.
        Where structures overlap, later ones lie over earlier ones.
    without_ct : bool
        Take no CT, even if there is one: density from the list and from what the structure set states.
    hu_curve : str
        Name of the HU calibration curve, or a path; empty means the generic one.
    threads : int
        CPU threads, 0 for all; never changes the result.
    """

    plan: str = ""
    structure_set_uid: str = ""
    ct_series_uid: str = ""
    machines: tuple[str, ...] = ()
    mapping_yaml: str = ""
    mapping_folder: str = field(default="", compare=False)
    engine: str = "collapsed_cone"
    device: str = "auto"
    quantity: str = "water_equivalent"
    cones: str = ""
    heterogeneity: str = ""
    arc_tolerance_deg: float = ARC_TOLERANCE_DEG[2]
    grid: GridRequest = field(default_factory=GridRequest)
    density_g_cm3: Mapping[str, float] = field(default_factory=dict)
    without_ct: bool = False
    hu_curve: str = ""
    threads: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.machines and self.mapping_yaml:
            raise InputError("MACHINE_OPTIONS", "Name machine models or give a mapping, not both.", field="machines")
        wanted = {"quantity": self.quantity, "cones": self.cones, "heterogeneity": self.heterogeneity}
        for option, name in choose(self.engine, **wanted).items():
            object.__setattr__(self, option, name)  # frozen: the canonical form is made here, once
        check_arc_tolerance(self.arc_tolerance_deg)
        for name, density in self.density_g_cm3.items():
            if not 0 <= density <= 25:
                raise InputError(
                    "DENSITY_VALUE",
                    "A density must lie between 0 (air) and 25 g/cm3.",
                    structure=name,
                    field="density_g_cm3",
                )

    def as_dict(self) -> dict[str, Any]:
        """The request as plain data, without ``threads``."""
        return {
            "plan": self.plan,
            "structure_set_uid": self.structure_set_uid,
            "ct_series_uid": self.ct_series_uid,
            "machines": list(self.machines),
            "mapping_yaml": self.mapping_yaml,
            "engine": self.engine,
            "device": self.device,
            "quantity": self.quantity,
            "cones": self.cones,
            "heterogeneity": self.heterogeneity,
            "arc_tolerance_deg": self.arc_tolerance_deg,
            "grid": {
                "spacing_mm": self.grid.spacing_mm,
                "box_mm": self.grid.box_mm,
                "like_rtdose_uid": self.grid.like_rtdose_uid,
                "exact": None if self.grid.exact is None else asdict(self.grid.exact),
            },
            "density_g_cm3": list(self.density_g_cm3.items()),  # in order: later ones lie over earlier ones
            "without_ct": self.without_ct,
            "hu_curve": self.hu_curve,
        }

    def canonical_json(self) -> str:
        """The request as JSON that is the same for equal requests."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()
