"""`show`: one session with everything in it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import click

from zrb_store.cli.command import command, format_option, program
from zrb_store.cli.notes import noting
from zrb_store.cli.one_value import fate
from zrb_store.cli.output import (
    Block,
    Column,
    Facts,
    Lines,
    Table,
    bare,
    echo_bare,
    echo_json,
    on_terminal,
    settled,
    show,
)
from zrb_store.cli.plain import shortened
from zrb_store.cli.words import NOTHING, Clock, brief_error, micros_between, preview, runner, size, took
from zrb_store.printing import one_line
from zrb_store.reading import history
from zrb_store.reading.history import Look
from zrb_store.reading.names import resolve
from zrb_store.store import Store, open_store

_EVERY = 1.0  # seconds between two looks of --watch
_ERROR = 300  # columns of an error's message; `log` has all of it
_UNFINISHED = ("failed", "interrupted", "lost")
_ENDED = ("completed", "failed", "interrupted", "stale")


@command(
    "show",
    "{} etl-2026-11-24",
    "{} @last-failed load --live",
    "{} etl-2026-11-24 --at before:load#2",
    "{} @last --watch",
    details="SESSION is a full name, its unique beginning, @last, @last-failed, or in a task @this. MOMENT is a time "
    "(2026-11-24T03:12:45, local without a zone), before:TASK#N or after:TASK#N.",
)
@click.argument("session")
@click.argument("queue", required=False)
@click.option("--live", is_flag=True, help="Only values that are still in their queue.")
@click.option("--at", metavar="MOMENT", help="As it was at that moment.")
@click.option("--full", is_flag=True, help="Values whole, not cut to the width.")
@click.option("--watch", is_flag=True, help="Show it again and again until the session has ended.")
@format_option()
def show_(session: str, queue: str | None, live: bool, at: str | None, full: bool, watch: bool, form: str) -> None:
    if watch and (at or form != "table"):
        raise click.UsageError("--watch shows the table as it is now: leave out --at and --format")
    with open_store(read_only=True) as store:
        name = resolve(store, session).name
        if watch:
            _watch(store, name, queue, live, full)
            return
        with noting() as damage, history.look(store, name, queue, live=live, at=at, damage=damage) as seen:
            if form == "json":
                echo_json(seen.tree)
            elif form == "table":
                show(blocks(seen, only=queue, at=at, full=full), full=full)
            for contents in seen.tree["queues"].values():
                if form == "jsonl":
                    for value in contents["values"]:
                        echo_json(value, one_line=True)
                elif form == "value":
                    for value in contents["live"]:
                        echo_bare(bare(value))


def blocks(seen: Look, *, only: str | None = None, at: str | None = None, full: bool = False) -> Iterator[Block]:
    """A session as a document; of one queue only that queue. Its rows are read as they are shown."""
    story = seen.tree
    queues = (_queue(name, contents, full) for name, contents in story["queues"].items())
    if only is not None:
        yield from queues
        return
    clock = Clock(story["runs"][0]["started_at"] if story["runs"] else story["created_at"])
    yield _head(story, clock, at)
    if len(story["runs"]) > 1:
        yield _runs(story["runs"], clock)
    if story["tasks"]:
        yield _tasks(story["tasks"], clock)
    yield from queues
    hints = _hints(seen) if at is None else []
    if hints:
        yield Lines(hints)


def _head(story: dict[str, Any], clock: Clock, at: str | None) -> Facts:
    runs, inputs = story["runs"], story["inputs"]
    pairs = [("Session", story["name"]), ("Status", story["status"] + (", pinned" if story["pinned"] else ""))]
    if at is not None:
        pairs.append(("As it was", at))
    if story["task"]:
        pairs.append(("Task", one_line(" ".join(story["path"]) or story["task"])))
    if story["project"]:
        pairs.append(("Project", one_line(story["project"])))
    if type(inputs) is dict and inputs:
        pairs.append(("Inputs", ", ".join(one_line(f"{key}={bare(value)}") for key, value in inputs.items())))
    origins = (("Parent", story["parent"]), ("Fork of", story["forked_from"]))
    pairs += [(label, one_line(name)) for label, name in origins if name]
    if not runs:
        return Facts([*pairs, ("Created", clock.full(story["created_at"]))])
    pairs.append(("Started", clock.full(runs[0]["started_at"])))
    if story["finished_at"]:
        pairs.append(("Ended", clock.full(story["finished_at"])))
    if len(runs) == 1:
        pairs.append(("Run by", runner(runs[0])))
    return Facts(pairs)


def _runs(runs: list[dict[str, Any]], clock: Clock) -> Table:
    columns = (
        Column("run", right=True),
        Column("outcome", status=True),
        Column("started"),
        Column("took", right=True),
        Column("by"),
    )
    rows = [
        [
            str(run["number"]),
            one_line(run["outcome"] or "running"),
            clock.brief(run["started_at"]),
            _took(run, run["outcome"]),
            runner(run),
        ]
        for run in runs
    ]
    return Table(columns, rows, "Runs")


def _took(of: dict[str, Any], status: str | None) -> str:
    # One that died ended before anybody noticed.
    return took(None if status == "lost" else micros_between(of["started_at"], of["ended_at"]))


def _tasks(tasks: list[dict[str, Any]], clock: Clock) -> Table:
    columns = (
        Column("attempt", fold=True),
        Column("status", status=True),
        Column("run", right=True),
        Column("started"),
        Column("took", right=True),
        Column("note"),
    )
    return Table(columns, itertools.chain.from_iterable(_tries(task, clock) for task in tasks), "Tasks")


def _tries(task: dict[str, Any], clock: Clock) -> Iterator[list[str]]:
    """A line for each attempt of a task, and one for a task that waits."""
    for place, attempt in enumerate(task["attempts"], 1):
        yield [
            one_line(f"{task['task']}#{attempt['number']}"),
            attempt["status"],
            NOTHING if attempt["run"] is None else str(attempt["run"]),
            clock.brief(attempt["started_at"]),
            _took(attempt, attempt["status"]),
            _note(task, attempt) if place == len(task["attempts"]) else _error(attempt),
        ]
    if not task["attempts"] or task["status"] in ("waiting", "skipped"):
        yield [one_line(task["task"]), task["status"], NOTHING, NOTHING, NOTHING, ""]


def _note(task: dict[str, Any], attempt: dict[str, Any]) -> str:
    return _error(attempt) or ("" if task["restorable"] else "not restorable")


def _error(attempt: dict[str, Any]) -> str:
    error = attempt["error"]
    if error is None:
        return ""
    text = one_line(brief_error(error))
    return shortened(text, _ERROR)


def _queue(name: str, contents: dict[str, Any], full: bool) -> Block:
    values = contents["values"]
    count = f"{len(contents['live'])} live of {len(values)}" if len(values) else "empty"
    title = f"Queue {one_line(name)}: {count}"
    if not len(values):
        return Lines([], title)
    columns = (
        Column("seq", right=True),
        Column("value", cut=True),
        Column("type"),
        Column("size", right=True),
        Column("pushed by", fold=True),
        Column("fate", status=True),
    )
    rows = (
        [
            f"#{value['seq']}",
            preview(value["value"], full=full),
            one_line(value["type"]),
            size(value["size"]),
            one_line(value["pushed_by"] or NOTHING)
            + ("" if value["moved_from"] is None else f", as #{value['moved_from']}"),
            "\n".join([*map(_back, value["returns"]), fate(value)]),
        ]
        for value in values
    )
    return Table(columns, rows, title)


def _back(returned: dict[str, Any]) -> str:
    # That the attempt failed or died stands beside its name among the tasks.
    reason = "" if returned["reason"] in _UNFINISHED else f": {returned['reason']}"
    return one_line(f"given back by {returned['taken_by'] or 'a removed attempt'}{reason}")


def _hints(seen: Look) -> list[str]:
    """What to do next about a session that did not end well."""
    story = seen.tree
    name, status = story["name"], story["status"]
    hints = []
    if any(attempt["error"] for task in story["tasks"] for attempt in task["attempts"]):
        hints.append(f"Tracebacks:  {program()} log {name}")
    if status in ("failed", "interrupted", "stale") and story["path"]:
        hints.append(f"Resume:      zrb xcom resume {name}")
    if status != "completed" and (pending := [one_line(each) for each in seen.pending()]):
        hints.append(f"Pending:     what {', '.join(pending)} took and pushed is given back when the session goes on")
    return hints


def _watch(store: Store, name: str, queue: str | None, live: bool, full: bool) -> None:
    """Show the session until it has ended, or until the reader has seen enough."""
    from zrb_store.cli.watch import screen

    parts: list[Block] = []
    with screen() as draw:
        while True:
            with history.look(store, name, queue, live=live) as seen:
                status = seen.tree["status"]
                parts = [settled(block) for block in blocks(seen, only=queue, full=full)]
            draw(parts, full)
            if status in _ENDED:
                break
            time.sleep(_EVERY)
    if on_terminal() and parts:
        show(parts, full=full)


COMMANDS = {"show": show_}
