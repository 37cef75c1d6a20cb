"""Encode a value as text, decode the text, and check whether it is damaged.

msgspec writes a value that consists of JSON's own types, without a copy. All others, and what msgspec would write
otherwise than it is stored, take the walks of `walk.py`.
"""

from __future__ import annotations

import gc
from typing import Any, NamedTuple

from zrb_store.codec import classes, standard
from zrb_store.codec.display import (
    NO_CODEC,
    Opaque,
    Undecodable,
    Unencodable,
    bounded_repr,
    describe_error,
    qualified_name,
    type_name,
)
from zrb_store.codec.json_text import MAX_DEPTH, dumps, loads, loads_finite, size_of, writer
from zrb_store.codec.walk import LEAF_WRITERS, Readers, TooManyItems, TreeChecker, TreeReader, ValueWriter
from zrb_store.errors import ValueTooLarge
from zrb_store.records import JsonValue
from zrb_store.settings import DEFAULT_MAX_VALUE

READERS: Readers = standard.READERS | classes.READERS

_LEAVES = frozenset(LEAF_WRITERS)
_CONTAINERS = frozenset({list, dict})
_PLAIN = _LEAVES | _CONTAINERS
_SHORT = 100  # characters of a text that the standard library writes as fast
_DIGITS = 632  # an int of HUGE_INT_BITS has as many, or more
_DIGITS_AS_ZEROS = bytes(ord("0") if chr(byte).isdigit() else ord(" ") for byte in range(128)) + bytes(128)


class Encoded(NamedTuple):
    """An encoded value."""

    data: str
    type: str  # the name of the value's class, for display
    size: int  # of the text in bytes
    restorable: bool = True  # whether `decode(data)` returns an equal value
    problem: str | None = None  # the part that could not be stored, such as `$.rows[3].conn: socket`


def encode(value: Any, *, lenient: bool = False, limit: int | None = None, path: str = "$") -> Encoded:
    """Encode a value as JSON text, which `decode` turns back into an equal value of equal type.

    With `lenient`, the type and repr (`Opaque`) of a value that cannot be encoded are stored, instead of raising. The
    limit is in bytes, 16 MiB by default; `path` is the name of the value itself in messages. No other thread may change
    a container in it meanwhile.
    """
    kind = type(value)
    if lenient and kind in (Opaque, Undecodable):
        return _encode_stand_in(value)
    limit = DEFAULT_MAX_VALUE if limit is None else limit
    try:
        found = _plain_text(value, limit // 2) if kind in _PLAIN else None  # each item takes at least two bytes
        if found is None:
            data = dumps(ValueWriter(limit // 2, classes.writer_of).walk(value))
            found = data, size_of(data)
        data, size = found
        if size > limit:
            raise _too_large(kind, str(size), limit)
        return Encoded(data, kind.__name__ if kind in _PLAIN else type_name(kind), size)
    except TooManyItems:
        refused = _too_large(kind, f"more than {limit}", limit)
    except RecursionError:
        refused = Unencodable(type_name(kind), "it is nested too deep")
    except Unencodable as unencodable:
        refused = unencodable
    return _refuse(refused, value, lenient, path)


def decode(data: str) -> Any:
    """Decode a text that `encode` returned. Never raises, and runs no code except the `decode` of registered codecs.

    A value that could not be stored is an `Opaque`. A damaged text is an `Undecodable`, and so is a part of a value
    that is damaged or whose type is not registered in this process.
    """
    try:
        tree = loads(data)
        if "$" not in data or '"$"' not in data:  # the first of these is found fast
            return tree
        return TreeReader(READERS).walk(tree)
    except Exception as error:  # noqa: BLE001 - damaged data may cause any error, and must not stop a reader
        return Undecodable(data if isinstance(data, str) else repr(data), reason=describe_error(error))


def from_json(tree: JsonValue) -> Any:
    """Decode a tree that `to_json` returned, or a part of one, as `decode` does."""
    try:
        return TreeReader(READERS).walk(tree)
    except Exception as error:  # noqa: BLE001 - as in decode
        return Undecodable(bounded_repr(tree), reason=describe_error(error))


def to_json(data: str) -> JsonValue:
    """Parse a stored text into its tree, in which values of other types than JSON's are tagged objects. Never raises.

    A damaged text becomes `{"$": "undecodable", "raw": text}`. `json.dumps` can write each tree; none has a NaN.
    """
    try:
        return loads_finite(data)
    except Exception:  # noqa: BLE001 - as in decode
        return {"$": "undecodable", "raw": data if isinstance(data, str) else repr(data)}


def _too_large(kind: type, size: str, limit: int) -> Unencodable:
    return Unencodable(
        f"{type_name(kind)} of {size} bytes",
        f"the limit is {limit}; raise ZRB_STORE_MAX_VALUE, or keep the data elsewhere and push its path or URL",
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


# -- values of JSON's own types


class _Survey(NamedTuple):
    """What a value contains that msgspec may write otherwise: as `null`, or as a number that nobody can read."""

    nones: int
    kinds: set[type]


def _plain_text(value: JsonValue, max_items: int) -> tuple[str, int] | None:
    """Return the text of a value and its size; None if it may need tags, or if msgspec writes it otherwise."""
    if isinstance(value, str) and len(value) <= _SHORT:
        data = dumps(LEAF_WRITERS[str](value))
        return data, size_of(data)
    write = writer()
    survey = _survey(value, max_items) if isinstance(value, (list, dict)) else _Survey(value is None, {type(value)})
    if write is None or survey is None:
        return None
    try:
        written = write(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one if another thread changes a container
        return None
    # A text in the value may also have these characters.
    if (b"$" in written and b'"$"' in written) or (float in survey.kinds and written.count(b"null") != survey.nones):
        return None
    if int in survey.kinds and len(written) >= _DIGITS and _may_have_huge_int(written):
        return None
    return written.decode(), len(written)


def _survey(value: list[JsonValue] | dict[str, JsonValue], max_items: int) -> _Survey | None:
    """Check that a list or a dict consists of exactly the types of JSON; return None if it does not.

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
            return _Survey(nones, found)
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
    checker = TreeChecker(READERS)
    checker.walk(tree)
    return checker.problem
