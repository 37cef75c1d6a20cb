"""The walk through a value that makes its tree, and the walk through a tree that makes its value.

Both walks are recursive, with at most three frames for each level of the value, so that MAX_DEPTH levels fit on the
stack.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from zrb_store.codec import classes, standard
from zrb_store.codec.collisions import ALLOWED_EXCESS, FEW, TOO_MANY, excess_work
from zrb_store.codec.display import describe_error, key_segment, type_name
from zrb_store.codec.json_text import MAX_DEPTH
from zrb_store.codec.plain import TooManyItems
from zrb_store.codec.stand_ins import Undecodable
from zrb_store.codec.tree import TaggedObject
from zrb_store.codec.unencodable import Unencodable
from zrb_store.json_tree import JsonValue

READERS = standard.READERS | classes.READERS
"""For each tag, the function that reads a tagged object, and the keys that the object may have."""


class ValueWriter:
    """The walk that converts one value to a tree."""

    def __init__(self, max_items: int) -> None:
        self._items_left = max_items
        self._excess_left = ALLOWED_EXCESS
        self._open: set[int] = set()

    def walk(self, value: Any) -> JsonValue:
        """Return the tree of a value."""
        kind = type(value)
        if kind in standard.LEAF_WRITERS:
            return standard.LEAF_WRITERS[kind](value)
        if id(value) in self._open:
            raise Unencodable(type_name(kind), "it contains itself")
        if len(self._open) == MAX_DEPTH:
            raise Unencodable(type_name(kind), f"it is nested more than {MAX_DEPTH} deep")
        self._open.add(id(value))
        try:
            write = standard.WRITERS.get(kind) or classes.writer_of(kind)
            if write is None:
                raise Unencodable(type_name(kind))
            return write(value, self)
        except (Unencodable, TooManyItems, RecursionError):
            raise
        except Exception as error:  # raised by the value's class, or by its codec
            raise Unencodable(type_name(kind), f"reading it raised {describe_error(error)}") from error
        finally:
            self._open.discard(id(value))

    def items(self, values: Iterable[Any], segment: str = "[{}]") -> list[JsonValue]:
        """Return the trees of a container's items."""
        trees: list[JsonValue] = []
        try:
            for item in values:
                self._count_item()
                write = standard.LEAF_WRITERS.get(type(item))
                trees.append(write(item) if write else self.walk(item))
        except Unencodable as unencodable:
            unencodable.segments.append(segment.format(len(trees)))
            raise
        return trees

    def pairs(self, mapping: Mapping[Any, Any]) -> list[JsonValue]:
        """Return the items of a mapping as pairs of trees; its keys may be of any type."""
        trees: list[JsonValue] = []
        keys: list[JsonValue] = []
        for key, item in mapping.items():
            self._count_item()
            segment = f".keys()[{len(trees)}]"
            try:
                key_tree = self.walk(key)
                segment = key_segment(key)
                keys.append(key_tree)
                trees.append([key_tree, self.walk(item)])
            except Unencodable as unencodable:
                unencodable.segments.append(segment)
                raise
        if len(mapping) > FEW:
            self.refuse_collisions(mapping, keys)
        return trees

    def named(self, mapping: Mapping[str, Any]) -> dict[str, JsonValue]:
        """Return the trees of the values of a mapping, by its keys, which must be valid keys in JSON."""
        trees: dict[str, JsonValue] = {}
        for name, item in mapping.items():
            self._count_item()
            try:
                trees[name] = self.walk(item)
            except Unencodable as unencodable:
                unencodable.segments.append(key_segment(name))
                raise
        return trees

    def refuse_collisions(self, value: Collection[Any], trees: Iterable[JsonValue]) -> None:
        """Raise if too many keys of a dict, or elements of a set, have the same hash."""
        self._excess_left -= excess_work(value, trees)
        if self._excess_left < 0:
            raise Unencodable(type_name(type(value)), TOO_MANY)

    def _count_item(self) -> None:
        # The tree of a value whose parts occur several times in it may be exponentially larger than the value.
        self._items_left -= 1
        if self._items_left < 0:
            raise TooManyItems


