"""Values as a person reads them in tables: `24.90` for a Decimal, `(1, 2)` for a tuple, `Order(id=7)` for a dataclass.

`codec.to_json` gives such a value a tag, and each tag has a function here.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NamedTuple, TypeAlias, TypeVar

from zrb_store.records import JsonValue, Lazy

TEXT_TAGS = frozenset(
    {"Decimal", "UUID", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "ZoneInfo"}
    | {"date", "datetime", "time", "float"}
)
"""The tags of values whose text says all."""

_LONGEST = 2000  # characters of a part that a page shows
_JOINTS = {
    **dict.fromkeys(("tuple", "set", "frozenset"), ""),
    **dict.fromkeys(("dict", "OrderedDict"), ": "),
    "dataclass": "=",
    **dict.fromkeys(("object", "enum")),
}


class _Part(NamedTuple):
    """A part of a tree that is still to be written."""

    tree: JsonValue


_Pieces = Iterable[str | _Part]
_Tagged: TypeAlias = dict[str, JsonValue]
_Pair = tuple[str | _Part, JsonValue]
_K = TypeVar("_K", str, list[JsonValue], dict[str, JsonValue])


def readable(tree: JsonValue | Lazy[JsonValue], length: int | None = None) -> str:
    """Write a value, as `codec.to_json` returns it, on one line: all, or at least the first `length` characters.

    What Python and JSON write alike is written as JSON, so a str is in quotes. A command's result is written as its
    output. What is known of a value that cannot be decoded is written as it is.
    """
    written, room = [], length
    # Each level of the tree takes one call, and `codec` reads no tree that is nested deeper than Python's stack allows.
    for piece in _parts(tree, length):
        written.append(readable(piece.tree, room) if isinstance(piece, _Part) else piece)
        if room is not None:
            room -= len(written[-1])
            if room < 0:
                break
    return "".join(written)


def with_words(tree: JsonValue) -> JsonValue:
    """Return a value in which each part with a tag says under `as` how it reads, so that a page needs to know no tag.

    `as` is a text, which is left out if `v` is the same. If the part has other parts in it, `as` is a list: what stands
    before them, what joins a name to its part ("" without names, None for a single part), and what stands after them.
    """
    # Trees may be nested deep: `map` needs no frame of Python, as a comprehension does before 3.12.
    if type(tree) is list:
        return list(map(with_words, tree))
    if type(tree) is not dict:
        return tree
    if "$" not in tree:
        return dict(zip(tree, map(with_words, tree.values()), strict=True))
    tree = {name: part for name, part in tree.items() if name != "as"}  # a damaged value may have it
    tag, content = tree["$"], tree.get("v")
    pieces = list(_parts(tree, None)) if type(tag) is str and tag in _JOINTS else []
    if any(isinstance(piece, _Part) for piece in pieces):
        around: list[JsonValue] = [str(pieces[0]), _JOINTS[str(tag)], str(pieces[-1])]
        return {**tree, "v": with_words(content), "as": around}
    text = readable(tree, _LONGEST)
    return tree if text == content else {**tree, "as": text[:_LONGEST]}


def _parts(tree: JsonValue | Lazy[JsonValue], length: int | None) -> _Pieces:
    if type(tree) is str:
        return [_quoted(tree if length is None else tree[:length])]
    if isinstance(tree, (list, Lazy)):
        return _listed("[", tree, "]")
    if type(tree) is not dict:
        return [json.dumps(tree)]
    if "$" not in tree:
        return _paired("{", ((_quoted(key), item) for key, item in tree.items()), "}")
    content = tree.get("v")
    if length is not None and tree["$"] in ("bytes", "bytearray") and type(content) is str:
        tree = {**tree, "v": content[: 4 * length]}  # whole groups of three bytes
    try:
        return _TAGS[_checked(tree["$"], str)](tree)
    except Exception:  # noqa: BLE001 - a damaged value, or one of a later version: shown as it is stored
        return [json.dumps(tree, ensure_ascii=False)]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _listed(opening: str, items: Iterable[JsonValue], closing: str) -> _Pieces:
    yield opening
    for number, item in enumerate(items):
        yield ", " if number else ""
        yield _Part(item)
    yield closing


def _paired(opening: str, pairs: Iterable[_Pair], closing: str, joint: str = ": ") -> _Pieces:
    yield opening
    for number, (key, item) in enumerate(pairs):
        yield from (", " if number else "", key, joint, _Part(item))
    yield closing


def _checked(part: JsonValue, kind: type[_K]) -> _K:
    if not isinstance(part, kind):
        raise TypeError(f"not a {kind.__name__}")
    return part


def _numbers(part: JsonValue) -> list[float]:
    items = _checked(part, list)
    numbers = [item for item in items if isinstance(item, (int, float))]
    if len(numbers) < len(items):
        raise TypeError("not all are numbers")
    return numbers


def _text(tree: _Tagged) -> _Pieces:
    return [_checked(tree["v"], str)]


def _moment(tree: _Tagged) -> _Pieces:
    written: list[str | _Part] = [_checked(tree["v"], str).replace("T", " ")]
    if "tz" in tree:
        written += (" ", _Part(tree["tz"]))
    return [*written, " (the second time)"] if "fold" in tree else written


def _tuple(tree: _Tagged) -> _Pieces:
    items = _checked(tree["v"], list)
    return _listed("(", items, ",)" if len(items) == 1 else ")")


def _set(tree: _Tagged) -> _Pieces:
    items, opening, closing = _checked(tree["v"], list), "{", "}"
    if not items or tree["$"] == "frozenset":
        opening, closing = f"{tree['$']}({opening * bool(items)}", f"{closing * bool(items)})"
    return _listed(opening, items, closing)


def _pairs(tree: _Tagged) -> _Pieces:
    pairs = (_checked(pair, list) for pair in _checked(tree["v"], list))
    return _paired("{", [(_Part(key), item) for key, item in pairs], "}")


def _bytes(tree: _Tagged) -> _Pieces:
    content = binascii.a2b_base64(_checked(tree["v"], str), strict_mode=True)
    return [repr(content if tree["$"] == "bytes" else bytearray(content))]


def _timedelta(tree: _Tagged) -> _Pieces:
    length = timedelta(*_numbers(tree["v"]))
    return [f"-{-length}" if length < timedelta() else str(length)]


def _timezone(tree: _Tagged) -> _Pieces:
    offset, *name = _checked(tree["v"], list)
    if name:
        return [_checked(name[0], str)]
    length = timedelta(*_numbers(offset))
    minutes, seconds = divmod(abs(length) // timedelta(seconds=1), 60)
    sign = "-" if length < timedelta() else "+"
    return [f"UTC{sign}{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")]


def _class_name(tree: _Tagged) -> str:
    return _checked(tree["type"], str).rpartition(".")[2]


def _enum(tree: _Tagged) -> _Pieces:
    if tree["name"] is None:  # a flag without a name
        return _object(tree)
    return [f"{_class_name(tree)}.{_checked(tree['name'], str)}"]


def _object(tree: _Tagged) -> _Pieces:
    return [f"{_class_name(tree)}(", _Part(tree["v"]), ")"]


_TAGS: dict[str, Callable[[_Tagged], _Pieces]] = {
    **dict.fromkeys(TEXT_TAGS, _text),
    "datetime": _moment,
    "time": _moment,
    "str": lambda tree: [_quoted("".join(map(str, _checked(tree["v"], list))))],
    "int": _text,
    "tuple": _tuple,
    "set": _set,
    "frozenset": _set,
    "dict": _pairs,
    "OrderedDict": _pairs,
    "bytes": _bytes,
    "bytearray": _bytes,
    "timedelta": _timedelta,
    "timezone": _timezone,
    "enum": _enum,
    "dataclass": lambda tree: _paired(f"{_class_name(tree)}(", _checked(tree["v"], dict).items(), ")", "="),
    "object": _object,
    "CmdResult": lambda tree: [_Part(_checked(tree["v"], dict)["output"])],
    "opaque": lambda tree: [str(tree["repr"])],
    "undecodable": lambda tree: [f"undecodable: {tree['raw']}"],
}
