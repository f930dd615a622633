"""From a study and a request to dose and DVHs: what the server, the command line and a notebook all call."""

from dosecalc.recompute.request import GridRequest, RecomputeRequest
from dosecalc.recompute.run import Recomputation, choose_case, curve_bin_gy, machine_mapping, patient_of, recompute

__all__ = [
    "GridRequest",
    "Recomputation",
    "RecomputeRequest",
    "choose_case",
    "curve_bin_gy",
    "machine_mapping",
    "patient_of",
    "recompute",
]
