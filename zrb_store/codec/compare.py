"""Compare stored values, including the types of all their parts.

`same` says whether two values are equal, `differences` where they differ, for `diff`, `describe_changes` in words.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeVar

from zrb_store.codec.classes import codec_named
from zrb_store.codec.display import PAIRS, bounded_repr, by_segment, is_opaque, items_of, segment_of, shortened
from zrb_store.codec.json_text import dumps
from zrb_store.codec.text import from_json, to_json
from zrb_store.masking import MASK, is_secret_name, mask_word
from zrb_store.records import JsonValue, Lazy

# The tags of types whose equal values may be written differently: 1.0 and 1.00, the same instant in two time zones,
# objects with a registered codec.
_BY_VALUE = ("Decimal", "datetime", "time", "object")
_UNORDERED = ("set", "frozenset")
_SHOWN = 300  # characters of each of two values that differ
T = TypeVar("T")
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
        return ([], []) if dumps(one) == dumps(two) or _equal(one, two) else None
    if tag == "dict":
        return _by_key(one.get("v")), _by_key(two.get("v"))
    ignored = _ignored_fields(one) if tag == "dataclass" else ()
    return _fields(one, ignored), _fields(two, ignored)


def _by_key(pairs: JsonValue) -> JsonValue:
    """Return the items of a dict that is stored as pairs, by the text of each key: the keys themselves may collide."""
    items = {dumps(key): item for key, item in items_of(pairs)}
    return items if type(pairs) is list and len(items) == len(pairs) else [pairs]  # else they are damaged


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


def _equal(one: JsonValue, two: JsonValue) -> bool:
    a, b = from_json(one), from_json(two)
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:  # noqa: BLE001 - a signaling NaN or a user's class may raise anything
        return False


# -- where two values differ


class _Missing(Enum):
    """Stands for a part that one of the two does not have."""

    ABSENT = "absent"


_ABSENT = _Missing.ABSENT
_Part = JsonValue | _Missing
_Both = tuple[str, _Part, _Part]  # a segment, and the part of either


class Difference(NamedTuple):
    """A part in which two values differ. The fields are those of `diff --format json`."""

    path: str
    kind: Literal["changed", "only_a", "only_b"]
    a: JsonValue | Lazy[JsonValue]
    b: JsonValue | Lazy[JsonValue]


def differences(one: JsonValue, two: JsonValue, path: str = "$") -> Iterator[Difference]:
    """Find where two trees, as `to_json` returns them, differ in type or value."""
    parts = _parts(one, two)
    if parts is None:
        if not same(one, two):
            yield Difference(path, "changed", one, two)
        return
    for segment, a, b in parts:
        yield from _compared(a, b, path + segment)


def list_differences(one: Iterable[JsonValue], two: Iterable[JsonValue], path: str) -> Iterator[Difference]:
    """Find the differences of two lists, as `differences` does, but iterate over each list only once."""
    for place, (a, b) in enumerate(zip_longest(one, two, fillvalue=_ABSENT)):
        yield from _compared(a, b, f"{path}[{place}]")


def _compared(a: _Part, b: _Part, path: str) -> Iterator[Difference]:
    if a is not _ABSENT and b is not _ABSENT:
        yield from differences(a, b, path)
    elif a is not _ABSENT:
        yield Difference(path, "only_a", a, None)
    elif b is not _ABSENT:
        yield Difference(path, "only_b", None, b)


def _parts(one: JsonValue, two: JsonValue) -> list[_Both] | None:
    """Return the parts of two containers of the same kind; None if these can only be compared as a whole."""
    if type(one) is list and type(two) is list:
        pairs = zip_longest(one, two, fillvalue=_ABSENT)
        return [(f"[{place}]", a, b) for place, (a, b) in enumerate(pairs)]
    if type(one) is not dict or type(two) is not dict:
        return None
    if "$" not in one and "$" not in two:
        return [(segment_of(key), a, b) for key, a, b in _side_by_side(one, two)]
    tag = one.get("$")
    if tag in _UNORDERED or {**one, "v": 0} != {**two, "v": 0}:
        return None
    if tag not in PAIRS:
        return _parts(one.get("v"), two.get("v"))
    a, b = (_all_by_segment(tree.get("v")) for tree in (one, two))
    if a is None or b is None or (tag == "OrderedDict" and [*a] != [*b]):
        return None
    return list(_side_by_side(a, b))


def _side_by_side(one: Mapping[str, JsonValue], two: Mapping[str, JsonValue]) -> Iterator[_Both]:
    return ((key, one.get(key, _ABSENT), two.get(key, _ABSENT)) for key in dict.fromkeys([*one, *two]))


def _all_by_segment(pairs: JsonValue) -> dict[str, JsonValue] | None:
    items = by_segment(pairs)
    return items if type(pairs) is list and len(items) == len(pairs) else None


# -- the same, in words


def describe_changes(before: str, after: str) -> str:
    """Describe where two encoded values differ, as `name: 1 became 2`, joined by commas; empty if they do not.

    What could not be stored of either one is not compared.
    """
    if before == after:
        return ""
    one, two = to_json(before), to_json(after)
    if type(one) is dict and type(two) is dict and "$" not in one and "$" not in two:
        found: list[str] = []
        for name in dict.fromkeys([*one, *two]):  # shown without the quotes that a path has around `day-of`
            if name in one and name in two:
                found += _changes(one[name], two[name], name, is_secret_name(name))
            else:
                found.append(f"{name} is {'new' if name in two else 'gone'}")
        return ", ".join(found)
    return ", ".join(_changes(one, two, "", False))


def _changes(before: JsonValue, after: JsonValue, path: str, is_secret: bool) -> Iterator[str]:
    """Describe where two trees differ, as `rows[0].name: 1 became 2`, `name is new` and `name is gone`.

    What has a secret name is masked. A part that could not be stored in one of the two is not compared. Lists of
    different lengths differ as a whole.
    """
    if is_opaque(before) or is_opaque(after) or same(before, after):
        return
    parts = _parts(before, after)
    if parts is None or (type(before) is list and type(after) is list and len(before) != len(after)):
        yield f"{path or 'it'}: {_shown(before, is_secret)} became {_shown(after, is_secret)}"
        return
    for segment, one, two in parts:
        place = (path + segment).removeprefix(".")
        if one is _ABSENT or two is _ABSENT:
            yield f"{place} is {'new' if one is _ABSENT else 'gone'}"
        else:
            yield from _changes(one, two, place, is_secret or is_secret_name(_name_of(segment)))


def _name_of(segment: str) -> str:
    """Return the key whose segment of a path this is; a place in a list or a number has no name."""
    if segment.startswith("."):
        return segment[1:]
    return str(json.loads(segment[1:-1])) if segment.startswith('["') else ""


def _shown(tree: JsonValue, is_secret: bool) -> str:
    return shortened(MASK if is_secret else mask_word(bounded_repr(from_json(tree))), _SHOWN)
