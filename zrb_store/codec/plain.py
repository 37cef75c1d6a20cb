"""Encode values that consist of JSON's own types, without a copy; `text.py` encodes all others.

The limit on keys with the same hash is here too, for all values. Python compares a key with every other key of the same
hash. Anybody can choose ints, Decimals, UUIDs and tuples that have the same hash, and a megabyte of them would keep a
reader busy for minutes. So such a text is not read. To keep the promise that every stored value can be read again, such
a value is not stored either.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from zrb_store.codec import json_text
from zrb_store.codec.json_text import HUGE_INT_DIGITS, MAX_DEPTH, ascii_dumps, dumps, loads, size_of
from zrb_store.records import JsonValue

_LEAVES = frozenset({str, int, float, bool, type(None)})
_CONTAINERS = frozenset({list, dict})
_PLAIN = _LEAVES | _CONTAINERS
_SHORT = 100  # characters of a text that the standard library writes as fast
_MANY = 1_000_000  # with more lists and dicts at one depth, check whether the value contains itself
_DIGITS_AS_ZEROS = bytes(ord("0") if chr(byte).isdigit() else ord(" ") for byte in range(128)) + bytes(128)


class TooManyItems(Exception):
    """A value has more items than fit into the size limit."""


class _Survey(NamedTuple):
    """What a value contains that msgspec may write otherwise: as `null`, or as a number that nobody can read."""

    nones: int
    kinds: set[type]


_TEXT = _Survey(0, {str})


def encode_plain(value: Any, max_items: int) -> tuple[str, int] | None:
    """Return the text of a value and its size in bytes, or None if the value needs tags.

    Raises:
        TooManyItems: The value has more than `max_items` items.
    """
    try:
        if type(value) in _CONTAINERS:
            survey = _survey(value, max_items)
            return None if survey is None else _fast(value, survey) or _standard(value)
        if type(value) is str and len(value) > _SHORT:
            return _fast(value, _TEXT) or _standard(value)
        return _standard(value) if type(value) in _LEAVES else None
    except (ValueError, TypeError, RuntimeError):  # NaN, a very long int, a container that another thread changes
        return None


def _survey(value: Any, max_items: int) -> _Survey | None:
    """Check that a list or a dict consists of exactly the types of JSON; return None if it does not.

    Whether JSON has the floats, ints and texts is not checked. No code of a class in the value runs.
    """
    level, nones, found, many = [value], 0, set[type](), _MANY
    for _ in range(MAX_DEPTH):
        count = sum(map(len, level))
        max_items -= count
        if max_items < 0 or len(level) > many:
            if _contains_itself(value):
                return None
            if max_items < 0:
                raise TooManyItems
            many = max_items
        # All items of the lists and dicts, in half the time of a loop. A dict that has a key of another type than str,
        # or had one once, adds its keys.
        items = gc.get_referents(*level)
        kinds = set(map(type, items))
        if len(items) != count or not kinds <= _PLAIN:
            return None
        found |= kinds
        if type(None) in kinds:
            nones += items.count(None)
        if kinds <= _LEAVES:
            return _Survey(nones, found)
        level = items if kinds <= _CONTAINERS else _containers(items, kinds & _CONTAINERS)
    return None


def _containers(items: list[Any], kinds: set[type]) -> list[Any]:
    if len(kinds) > 1:
        return [item for item in items if type(item) is list or type(item) is dict]
    (kind,) = kinds
    return [item for item in items if type(item) is kind]


def _contains_itself(value: Any) -> bool:
    """Whether any list or dict contains itself, at any depth. A part that occurs several times is searched once."""
    above: set[int] = set()
    done: set[int] = set()
    stack = [(value, False)]
    while stack:
        items, is_left = stack.pop()
        if is_left:
            above.discard(id(items))
            done.add(id(items))
        elif id(items) in above:
            return True
        elif id(items) not in done:
            above.add(id(items))
            stack.append((items, True))
            inside = items.values() if type(items) is dict else items
            stack.extend((item, False) for item in inside if type(item) in (list, dict))
    return False


def _fast(value: Any, survey: _Survey) -> tuple[str, int] | None:
    write = json_text.writer()
    if write is None:
        return None
    try:
        data = write(value)
    except json_text.REFUSALS:
        return None
    # A text in the value may also have these characters. Then the standard library is asked.
    if (b"$" in data and b'"$"' in data) or (float in survey.kinds and data.count(b"null") != survey.nones):
        return None
    if int in survey.kinds and len(data) >= HUGE_INT_DIGITS and _may_have_huge_int(data):
        return None
    return data.decode(), len(data)


def _standard(value: Any) -> tuple[str, int] | None:
    if not _has_plain_keys(value):
        return None
    data = dumps(value)
    if len(data) >= HUGE_INT_DIGITS and type(value) is not str and _may_have_huge_int(data.encode()):
        return None
    # \ud begins a surrogate, and JSON would join two surrogates that were separate characters.
    return (data, size_of(data)) if "\\ud" not in data or loads(data) == value else None


def _has_plain_keys(value: Any) -> bool:
    level = [value] if type(value) in _CONTAINERS else []
    while level:
        inner: list[Any] = []
        for items in level:
            if type(items) is dict:
                if "$" in items or not all(type(key) is str for key in items):
                    return False
                items = items.values()
            inner += [item for item in items if type(item) in _CONTAINERS]
        level = inner
    return True


def _may_have_huge_int(data: bytes) -> bool:
    """Whether the text has a row of digits so long that Python may refuse to parse it as an int."""
    # Such a row also shows up in every 64th character, of which there are fewer to search.
    return all(b"0" * (HUGE_INT_DIGITS // step) in data[::step].translate(_DIGITS_AS_ZEROS) for step in (64, 8, 1))


ALLOWED_EXCESS = 64 * 1024 * 1024
"""Bytes that may be compared to read one value, in addition to the shares of its dicts and sets: about 100 ms."""

_SHARE = 64  # bytes that may be compared for each byte of a dict's keys; reading them takes several times as long
FEW = 2 * _SHARE
"""Number of keys up to which a dict or a set cannot exceed its share."""

TOO_MANY = "too many of its keys have the same hash"


def excess_work(keys: Collection[Any], trees: Iterable[JsonValue]) -> int:
    """Return how many bytes Python compares to make a dict or a set, beyond its share.

    Args:
        keys: The keys of the dict, or the elements of the set.
        trees: Their JSON trees.
    """
    suspects = keys
    if str in set(map(type, keys)):  # nobody can choose the hash of a text, since Python randomises it
        suspects = [key for key in keys if type(key) is not str]
    if len(suspects) - len(set(map(hash, suspects))) < FEW:
        return 0
    counts = Counter(map(hash, suspects))
    excess = 0
    for key, tree in zip(keys, trees, strict=True):
        others = max(0, counts[hash(key)] - 1)
        # Halved, because this loop meets each pair of keys twice, and Python compares it once.
        excess += (others - 2 * _SHARE) * len(ascii_dumps(tree)) // 2
    return max(0, excess)
