"""The types of data that JSON can hold, and lists in it that are read while they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

MAX_ROWS = 1000
"""The most attempts, or values, that are read at once and kept in memory; longer lists are lazy."""
MAX_BYTES = 4 * 1024 * 1024
"""The most bytes that values kept in memory may have together."""

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A stored value as `codec.to_json` returns it: what JSON text becomes."""

JsonTree: TypeAlias = bool | int | float | str | Mapping[str, "JsonTree"] | Iterable["JsonTree"] | None
"""What can be written as JSON. A list in it may be an iterator or lazy, so that it is never in memory as a whole."""

JsonObject: TypeAlias = dict[str, JsonTree]
"""What a `to_json` returns."""


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


Rows: TypeAlias = list[T] | Lazy[T]
"""A list that is in memory, or one that is lazy because it is long."""


def each_as_json(rows: Rows[T], to_json: Callable[[T], JsonTree]) -> list[JsonTree] | Lazy[JsonTree]:
    """Return the JSON of each row, as lazily as the rows."""
    if isinstance(rows, Lazy):
        return Lazy(lambda: map(to_json, rows), len(rows))
    return [to_json(row) for row in rows]


class _HasJson(Protocol):
    def to_json(self) -> JsonTree: ...


def json_or_null(thing: _HasJson | None) -> JsonTree:
    """Return the JSON of a thing; None for None."""
    return None if thing is None else thing.to_json()


def whole(tree: JsonTree) -> JsonTree:
    """Read the lists of a tree that are read when they are iterated over."""
    if isinstance(tree, Mapping):
        return {key: whole(item) for key, item in tree.items()}
    if tree is None or isinstance(tree, (str, int, float, bool)):
        return tree
    return [whole(item) for item in tree]
