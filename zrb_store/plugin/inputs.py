"""Inputs of a zrb session: how its main task was given them, what of them is stored and compared, and which are secret.

Secret inputs are never stored: only whether they were given.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, TypeVar

from zrb_store.errors import InvalidArgument, UnencodableValue, ValueTooLarge
from zrb_store.masking import MASK, is_secret_name, mask_command, mask_remembered, remember
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyInput, AnySession, AnySharedContext, AnyTask, DotDict

if TYPE_CHECKING:
    from zrb_store.records import SessionRecord

R = TypeVar("R")


class GivenInputs(NamedTuple):
    """How a task was given its inputs. Those that are in neither attribute are defaults."""

    texts: Mapping[str, str]  # those that zrb parses, by name
    objects: Collection[str]  # names of those that zrb takes as they are


given_inputs: ContextVar[GivenInputs] = ContextVar("zrb_store_given_inputs", default=GivenInputs({}, ()))  # noqa: B039 - nobody changes it
"""How the task that begins here was given its inputs."""


@contextlib.contextmanager
def _noted(
    self: AnyTask,
    session: AnySession | None = None,
    str_kwargs: Mapping[str, str] | None = None,
    kwargs: Collection[str] | None = None,
    *args: Any,
    **more: Any,
) -> Iterator[None]:
    # zrb takes the inputs that a session has already, and parses no others.
    known = session.shared_ctx.input if session is not None else ()
    token = given_inputs.set(GivenInputs(str_kwargs or {}, {*known, *(kwargs or ())}))
    try:
        yield
    finally:
        given_inputs.reset(token)


def run(stock: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Run a task, and note how it is given its inputs: the hook of zrb's `run`."""
    with _noted(*args, **kwargs):
        return stock(*args, **kwargs)


