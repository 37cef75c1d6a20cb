"""`check`: problems that need somebody's attention, for cron and monitors."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from datetime import timedelta

import click

from zrb_store import settings
from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, length, limit_option, project_option, since_option
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.check import Group, alerts, grouped
from zrb_store.inspect.list import list_sessions
from zrb_store.inspect.session_names import open_for_reading
from zrb_store.local_time import Since
from zrb_store.masking import one_line
from zrb_store.process import current_folder, projects_named
from zrb_store.render.document import Column, Lines, Table, on_terminal
from zrb_store.render.format import NOTHING, TimeFormat, counted, program_name
from zrb_store.render.printing import echo, echo_records, noting_damage, print_document
from zrb_store.render.stderr import command_as_typed, print_line
from zrb_store.store import open_store

_COLUMNS = (
    Column("what"),
    Column("event", status=True),
    Column("task", leaves=1),
    Column("at", leaves=2),
    Column("why"),
)


@command(
    "check",
    "{}",
    "{} --task load --max-age 26h --task report --max-age 8d",
    details="Prints one line for each session that failed, was interrupted, is stale (its process died) or waits "
    "past its deadline, for each queue with dead values, and for each overdue task, with the command that helps. "
    "Exits 1 if there is such a line; otherwise it exits 0 and prints nothing, except on a terminal. There it "
    "prints a table in which events with the same cause are one row.\n\n"
    "A session is reported until it completes, is removed or acknowledged (`ack`), or until a newer session of "
    "the same project and main task completes after the failure. For workers of one queue, any worker that "
    "completes later clears the alert, and so does the end of the values on which it failed. Child sessions are "
    "left out, because their parents are reported.\n\n"
    "If ZRB_STORE_NOTIFY is set, check starts its command once for each stale session not yet reported, and if "
    "the store cannot be used. Only then does it write to the store.",
)
@click.option(
    "--task",
    "tasks",
    metavar="NAME",
    shell_complete=completion.main_tasks,
    multiple=True,
    help="Also report this task if it is overdue (with --max-age).",
)
@click.option(
    "--max-age",
    "max_ages",
    type=length,
    multiple=True,
    help="Maximum age of its newest result, e.g. 90m, 26h, 8d; one for each --task in the same order, or one for all.",
)
@project_option("Report only sessions of this project")
@since_option("Only what happened within this time, e.g. 90m, 2d, or since this moment, e.g. 2026-11-24, midnight.")
@limit_option("lines")
@format_option(choices=("table", "json", "jsonl"))
def check(
    tasks: tuple[str, ...],
    max_ages: tuple[timedelta, ...],
    project: str | None,
    since: Since | None,
    limit: int,
    output_format: str,
) -> int:
    if bool(tasks) != bool(max_ages) or (len(max_ages) > 1 and len(max_ages) != len(tasks)):
        raise click.UsageError("give --task and --max-age in pairs, or one --max-age for all tasks")
    lengths = max_ages if len(max_ages) > 1 else max_ages * len(tasks)
    program = program_name()
    with _notifying(), open_for_reading() as database, noting_damage() as damage:
        projects, here = projects_named(project), current_folder()
        ages = dict(zip(tasks, lengths, strict=True))
        found = alerts(database, ages, projects=projects, since=since, here=here, program=program)
        found = [dataclasses.replace(each, remedy=command_as_typed(each.remedy, program)) for each in found]
        shown = found[: limit or None]
        if output_format != "table":
            echo_records((alert.to_json() for alert in shown), output_format)
        elif on_terminal() and found:
            _print_groups(grouped(found), limit)
        else:
            times = TimeFormat()
            print_document([Lines([alert.line(times.short(alert.at)) for alert in shown])])
            if len(shown) < len(found):
                echo(f"There are more: --limit {limit * 10}, or --limit 0 for all.")
            elif not (found or damage) and on_terminal():
                echo("all is well")
        # The project's name may be misspelt.
        if not found and projects is not None and not list_sessions(database, projects=projects, limit=1):
            print_line(f"no session belongs to project {projects.name or projects.folders[0]}", program)
    return 1 if found or damage else 0


@contextlib.contextmanager
def _notifying() -> Iterator[None]:
    """Notify if the store cannot be used in a block, and after it of sessions that went stale."""
    if settings.notify_command() is None:
        yield
        return
    from zrb_store.runtime.notify import has_unreported, notify_stale, notify_unavailable

    try:
        yield
    except ZrbStoreError as error:
        notify_unavailable(error)
        raise
    try:
        with open_store(read_only=True) as store:
            is_news = has_unreported(store.database)
        if is_news:  # otherwise nothing is written
            with open_store() as store:
                notify_stale(store.database)
    except ZrbStoreError as error:
        print_line(f"stale sessions are not reported: {error}", program_name())


def _print_groups(groups: Sequence[Group], limit: int) -> None:
    """Print a row for each kind of trouble, and below them the commands that help."""
    times, shown = TimeFormat(), groups[: limit or None]
    rows = []
    for group in shown:
        newest = group.alerts[0]
        name = newest.subject + (f" and {group.size - 1} more" if group.size > 1 else "")
        why = (f"{counted(newest.values, 'value')}, " if newest.values else "") + group.why
        rows.append([one_line(name), newest.event, one_line(newest.task or NOTHING), times.short(newest.at), why])
    commands = list(dict.fromkeys(each.remedy for group in shown for each in group.alerts))
    if any(group.alerts[0].event == "dead" for group in shown):
        program = program_name()
        commands.append(f"{program} replace VALUE NEW, or {program} drop VALUE, for single dead values")
    if hidden := sum(group.size - len(group.alerts) for group in groups):
        commands.append(f"{counted(hidden, 'command')} more: `{program_name()} check --format jsonl` has them all")
    print_document([Table(_COLUMNS, rows), Lines(commands, "What to do")])
