"""Preparing things on the host before a device asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from dosecalc_kernels.cpu import threads

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(items: Sequence[Item], make: Callable[[Item], Made], workers: int) -> Iterator[Made]:
    """What is made of each item, in order.

    Parameters
    ----------
    items : sequence
    make : callable
    workers : int
        With several, as many threads make what comes next while the caller uses what came before; each runs kernels on
        one thread of its own. With one, each is made when it is asked for, and kernels take all threads.
    """
    if workers < 2:
        yield from map(make, items)
        return

    def alone(item: Item) -> Made:
        with threads.limit(1):
            return make(item)

    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(alone, item))
                if len(waiting) > 2 * workers:  # no further ahead: maps take memory
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the caller stopped, or one of them could not be made
            for future in waiting:
                future.cancel()
