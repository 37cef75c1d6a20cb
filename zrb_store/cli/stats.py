"""`stats`: how reliable the tasks are, and how long they take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, since_option
from zrb_store.cli.command import command
from zrb_store.inspect.session_names import open_for_reading
from zrb_store.inspect.stats import TaskStats, seconds, task_stats
from zrb_store.local_time import Since
from zrb_store.masking import one_line, printable
from zrb_store.names import nearest
from zrb_store.render.document import Column, Lines, Table
from zrb_store.render.format import NOTHING, TimeFormat, format_duration, percent
from zrb_store.render.printing import echo, echo_records, noting_damage, print_document

_COLUMNS = (
    Column("task"),
    Column("project", leaves=1),
    Column("runs", right=True, leaves=4),
    Column("completed", right=True),
    Column("median", right=True, leaves=3),
    Column("95 %", right=True, leaves=2),
    Column("last failure"),
)
_TOKENS = tuple(
    Column(name, right=True, leaves=place) for name, place in (("paid", 3), ("used again", 2), ("thrown away", 1))
)

_MOST = 5  # main tasks that are named


@command(
    "stats",
    "{} --since 30d",
    "{} load --format json",
    "{} --since 30d --format prometheus > /var/lib/node_exporter/zrb_store.prom",
    details="Counts the runs of each main task (the started one) in each project. A resumed session has several runs. "
    "COMPLETED is the number of completed runs, and their share of the ended runs. Median and 95th percentile (by "
    "nearest rank) are of the durations of completed runs. A run whose process died is lost, which counts as a "
    "failure. A run that ended because it waits counts as neither; WAITED is the time until the next one. If there are "
    "agents, PAID is the sum of tokens that their models were sent and gave, USED AGAIN that of the stored answers "
    "that the last attempt or a fork used instead, and THROWN AWAY that of paid answers, given back since. The cost of "
    "a request whose answer never came is not known.",
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
        for line in prometheus_lines(found):
            echo(line)
    elif found:
        times, waits, has_agents = TimeFormat(), any(one.waits for one in found), any(one.costs.text() for one in found)
        waited = [Column("waited", right=True, leaves=5)] if waits else []
        columns = (*_COLUMNS[:-1], *waited, *(_TOKENS if has_agents else ()), _COLUMNS[-1])
        print_document([Table(columns, [_row(one, times, waits, has_agents) for one in found])])
    else:
        nothing = "no runs" if task or since else "no runs yet"
        print_document([Lines([nothing + (_of_task(task, others) if task else "")])])


def _of_task(task: str, others: Sequence[TaskStats]) -> str:
    """Say which main task has no runs, and which ones have: the task may be misspelt, or upstream of another one."""
    names = list(dict.fromkeys(one.task for one in others if one.task))
    more = f", and {len(names) - _MOST} more" if len(names) > _MOST else ""
    there_are = f"; there are runs of {', '.join(names[:_MOST])}{more}" if names else ""
    return f" of the main task {one_line(task + (nearest(task, names) or there_are))}"


def _row(stats: TaskStats, times: TimeFormat, waits: bool, has_agents: bool) -> list[str]:
    tokens = [f"{spent.input_tokens + spent.output_tokens:,}" for spent in stats.costs if has_agents]
    share, failure = stats.share, stats.last_failure
    return [
        one_line(stats.task) if stats.task else NOTHING,
        one_line(PurePath(stats.project).name or stats.project) if stats.project else NOTHING,
        str(stats.runs),
        f"{stats.completed}" + (f" ({percent(share)})" if share is not None else ""),
        format_duration(stats.median),
        format_duration(stats.p95),
        *([format_duration(stats.waited)] if waits else []),
        *tokens,
        one_line(f"{times.short(failure.at)} {failure.session}: {failure.text()}") if failure else NOTHING,
    ]


_Sample = tuple[str, dict[str, str], float | None]  # suffix of the name, more labels, number


def prometheus_lines(stats: Sequence[TaskStats]) -> Iterator[str]:
    """Yield the lines of Prometheus's text format."""

    def family(name: str, kind: str, purpose: str, samples: Callable[[TaskStats], Iterable[_Sample]]) -> Iterator[str]:
        yield f"# HELP zrb_store_{name} {purpose}"
        yield f"# TYPE zrb_store_{name} {kind}"
        for one in stats:
            for suffix, more, number in samples(one):
                if number is not None:
                    labels = {"project": one.project or "", "task": one.task or "", **more}
                    shown = ",".join(f'{label}="{_label_value(text)}"' for label, text in labels.items())
                    yield f"zrb_store_{name}{suffix}{{{shown}}} {number!r}"

    def gauge(name: str, purpose: str, number: Callable[[TaskStats], int | None]) -> Iterator[str]:
        return family(name, "gauge", purpose, lambda one: [("", {}, seconds(number(one)))])

    def runs(one: TaskStats) -> Iterator[_Sample]:
        return (("", {"status": status}, count) for status, count in {**one.ended, "running": one.running}.items())

    def durations(one: TaskStats) -> Iterator[_Sample]:
        yield "", {"quantile": "0.5"}, seconds(one.median)
        yield "", {"quantile": "0.95"}, seconds(one.p95)
        yield "_sum", {}, seconds(one.total)
        yield "_count", {}, one.completed

    def tokens(one: TaskStats) -> Iterator[_Sample]:
        for kind, spent in one.costs._asdict().items() if one.costs.text() else ():
            yield "", {"kind": kind, "direction": "input"}, spent.input_tokens
            yield "", {"kind": kind, "direction": "output"}, spent.output_tokens

    # Numbers are gauges, since `prune` lowers them; errors are no labels.
    yield from family("runs", "gauge", "Runs of a task by how they ended; running if they have not.", runs)
    waited = "How long sessions of a task waited while no process ran."
    yield from gauge("waited_seconds", waited, lambda one: one.waited)
    yield from family("run_duration_seconds", "summary", "How long completed runs of a task took.", durations)
    completed = "When a run of a task last completed."
    yield from gauge("last_completed_timestamp_seconds", completed, lambda one: one.last_completed_at)
    failed = "When a run of a task last failed, was interrupted or was lost."
    yield from gauge(
        "last_failure_timestamp_seconds", failed, lambda one: one.last_failure.at if one.last_failure else None
    )
    paid = "Tokens of a task's agents: paid, used again from the store, and thrown away by a give-back."
    yield from family("agent_tokens", "gauge", paid, tokens)


def _label_value(text: str) -> str:
    # Escaped before the backslashes are: the format knows no other escapes than these.
    encoding = sys.stdout.encoding or "ascii"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    return text.replace("\\", "\\\\").replace('"', '\\"')
