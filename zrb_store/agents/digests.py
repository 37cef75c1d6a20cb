"""Digests of values, as a model sees them, and of code, as a person has written it.

What a function gives may change by itself, as the time does. So of a function its code counts, with the plain values
and the functions that it names or closes over; and of an object its class, and its fields that are text.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, TypeAlias

from pydantic import ConfigDict, TypeAdapter
from pydantic_ai import messages
from pydantic_core import to_jsonable_python

from zrb_store.records import JsonValue

_ANY: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_bytes="base64"))
CONTENT_CLASSES = (
    *(messages.AudioUrl, messages.BinaryAudio, messages.BinaryContent, messages.BinaryImage, messages.CachePoint),
    *(messages.DocumentUrl, messages.ImageUrl, messages.TextContent, messages.UploadedFile, messages.VideoUrl),
)
_CONTENT = {cls.kind: cls for cls in CONTENT_CLASSES}
_KINDS = ("kind", "part_kind")
_known_defaults: dict[type[Any], dict[str, Any]] = {}
Fallback: TypeAlias = Callable[[Any], Any]


def plain(value: Any, fallback: Fallback | None = None) -> JsonValue:
    """Return a value as JSON data, as a model sees it, with the elements of sets sorted, unless in pydantic's models.

    Fields of pydantic-ai's objects that are at their default are left out, since each of its releases has more of them.
    """
    kind = type(value)
    if value is None or kind in (str, bool, int, float):
        leaf: JsonValue = value
        return leaf
    if kind is dict or isinstance(value, Mapping):
        return {_key(key, fallback): plain(item, fallback) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, fallback) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, fallback) for item in value), key=sorted_json)
    if isinstance(value, Enum):
        return plain(value.value, fallback)
    if _is_of_pydantic_ai(kind) or (dataclasses.is_dataclass(kind) and not hasattr(kind, "__pydantic_serializer__")):
        return plain(fields_of(value), fallback)
    return _written(value, fallback)


def _written(value: Any, fallback: Fallback | None) -> JsonValue:
    written: JsonValue = _ANY.dump_python(value, mode="json", by_alias=True, fallback=fallback)
    return _without_defaults(written)


def _without_defaults(data: JsonValue) -> JsonValue:
    """Return what pydantic has written, with its pictures and other content as `plain` writes them."""
    if isinstance(data, list):
        return [_without_defaults(item) for item in data]
    if not isinstance(data, dict):
        return data
    kind = data.get("kind")
    defaults = _defaults(_CONTENT[kind]) if isinstance(kind, str) and kind in _CONTENT else {}
    return {key: _without_defaults(item) for key, item in data.items() if key not in defaults or item != defaults[key]}


sorted_json = json.JSONEncoder(sort_keys=True).encode  # made once: `json.dumps` would make one for each text


def _is_of_pydantic_ai(kind: type[Any]) -> bool:
    return kind.__module__.startswith("pydantic_ai.") and dataclasses.is_dataclass(kind)


def fields_of(value: Any) -> Any:
    """Return the fields of an object that count: of pydantic-ai's, those that are not at their default."""
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__"):
        fields = _ANY.dump_python(value, by_alias=True)
    else:
        fields = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(kind)}
    if _is_of_pydantic_ai(kind):
        defaults = _defaults(kind)
        fields = {name: item for name, item in fields.items() if name not in defaults or item != defaults[name]}
    return fields


def _key(key: Any, fallback: Fallback | None) -> str:
    if type(key) is str and key.isascii():
        return key
    try:
        (text,) = to_jsonable_python({key: None}, fallback=fallback, bytes_mode="base64")
        return str(text)
    except ValueError:  # pydantic knows no such key
        return json.dumps(plain(key, fallback))


def _defaults(kind: type[Any]) -> dict[str, Any]:
    """Return the values of the fields of a class that do not count, but for its kind."""
    if kind not in _known_defaults:
        _known_defaults[kind] = {
            one.name: one.default_factory() if one.default_factory in (dict, list) else one.default
            for one in dataclasses.fields(kind)
            if one.name not in _KINDS
        }
    return _known_defaults[kind]


