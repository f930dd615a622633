"""How many threads the CPU kernels use, and what compiling them costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from dosecalc_kernels.cpu.collapsed_cone import ConeTransport
from dosecalc_kernels.cpu.contamination import add_contamination
from dosecalc_kernels.cpu.electron_transport import ElectronTransport
from dosecalc_kernels.cpu.fluence import add_transmission, integral_image
from dosecalc_kernels.cpu.pencil_beam import add_pencil_dose, trace_fan
from dosecalc_kernels.cpu.source_share import add_source_share
from dosecalc_kernels.cpu.terma import add_terma


@contextmanager
def limit(threads: int) -> Iterator[None]:
    """Run a block with at most this many threads; 0 for as many as were allowed before.

    NumPy's matrix products run on one thread meanwhile: they are small here, and the threads of a BLAS go on spinning
    after each of them and take the processors from the kernels (an arc took twice the time on two cores).
    """
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(threads, before)) if threads else before)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        numba.set_num_threads(before)


def shared() -> bool:
    """Whether several threads may run kernels at the same time; asked after `warm_up`.

    Numba's own thread pool, which it takes where it finds neither OpenMP nor TBB, ends the process if they do.
    """
    return str(numba.threading_layer()) != "workqueue"  # type: ignore[attr-defined]


_warm = False


def warm_up() -> float:
    """Compile (or load from the cache) the kernels of the dose engine; seconds it took, 0 when they were ready."""
    global _warm
    if _warm:
        return 0.0
    start = time.perf_counter()
    one = np.ones((2, 2, 2), np.float32)
    projection = np.array([[0.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    for lanes in (True, False):
        transport = ConeTransport(one, (1.0, 1.0, 1.0), lanes=lanes)
        transport.load(one, one)
        list(transport.sweep(np.array([[0.0, 0.0, 1.0]]), np.ones((1, 4)), np.zeros((1, 4, 10)), projection, 1.0))
    electrons = ElectronTransport(one, np.zeros((2, 2, 2), np.uint8), (1.0, 1.0, 1.0))
    list(electrons.run(
        one, np.array([[0.0, 0.0, 1.0]]), np.ones(2), np.ones(2), np.zeros((2, 1, 10)), np.ones((2, 1)),
        np.ones((1, 1, 1, 1)), 0.5, projection, 1.0,
    ))  # fmt: skip
    spectrum, release = np.ones(2, np.float32), np.ones((1, 2), np.float32)
    add_terma(
        one.copy(), one.copy(), one, one, np.zeros((2, 2, 2), np.int16), np.zeros(3), np.ones(3),
        np.array([0.0, 0.0, 9.0]), np.eye(3), 9.0, np.ones((3, 3)), np.zeros(2), 1.0, 0.0,
        spectrum, spectrum, release, release, np.zeros(3),
    )  # fmt: skip
    add_contamination(
        one.copy(), one, np.zeros((2, 2, 2), np.int16), np.zeros(3), np.ones(3), np.array([0.0, 0.0, 9.0]), np.eye(3),
        9.0, np.ones((2, 2)), np.zeros(2), 1.0, 1.0, 1.0, 8.0,
    )  # fmt: skip
    square, jaws, leaves = np.zeros((2, 2)), np.zeros((1, 2, 2)), np.zeros((1, 2, 1, 1, 2))
    add_transmission(
        square.copy(), np.arange(3.0), np.arange(3), np.zeros(2), jaws, jaws, np.zeros(4),
        np.zeros((1, 2, 2), np.int64), np.zeros((1, 2, 2)), leaves, np.zeros((1, 1)), np.ones((1, 1)), np.ones(1),
    )  # fmt: skip
    integral_image(np.zeros((3, 3)), square)
    add_source_share(
        square.copy(), np.zeros(2), jaws, np.zeros(2), np.zeros((1, 2), np.int64), np.zeros((1, 2)), leaves, square,
        np.ones(1),
    )  # fmt: skip
    fan, tables = np.zeros((2, 2, 2, 4), np.float32), np.zeros((2, 2, 8), np.float32)
    view = (np.zeros(3), np.ones(3), np.array([0.0, 0.0, 9.0]), np.eye(3), 9.0)
    trace_fan(fan, one, *view, np.zeros(2), 1.0, 8.0, 1.0, 0.01, True, np.ones(2), 20.0, np.zeros(3), np.zeros(9), 1.0)
    add_pencil_dose(
        one.copy(), np.zeros((2, 2, 2), np.int16), *view, fan, np.zeros(2), 1.0, 8.0, 1.0, tables, np.zeros(2), 1.0,
        tables[..., :4].copy(), np.zeros(2), 1.0, tables, tables, 1.0, 0.0, 1.0, np.ones((1, 2), np.float32),
    )  # fmt: skip
    _warm = True
    return time.perf_counter() - start
