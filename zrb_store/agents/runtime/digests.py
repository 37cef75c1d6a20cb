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
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

from pydantic import ConfigDict, RootModel, TypeAdapter
from pydantic_core import to_jsonable_python

from zrb_store.records import JsonValue

_ANY: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_bytes="base64"))
_KINDS = ("kind", "part_kind")
_defaults: dict[type[Any], dict[str, Any]] = {}  # of the fields of pydantic-ai's classes
Fallback: TypeAlias = Callable[[Any], Any]


def plain(value: Any, fallback: Fallback | None = None) -> JsonValue:
    """Return a value as JSON data, as a model sees it, with the elements of sets sorted.

    Fields of pydantic-ai's objects that are at their default are left out, since each of its releases has more of them.
    """
    kind = type(value)
    if value is None or kind in (str, bool, int, float):
        leaf: JsonValue = value
        return leaf
    if isinstance(value, Iterator):  # to read it would use it up
        if fallback is None:
            raise TypeError(f"{kind.__qualname__} is no data")
        return plain(fallback(value))
    if isinstance(value, Mapping):
        return {_key(key, fallback): plain(item, fallback) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, fallback) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, fallback) for item in value), key=sorted_json)
    if isinstance(value, Enum):
        return plain(value.value, fallback)
    if _is_of_pydantic_ai(kind) or (dataclasses.is_dataclass(kind) and not hasattr(kind, "__pydantic_serializer__")):
        return plain(fields_of(value), fallback)
    return _in_order(_written(value, fallback), value)


def _written(value: Any, fallback: Fallback | None = None) -> JsonValue:
    written: JsonValue = _ANY.dump_python(value, mode="json", by_alias=True, fallback=fallback)
    return written


def _in_order(data: JsonValue, value: Any) -> JsonValue:
    """Return the JSON data that pydantic has made of a value, with the elements of sets sorted."""
    if _is_of_pydantic_ai(type(value)):
        # Only content such as pictures, which has a serializer of its own, comes back as itself. A user's serializer
        # may have written something else.
        is_content = hasattr(type(value), "__pydantic_serializer__") and data == _written(value)
        return plain(value) if is_content else data
    if isinstance(value, RootModel):
        return _in_order(data, value.root)
    # Pydantic iterates a set as we do, so that each element is found beside its data.
    if isinstance(data, list) and isinstance(value, (set, frozenset, list, tuple)) and len(data) == len(value):
        items = [_in_order(one, item) for one, item in zip(data, value, strict=True)]
        return sorted(items, key=sorted_json) if isinstance(value, (set, frozenset)) else items
    if isinstance(data, dict):
        items_of = _items(value, data)
        return {key: _in_order(one, items_of.get(key)) for key, one in data.items()}
    return data


def _items(value: Any, data: dict[str, JsonValue]) -> dict[str, Any]:
    """Return what is in a mapping, a model or a dataclass, by the names that pydantic has written."""
    kind = type(value)
    if isinstance(value, Mapping):
        return dict(zip(data if len(data) == len(value) else map(str, value), value.values(), strict=True))
    if not hasattr(kind, "__pydantic_fields__"):
        names = [one.name for one in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        return {name: getattr(value, name, None) for name in names}
    named = {getattr(one, "serialization_alias", None) or name: name for name, one in kind.__pydantic_fields__.items()}
    computed = kind.__pydantic_decorators__.computed_fields
    named |= {one.info.alias or name: name for name, one in computed.items()}
    found = {key: getattr(value, name, None) for key, name in named.items() if key in data}
    return {**(getattr(value, "__pydantic_extra__", None) or {}), **found}


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
        if kind not in _defaults:
            _defaults[kind] = {one.name: _default(one) for one in dataclasses.fields(kind) if one.name not in _KINDS}
        defaults = _defaults[kind]
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


def _default(one: dataclasses.Field[Any]) -> Any:
    return one.default_factory() if one.default_factory in (dict, list) else one.default


def digest(value: Any) -> str:
    """Return a short digest of a value."""
    try:
        data = plain(value, lambda other: type(other).__qualname__)
    except RecursionError:  # many values would have one digest
        raise
    except Exception:  # noqa: BLE001 - whatever a user's own serializer raises
        data = type(value).__qualname__
    return hashlib.sha256(sorted_json(data).encode()).hexdigest()[:12]


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
        modules = [one for one in found if isinstance(one, ModuleType) and _is_own(one.__name__)]
        for one in modules:
            inside = [vars(one).get(name) for name in each.co_names]
            modules += [own for own in inside if isinstance(own, ModuleType) and _is_own(own.__name__)]
            found += inside
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
