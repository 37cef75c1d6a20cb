"""Encode an exception so that another process can raise it again.

Its class is looked up in modules that are loaded already, and it is made without the `__init__` of a user's class. Its
arguments and attributes are encoded like any value, with secrets masked. An exception that would not be the same again
is stored as the reason for that.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any, Final, TypeGuard

from zrb_store.codec.json_text import dumps, loads
from zrb_store.codec.text import decode, encode, to_json
from zrb_store.errors import UnencodableValue, ValueTooLarge, is_refusal
from zrb_store.masking import mask_named, mask_printed, mask_texts, storable
from zrb_store.records import JsonValue
from zrb_store.settings import DEFAULT_MAX_VALUE

_MODULE, _CLASS, _CONTENT, _INNER, _CAUSE, _PROBLEM = "module", "class", "content", "inner", "cause", "problem"
_MOST: Final = 20  # exceptions that led to one another, and are kept


class CannotRaise(Exception):
    """The reason why a stored exception cannot be raised again."""


def may_be_raised_again(error: BaseException) -> TypeGuard[Exception]:
    """Whether an exception is an outcome: no cancellation, no exit, and no error of this package."""
    return isinstance(error, Exception) and not is_refusal(error)


def encode_error(error: Exception, limit: int = DEFAULT_MAX_VALUE) -> str:
    """Encode an exception, or the reason why it could not be raised again."""
    try:
        found = _tree(error, limit, 0)
        text = dumps(found)
        if len(text) > limit:
            raise CannotRaise(f"it is larger than {limit:,} bytes")
        return text
    except CannotRaise as reason:
        return dumps({_PROBLEM: storable(mask_printed(str(reason)))})


def decode_error(text: str) -> Exception:
    """Return an exception like the one that was encoded; raise `CannotRaise` if there can be none in this process."""
    try:
        tree = loads(text)
        if type(tree) is not dict or _PROBLEM in tree:
            raise CannotRaise(str(tree[_PROBLEM] if type(tree) is dict else "it is damaged"))
        return _made_error(tree)
    except CannotRaise:
        raise
    except Exception as error:  # noqa: BLE001 - of damaged data, or of the metaclass of a user's class
        raise CannotRaise(f"it cannot be made again ({type(error).__name__})") from None


def _tree(error: BaseException, limit: int, depth: int) -> dict[str, JsonValue]:
    cls = type(error)
    module, name = cls.__module__, _name_of(cls)
    inner: list[BaseException] = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    # An OSError has its file name here, and not in `args`.
    args = [error.message] if isinstance(error, BaseExceptionGroup) else list(_built_in(cls).__reduce__(error)[1])
    content: list[Any] = [
        args,
        {name: value for name, value in vars(error).items() if name != "headers"},
        _slots(error),
    ]
    if isinstance(headers := vars(error).get("headers"), Mapping):
        content[1]["headers"] = {name: value for name, value in headers.items() if "cookie" not in str(name).lower()}
    elif "headers" in vars(error):
        content[1]["headers"] = headers
    try:
        encoded = encode(content, limit=limit).data
    except ValueTooLarge:
        raise CannotRaise(f"{cls.__qualname__} is larger than {limit:,} bytes") from None
    except UnencodableValue as problem:
        part = str(problem).partition(" (")[0].removeprefix("cannot store ")
        raise CannotRaise(f"{cls.__qualname__} has what cannot be stored, {part}") from None
    inner_trees: list[JsonValue] = [_tree(one, limit, depth) for one in inner]
    tree: dict[str, JsonValue] = {_MODULE: module, _CLASS: name, _CONTENT: to_json(encoded), _INNER: inner_trees}
    try:
        is_same = str(_made_error(tree)) == str(error)
    except Exception:  # noqa: BLE001 - the code of a user's class
        is_same = False
    if not is_same:
        raise CannotRaise(f"{cls.__qualname__} has more than its arguments and attributes")
    tree[_CONTENT] = mask_texts(mask_named(tree[_CONTENT]), mask_printed)
    if error.__cause__ is not None and depth < _MOST:
        with suppress(CannotRaise):  # few programs look at it
            tree[_CAUSE] = _tree(error.__cause__, limit, depth + 1)
    return tree


def _built_in(cls: type) -> Any:
    """Return the class of Python's own that an exception is of, or the nearest one."""
    return next(one for one in cls.__mro__ if one.__module__ == "builtins")


def _slots(error: BaseException) -> dict[str, Any]:
    """Return the attributes that are not in its `__dict__`."""
    return {name: getattr(error, name) for name in _slot_descriptors(type(error)) if hasattr(error, name)}


def _slot_descriptors(cls: type) -> Mapping[str, MemberDescriptorType]:
    own = [vars(one) for one in reversed(cls.__mro__) if one.__module__ != "builtins"]
    return {name: value for each in own for name, value in each.items() if isinstance(value, MemberDescriptorType)}


def _name_of(cls: type) -> str:
    """Return the name by which a loaded module has a class."""
    module = sys.modules.get(cls.__module__)
    if _find(cls.__module__, cls.__qualname__) is cls:
        return cls.__qualname__
    for name, value in list(vars(module).items() if module else ()):
        if value is cls:  # a private class that goes by the name of a public one
            return name
    raise CannotRaise(f"no module has its class {cls.__qualname__}")


def _find(module: str, name: str) -> object:
    """Return what a loaded module has by a name. No code of the module runs, as by `getattr`."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found


def _made_error(tree: Mapping[str, Any]) -> Exception:
    cls: Any = _find(tree[_MODULE], tree[_CLASS])
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise CannotRaise(f"its class {tree[_MODULE]}.{tree[_CLASS]} is not loaded")
    text = dumps(tree[_CONTENT])
    content = decode(text)
    try:
        is_same = encode(content).data == text
    except (UnencodableValue, ValueTooLarge):
        is_same = False
    if not is_same:
        raise CannotRaise(f"{tree[_CLASS]} has what comes back as plain data: register the class")
    args, attributes, slots = content
    if issubclass(cls, ExceptionGroup):
        args = [*args, list(map(_made_error, tree[_INNER]))]
    base = _built_in(cls)
    error: Exception = base.__new__(cls, *args)
    base.__init__(error, *args)
    vars(error).update(attributes)
    for name, value in slots.items():
        _slot_descriptors(cls)[name].__set__(error, value)
    if cause := tree.get(_CAUSE):
        with suppress(CannotRaise):
            error.__cause__ = _made_error(cause)
    return error
