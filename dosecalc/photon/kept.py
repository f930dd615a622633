"""What takes long to make and is asked for again: a few of it are kept by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The last few things made, by a key of what they were made of.

    Unlike `functools.lru_cache` it takes the maker apart from the key, so that the maker may look at a caller who wants
    to be asked meanwhile; where the caller gives up, nothing is kept.

    Parameters
    ----------
    most : int
        So many are kept; the oldest goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[Hashable, T] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept under a key, else what ``make`` makes; threads that ask at the same time may make it twice."""
        found = self._made.get(key)
        if found is None:
            found = make()
            while len(self._made) >= self._most:
                self._made.pop(next(iter(self._made)), None)
            self._made[key] = found
        return found
