"""Compare two stored values, including the types of all their parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from zrb_store.codec.json_text import dumps
from zrb_store.codec.registry import codec_named
from zrb_store.codec.text import from_json
from zrb_store.json_tree import JsonValue

# The tags of types whose equal values may be written differently: 1.0 and 1.00, the same instant in two time zones,
# objects with a registered codec.
_BY_VALUE = ("Decimal", "datetime", "time", "object")


_Tree = dict[str, JsonValue]


def same(one: JsonValue, two: JsonValue) -> bool:
    """Whether two trees, as `to_json` returns them, represent values of equal type and value.

    1, 1.0, True and Decimal(1) differ. The order of a dict's keys does not matter, nor do fields that a registered
    dataclass excludes from comparison. Objects with a registered codec are compared by the `==` of their class.
    """
    # What is still to be compared; a list, since values may be nested too deep for recursion.
    pairs: list[tuple[JsonValue, JsonValue]] = [(one, two)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if type(a) is dict and type(b) is dict and "$" in a and "$" in b:
            contents = _contents(a, b)
            if contents is None:
                return False
            pairs.append(contents)
        elif type(a) is dict and type(b) is dict:
            if a.keys() != b.keys():
                return False
            pairs.extend((item, b[key]) for key, item in a.items())
        elif type(a) is list and type(b) is list:
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


def _contents(one: _Tree, two: _Tree) -> tuple[JsonValue, JsonValue] | None:
    """Return two lists or dicts that are the same if and only if two tagged trees are; None if the trees differ."""
    tag = one["$"]
    if tag != two["$"] or one.keys() != two.keys():
        return None
    if tag in _BY_VALUE:
        return ([], []) if dumps(one) == dumps(two) or _equal(from_json(one), from_json(two)) else None
    if tag == "dict":
        return _by_key(one.get("v")), _by_key(two.get("v"))
    ignored = _ignored_fields(one) if tag == "dataclass" else ()
    return _fields(one, ignored), _fields(two, ignored)


def _by_key(pairs: JsonValue) -> JsonValue:
    """Return the items of a dict that is stored as pairs, by the text of each key: the keys themselves may collide."""
    items: dict[str, JsonValue] = {}
    for pair in pairs if type(pairs) is list else ():
        if type(pair) is not list or len(pair) != 2:
            return [pairs]  # damaged
        items[dumps(pair[0])] = pair[1]
    return items if type(pairs) is list and len(items) == len(pairs) else [pairs]


def _fields(tree: _Tree, ignored: Collection[str]) -> _Tree:
    fields = {name: item for name, item in tree.items() if name != "$"}
    stored = tree.get("v")
    if ignored and type(stored) is dict:
        fields["v"] = {name: item for name, item in stored.items() if name not in ignored}
    return fields


def _ignored_fields(tree: _Tree) -> Collection[str]:
    name = tree.get("type")
    codec = codec_named(name) if type(name) is str else None
    if codec is None or not dataclasses.is_dataclass(codec.cls):
        return ()
    return [field.name for field in dataclasses.fields(codec.cls) if not field.compare]


def _equal(one: Any, two: Any) -> bool:
    try:
        return type(one) is type(two) and bool(one == two)
    except Exception:  # noqa: BLE001 - a signaling NaN or a user's class may raise anything
        return False
