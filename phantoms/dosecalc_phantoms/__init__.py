"""Phantoms with their analytic truth, in memory and as DICOM."""

from dosecalc_phantoms.model import Box, Drawn, Phantom, Region, Slab, Sphere
from dosecalc_phantoms.plans import PLAN_KINDS
from dosecalc_phantoms.registry import PhantomKind, list_phantoms, list_plans, make_phantom

__all__ = [
    "PLAN_KINDS",
    "Box",
    "Drawn",
    "Phantom",
    "PhantomKind",
    "Region",
    "Slab",
    "Sphere",
    "list_phantoms",
    "list_plans",
    "make_phantom",
]
