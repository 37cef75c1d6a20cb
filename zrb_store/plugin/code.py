"""A digest of what a task runs: its action and its templates, as a person wrote them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable
from types import CodeType, FunctionType, MethodType, NoneType
from typing import Any
from zlib import crc32

from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask

_PARTS = ("_action", "_cmd", "_envs", "_execute_condition", "_message", "_system_prompt")
_PLAIN = frozenset({str, bytes, bool, int, float, NoneType})
_VERSION = "{}.{}:".format(*sys.version_info)  # which bytecode depends on


def code_of(task: AnyTask) -> str | None:
    """Return a digest of what a task runs. That of another version of Python cannot be compared."""
    action = compat.action_of(task)
    try:
        found = 0 if action.__module__.startswith("zrb.") else _digest(action, 0)  # of a class of the user's
        for name in _PARTS:
            if (part := getattr(task, name, None)) is not None:
                found = _digest(part, crc32(name.encode(), found))
    except Exception:  # noqa: BLE001 - it is made of the user's objects, and only a plan needs it
        return None
    return f"{_VERSION}{found:08x}"


def has_changed(task: AnyTask, code: str | None) -> bool:
    """Whether a task runs something else than what had this digest, as far as is known."""
    return code is not None and code.startswith(_VERSION) and code != code_of(task)


def _digest(value: Any, found: int) -> int:
    """Continue a digest with what a person wrote of a value."""
    kind = type(value)
    parts: Iterable[Any]
    if kind is FunctionType:
        function = inspect.unwrap(value) if "__wrapped__" in value.__dict__ else value
        parts = getattr(function, "__code__", None), value.__defaults__, value.__kwdefaults__
    elif kind is CodeType:
        plain = [one for one in value.co_consts if type(one) in _PLAIN]  # most are
        parts = [one for one in value.co_consts if type(one) not in _PLAIN]
        found = crc32(repr((value.co_names, plain)).encode(errors="replace"), crc32(value.co_code, found))
    elif kind is tuple or kind is list:
        parts = value
    elif kind is MethodType or kind is functools.partial:
        parts = (value.__func__,) if kind is MethodType else (value.func, value.args, value.keywords)
    elif kind is dict:
        parts = *value, *value.values()
    elif kind is frozenset:  # its order is another one in each process
        parts = sorted(map(repr, value))
    elif kind in _PLAIN:
        return crc32(repr(value).encode(errors="replace"), found)
    else:  # such as a template or a variable of zrb
        fields = getattr(value, "__dict__", {}).items()
        parts = kind.__qualname__, *((name, one) for name, one in fields if isinstance(one, (str, dict, FunctionType)))
    for part in parts:
        found = _digest(part, found)
    return found
