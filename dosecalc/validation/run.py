"""Computing cases and judging them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dosecalc
from dosecalc.errors import DosecalcError, InputError
from dosecalc.validation.case import Case
from dosecalc.validation.compute import ACROSS_MM, ALONG_MM, compute_case
from dosecalc.validation.measures import CaseCurves, CaseMeasures, curves, measure
from dosecalc.validation.montecarlo import list_cases, load_case
from dosecalc.validation.targets import Verdict, judge
from dosecalc.validation.thinned import shipped_cases


@dataclass(frozen=True, eq=False)
class CaseResult:
    """One case: measures, curves for plots, verdicts, and the seconds that its dose took."""

    case: Case
    measures: CaseMeasures
    curves: CaseCurves
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def missed(self) -> tuple[Verdict, ...]:
        """Targets that are not met."""
        return tuple(v for v in self.verdicts if v.met is False)

    @property
    def passes(self) -> bool | None:
        """Whether all targets that could be judged are met; None when there was none."""
        judged = [v.met for v in self.verdicts if v.met is not None]
        return all(judged) if judged else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        targets = [
            {"name": v.target.name, "unit": v.target.unit, "limit": v.target.limit, "at_least": v.target.at_least,
             "value": v.value, "met": v.met, "source": v.target.source}
            for v in self.verdicts
        ]  # fmt: skip
        return self.measures.as_dict() | {"targets": targets, "passes": self.passes, "seconds": self.seconds}


def load_cases(reference: Path | None, names: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of a folder, all of them read and checked, or the shipped ones.

    Parameters
    ----------
    reference : Path or None
        A folder with cases, or with a folder ``montecarlo`` of cases; None: the cases that come with the package.
    names : sequence of str
        Only cases whose file or name begins with one of these.

    Raises
    ------
    InputError
        ``CASES_MISSING``, ``CASE_UNKNOWN``; ``CASE_UNREADABLE`` and ``CASE_INVALID``, naming the file.
    """
    if reference is None:
        shipped = {case.name: case for case in shipped_cases()}
        return tuple(shipped[name] for name in _chosen(tuple(shipped), names))
    paths = {path.stem: path for path in _case_files(reference)}
    return tuple(load_case(paths[stem]) for stem in _chosen(tuple(paths), names))


def run_cases(
    cases: Sequence[Case],
    *,
    device: str = "auto",
    across_mm: float = ACROSS_MM,
    along_mm: float = ALONG_MM,
    progress: Callable[[float, str], None] = lambda _fraction, _step: None,
    engine: str = "collapsed_cone",
    cones: str = "",
    heterogeneity: str = "",
) -> Iterator[CaseResult]:
    """Compute and judge cases one after another.

    Parameters
    ----------
    device, across_mm, along_mm, engine, cones, heterogeneity
        As in `compute_case`.
    progress : callable
        Takes the fraction done, and the name of the case that comes next.

    Raises
    ------
    DosecalcError
        Of the engine; ``where['case']`` names the case.
    """
    for done, case in enumerate(cases):
        progress(done / len(cases), case.name)
        try:
            begin = time.perf_counter()
            dose, _ = compute_case(
                case, across_mm, along_mm, device=device, engine=engine, cones=cones, heterogeneity=heterogeneity
            )
            seconds = time.perf_counter() - begin
            measures = measure(case, dose)
        except DosecalcError as error:
            error.where.setdefault("case", case.name)
            raise
        yield CaseResult(case, measures, curves(case, dose), judge(case, measures), seconds)


def summary_line(results: Sequence[CaseResult]) -> str:
    """How many cases pass, in one line."""
    passed, missed, unjudged = (sum(r.passes is state for r in results) for state in (True, False, None))
    judged = [v for r in results for v in r.verdicts if v.met is not None]
    parts = [f"{passed} of {len(results)} cases meet all their targets", f"{missed} miss"]
    if unjudged:
        parts.append(f"{unjudged} not judged")
    return f"{', '.join(parts)}; {sum(v.met is True for v in judged)} of {len(judged)} targets met"


def as_json(results: Sequence[CaseResult], device: str, engine: Mapping[str, str]) -> dict[str, Any]:
    """Everything as plain data, with the engine's name and options; figures that do not exist are None."""
    return {
        "schema_version": 3,
        "dosecalc": dosecalc.__version__,
        "device": device,
        **engine,
        "passes": not any(r.missed for r in results),
        "summary": summary_line(results),
        "cases": [_without_nan(r.as_dict()) for r in results],
    }


def _case_files(reference: Path) -> tuple[Path, ...]:
    for folder in (reference, reference / "montecarlo"):
        if folder.is_dir() and (found := list_cases(folder)):
            return found
    raise InputError(
        "CASES_MISSING",
        "There are no Monte Carlo cases here: pairs of NAME.json and NAME.npz, or a folder montecarlo with them.",
        folder=reference,
    )


def _chosen(available: Sequence[str], names: Sequence[str]) -> list[str]:
    for name in names:
        if not any(a.startswith(name) for a in available):
            raise InputError(
                "CASE_UNKNOWN", f"No case is called {name!r}; there are {', '.join(available)}.", field="case"
            )
    return [a for a in available if not names or a.startswith(tuple(names))]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
