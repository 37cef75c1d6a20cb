"""Shared by the codec's files: texts about a value, and replacements for values.

Texts about a value, its type and its place (`$.rows[0].name`) are short and on one line, and making them never raises.

A tree consists of the types that `json` reads and writes: None, bool, int, float, str, list and dict. A dict with the
key `"$"` is a tagged object, which represents a value that JSON cannot express.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from zrb_store.records import JsonValue

_REPR_SIZE = 4096
_REPR_DEPTH = 20
_KEY_SIZE = 60
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def replace_unprintable(text: str) -> str:
    """Replace line breaks and other characters that cannot be printed by `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def type_name(cls: type) -> str:
    """Return the name of a class without its module, even if a metaclass overrides `__name__`."""
    return replace_unprintable(type.__dict__["__name__"].__get__(cls))


def qualified_name(cls: type) -> str:
    """Return module and qualified name of a class; builtins are named without their module."""
    try:
        name = f"{cls.__qualname__}" if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    except Exception:  # noqa: BLE001 - a metaclass may raise anything
        return type_name(cls)
    return replace_unprintable(name)


def describe_error(error: Exception) -> str:
    """Return type and message of an exception, at most 200 characters."""
    try:
        return replace_unprintable(f"{type_name(type(error))}: {error}")[:200]
    except Exception:  # noqa: BLE001 - the exception's __str__ may raise too
        return type_name(type(error))


def key_segment(key: object) -> str:
    """Return the segment of a path that leads to a dict's value: `.name`, `["odd name"]`, `[3]`."""
    if type(key) is str:
        cut = shortened(key, _KEY_SIZE)
        return f".{cut}" if cut.isidentifier() else f"[{json.dumps(cut)}]"
    if key is None or type(key) in (bool, float) or (type(key) is int and key.bit_length() < _KEY_SIZE):
        return f"[{key!r}]"
    return f"[<{type_name(type(key))}>]"


def bounded_repr(value: object) -> str:
    """Return at most 4 KiB of `repr(value)`, even if the value is huge, contains itself, or has a repr that raises."""
    parts: list[str] = []
    size = 0
    try:
        for part in _pieces(value, 0):
            parts.append(part)
            size += len(part)
            if size > _REPR_SIZE:
                break
    except Exception:  # noqa: BLE001 - another thread may be changing a container
        parts.append("...")
    return shortened("".join(parts), _REPR_SIZE)


def _pieces(value: Any, depth: int) -> Iterator[str]:
    brackets = _BRACKETS.get(type(value))
    if brackets is None or not value:
        yield _leaf(value)
    elif depth == _REPR_DEPTH:
        yield "..."
    else:
        yield brackets[0]
        separator = ""
        for item in islice(value.items() if type(value) is dict else value, _REPR_SIZE):
            yield separator
            separator = ", "
            if type(value) is dict:
                key, item = item
                yield from _pieces(key, depth + 1)
                yield ": "
            yield from _pieces(item, depth + 1)
        yield ",)" if type(value) is tuple and len(value) == 1 else brackets[1]


def _leaf(value: Any) -> str:
    if type(value) in (str, bytes, bytearray):
        return repr(value[:_REPR_SIZE])
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - raised by a user's class, or by an int with too many digits
        return f"<{qualified_name(type(value))} whose repr raised {type_name(type(error))}>"


PAIRS = ("dict", "OrderedDict")  # the tags of dicts that are stored as pairs of key and item


def segment_of(key: str | int) -> str:
    """Return the segment for a key. Unlike `key_segment`, never shorten it."""
    if type(key) is str:
        return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
    try:
        return f"[{key}]"
    except ValueError:  # it has more digits than Python converts
        return key_segment(key)


def items_of(pairs: JsonValue) -> list[tuple[JsonValue, JsonValue]]:
    """Return the keys and items of a dict that is stored as pairs; none if these are damaged."""
    pairs = pairs if type(pairs) is list else []
    items = [(pair[0], pair[1]) for pair in pairs if type(pair) is list and len(pair) == 2]
    return items if len(items) == len(pairs) else []


def by_segment(pairs: JsonValue) -> dict[str, JsonValue]:
    """Return the items of a dict that is stored as pairs, by the segment for each. Only texts and ints have a segment.

    The result is not keyed by the keys themselves, because ints may have been chosen to collide.
    """
    items = items_of(pairs)
    return {segment_of(key): item for key, item in items if isinstance(key, (str, int)) and type(key) is not bool}


def is_opaque(tree: JsonValue) -> bool:
    """Whether a tree represents a value of which only the type and the repr could be stored."""
    return type(tree) is dict and tree.get("$") == "opaque"


def shortened(text: str, length: int = 200) -> str:
    """Cut a text that is longer than this many characters."""
    return text if len(text) <= length else text[:length] + "..."


@dataclass(frozen=True, slots=True, repr=False)
class Opaque:
    """A value that could not be stored; only its type and repr are known."""

    type: str  # module and name of the value's class
    repr: str  # the value's repr when it was stored, possibly cut
    path: str = "$"  # to the part that could not be stored, such as `$.rows[3].conn`
    cause: str = ""  # the type of that part, such as `socket`

    def __repr__(self) -> str:
        return f"<opaque {self.type}: {shortened(self.repr)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Undecodable:
    """A stored text, or a part of one, that is damaged or has a type that this process does not know."""

    raw: str
    type: str | None = None  # what the text names as its type
    reason: str = ""  # why it could not be read

    def __repr__(self) -> str:
        kind = f" {shortened(self.type)}" if self.type else ""
        why = f" ({shortened(self.reason)})" if self.reason else ""
        return f"<undecodable{kind}: {shortened(self.raw)!r}{why}>"
