"""The types of the functions that convert values to trees, and trees to values.

A tree consists of the types that `json` reads and writes: None, bool, int, float, str, list and dict. A dict with the
key `"$"` is a tagged object, which represents a value that JSON cannot express.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from zrb_store.json_tree import JsonValue

TaggedObject = dict[str, JsonValue]


class Writer(Protocol):
    """The interface of `walk.ValueWriter`, which converts a value to a tree."""

    def walk(self, value: Any) -> JsonValue:
        """Return the tree of a value."""
        ...

    def items(self, values: Iterable[Any], segment: str = "[{}]") -> list[JsonValue]:
        """Return the trees of a container's items."""
        ...

    def pairs(self, mapping: Mapping[Any, Any]) -> list[JsonValue]:
        """Return the items of a mapping as pairs of trees; its keys may be of any type."""
        ...

    def named(self, mapping: Mapping[str, Any]) -> dict[str, JsonValue]:
        """Return the trees of the values of a mapping, by its keys, which must be valid keys in JSON."""
        ...

    def refuse_collisions(self, value: Collection[Any], trees: Iterable[JsonValue]) -> None:
        """Raise if too many keys of a dict, or elements of a set, have the same hash."""
        ...


class Reader(Protocol):
    """The interface of `walk.TreeReader`, which converts a tree to a value."""

    def walk(self, tree: JsonValue) -> Any:
        """Return the value of a tree."""
        ...

    def named(self, tree: TaggedObject) -> dict[str, Any]:
        """Return the values of an object without a tag."""
        ...

    def key(self, tree: JsonValue) -> Any:
        """Return the value of a tree that represents a key of a dict, or an element of a set."""
        ...

    def refuse_collisions(self, keys: Collection[Any], trees: Iterable[JsonValue]) -> None:
        """Raise if too many keys of a dict, or elements of a set, have the same hash."""
        ...

    def plain(self, value: Any) -> Any:
        """Return plain data in place of an object of an unregistered class."""
        ...


WriteFunction = Callable[[Any, Writer], JsonValue]
"""A function that returns the tree of a value of one type."""

ReadFunction = Callable[[TaggedObject, Reader], Any]
"""A function that returns the value of a tagged object with one tag. It may raise anything."""
