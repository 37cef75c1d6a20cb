"""Writers and readers for the types of the standard library.

A writer is found by a value's exact type: an object of a subclass is never restored as one of the base class.
A reader gets the whole tagged object and may raise anything; `walk.TreeReader` then returns an `Undecodable`.
"""

from __future__ import annotations

import binascii
import re
from collections import OrderedDict
from collections.abc import Hashable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, InvalidOperation
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from zrb_store.codec.display import Opaque, Undecodable
from zrb_store.codec.json_text import dumps, write_text
from zrb_store.codec.walk import (
    LEAF_WRITERS,
    Readers,
    ReadFunction,
    TaggedObject,
    TreeReader,
    Unencodable,
    ValueWriter,
    WriteFunction,
)
from zrb_store.records import JsonValue

T = TypeVar("T")

_JUST_VALUE = frozenset({"$", "v"})
_WITH_ZONE = frozenset({"$", "v", "tz", "fold"})
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_NON_FINITE = ("nan", "inf", "-inf")
_RAISE_IF_INVALID = Context(traps=[InvalidOperation])


def checked(tree: TaggedObject, key: str, kind: type[T]) -> T:
    """Return a part of a tagged object if it has the required type."""
    part = tree[key]
    if type(part) is not kind or not isinstance(part, kind):
        raise TypeError(f"{key!r} is not a {kind.__name__}")
    return part


def _text(tree: TaggedObject) -> str:
    return checked(tree, "v", str)


def _read_float(tree: TaggedObject, reader: TreeReader) -> float:
    if _text(tree) not in _NON_FINITE:
        raise ValueError("not nan, inf or -inf")
    return float(_text(tree))


# -- containers --


def _write_set(value: set[Hashable] | frozenset[Hashable], writer: ValueWriter) -> JsonValue:
    trees = writer.items(value, "{{*}}")
    writer.refuse_collisions(value, trees)
    # In one order, since `same` compares the lists.
    return {"$": type(value).__name__, "v": sorted(trees, key=dumps)}


def _read_elements(tree: TaggedObject, reader: TreeReader) -> frozenset[Hashable]:
    trees: list[JsonValue] = checked(tree, "v", list)
    elements = reader.key(trees)
    reader.refuse_collisions(elements, trees)
    found = frozenset(elements)
    if len(found) != len(elements):
        raise ValueError("two elements are equal")
    return found


def _write_dict(value: dict[Any, Any], writer: ValueWriter) -> JsonValue:
    for key in value:
        if type(key) is not str or key == "$" or type(write_text(key)) is not str:
            return {"$": "dict", "v": writer.pairs(value)}
    return writer.named(value)


def _read_dict(tree: TaggedObject, reader: TreeReader) -> dict[Hashable, Any]:
    pairs = checked(tree, "v", list)
    keys: list[Hashable] = []
    for key, _ in pairs:
        keys.append(key if type(key) in LEAF_WRITERS else reader.key(key))
    reader.refuse_collisions(keys, (key for key, _ in pairs))
    values = {}
    for key, (_, item) in zip(keys, pairs):  # noqa: B905 - checking the lengths takes a tenth more time
        values[key] = item if type(item) in LEAF_WRITERS else reader.walk(item)
    if len(values) != len(pairs):
        raise ValueError("two keys are equal")
    return values


# -- bytes, numbers, names --


def _write_bytes(value: bytes | bytearray, writer: ValueWriter) -> JsonValue:
    return {"$": type(value).__name__, "v": binascii.b2a_base64(value, newline=False).decode()}


def _read_bytes(tree: TaggedObject, reader: TreeReader) -> bytes:
    return binascii.a2b_base64(_text(tree), strict_mode=True)


def _write_as_text(value: Decimal | UUID | PurePath | ZoneInfo, writer: ValueWriter) -> JsonValue:
    return {"$": type(value).__name__, "v": write_text(str(value))}


def _path_reader(cls: type[PurePath]) -> ReadFunction:
    return lambda tree, reader: cls(_text({"v": reader.walk(tree["v"])}))


# -- dates and times --


def _iso_preserves(zone: tzinfo | None) -> bool:
    if type(zone) is not timezone:
        return zone is None
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
    return not name and not offset.microseconds  # fromisoformat reads an offset of less than a second as UTC


def _write_moment(value: datetime | time, writer: ValueWriter) -> JsonValue:
    tree: TaggedObject = {"$": type(value).__name__}
    if _iso_preserves(value.tzinfo):
        tree["v"] = value.isoformat()
    else:
        tree["v"] = value.replace(tzinfo=None).isoformat()
        tree["tz"] = writer.named({"tzinfo": value.tzinfo})["tzinfo"]
    if value.fold:
        tree["fold"] = 1
    return tree


def _read_moment(tree: TaggedObject, reader: TreeReader, cls: type[datetime] | type[time]) -> datetime | time:
    value = cls.fromisoformat(_text(tree))
    if "tz" in tree:
        zone = reader.walk(tree["tz"])
        if not isinstance(zone, tzinfo):
            raise ValueError(f"its time zone cannot be read: {zone!r}")
        value = value.replace(tzinfo=zone)
    return value.replace(fold=checked(tree, "fold", int)) if "fold" in tree else value


