"""The statistics in Prometheus's text format."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from zrb_store.masking import printable
from zrb_store.watch.stats import TaskStats, numbers, seconds

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

    def of_wing(name: str, family: str) -> Callable[[TaskStats], Iterator[_Sample]]:
        return lambda one: (("", *each) for each in (one.added[name].samples(family) if one.added.get(name) else ()))

    # Numbers are gauges, since `prune` lowers them; errors are no labels.
    yield from family("runs", "gauge", "Runs of a task by how they ended; running if they have not.", runs)
    waited = "How long sessions of a task waited while no process ran."
    yield from gauge("waited_seconds", waited, lambda one: one.waited)
    yield from family(
        "run_duration_seconds", "summary", "How long a task took until it completed, all runs together.", durations
    )
    completed = "When a run of a task last completed."
    yield from gauge("last_completed_timestamp_seconds", completed, lambda one: one.last_completed_at)
    failed = "When a run of a task last failed, was interrupted or was lost."
    yield from gauge(
        "last_failure_timestamp_seconds", failed, lambda one: one.last_failure.at if one.last_failure else None
    )
    for each in numbers():
        for name, purpose in each.families.items():
            yield from family(name, "gauge", purpose, of_wing(each.name, name))


def _label_value(text: str) -> str:
    # Escaped before the backslashes are: the format knows no other escapes than these.
    encoding = sys.stdout.encoding or "ascii"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    return text.replace("\\", "\\\\").replace('"', '\\"')
