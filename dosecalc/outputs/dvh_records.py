"""DVHs as plain records, and as the JSON and CSV files that other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: shape of ``dvh.json``; raised when a field changes its meaning
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class DvhRecord:
    """The DVH of one structure, whether computed here or by a server.

    Parameters
    ----------
    structure_name, structure_number : str, int
    volume_cm3 : float
        Of the whole structure.
    dose_gy : tuple of float
        Ascending from 0, Gy over all fractions.
    cumulative_cm3 : tuple of float
        Volume that receives at least that dose.
    statistics : dict of str to float
        By name with the unit in it (``mean_gy``, ``d95_gy``, …); what is not defined is absent.
    notes : tuple of str
        What is to be known about it (empty, partly outside the grid, …).
    """

    structure_name: str
    structure_number: int
    volume_cm3: float
    dose_gy: tuple[float, ...]
    cumulative_cm3: tuple[float, ...]
    statistics: dict[str, float]
    notes: tuple[str, ...] = ()


#: statistics that come first, in this order; all others follow by name
_FIRST = ("mean_gy", "min_gy", "max_gy", "median_gy", "near_min_d98_gy", "near_max_d2_gy")


def _in_order(statistics: dict[str, float]) -> dict[str, float]:
    first = {n: statistics[n] for n in _FIRST if n in statistics}
    return first | {n: statistics[n] for n in sorted(statistics) if n not in first}


def dvhs_as_json(records: Sequence[DvhRecord]) -> str:
    """All DVHs with their curves as JSON text."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "units": {"dose": "Gy over all fractions", "volume": "cm3"},
        "structures": [asdict(r) | {"statistics": _in_order(r.statistics)} for r in records],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def dvhs_as_csv(records: Sequence[DvhRecord]) -> str:
    """The statistics as CSV text: one line per structure, a column per statistic, the unit in the heading."""
    names = list(_in_order({name: value for r in records for name, value in r.statistics.items()}))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["structure", "number", "volume_cm3", *names, "notes"])
    for record in records:
        values = [_number(record.statistics.get(n)) for n in names]
        notes = " | ".join(record.notes)
        writer.writerow([record.structure_name, record.structure_number, _number(record.volume_cm3), *values, notes])
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