async def async_run(stock: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
    """As `run`."""
    with _noted(*args, **kwargs):
        return await stock(*args, **kwargs)


# An input is stored as its value, or as a dict with one of these keys. zrb's own inputs are never dicts.
MASKED = "masked"  # its text, which contains secrets, with these masked
TEXT = "text"  # the text that was given for it: the value itself does not come back from the store
_GIVEN = {MASKED: MASK}


class Secrets:
    """The secret inputs of a session, by all their names.

    Their values are remembered as long as the process lives: a secret of one session may turn up in what is stored of
    another.
    """

    def __init__(self, tasks: Iterable[AnyTask], given: DotDict, inherited: Secrets | None = None) -> None:
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


def given_secrets(task: AnyTask, found: DotDict | Mapping[str, str], words: Sequence[str]) -> set[str]:
    """Return the names of a task's secret inputs that were given: a resume must not take their defaults instead."""
    given = set()
    # zrb before 3 makes the defaults of a session that it starts without the environment.
    contexts = compat.SharedContext(env=dict(os.environ)), compat.SharedContext(env={})
    # One after the other, as zrb does it: a default may be made of earlier inputs.
    for task_input in task.inputs:
        name = task_input.name
        if name not in found:
            continue
        value = found[name]
        is_option = any(word.partition("=")[0] == f"--{name}" for word in words)
        if compat.is_secret(task_input) and (
            is_option or all(_differs(task_input, context, value) for context in contexts)
        ):
            given.add(name)
        for context in contexts:
            context.input[name] = context.input[compat.to_snake_case(name)] = value
    return given


def _differs(task_input: AnyInput, context: compat.SharedContext, value: Any) -> bool:
    """Whether a value is not the default of its input. It is not known if that is another one each time: then False."""
    try:
        default = str(task_input.get_default_str(context))
        return str(value) != default and str(task_input.get_default_str(context)) == default
    except Exception:  # noqa: BLE001 - the user's function; zrb did not call it, or it would have failed there too
        return True


def given_again(session: SessionRecord) -> frozenset[str]:
    """Return the names of a session's inputs that were secret as a whole, so that the next run must be given them."""
    from zrb_store import codec

    stored = codec.decode(session.inputs) if session.inputs else {}
    return frozenset(name for name, value in stored.items() if value == _GIVEN)


def ask(task_input: AnyInput, context: compat.SharedContext, *, was_given: bool) -> str:
    """Ask for a secret input as zrb asks, or return its default.

    If the session was started with a value for it (`was_given`), its default is no answer.
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
        import getpass
        import warnings

        try:
            with warnings.catch_warnings():
                # A piped answer is as good as a typed one.
                warnings.simplefilter("ignore", getpass.GetPassWarning)
                answer = str(task_input.prompt_cli_str(context))
        except (EOFError, ValueError):  # what zrb raises without a terminal depends on its release
            print(file=sys.stderr)  # the prompt has no end of line
            raise InvalidArgument(
                f"secret input {name} is not stored, and nobody can be asked: give --{name} VALUE"
            ) from None
    if was_given and answer in ("", default):
        raise InvalidArgument(
            f"secret input {name} was given at the start, and is not stored: give --{name} VALUE again"
        )
    return answer


def inputs_to_store(
    task: AnyTask, shared_ctx: AnySharedContext, given: GivenInputs, secrets: Secrets, given_now: Iterable[str]
) -> dict[str, Any]:
    """Return the session's inputs as they are stored and compared: rendered, and each under one name.

    An input that contains a secret, such as a default made of one, becomes `{"masked": TEXT}` with the secret masked.
    So does a secret input that was given (`given_now`); others are not stored. An input whose value does not come back
    from the store becomes `{"text": TEXT}`, with the text that zrb parsed.
    """
    found = shared_ctx.input
    declared = {task_input.name: task_input for task_input in task.inputs}
    aliases = {compat.to_snake_case(name) for name in declared} - set(declared)
    # A callback passes on all inputs of its parent, each under both of its names.
    aliases |= {compat.to_snake_case(name) for name in found if compat.to_snake_case(name) != name}
    stored, withheld = {}, {}
    for name, value in found.items():
        if name in aliases and name not in declared:
            continue
        if name not in secrets.names:
            stored[name] = to_store(value, functools.partial(_text_given, declared.get(name), shared_ctx, given))
        elif name in given_now:
            withheld[name] = _GIVEN
    return stored | withheld


def to_store(value: Any, text_given: Callable[[], str | None]) -> Any:
    """Return an input as it is stored: its value, or a dict with the text that was given, or that text masked."""
    stored, text = value, value if isinstance(value, str) else _encoded(value)
    if text is None or is_marked(value, MASKED, TEXT):
        text = text_given()
        if text is None:  # the store keeps its type, or its parts as plain data
            return value
        stored = {TEXT: text}
    masked = mask_remembered(text)
    return stored if masked == text else {MASKED: masked}


def _encoded(value: Any) -> str | None:
    """Return the text of a value that each process gets back as it is; None for another value."""
    from zrb_store import codec

    try:
        data = codec.encode(value).data
        return data if codec.encode(codec.decode(data)).data == data else None
    except (UnencodableValue, ValueTooLarge):
        return None


def _text_given(task_input: AnyInput | None, shared_ctx: AnySharedContext, given: GivenInputs) -> str | None:
    """Return the text that zrb parsed for an input; None if there was none."""
    if task_input is None:
        return None
    name = task_input.name
    if name in given.texts:
        return given.texts[name]
    if name in given.objects or compat.to_snake_case(name) in given.objects:
        return None
    return str(task_input.get_default_str(shared_ctx))


def default_of(task: AnyTask, shared_ctx: AnySharedContext, given: GivenInputs, name: str) -> str | None:
    """Return the text of the default that an input of a task has; None if it has another value, or no default."""
    for task_input in task.inputs:
        if task_input.name == name:
            try:
                text = str(task_input.get_default_str(shared_ctx))
                has_default = text in (_text_given(task_input, shared_ctx, given), str(shared_ctx.input[name]))
            except Exception:  # noqa: BLE001 - the user's function
                return None
            return text if has_default and (text or compat.allows_empty(task_input)) else None
    return None


def is_marked(stored: Any, *keys: str) -> TypeGuard[dict[str, str]]:
    """Whether a stored input is not a value, but a dict with one of these keys."""
    return isinstance(stored, dict) and len(stored) == 1 and not stored.keys().isdisjoint(keys)
