"""The statistics of each task: how often it ran and completed, how long that took, and its last failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, Self, TypeAlias

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.local_time import Since, beginning
from zrb_store.queries import lease
from zrb_store.queries.clock import now_micros
from zrb_store.queries.last_errors import LastError, last_errors
from zrb_store.records import UNSUCCESSFUL, JsonObject, JsonTree, by_key, iso, pick
from zrb_store.watch import queries
from zrb_store.wings import Numbers, installed, load

_Key = tuple[str | None, str | None]  # project and main task

MOST_RECENT = 60
"""The most of the newest runs of one task."""
_RECENT = 3000  # runs of all tasks that are looked at for them


@dataclass(frozen=True)
class FailedRun:
    """A run that did not complete."""

    session: str
    status: str  # failed, interrupted or lost
    at: int  # when it ended, in microseconds; if its process died, when it was last seen
    error: LastError | None

    def text(self) -> str:
        """Return status and error: `failed, load: ValueError: no column 'price'`."""
        return self.status + (f", {self.error.text()}" if self.error else "")

    def to_json(self) -> JsonObject:
        """Return it as `stats --format json` shows it."""
        return {**pick(self, "session", "status", "at"), "error": self.error and self.error._asdict()}


class Added(Protocol):
    """Numbers of one task that a wing adds."""

    def __add__(self, other: object) -> Self: ...

    def __bool__(self) -> bool:
        """Whether there is something to show."""

    def to_json(self) -> JsonTree:
        """Return it as `stats --format json` shows it."""

    def cells(self) -> list[str]:
        """Return it as columns of the table."""

    def samples(self) -> Iterable[tuple[dict[str, str], float]]:
        """Return it as Prometheus gets it: numbers with labels."""


Read: TypeAlias = Callable[[Transaction, str | None, int | None], Iterable[tuple[_Key, Added]]]
"""Reads what a wing adds for a main task, or for all, since a moment, by project and task."""


def numbers() -> list[Numbers]:
    """Return what numbers wings add."""
    return [wing.numbers for wing in installed() if wing.numbers is not None]


@dataclass
class TaskStats:
    """The runs of one main task in one project. A run whose process died is `lost`."""

    project: str | None
    task: str | None
    running: int = 0  # how many runs have not ended
    # How many ended, by their status.
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("completed", *UNSUCCESSFUL), 0))
    waits: int = 0  # how many runs ended because they wait
    waited: int = 0  # how long nothing ran after them, in microseconds
    median: int | None = None  # of the durations of completed runs, in microseconds; None if there are none
    p95: int | None = None  # the 95th percentile of them, by nearest rank
    total: int = 0  # the sum of them
    last_completed_at: int | None = None
    last_failure: FailedRun | None = None  # the newest run that ended without completing
    added: dict[str, Added] = field(default_factory=dict)  # what wings add, by name

    @property
    def completed(self) -> int:
        """How many runs completed."""
        return self.ended["completed"]

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.running + self.waits + sum(self.ended.values())

    @property
    def share(self) -> float | None:
        """The share of the runs that completed among those that have ended; None if none has."""
        ended = sum(self.ended.values())
        return self.completed / ended if ended else None

    def to_json(self) -> JsonObject:
        """Return it as `stats --format json` shows it."""
        return {
            **pick(self, "project", "task", "runs", "running"),
            **self.ended,
            "waits": self.waits,
            "waited_seconds": seconds(self.waited),
            "completed_share": self.share,
            "median_seconds": seconds(self.median),
            "p95_seconds": seconds(self.p95),
            "last_completed_at": iso(self.last_completed_at),
            **pick(self, "last_failure"),
            **{each.name: added.to_json() if (added := self.added.get(each.name)) else None for each in numbers()},
        }


def seconds(micros: int | None) -> float | None:
    """Return a length of time or a time in seconds, from microseconds."""
    return None if micros is None else micros / 1_000_000


def task_stats(database: Database, *, task: str | None = None, since: Since | None = None) -> list[TaskStats]:
    """Return the statistics of each main task in each project, as of one moment, ordered by both."""
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        start = None if since is None else beginning(since, moment)
        found: dict[_Key, TaskStats] = {}
        failed: dict[_Key, tuple[int, str]] = {}  # id and status of the newest run that failed
        for key, own in groupby(queries.every_run(transaction, task, start), key=lambda run: (run.project, run.task)):
            of_task, took = found.setdefault(key, TaskStats(*key)), list[int]()
            for run in own:
                if run.status == "waiting":
                    of_task.waits += 1
                elif run.status is not None:
                    of_task.ended[run.status] = of_task.ended.get(run.status, 0) + 1
                if run.status == "completed":
                    took.append(run.took)  # in order
                    of_task.last_completed_at = max(of_task.last_completed_at or 0, run.ended_at or 0) or None
                elif run.status not in (None, "waiting"):
                    failed[key] = max(failed.get(key, (0, "")), (run.id, run.status))
            if took:
                of_task.total, of_task.p95 = sum(took), took[(95 * len(took) + 99) // 100 - 1]
                of_task.median = (took[(len(took) - 1) // 2] + took[len(took) // 2]) // 2
        for folder, main, waited in queries.waited(transaction, task, start):
            found[folder, main].waited = waited
        for one in queries.running(transaction, task, start):
            key = one.project, one.task
            if lease.is_live(transaction, one.run, moment):
                found[key].running += 1
            else:
                found[key].ended["lost"] += 1
                failed[key] = max(failed.get(key, (0, "")), (one.run.id, "lost"))
        for each in numbers():
            read: Read = load(each.read)
            for key, added in read(transaction, task, start):
                of = found.setdefault(key, TaskStats(*key)).added
                of[each.name] = of[each.name] + added if each.name in of else added
        run_ids = [run_id for run_id, _ in failed.values()]
        errors = last_errors(transaction, run_ids)
        for one in queries.with_ids(transaction, run_ids):
            key, at = (one.project, one.task), lease.worked_until(one.run, None)
            found[key].last_failure = FailedRun(one.session, failed[key][1], at, errors.get(one.run.id))
    return sorted(found.values(), key=lambda one: (one.task or "", one.project or ""))


def recent_runs(
    database: Database, *, task: str | None = None, since: Since | None = None
) -> dict[tuple[str | None, str | None], list[queries.TaskRun]]:
    """Return the newest runs that have ended, the oldest of them first, by project and main task.

    A task that has not run for long has none: only the last 3,000 runs of the store are looked at.
    """
    with database.snapshot() as transaction:
        start = None if since is None else beginning(since, now_micros(transaction))
        found = queries.recent_runs(transaction, task, start, _RECENT)
    runs = by_key(found, lambda each: (each.project, each.task))
    return {key: own[:MOST_RECENT][::-1] for key, own in runs.items()}
