"""Fluence maps on CUDA. Contract: `dosecalc_kernels.contract`, "add_transmission", "integral_image"."""

from __future__ import annotations

from typing import Any

import numpy as np

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_ORDINARY_TIPS = 8
_SOURCE = Source("fluence")


def add_transmission(
    launcher: Launcher,
    out: Any,
    edges_mm: Any,
    first_piece: Any,
    across_mm: Any,
    jaw_along: Any,
    jaw_across: Any,
    jaw_transmission: Any,
    pair_of_row: Any,
    closed: Any,
    leaves: Any,
    tip_mm: Any,
    tip_share: Any,
    weight: Any,
) -> None:
    """Twin of `dosecalc_kernels.cpu.fluence.add_transmission`; arrays on the host or on the device."""
    layers, tips = tip_mm.shape
    rows, pixels = out.shape
    # local arrays have a size known to the compiler: more tips than usual are a compilation of their own
    source = _SOURCE if tips <= _ORDINARY_TIPS else Source("fluence", (("MAX_TIPS", str(tips)),))

    def put(array: Any) -> Any:
        return launcher.put(array, np.float64)

    with launcher.inout(out) as (there,):
        launcher.over(
            source, "add_transmission", pixels * rows,
            [there, put(edges_mm), launcher.put(first_piece, np.int64), put(across_mm), pixels, rows, put(jaw_along),
             put(jaw_across), put(jaw_transmission), launcher.put(pair_of_row, np.int64), put(closed), put(leaves),
             leaves.shape[3], put(tip_mm), put(tip_share), layers, tips, put(weight), len(weight)],
            block=64,
        )  # fmt: skip


def integral_image(launcher: Launcher, out: Any, values: Any) -> None:
    """Twin of `dosecalc_kernels.cpu.fluence.integral_image`; arrays on the host or on the device."""
    rows, columns = values.shape
    with launcher.inout(out) as (there,):
        launcher.over(
            _SOURCE, "integrate_rows", rows + 1, [there, launcher.put(values, np.float64), rows, columns], block=32
        )
        launcher.over(_SOURCE, "integrate_columns", columns + 1, [there, rows, columns], block=32)
