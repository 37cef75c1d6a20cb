"""The classes that users register."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeVar, overload

from zrb_store.codec.shown import full_name
from zrb_store.errors import InvalidName

T = TypeVar("T")
_HEAP_TYPE = 1 << 9  # the flag of a class made by a class statement


class Codec(NamedTuple):
    """A registered class; without functions it is an Enum or a dataclass."""

    name: str
    cls: type
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


_by_class: dict[type, Codec] = {}
_by_name: dict[str, Codec] = {}


def codec_of(cls: type) -> Codec | None:
    """The codec registered for exactly this class."""
    return _by_class.get(cls)


def codec_named(name: object) -> Codec | None:
    """The codec registered under this name, as found in a stored text."""
    if type(name) is not str:
        raise TypeError("'type' is not a text")
    return _by_name.get(name)


def is_stored_by_fields(cls: type) -> bool:
    """Whether the fields are all there is to an object: a dataclass with no list, dict or exception inside."""
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
    """Let objects of exactly this class be stored and come back; also a decorator, with or without arguments.

    An Enum or a dataclass needs nothing else. An Enum's member comes back by its name. A dataclass comes back from its
    stored attributes: `__init__` and `__post_init__` are not called again, a field added since takes its default.

    Args:
        cls: The class. Its subclasses are not included.
        name: What it is called in the store; module and qualified name by default. A process that reads needs the
            same name registered, so name what lives in a script's `__main__`, or may move to another module.
            A class may be registered under several names: it is written under the newest, and read under each.
        encode: Makes an object into a value that can be stored. Needed, with `decode`, for any other class.
        decode: Makes that value into an object again.

    Returns:
        The class.

    Raises:
        InvalidName: A `ValueError`: the name is another class's, a function is missing, or the class has a codec.
    """
    if cls is None:
        return lambda decorated: register_codec(decorated, name=name, encode=encode, decode=decode)
    if not isinstance(cls, type):
        raise InvalidName(f"{cls!r} is not a class; register_codec takes the class of the values to store")
    name = f"{cls.__module__}.{cls.__qualname__}" if name is None else name
    codec = Codec(name, cls, encode, decode)
    _check(codec)
    taken = _by_name.get(name)
    if taken is not None and taken.cls is not cls:
        if full_name(taken.cls) != full_name(cls):
            raise InvalidName(f"{name!r} is already the name of {full_name(taken.cls)}; give {full_name(cls)} another")
        _by_class.pop(taken.cls, None)  # its module was loaded again
    _by_name[name] = codec
    _by_class[cls] = codec
    return cls


def _check(codec: Codec) -> None:
    # Late: a command that only lists sessions need not import every type.
    from zrb_store.codec.standard import LEAF_WRITERS, WRITERS

    cls, shown = codec.cls, full_name(codec.cls)
    if not isinstance(codec.name, str) or not codec.name:
        raise InvalidName(f"{codec.name!r} cannot name a codec: use a text that is not empty")
    if cls in LEAF_WRITERS or cls in WRITERS:
        raise InvalidName(f"{shown} has a codec, and it cannot be replaced")
    if (codec.encode is None) != (codec.decode is None):
        raise InvalidName(f"{shown} needs both functions, encode and decode, or none")
    if codec.encode is None and not issubclass(cls, Enum) and not is_stored_by_fields(cls):
        raise InvalidName(f"{shown} needs functions: register_codec({cls.__name__}, encode=..., decode=...)")
