"""Digests of what a person has declared: the instructions of a task, and the hooks that change its requests.

What a function gives may change by itself, as the time does. So of a function only its code counts, with the plain
values and functions that it closes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

from pydantic_ai.capabilities import AbstractCapability

from zrb_store.agents.fingerprint import digest
from zrb_store.records import JsonValue

_DEEPEST = 6  # how far values are followed into what they hold
_LIBRARIES = ("pydantic_ai", "zrb", "zrb_store")
_CHANGING = ("before_model_request", "wrap_model_request", "get_instructions")


def declared_instructions(task: object, text: str) -> dict[str, JsonValue]:
    """Return digests of the instructions that a task declares.

    Of the sections that zrb adds (the folder, commands, the project's files) only the names count.
    """
    manager = getattr(task, "prompt_manager_attr", None)
    if manager is None:
        return {"text": digest(text)}
    return {
        "sections": digest(list(manager.active_sections)),
        "prompts": digest([_code(one) for one in manager.prompts]),
    }


def declared_hooks(root: Any, agent: Any = None) -> str:
    """Return a digest of what may change an agent's requests by itself; empty if there is nothing.

    That is the capabilities of it, which `root` has in newer releases, and the functions that give its instructions.
    """
    given = getattr(agent, "_instructions", ())
    functions = [one for one in given if callable(getattr(one, "instruction", one))]
    found = [*(one for one in getattr(root, "capabilities", ()) if _may_change(one)), *functions]
    return digest([_code(one) for one in found]) if found else ""


def _may_change(capability: Any) -> bool:
    kind = type(capability)
    stock = [getattr(AbstractCapability, name, None) for name in _CHANGING]
    return not kind.__module__.startswith("zrb_store.") and [getattr(kind, name, None) for name in _CHANGING] != stock


def _code(value: Any, depth: int = 0) -> Any:
    """Return what a person has written of a value, as plain data that is equal in each release of Python."""
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    if depth > _DEEPEST:
        return type(value).__qualname__
    deeper = depth + 1
    if isinstance(value, CodeType):
        # The repr of a set, as of `x in {"a", "b"}`, has another order in each process.
        constants = [
            _code(one, deeper) if isinstance(one, CodeType) else one if isinstance(one, frozenset) else repr(one)
            for one in value.co_consts
        ]
        return [value.co_name, list(value.co_names), constants]
    if isinstance(value, MethodType):
        return [_code(value.__func__, deeper), _code(value.__self__, deeper)]
    if isinstance(value, FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return [_code(one, deeper) for one in (value.__code__, value.__defaults__, value.__kwdefaults__, *cells)]
    if isinstance(value, Mapping):
        return [[str(key), _code(item, deeper)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_code(item, deeper) for item in value]
    if isinstance(value, type):
        return value.__qualname__
    kind = type(value)
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in (*_LIBRARIES, "builtins")]
    methods = [one for base in own for one in vars(base).values() if isinstance(one, FunctionType)]
    return [kind.__qualname__, _code([one.__code__ for one in methods], deeper), _code(_fields(value), deeper)]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has none yet
        return None


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of an object, such as a partial function, that a person has given."""
    if hasattr(value, "func"):
        return {"func": value.func, "args": getattr(value, "args", ()), "keywords": getattr(value, "keywords", {})}
    return dict(getattr(value, "__dict__", {}))
