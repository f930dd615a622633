"""The memory of a device: what is kept in it between requests, and whether a job fits."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: share of a device's memory that may hold what is kept between requests
KEPT_SHARE = 0.25
#: share that is left to the driver, to other programs and to fragmentation
_SPARE_SHARE = 0.05


class Meter(Protocol):
    """What a device tells of its memory."""

    def total_bytes(self) -> int:
        """All of it."""

    def free_bytes(self) -> int:
        """What can be taken now, blocks that our own pool holds unused included."""


class DeviceMemory:
    """Keeps arrays on a device between requests, within bounds, and says what fits beside them.

    Kept are groups of arrays by a key of their content. The least recently used go when there are too many, or when a
    job needs their room. What a job still refers to stays alive until it lets go; only the keeping ends.

    Parameters
    ----------
    meter : Meter
    kept_share : float
        Largest share of the device's memory for what is kept.
    """

    def __init__(self, meter: Meter, kept_share: float = KEPT_SHARE) -> None:
        self._meter = meter
        self._bound = int(kept_share * meter.total_bytes())
        self._kept: OrderedDict[Hashable, tuple[Any, ...]] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def total_bytes(self) -> int:
        """All memory of the device."""
        return self._meter.total_bytes()

    @property
    def kept_bytes(self) -> int:
        """Bytes of all arrays that are kept."""
        with self._lock:
            return sum(_nbytes(arrays) for arrays in self._kept.values())

    def keep(self, key: Hashable, make: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """The arrays kept under a key; made, and kept if they are within bounds, when there are none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            arrays = make()
            if _nbytes(arrays) <= self._bound:
                self._kept[key] = arrays
                while self.kept_bytes > self._bound:
                    self._kept.popitem(last=False)
            return arrays

    def has_room(self, nbytes: int) -> bool:
        """Whether a job of this size fits; what is kept makes way for it, the least recently used first."""
        wanted = nbytes + int(_SPARE_SHARE * self._meter.total_bytes())
        with self._lock:
            while self._meter.free_bytes() < wanted and self._kept:
                self._kept.popitem(last=False)
            return self._meter.free_bytes() >= wanted

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept.clear()


def digest(*arrays: NDArray[Any]) -> str:
    """A name of what C-contiguous arrays on the host hold: the same for the same content."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _nbytes(arrays: tuple[Any, ...]) -> int:
    return sum(int(a.nbytes) for a in arrays)
