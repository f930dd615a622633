"""Mean transmission of moving jaws and leaves on CUDA. Contract: `dosecalc_kernels.contract`, "add_transmission"."""

from __future__ import annotations

from typing import Any

import numpy as np

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_ORDINARY_TIPS = 8


def add_transmission(
    launcher: Launcher,
    out: Any,
    along_mm: Any,
    across_mm: Any,
    jaw_along: Any,
    jaw_across: Any,
    jaw_transmission: Any,
    pair_of_row: Any,
    closed: Any,
    leaf_start: Any,
    leaf_end: Any,
    tip_mm: Any,
    tip_share: Any,
    weight: float,
) -> None:
    """Twin of `dosecalc_kernels.cpu.fluence.add_transmission`; arrays on the host or on the device."""
    layers, tips = tip_mm.shape
    # local arrays have a size known to the compiler: more tips than usual are a compilation of their own
    source = Source("fluence", () if tips <= _ORDINARY_TIPS else (("MAX_TIPS", str(tips)),))

    def put(array: Any) -> Any:
        return launcher.put(array, np.float64)

    with launcher.inout(out) as (there,):
        launcher.over(
            source, "add_transmission", len(along_mm) * len(across_mm),
            [there, put(along_mm), put(across_mm), len(along_mm), len(across_mm), put(jaw_along), put(jaw_across),
             put(jaw_transmission), launcher.put(pair_of_row, np.int64), put(closed), put(leaf_start), put(leaf_end),
             leaf_start.shape[1], put(tip_mm), put(tip_share), layers, tips, weight],
            block=128,
        )  # fmt: skip
