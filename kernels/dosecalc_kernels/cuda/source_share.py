"""Share of the extra-focal source behind jaws and leaves on CUDA. Contract: `dosecalc_kernels.contract`."""

from __future__ import annotations

from typing import Any

import numpy as np

from dosecalc_kernels.cuda.launch import Launcher
from dosecalc_kernels.cuda.source import Source

_SOURCE = Source("source_share")


def add_source_share(
    launcher: Launcher,
    out: Any,
    points: Any,
    jaw: Any,
    jaw_transmission: Any,
    pair_of_strip: Any,
    transmission: Any,
    tips: Any,
    image: Any,
    weight: Any,
) -> None:
    """Twin of `dosecalc_kernels.cpu.source_share.add_source_share`; arrays on the host or on the device."""

    def put(array: Any) -> Any:
        return launcher.put(array, np.float64)

    strips, n_points = out.shape
    with launcher.inout(out) as (there,):
        launcher.over(
            _SOURCE, "add_source_share", strips * n_points,
            [there, put(points), n_points, strips, put(jaw), put(jaw_transmission),
             launcher.put(pair_of_strip, np.int64), put(transmission), put(tips), len(pair_of_strip), tips.shape[3],
             put(image), put(weight), len(weight)],
            block=64,
        )  # fmt: skip
