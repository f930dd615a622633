"""The engine held against independent Monte Carlo: cases, computing them, measures, tables."""

from dosecalc.validation.compute import compute_case
from dosecalc.validation.measures import CaseMeasures, measure
from dosecalc.validation.montecarlo import MonteCarloCase, list_cases, load_case

__all__ = ["CaseMeasures", "MonteCarloCase", "compute_case", "list_cases", "load_case", "measure"]
