"""Writers and readers for registered classes, enums, dataclasses and zrb's CmdResult."""

from __future__ import annotations

import dataclasses
import sys
from enum import Enum, Flag
from typing import Any

from zrb_store.codec.display import qualified_name
from zrb_store.codec.registry import codec_named, codec_of, is_stored_by_fields
from zrb_store.codec.stand_ins import CmdResult, Opaque, Undecodable
from zrb_store.codec.standard import checked
from zrb_store.codec.tree import Reader, ReadFunction, TaggedObject, WriteFunction, Writer
from zrb_store.codec.unencodable import Unencodable
from zrb_store.json_tree import JsonValue


def writer_of(cls: type) -> WriteFunction | None:
    """Return the function that writes objects of this class, or None if they cannot be written."""
    codec = codec_of(cls)
    if codec is not None and codec.encode is not None:
        return _write_object
    if issubclass(cls, Enum):
        return _write_enum
    if cls is CmdResult or (cls.__name__ == "CmdResult" and cls.__module__.startswith("zrb.")):
        return _write_cmd_result
    if cls in (Opaque, Undecodable):
        return None
    return _write_dataclass if is_stored_by_fields(cls) else None


def _stored_name(cls: type) -> str:
    codec = codec_of(cls)
    return qualified_name(cls) if codec is None else codec.name


def _write_object(value: Any, writer: Writer) -> JsonValue:
    codec = codec_of(type(value))
    assert codec is not None
    assert codec.encode is not None
    return {"$": "object", "type": codec.name, "v": writer.walk(codec.encode(value))}


def _read_object(tree: TaggedObject, reader: Reader) -> Any:
    codec = codec_named(tree["type"])
    if codec is None or codec.decode is None:
        raise LookupError("no codec of this name is registered here")
    return codec.decode(reader.walk(tree["v"]))


def _write_enum(value: Enum, writer: Writer) -> JsonValue:
    tree: TaggedObject = {"$": "enum", "type": _stored_name(type(value)), "name": value._name_}
    try:
        return tree | writer.named({"v": value._value_})
    except Unencodable:
        if codec_of(type(value)) is None:
            raise
        return tree  # the member of a registered enum is found by its name


def _read_enum(tree: TaggedObject, reader: Reader) -> Any:
    codec = codec_named(tree["type"])
    if codec is None:
        return reader.plain(reader.walk(tree["v"]))
    cls = codec.cls
    if not issubclass(cls, Enum):
        raise TypeError(f"{codec.name} is not an Enum here")
    member = cls.__members__.get(str(tree["name"]))
    if member is None and issubclass(cls, Flag) and type(tree["v"]) is int:
        member = cls(tree["v"])
    if type(member) is not cls:
        raise LookupError("it has no such member here")
    return member


def _write_dataclass(value: Any, writer: Writer) -> JsonValue:
    cls = type(value)
    unset = object()
    names = [field.name for field in dataclasses.fields(cls)]
    stored = {name: item for name in names if (item := getattr(value, name, unset)) is not unset}
    if codec_of(cls) is not None:
        # Attributes that __post_init__ or others added belong to the object; those that typing adds (__...) do not.
        attributes = getattr(value, "__dict__", {})
        stored |= {name: attributes[name] for name in attributes if name not in stored and not name.startswith("__")}
    return {"$": "dataclass", "type": _stored_name(cls), "v": writer.named(stored)}


def _read_dataclass(tree: TaggedObject, reader: Reader) -> Any:
    if type(tree["v"]) is not dict:
        raise TypeError("'v' is not a dict")
    codec = codec_named(tree["type"])
    stored = reader.named(tree["v"])
    if codec is None:
        return reader.plain(stored)
    if codec.decode is not None or not is_stored_by_fields(codec.cls):
        raise TypeError(f"{codec.name} is not stored by its fields here")
    return _restored(codec.cls, stored)


def _restored(cls: type, stored: dict[str, Any]) -> Any:
    value: Any = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in stored:
            item = stored.pop(field.name)
        elif field.default is not dataclasses.MISSING:
            item = field.default
        elif field.default_factory is not dataclasses.MISSING:
            item = field.default_factory()
        elif field.init:
            raise LookupError(f"the field {field.name} is new here, and has no default")
        else:
            continue
        object.__setattr__(value, field.name, item)  # works on frozen dataclasses too
    if hasattr(value, "__dict__"):
        value.__dict__.update(stored)
    return value


def _write_cmd_result(value: Any, writer: Writer) -> JsonValue:
    return {"$": "CmdResult", "v": writer.named(vars(value))}


def _read_cmd_result(tree: TaggedObject, reader: Reader) -> Any:
    stored = checked(tree, "v", dict)
    if not {"output", "error"} <= stored.keys():
        raise ValueError("it has no output and error")
    # Reading must not import modules, so zrb's class is used only if zrb is loaded. It is not called, since the
    # parameters of its constructor differ between releases.
    cls = getattr(sys.modules.get("zrb.cmd.cmd_result"), "CmdResult", CmdResult)
    value = cls.__new__(cls)
    value.__dict__.update(reader.named(stored))
    return value


READERS: dict[str, tuple[ReadFunction, frozenset[str]]] = {
    "object": (_read_object, frozenset({"$", "type", "v"})),
    "enum": (_read_enum, frozenset({"$", "type", "name", "v"})),
    "dataclass": (_read_dataclass, frozenset({"$", "type", "v"})),
    "CmdResult": (_read_cmd_result, frozenset({"$", "v"})),
}
