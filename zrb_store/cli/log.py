"""`log`: what went wrong, and how each run was started."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.render.damage_notes import noting_damage
from zrb_store.cli.render.document import Block, Column, Fields, Lines, Table
from zrb_store.cli.render.format import NOTHING, TimeFormat, error_summary, format_duration, micros_between, run_process
from zrb_store.cli.render.output import echo_json, echo_raw, print_document
from zrb_store.inspect import session_names
from zrb_store.inspect.log import log as read_log
from zrb_store.records import UNSUCCESSFUL
from zrb_store.safe_text import one_line, printable
from zrb_store.store import open_store


@command(
    "log",
    "{} @last-failed",
    "{} etl-2026-11-24 load",
    details="With TASK, shows only the attempts of that task.",
)
@click.argument("session")
@click.argument("task", required=False)
@format_option()
def log(session: str, task: str | None, output_format: str) -> None:
    with (
        open_store(read_only=True) as store,
        noting_damage() as damage,
        read_log(store.database, session_names.resolve(store.database, session).name, task, damage) as session_log,
    ):
        if output_format == "json":
            echo_json(session_log)
        elif output_format == "table":
            print_document(_blocks(session_log))
        for attempt in session_log["attempts"]:
            if output_format == "jsonl":
                echo_json(attempt, one_line=True)
            elif output_format == "value" and (error := attempt["error"]):
                echo_raw((error["traceback"] or error_summary(error)).rstrip("\n"))


def _blocks(session_log: dict[str, Any]) -> Iterator[Block]:
    runs = session_log["runs"]
    times = TimeFormat(runs[0]["started_at"] if runs else None)
    yield Fields([("Session", session_log["name"]), ("Status", session_log["status"])])
    for run in runs:
        yield _run_fields(run, times)
    unsuccessful = (
        attempt for attempt in session_log["attempts"] if attempt["error"] or attempt["status"] in UNSUCCESSFUL
    )
    first_attempt = next(unsuccessful, None)
    if first_attempt is None:
        yield Lines(["No attempt failed."])
    else:
        yield from (_attempt_lines(attempt, times) for attempt in itertools.chain([first_attempt], unsuccessful))
    first_change = next(session_log["changes"], None)
    if first_change is not None:
        yield _changes_table(itertools.chain([first_change], session_log["changes"]), times)


def _run_fields(run: dict[str, Any], times: TimeFormat) -> Fields:
    # When the process of a lost run died is not known.
    took = None if run["outcome"] == "lost" else micros_between(run["started_at"], run["ended_at"])
    versions = {"Python": run["python_version"], "zrb": run["zrb_version"]}
    user = f" as {one_line(run['user'])}" if run["user"] else ""
    label = f"Run {run['number']}"
    return Fields(
        [
            (label, one_line(run["outcome"] or "running")),
            ("Started", times.full(run["started_at"]) + ("" if took is None else f", took {format_duration(took)}")),
            ("By", run_process(run) + user),
            ("Command", one_line(shlex.join(run["command"])) or NOTHING),
            ("Folder", one_line(run["folder"] or NOTHING)),
            ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version) or NOTHING),
        ],
        frozenset({label}),
    )


def _attempt_lines(attempt: dict[str, Any], times: TimeFormat) -> Lines:
    error = attempt["error"]
    run = f" in run {attempt['run']}" if attempt["run"] is not None else ""
    title = f"{one_line(attempt['attempt'])} {attempt['status']}{run}, {times.full(attempt['started_at'])}"
    if error is None:
        is_lost = attempt["status"] == "lost"
        return Lines(
            ["Its process died or lost its lease; no error was recorded." if is_lost else "No error was recorded."],
            title,
        )
    text = error["traceback"] or error_summary(error)
    return Lines([printable(line.expandtabs()) for line in text.splitlines()], title)


def _changes_table(changes: Iterable[dict[str, Any]], times: TimeFormat) -> Table:
    columns = (Column("at"), Column("what"), Column("by"), Column("detail"))
    rows = (
        [
            times.full(change["at"]),
            one_line(change["action"]),
            one_line(f"{change['user'] or 'somebody'}, pid {change['pid']} on {change['host']}"),
            one_line(change["detail"] or ""),
        ]
        for change in changes
    )
    return Table(columns, rows, "By others")
