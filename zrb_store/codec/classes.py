"""The classes that users register. Their objects, enums, other dataclasses and CmdResult are written and read here."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from zrb_store.codec.display import Opaque, Undecodable, qualified_name
from zrb_store.codec.standard import WRITERS, checked
from zrb_store.codec.walk import (
    LEAF_WRITERS,
    Readers,
    TaggedObject,
    TreeReader,
    Unencodable,
    ValueWriter,
    WriteFunction,
)
from zrb_store.errors import InvalidArgument
from zrb_store.records import JsonValue

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
_HEAP_TYPE = 1 << 9  # the flag (Py_TPFLAGS_HEAPTYPE) of a class that a class statement made


@dataclasses.dataclass
class CmdResult:
    """The result of a command, in a process that has not loaded zrb. As with zrb's class, `str` returns the output."""

    output: str
    error: str
    display: str = ""

    def __str__(self) -> str:
        return self.output


class Codec(NamedTuple):
    """A registered class. Without functions it is an Enum or a dataclass."""

    name: str
    cls: type
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


_by_class: dict[type, Codec] = {}
_by_name: dict[str, Codec] = {}


def codec_named(name: object) -> Codec | None:
    """Return the codec that is registered under a name from a stored text, or None."""
    if type(name) is not str:
        raise TypeError("'type' is not a text")
    return _by_name.get(name)


def is_stored_by_fields(cls: type) -> bool:
    """Whether a class is a dataclass whose fields are its whole state: no base is a builtin such as list or dict."""
    made_of_classes = all(base is object or base.__flags__ & _HEAP_TYPE for base in cls.__mro__)
    return dataclasses.is_dataclass(cls) and made_of_classes


@overload
def register_codec(
    cls: type[T],
    *,
    name: str | None = None,
    encode: Callable[[T], Any] | None = None,
    decode: Callable[[Any], T] | None = None,
) -> type[T]: ...


