"""The statistics of each task: how often it ran and completed, how long that took, and its last failure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from zrb_store import codec
from zrb_store.db.engine import Database
from zrb_store.inspect.agents import NO_COSTS, Costs, Spent, answer_cost
from zrb_store.local_time import beginning
from zrb_store.queries import lease, stats
from zrb_store.queries.clock import now_micros
from zrb_store.queries.notify import LastError, last_errors
from zrb_store.records import UNSUCCESSFUL, JsonObject, JsonTree, iso, json_or_null

_Key = tuple[str | None, str | None]  # project and main task

MOST_RECENT = 60
"""The most of the newest runs of one task."""
_RECENT = 3000  # runs of all tasks that are looked at for them


@dataclass(frozen=True)
class Failure:
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
        error = None if self.error is None else self.error._asdict()
        return {"session": self.session, "status": self.status, "at": iso(self.at), "error": error}


@dataclass
class TaskStats:
    """The runs of one main task in one project. A run whose process died is `lost`."""

    project: str | None
    task: str | None
    running: int = 0  # how many runs have not ended
    # How many ended, by their status.
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("completed", *UNSUCCESSFUL), 0))
    median: int | None = None  # of the durations of completed runs, in microseconds; None if there are none
    p95: int | None = None  # the 95th percentile of them, by nearest rank
    total: int = 0  # the sum of them
    last_completed_at: int | None = None
    last_failure: Failure | None = None  # the newest run that ended without completing
    costs: Costs = NO_COSTS  # of its agents, without calls of tools

    @property
    def completed(self) -> int:
        """How many runs completed."""
        return self.ended["completed"]

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.running + sum(self.ended.values())

    @property
    def share(self) -> float | None:
        """The share of the runs that completed among those that have ended; None if none has."""
        ended = sum(self.ended.values())
        return self.completed / ended if ended else None

    def to_json(self) -> JsonObject:
        """Return it as `stats --format json` shows it."""
        return {
            "project": self.project,
            "task": self.task,
            "runs": self.runs,
            "running": self.running,
            **self.ended,
            "completed_share": self.share,
            "median_seconds": seconds(self.median),
            "p95_seconds": seconds(self.p95),
            "last_completed_at": iso(self.last_completed_at),
            "last_failure": json_or_null(self.last_failure),
            "tokens": self.tokens,
        }

    @property
    def tokens(self) -> JsonTree:
        """What its agents have cost: tokens that were paid, used again and thrown away, by direction; None for none."""
        if not self.costs.text():
            return None
        of = self.costs._asdict().items()
        return {name: {"input": spent.input_tokens, "output": spent.output_tokens} for name, spent in of}


def seconds(micros: int | None) -> float | None:
    """Return a length of time or a time in seconds, from microseconds."""
    return None if micros is None else micros / 1_000_000


def task_stats(
    database: Database, *, task: str | None = None, since: timedelta | datetime | None = None
) -> list[TaskStats]:
    """Return the statistics of each main task in each project, as of one moment, ordered by both."""
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        start = None if since is None else beginning(since, moment)
        found: dict[_Key, TaskStats] = {}
        failed: dict[_Key, tuple[int, str]] = {}  # id and status of the newest run that failed
        for each in stats.run_counts(transaction, task, start):
            key = each.project, each.task
            of_task = found.setdefault(key, TaskStats(*key))
            if each.status is None:
                continue
            of_task.ended[each.status] = each.runs
            if each.status == "completed":
                of_task.last_completed_at = each.ended_at
            else:
                failed[key] = max(failed.get(key, (0, "")), (each.newest, each.status))
        for project, name, run in stats.running(transaction, task, start):
            key = project, name
            if lease.is_live(transaction, run, moment):
                found[key].running += 1
            else:
                found[key].ended["lost"] += 1
                failed[key] = max(failed.get(key, (0, "")), (run.id, "lost"))
        _add_durations(found, stats.durations(transaction, task, start))
        for answer in stats.answers(transaction, task, start):
            spent, nothing = answer_cost(answer.result and codec.to_json(answer.result)), Spent()
            kinds = answer.paid, answer.used_again, not answer.stands
            costs = Costs(*(spent if holds else nothing for holds in kinds))
            of_task = found.setdefault((answer.project, answer.task), TaskStats(answer.project, answer.task))
            of_task.costs += costs
        run_ids = [run_id for run_id, _ in failed.values()]
        errors, places = last_errors(transaction, run_ids), stats.places(transaction, run_ids)
    for key, (run_id, status) in failed.items():
        session, at = places[run_id]
        found[key].last_failure = Failure(session, status, at, errors.get(run_id))
    return sorted(found.values(), key=lambda one: (one.task or "", one.project or ""))


def _add_durations(found: dict[_Key, TaskStats], ordered: Iterator[tuple[str | None, str | None, int]]) -> None:
    for key, rows in groupby(ordered, key=lambda row: row[:2]):
        of_task = found[key]
        count = of_task.completed
        middle = (count + 1) // 2, count // 2 + 1  # counted from 1: equal, or the two in the middle
        rank = (95 * count + 99) // 100
        in_the_middle = []
        for place, (_, _, duration) in enumerate(rows, 1):
            of_task.total += duration
            if place in middle:
                in_the_middle.append(duration)
            if place == rank:
                of_task.p95 = duration
        of_task.median = sum(in_the_middle) // len(in_the_middle)


def recent_runs(
    database: Database, *, task: str | None = None, since: timedelta | datetime | None = None
) -> dict[tuple[str | None, str | None], list[stats.RecentRun]]:
    """Return the newest runs that have ended, the oldest of them first, by project and main task.

    A task that has not run for long has none: only the last 3,000 runs of the store are looked at.
    """
    with database.snapshot() as transaction:
        start = None if since is None else beginning(since, now_micros(transaction))
        found = stats.recent_runs(transaction, task, start, _RECENT)
    runs: dict[_Key, list[stats.RecentRun]] = {}
    for each in found:
        own = runs.setdefault((each.project, each.task), [])
        if len(own) < MOST_RECENT:
            own.append(each)
    return {key: own[::-1] for key, own in runs.items()}
