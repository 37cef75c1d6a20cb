"""A value to text and back. Plain JSON values go through without a copy; the rest is for `walk`."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store.codec.refusal import NO_CODEC, Refusal
from zrb_store.codec.shown import bounded_repr, full_name, said, type_name
from zrb_store.codec.stand_ins import Opaque, Undecodable
from zrb_store.codec.strict_json import HUGE_INT_DIGITS, MAX_DEPTH, dumps, loads, loads_finite
from zrb_store.errors import ValueTooLarge

_LEAVES = frozenset({str, int, float, bool, type(None)})
DEFAULT_LIMIT = 16 * 1024 * 1024
_MANY = 10_000  # lists and dicts at one depth: time to see whether they are the same ones again and again
_DIGITS_AS_ZEROS = bytes(ord("0") if chr(byte).isdigit() else ord(" ") for byte in range(128)) + bytes(128)


class Encoded(NamedTuple):
    """A value as text.

    Attributes:
        data: ASCII-only JSON text, so `len(data)` is its size in bytes.
        type: The name of the value's class, for display.
        restorable: Whether `decode(data)` gives the value back.
        problem: What could not be stored and why nothing can be restored: `$.rows[3].conn: socket`.
    """

    data: str
    type: str
    restorable: bool = True
    problem: str | None = None


def encode(value: Any, *, lenient: bool = False, limit: int | None = None, path: str = "$") -> Encoded:
    """Make a value into JSON text from which `decode` gives back an equal value of equal type.

    Args:
        value: The value. A container is read while this runs, and must not be changed by another thread meanwhile.
        lenient: Store what no codec takes as type and repr (`Opaque`) instead of raising.
        limit: The most bytes of text, 16 MiB by default.
        path: How messages call the value itself.

    Raises:
        UnencodableValue: No codec takes a part of the value, it contains itself, or it is nested too deep.
        ValueTooLarge: The text would be longer than `limit`.
    """
    most = DEFAULT_LIMIT if limit is None else limit
    try:
        return _encode_plain(value, most) or _encode_tagged(value, most, lenient)
    except Refusal as refusal:
        return _refuse(refusal, value, lenient, path)


def decode(data: str) -> Any:
    """Make the value of a text that `encode` made. Runs no code but the `decode` of registered codecs, never raises.

    Returns:
        The value; `Opaque` for one that could not be stored; `Undecodable` for damaged text. A damaged part, or one of
        a type not registered here, is an `Undecodable` inside the value.
    """
    try:
        tree = loads(data)
        if '"$"' not in data:
            return tree
        from zrb_store.codec.walk import Reader  # late: most values need no tags, and the types take time to import

        return Reader().walk(tree)
    except Exception as error:  # noqa: BLE001 - whatever is in the database, reading goes on
        return Undecodable(data if isinstance(data, str) else repr(data), reason=said(error))


def from_json(tree: Any) -> Any:
    """Make the value of a tree that `to_json` gave, or of a part of one; as `decode`."""
    try:
        from zrb_store.codec.walk import Reader

        return Reader().walk(tree)
    except Exception as error:  # noqa: BLE001 - as in decode
        return Undecodable(bounded_repr(tree), reason=said(error))


def to_json(data: str) -> Any:
    """Make the plain JSON form of a stored text: JSON's own types as they are, others tagged. Never raises.

    Returns:
        What `json.dumps` takes, without NaN; damaged text as `{"$": "undecodable", "raw": text}`.
    """
    try:
        return loads_finite(data)
    except Exception:  # noqa: BLE001 - as in decode
        return {"$": "undecodable", "raw": data if isinstance(data, str) else repr(data)}


def _encode_plain(value: Any, most: int) -> Encoded | None:
    """The text of a value that needs no tags, else None."""
    try:
        if not _is_plain(value, most):
            return None
        data = dumps(value)
    except (ValueError, TypeError, RuntimeError):  # nan, a very long int, a container that is being changed
        return None
    if len(data) > most:
        raise _too_large(value, len(data), most)
    if len(data) < HUGE_INT_DIGITS and "\\ud" not in data:
        return Encoded(data, type(value).__name__)
    return Encoded(data, type(value).__name__) if _comes_back(data, value) else None


def _is_plain(value: Any, most: int) -> bool:
    """Whether JSON has all of the value's types; not its floats and ints in detail, which `dumps` reports."""
    if type(value) in _LEAVES:
        return True
    level = [value]
    room = most // 2  # each item takes two bytes or more
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
                raise _too_large(value, None, most)
            for item in items:
                if type(item) not in _LEAVES:
                    inner.append(item)
        if not inner:
            return True
        if len(inner) > many:
            if _contains_itself(value):
                return False
            many = most
        level = inner
    return False


def _contains_itself(value: Any) -> bool:
    """Whether a list or a dict is inside itself, at any depth; looks at a shared part once."""
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
    # Surrogates, or a part of Hangul: JSON joins a high and a low one that were two characters.
    return "\\ud" not in data or bool(loads(data) == value)


def _may_have_huge_int(data: str) -> bool:
    """Whether there are so many digits in a row that Python may refuse to read them as an int."""
    # A row so long shows in every 64th character, too, and there is less to look through.
    return all(
        b"0" * (HUGE_INT_DIGITS // step) in data[::step].encode().translate(_DIGITS_AS_ZEROS) for step in (64, 8, 1)
    )


def _encode_tagged(value: Any, most: int, lenient: bool) -> Encoded:
    from zrb_store.codec.walk import TooManyItems, Writer

    kind = type(value)
    if lenient and kind in (Opaque, Undecodable):
        return _encode_stand_in(value)
    try:
        data = dumps(Writer(most // 2).walk(value))
    except TooManyItems:
        raise _too_large(value, None, most) from None
    except RecursionError:
        raise Refusal(type_name(kind), "it is nested too deep") from None
    if len(data) > most:
        raise _too_large(value, len(data), most)
    return Encoded(data, type_name(kind))


def _too_large(value: Any, size: int | None, most: int) -> Refusal:
    shown = f"more than {most}" if size is None else size
    return Refusal(
        f"{type_name(type(value))} of {shown} bytes",
        f"the limit is {most}; raise ZRB_STORE_MAX_VALUE, or keep the data elsewhere and push where it is",
        ValueTooLarge,
    )


def _refuse(refusal: Refusal, value: Any, lenient: bool, path: str) -> Encoded:
    place = refusal.path(path)
    if not lenient:
        raise refusal.error(f"cannot store {place}: {refusal.what} ({refusal.why})") from refusal.__cause__
    why = "" if refusal.why is NO_CODEC else f" ({refusal.why})"
    stand_in = Opaque(full_name(type(value)), bounded_repr(value), place, refusal.what)
    return _encode_opaque(stand_in, f"{place}: {refusal.what}{why}")


def _encode_opaque(value: Opaque, problem: str) -> Encoded:
    tree = {"$": "opaque", "type": value.type, "repr": value.repr, "path": value.path, "cause": value.cause}
    return Encoded(dumps(tree), value.type.rpartition(".")[2], False, problem)


def _encode_stand_in(value: Opaque | Undecodable) -> Encoded:
    if isinstance(value, Opaque):
        return _encode_opaque(value, f"{value.path}: {value.cause}")
    return Encoded(dumps({"$": "undecodable", "raw": value.raw}), "Undecodable", False, f"$: {value!r}")
