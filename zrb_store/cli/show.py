"""`show`: one session with everything in it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.program_name import program_name
from zrb_store.cli.render.damage_notes import noting_damage
from zrb_store.cli.render.document import Block, Column, Fields, Lines, Table, with_rows_read
from zrb_store.cli.render.format import (
    NOTHING,
    TimeFormat,
    error_summary,
    format_duration,
    micros_between,
    run_process,
    shell_text,
)
from zrb_store.cli.render.layout import shorten
from zrb_store.cli.render.output import echo_json, echo_raw, print_document
from zrb_store.cli.render.queue import QueuePrinter
from zrb_store.cli.render.stdout import on_terminal
from zrb_store.cli.render.watch import display
from zrb_store.db.engine import Database
from zrb_store.inspect import session_names
from zrb_store.inspect.show import SessionDocument, open_session
from zrb_store.queries.value_history import Only
from zrb_store.safe_text import one_line
from zrb_store.store import open_store

_WATCH_INTERVAL = 1.0  # seconds
_ERROR_WIDTH = 300  # columns; `log` shows all of an error's message
_FEW = 20  # runs, or attempts of a task: no more are shown one by one
_LAST = 10  # how many of more are shown
_ENDED = ("completed", "failed", "interrupted", "stale")


@command(
    "show",
    "{} etl-2026-11-24",
    "{} @last-failed load --live",
    "{} etl-2026-11-24 --at before:load#2",
    "{} inbox files --dead",
    "{} @last --watch",
    details="SESSION is a full name, its unique beginning, @last, @last-failed, or in a task @this. MOMENT is a time "
    "(2026-11-24T03:12:45, in local time unless it has a zone), before:TASK#N or after:TASK#N.",
)
@click.argument("session")
@click.argument("queue", required=False)
@click.option("--live", is_flag=True, help="Only values that are still in their queue.")
@click.option("--dead", is_flag=True, help="Only values that are dead: their queue allows no more deliveries.")
@click.option("--at", metavar="MOMENT", help="As it was at that moment.")
@click.option("--full", is_flag=True, help="Do not shorten values, nor long lists of runs and attempts.")
@click.option("--watch", is_flag=True, help="Refresh the display until the session has ended.")
@format_option()
def show(
    session: str,
    queue: str | None,
    live: bool,
    dead: bool,
    at: str | None,
    full: bool,
    watch: bool,
    output_format: str,
) -> None:
    if live and dead:
        raise click.UsageError("--live and --dead exclude each other")
    only: Only | None = "live" if live else "dead" if dead else None
    if watch and (at or output_format != "table"):
        raise click.UsageError("--watch shows the table as it is now: leave out --at and --format")
    with open_store(read_only=True) as store:
        name = session_names.resolve(store.database, session).name
        if watch:
            _watch(store.database, name, queue, only, full)
            return
        with (
            noting_damage() as damage,
            open_session(store.database, name, queue, only=only, at=at, damage=damage) as document,
        ):
            if output_format == "json":
                echo_json(document.tree)
            elif output_format == "table":
                print_document(_blocks(document, queue, only=only, at=at, full=full), full=full)
            for contents in document.tree["queues"].values():
                if output_format == "jsonl":
                    for value in contents["values"]:
                        echo_json(value, one_line=True)
                elif output_format == "value":
                    for value in _bare_values(contents, dead):
                        echo_raw(shell_text(value))


def _bare_values(contents: dict[str, Any], dead: bool) -> Iterator[Any]:
    return (value["value"] for value in contents["values"]) if dead else iter(contents["live"])


def _blocks(
    document: SessionDocument,
    queue: str | None,
    *,
    only: Only | None = None,
    at: str | None = None,
    full: bool = False,
) -> Iterator[Block]:
    """Yield the blocks that show a session. Their rows are read while they are printed.

    Args:
        document: The session.
        queue: The queue to which the document is restricted, if any: the rest of the session is not shown then.
        only: The values to which it is restricted, if any.
        at: The moment that is shown, as the user gave it; None for now.
        full: Whether values, and long lists of runs and attempts, are shown whole.
    """
    tree = document.tree
    times = TimeFormat(tree["runs"][0]["started_at"] if tree["runs"] else tree["created_at"])
    printer = QueuePrinter(document, times, only=only, at=at, full=full)
    queues = itertools.starmap(printer.block, tree["queues"].items())
    if queue is not None:
        yield from queues
        return
    yield _session_fields(tree, times, at)
    if len(tree["runs"]) > 1:
        yield _runs_table(tree["runs"], times, full)
    if tree["tasks"]:
        yield _tasks_table(tree["tasks"], times, full)
    yield from queues
    hints = _hints(document) if at is None else []
    if hints:
        yield Lines(hints)


def _session_fields(tree: dict[str, Any], times: TimeFormat, at: str | None) -> Fields:
    runs, inputs = tree["runs"], tree["inputs"]
    pairs = [("Session", tree["name"]), ("Status", tree["status"] + (", pinned" if tree["pinned"] else ""))]
    if at is not None:
        pairs.append(("As it was", at))
    if tree["task"]:
        pairs.append(("Task", one_line(" ".join(tree["path"]) or tree["task"])))
    if tree["project"]:
        pairs.append(("Project", one_line(tree["project"])))
    if type(inputs) is dict and inputs:
        pairs.append(("Inputs", ", ".join(one_line(f"{key}={shell_text(value)}") for key, value in inputs.items())))
    origins = (("Parent", tree["parent"]), ("Fork of", tree["forked_from"]))
    pairs += [(label, one_line(name)) for label, name in origins if name]
    if not runs:
        return Fields([*pairs, ("Created", times.full(tree["created_at"]))])
    pairs.append(("Started", times.full(runs[0]["started_at"])))
    if tree["finished_at"]:
        pairs.append(("Ended", times.full(tree["finished_at"])))
    if len(runs) == 1:
        pairs.append(("Run by", run_process(runs[0])))
    return Fields(pairs)


def _runs_table(runs: list[dict[str, Any]], times: TimeFormat, full: bool) -> Table:
    columns = (
        Column("run", right=True),
        Column("outcome", status=True),
        Column("started"),
        Column("took", right=True),
        Column("by"),
    )
    hidden = _hidden(runs, full)
    earlier = _earlier("runs", (run["outcome"] or "running" for run in runs[:hidden]))
    rows = [[*[NOTHING] * 4, earlier]] if hidden else []
    rows += [
        [
            str(run["number"]),
            one_line(run["outcome"] or "running"),
            times.brief(run["started_at"]),
            _took(run, run["outcome"]),
            run_process(run),
        ]
        for run in runs[hidden:]
    ]
    return Table(columns, rows, "Runs")


def _hidden(every: Sized, full: bool) -> int:
    """Return how many of the first runs, or attempts, are not shown one by one."""
    return 0 if full or len(every) <= _FEW else len(every) - _LAST


def _earlier(what: str, statuses: Iterable[str]) -> str:
    """Sum up what is not shown one by one."""
    counts = Counter(statuses)
    return f"{counts.total()} earlier {what}: " + ", ".join(f"{n} {one_line(word)}" for word, n in counts.items())


def _took(run_or_attempt: dict[str, Any], status: str | None) -> str:
    # One that is lost ended at an unknown time, before anybody noticed.
    is_known = status != "lost"
    return format_duration(
        micros_between(run_or_attempt["started_at"], run_or_attempt["ended_at"]) if is_known else None
    )


def _tasks_table(tasks: list[dict[str, Any]], times: TimeFormat, full: bool) -> Table:
    columns = (
        Column("attempt", fold=True),
        Column("status", status=True),
        Column("run", right=True),
        Column("started"),
        Column("took", right=True),
        Column("note"),
    )
    rows = itertools.chain.from_iterable(_task_rows(task, times, full) for task in tasks)
    return Table(columns, rows, "Tasks")


def _task_rows(task: dict[str, Any], times: TimeFormat, full: bool) -> Iterator[list[str]]:
    """Yield a row for each attempt of a task, of many only for the last, and one if the task waits or was skipped."""
    attempts, hidden = iter(task["attempts"]), _hidden(task["attempts"], full)
    if hidden:
        statuses = (attempt["status"] for attempt in itertools.islice(attempts, hidden))
        yield [one_line(task["task"]), *[NOTHING] * 4, _earlier("attempts", statuses)]
    for place, attempt in enumerate(attempts, hidden + 1):
        is_last = place == len(task["attempts"])
        yield [
            one_line(f"{task['task']}#{attempt['number']}"),
            attempt["status"],
            NOTHING if attempt["run"] is None else str(attempt["run"]),
            times.brief(attempt["started_at"]),
            _took(attempt, attempt["status"]),
            _error(attempt) or ("not restorable" if is_last and not task["restorable"] else ""),
        ]
    if not task["attempts"] or task["status"] in ("waiting", "skipped"):
        yield [one_line(task["task"]), task["status"], NOTHING, NOTHING, NOTHING, ""]


def _error(attempt: dict[str, Any]) -> str:
    error = attempt["error"]
    return "" if error is None else shorten(one_line(error_summary(error)), _ERROR_WIDTH)


def _hints(document: SessionDocument) -> list[str]:
    """Say what to do next about a session that did not end well."""
    tree = document.tree
    name, status = tree["name"], tree["status"]
    hints = []
    if any(attempt["error"] for task in tree["tasks"] for attempt in task["attempts"]):
        hints.append(f"Tracebacks:  {program_name()} log {name}")
    if status in ("failed", "interrupted", "stale") and tree["path"]:
        hints.append(f"Resume:      zrb xcom resume {name}")
    if status != "completed" and (pending := [one_line(attempt) for attempt in document.pending()]):
        hints.append(
            f"Pending:     what {', '.join(pending)} took and pushed is given back when the session is resumed"
        )
    return hints


def _watch(database: Database, name: str, queue: str | None, only: Only | None, full: bool) -> None:
    """Show the session until it has ended, or until the user has seen enough."""
    blocks: list[Block] = []
    with display() as draw:
        while True:
            with open_session(database, name, queue, only=only) as document:
                status = document.tree["status"]
                blocks = [with_rows_read(block) for block in _blocks(document, queue, only=only, full=full)]
            draw(blocks, full)
            if status in _ENDED:
                break
            time.sleep(_WATCH_INTERVAL)
    if on_terminal() and blocks:
        print_document(blocks, full=full)