def _parts(value: timedelta) -> list[JsonValue]:
    return [value.days, value.seconds, value.microseconds]


def _from_parts(parts: JsonValue) -> timedelta:
    numbers = [part for part in parts if type(part) is int] if type(parts) is list else []
    if type(parts) is not list or len(parts) != 3 or len(numbers) != 3:
        raise TypeError("not days, seconds and microseconds")
    return timedelta(*numbers)


def _write_timezone(value: timezone, writer: ValueWriter) -> JsonValue:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return {"$": "timezone", "v": [_parts(offset), *writer.items(name)]}


def _read_timezone(tree: TaggedObject, reader: TreeReader) -> timezone:
    offset, *name = checked(tree, "v", list)
    return timezone(_from_parts(offset), *reader.walk(name))


def _write_zone_info(value: ZoneInfo, writer: ValueWriter) -> JsonValue:
    if value.key is None:
        raise Unencodable("ZoneInfo", "it has no key")
    return _write_as_text(value, writer)


def _read_zone_info(tree: TaggedObject, reader: TreeReader) -> ZoneInfo:
    if not _ZONE_KEY.fullmatch(_text(tree)):  # checked because ZoneInfo imports and opens what the key names
        raise ValueError("not the key of a time zone")
    return ZoneInfo(_text(tree))


# -- stand-ins --


def _read_opaque(tree: TaggedObject, reader: TreeReader) -> Opaque:
    type_, repr_, path, cause = (checked(tree, key, str) for key in ("type", "repr", "path", "cause"))
    return Opaque(type_, repr_, path, cause)


WRITERS: dict[type, WriteFunction] = {
    list: lambda value, writer: writer.items(value),
    tuple: lambda value, writer: {"$": "tuple", "v": writer.items(value)},
    set: _write_set,
    frozenset: _write_set,
    dict: _write_dict,
    OrderedDict: lambda value, writer: {"$": "OrderedDict", "v": writer.pairs(value)},
    bytes: _write_bytes,
    bytearray: _write_bytes,
    Decimal: _write_as_text,
    UUID: _write_as_text,
    PosixPath: _write_as_text,
    WindowsPath: _write_as_text,
    PurePosixPath: _write_as_text,
    PureWindowsPath: _write_as_text,
    date: lambda value, writer: {"$": "date", "v": value.isoformat()},
    datetime: _write_moment,
    time: _write_moment,
    timedelta: lambda value, writer: {"$": "timedelta", "v": _parts(value)},
    timezone: _write_timezone,
    ZoneInfo: _write_zone_info,
}
READERS: Readers = {
    "str": (lambda tree, reader: "".join(checked(tree, "v", list)), _JUST_VALUE),
    "int": (lambda tree, reader: int(_text(tree), 16), _JUST_VALUE),
    "float": (_read_float, _JUST_VALUE),
    "tuple": (lambda tree, reader: tuple(reader.walk(checked(tree, "v", list))), _JUST_VALUE),
    "set": (lambda tree, reader: set(_read_elements(tree, reader)), _JUST_VALUE),
    "frozenset": (_read_elements, _JUST_VALUE),
    "dict": (_read_dict, _JUST_VALUE),
    "OrderedDict": (lambda tree, reader: OrderedDict(_read_dict(tree, reader)), _JUST_VALUE),
    "bytes": (_read_bytes, _JUST_VALUE),
    "bytearray": (lambda tree, reader: bytearray(_read_bytes(tree, reader)), _JUST_VALUE),
    "Decimal": (lambda tree, reader: Decimal(_text(tree), _RAISE_IF_INVALID), _JUST_VALUE),
    "UUID": (lambda tree, reader: UUID(_text(tree)), _JUST_VALUE),
    "PosixPath": (_path_reader(PosixPath), _JUST_VALUE),
    # Python does not instantiate the path class of another system, only its pure class, which cannot reach files.
    "WindowsPath": (_path_reader(PureWindowsPath), _JUST_VALUE),
    "PurePosixPath": (_path_reader(PurePosixPath), _JUST_VALUE),
    "PureWindowsPath": (_path_reader(PureWindowsPath), _JUST_VALUE),
    "date": (lambda tree, reader: date.fromisoformat(_text(tree)), _JUST_VALUE),
    "datetime": (lambda tree, reader: _read_moment(tree, reader, datetime), _WITH_ZONE),
    "time": (lambda tree, reader: _read_moment(tree, reader, time), _WITH_ZONE),
    "timedelta": (lambda tree, reader: _from_parts(tree["v"]), _JUST_VALUE),
    "timezone": (_read_timezone, _JUST_VALUE),
    "ZoneInfo": (_read_zone_info, _JUST_VALUE),
    "opaque": (_read_opaque, frozenset({"$", "type", "repr", "path", "cause"})),
    "undecodable": (
        lambda tree, reader: Undecodable(checked(tree, "raw", str), reason="stored after it could not be read"),
        frozenset({"$", "raw"}),
    ),
}
