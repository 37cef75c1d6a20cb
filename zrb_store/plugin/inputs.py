"""Inputs of a zrb session: what is kept and compared, and what is secret and never kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zrb_store.plugin import compat

MASK = "***"


# Of all sessions of this process: what one was given may turn up in what is kept of another.
_values: set[str] = set()


class Secrets:
    """The secret inputs of a session: their names under every alias, and what must not be kept anywhere."""

    def __init__(self, tasks: Iterable[Any], given: Mapping[str, Any], inherited: Secrets | None = None) -> None:
        self.names: set[str] = set(inherited.names) if inherited else set()
        for task in tasks:
            for task_input in compat.own_inputs(task):
                if compat.is_secret(task_input):
                    self.names |= {task_input.name, compat.to_snake_case(task_input.name)}
        for value in filter(None, (str(given[name]) for name in self.names if name in given)):
            # Messages quote values, as in KeyError('pa\\ss').
            _values.update((value, repr(value)[1:-1], json.dumps(value)[1:-1]))

    def scrub(self, text: str) -> str:
        """The text with every secret value replaced."""
        # The longest first, so that no part of one is left when it holds another.
        for value in sorted(_values, key=len, reverse=True):
            text = text.replace(value, MASK)
        return text

    def scrub_command(self, words: Sequence[str]) -> list[str]:
        """A command line without secrets; what it gives to a secret input by name goes, whoever takes it."""
        kept: list[str] = []
        hide = False
        for word in words:
            option, equals, _ = word.partition("=")
            secret = option.startswith("--") and compat.to_snake_case(option[2:]) in self.names
            if secret and equals:
                kept.append(f"{option}={MASK}")
            else:
                kept.append(MASK if hide else self.scrub(word))
            hide = secret and not equals
        return kept


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

    Raises:
        InvalidName: One was given that is not secret, or cannot be asked for.
    """
    from zrb_store.errors import InvalidName

    secret = {task_input.name: task_input for task_input in task.inputs if compat.is_secret(task_input)}
    for name in given:
        if name not in secret:
            raise InvalidName(f"--{name} is no secret input of {task.name}: a resume takes the inputs that are stored")
    return {name: given[name] if name in given else _ask(task_input) for name, task_input in secret.items()}


def _ask(task_input: Any) -> str:
    import getpass
    import warnings

    from zrb_store.errors import InvalidName

    context = compat.SharedContext()
    default = str(task_input.get_default_str(context))
    # A default may come from the environment; where nobody can be asked it is the answer.
    if not task_input.always_prompt or (default and not context.is_tty):
        return default
    try:
        with warnings.catch_warnings():
            # A piped answer is as good as a typed one.
            warnings.simplefilter("ignore", getpass.GetPassWarning)
            return str(task_input.prompt_cli_str(context))
    except (EOFError, ValueError):  # zrb's own answer where there is no terminal, by release
        print(file=sys.stderr)  # the prompt has no end of line
        name = task_input.name
        raise InvalidName(f"secret input {name} is not stored, and nobody can be asked: give --{name} VALUE") from None
