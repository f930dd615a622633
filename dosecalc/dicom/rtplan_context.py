"""Where in an RT Plan the reader stands, so that every error names the beam and the control point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dosecalc.dicom.errors import RtPlanError


@contextmanager
def within(**where: object) -> Iterator[None]:
    """Add ``beam`` or ``control_point`` to the errors that are raised inside, unless they name their own."""
    try:
        yield
    except RtPlanError as error:
        raise RtPlanError(error.reason, error.message, **{**where, **error.where}) from None


def beam_label(number: int, name: str) -> str:
    """As `dosecalc.plan.Beam.label`, before there is a beam."""
    return f"{number} ({name})" if name else str(number)
