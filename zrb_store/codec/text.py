"""Encode a value as text, decode the text, and check whether it is damaged.

msgspec writes a value that consists of JSON's own types, without a copy. All others, and what msgspec would write
otherwise than it is stored, are written and read by `tagged.py`.
"""

from __future__ import annotations

import gc
from typing import Any

from zrb_store.codec.display import Undecodable, describe_error
from zrb_store.codec.json_text import MAX_DEPTH, Encoded, dumps, loads, loads_finite, size_of, write_text, writer
from zrb_store.records import JsonValue
from zrb_store.settings import DEFAULT_MAX_VALUE

_LEAVES = frozenset({str, int, float, bool, type(None)})
_CONTAINERS = frozenset({list, dict})
_PLAIN = _LEAVES | _CONTAINERS
_SHORT = 100  # characters of a text that the standard library writes as fast
_DIGITS = 632  # an int of HUGE_INT_BITS has as many, or more
_DIGITS_AS_ZEROS = b" " * ord("0") + b"0" * 10 + b" " * (127 - ord("9")) + bytes(128)


def encode(value: Any, *, lenient: bool = False, limit: int | None = None) -> Encoded:
    """Encode a value as JSON text, which `decode` turns back into an equal value of equal type.

    With `lenient`, the type and repr (`Opaque`) of a value that cannot be encoded are stored, instead of raising. The
    limit is in bytes, 16 MiB by default. No other thread may change a container in the value meanwhile.
    """
    kind = type(value)
    limit = DEFAULT_MAX_VALUE if limit is None else limit
    found = _plain_text(value, limit // 2) if kind in _PLAIN else None  # each item takes at least two bytes
    if found is not None and found[1] <= limit:
        return Encoded(found[0], kind.__name__, found[1])
    from zrb_store.codec import tagged

    return tagged.encode(value, found, lenient, limit)


def decode(data: str) -> Any:
    """Decode a text that `encode` returned. Never raises, and runs no code except the `decode` of registered codecs.

    A value that could not be stored is an `Opaque`. A damaged text is an `Undecodable`, and so is a part of a value
    that is damaged or whose type is not registered in this process.
    """
    try:
        tree = loads(data)
        if "$" not in data or '"$"' not in data:  # the first of these is found fast
            return tree
    except Exception as error:  # noqa: BLE001 - damaged data may cause any error, and must not stop a reader
        return Undecodable(data if isinstance(data, str) else repr(data), reason=describe_error(error))
    from zrb_store.codec import tagged

    return tagged.decode(tree, data)


def from_json(tree: JsonValue) -> Any:
    """Decode a tree that `to_json` returned, or a part of one, as `decode` does."""
    from zrb_store.codec import tagged

    return tagged.decode(tree)


def to_json(data: str) -> JsonValue:
    """Parse a stored text into its tree, in which values of other types than JSON's are tagged objects. Never raises.

    A damaged text becomes `{"$": "undecodable", "raw": text}`. `json.dumps` can write each tree; none has a NaN.
    """
    try:
        return loads_finite(data)
    except Exception:  # noqa: BLE001 - as in decode
        return {"$": "undecodable", "raw": data if isinstance(data, str) else repr(data)}


# -- values of JSON's own types


def _plain_text(value: JsonValue, max_items: int) -> tuple[str, int] | None:
    """Return the text of a value and its size; None if it may need tags, or if msgspec writes it otherwise."""
    if isinstance(value, str) and len(value) <= _SHORT:
        data = dumps(write_text(value))
        return data, size_of(data)
    write = writer()
    survey = _survey(value, max_items) if isinstance(value, (list, dict)) else (int(value is None), {type(value)})
    if write is None or survey is None:
        return None
    try:
        written = write(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one if another thread changes a container
        return None
    nones, kinds = survey
    # A text in the value may also have these characters. msgspec writes what is no number of JSON as null.
    if (b"$" in written and b'"$"' in written) or (float in kinds and written.count(b"null") != nones):
        return None
    if int in kinds and len(written) >= _DIGITS and _may_have_huge_int(written):
        return None
    return written.decode(), len(written)


def _survey(value: list[JsonValue] | dict[str, JsonValue], max_items: int) -> tuple[int, set[type]] | None:
    """Return how often None is in a list or a dict, and its types; None if it has others than those of JSON.

    Whether JSON has the floats, ints and texts is not checked. No code of a class in the value runs.
    """
    level, nones, found = [value], 0, set[type]()
    for _ in range(MAX_DEPTH):
        count = sum(map(len, level))
        max_items -= count
        if max_items < 0:  # or it contains itself, which the walk finds out
            return None
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
            return nones, found
        level = items if kinds <= _CONTAINERS else [item for item in items if type(item) in _CONTAINERS]
    return None


def _may_have_huge_int(data: bytes) -> bool:
    """Whether the text has a row of digits as long as that of an int which is not stored as a number."""
    # Such a row also shows up in every 64th character, of which there are fewer to search.
    return all(b"0" * (_DIGITS // step) in data[::step].translate(_DIGITS_AS_ZEROS) for step in (64, 8, 1))


# -- damage

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
    from zrb_store.codec import tagged

    return tagged.problem_of(tree)
