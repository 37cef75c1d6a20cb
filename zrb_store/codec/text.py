"""Encode a value as text, and decode it. `plain` handles the values of JSON, `walk` all others."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store.codec.display import bounded_repr, describe_error, qualified_name, type_name
from zrb_store.codec.json_text import dumps, loads, loads_finite, size_of
from zrb_store.codec.plain import TooManyItems, encode_plain
from zrb_store.codec.stand_ins import Opaque, Undecodable
from zrb_store.codec.unencodable import NO_CODEC, Unencodable
from zrb_store.errors import ValueTooLarge
from zrb_store.json_tree import JsonValue

DEFAULT_LIMIT = 16 * 1024 * 1024


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
    limit = DEFAULT_LIMIT if limit is None else limit
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
        # Late: most values need no tags, and the types take time to import.
        from zrb_store.codec.walk import TreeReader

        return TreeReader().walk(tree)
    except Exception as error:  # noqa: BLE001 - damaged data may cause any error, and must not stop a reader
        return Undecodable(data if isinstance(data, str) else repr(data), reason=describe_error(error))


def from_json(tree: JsonValue) -> Any:
    """Decode a tree that `to_json` returned, or a part of one, as `decode` does."""
    try:
        from zrb_store.codec.walk import TreeReader

        return TreeReader().walk(tree)
    except Exception as error:  # noqa: BLE001 - as in decode
        return Undecodable(bounded_repr(tree), reason=describe_error(error))


def to_json(data: str) -> JsonValue:
    """Parse a stored text into its tree, in which values of other types than JSON's are tagged objects. Never raises.

    Returns:
        A tree that `json.dumps` can write, without NaN; `{"$": "undecodable", "raw": text}` for a damaged text.
    """
    try:
        tree: JsonValue = loads_finite(data)
        return tree
    except Exception:  # noqa: BLE001 - as in decode
        return {"$": "undecodable", "raw": data if isinstance(data, str) else repr(data)}


def _fitting(encoded: Encoded, value: Any, limit: int) -> Encoded:
    if encoded.size > limit:
        raise _too_large(value, encoded.size, limit)
    return encoded


def _encode_tagged(value: Any, limit: int, lenient: bool) -> Encoded:
    from zrb_store.codec.walk import ValueWriter

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
