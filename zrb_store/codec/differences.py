"""Find the parts in which two stored values differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import zip_longest
from typing import Literal, NamedTuple

from zrb_store.codec.compare import same
from zrb_store.codec.display import bounded_repr
from zrb_store.codec.path_segments import PAIRS, by_segment, segment_of
from zrb_store.codec.text import from_json
from zrb_store.json_tree import JsonValue, Lazy
from zrb_store.safe_text import MASK, is_secret_name, mask_word

_UNORDERED = ("set", "frozenset")


class _Missing(Enum):
    """Stands for a part that one of the two does not have."""

    ABSENT = "absent"


_ABSENT = _Missing.ABSENT
_Part = JsonValue | _Missing
_Both = tuple[str, _Part, _Part]  # a segment, and the part of either


class Difference(NamedTuple):
    """A part in which two values differ. The fields are those of `diff --format json`.

    Attributes:
        path: The path to it.
        kind: Whether it has `changed`, or which of the two has it.
        a: What the one has.
        b: What the other has.
    """

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
    """Return the segment for each part of two containers of the same kind, with that part of either.

    None if the two can only be compared as a whole.
    """
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
    """Return the items by segment as `by_segment` does, or None if an item has no segment or shares one."""
    items = by_segment(pairs)
    return items if type(pairs) is list and len(items) == len(pairs) else None


_SHOWN = 300  # characters of each of two values that differ


def changes(before: JsonValue, after: JsonValue, name: str = "") -> Iterator[str]:
    """Describe where two trees, as `to_json` returns them, differ in type or value. What has a secret name is masked.

    A part that could not be stored in one of the two is not compared. Lists of different lengths differ as a whole.

    Yields:
        Texts such as `rows[0].name: 1 became 2`, `name is new` and `name is gone`.
    """
    return _changes(before, after, name, is_secret_name(name))


def _changes(before: JsonValue, after: JsonValue, path: str, is_secret: bool) -> Iterator[str]:
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


def is_opaque(tree: JsonValue) -> bool:
    """Whether a tree represents a value of which only the type and the repr could be stored."""
    return type(tree) is dict and tree.get("$") == "opaque"


def _name_of(segment: str) -> str:
    """Return the key whose segment of a path this is; a place in a list or a number has no name."""
    if segment.startswith("."):
        return segment[1:]
    return str(json.loads(segment[1:-1])) if segment.startswith('["') else ""


def _shown(tree: JsonValue, is_secret: bool) -> str:
    text = MASK if is_secret else mask_word(bounded_repr(from_json(tree)))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
