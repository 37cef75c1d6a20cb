"""Lists that are read from the store while they are iterated over, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_ROWS = 1000
"""The most attempts, or values, that are read at once and kept in memory; longer lists are lazy."""
MAX_BYTES = 4 * 1024 * 1024
"""The most bytes that values kept in memory may have together."""


class Lazy(Generic[T]):
    """A list that is read from the store each time it is iterated over, while its snapshot is open."""

    def __init__(self, items: Callable[[], Iterator[T]], count: int) -> None:
        """Create a list.

        Args:
            items: Reads the items.
            count: How many there are.
        """
        self._items = items
        self._count = count

    def __iter__(self) -> Iterator[T]:
        return self._items()

    def __len__(self) -> int:
        return self._count
