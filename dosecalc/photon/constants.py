"""Arrays of the host that kernels take again and again, kept on their device."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from dosecalc_kernels.registry import Backend

#: arrays that are kept at most, a few of each size that the maps of a beam come in
_MOST = 256


class Constants:
    """Copies on a device of arrays that nobody changes.

    Parameters
    ----------
    device : Backend
        One whose arrays are the host's gets the arrays themselves.
    """

    def __init__(self, device: Backend) -> None:
        self.device = device
        self._kept: OrderedDict[int, tuple[NDArray[Any], Any]] = OrderedDict()

    def kept(self, array: NDArray[Any]) -> Any:
        """The copy of an array; the least recently used copies make way."""
        if self.device.launcher is None:
            return array
        # the array itself is held, too, so that its id stays its own
        found = self._kept.pop(id(array), None) or (array, self.device.put(array))
        self._kept[id(array)] = found
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return found[1]
