"""Encode a value as text, decode the text, and check whether it is damaged.

A value that `plain.py` does not encode is walked through: `ValueWriter` makes its tree, `TreeReader` makes a value of a
tree, and `TreeChecker` only finds out whether that can be done. These walks are recursive, with at most three frames
for each level of the value, so that MAX_DEPTH levels fit on the stack.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from zrb_store.codec import classes, standard
from zrb_store.codec.display import (
    NO_CODEC,
    Opaque,
    TaggedObject,
    Undecodable,
    Unencodable,
    bounded_repr,
    describe_error,
    key_segment,
    qualified_name,
    type_name,
)
from zrb_store.codec.json_text import MAX_DEPTH, dumps, loads, loads_finite, size_of
from zrb_store.codec.plain import ALLOWED_EXCESS, FEW, TOO_MANY, TooManyItems, encode_plain, excess_work
from zrb_store.errors import ValueTooLarge
from zrb_store.records import JsonValue
from zrb_store.settings import DEFAULT_MAX_VALUE


class Encoded(NamedTuple):
    """An encoded value.

    Attributes:
        data: The JSON text.
        type: The name of the value's class, for display.
        size: The size of the text in bytes.
        restorable: Whether `decode(data)` returns an equal value.
        problem: If it is not restorable, the part that could not be stored, such as `$.rows[3].conn: socket`.
    """

    data: str
    type: str
    size: int
    restorable: bool = True
    problem: str | None = None


def encode(value: Any, *, lenient: bool = False, limit: int | None = None, path: str = "$") -> Encoded:
    """Encode a value as JSON text, which `decode` turns back into an equal value of equal type.

    Args:
        value: The value. No other thread may change a container in it while this function runs.
        lenient: Store the type and repr (`Opaque`) of a value that cannot be encoded, instead of raising.
        limit: How many bytes the text may have, 16 MiB by default.
        path: The name of the value itself in messages.

    Raises:
        UnencodableValue: No codec can store a part of the value, or the value contains itself or is nested too deep.
        ValueTooLarge: The text would be longer than `limit`.
    """
    limit = DEFAULT_MAX_VALUE if limit is None else limit
    try:
        found = encode_plain(value, limit // 2)  # each item takes at least two bytes
        if found is None:
            return _encode_tagged(value, limit, lenient)
        return _fitting(Encoded(found[0], type(value).__name__, found[1]), value, limit)
    except TooManyItems:
        return _refuse(_too_large(value, None, limit), value, lenient, path)
    except Unencodable as unencodable:
        return _refuse(unencodable, value, lenient, path)


def decode(data: str) -> Any:
    """Decode a text that `encode` returned. Never raises, and runs no code except the `decode` of registered codecs.

    Returns:
        The value; an `Opaque` for a value that could not be stored; an `Undecodable` for a damaged text. A part that is
        damaged, or whose type is not registered in this process, is an `Undecodable` inside the value.
    """
    try:
        tree = loads(data)
        if "$" not in data or '"$"' not in data:  # the first of these is found fast
            return tree
        return TreeReader().walk(tree)
    except Exception as error:  # noqa: BLE001 - damaged data may cause any error, and must not stop a reader
        return Undecodable(data if isinstance(data, str) else repr(data), reason=describe_error(error))


def from_json(tree: JsonValue) -> Any:
    """Decode a tree that `to_json` returned, or a part of one, as `decode` does."""
    try:
        return TreeReader().walk(tree)
    except Exception as error:  # noqa: BLE001 - as in decode
        return Undecodable(bounded_repr(tree), reason=describe_error(error))


def to_json(data: str) -> JsonValue:
    """Parse a stored text into its tree, in which values of other types than JSON's are tagged objects. Never raises.

    Returns:
        A tree that `json.dumps` can write, without NaN; `{"$": "undecodable", "raw": text}` for a damaged text.
    """
    try:
        return loads_finite(data)
    except Exception:  # noqa: BLE001 - as in decode
        return {"$": "undecodable", "raw": data if isinstance(data, str) else repr(data)}


def _fitting(encoded: Encoded, value: Any, limit: int) -> Encoded:
    if encoded.size > limit:
        raise _too_large(value, encoded.size, limit)
    return encoded


def _encode_tagged(value: Any, limit: int, lenient: bool) -> Encoded:
    kind = type(value)
    if lenient and kind in (Opaque, Undecodable):
        return _encode_stand_in(value)
    try:
        data = dumps(ValueWriter(limit // 2).walk(value))
    except RecursionError:
        raise Unencodable(type_name(kind), "it is nested too deep") from None
    return _fitting(Encoded(data, type_name(kind), size_of(data)), value, limit)


def _too_large(value: Any, size: int | None, limit: int) -> Unencodable:
    shown = f"more than {limit}" if size is None else size
    return Unencodable(
        f"{type_name(type(value))} of {shown} bytes",
        f"the limit is {limit}; raise ZRB_STORE_MAX_VALUE, or keep the data elsewhere and push where it is",
        ValueTooLarge,
    )


def _refuse(unencodable: Unencodable, value: Any, lenient: bool, path: str) -> Encoded:
    """Raise the error that a caller gets; if `lenient`, return the text of an `Opaque` instead."""
    place = unencodable.path(path)
    if not lenient:
        raise unencodable.error(
            f"cannot store {place}: {unencodable.what} ({unencodable.why})"
        ) from unencodable.__cause__
    why = "" if unencodable.why is NO_CODEC else f" ({unencodable.why})"
    stand_in = Opaque(qualified_name(type(value)), bounded_repr(value), place, unencodable.what)
    return _encode_opaque(stand_in, f"{place}: {unencodable.what}{why}")


def _encode_opaque(value: Opaque, problem: str) -> Encoded:
    tree = {"$": "opaque", "type": value.type, "repr": value.repr, "path": value.path, "cause": value.cause}
    data = dumps(tree)
    return Encoded(data, value.type.rpartition(".")[2], size_of(data), False, problem)


def _encode_stand_in(value: Opaque | Undecodable) -> Encoded:
    if isinstance(value, Opaque):
        return _encode_opaque(value, f"{value.path}: {value.cause}")
    data = dumps({"$": "undecodable", "raw": value.raw})
    return Encoded(data, "Undecodable", size_of(data), False, f"$: {value!r}")


READERS = standard.READERS | classes.READERS
"""For each tag, the function that reads a tagged object, and the keys that the object may have."""


class ValueWriter:
    """The walk that converts one value to a tree (`display.Writer`)."""

    def __init__(self, max_items: int) -> None:
        self._items_left = max_items
        self._excess_left = ALLOWED_EXCESS
        self._open: set[int] = set()

    def walk(self, value: Any) -> JsonValue:
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
        self._excess_left -= excess_work(value, trees)
        if self._excess_left < 0:
            raise Unencodable(type_name(type(value)), TOO_MANY)

    def _count_item(self) -> None:
        # The tree of a value whose parts occur several times in it may be exponentially larger than the value.
        self._items_left -= 1
        if self._items_left < 0:
            raise TooManyItems


class TreeReader:
    """The walk that converts one tree to a value (`display.Reader`), without changing the tree."""

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
        values: dict[str, Any] = {}
        for name, item in tree.items():
            values[name] = item if type(item) in standard.LEAF_WRITERS else self.walk(item)
        return values

    def key(self, tree: JsonValue) -> Any:
        self._keys_open += 1
        try:
            return self.walk(tree)
        finally:
            self._keys_open -= 1

    def refuse_collisions(self, keys: Collection[Any], trees: Iterable[JsonValue]) -> None:
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
    """The walk through a tree that only finds out whether it can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.problem: str | None = None  # what is wrong with the first part that cannot be read

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


NOT_JSON = "is not JSON"


def problem_of(data: str) -> str | None:
    """Describe what is wrong with a text that should be an encoded value, or return None if nothing is.

    What only the code of a registered class can tell is not found, nor whether this machine knows a time zone.
    """
    try:
        tree = loads_finite(data)
    except (ValueError, RecursionError):
        return NOT_JSON
    if '"$"' not in data:
        return None
    checker = TreeChecker()
    checker.walk(tree)
    return checker.problem
