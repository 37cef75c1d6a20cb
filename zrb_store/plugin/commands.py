"""zrb's command line: `zrb xcom ...` are the commands of `zrb-store`, and a refusal of the store is one line.

A session started again by its name asks for its secret inputs, where zrb itself takes their defaults.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Concatenate, ParamSpec, TypeVar

from zrb_store import settings
from zrb_store.cli.command_table import COMMANDS
from zrb_store.errors import StoreMissing, StoreUnavailable, ZrbStoreError
from zrb_store.plugin import compat
from zrb_store.plugin.attach import opened_store
from zrb_store.plugin.compat import AnyContext, AnyGroup, AnyTask, Patches
from zrb_store.plugin.inputs import ask, given_again, given_secrets
from zrb_store.plugin.messages import speaker, warn
from zrb_store.wings import load

P = ParamSpec("P")
R = TypeVar("R")

GROUP = "xcom"

_exit_code: int | None = None  # of the command that was refused: zrb must not add how to run it again


@contextlib.contextmanager
def error_exit() -> Iterator[None]:
    """End the command with one line and the exit code of the store's error, on every release of zrb."""
    global _exit_code
    _exit_code = None
    try:
        yield
    except ZrbStoreError as error:
        _exit_code = error.exit_code
        warn(str(error))
        sys.stdout.flush()
        raise SystemExit(error.exit_code) from None


def hook_command_line(patches: Patches) -> None:
    """Register the commands, and take `zrb xcom ...` over before zrb parses its arguments."""
    group = compat.Group(name=GROUP, description="📦 Stored sessions and their values (zrb-store)")
    patches.wrap(compat.Cli, "run", functools.partial(_run, group))
    patches.wrap(compat.Cli, "_run_task", _run_task)
    patches.wrap(compat.Cli, "_print_run_command", _print_run_command)
    if GROUP in compat.cli.subgroups:
        warn(f"your tasks have a group {GROUP!r}: use `zrb-store` in place of `zrb {GROUP}`")
        return
    for name, command in COMMANDS.items():
        group.add_task(_task(name, command.purpose))
    compat.cli.add_group(group)
    speaker.program = f"{compat.cli.name} {GROUP}"


def _task(name: str, purpose: str) -> AnyTask:
    def action(ctx: AnyContext) -> None:
        # Only a program that calls the task gets here: the command line is taken over before.
        raise SystemExit(dispatch([name, *map(str, ctx.args)]))

    task = compat.BaseTask(name=name, description=purpose, cli_only=True, action=action, retries=0)
    setattr(task, compat.NEVER, True)
    return task


def dispatch(args: list[str]) -> int:
    """Run one command with the arguments as typed, and return the exit code that `zrb-store` has for it."""
    from zrb_store.cli import run

    speaker.name = speaker.program
    if args[:1] != ["resume"]:
        place = COMMANDS[args[0]].under_zrb if args[:1] and args[0] in COMMANDS else None
        return run(args, speaker.program, None if place is None else load(place)())
    from zrb_store.plugin.resume import ZrbResumer

    resumer = ZrbResumer()
    code = run(args, speaker.program, resumer)
    if code == 0:
        with error_exit():
            resumer.run()  # only when click is done: zrb reports its tasks' exceptions and signals
    return code


# The hooks of zrb's command line: each is called with the method as it was and its arguments.


def _run(
    group: AnyGroup,
    stock: Callable[Concatenate[compat.Cli, list[str], P], R],
    self: compat.Cli,
    str_args: list[str] | None = None,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    words = list(str_args or [])
    if words[:1] == [GROUP] and self.subgroups.get(GROUP) is group:
        raise SystemExit(dispatch(words[1:]))
    try:
        return stock(self, words, *args, **kwargs)
    except Exception:
        # 2.20 trips over its own clean-up when a run is refused.
        if _exit_code is not None:
            raise SystemExit(_exit_code) from None
        raise


def _run_task(
    stock: Callable[Concatenate[compat.Cli, AnyTask, list[str], Mapping[str, str], P], R],
    self: compat.Cli,
    task: AnyTask,
    args: list[str],
    run_kwargs: Mapping[str, str],
    *more: P.args,
    **kwargs: P.kwargs,
) -> R:
    with error_exit():
        if session := settings.session_name():
            run_kwargs = ask_again(task, run_kwargs, session)
        return stock(self, task, args, run_kwargs, *more, **kwargs)


def _print_run_command(stock: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    if _exit_code is None:  # a refusal is one line
        stock(*args, **kwargs)


def ask_again(task: AnyTask, given: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Return the inputs of a task as texts, with answers for the secret ones that session `name` was started with.

    Without a terminal nobody is asked, and the start is refused later (`RunSpec.refuse_default_secrets`).
    """
    is_asked = sys.stdin is not None and sys.stdin.isatty()
    if not is_asked or not any(map(compat.is_secret, task.inputs)) or compat.declared_by_zrb(task):
        return given
    from zrb_store.queries import sessions

    try:
        session = sessions.find(opened_store().database, name)
    except (StoreUnavailable, StoreMissing):
        if settings.value_of("ZRB_STORE_UNAVAILABLE") == "memory":  # whoever runs the task says so
            return given
        raise
    if session is None or session.is_finished:
        return given
    missing = given_again(session) - given_secrets(task, given, sys.argv)
    answers = dict(given)
    context = compat.SharedContext(env=dict(os.environ))
    for task_input in task.inputs:
        if task_input.name in missing and compat.is_secret(task_input):
            answers[task_input.name] = ask(task_input, context, was_given=True)
        task_input.update_shared_context(context, str_value=answers.get(task_input.name))
    return answers
