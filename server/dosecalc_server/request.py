"""What a job computes, in the canonical form that names it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

Triple = tuple[float, float, float]
#: origin (x, y, z) and spacing (x, y, z) in mm, shape (z, y, x)
ExactGrid = tuple[Triple, Triple, tuple[int, int, int]]


@dataclass(frozen=True)
class JobRequest:
    """A checked dose request; what was left out has its default.

    Parameters
    ----------
    study : str
        Study id, 64 hexadecimal digits.
    plan, structure_set_uid, ct_series_uid : str or None
        UIDs; the plan may also be named by its label. None takes the only one, or the one that the others refer to.
    machines : tuple of str
        Names of machine models, ascending; empty resolves the plan's machine names.
    mapping_yaml : str or None
        A machine-mapping file.
    engine : str
    device : 'auto', 'cpu' or 'cuda'
    quantity : str
        What the dose is reported to.
    cones, heterogeneity : str
        Options of the engine.
    arc_tolerance_deg : float
        Largest gantry rotation of an arc that shares one transport.
    spacing_mm : (dx, dy, dz) or None
        None only with ``grid_like_uid`` or ``exact_grid``.
    box_mm : ((x, y, z), (x, y, z)) or None
        Lower and upper corner, patient frame.
    grid_like_uid : str or None
        SOP Instance UID of an RTDOSE whose grid is used.
    exact_grid : (origin, spacing, shape) or None
    density_g_cm3 : tuple of (structure name, g/cm3)
        In order: later ones lie over earlier ones.
    without_ct : bool
        Density from structures even if there is a CT.
    hu_curve : str or None
    threads : int
        CPU threads, 0 for all; does not change the result and is no part of the identity.
    """

    study: str
    plan: str | None = None
    structure_set_uid: str | None = None
    ct_series_uid: str | None = None
    machines: tuple[str, ...] = ()
    mapping_yaml: str | None = None
    engine: str = "collapsed_cone"
    device: str = "auto"
    quantity: str = "water_equivalent"
    cones: str = "standard"
    heterogeneity: str = "density_scaling"
    arc_tolerance_deg: float = 5.0
    spacing_mm: Triple | None = (3.0, 3.0, 3.0)
    box_mm: tuple[Triple, Triple] | None = None
    grid_like_uid: str | None = None
    exact_grid: ExactGrid | None = None
    density_g_cm3: tuple[tuple[str, float], ...] = ()
    without_ct: bool = False
    hu_curve: str | None = None
    threads: int = 0

    def to_json(self) -> str:
        """The canonical text: sorted keys, shortest round-trip numbers."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> JobRequest:
        """The request that `to_json` wrote; what an earlier version did not know has its default."""
        values = json.loads(text)
        return cls(**{f.name: _frozen(values[f.name]) for f in fields(cls) if f.name in values})

    def job_id(self, machine_hashes: tuple[str, ...], version: str) -> str:
        """Name of the job: a hash of everything that determines its result.

        Parameters
        ----------
        machine_hashes : tuple of str
            Content hashes of the machine models that the request may use.
        version : str
            Version of the engine.
        """
        identity = asdict(self) | {"threads": 0, "machine_hashes": sorted(machine_hashes), "version": version}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
