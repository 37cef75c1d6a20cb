"""`stats`: how reliable the tasks are, and how long they take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import PurePath

import click

from zrb_store.cli.command import command, parse_since
from zrb_store.cli.render.document import Column, Lines, Table
from zrb_store.cli.render.format import NOTHING, TimeFormat, format_duration, percent
from zrb_store.cli.render.output import echo, echo_json, print_document
from zrb_store.cli.render.prometheus import prometheus_lines
from zrb_store.inspect.stats import TaskStats, task_stats
from zrb_store.names import nearest
from zrb_store.safe_text import one_line
from zrb_store.store import open_store

_COLUMNS = (
    Column("task"),
    Column("project", leaves=1),
    Column("runs", right=True, leaves=4),
    Column("completed", right=True),
    Column("median", right=True, leaves=3),
    Column("95 %", right=True, leaves=2),
    Column("last failure"),
)

_MOST = 5  # main tasks that are named


@command(
    "stats",
    "{} --since 30d",
    "{} load --format json",
    "{} --since 30d --format prometheus > /var/lib/node_exporter/zrb_store.prom",
    details="Counts the runs of each main task, the one that was started, in each project. A session that was resumed "
    "has several. COMPLETED is how many of them completed, and their share of those that have ended. Median and 95th "
    "percentile (by nearest rank) are of the durations of completed runs. A run whose process died counts as lost, "
    "which is a failure.",
)
@click.argument("task", required=False)
@click.option(
    "--since",
    type=parse_since,
    metavar="LENGTH|TIME",
    help="Only runs started at most this long ago, e.g. 26h, 30d, or since a time, e.g. 2026-11-24, midnight.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "jsonl", "prometheus"]),
    default="table",
    show_default=True,
    help="table (plain text in a pipe), json, jsonl (one line each) or prometheus (its text format).",
)
def stats(task: str | None, since: timedelta | datetime | None, output_format: str) -> None:
    with open_store(read_only=True) as store:
        found = task_stats(store.database, task=task, since=since)
        others = task_stats(store.database, since=since) if task and not found and output_format == "table" else []
    if output_format == "json":
        echo_json([one.to_json() for one in found])
    elif output_format == "jsonl":
        for one in found:
            echo_json(one.to_json(), one_line=True)
    elif output_format == "prometheus":
        for line in prometheus_lines(found):
            echo(line)
    elif found:
        times = TimeFormat()
        print_document([Table(_COLUMNS, [_row(one, times) for one in found])])
    else:
        nothing = "no runs" if task or since else "no runs yet"
        print_document([Lines([nothing + (_of_task(task, others) if task else "")])])


def _of_task(task: str, others: Sequence[TaskStats]) -> str:
    """Say which main task has no runs, and which ones have: the task may be misspelt, or upstream of another one."""
    names = list(dict.fromkeys(one.task for one in others if one.task))
    more = f", and {len(names) - _MOST} more" if len(names) > _MOST else ""
    there_are = f"; there are runs of {', '.join(names[:_MOST])}{more}" if names else ""
    return f" of the main task {one_line(task + (nearest(task, names) or there_are))}"


def _row(stats: TaskStats, times: TimeFormat) -> list[str]:
    share, failure = stats.share, stats.last_failure
    return [
        one_line(stats.task) if stats.task else NOTHING,
        one_line(PurePath(stats.project).name or stats.project) if stats.project else NOTHING,
        str(stats.runs),
        f"{stats.completed}" + (f" ({percent(share)})" if share is not None else ""),
        format_duration(stats.median),
        format_duration(stats.p95),
        one_line(f"{times.short(failure.at)} {failure.session}: {failure.text()}") if failure else NOTHING,
    ]
