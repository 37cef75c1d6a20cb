"""Values as a person reads them in tables: `24.90` for a Decimal, `(1, 2)` for a tuple, `Order(id=7)` for a dataclass.

`codec.to_json` gives such a value a tag, and each tag has a function here.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple, TypeAlias, TypeVar

from zrb_store.records import JsonValue

TEXT_TAGS = frozenset(
    {"Decimal", "UUID", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "ZoneInfo"}
    | {"date", "datetime", "time", "float"}
)
"""The tags of values whose text says all."""


class _Part(NamedTuple):
    """A part of a tree that is still to be written."""

    tree: JsonValue


_Pieces = Iterator[str | _Part]
_Tagged: TypeAlias = dict[str, JsonValue]
_Pair = tuple[str | _Part, JsonValue]
_K = TypeVar("_K", str, list[JsonValue], dict[str, JsonValue])


def readable(tree: JsonValue, length: int | None = None) -> str:
    """Write a value, as `codec.to_json` returns it, on one line.

    What Python and JSON write alike is written as JSON, so a str is in quotes. A command's result is written as its
    output. What is known of a value that cannot be decoded is written as it is.

    Args:
        length: About how many characters are needed; by default all.
    """
    written, room = [], length
    for piece in _written(tree, length):
        written.append(piece)
        if room is not None:
            room -= len(piece)
            if room < 0:
                break
    return "".join(written)


def _written(tree: JsonValue, length: int | None) -> Iterator[str]:
    unfinished: list[_Pieces] = [iter([_Part(tree)])]  # not recursive: a damaged value may be nested very deep
    while unfinished:
        piece = next(unfinished[-1], None)
        if piece is None:
            unfinished.pop()
        elif isinstance(piece, _Part):
            unfinished.append(_parts(piece.tree, length))
        else:
            yield piece


def _parts(tree: JsonValue, length: int | None) -> _Pieces:
    if type(tree) is str:
        yield _quoted(tree if length is None else tree[:length])
    elif type(tree) is list:
        yield from _listed("[", tree, "]")
    elif type(tree) is not dict:
        yield json.dumps(tree)
    elif "$" not in tree:
        yield from _paired("{", ((_quoted(key), item) for key, item in tree.items()), "}")
    else:
        content = tree.get("v")
        if length is not None and tree["$"] in ("bytes", "bytearray") and type(content) is str:
            tree = {**tree, "v": content[: 4 * length]}  # whole groups of three bytes
        yield from _tagged(tree)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _listed(opening: str, items: Iterable[JsonValue], closing: str) -> _Pieces:
    """Write the items of a container."""
    yield opening
    for number, item in enumerate(items):
        if number:
            yield ", "
        yield _Part(item)
    yield closing


def _paired(opening: str, pairs: Iterable[_Pair], closing: str, joint: str = ": ") -> _Pieces:
    """Write the pairs of a container."""
    yield opening
    for number, (key, item) in enumerate(pairs):
        if number:
            yield ", "
        yield key
        yield joint
        yield _Part(item)
    yield closing


def _tagged(tree: _Tagged) -> _Pieces:
    try:
        pieces = _TAGS[_checked(tree["$"], str)](tree)
        beginning = next(pieces)
    except Exception:  # noqa: BLE001 - a damaged value, or one of a later version: shown as it is stored
        yield json.dumps(tree, ensure_ascii=False)
    else:
        yield beginning
        yield from pieces


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
    yield _checked(tree["v"], str)


def _moment(tree: _Tagged) -> _Pieces:
    yield _checked(tree["v"], str).replace("T", " ")
    if "tz" in tree:
        yield " "
        yield _Part(tree["tz"])
    if "fold" in tree:
        yield " (the second time)"


def _joined(tree: _Tagged) -> _Pieces:
    yield _quoted("".join(map(str, _checked(tree["v"], list))))


def _tuple(tree: _Tagged) -> _Pieces:
    items = _checked(tree["v"], list)
    yield from _listed("(", items, ",)" if len(items) == 1 else ")")


def _set(tree: _Tagged) -> _Pieces:
    items, opening, closing = _checked(tree["v"], list), "{", "}"
    if not items or tree["$"] == "frozenset":
        opening, closing = f"{tree['$']}({opening * bool(items)}", f"{closing * bool(items)})"
    yield from _listed(opening, items, closing)


def _pairs(tree: _Tagged) -> _Pieces:
    pairs: list[_Pair] = []
    for pair in _checked(tree["v"], list):
        key, item = _checked(pair, list)
        pairs.append((_Part(key), item))
    yield from _paired("{", pairs, "}")


def _bytes(tree: _Tagged) -> _Pieces:
    content = binascii.a2b_base64(_checked(tree["v"], str), strict_mode=True)
    yield repr(content if tree["$"] == "bytes" else bytearray(content))


def _timedelta(tree: _Tagged) -> _Pieces:
    length = timedelta(*_numbers(tree["v"]))
    yield f"-{-length}" if length < timedelta() else str(length)


def _timezone(tree: _Tagged) -> _Pieces:
    offset, *name = _checked(tree["v"], list)
    if name:
        yield _checked(name[0], str)
        return
    length = timedelta(*_numbers(offset))
    minutes, seconds = divmod(abs(length) // timedelta(seconds=1), 60)
    sign = "-" if length < timedelta() else "+"
    yield f"UTC{sign}{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")


def _class_name(tree: _Tagged) -> str:
    return _checked(tree["type"], str).rpartition(".")[2]


def _enum(tree: _Tagged) -> _Pieces:
    if tree["name"] is None:  # a flag without a name
        yield from _object(tree)
    else:
        yield f"{_class_name(tree)}.{_checked(tree['name'], str)}"


def _dataclass(tree: _Tagged) -> _Pieces:
    yield from _paired(f"{_class_name(tree)}(", _checked(tree["v"], dict).items(), ")", "=")


def _object(tree: _Tagged) -> _Pieces:
    content = tree["v"]
    yield f"{_class_name(tree)}("
    yield _Part(content)
    yield ")"


def _cmd_result(tree: _Tagged) -> _Pieces:
    output = _checked(tree["v"], dict)["output"]
    yield ""
    yield _Part(output)


def _opaque(tree: _Tagged) -> _Pieces:
    yield str(tree["repr"])


def _undecodable(tree: _Tagged) -> _Pieces:
    yield f"undecodable: {tree['raw']}"


_TAGS: dict[str, Callable[[_Tagged], _Pieces]] = {
    **dict.fromkeys(TEXT_TAGS, _text),
    "datetime": _moment,
    "time": _moment,
    "str": _joined,
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
    "dataclass": _dataclass,
    "object": _object,
    "CmdResult": _cmd_result,
    "opaque": _opaque,
    "undecodable": _undecodable,
}
