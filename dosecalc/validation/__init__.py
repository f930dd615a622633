"""The engine held against independent Monte Carlo: cases, computing them, measures, targets, tables."""

from dosecalc.validation.case import Case
from dosecalc.validation.compute import compute_case
from dosecalc.validation.measures import CaseMeasures, measure
from dosecalc.validation.montecarlo import MonteCarloCase, list_cases, load_case
from dosecalc.validation.run import CaseResult, load_cases, run_cases
from dosecalc.validation.targets import TARGETS, Target, Verdict, judge
from dosecalc.validation.thinned import ThinnedCase, shipped_cases

__all__ = [
    "TARGETS",
    "Case",
    "CaseMeasures",
    "CaseResult",
    "MonteCarloCase",
    "Target",
    "ThinnedCase",
    "Verdict",
    "compute_case",
    "judge",
    "list_cases",
    "load_case",
    "load_cases",
    "measure",
    "run_cases",
    "shipped_cases",
]
