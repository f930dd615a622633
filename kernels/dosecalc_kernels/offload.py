"""Kernels that take host arrays and give host arrays, on a device where that is worth the way there and back.

For what surrounds the dose engine: masks, resampling, DVHs, gamma. The engine keeps its arrays on the device and uses
`dosecalc_kernels.registry` directly.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosecalc_kernels.registry import Backend, backend, fault_of

_LOG = logging.getLogger("dosecalc.device")
#: results below which the CPU computes them: they are ready before data has been to a device and back. Chosen, not
#: measured on a GPU
LEAST_ITEMS = 1 << 16
#: what a call takes of a device's memory over the bytes of its arrays: them, what comes out, and room for rounding up
_ROOM = 3


@dataclass(frozen=True, eq=False)
class Held:
    """An array that several calls take: on the host and, if it could be put there, on the device."""

    host: NDArray[Any]
    device: Any | None = None


class Offload:
    """Kernels of one device, and the CPU's where a call is small, does not fit, or fails.

    A device that failed once is not asked again. Which device it was, and why the CPU took over, is one line of the log
    ``dosecalc.device``.

    Parameters
    ----------
    chosen : Backend or str
        As `dosecalc_kernels.registry.backend` takes it.
    least_items : int
        Calls with fewer results run on the CPU.

    Raises
    ------
    DeviceFault
        ``DEVICE_UNKNOWN``, ``DEVICE_NOT_AVAILABLE``; never with ``auto``.
    """

    def __init__(self, chosen: Backend | str = "cpu", least_items: int = LEAST_ITEMS) -> None:
        self.backend = backend(chosen) if isinstance(chosen, str) else chosen
        self._least_items = least_items
        self._told = False
        self._lock = threading.RLock()  # one call at a time, so that the room that was found is still there

    def hold(self, array: NDArray[Any]) -> Held:
        """An array for several calls, sent to the device once."""
        with self._lock:
            if not self._takes(self._least_items, array.nbytes):
                return Held(array)
            try:
                return Held(array, self.backend.put(array))
            except Exception as error:
                self._give_up(error)
                return Held(array)

    def run(self, name: str, items: int, *arguments: Any) -> Any:
        """Call a kernel of the contract.

        Parameters
        ----------
        name : str
            Of `dosecalc_kernels.registry.KERNELS`.
        items : int
            How many results it computes independently of each other.
        arguments
            As the contract says; arrays on the host, or `Held`.
        """
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        with self._lock:
            if self._takes(items, sum(a.nbytes for a in arrays)):
                try:
                    return self._on_device(name, arguments)
                except Exception as error:
                    self._give_up(error)
        on_host = (a.host if isinstance(a, Held) else a for a in arguments)
        return backend("cpu").kernel(name)(*on_host)

    def _on_device(self, name: str, arguments: tuple[Any, ...]) -> Any:
        chosen = self.backend
        chosen.use()
        found = chosen.kernel(name)(
            *((a.host if a.device is None else a.device) if isinstance(a, Held) else a for a in arguments)
        )
        there = chosen.launcher is not None and chosen.launcher.is_device_array(found)
        return chosen.get(found) if there else found

    def _takes(self, items: int, nbytes: int) -> bool:
        """Whether the device is to compute so many results from so many bytes."""
        launcher = self.backend.launcher
        if launcher is None or items < self._least_items:
            return False
        try:
            if launcher.memory.has_room(_ROOM * nbytes):
                return True
        except Exception as error:
            self._give_up(error)
            return False
        if not self._told:
            self._told = True
            _LOG.warning("device %s: computing on the CPU what does not fit into its memory", self.backend.name)
        return False

    def _give_up(self, error: Exception) -> None:
        """Compute on the CPU from now on; errors that are not the device's are raised again."""
        fault = fault_of(error)
        if fault is None:
            raise error
        _LOG.warning("device %s: computing on the CPU, it failed: %s", self.backend.name, fault.message)
        self.backend = backend("cpu")
