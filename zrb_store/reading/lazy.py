"""Lists that are read from the store as they are gone through, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """A list that is read anew each time it is gone through. It lasts as long as the snapshot that it reads."""

    def __init__(self, items: Callable[[], Iterator[T]], count: int) -> None:
        self._items = items
        self._count = count

    def __iter__(self) -> Iterator[T]:
        return self._items()

    def __len__(self) -> int:
        return self._count


def settled(tree: Any) -> Any:
    """Plain data with ordinary lists in place of lazy ones and of iterators."""
    if type(tree) is dict:
        return {key: settled(item) for key, item in tree.items()}
    if isinstance(tree, (list, Lazy, Iterator)):
        return [settled(item) for item in tree]
    return tree
