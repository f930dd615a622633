"""From a study and a request to dose and DVHs: what the server, the command line and a notebook all call."""

from dosecalc.recompute.request import GridRequest, RecomputeRequest
from dosecalc.recompute.run import Recomputation, machine_mapping, recompute

__all__ = [
    "GridRequest",
    "Recomputation",
    "RecomputeRequest",
    "machine_mapping",
    "recompute",
]
