"""The facts on which advice depends, as `show` and a report know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from zrb_store.inspect.advice import Facts, Start
from zrb_store.inspect.show import Queue, Task
from zrb_store.queries.show import Holding
from zrb_store.queries.waits import Wait
from zrb_store.records import RunRecord, SessionRecord


class Shown(Protocol):
    """A session as `show` or a report shows it."""

    @property
    def session(self) -> SessionRecord: ...
    @property
    def moment(self) -> int: ...
    @property
    def start(self) -> Start: ...
    @property
    def runs(self) -> Sequence[RunRecord]: ...
    @property
    def tasks(self) -> Sequence[Task]: ...
    @property
    def queues(self) -> Sequence[Queue]: ...
    @property
    def waits(self) -> Sequence[Wait]: ...
    @property
    def pending(self) -> Mapping[str, Holding]: ...


def facts_of(shown: Shown) -> Facts:
    """Return the facts on which advice depends, as far as a report knows them, too."""
    counts = [task.counts for task in shown.tasks if task.counts is not None]
    attempts = (attempt for task in shown.tasks for attempt in task.attempts)
    has_error = any(each.failed for each in counts) or any(run.error for run in shown.runs)
    return Facts(
        shown.start,
        shown.session.status,
        shown.waits,
        next((queue.now.name for queue in shown.queues if queue.now.dead), None),
        has_error or any(each.record.error or each.output for each in attempts),
        any(each.failed and each.standing < each.steps for each in counts),
        pending={} if shown.session.status == "completed" else shown.pending,
        counts=[task.counts for task in shown.tasks if task.counts is not None and task.status != "completed"],
    )
