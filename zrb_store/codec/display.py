"""Texts for messages about a value, its type and its place: short, on one line. None of these functions raises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

_REPR_SIZE = 4096
_REPR_DEPTH = 20
_KEY_SIZE = 60
_PATH_SIZE = 240
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
        cut = key if len(key) <= _KEY_SIZE else key[:_KEY_SIZE] + "..."
        return f".{cut}" if cut.isidentifier() else f"[{json.dumps(cut)}]"
    if key is None or type(key) in (bool, float) or (type(key) is int and key.bit_length() < _KEY_SIZE):
        return f"[{key!r}]"
    return f"[<{type_name(type(key))}>]"


def shorten_path(path: str) -> str:
    """Replace the middle of a very long path by `...`."""
    if len(path) <= _PATH_SIZE:
        return path
    half = _PATH_SIZE // 2
    return f"{path[:half]}...{path[-half:]}"


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
    text = "".join(parts)
    return text if len(text) <= _REPR_SIZE else text[:_REPR_SIZE] + "..."


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
