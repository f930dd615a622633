"""What the engine is to reach beside Monte Carlo: one table, which of its lines a case falls under, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dosecalc.validation.case import Case
from dosecalc.validation.measures import CaseMeasures, Profile

_PROJECT = "project target for dose per incident fluence in absolute units, no renormalisation"
_TRS_483 = (
    "small: narrower than twice the range for lateral electron equilibrium, 8.369 TPR20,10 - 4.382 cm = 2.0 cm at "
    "15 MV (TPR20,10 of 0.76); IAEA TRS 483, 2017, section 2.1"
)

#: a 15 MV spectrum in bins of 0.25 MeV ends at 14.5 MeV
HIGH_ENERGY_FROM_MEV = 14.0
#: narrower sides make a small field at high energy
SMALL_BELOW_CM = 4.0
#: square fields for which the depth-dose target stands
DEPTH_DOSE_FIELDS_CM = (3.0, 20.0)

Phantom = Literal["water", "inhomogeneous"]


@dataclass(frozen=True)
class Scope:
    """The cases that a target is for.

    Parameters
    ----------
    phantom : 'water' or 'inhomogeneous'
        Water and nothing else, or anything else: slabs, and also phantoms that are not layered.
    fields_cm : (smallest, largest)
        Sides of the field at the front plane, both within.
    small_high_energy : bool or None
        Only small fields of high energy, only others, or all.
    """

    phantom: Phantom
    fields_cm: tuple[float, float] = (0.0, math.inf)
    small_high_energy: bool | None = None

    def covers(self, case: Case) -> bool:
        """Whether a case falls under it."""
        smallest, largest = self.fields_cm
        is_small_high = case.highest_mev >= HIGH_ENERGY_FROM_MEV and min(case.field_cm) < SMALL_BELOW_CM
        return (
            case.water_only == (self.phantom == "water")
            and all(smallest <= side <= largest for side in case.field_cm)
            and self.small_high_energy in (None, is_small_high)
        )


@dataclass(frozen=True)
class Target:
    """One figure and its limit.

    Parameters
    ----------
    name : str
        What is judged, in words.
    unit : str
    limit : float
    at_least : bool
        The figure must not be lower; otherwise it must not be higher.
    scope : Scope
    figure : callable
        The figure of a case's measures; None when it was not measured.
    source : str
        Where the limit is from.
    """

    name: str
    unit: str
    limit: float
    scope: Scope
    figure: Callable[[CaseMeasures], float | None]
    source: str = _PROJECT
    at_least: bool = False

    @property
    def rule(self) -> str:
        """The limit in words."""
        return f"at {'least' if self.at_least else 'most'} {self.limit:g} {self.unit}".strip()


@dataclass(frozen=True)
class Verdict:
    """A target held against a case.

    Parameters
    ----------
    target : Target
    value : float or None
        None when it could not be measured on what is there.
    """

    target: Target
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether it is met; None when there is no figure."""
        if self.value is None:
            return None
        return self.value >= self.target.limit if self.target.at_least else self.value <= self.target.limit

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.2f} {self.target.unit}".strip()
        return f"{self.target.name}: {value} ({self.target.rule})"


def judge(case: Case, measures: CaseMeasures) -> tuple[Verdict, ...]:
    """Every target that a case falls under, with its figure."""
    return tuple(Verdict(t, _known(t.figure(measures))) for t in TARGETS if t.scope.covers(case))


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _worst_of_profiles(figure: Callable[[Profile], float]) -> Callable[[CaseMeasures], float | None]:
    def worst(measures: CaseMeasures) -> float | None:
        figures = [f for f in map(figure, measures.profiles) if not math.isnan(f)]
        return max(figures, default=None)

    return worst


def _gamma(criterion: str) -> Callable[[CaseMeasures], float | None]:
    return lambda measures: measures.gamma.get(criterion)


_WATER = Scope("water")
_WATER_3_TO_20 = Scope("water", DEPTH_DOSE_FIELDS_CM)
_SLABS = Scope("inhomogeneous", small_high_energy=False)
_SLABS_SMALL = Scope("inhomogeneous", small_high_energy=True)

#: local differences count beyond two standard deviations of the reference; gamma: global, threshold 10 %
TARGETS: tuple[Target, ...] = (
    Target("depth dose beyond the maximum, worst", "%", 1.0, _WATER_3_TO_20, lambda m: m.depth_dose.worst_counted),
    Target("depth dose beyond the maximum, mean", "%", 0.5, _WATER_3_TO_20, lambda m: m.depth_dose.mean_counted),
    Target("output at 10 cm", "%", 1.0, _WATER, lambda m: m.output_counted_percent),
    Target("build-up, of 2 % of the maximum or 1 mm", "", 1.0, _WATER, lambda m: m.build_up.worst_of_either),
    Target("profiles inside 80 % of the field", "%", 1.0, _WATER, _worst_of_profiles(lambda p: p.inside.worst_counted)),
    Target(
        "penumbra 20-80 % beside the reference's",
        "mm",
        0.5,
        _WATER,
        _worst_of_profiles(lambda p: abs(p.penumbra_mm - p.penumbra_reference_mm)),
    ),
    Target("profiles outside, of the axis", "%", 1.0, _WATER, _worst_of_profiles(lambda p: p.outside.worst_counted)),
    Target("gamma 2 % / 2 mm", "%", 99.0, _SLABS, _gamma("2%/2mm"), at_least=True),
    Target("gamma 1 % / 1 mm", "%", 90.0, _SLABS, _gamma("1%/1mm"), at_least=True),
    Target("gamma 2 % / 2 mm", "%", 97.0, _SLABS_SMALL, _gamma("2%/2mm"), f"{_PROJECT}; {_TRS_483}", at_least=True),
)
