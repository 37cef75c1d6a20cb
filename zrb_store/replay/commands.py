"""`replay`: one attempt runs again, alone, in a scratch store where everything is as it was before it began."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import refuse_usage, words_argument
from zrb_store.cli.command import app, command
from zrb_store.cli.diff import print_differences
from zrb_store.cli.resume import command_resumer, parse_words
from zrb_store.codec.compare import differences
from zrb_store.db.engine import Database
from zrb_store.errors import InputsDiffer, InvalidArgument, TaskNotFound, ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.masking import MASK
from zrb_store.names import full_name, split_id
from zrb_store.queries import runs, sessions
from zrb_store.records import AttemptRecord, SessionRecord
from zrb_store.render.format import program_name
from zrb_store.render.stderr import print_line
from zrb_store.replay import queries
from zrb_store.replay.doings import doings
from zrb_store.replay.queries import Handled
from zrb_store.replay.scratch import delivered, find_attempt, place_in_run, prepare, setting
from zrb_store.settings import REPLAYS
from zrb_store.store import Store, open_store

ScratchRun = Callable[[Store], int]
"""Runs an attempt in a scratch store, and returns its exit code."""


class Options(NamedTuple):
    """How an attempt of a task is replayed."""

    at_exception: bool  # whether a debugger stops at an exception
    at_start: bool  # whether it stops at the first line of the action
    compares: bool  # whether differences are printed in place of the result


class TaskReplayer(Protocol):
    """What replays attempts of tasks. The plugin passes one to `zrb_store.cli.run`."""

    def replayer(
        self, session: SessionRecord, attempt: AttemptRecord, place: int, inputs: Mapping[str, str], options: Options
    ) -> ScratchRun:
        """Return what replays an attempt, which was number `place` of its task in its run."""


@command(
    "replay",
    "{} nightly/load#2 --pdb",
    "{} nightly/load#2 --diff --yes",
    "{} consume.host.1/inbox/files#7 --keep replay.db",
    details="The store is only read. In the scratch store, the queues of the session, and of every session whose "
    "queues it has used, are as they were just before it began. Only the action runs: no checks, successors, "
    "fallbacks or retries. Effects outside of the store are real. Steps that had completed, also in this "
    "attempt, are taken from the record. Secret inputs are asked for, as `resume` does.\n\n"
    "Attempts of tasks of zrb and of `run`, and deliveries of `consume`, can be replayed.\n\n"
    "Exit: 0 if the attempt completes, 1 if not (of `run`, the exit code of its command); with --diff 0 if nothing "
    "differs, otherwise 1.",
    unknown_options=True,  # the options of secret inputs are not known here
)
@words_argument("SESSION/TASK#N", completion.attempts)
@click.option(
    "--pdb", "at_exception", is_flag=True, help="Stop at an exception, in pdb or what PYTHONBREAKPOINT names."
)
@click.option("--break", "at_start", is_flag=True, help="Stop in the debugger at the first line of the action.")
@click.option("--diff", "compares", is_flag=True, help="Print where takes, pushes and result differ from the record.")
@click.option("--keep", type=click.Path(), metavar="FILE", help="Make the scratch store in this new file, and keep it.")
@click.option("--steps", "again", is_flag=True, help="Run the steps again that completed in this attempt.")
@click.option("--repeat-once", is_flag=True, help="With --steps: also run `once` steps.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def replay(
    tasks: TaskReplayer | None,
    words: tuple[str, ...],
    at_exception: bool,
    at_start: bool,
    compares: bool,
    keep: str | None,
    again: bool,
    repeat_once: bool,
    yes: bool,
) -> int:
    names, inputs = parse_words(words)
    refuse_usage(
        (len(names) != 1, "name one attempt: SESSION/TASK#N"),
        (repeat_once and not again, "--repeat-once is for --steps: without it, no step runs that has completed"),
        (keep is not None and Path(keep).exists(), f"{keep} exists: --keep makes a new file"),
    )
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_store(read_only=True)).database
        session, attempt = _find(source, names[0])
        path = keep or str(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zrb-store-"))) / "scratch.db")
        stack.enter_context(_environment(path))
        value = delivered(source, attempt) if attempt.kind == "delivery" else None
        if value is not None or session.argv:
            if at_exception or at_start or inputs:
                raise click.UsageError("--pdb, --break and inputs are for tasks of zrb: this is a command")
            if value is None:
                run = command_resumer(session).replay(source, session)
            else:
                run = _delivery(source, attempt, value)
        elif not session.path or tasks is None:
            if session.path:
                raise ZrbStoreError("only zrb can run tasks: call `zrb xcom` in the folder of its project")
            raise _of_program_error(session.name)
        else:
            options = Options(at_exception, at_start, compares)
            run = tasks.replayer(session, attempt, place_in_run(source, attempt), inputs, options)
        name = full_name(session.name, attempt.task, attempt.number)
        _ask(name, yes=yes)
        store = stack.enter_context(open_store(path))
        record = prepare(source, store.database, attempt, value)
        os.environ[REPLAYS] = setting(record, again=again, repeat_once=repeat_once)
        code = run(store)
        with source.snapshot() as then, store.database.snapshot() as rows:
            now = queries.replayed(rows, sessions.get(rows, session.name).id)
            if now is None:
                raise ZrbStoreError(f"{name} did not begin again")
            _tell_end(name, attempt, now)
            if keep is not None:
                print_line(f"session {record.session} in {keep} is the record", program_name())
            if not compares:
                return code
            found = differences(doings(then, attempt), doings(rows, now))
            return print_differences((name, "replay"), found, "table", full=False)


def _find(database: Database, text: str) -> tuple[SessionRecord, AttemptRecord]:
    try:
        name, task, number = split_id(text)
    except InvalidArgument:
        raise click.UsageError(f"{text!r} is not of the form SESSION/TASK#N") from None
    session = session_names.resolve(database, name)
    attempt = find_attempt(database, session, task, number)
    return replace(session, inputs=runs.inputs_then(database, session, attempt.started_tick)), attempt


@contextlib.contextmanager
def _environment(path: str) -> Iterator[None]:
    """Let this process, and all that it starts, use the scratch store, and neither notify nor prune."""
    before = dict(os.environ)
    for name in ("ATTEMPT", "SESSION", "NOTIFY", "RETENTION", "UNAVAILABLE"):
        os.environ.pop(f"ZRB_STORE_{name}", None)
    os.environ["ZRB_STORE_URL"] = str(Path(path).absolute())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _of_program_error(session: str) -> TaskNotFound:
    return TaskNotFound(
        f"session {session} was run by a Python program: only tasks of zrb, commands of `run` and "
        "deliveries of `consume` can be replayed"
    )


def _ask(attempt: str, *, yes: bool) -> None:
    warning = f"what {attempt} does outside of the store is real"
    if yes:
        print_line(warning, program_name())
    elif not sys.stdin.isatty():
        raise click.UsageError(f"{warning}, and nobody can be asked: give --yes")
    elif not click.confirm(f"{warning}: run it again?", err=True):
        raise ZrbStoreError("nothing was run")


def _delivery(database: Database, attempt: AttemptRecord, value: Handled) -> ScratchRun:
    last = next((run for run in runs.of_session(database, attempt.session_id) if run.id == attempt.run_id), None)
    words = [] if last is None else last.command
    if last is None or "consume" not in words:
        raise _of_program_error(attempt.session)
    folder, command = last.folder, app.get_command(click.Context(app), "consume")
    if command is None:
        raise ZrbStoreError("only a zrb-store that has the command `consume` can replay its deliveries")
    ctx = command.make_context("consume", words[words.index("consume") + 1 :])
    if any(MASK in word for word in ctx.params["argv"]):
        raise InputsDiffer(f"the command of session {attempt.session} has a secret, which is not stored")
    one_value = {"wait": None, "until_empty": False, "forever": False, "jobs": 1, "quiet": True}
    ctx.params |= {**one_value, "session": value.session, "queue": value.queue, "name": attempt.session}

    def consume_once(_: Store) -> int:
        if folder is not None:
            os.chdir(folder)
        try:
            command.invoke(ctx)
        except click.exceptions.Exit as ended:
            return ended.exit_code
        return 0

    return consume_once


def _tell_end(name: str, then: AttemptRecord, now: AttemptRecord) -> None:
    """Say how an attempt ended, and how its replay has."""
    if now.error_traceback is not None:
        click.echo(now.error_traceback, err=True)
    ends = [one.status if one.error_type is None else f"{one.status}, {one.error_type}" for one in (then, now)]
    why = " for an answer that the record does not have" if now.status == "waiting" else ""
    print_line(f"{name} then: {ends[0]}; now: {ends[1]}{why}", program_name())
