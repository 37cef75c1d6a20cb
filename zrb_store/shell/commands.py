"""`run`, and `resume` of its sessions."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import click

from zrb_store.attempt.retries import Retries
from zrb_store.cli import arguments
from zrb_store.cli.command import command
from zrb_store.db.engine import Database
from zrb_store.errors import SessionWaiting
from zrb_store.inspect import session_names
from zrb_store.inspect.resume import Decision, ResumeOptions, commands_to_end, plan
from zrb_store.local_time import PERIODS, period_name
from zrb_store.observe import configure
from zrb_store.process import current_project
from zrb_store.queries.lease import SessionRunning
from zrb_store.records import SessionRecord
from zrb_store.render.format import program_name
from zrb_store.render.stderr import print_line
from zrb_store.shell.run import CommandRun, stored_run, task_name
from zrb_store.shell.script_commands import retries_option, retry_after_option, write_output
from zrb_store.store import Store, open_store


@command(
    "run",
    "{} backup-2026-11-24 --task backup -- bash backup.sh",
    "{} backup --every day -q -- bash backup.sh",
    "{} backup --every day --retries 3 --retry-after 10s,1m --input HOST=db1 -- bash backup.sh",
    details="A new session runs COMMAND; one that failed, was interrupted or whose process died runs it again, and "
    "`step` inside it skips what has completed. A completed one prints its result: the last 64 KiB of stdout, or what "
    "`result` gave.\n\n"
    "stdout and stderr pass through, and `log` shows their end. COMMAND has an empty stdin, gets SIGINT, SIGTERM and "
    "SIGHUP, and dies with this process. What it pushes and pops with this program belongs to its attempt. Secrets in "
    "COMMAND and in those of its steps, and inputs with the name of a secret, are not stored. If COMMAND succeeds "
    "although one of its steps failed and did not complete later, a message, `list`, `show` and `check` say so.\n\n"
    "Exit: that of COMMAND, 128 + N if signal N ended it; 0 if it has completed before; 65 if the command or the "
    "inputs differ; 75 if the session is being run.",
)
@arguments.changed_session_argument
@arguments.command_argument
@click.option(
    "--task",
    metavar="NAME",
    help="Name of the task, for `last`, `check`, `stats` and `prune`; by default the script's path in the "
    "project, or COMMAND if there is none.",
)
@click.option(
    "--input",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A variable of COMMAND that is the same in every run.",
)
@click.option(
    "--every",
    type=click.Choice(tuple(PERIODS)),
    help="SESSION names the job: its session is SESSION-2026-11-24, SESSION-2026-11-24T03+0100 or SESSION-2026-W48, "
    "and its task SESSION unless --task names it.",
)
@retries_option("Run a command that fails N more times, as further attempts of this run")
@retry_after_option
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print nothing unless it fails, then everything, to stderr. No result of a completed session is printed, and "
    "no message that another process runs it.",
)
def run(
    session: str,
    argv: tuple[str, ...],
    task: str | None,
    inputs: Sequence[str],
    every: str | None,
    retries: int,
    retry_after: Sequence[timedelta],
    quiet: bool,
) -> int:
    name, given = session_names.session_name(session), dict(map(_parse_input, inputs))
    if every is not None:
        task, name = task or name, f"{name}-{period_name(every)}"
    tries = Retries.of(retries, retry_after or None)
    return _run(CommandRun(name, argv, task or task_name(argv, given), given, retries=tries, quiet=quiet))


def _parse_input(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.UsageError(f"--input {text!r} is not of the form NAME=VALUE, where NAME could name a variable")
    return name, value


def _run(call: CommandRun) -> int:
    tell = functools.partial(print_line, program=program_name())
    configure()
    with open_store() as store:
        try:
            return call.run(store, write_output, tell)
        except (SessionRunning, SessionWaiting) as refused:  # no failure: who runs it says how it ends
            if not call.quiet:
                raise
            return refused.exit_code


class ShellResumer:
    """Resumes sessions of `run`, and replays their attempts."""

    changed: Mapping[str, tuple[str, str]] = {}
    _call: CommandRun
    _session: SessionRecord

    @property
    def project(self) -> str:
        return current_project()

    def plan(self, store: Store, session: SessionRecord, options: ResumeOptions) -> list[Decision]:
        if options.changes:
            raise click.UsageError(
                f"session {session.name} runs a command, which has all inputs: start it with other ones as another "
                "session, with `zrb-store run NAME --input NAME=VALUE`"
            )
        if options.inputs:
            raise click.UsageError(f"session {session.name} runs a command, whose inputs are stored: leave them out")
        self._session = session
        call = stored_run(store.database, session, takes_over=options.takes_over)
        self._call = dataclasses.replace(call, forced=options.forced is not None, repeat_once=options.repeat_once)
        return plan(store.database, session, call.workflow, options)

    def explain(self, store: Store, decisions: list[Decision]) -> tuple[list[Decision], list[str]]:
        return decisions, commands_to_end(store.database, self._session, store.database.url)

    def replay(self, database: Database, session: SessionRecord) -> Callable[[Store], int]:
        call = stored_run(database, session, takes_over=False)
        return lambda store: call.run(store, lambda _: None, lambda _: None)

    def accept(self) -> None:
        raise click.exceptions.Exit(_run(self._call))
