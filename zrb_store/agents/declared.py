"""Digests of what a person has declared: the instructions of a task, and the hooks that change its requests.

What a function gives may change by itself, as the time does. So of a function its code counts, with the plain values
and the functions that it names or closes over; and of an object its class, and its fields that are text.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from pydantic_ai.capabilities import AbstractCapability

from zrb_store.agents.fingerprint import digest
from zrb_store.records import JsonValue

_LIBRARIES = frozenset({"builtins", "pydantic_ai", "zrb", "zrb_store", *sys.stdlib_module_names})
_HOLDERS = (MethodType, staticmethod, classmethod, property, functools.partial)  # of functions
_HELD = ("__func__", "__self__", "fget", "func", "args", "keywords")
_CHANGING = ("before_model_request", "wrap_model_request")


def declared_instructions(task: object, text: str) -> dict[str, JsonValue]:
    """Return digests of the instructions that a task declares.

    Of the sections that zrb adds (the folder, commands, the project's files) only the names count.
    """
    manager = getattr(task, "prompt_manager_attr", None)
    if manager is None:
        return {"text": digest(text)}
    return {
        "sections": digest(list(manager.active_sections)),
        "prompts": digest([_code(one, {}) for one in manager.prompts]),
    }


def declared_hooks(root: Any) -> str:
    """Return a digest of what may change an agent's requests: its capabilities, which `root` has; empty if none may."""
    found = [one for one in getattr(root, "capabilities", ()) if _may_change(one)]
    return digest([_code(one, {}) for one in found]) if found else ""


def declared_functions(ctx: Any) -> list[str]:
    """Return digests of the functions of an agent and its capabilities that give the instructions, in their order.

    There are none if they get `deps`, but zrb's: they say something else for each customer, so that their text counts.
    """
    override = getattr(ctx.agent, "_override_instructions", None)
    has_deps = ctx.deps is not None and not type(ctx.deps).__module__.startswith("zrb.")
    if has_deps or (override is not None and override.get() is not None):
        return []
    own = getattr(getattr(ctx, "root_capability", None), "get_instructions", lambda: None)()
    given = [*getattr(ctx.agent, "_instructions", ()), *(own if isinstance(own, list | tuple) else [own])]
    return [digest(_code(one, {})) for each in given if callable(one := getattr(each, "instruction", each))]


def _may_change(capability: Any) -> bool:
    kind = type(capability)
    stock = [getattr(AbstractCapability, name, None) for name in _CHANGING]
    return not kind.__module__.startswith("zrb_store.") and [getattr(kind, name, None) for name in _CHANGING] != stock


def _code(value: Any, seen: dict[int, object]) -> JsonValue:
    """Return what a person has written of a value, as JSON data. What may change by itself counts as None."""
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
        held = map(_content, value.__closure__ or ())
        own = [value.__code__.co_code, *_named(value)] if _is_own(value.__module__) else [value.__qualname__]
        return _code([*own, value.__defaults__, value.__kwdefaults__, *held], seen)
    if isinstance(value, _HOLDERS):
        return _code([getattr(value, name, None) for name in _HELD], seen)
    kind = value if isinstance(value, type) else type(value)
    bases = [base for base in kind.__mro__ if _is_own(base.__module__)]
    members = {name: item for base in reversed(bases) for name, item in vars(base).items()}
    counting = {name: item for name, item in members.items() if name[:2] != "__" or isinstance(item, FunctionType)}
    names = () if kind is value else sorted({*getattr(value, "__dict__", ()), *getattr(kind, "__slots__", ())})
    types = (*([str] if bases else ()), FunctionType, *_HOLDERS)
    fields = {name: item for name in names if isinstance(item := getattr(value, name, None), types)}
    return _code([kind.__qualname__, counting, fields], seen) if bases or fields else None


def _named(function: FunctionType) -> Iterator[Any]:
    """Yield the constants and names of a function, and those inside it, with the module's globals of these names."""
    codes = [function.__code__]
    for code in codes:
        inner = [one for one in code.co_consts if isinstance(one, CodeType)]
        codes += inner
        constants = [one for one in code.co_consts if one is not function.__doc__ and one not in inner]
        # The repr of a set, as of `x in {"a", "b"}`, has another order in each process.
        yield [sorted(map(repr, one)) if isinstance(one, frozenset) else repr(one) for one in constants]
        found = [function.__globals__.get(name) for name in code.co_names]
        yield [one for one in found if not isinstance(one, FunctionType) or _is_own(one.__module__)]
        yield [code.co_names, *(one.co_code for one in inner)]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has none yet
        return None


def _is_own(module: str | None) -> bool:
    """Whether a module is the user's own."""
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return (module or "").partition(".")[0] not in _LIBRARIES and "site-packages" not in file
