"""Sharing independent pieces of work between devices that compute side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Worker = TypeVar("Worker")
Result = TypeVar("Result")


def spread(workers: Sequence[Worker], n: int, work: Callable[[Worker, int], Result]) -> list[Result]:
    """Do n pieces of work, each worker the next one that is left; results in the order of the pieces.

    Parameters
    ----------
    workers : sequence
        Each works in one thread, a single one in the caller's.
    n : int
    work : callable
        ``work(worker, i)``. After one has raised, no further pieces are begun, and what it raised is raised here.
    """
    if len(workers) == 1:
        return [work(workers[0], i) for i in range(n)]
    results: dict[int, Result] = {}
    left = iter(range(n))
    lock = threading.Lock()
    failed = threading.Event()

    def keep_working(worker: Worker) -> None:
        while not failed.is_set():
            with lock:
                i = next(left, None)
            if i is None:
                return
            try:
                results[i] = work(worker, i)
            except BaseException:
                failed.set()
                raise

    with ThreadPoolExecutor(len(workers)) as pool:
        running = [pool.submit(keep_working, w) for w in workers]
    for r in running:
        r.result()
    return [results[i] for i in range(n)]
