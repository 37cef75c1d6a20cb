"""Statistics in the text exposition format of Prometheus."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from zrb_store.inspect.stats import TaskStats
from zrb_store.safe_text import printable

_Sample = tuple[str, dict[str, str], float | None]  # suffix of the name, more labels, number


def prometheus_lines(stats: Sequence[TaskStats]) -> Iterator[str]:
    """Yield the lines of the text format. Numbers are gauges, since `prune` lowers them; errors are no labels."""
    yield from _family(
        stats,
        "zrb_store_runs",
        "gauge",
        "Runs of a task by how they ended; running if they have not.",
        lambda one: [
            ("", {"outcome": outcome}, count) for outcome, count in {**one.ended, "running": one.running}.items()
        ],
    )
    yield from _family(
        stats,
        "zrb_store_run_duration_seconds",
        "summary",
        "How long completed runs of a task took.",
        lambda one: [
            ("", {"quantile": "0.5"}, _seconds(one.median)),
            ("", {"quantile": "0.95"}, _seconds(one.p95)),
            ("_sum", {}, _seconds(one.total)),
            ("_count", {}, one.completed),
        ],
    )
    yield from _family(
        stats,
        "zrb_store_last_completed_timestamp_seconds",
        "gauge",
        "When a run of a task last completed.",
        lambda one: [("", {}, _seconds(one.last_completed_at))],
    )
    yield from _family(
        stats,
        "zrb_store_last_failure_timestamp_seconds",
        "gauge",
        "When a run of a task last failed, was interrupted or was lost.",
        lambda one: [("", {}, _seconds(one.last_failure.at if one.last_failure else None))],
    )


def _family(
    stats: Iterable[TaskStats], name: str, kind: str, purpose: str, samples: Callable[[TaskStats], list[_Sample]]
) -> Iterator[str]:
    yield f"# HELP {name} {purpose}"
    yield f"# TYPE {name} {kind}"
    for one in stats:
        for suffix, more, number in samples(one):
            if number is not None:
                labels = {"project": one.project or "", "task": one.task or "", **more}
                shown = ",".join(f'{label}="{_label_value(text)}"' for label, text in labels.items())
                yield f"{name}{suffix}{{{shown}}} {number!r}"


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1_000_000


def _label_value(text: str) -> str:
    # Escaped before the backslashes are: the format knows no other escapes than these.
    encoding = sys.stdout.encoding or "ascii"
    text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    return text.replace("\\", "\\\\").replace('"', '\\"')
