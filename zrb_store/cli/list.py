"""`list`: sessions at a glance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, limit_option, project_option, since_option
from zrb_store.cli.command import command
from zrb_store.db.engine import Database
from zrb_store.inspect.list import STATUSES, SessionSummary, list_sessions, summaries
from zrb_store.inspect.queues import all_holds
from zrb_store.inspect.session_names import open_for_reading
from zrb_store.local_time import Since
from zrb_store.masking import one_line
from zrb_store.names import NamePattern
from zrb_store.process import Projects, projects_named
from zrb_store.queries import sessions
from zrb_store.records import HALTED
from zrb_store.render.document import Column, Lines, Table, on_terminal
from zrb_store.render.format import TimeFormat, format_duration
from zrb_store.render.printing import echo, echo_records, noting_damage, print_document
from zrb_store.render.sessions import row_of_session

_COLUMNS = (
    Column("name"),
    Column("project", leaves=1),
    Column("task", leaves=3),
    Column("status", status=True),
    Column("started", leaves=6, late=True),
    Column("took", right=True, leaves=5, late=True),
    Column("tasks", right=True, leaves=4, late=True),
    Column("owner", leaves=2),
    Column("error", cut=True, least=40, optional=True),
)
_HOLD_COLUMNS = (Column("value"), Column("status", status=True), Column("for", right=True), Column("held by"))
_MOST = 5  # projects that are named


@command(
    "list",
    "{} --failed --since 2d",
    "{} --match 'etl-*' --project",
    "{} --holds",
    "{} --task load --format value | head -n 1",
    details="PATTERN is a shell pattern: * matches any text, ? one character, [abc] one of these, [!abc] one other. "
    "Put it in quotes. The session that started or ended last comes first; without a run, its creation counts.",
)
@click.option("--status", type=click.Choice(STATUSES), help="Only sessions of this status.")
@click.option("--failed", is_flag=True, help="Only failed, interrupted and stale sessions, as for @last-failed.")
@click.option("--match", "pattern", metavar="PATTERN", help="Only sessions whose name matches, e.g. 'etl-*'.")
@project_option("Only sessions of this project")
@click.option("--task", metavar="NAME", shell_complete=completion.main_tasks, help="Only sessions of this main task.")
@since_option(
    "Only sessions that last started or ended, or were created, within this time, e.g. 90m, 2d, or since this moment, "
    "e.g. 2026-11-24, 03:12, midnight."
)
@click.option("--holds", is_flag=True, help="Instead of sessions, every value that is held, and by whom.")
@limit_option("sessions")
@format_option()
def list_(
    status: str | None,
    failed: bool,
    pattern: str | None,
    project: str | None,
    task: str | None,
    since: Since | None,
    holds: bool,
    limit: int,
    output_format: str,
) -> None:
    if failed and status:
        raise click.UsageError("--failed and --status exclude each other")
    statuses = HALTED if failed else None if status is None else [status]
    is_restricted = any(condition is not None for condition in (statuses, pattern, project, task, since))
    if holds:
        if is_restricted:
            raise click.UsageError("--holds lists values: only --limit and --format go with it")
        _list_holds(limit, output_format)
        return
    chosen = projects_named(project)
    with open_for_reading() as database, noting_damage():
        with summaries(
            database,
            statuses=statuses,
            name=None if pattern is None else NamePattern(pattern),
            task=task,
            projects=chosen,
            since=since,
            limit=limit + 1 if limit else None,  # one more, to know whether there are older ones
            with_holders=output_format != "value",
        ) as found:
            is_empty = not _print(found, limit, output_format)
        if is_empty and output_format == "table":
            nothing = "no sessions" if is_restricted else "no sessions yet"
            print_document([Lines([nothing + (_of_project(database, chosen) if chosen else "")])])


def _print(found: Iterator[SessionSummary], limit: int, output_format: str) -> bool:
    """Print sessions, and return whether there was one."""
    first = next(found, None)
    shown = itertools.islice(found if first is None else itertools.chain([first], found), limit or None)
    if output_format in ("json", "jsonl"):
        echo_records((summary.to_json() for summary in shown), output_format)
    elif output_format == "value":
        for summary in shown:
            echo(one_line(summary.session.name))
    elif first is not None:
        times = TimeFormat()
        rows = (_row(summary, times) for summary in shown)
        print_document([Table(_COLUMNS, rows)], full=not on_terminal())  # a pipe gets whole errors
        if limit and next(found, None) is not None:
            hint = f"There are older ones: --limit {limit * 10}, or --limit 0 for all."
            print_document([Lines(["", hint])])
    return first is not None


def _list_holds(limit: int, output_format: str) -> None:
    """Print every value of the store that a running attempt holds, or a completed step of a session that halted."""
    with open_for_reading() as database, noting_damage(), all_holds(database) as (found, moment):
        shown = itertools.islice(found, limit or None)
        if output_format in ("json", "jsonl"):
            echo_records((hold.to_json() for hold in shown), output_format)
        elif output_format == "value":
            for hold in shown:
                echo(one_line(hold.value))
        else:
            rows = (
                (one_line(each.value), each.status, format_duration(moment - each.since), one_line(each.held_by))
                for each in shown
            )
            print_document([Table(_HOLD_COLUMNS, rows, otherwise="no value is held")])
            if next(found, None) is not None:
                print_document([Lines(["", f"There are more: --limit {limit * 10}, or --limit 0 for all."])])


def _of_project(database: Database, chosen: Projects) -> str:
    """Say that no session is of a project, and which projects there are: it may be misspelt. Empty if one is."""
    with database.snapshot() as transaction:
        known = list(itertools.islice(sessions.known_projects(transaction), _MOST + 1))
    if list_sessions(database, projects=chosen, limit=1):
        return ""
    shown = ", ".join(known[:_MOST]) + ", ..." * (len(known) > _MOST)
    there_are = f"; there are sessions of {shown}" if known else "; no session has a project"
    return " " + one_line(f"of project {chosen.name or chosen.folders[0]}{there_are}")


def _row(summary: SessionSummary, times: TimeFormat) -> list[str]:
    row = row_of_session(summary)
    status = ", ".join([row.status, *row.marks])
    return [row.name, row.project, row.task, status, times.short(row.started_at), row.took, row.tasks, row.by, row.why]
