"""How long a client puts up with a server that is away."""

from __future__ import annotations

import time

import grpc

from dosecalc_api.errors import DosecalcApiError

#: between two attempts
PAUSE_S = 0.3


class Patience:
    """How much longer to put up with a server that is away.

    Parameters
    ----------
    seconds : float
        From the last sign of life; with 0 the first error is raised.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """The server has given a sign of life."""
        self._until = time.monotonic() + self._seconds

    def check(self, error: DosecalcApiError) -> None:
        """Raise the error unless it is worth another attempt, after a pause of `PAUSE_S`."""
        if error.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() >= self._until:
            raise error
