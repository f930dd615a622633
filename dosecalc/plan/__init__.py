"""Treatment plans as frozen data, free of any file format."""

from dosecalc.plan.accessories import Accessories, Block, Bolus, Wedge
from dosecalc.plan.model import Beam, ControlPoint, FractionGroup, MlcGeometry, Modifier, Plan
from dosecalc.plan.motion import collimator_sweep_deg, couch_sweep_deg, gantry_sweep_deg, technique
from dosecalc.plan.support import Refusal, check_supported, unsupported

__all__ = [
    "Accessories",
    "Beam",
    "Block",
    "Bolus",
    "ControlPoint",
    "FractionGroup",
    "MlcGeometry",
    "Modifier",
    "Plan",
    "Refusal",
    "Wedge",
    "check_supported",
    "collimator_sweep_deg",
    "couch_sweep_deg",
    "gantry_sweep_deg",
    "technique",
    "unsupported",
]
