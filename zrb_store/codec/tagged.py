"""Encode and decode values of more than JSON's own types, by the walks of `walk.py`, and refuse what has no codec.

Few values are of such types: `text.py` imports this module when it meets the first one.
"""

from __future__ import annotations

from typing import Any

from zrb_store.codec import classes, standard
from zrb_store.codec.display import Opaque, Undecodable, bounded_repr, describe_error, qualified_name, type_name
from zrb_store.codec.json_text import Encoded, dumps, size_of
from zrb_store.codec.walk import NO_CODEC, Readers, TooManyItems, TreeChecker, TreeReader, Unencodable, ValueWriter
from zrb_store.errors import ValueTooLarge
from zrb_store.records import JsonValue

READERS: Readers = standard.READERS | classes.READERS


def encode(value: Any, found: tuple[str, int] | None, lenient: bool, limit: int) -> Encoded:
    """Encode a value as `text.encode` does. `found` are its text and size, if it consists of JSON's own types."""
    kind = type(value)
    if lenient and kind in (Opaque, Undecodable):
        return _encode_stand_in(value)
    try:
        if found is None:
            data = dumps(ValueWriter(limit // 2, classes.writer_of).walk(value))
            found = data, size_of(data)
        data, size = found
        if size > limit:
            raise _too_large(kind, str(size), limit)
        return Encoded(data, type_name(kind), size)
    except TooManyItems:
        refused = _too_large(kind, f"more than {limit}", limit)
    except RecursionError:
        refused = Unencodable(type_name(kind), "it is nested too deep")
    except Unencodable as unencodable:
        refused = unencodable
    return _refuse(refused, value, lenient)


def decode(tree: JsonValue, data: str | None = None) -> Any:
    """Return the value of a tree, which was read from a text; an `Undecodable` if it is damaged."""
    try:
        return TreeReader(READERS).walk(tree)
    except Exception as error:  # noqa: BLE001 - damaged data may cause any error, and must not stop a reader
        return Undecodable(bounded_repr(tree) if data is None else data, reason=describe_error(error))


def problem_of(tree: JsonValue) -> str | None:
    """Describe what is wrong with the tree of an encoded value, or return None if nothing is."""
    checker = TreeChecker(READERS)
    checker.walk(tree)
    return checker.problem


def _too_large(kind: type, size: str, limit: int) -> Unencodable:
    return Unencodable(
        f"{type_name(kind)} of {size} bytes",
        f"the limit is {limit}; raise ZRB_STORE_MAX_VALUE, or keep the data elsewhere and push its path or URL",
        ValueTooLarge,
    )


def _refuse(unencodable: Unencodable, value: Any, lenient: bool) -> Encoded:
    """Raise the error that a caller gets; if `lenient`, return the text of an `Opaque` instead."""
    place = unencodable.path()
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
