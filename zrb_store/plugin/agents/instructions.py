"""The instructions that a task declares, as digests. zrb adds some that change by themselves."""

from __future__ import annotations

from types import CodeType
from typing import Any

from zrb_store.plugin.agents.fingerprint import digest


def declared_instructions(task: Any, text: str) -> dict[str, str]:
    """Return digests of the instructions that a task declares.

    If zrb adds no sections of its own, these are the whole text. The sections name the folder, the commands and the
    project's files that zrb finds, and so on: of these only the names count, and of a function that makes instructions
    only its code.

    Args:
        task: The task.
        text: The instructions that zrb has composed now.
    """
    manager = getattr(task, "prompt_manager_attr", None)
    sections = list(getattr(manager, "active_sections", ()))
    if not sections:
        return {"text": digest(text)}
    prompts = [prompt if isinstance(prompt, str) else _of_code(prompt) for prompt in manager.prompts]  # type: ignore[union-attr]
    return {"sections": digest(sections), "prompts": digest(prompts)}


def _of_code(function: Any) -> Any:
    code = getattr(function, "__code__", None)
    return _constants(code) if isinstance(code, CodeType) else type(function).__qualname__


def _constants(code: CodeType) -> Any:
    """Return what distinguishes a code from another, and is the same in each release of Python."""
    constants = [
        # The repr of a set, as of `x in {"a", "b"}`, has another order in each process.
        _constants(one) if isinstance(one, CodeType) else one if isinstance(one, frozenset) else repr(one)
        for one in code.co_consts
    ]
    return [code.co_name, list(code.co_names), constants]
