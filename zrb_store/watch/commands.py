"""What somebody has to look at (`check`, `ack`), and how reliable tasks are and how long they take (`stats`)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from datetime import timedelta

import click

from zrb_store import settings
from zrb_store.cli import completion
from zrb_store.cli.arguments import (
    format_option,
    length,
    limit_option,
    project_option,
    sessions_argument,
    sessions_to_change,
    since_option,
)
from zrb_store.cli.command import command
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.advice import single_dead_values
from zrb_store.inspect.list import list_sessions
from zrb_store.inspect.session_names import open_for_reading
from zrb_store.local_time import Since
from zrb_store.masking import one_line
from zrb_store.names import nearest
from zrb_store.process import current_folder, projects_named
from zrb_store.render.document import Column, Lines, Table, on_terminal
from zrb_store.render.format import NOTHING, TimeFormat, counted, program_name
from zrb_store.render.printing import echo, echo_records, noting_damage, print_document
from zrb_store.render.stderr import command_as_typed, print_line
from zrb_store.store import open_store
from zrb_store.watch.check import AlertGroup, alerts, grouped
from zrb_store.watch.stats import StatsRow, TaskStats, numbers, table_of, task_stats

_CHECK_COLUMNS = (
    Column("what"),
    Column("event", status=True),
    Column("task", leaves=1),
    Column("at", leaves=2),
    Column("why"),
)
_STATS_COLUMNS = (Column("task"), Column("project", leaves=1))
_LEAVING = {"completed": 0, "95 %": 2, "median": 3, "runs": 4, "waited": 5}  # when numbers leave a narrow terminal
_MOST = 5  # main tasks that are named


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
    from zrb_store.watch.notify import has_unreported, notify_stale, notify_unavailable

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


def _print_groups(groups: Sequence[AlertGroup], limit: int) -> None:
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
        commands.append(single_dead_values(program_name()))
    if hidden := sum(group.size - len(group.alerts) for group in groups):
        commands.append(f"{counted(hidden, 'command')} more: `{program_name()} check --format jsonl` has them all")
    print_document([Table(_CHECK_COLUMNS, rows), Lines(commands, "What to do")])


@command(
    "ack",
    "{} etl-2026-11-24 --reason 'the API was down, ticket 4711'",
    details="`check` says nothing more of the runs that have ended by now. It reports a later run that fails, is "
    "interrupted or goes stale, and dead values and overdue tasks. If one of the sessions does not exist, none is "
    "acknowledged.",
)
@sessions_argument
@click.option("--reason", metavar="TEXT", help="Kept, and shown by `show` and `log`.")
def ack(sessions: tuple[str, ...], reason: str | None) -> None:
    from zrb_store.watch.ack import acknowledge

    with open_store() as store:
        acknowledge(store.database, *sessions_to_change(store.database, sessions), reason=reason)


@command(
    "stats",
    "{} --since 30d",
    "{} load --format json",
    "{} --since 30d --format prometheus > /var/lib/node_exporter/zrb_store.prom",
    details="Counts the runs of each main task (the started one) in each project. A resumed session has several runs. "
    "COMPLETED is the number of completed runs, and their share of the ended runs. A run whose process died is lost, "
    "which counts as a failure. A run that ended because it waits counts as neither; WAITED is the time until the next "
    "one.\n\n"
    "Median and 95th percentile (by nearest rank) say how long the task takes from its start until it completes: all "
    "its runs together, without the time between them.\n\n"
    "HISTORY has a mark for each of the last 20 times that it was started, with the newest on the right, and one for "
    "each hour, day or week in which it was due and did not run. For these the names of sessions must end with the "
    "period, as those of `run --every` do, or such as etl-2026-11-24. A day counts as due if the task has run on that "
    "weekday before, or first ran less than a week earlier; an hour likewise, with the hour of the day."
    + "".join(f" {each.details}" for each in numbers()),
)
@click.argument("task", required=False, shell_complete=completion.main_tasks)
@since_option("Only runs started within this time, e.g. 26h, 30d, or since this moment, e.g. 2026-11-24, midnight.")
@format_option(
    choices=("table", "json", "jsonl", "prometheus"),
    help_text="table (plain text in a pipe), json, jsonl (one line each) or prometheus (its text format).",
)
def stats(task: str | None, since: Since | None, output_format: str) -> None:
    with open_for_reading() as database, noting_damage():
        found = task_stats(database, task=task, since=since)
        others = task_stats(database, since=since) if task and not found and output_format == "table" else []
    if output_format in ("json", "jsonl"):
        echo_records((one.to_json() for one in found), output_format)
    elif output_format == "prometheus":
        from zrb_store.watch.prometheus import prometheus_lines

        for line in prometheus_lines(found):
            echo(line)
    elif found:
        times, shown = TimeFormat(), table_of(found)
        added = reversed([title for title in shown.titles if title not in _LEAVING])  # by wings
        leaving = _LEAVING | {title: place for place, title in enumerate(added, 1)}
        figures = (Column(title, right=True, leaves=leaving[title]) for title in shown.titles)
        columns = (*_STATS_COLUMNS, *figures, Column("history"), Column("last failure"))
        rows = [_row(each, times) for each in shown.rows]
        print_document([Table(columns, rows), Lines(["   ".join(shown.legend)] if shown.legend else [])])
    else:
        nothing = "no runs" if task or since else "no runs yet"
        print_document([Lines([nothing + (_of_task(task, others) if task else "")])])


def _of_task(task: str, others: Sequence[TaskStats]) -> str:
    """Say which main task has no runs, and which ones have: the task may be misspelt, or upstream of another one."""
    names = list(dict.fromkeys(one.task for one in others if one.task))
    more = f", and {len(names) - _MOST} more" if len(names) > _MOST else ""
    there_are = f"; there are runs of {', '.join(names[:_MOST])}{more}" if names else ""
    return f" of the main task {one_line(task + (nearest(task, names) or there_are))}"


def _row(row: StatsRow, times: TimeFormat) -> list[str]:
    failure = row.stats.last_failure
    last = one_line(f"{times.short(failure.at)} {failure.session}: {failure.text()}") if failure else NOTHING
    return [row.task, row.project, *row.numbers, row.history, last]
