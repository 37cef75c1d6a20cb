"""The walks through a value and through its tree, for values that msgspec does not write.

`ValueWriter` makes the tree of a value, `TreeReader` makes a value of a tree, and `TreeChecker` only finds out whether
that can be done. They are recursive, with at most three frames for each level of the value: MAX_DEPTH levels fit
on the stack. `standard.py` and `classes.py` have the functions for the types that JSON does not have.

Here is also the limit on keys with the same hash. Python compares a key with every other key of the same hash. Anybody
can choose ints, Decimals, UUIDs and tuples that have the same hash, and a megabyte of them would keep a reader busy for
minutes. So such a text is not read. To keep the promise that every stored value can be read again, such a value is not
stored either.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, TypeAlias

from zrb_store.codec.display import Undecodable, describe_error, key_segment, type_name
from zrb_store.codec.json_text import HUGE_INT_BITS, MAX_DEPTH, dumps, write_text
from zrb_store.errors import UnencodableValue, ZrbStoreError
from zrb_store.records import JsonValue

_PATH_SIZE = 240  # characters

TaggedObject: TypeAlias = dict[str, JsonValue]

WriteFunction: TypeAlias = Callable[[Any, "ValueWriter"], JsonValue]
"""A function that returns the tree of a value of one type."""

ReadFunction: TypeAlias = Callable[[TaggedObject, "TreeReader"], Any]
"""A function that returns the value of a tagged object with one tag. It may raise anything."""

Readers: TypeAlias = dict[str, tuple[ReadFunction, frozenset[str]]]
"""For each tag, the function that reads a tagged object, and the keys that the object may have."""


NO_CODEC = (
    "no codec takes it; register one with register_codec, or push a value made of None, bool, numbers, text, bytes, "
    "lists, tuples, sets, dicts, dates and paths"
)


class Unencodable(Exception):
    """A part of a value, of the type `what`, cannot be stored; `error` is what the caller of `encode` gets."""

    def __init__(self, what: str, why: str = NO_CODEC, error: type[ZrbStoreError] = UnencodableValue) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why
        self.error = error
        self.segments: list[str] = []  # the innermost first; each level adds its own while the exception passes it

    def path(self) -> str:
        """Return the path to the part, such as `$.rows[3]`, without the middle of a very long one."""
        path = "$" + "".join(reversed(self.segments))
        half = _PATH_SIZE // 2
        return path if len(path) <= _PATH_SIZE else f"{path[:half]}...{path[-half:]}"


class TooManyItems(Exception):
    """A value has more items than fit into the size limit."""


# -- keys with the same hash

# Bytes that may be compared to read one value, in addition to the shares of its dicts and sets: about 100 ms.
ALLOWED_EXCESS = 64 * 1024 * 1024

# Number of keys up to which a dict or a set cannot exceed its share: 64 bytes that may be compared for each byte of its
# keys. Reading them takes several times as long.
FEW = 128
TOO_MANY = "too many of its keys have the same hash"


class _Walk:
    """What one walk may still spend on comparing keys."""

    _excess_left = ALLOWED_EXCESS

    def has_too_many_collisions(self, keys: Collection[Hashable], trees: Iterable[JsonValue]) -> bool:
        """Whether the keys of a dict, or the elements of a set, which have these trees, take too long to compare."""
        if len(keys) <= FEW:
            return False
        suspects = keys
        if str in set(map(type, keys)):  # nobody can choose the hash of a text, since Python randomises it
            suspects = [key for key in keys if type(key) is not str]
        if len(suspects) - len(set(map(hash, suspects))) < FEW:
            return False
        counts = Counter(map(hash, suspects))
        excess = 0
        for key, tree in zip(keys, trees, strict=True):
            others = max(0, counts[hash(key)] - 1)
            # Halved, because this loop meets each pair of keys twice, and Python compares it once.
            excess += (others - FEW) * len(dumps(tree)) // 2
        self._excess_left -= max(0, excess)
        return self._excess_left < 0


LEAF_WRITERS: dict[type, Callable[[Any], JsonValue]] = {
    str: write_text,
    int: lambda value: value if value.bit_length() < HUGE_INT_BITS else {"$": "int", "v": hex(value)},
    float: lambda value: value if math.isfinite(value) else {"$": "float", "v": repr(value)},
    bool: lambda value: value,
    type(None): lambda value: value,
}


# -- the walks


class ValueWriter(_Walk):
    """The walk that converts one value, of at most so many items, to a tree."""

    def __init__(self, max_items: int, writer_of: Callable[[type], WriteFunction | None]) -> None:
        self._items_left = max_items
        self._writer_of = writer_of
        self._open: set[int] = set()

    def walk(self, value: Any) -> JsonValue:
        """Return the tree of a value."""
        kind = type(value)
        if kind in LEAF_WRITERS:
            return LEAF_WRITERS[kind](value)
        if id(value) in self._open:
            raise Unencodable(type_name(kind), "it contains itself")
        if len(self._open) == MAX_DEPTH:
            raise Unencodable(type_name(kind), f"it is nested more than {MAX_DEPTH} deep")
        self._open.add(id(value))
        try:
            write = self._writer_of(kind)
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
                write = LEAF_WRITERS.get(type(item))
                trees.append(write(item) if write else self.walk(item))
        except Unencodable as unencodable:
            unencodable.segments.append(segment.format(len(trees)))
            raise
        return trees

    def pairs(self, mapping: Mapping[Hashable, Any]) -> list[JsonValue]:
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
        self.refuse_collisions(mapping, keys)
        return trees

    def named(self, mapping: Mapping[str, Any]) -> TaggedObject:
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

    def refuse_collisions(self, keys: Collection[Hashable], trees: Iterable[JsonValue]) -> None:
        """Raise if too many keys of a dict, or elements of a set, have the same hash."""
        if self.has_too_many_collisions(keys, trees):
            raise Unencodable(type_name(type(keys)), TOO_MANY)

    def _count_item(self) -> None:
        # The tree of a value whose parts occur several times in it may be exponentially larger than the value.
        self._items_left -= 1
        if self._items_left < 0:
            raise TooManyItems


class TreeReader(_Walk):
    """The walk that converts one tree to a value, without changing the tree."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._keys_open = 0

    def walk(self, tree: JsonValue) -> Any:
        """Return the value of a tree, with an `Undecodable` in place of a part that cannot be read."""
        if type(tree) is list:
            items = []  # no comprehension, which would be another frame
            for item in tree:
                items.append(item if type(item) in LEAF_WRITERS else self.walk(item))
            return items
        if type(tree) is not dict:
            return tree
        if "$" not in tree:
            return self.named(tree)
        tag = tree["$"]
        if type(tag) is not str or tag not in self._readers:
            return self._undecodable(tree, "no such type")
        read, keys = self._readers[tag]
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
        values = {}
        for name, item in tree.items():
            values[name] = item if type(item) in LEAF_WRITERS else self.walk(item)
        return values

    def key(self, tree: JsonValue) -> Any:
        """Return the value of a tree that represents a key of a dict, or elements of a set."""
        self._keys_open += 1
        try:
            return self.walk(tree)
        finally:
            self._keys_open -= 1

    def refuse_collisions(self, keys: Collection[Hashable], trees: Iterable[JsonValue]) -> None:
        """Raise if too many keys of a dict, or elements of a set, have the same hash."""
        if self.has_too_many_collisions(keys, trees):
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
    """The walk through a tree that only finds out whether it can be read."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        self.problem: str | None = None  # what is wrong with the first part that cannot be read

    def walk(self, tree: JsonValue) -> Any:
        """Return the value of a tree; any object in place of one that needs a registered class or a time zone."""
        if type(tree) is not dict or "$" not in tree:
            return super().walk(tree)
        tag, is_of_class = tree["$"], type(tree.get("type")) is str
        if tag == "ZoneInfo" or (tag in ("object", "enum") and is_of_class):
            if tree.keys() <= self._readers[tag][1]:
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
                if type(tag) is str and tag in self._readers
                else f"has the unknown type {str(tag)[:40]!r}: a newer zrb-store may know it"
            )
        return super()._undecodable(tree, reason)
