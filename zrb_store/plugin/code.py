"""A digest of what a task runs: its action and its templates, as a person wrote them."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from types import CodeType, FunctionType, MethodType
from typing import Any

from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask

_PARTS = ("_action", "_cmd", "_envs", "_execute_condition", "_message", "_system_prompt")
_VERSION = "{}.{}:".format(*sys.version_info)  # which bytecode depends on


def code_of(task: AnyTask) -> str:
    """Return a digest of what a task runs. That of another version of Python cannot be compared."""
    found: list[str] = []
    action = compat.action_of(task)
    if not action.__module__.startswith("zrb."):  # a class of the user's
        _read(action, found)
    for name in _PARTS:
        if (part := getattr(task, name, None)) is not None:
            found.append(name)
            _read(part, found)
    return _VERSION + hashlib.sha256("\n".join(found).encode(errors="surrogatepass")).hexdigest()[:16]


def has_changed(task: AnyTask, code: str | None) -> bool:
    """Whether a task runs something else than what had this digest, as far as is known."""
    return code is not None and code.startswith(_VERSION) and code != code_of(task)


def _read(value: Any, found: list[str]) -> None:
    """Add what a person wrote of a value."""
    kind = type(value)
    if kind is str or value is None or kind in (bool, int, float, bytes):
        found.append(repr(value))
    elif kind is tuple or kind is list:
        for item in value:
            _read(item, found)
    elif kind is CodeType:
        found.append(value.co_code.hex())
        found += value.co_names
        _read(value.co_consts, found)
    elif kind is FunctionType:
        function = inspect.unwrap(value)
        _read((getattr(function, "__code__", None), value.__defaults__, value.__kwdefaults__), found)
    elif kind is MethodType or kind is functools.partial:
        _read(value.__func__ if kind is MethodType else (value.func, value.args), found)
    elif kind is dict:
        _read((*value, *value.values()), found)
    elif kind is frozenset:  # its order is another one in each process
        found += sorted(map(repr, value))
    else:  # such as a template or a variable of zrb
        fields = getattr(value, "__dict__", {}).items()
        found.append(kind.__qualname__)
        _read([(name, one) for name, one in fields if isinstance(one, (str, dict, FunctionType))], found)
