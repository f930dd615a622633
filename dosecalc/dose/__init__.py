"""Dose distributions and what is derived from them."""

from dosecalc.dose.model import BeamDose, Dose

__all__ = ["BeamDose", "Dose"]
