"""How a refused value, its type and its place are written for people: short, on one line, and never raising."""

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


def one_line(text: str) -> str:
    """Replace what would break a line or cannot be printed."""
    return "".join(char if char.isprintable() else "?" for char in text)


def type_name(cls: type) -> str:
    """The name of a class alone, for display."""
    return one_line(type.__dict__["__name__"].__get__(cls))


def full_name(cls: type) -> str:
    """Module and qualified name of a class, without `builtins.`."""
    try:
        name = f"{cls.__qualname__}" if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return type_name(cls)
    return one_line(name)


def said(error: Exception) -> str:
    """An exception in a few words."""
    try:
        return one_line(f"{type_name(type(error))}: {error}")[:200]
    except Exception:  # noqa: BLE001 - its own text may raise too
        return type_name(type(error))


def key_step(key: object) -> str:
    """The step of a path that leads to a dict's value: `.name`, `["odd name"]`, `[3]`."""
    if type(key) is str:
        cut = key if len(key) <= _KEY_SIZE else key[:_KEY_SIZE] + "..."
        return f".{cut}" if cut.isidentifier() else f"[{json.dumps(cut)}]"
    if key is None or type(key) in (bool, float) or (type(key) is int and key.bit_length() < _KEY_SIZE):
        return f"[{key!r}]"
    return f"[<{type_name(type(key))}>]"


def shorten_path(path: str) -> str:
    """Cut the middle out of a very long path."""
    if len(path) <= _PATH_SIZE:
        return path
    half = _PATH_SIZE // 2
    return f"{path[:half]}...{path[-half:]}"


def bounded_repr(value: object) -> str:
    """`repr(value)`, at most 4 KiB of it, also if the value is huge, contains itself or its repr raises."""
    parts: list[str] = []
    size = 0
    try:
        for part in _pieces(value, 0):
            parts.append(part)
            size += len(part)
            if size > _REPR_SIZE:
                break
    except Exception:  # noqa: BLE001 - another thread changes a container meanwhile
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
    except Exception as error:  # noqa: BLE001 - the user's own code, or an int of too many digits
        return f"<{full_name(type(value))} whose repr raised {type_name(type(error))}>"
