"""Whether two stored values are equal, in type and value, all the way down."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from zrb_store.codec.registry import codec_named
from zrb_store.codec.strict_json import dumps
from zrb_store.codec.text import from_json

# Equal ones may be written differently: 1.0 and 1.00, an instant in two time zones, whatever a registered codec writes.
_BY_VALUE = ("Decimal", "datetime", "time", "object")


def same(one: Any, two: Any) -> bool:
    """Whether two trees, as `to_json` gives them, are of values of equal type and value.

    1, 1.0, True and Decimal(1) differ. The order of a dict's keys does not matter, nor do fields that a registered
    dataclass does not compare. Objects with a registered codec are equal if their class says so.
    """
    pairs = [(one, two)]  # still to be compared; a value may be nested too deep for recursion
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if type(a) is dict and "$" in a and "$" in b:
            inside = _inside(a, b)
            if inside is None:
                return False
            pairs.append(inside)
        elif type(a) is dict:
            if a.keys() != b.keys():
                return False
            pairs.extend((item, b[key]) for key, item in a.items())
        elif type(a) is list:
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif a != b:
            return False
    return True


def _inside(one: dict[str, Any], two: dict[str, Any]) -> tuple[Any, Any] | None:
    """Two lists or dicts that must be the same for two tagged trees to be so; None if the trees differ anyhow."""
    tag = one["$"]
    if tag != two["$"] or one.keys() != two.keys():
        return None
    if tag in _BY_VALUE:
        return ([], []) if dumps(one) == dumps(two) or _equal(from_json(one), from_json(two)) else None
    if tag == "dict":
        return _by_key(one.get("v")), _by_key(two.get("v"))
    ignored = _ignored_fields(one) if tag == "dataclass" else ()
    return _fields(one, ignored), _fields(two, ignored)


def _by_key(pairs: Any) -> Any:
    """The items of a dict that is written as pairs, by the text of the key: keys may have been chosen to collide."""
    try:
        items = {dumps(key): item for key, item in pairs}
        return items if len(items) == len(pairs) else pairs
    except (TypeError, ValueError):  # damaged
        return [pairs]


def _fields(tree: dict[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    fields = {name: item for name, item in tree.items() if name != "$"}
    if ignored and type(tree.get("v")) is dict:
        fields["v"] = {name: item for name, item in tree["v"].items() if name not in ignored}
    return fields


def _ignored_fields(tree: dict[str, Any]) -> Collection[str]:
    name = tree.get("type")
    codec = codec_named(name) if type(name) is str else None
    if codec is None or not dataclasses.is_dataclass(codec.cls):
        return ()
    return [field.name for field in dataclasses.fields(codec.cls) if not field.compare]


def _equal(one: Any, two: Any) -> bool:
    try:
        return type(one) is type(two) and bool(one == two)
    except Exception:  # noqa: BLE001 - a signaling NaN, or a user's class
        return False
