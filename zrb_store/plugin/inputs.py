"""Inputs of a zrb session: what is kept and compared, and what is secret and never kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zrb_store.masking import MASK, is_secret_name, mask_command, mask_remembered, remember
from zrb_store.plugin import compat

# The key of an input that is stored with secrets masked; zrb's inputs are no dicts.
_MASKED = "masked"


class Secrets:
    """The secret inputs of a session.

    Their values are remembered for as long as the process lives: what one session was given may turn up in what is
    kept of another.

    Attributes:
        names: Their names under every alias.
    """

    def __init__(self, tasks: Iterable[Any], given: Mapping[str, Any], inherited: Secrets | None = None) -> None:
        self.names: set[str] = set(inherited.names) if inherited else set()
        for task in tasks:
            for task_input in compat.own_inputs(task):
                if compat.is_secret(task_input):
                    self.names |= {task_input.name, compat.to_snake_case(task_input.name)}
        self._values = {str(given[name]) for name in self.names if name in given}
        remember(*self._values)

    def mask_command(self, words: Sequence[str]) -> list[str]:
        """A command line without secrets; what it gives to a secret input by name goes, whoever takes it."""
        # A value that is too short to be remembered may still be a word of its own.
        kept = [MASK if word and word in self._values else word for word in words]
        return mask_command(kept, lambda name: is_secret_name(name) or compat.to_snake_case(name) in self.names)


def kept_inputs(task: Any, given: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    """The session's inputs as they are stored and compared: rendered, each under one name, none of them secret.

    What holds a secret, such as a default that is made of one, is kept as `{"masked": TEXT}`, the secret masked.
    """
    declared = [task_input.name for task_input in task.inputs]
    aliases = {compat.to_snake_case(name) for name in declared} - set(declared)
    # A callback hands the whole of its parent's inputs on, each under both of its names.
    aliases |= {compat.to_snake_case(name) for name in given if compat.to_snake_case(name) != name}
    names = [name for name in given if name not in aliases or name in declared]
    return {name: _kept(given[name]) for name in names if name not in secrets.names}


def _kept(value: Any) -> Any:
    """The value if it is stored as it is; else text that is the same in the next process, and holds no secret."""
    from zrb_store import codec
    from zrb_store.errors import UnencodableValue

    try:
        text = value if isinstance(value, str) else codec.encode(value).data
    except UnencodableValue:
        kind = type(value).__qualname__
        value = text = str(value)
        if " at 0x" in text:
            return f"<{kind}>"
    masked = mask_remembered(text)
    return value if masked == text else {_MASKED: masked}


def _is_masked(kept: Any) -> bool:
    return isinstance(kept, dict) and kept.keys() == {_MASKED}


def inputs_to_resume(task: Any, stored: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of a task that resumes.

    They are those that are stored. A secret one comes from the command line, or is asked for as zrb does; one that
    is stored with a secret masked comes from the command line, or is its default again.

    Args:
        task: The task.
        stored: Inputs as they were stored, by name.
        given: Inputs from the command line, by name.

    Raises:
        InvalidName: One was given that is stored, or one that is not stored cannot be known.
    """
    from zrb_store.errors import InvalidName

    masked = {name for name, value in stored.items() if _is_masked(value)}
    secret = {task_input.name for task_input in task.inputs if compat.is_secret(task_input)}
    for name in given:
        if name not in masked | secret:
            raise InvalidName(f"--{name} is no secret input of {task.name}: a resume takes the inputs that are stored")
    # One by one, as zrb does: a default may be made of the inputs before it.
    context = compat.SharedContext(env=dict(os.environ))
    for task_input in task.inputs:
        name = task_input.name
        if name in given:
            _take(task_input, context, given[name])
        elif name in secret:
            task_input.update_shared_context(context, str_value=_ask(task_input, context))
        else:
            task_input.update_shared_context(context, value=None if name in masked else stored.get(name))
    found = {task_input.name: context.input[task_input.name] for task_input in task.inputs}
    remember(*(str(found[name]) for name in secret))
    for name in found.keys() & masked - secret:
        if _kept(found[name]) != stored[name]:
            raise InvalidName(
                f"input {name} held a secret, which is not stored: give --{name} VALUE as it was, "
                f"{stored[name][_MASKED]!r}"
            )
    return {**stored, **found}


def _take(task_input: Any, context: Any, text: str) -> None:
    from zrb_store.errors import InvalidName

    try:
        task_input.update_shared_context(context, str_value=text)
    except ValueError:  # its text may quote a secret
        raise InvalidName(f"--{task_input.name} was given a value that the input does not take") from None


def _ask(task_input: Any, context: Any) -> str:
    import getpass
    import warnings

    from zrb_store.errors import InvalidName

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
