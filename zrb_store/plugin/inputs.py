"""Inputs of a zrb session: those that are stored and compared, and secret ones, which are never stored."""

from __future__ import annotations

import getpass
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zrb_store import codec
from zrb_store.errors import InvalidArgument, UnencodableValue
from zrb_store.names import nearest
from zrb_store.plugin import compat
from zrb_store.records import SessionRecord
from zrb_store.safe_text import MASK, is_secret_name, mask_command, mask_remembered, remember

# The key of an input that is stored with its secrets masked. zrb's own inputs are never dicts.
_MASKED = "masked"
_GIVEN = {_MASKED: MASK}


class Secrets:
    """The secret inputs of a session.

    Their values are remembered as long as the process lives: a secret of one session may turn up in what is stored of
    another.

    Attributes:
        names: Their names, including aliases.
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
        """Return a command line without secrets. A value for the name of a secret input is masked, whoever takes it."""
        # A value that is too short to be remembered may still be a whole word.
        masked = [MASK if word and word in self._values else word for word in words]
        return mask_command(masked, lambda name: is_secret_name(name) or compat.to_snake_case(name) in self.names)


def given_secrets(task: Any, found: Mapping[str, Any], words: Sequence[str]) -> set[str]:
    """Return the names of a task's secret inputs that were given: a resume must not take their defaults instead.

    Args:
        task: The task.
        found: The inputs of its session, by name.
        words: The command line.
    """
    given = set()
    # zrb before 3 makes the defaults of a session that it starts without the environment.
    contexts = [compat.SharedContext(env=env) for env in (dict(os.environ), {})]
    # One after the other, as zrb does it: a default may be made of earlier inputs.
    for task_input in task.inputs:
        name = task_input.name
        if name not in found:
            continue
        value = found[name]
        if compat.is_secret(task_input) and (
            _is_option(name, words) or all(_differs(task_input, context, value) for context in contexts)
        ):
            given.add(name)
        for context in contexts:
            context.input[name] = context.input[compat.to_snake_case(name)] = value
    return given


def _is_option(name: str, words: Sequence[str]) -> bool:
    return any(word.partition("=")[0] == f"--{name}" for word in words)


def _differs(task_input: Any, context: Any, value: Any) -> bool:
    """Whether a value is not the default of its input. It is not known if that is another one each time: then False."""
    try:
        default = str(task_input.get_default_str(context))
        return str(value) != default and str(task_input.get_default_str(context)) == default
    except Exception:  # noqa: BLE001 - the user's function; zrb did not call it, or it would have failed there too
        return True


def given_again(session: SessionRecord) -> frozenset[str]:
    """Return the names of the secret inputs that a run of a stored session was given, so that the next one needs them.

    An input that is not secret is among them if its whole value was a secret.
    """
    stored = codec.decode(session.inputs) if session.inputs else {}
    return frozenset(name for name, value in stored.items() if value == _GIVEN)


def inputs_to_store(task: Any, given: Mapping[str, Any], secrets: Secrets, given_now: Iterable[str]) -> dict[str, Any]:
    """Return the session's inputs as they are stored and compared: rendered, and each under one name.

    An input that contains a secret, such as a default made of one, becomes `{"masked": TEXT}` with the secret masked.
    So does a secret input that was given; others are not stored.

    Args:
        task: The main task.
        given: The inputs of its session, by name.
        secrets: Its secret inputs.
        given_now: Names of those that were given.
    """
    declared = [task_input.name for task_input in task.inputs]
    aliases = {compat.to_snake_case(name) for name in declared} - set(declared)
    # A callback passes on all inputs of its parent, each under both of its names.
    aliases |= {compat.to_snake_case(name) for name in given if compat.to_snake_case(name) != name}
    names = [name for name in given if name not in aliases or name in declared]
    stored = {name: _to_store(given[name]) for name in names if name not in secrets.names}
    return {**stored, **{name: _GIVEN for name in names if name in secrets.names and name in given_now}}


def _to_store(value: Any) -> Any:
    """Return the value if it can be stored as it is; else a text without secrets, the same in every process."""
    try:
        text = value if isinstance(value, str) else codec.encode(value).data
    except UnencodableValue:
        kind = type(value).__qualname__
        value = text = str(value)
        if " at 0x" in text:
            return f"<{kind}>"
    masked = mask_remembered(text)
    return value if masked == text else {_MASKED: masked}


def _is_masked(stored: Any) -> bool:
    return isinstance(stored, dict) and stored.keys() == {_MASKED}


def inputs_to_resume(
    task: Any, stored: Mapping[str, Any], given: Mapping[str, str], *, asking: bool = True
) -> dict[str, Any]:
    """Return the inputs for a task that is resumed: the stored ones, completed by what is not stored.

    A secret input comes from the command line, or is asked for as zrb asks. An input that is stored with a secret
    masked comes from the command line, or is its default again.

    Args:
        task: The task.
        stored: Inputs as they were stored, by name.
        given: Inputs from the command line, by name.
        asking: Whether to ask for secret inputs; otherwise their defaults do, since nothing runs.

    Raises:
        InvalidArgument: An input was given although it is stored, or one that is not stored cannot be known.
    """
    masked = {name for name, value in stored.items() if _is_masked(value)}
    secret = {task_input.name for task_input in task.inputs if compat.is_secret(task_input)}
    for name in given:
        if name not in masked | secret:
            raise InvalidArgument(_not_taken(name, task, masked | secret))
    # One after the other, as zrb does it: a default may be made of earlier inputs.
    context = compat.SharedContext(env=dict(os.environ))
    for task_input in task.inputs:
        name = task_input.name
        if name in given:
            _take(task_input, context, given[name])
        elif name in secret:
            answer = ask(task_input, context, was_given=name in masked) if asking else None
            task_input.update_shared_context(context, str_value=answer)
        else:
            task_input.update_shared_context(context, value=None if name in masked else stored.get(name))
    found = {task_input.name: context.input[task_input.name] for task_input in task.inputs}
    remember(*(str(found[name]) for name in secret))
    for name in found.keys() & masked - secret if asking else ():
        if _to_store(found[name]) != stored[name]:
            raise InvalidArgument(
                f"input {name} held a secret, which is not stored: give --{name} VALUE as it was, "
                f"{stored[name][_MASKED]!r}"
            )
    return {**stored, **found}


def _take(task_input: Any, context: Any, text: str) -> None:
    try:
        task_input.update_shared_context(context, str_value=text)
    except ValueError:  # its text may quote a secret
        raise InvalidArgument(f"--{task_input.name} was given a value that the input does not take") from None


def _not_taken(name: str, task: Any, taken: set[str]) -> str:
    """Say which inputs the command line of a resume may give, instead of the one that it does give."""
    options = [f"--{task_input.name}" for task_input in task.inputs if task_input.name in taken]
    others = "a resume takes the inputs that are stored"
    if options:
        others += f", and from the command line only {', '.join(options)}{nearest(f'--{name}', options)}"
    return f"--{name} is not a secret input of {task.name}: {others}"


def ask(task_input: Any, context: Any, *, was_given: bool) -> str:
    """Ask for a secret input as zrb asks, or return its default.

    Args:
        task_input: The input.
        context: zrb's context with the inputs before it.
        was_given: Whether the session was started with a value for it: then its default is no answer.

    Raises:
        InvalidArgument: Nobody can be asked, or the answer is a default that is none.
    """
    name = task_input.name
    default = str(task_input.get_default_str(context))
    # A default may come from the environment. It is the answer if nobody can be asked.
    if not was_given and (not task_input.always_prompt or (default and not context.is_tty)):
        return default
    if was_given and not context.is_tty:
        # zrb would take the default if there is nothing to read, after a prompt that nobody sees.
        answer = sys.stdin.readline().rstrip("\r\n") if sys.stdin else ""
    else:
        answer = _prompt(task_input, context)
    if was_given and answer in ("", default):
        raise InvalidArgument(
            f"secret input {name} was given at the start, and is not stored: give --{name} VALUE again"
        )
    return answer


def _prompt(task_input: Any, context: Any) -> str:
    try:
        with warnings.catch_warnings():
            # A piped answer is as good as a typed one.
            warnings.simplefilter("ignore", getpass.GetPassWarning)
            return str(task_input.prompt_cli_str(context))
    except (EOFError, ValueError):  # what zrb raises without a terminal depends on its release
        print(file=sys.stderr)  # the prompt has no end of line
        name = task_input.name
        raise InvalidArgument(
            f"secret input {name} is not stored, and nobody can be asked: give --{name} VALUE"
        ) from None