@overload
def register_codec(
    cls: None = None,
    *,
    name: str | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Callable[[type[T]], type[T]]: ...


def register_codec(
    cls: type[T] | None = None,
    *,
    name: str | None = None,
    encode: Callable[[T], Any] | None = None,
    decode: Callable[[Any], T] | None = None,
) -> type[T] | Callable[[type[T]], type[T]]:
    """Register a class whose objects can then be stored and restored. Also a decorator, with or without arguments.

    An Enum or a dataclass needs no functions. An Enum's member is restored by its name. A dataclass is restored from
    its stored attributes: `__init__` and `__post_init__` are not called again, and a field added since has its default.

    Args:
        cls: The class. Its subclasses are not included.
        name: The name of the class in the store; by default its module and qualified name. A process that reads the
            objects must register the same name, so give a name to a class defined in a script (`__main__`) or
            may move to another module. A class may be registered under several names: objects are written under the
            newest name, and read under each of them.
        encode: Converts an object to a value that can be stored. Classes other than Enums and dataclasses need it,
            together with `decode`.
        decode: Converts that value back to an object.

    Raises:
        InvalidArgument: The name belongs to another class, a function is missing, or the class has a built-in codec.
            This error is a `ValueError`.
    """
    if cls is None:
        return lambda decorated: register_codec(decorated, name=name, encode=encode, decode=decode)
    if not isinstance(cls, type):
        raise InvalidArgument(f"{cls!r} is not a class; register_codec takes the class of the values to store")
    name = f"{cls.__module__}.{cls.__qualname__}" if name is None else name
    codec = Codec(name, cls, encode, decode)
    _check(codec)
    taken = _by_name.get(name)
    if taken is not None and taken.cls is not cls:
        if qualified_name(taken.cls) != qualified_name(cls):
            raise InvalidArgument(
                f"{name!r} is already the name of {qualified_name(taken.cls)}; give {qualified_name(cls)} another"
            )
        _by_class.pop(taken.cls, None)  # it is the same class, whose module was loaded again
    _by_name[name] = codec
    _by_class[cls] = codec
    return cls


def _check(codec: Codec) -> None:
    cls, shown = codec.cls, qualified_name(codec.cls)
    if not isinstance(codec.name, str) or not codec.name:
        raise InvalidArgument(f"{codec.name!r} cannot name a codec: use a text that is not empty")
    if cls in LEAF_WRITERS or cls in WRITERS:
        raise InvalidArgument(f"{shown} has a codec, and it cannot be replaced")
    if (codec.encode is None) != (codec.decode is None):
        raise InvalidArgument(f"{shown} needs both functions, encode and decode, or none")
    if codec.encode is None and not issubclass(cls, Enum) and not is_stored_by_fields(cls):
        raise InvalidArgument(f"{shown} needs functions: register_codec({cls.__name__}, encode=..., decode=...)")


def writer_of(cls: type) -> WriteFunction | None:
    """Return the function that writes objects of this class, or None if they cannot be written."""
    if cls in WRITERS:
        return WRITERS[cls]
    codec = _by_class.get(cls)
    if codec is not None and codec.encode is not None:
        return _write_object
    if issubclass(cls, Enum):
        return _write_enum
    if cls is CmdResult or (cls.__name__ == "CmdResult" and cls.__module__.startswith("zrb.")):
        return lambda value, writer: {"$": "CmdResult", "v": writer.named(vars(value))}
    if cls in (Opaque, Undecodable):
        return None
    return _write_dataclass if is_stored_by_fields(cls) else None


def _stored_name(cls: type) -> str:
    codec = _by_class.get(cls)
    return qualified_name(cls) if codec is None else codec.name


def _write_object(value: Any, writer: ValueWriter) -> JsonValue:
    codec = _by_class[type(value)]
    assert codec.encode is not None
    return {"$": "object", "type": codec.name, "v": writer.walk(codec.encode(value))}


def _read_object(tree: TaggedObject, reader: TreeReader) -> Any:
    codec = codec_named(tree["type"])
    if codec is None or codec.decode is None:
        raise LookupError("no codec of this name is registered here")
    return codec.decode(reader.walk(tree["v"]))


def _write_enum(value: Enum, writer: ValueWriter) -> JsonValue:
    tree: TaggedObject = {"$": "enum", "type": _stored_name(type(value)), "name": value._name_}
    try:
        return tree | writer.named({"v": value._value_})
    except Unencodable:
        if _by_class.get(type(value)) is None:
            raise
        return tree  # the member of a registered enum is found by its name


def _read_enum(tree: TaggedObject, reader: TreeReader) -> Any:
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


def _write_dataclass(value: DataclassInstance, writer: ValueWriter) -> JsonValue:
    cls = type(value)
    unset = object()
    names = [field.name for field in dataclasses.fields(cls)]
    stored = {name: item for name in names if (item := getattr(value, name, unset)) is not unset}
    if _by_class.get(cls) is not None:
        # Attributes that __post_init__ or others added belong to the object; those that typing adds (__...) do not.
        attributes = getattr(value, "__dict__", {})
        stored |= {name: attributes[name] for name in attributes if name not in stored and not name.startswith("__")}
    return {"$": "dataclass", "type": _stored_name(cls), "v": writer.named(stored)}


def _read_dataclass(tree: TaggedObject, reader: TreeReader) -> Any:
    if type(tree["v"]) is not dict:
        raise TypeError("'v' is not a dict")
    codec = codec_named(tree["type"])
    stored = reader.named(tree["v"])
    if codec is None:
        return reader.plain(stored)
    if codec.decode is not None or not is_stored_by_fields(codec.cls):
        raise TypeError(f"{codec.name} is not stored by its fields here")
    return _restored(codec.cls, stored)


def _restored(cls: type[DataclassInstance], stored: dict[str, Any]) -> DataclassInstance:
    value = object.__new__(cls)
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


def _read_cmd_result(tree: TaggedObject, reader: TreeReader) -> CmdResult:
    stored = checked(tree, "v", dict)
    if not {"output", "error"} <= stored.keys():
        raise ValueError("it has no output and error")
    # Reading must not import modules, so zrb's class is used only if zrb is loaded. It is not called, since the
    # parameters of its constructor differ between releases.
    cls = getattr(sys.modules.get("zrb.cmd.cmd_result"), "CmdResult", CmdResult)
    value: CmdResult = cls.__new__(cls)
    value.__dict__.update(reader.named(stored))
    return value


READERS: Readers = {
    "object": (_read_object, frozenset({"$", "type", "v"})),
    "enum": (_read_enum, frozenset({"$", "type", "name", "v"})),
    "dataclass": (_read_dataclass, frozenset({"$", "type", "v"})),
    "CmdResult": (_read_cmd_result, frozenset({"$", "v"})),
}
