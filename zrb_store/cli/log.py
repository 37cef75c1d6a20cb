"""`log`: what went wrong, and how each run was started."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.program_name import program_name
from zrb_store.cli.render.damage_notes import noting_damage
from zrb_store.cli.render.document import Block, Column, Fields, Lines, Table
from zrb_store.cli.render.format import (
    NOTHING,
    TimeFormat,
    counted,
    error_summary,
    format_duration,
    micros_between,
    run_process,
)
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
    "{} etl-2026-11-24 load/3",
    details="With TASK, shows only the attempts of that task and of its steps. TASK/3 is the task's third step.",
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
            print_document(_blocks(session_log, task))
        for attempt in session_log["attempts"]:
            if output_format == "jsonl":
                echo_json(attempt, one_line=True)
            elif output_format == "value" and (error := attempt["error"]):
                echo_raw((error["traceback"] or error_summary(error)).rstrip("\n"))


def _blocks(session_log: dict[str, Any], step: str | None) -> Iterator[Block]:
    """Yield the blocks that show a log.

    Args:
        session_log: The log, in the shape of `log --format json`.
        step: The id of a step whose attempts are shown though they completed, if there is such a step.
    """
    runs, name = session_log["runs"], session_log["name"]
    times = TimeFormat(runs[0]["started_at"] if runs else None)
    yield Fields([("Session", name), ("Status", session_log["status"])])
    for run in runs:
        yield _run_fields(run, times)
    standing: Counter[str] = Counter()
    given_back: Counter[str] = Counter()
    nothing_shown = True
    for attempt in session_log["attempts"]:
        task = attempt["attempt"].rpartition("#")[0]
        is_asked_for = attempt["step"] is not None and task == step
        if attempt["error"] or attempt["status"] in UNSUCCESSFUL or is_asked_for:
            nothing_shown = False
            yield _step_lines(attempt, times, name, task) if is_asked_for else _attempt_lines(attempt, times)
        elif attempt["step"] is not None and attempt["status"] == "completed":
            (standing if attempt["given_back_at"] is None else given_back)[task.rpartition("/")[0]] += 1
    summary = ["No attempt failed."] * nothing_shown
    for task in standing | given_back:
        more = f"; {given_back[task]} completed and were given back" if given_back[task] else ""
        summary.append(f"{counted(standing[task], 'step')} of {one_line(task)} completed{more}.")
    if summary:
        yield Lines(summary)
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
    error, title = attempt["error"], _title(attempt, times)
    if error is None:
        is_lost = attempt["status"] == "lost"
        return Lines(
            ["Its process died or lost its lease; no error was recorded." if is_lost else "No error was recorded."],
            title,
        )
    text = error["traceback"] or error_summary(error)
    return Lines([printable(line.expandtabs()) for line in text.splitlines()], title)


def _step_lines(attempt: dict[str, Any], times: TimeFormat, session: str, step_id: str) -> Lines:
    """Return the lines of an attempt of the step that was asked for, whether or not it completed."""
    if attempt["error"] or attempt["status"] in UNSUCCESSFUL:
        return _attempt_lines(attempt, times)
    lines = []
    if attempt["ended_at"] is not None:
        lines.append(f"Took {format_duration(micros_between(attempt['started_at'], attempt['ended_at']))}.")
    if attempt["given_back_at"] is not None:
        lines.append(f"Given back {times.full(attempt['given_back_at'])}.")
    elif attempt["status"] == "completed":
        lines.append(f"Its result:  {program_name()} get {session} {shlex.quote(one_line(step_id))} --result")
    return Lines(lines, _title(attempt, times))


def _title(attempt: dict[str, Any], times: TimeFormat) -> str:
    """Return `load#1 failed in run 1, 2026-11-24 03:12:45`, or `load/3#1 (page 3) failed in load#2, run 1, ...`."""
    name = attempt["attempt"] if attempt["step"] is None else f"{attempt['attempt']} ({attempt['step']})"
    run = None if attempt["run"] is None else f"run {attempt['run']}"
    places = ", ".join(place for place in (attempt["inside"], run) if place is not None)
    where = f" in {one_line(places)}" if places else ""
    return f"{one_line(name)} {attempt['status']}{where}, {times.full(attempt['started_at'])}"


def _changes_table(changes: Iterable[dict[str, Any]], times: TimeFormat) -> Table:
    columns = (Column("at", words=True), Column("what"), Column("by", fold=True), Column("detail"))
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