class TreeReader:
    """The walk that converts one tree to a value, without changing the tree."""

    def __init__(self) -> None:
        self._keys_open = 0
        self._excess_left = ALLOWED_EXCESS

    def walk(self, tree: JsonValue) -> Any:
        """Return the value of a tree, with an `Undecodable` in place of a part that cannot be read."""
        if type(tree) is list:
            items: list[Any] = []
            for item in tree:
                items.append(item if type(item) in standard.LEAF_WRITERS else self.walk(item))
            return items
        if type(tree) is not dict:
            return tree
        if "$" not in tree:
            return self.named(tree)
        tag = tree["$"]
        if type(tag) is not str or tag not in READERS:
            return self._undecodable(tree, "no such type")
        read, keys = READERS[tag]
        try:
            if not tree.keys() <= keys:
                raise ValueError("not of the form this version writes")
            return read(tree, self)
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - a registered codec may raise anything
            return self._undecodable(tree, describe_error(error))

    def named(self, tree: TaggedObject) -> dict[str, Any]:
        """Return the values of an object without a tag."""
        values: dict[str, Any] = {}
        for name, item in tree.items():
            values[name] = item if type(item) in standard.LEAF_WRITERS else self.walk(item)
        return values

    def key(self, tree: JsonValue) -> Any:
        """Return the value of a tree that represents a key of a dict, or an element of a set."""
        self._keys_open += 1
        try:
            return self.walk(tree)
        finally:
            self._keys_open -= 1

    def refuse_collisions(self, keys: Collection[Any], trees: Iterable[JsonValue]) -> None:
        """Raise if too many keys of a dict, or elements of a set, have the same hash."""
        self._excess_left -= excess_work(keys, trees)
        if self._excess_left < 0:
            raise ValueError(TOO_MANY)

    def plain(self, value: Any) -> Any:
        """Return plain data in place of an object of an unregistered class; hashable data inside a key or a set."""
        if not self._keys_open:
            return value
        if type(value) is dict:
            return tuple(value.items())
        return tuple(value) if type(value) is list else value

    def _undecodable(self, tree: TaggedObject, reason: str) -> Undecodable:
        names = (tree.get("type"), tree["$"])
        return Undecodable(json.dumps(tree), next((name for name in names if type(name) is str), None), reason)


class TreeChecker(TreeReader):
    """The walk through a tree that only finds out whether it can be read.

    Attributes:
        problem: What is wrong with the first part that cannot be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.problem: str | None = None

    def walk(self, tree: JsonValue) -> Any:
        """Return the value of a tree; any object in place of one that needs a registered class or a time zone."""
        if type(tree) is not dict or "$" not in tree:
            return super().walk(tree)
        tag, is_of_class = tree["$"], type(tree.get("type")) is str
        if tag == "ZoneInfo" or (tag in ("object", "enum") and is_of_class):
            if tree.keys() <= READERS[tag][1]:
                self.walk(tree.get("v"))
                return object()
        elif tag == "dataclass" and is_of_class:
            tree = {**tree, "type": ""}  # as of a class that is not registered
        elif tag in ("datetime", "time") and "tz" in tree:
            self.walk(tree["tz"])
            tree = {name: part for name, part in tree.items() if name != "tz"}
        return super().walk(tree)

    def _undecodable(self, tree: TaggedObject, reason: str) -> Undecodable:
        if self.problem is None:
            tag = tree["$"]
            self.problem = (
                f"has a part of type {tag!r} that is not of its form"
                if type(tag) is str and tag in READERS
                else f"has the unknown type {str(tag)[:40]!r}: a newer zrb-store may know it"
            )
        return super()._undecodable(tree, reason)
