"""Inputs of a zrb session: what is kept and compared, and what is secret and never kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zrb_store.plugin import compat

MASK = "***"


class Secrets:
    """The secret inputs of a session: their names under every alias, and their values."""

    def __init__(self, tasks: Iterable[Any], given: Mapping[str, Any], inherited: Secrets | None = None) -> None:
        self.names: set[str] = set(inherited.names) if inherited else set()
        for task in tasks:
            for task_input in compat.own_inputs(task):
                if compat.is_secret(task_input):
                    self.names |= {task_input.name, compat.to_snake_case(task_input.name)}
        self.values: list[str] = []
        values = {str(given[name]) for name in self.names if name in given}
        if inherited:
            values.update(inherited.values)
        # The longest first, so that no part of one is left when it holds another.
        self.values = sorted(filter(None, values), key=len, reverse=True)

    def scrub(self, text: str) -> str:
        """The text with every secret value replaced."""
        for value in self.values:
            text = text.replace(value, MASK)
        return text


def kept_inputs(task: Any, given: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    """The session's inputs as they are stored and compared: rendered, each under one name, none of them secret."""
    declared = [task_input.name for task_input in task.inputs]
    aliases = {compat.to_snake_case(name) for name in declared} - set(declared)
    # A callback hands the whole of its parent's inputs on, each under both of its names.
    aliases |= {compat.to_snake_case(name) for name in given if compat.to_snake_case(name) != name}
    names = [name for name in given if name not in aliases or name in declared]
    return {name: _comparable(given[name]) for name in names if name not in secrets.names}


def _comparable(value: Any) -> Any:
    """The value if it is stored as it is; else text that is the same in the next process."""
    from zrb_store import codec
    from zrb_store.errors import UnencodableValue

    try:
        codec.encode(value)
    except UnencodableValue:
        text = str(value)
        return f"<{type(value).__qualname__}>" if " at 0x" in text else text
    return value


def ask_secrets(task: Any, given: Mapping[str, str]) -> dict[str, str]:
    """The secret inputs of a task that resumes: from the command line, else asked for as zrb does.

    Args:
        task: The task.
        given: Inputs from the command line, by name.
    """
    context = compat.SharedContext()
    answers: dict[str, str] = {}
    for task_input in task.inputs:
        if not compat.is_secret(task_input):
            continue
        if task_input.name in given:
            answers[task_input.name] = given[task_input.name]
        elif task_input.always_prompt and not _has_default_without_terminal(task_input, context):
            answers[task_input.name] = task_input.prompt_cli_str(context)
        else:
            answers[task_input.name] = task_input.get_default_str(context)
    return answers


def _has_default_without_terminal(task_input: Any, context: Any) -> bool:
    # A default may come from the environment; where nobody can be asked it is the answer.
    return not context.is_tty and bool(task_input.get_default_str(context))
