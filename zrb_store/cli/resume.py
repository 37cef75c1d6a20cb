"""`resume`: it finds the session to resume. The plugin runs tasks of zrb, and `cli/shell.py` the command of `run`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Protocol

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, session_argument
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.resume import Decision, refuse_program
from zrb_store.records import SessionRecord
from zrb_store.render.stderr import print_line
from zrb_store.store import Store, open_store


class Resumer(Protocol):
    """What plans a resume and runs it later. The plugin passes one to `zrb_store.cli.run`."""

    @property
    def project(self) -> str:
        """The project of the working directory."""

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
        """Decide what a resume of this session runs and skips, and what else a user should know, in one line each.

        `inputs` are given as `--NAME VALUE`. Nothing is run or written.
        """

    def accept(self) -> None:
        """Let what was planned be run after click is done, with zrb's own exit codes."""


@command(
    "resume",
    "{} etl-2026-11-24",
    "{} @last-failed --plan",
    "{} etl-2026-11-24 --plan --format json",
    "{} etl-2026-11-24 --from transform --password=secret",
    "{} etl-2026-11-24 --here --yes",
    details="Completed tasks do not run again: their stored results are used, and so are the stored inputs. Secret "
    "inputs are not stored: give them as --NAME VALUE, or answer the prompt. The default of a secret input given at "
    "the start is never substituted. An input that contained a secret is computed from its default again, unless you "
    "give it in the same way. The same applies to inputs declared after the start. An input that no longer takes its "
    "stored value, because its declaration has changed, must be given. SESSION may be the unique beginning of a name, "
    "@last or @last-failed. A running session is refused, also by --plan.\n\n"
    "Reasons of --plan: how the task's last attempt ended (completed, failed, interrupted, lost, never-started); "
    "forced and downstream-of:TASK (--from); readiness (a readiness check, or its server); not-restorable (its "
    "result, or a value that it pushed or assigned, is needed and cannot be restored); fallback (runs if another task "
    "fails); condition (has not run yet: runs if its condition holds when its turn comes, is skipped if the condition "
    "never holds); gone (completed, and no longer in the workflow). The completed steps of a task are kept: it gets "
    "their results without running them. A task that --from runs again starts over without them.",
    unknown_options=True,  # the options of secret inputs are not known here
)
@session_argument
@click.argument("inputs", nargs=-1, type=click.UNPROCESSED, metavar="[--INPUT VALUE]...")
@click.option("--plan", is_flag=True, help="Print which tasks would run or be skipped, and why; run nothing.")
@click.option(
    "--from",
    "forced",
    metavar="TASK",
    shell_complete=completion.tasks,
    help="Give back TASK and all downstream tasks, and run them again, even in a completed session.",
)
@click.option(
    "--repeat-once",
    is_flag=True,
    help="With --from: also run completed `once` steps again. Without this option, they are refused.",
)
@click.option(
    "--here",
    is_flag=True,
    help="Let the session belong to the project of this folder.",
)
@click.option("--yes", is_flag=True, help="With --here: do not ask.")
@format_option(None, choices=("table", "json"), help_text="Format of --plan: table (plain text in a pipe) or json.")
@click.pass_obj
def resume(
    resumer: Resumer | None,
    session: str,
    inputs: tuple[str, ...],
    plan: bool,
    forced: str | None,
    repeat_once: bool,
    here: bool,
    yes: bool,
    output_format: str | None,
) -> None:
    given_inputs = _parse_inputs(inputs)
    if output_format is not None and not plan:
        raise click.UsageError("--format is for --plan, which runs nothing")
    if yes and not here:
        raise click.UsageError("--yes is for --here")
    if repeat_once and forced is None:
        raise click.UsageError("--repeat-once is for --from: no other resume runs a completed step again")
    with open_store(read_only=True) as store:
        record = session_names.resolve(store.database, session)
        if record.argv:
            from zrb_store.cli.shell import CommandResumer  # late: zrb runs other sessions

            resumer = CommandResumer()
        if resumer is None:
            refuse_program(store.database, record)
            name = record.name
            raise ZrbStoreError(f"only zrb can run tasks: use `zrb xcom resume {name}` in the folder of its project")
        # Also without --plan: mistakes are reported before anybody is asked for a secret input.
        decisions, notes = resumer.plan(store, record, forced, given_inputs, repeat_once=repeat_once, takes_over=here)
    if not plan:
        if here and not yes and record.project != resumer.project:
            _refuse_unless_agreed(record.name, record.project, resumer.project)
        resumer.accept()
        return
    from zrb_store.render import printing  # late: only a plan is printed
    from zrb_store.render.document import Column, Table
    from zrb_store.render.format import program_name

    for note in notes:
        print_line(note, program_name())
    if output_format == "json":
        tasks = [dataclasses.asdict(decision) for decision in decisions]
        printing.echo_json({"session": record.name, "from": forced, "tasks": tasks})
    else:
        rows = [(decision.task, decision.action, _reason(decision)) for decision in decisions]
        columns = (Column("task"), Column("action"), Column("reason", status=True))
        printing.print_document([Table(columns, rows)])


def _refuse_unless_agreed(session: str, theirs: str | None, ours: str) -> None:
    question = f"session {session} belongs to project {theirs}: let it belong to {ours}?"
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked: give --yes")
    if not click.confirm(question, err=True):
        raise ZrbStoreError(f"session {session} still belongs to project {theirs}: nothing was changed")


def _reason(decision: Decision) -> str:
    if decision.action == "skip" or not decision.steps:
        return decision.reason
    return f"{decision.reason}, {decision.steps} {'step' if decision.steps == 1 else 'steps'} kept"


def _parse_inputs(args: tuple[str, ...]) -> dict[str, str]:
    """Parse arguments of the form `--NAME VALUE` or `--NAME=VALUE`."""
    inputs: dict[str, str] = {}
    remaining = list(args)
    while remaining:
        arg = remaining.pop(0)
        name, equals, value = arg.removeprefix("--").partition("=")
        if not arg.startswith("--") or not name:
            raise click.UsageError(f"{arg!r} is one argument too many: give one session, and inputs as --NAME VALUE")
        if not equals and not remaining:
            raise click.UsageError(f"{arg} has no value: inputs are given as --NAME VALUE")
        inputs[name] = value if equals else remaining.pop(0)
    return inputs
