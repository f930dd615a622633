"""Treatment plans as frozen data, free of any file format."""

from dosecalc.plan.model import Beam, ControlPoint, FractionGroup, MlcGeometry, Modifier, Plan

__all__ = ["Beam", "ControlPoint", "FractionGroup", "MlcGeometry", "Modifier", "Plan"]