def digest(value: Any, length: int = 12) -> str:
    """Return a short digest of a value."""
    try:
        data = plain(value, lambda other: type(other).__qualname__)
    except RecursionError:  # many values would have one digest
        raise
    except Exception:  # noqa: BLE001 - whatever a user's own serializer raises
        data = type(value).__qualname__
    return hashlib.sha256(sorted_json(data).encode()).hexdigest()[:length]


def digest_of_deps(deps: Any) -> str:
    """Return a digest of what an agent depends on: of a model, the sets among its fields are in any order."""
    return digest(vars(deps) if hasattr(type(deps), "__pydantic_fields__") else deps)


_LIBRARIES = frozenset({"builtins", "pydantic_ai", "zrb", "zrb_store", *sys.stdlib_module_names})
_HOLDERS = (MethodType, staticmethod, classmethod, property, functools.partial)  # of functions
_HELD = ("__func__", "__self__", "fget", "func", "args", "keywords")


def code(value: Any) -> JsonValue:
    """Return what a person has written of a value, as JSON data. What may change by itself counts as None."""
    return _code(value, {})


def _code(value: Any, seen: dict[int, object]) -> JsonValue:
    if value is None or type(value) in (bool, int, str, bytes):
        plain: JsonValue = value.hex() if type(value) is bytes else value
        return plain
    if id(value) in seen:
        return None
    seen[id(value)] = value
    if type(value) in (list, tuple):
        return [_code(item, seen) for item in value]
    if type(value) in (set, frozenset, dict):
        items = value.items() if type(value) is dict else value
        return sorted((_code(item, seen) for item in items), key=json.dumps)
    if isinstance(value, FunctionType):
        return _code(list(_of_function(value)), seen)
    if isinstance(value, _HOLDERS):
        return _code([getattr(value, name, None) for name in _HELD], seen)
    return _code(_of_object(value), seen)


def _of_function(function: FunctionType) -> Iterator[Any]:
    """Yield what counts of a function: its code if it is the user's own, its defaults, and what it closes over."""
    if _is_own(function.__module__):
        yield function.__code__.co_code
        yield from _named(function)
    else:
        yield function.__qualname__
    yield function.__defaults__
    yield function.__kwdefaults__
    yield from map(_content, function.__closure__ or ())


def _of_object(value: Any) -> list[Any] | None:
    """Return what counts of an object: what its class has, and its fields that are functions or, of an own class, text.

    Other fields may change by themselves, as a counter does. The classes of libraries do not count.
    """
    kind = value if isinstance(value, type) else type(value)
    own = [base for base in kind.__mro__ if _is_own(base.__module__)]
    members = {name: item for base in reversed(own) for name, item in vars(base).items()}
    counting = {name: item for name, item in members.items() if name[:2] != "__" or isinstance(item, FunctionType)}
    names = () if kind is value else sorted({*getattr(value, "__dict__", ()), *getattr(kind, "__slots__", ())})
    types = (*([str] if own else ()), FunctionType, *_HOLDERS)
    fields = {name: item for name in names if isinstance(item := getattr(value, name, None), types)}
    return [kind.__qualname__, counting, fields] if own or fields else None


def _named(function: FunctionType) -> Iterator[Any]:
    """Yield the constants and names of a function, and those inside it, with the module's globals of these names."""
    codes = [function.__code__]
    for each in codes:
        inner = [one for one in each.co_consts if isinstance(one, CodeType)]
        codes += inner
        constants = [one for one in each.co_consts if one is not function.__doc__ and one not in inner]
        # The repr of a set, as of `x in {"a", "b"}`, has another order in each process.
        yield [sorted(map(repr, one)) if isinstance(one, frozenset) else repr(one) for one in constants]
        found = [function.__globals__.get(name) for name in each.co_names]
        yield [one for one in found if not isinstance(one, FunctionType) or _is_own(one.__module__)]
        yield [each.co_names, *(one.co_code for one in inner)]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has none yet
        return None


def _is_own(module: str | None) -> bool:
    """Whether a module is the user's own."""
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return (module or "").partition(".")[0] not in _LIBRARIES and "site-packages" not in file
