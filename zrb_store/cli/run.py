"""`run`: a command as the one task of a session; and `resume` of such a session."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import click

from zrb_store import codec
from zrb_store.cli import completion
from zrb_store.cli.arguments import changed_session_argument
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.inspect.resume import Decision, plan, workflow_of_command
from zrb_store.process import current_project
from zrb_store.records import SessionRecord
from zrb_store.render.format import program_name, shell_text
from zrb_store.render.stderr import print_line
from zrb_store.shell.run import CommandRun, default_task, stored_run
from zrb_store.shell.stored_step import write
from zrb_store.store import Store, open_store

command_argument = click.argument(
    "argv", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=completion.commands
)


@command(
    "run",
    "{} backup-2026-11-24 --task backup -- bash backup.sh",
    "{} backup-$(date +%F) --task backup --input HOST=db1 -- bash backup.sh",
    details="A new session runs COMMAND. One that failed, was interrupted or whose process died runs it again: `step` "
    "inside it skips what has completed. A completed one prints its result and runs nothing. If the command or an "
    "input differs, or another process runs the session, nothing runs.\n\n"
    "stdout and stderr pass through, and their end is kept: see `log`. COMMAND has an empty stdin, gets SIGINT, "
    "SIGTERM and SIGHUP, and dies with this process. Secrets in COMMAND are not stored, nor inputs with the name of a "
    "secret. ZRB_STORE_ATTEMPT is set for COMMAND: what it pushes and pops with this program belongs to its attempt. "
    "The result is the last 64 KiB of its stdout, or what `result` gave.\n\n"
    "Exit: that of COMMAND, 128 + N if signal N ended it; 0 if it has completed before; 65 if the command or the "
    "inputs differ; 75 if the session is being run.",
)
@changed_session_argument
@command_argument
@click.option("--task", metavar="NAME", help="Name of the task, for `last` and `stats`; by default the program's.")
@click.option(
    "--input",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A variable of COMMAND that is the same in every run.",
)
def run(session: str, argv: tuple[str, ...], task: str | None, inputs: Sequence[str]) -> int:
    call = CommandRun(
        session_names.session_name(session), argv, task or default_task(argv), dict(map(_parse_input, inputs))
    )
    return _run(call)


def _parse_input(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.UsageError(f"--input {text!r} is not of the form NAME=VALUE, where NAME could name a variable")
    return name, value


def _run(call: CommandRun) -> int:
    program = program_name()
    with open_store() as store:
        return call.run(store, write_output, lambda line: print_line(line, program))


def write_output(result: str) -> None:
    """Write the encoded result of a command: text and bytes as they are, anything else as JSON."""
    value = codec.decode(result)
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    write(value if isinstance(value, bytes) else f"{shell_text(codec.to_json(result))}\n".encode())


class CommandResumer:
    """The `Resumer` of a session of `run`."""

    _call: CommandRun

    @property
    def project(self) -> str:
        return current_project()

    def plan(
        self,
        store: Store,
        session: SessionRecord,
        forced: str | None,
        inputs: Mapping[str, str],
        *,
        repeat_once: bool = False,
        takes_over: bool = False,
    ) -> tuple[list[Decision], list[str]]:
        if inputs:
            raise click.UsageError(f"session {session.name} runs a command, whose inputs are stored: leave them out")
        call = stored_run(store.database, session, takes_over=takes_over)
        self._call = dataclasses.replace(call, forced=forced is not None, repeat_once=repeat_once)
        workflow = workflow_of_command(call.task)
        return plan(store.database, session, workflow, forced, repeat_once=repeat_once), []

    def accept(self) -> None:
        raise click.exceptions.Exit(_run(self._call))
