"""`log`: what went wrong, and how each run was started."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.notes import noting
from zrb_store.cli.output import Block, Column, Facts, Lines, Table, echo_bare, echo_json, show
from zrb_store.cli.words import NOTHING, Clock, brief_error, micros_between, runner, took
from zrb_store.printing import one_line, printable
from zrb_store.reading import stories
from zrb_store.reading.names import resolve
from zrb_store.store import open_store

_BAD = ("failed", "interrupted", "lost")


@command(
    "log",
    "{} @last-failed",
    "{} etl-2026-11-24 load",
    details="With TASK only the attempts of that task.",
)
@click.argument("session")
@click.argument("task", required=False)
@format_option()
def log(session: str, task: str | None, form: str) -> None:
    with (
        open_store(read_only=True) as store,
        noting() as damage,
        stories.log(store, resolve(store, session).name, task, damage) as told,
    ):
        if form == "json":
            echo_json(told)
        elif form == "table":
            show(_blocks(told))
        for attempt in told["attempts"]:
            if form == "jsonl":
                echo_json(attempt, one_line=True)
            elif form == "value" and (error := attempt["error"]):
                echo_bare((error["traceback"] or brief_error(error)).rstrip("\n"))


def _blocks(told: dict[str, Any]) -> Iterator[Block]:
    started = told["runs"][0]["started_at"] if told["runs"] else None
    clock = Clock(started)
    yield Facts([("Session", told["name"]), ("Status", told["status"])])
    for run in told["runs"]:
        yield _run(run, clock)
    bad = (attempt for attempt in told["attempts"] if attempt["error"] or attempt["status"] in _BAD)
    first = next(bad, None)
    if first is None:
        yield Lines(["No attempt failed."])
    else:
        yield from (_attempt(attempt, clock) for attempt in itertools.chain([first], bad))
    change = next(told["changes"], None)
    if change is not None:
        yield _changes(itertools.chain([change], told["changes"]), clock)


def _run(run: dict[str, Any], clock: Clock) -> Facts:
    lasted = None if run["outcome"] == "lost" else micros_between(run["started_at"], run["ended_at"])
    versions = {"Python": run["python_version"], "zrb": run["zrb_version"]}
    who = f" as {one_line(run['user'])}" if run["user"] else ""
    return Facts(
        [
            (f"Run {run['number']}", one_line(run["outcome"] or "running")),
            ("Started", clock.full(run["started_at"]) + (f", took {took(lasted)}" if lasted is not None else "")),
            ("By", runner(run) + who),
            ("Command", one_line(shlex.join(run["command"])) or NOTHING),
            ("Folder", one_line(run["folder"] or NOTHING)),
            ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version) or NOTHING),
        ],
        frozenset({f"Run {run['number']}"}),
    )


def _attempt(attempt: dict[str, Any], clock: Clock) -> Lines:
    error = attempt["error"]
    run = f" in run {attempt['run']}" if attempt["run"] is not None else ""
    title = f"{one_line(attempt['attempt'])} {attempt['status']}{run}, {clock.full(attempt['started_at'])}"
    if error is None:
        lost = attempt["status"] == "lost"
        return Lines(["Its process ended without a word." if lost else "It left no error."], title)
    text = error["traceback"] or brief_error(error)
    return Lines([printable(line.expandtabs()) for line in text.splitlines()], title)


def _changes(changes: Iterable[dict[str, Any]], clock: Clock) -> Table:
    columns = (Column("at"), Column("what"), Column("by"), Column("detail"))
    rows = (
        [
            clock.full(one["at"]),
            one_line(one["action"]),
            one_line(f"{one['user'] or 'somebody'}, pid {one['pid']} on {one['host']}"),
            one_line(one["detail"] or ""),
        ]
        for one in changes
    )
    return Table(columns, rows, "By hand")


COMMANDS = {"log": log}
