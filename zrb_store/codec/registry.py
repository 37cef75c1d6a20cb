"""The classes that users register."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeVar, overload

from zrb_store.codec.display import qualified_name
from zrb_store.errors import InvalidArgument

T = TypeVar("T")
_HEAP_TYPE = 1 << 9  # the flag (Py_TPFLAGS_HEAPTYPE) of a class that a class statement made


class Codec(NamedTuple):
    """A registered class. Without functions it is an Enum or a dataclass."""

    name: str
    cls: type
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


_by_class: dict[type, Codec] = {}
_by_name: dict[str, Codec] = {}


def codec_of(cls: type) -> Codec | None:
    """Return the codec that is registered for exactly this class, or None."""
    return _by_class.get(cls)


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
    cls: type[Any] | None = None,
    *,
    name: str | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Any:
    """Register a class, so that its objects can be stored and restored. Also a decorator, with or without arguments.

    An Enum or a dataclass needs no functions. An Enum's member is restored by its name. A dataclass is restored from
    its stored attributes: `__init__` and `__post_init__` are not called again, and a field added since has its default.

    Args:
        cls: The class. Its subclasses are not included.
        name: The name of the class in the store; by default its module and qualified name. A process that reads the
            objects must register the same name, so give a name to a class that is defined in a script (`__main__`) or
            may move to another module. A class may be registered under several names: objects are written under the
            newest name, and read under each of them.
        encode: Converts an object to a value that can be stored. Classes other than Enums and dataclasses need it,
            together with `decode`.
        decode: Converts that value back to an object.

    Returns:
        The class.

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
    # Late: a command that only lists sessions does not need these types.
    from zrb_store.codec.standard import LEAF_WRITERS, WRITERS

    cls, shown = codec.cls, qualified_name(codec.cls)
    if not isinstance(codec.name, str) or not codec.name:
        raise InvalidArgument(f"{codec.name!r} cannot name a codec: use a text that is not empty")
    if cls in LEAF_WRITERS or cls in WRITERS:
        raise InvalidArgument(f"{shown} has a codec, and it cannot be replaced")
    if (codec.encode is None) != (codec.decode is None):
        raise InvalidArgument(f"{shown} needs both functions, encode and decode, or none")
    if codec.encode is None and not issubclass(cls, Enum) and not is_stored_by_fields(cls):
        raise InvalidArgument(f"{shown} needs functions: register_codec({cls.__name__}, encode=..., decode=...)")
