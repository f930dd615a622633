"""What the readers share: numbers with a place, and refusals that name file, curve and line."""

from __future__ import annotations

import math

from dosecalc.errors import InputError


def refuse(reason: str, message: str, file: str, curve: str | None = None, line: int | None = None) -> InputError:
    """An error about a measurement file."""
    return InputError(reason, message, file=file, curve=curve, line=line)


def number(text: str, what: str, file: str, line: int, curve: str | None = None) -> float:
    """A finite number of a file.

    Raises
    ------
    InputError
        ``MEASUREMENT_NUMBER``.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        hint = "; write decimals with a point" if "," in text else ""
        raise refuse("MEASUREMENT_NUMBER", f"{text.strip()!r} is no number for {what}{hint}.", file, curve, line)
    return value
