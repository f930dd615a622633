"""DVHs as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence

from dosecalc.dose.dvh import Dvh

SCHEMA_VERSION = 1


def dvhs_to_json(dvhs: Sequence[Dvh], meta: Mapping[str, object] | None = None, *, curves: bool = True) -> str:
    """All DVHs as one JSON document: ``schema_version``, ``meta``, ``structures``; doses in Gy, volumes in cm3.

    Parameters
    ----------
    dvhs : sequence of Dvh
    meta : mapping, optional
        What the reader should know of the dose: versions, machine, hashes. Nothing of the patient.
    curves : bool
        Whether the cumulative curves come along.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "meta": dict(meta or {}),
        "structures": [d.to_dict(curve=curves) for d in dvhs],
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def dvhs_to_csv(dvhs: Sequence[Dvh]) -> str:
    """One line of statistics per structure, units in the header; an empty field where a figure does not exist."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(dvhs[0].statistics()) if dvhs else []
    writer.writerow(["number", "name", "kind", "status", "volume_cm3", "covered_fraction", *names])
    for d in dvhs:
        figures = [_text(v) for v in d.statistics().values()]
        fixed = [str(d.number), d.name, d.kind, d.status, _text(d.volume_cm3), _text(d.covered_fraction)]
        writer.writerow([*fixed, *figures])
    return out.getvalue()


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
