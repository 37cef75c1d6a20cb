"""What made a session fail: the tasks that its last run did not complete, and what it raised outside of them.

`show` and the card of a page name them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zrb_store.inspect.facts import Shown
from zrb_store.inspect.show import Task
from zrb_store.queries.lease import worked_until
from zrb_store.queries.runs import last_started
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, ErrorRecord


class Failure(NamedTuple):
    """An attempt that did not complete, and why."""

    name: str
    task: str
    status: str
    error: ErrorRecord | None
    seen_at: int | None = None  # when the process of a lost one was last seen, in microseconds


def failures(shown: Shown) -> tuple[list[Failure], ErrorRecord | None]:
    """Return what made the last run of a session fail: attempts, and an error outside of them.

    What was interrupted counts only if no task failed or was lost. The attempt that began last comes first, as in
    `list`. Of the deliveries of a consumer, only the newest one that did not complete is told.
    """
    run = last_started(shown.runs)
    if run is None:
        return [], None
    found = sorted((each for each in _last(shown.tasks) if each.run == run.number), key=lambda each: -each.id)
    serious = [each for each in found if each.status != "interrupted"]
    seen_at = worked_until(run, shown.moment)
    told = [
        Failure(each.name, each.task, each.status, each.error, seen_at if each.status == "lost" else None)
        for each in serious or found
    ]
    return told, run.error


def _last(tasks: Sequence[Task]) -> Iterator[AttemptRecord]:
    """Yield the newest delivery that did not complete, and the last attempts of other tasks that did not."""
    deliveries = [task for task in tasks if task.last is not None and task.last.kind == "delivery"]
    ended = (each.record for task in deliveries for each in task.attempts if each.record.status in UNSUCCESSFUL)
    if newest := max(ended, key=lambda each: each.id, default=None):
        yield newest
    for task in tasks:
        if task.last is not None and task.last.status in UNSUCCESSFUL and task.last.kind != "delivery":
            yield task.last
