"""Encode a value as text, and decode it. Plain JSON values are encoded without a copy; `walk` handles all others."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store.codec.display import bounded_repr, describe_error, qualified_name, type_name
from zrb_store.codec.json_text import HUGE_INT_DIGITS, MAX_DEPTH, dumps, loads, loads_finite
from zrb_store.codec.stand_ins import Opaque, Undecodable
from zrb_store.codec.unencodable import NO_CODEC, Unencodable
from zrb_store.errors import ValueTooLarge

_LEAVES = frozenset({str, int, float, bool, type(None)})
DEFAULT_LIMIT = 16 * 1024 * 1024
_MANY = 10_000  # with more lists and dicts at one depth, check whether the value contains itself
_DIGITS_AS_ZEROS = bytes(ord("0") if chr(byte).isdigit() else ord(" ") for byte in range(128)) + bytes(128)


class Encoded(NamedTuple):
    """An encoded value.

    Attributes:
        data: The JSON text. It is ASCII only, so that `len(data)` is its size in bytes.
        type: The name of the value's class, for display.
        restorable: Whether `decode(data)` returns an equal value.
        problem: If it is not restorable, the part that could not be stored, such as `$.rows[3].conn: socket`.
    """

    data: str
    type: str
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
        return _encode_plain(value, limit) or _encode_tagged(value, limit, lenient)
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
        if '"$"' not in data:
            return tree
        # Late: most values need no tags, and the types take time to import.
        from zrb_store.codec.walk import TreeReader

        return TreeReader().walk(tree)
    except Exception as error:  # noqa: BLE001 - damaged data may cause any error, and must not stop a reader
        return Undecodable(data if isinstance(data, str) else repr(data), reason=describe_error(error))


def from_json(tree: Any) -> Any:
    """Decode a tree that `to_json` returned, or a part of one, as `decode` does."""
    try:
        from zrb_store.codec.walk import TreeReader

        return TreeReader().walk(tree)
    except Exception as error:  # noqa: BLE001 - as in decode
        return Undecodable(bounded_repr(tree), reason=describe_error(error))


def to_json(data: str) -> Any:
    """Parse a stored text into its tree, in which values of other types than JSON's are tagged objects. Never raises.

    Returns:
        A tree that `json.dumps` can write, without NaN; `{"$": "undecodable", "raw": text}` for a damaged text.
    """
    try:
        return loads_finite(data)
    except Exception:  # noqa: BLE001 - as in decode
        return {"$": "undecodable", "raw": data if isinstance(data, str) else repr(data)}


def _encode_plain(value: Any, limit: int) -> Encoded | None:
    """Return the text of a value, or None if the value needs tags."""
    try:
        if not _is_plain(value, limit):
            return None
        data = dumps(value)
    except (ValueError, TypeError, RuntimeError):  # NaN, a very long int, a container that another thread changes
        return None
    if len(data) > limit:
        raise _too_large(value, len(data), limit)
    if len(data) < HUGE_INT_DIGITS and "\\ud" not in data:
        return Encoded(data, type(value).__name__)
    return Encoded(data, type(value).__name__) if _comes_back(data, value) else None


def _is_plain(value: Any, limit: int) -> bool:
    """Whether the value consists of JSON's types. Floats and ints that JSON lacks are left to `dumps`, which raises."""
    if type(value) in _LEAVES:
        return True
    level = [value]
    room = limit // 2  # each item takes at least two bytes
    many = _MANY
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for items in level:
            if type(items) is dict:
                if "$" in items:
                    return False
                for key in items:
                    if type(key) is not str:
                        return False
                room -= len(items)
                items = items.values()
            elif type(items) is list:
                room -= len(items)
            else:
                return False
            if room < 0:
                if _contains_itself(value):
                    return False
                raise _too_large(value, None, limit)
            for item in items:
                if type(item) not in _LEAVES:
                    inner.append(item)
        if not inner:
            return True
        if len(inner) > many:
            if _contains_itself(value):
                return False
            many = limit
        level = inner
    return False


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


def _comes_back(data: str, value: Any) -> bool:
    if _may_have_huge_int(data):
        return False
    # \ud begins a surrogate or a Hangul syllable, and JSON would join two surrogates that were separate characters.
    return "\\ud" not in data or bool(loads(data) == value)


def _may_have_huge_int(data: str) -> bool:
    """Whether the text has a row of digits so long that Python may refuse to parse it as an int."""
    # Such a row also shows up in every 64th character, of which there are fewer to search.
    return all(
        b"0" * (HUGE_INT_DIGITS // step) in data[::step].encode().translate(_DIGITS_AS_ZEROS) for step in (64, 8, 1)
    )


def _encode_tagged(value: Any, limit: int, lenient: bool) -> Encoded:
    from zrb_store.codec.walk import TooManyItems, ValueWriter

    kind = type(value)
    if lenient and kind in (Opaque, Undecodable):
        return _encode_stand_in(value)
    try:
        data = dumps(ValueWriter(limit // 2).walk(value))
    except TooManyItems:
        raise _too_large(value, None, limit) from None
    except RecursionError:
        raise Unencodable(type_name(kind), "it is nested too deep") from None
    if len(data) > limit:
        raise _too_large(value, len(data), limit)
    return Encoded(data, type_name(kind))


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
    return Encoded(dumps(tree), value.type.rpartition(".")[2], False, problem)


def _encode_stand_in(value: Opaque | Undecodable) -> Encoded:
    if isinstance(value, Opaque):
        return _encode_opaque(value, f"{value.path}: {value.cause}")
    return Encoded(dumps({"$": "undecodable", "raw": value.raw}), "Undecodable", False, f"$: {value!r}")
