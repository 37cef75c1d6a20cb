"""The statistics of each task: how often it ran and completed, how long that took, and its last failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol, Self, TypeAlias

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.local_time import Since, beginning
from zrb_store.masking import one_line
from zrb_store.queries import lease
from zrb_store.queries.clock import now_micros
from zrb_store.queries.last_errors import LastError, last_errors
from zrb_store.records import UNSUCCESSFUL, JsonObject, JsonTree, by_key, iso, pick
from zrb_store.render.format import MARKS, NOTHING, format_duration, percent, project_name
from zrb_store.watch import queries
from zrb_store.watch.periods import Period, missed, period_of
from zrb_store.wings import Numbers, installed, load

_Key = tuple[str | None, str | None]  # project and main task

MOST_RECENT = 60
"""The most of the newest runs of one task."""
_RECENT = 3000  # runs of all tasks that are looked at for them
LAST = 20
"""The most of the last occurrences of one task."""


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

    def samples(self, family: str) -> Iterable[tuple[dict[str, str], float]]:
        """Return what Prometheus gets in one of its families: numbers with labels."""


Read: TypeAlias = Callable[[Transaction, str | None, int | None], Iterable[tuple[_Key, Added]]]
"""Reads what a wing adds for a main task, or for all, since a moment, by project and task."""


def numbers() -> list[Numbers]:
    """Return what numbers wings add."""
    return [wing.numbers for wing in installed() if wing.numbers is not None]


@dataclass
class Occurrence:
    """A task from its first start until it completes: one or more runs of a session."""

    session: str
    status: str  # of its last run; `running`; or `missed`, if it was due and has no run
    started_at: int | None = None
    runs: int = 0
    took: int = 0  # all its runs together, in microseconds

    def to_json(self) -> JsonObject:
        """Return it as `stats --format json` shows it."""
        shown = pick(self, "session", "status", "started_at", "runs")
        return {**shown, "seconds": seconds(self.took) if self.runs else None}


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
    median: int | None = None  # how long completed occurrences took, in microseconds; None if there are none
    p95: int | None = None  # the 95th percentile of them, by nearest rank
    total: int = 0  # the sum of them
    last_completed_at: int | None = None
    last_failure: FailedRun | None = None  # the newest run that ended without completing
    history: list[Occurrence] = field(default_factory=list)  # the newest occurrences, the oldest of them first
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
            "history": [each.to_json() for each in self.history],
            **{each.name: added.to_json() if (added := self.added.get(each.name)) else None for each in numbers()},
        }


def seconds(micros: int | None) -> float | None:
    """Return a length of time or a time in seconds, from microseconds."""
    return None if micros is None else micros / 1_000_000


def _count(
    of_task: TaskStats, runs: Iterable[queries.PastRun], live: Collection[int], moment: int
) -> tuple[int, str] | None:
    """Count the runs of a task, of which some are `live`; return the id and the status of the newest that failed."""
    history, failed = _History(moment), None
    for run in runs:
        status = run.status or ("running" if run.id in live else "lost")
        history.add(run, status)
        if status == "running":
            of_task.running += 1
        elif status == "waiting":
            of_task.waits += 1
        else:
            of_task.ended[status] = of_task.ended.get(status, 0) + 1
            if status == "completed":
                of_task.last_completed_at = max(of_task.last_completed_at or 0, run.ended_at or 0) or None
            else:
                failed = max(failed or (0, ""), (run.id, status))
    of_task.history = history.newest()
    if took := sorted(history.took):
        of_task.total, of_task.p95 = sum(took), took[(95 * len(took) + 99) // 100 - 1]
        of_task.median = (took[(len(took) - 1) // 2] + took[len(took) // 2]) // 2
    return failed


def task_stats(database: Database, *, task: str | None = None, since: Since | None = None) -> list[TaskStats]:
    """Return the statistics of each main task in each project, as of one moment, ordered by both."""
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        start = None if since is None else beginning(since, moment)
        found: dict[_Key, TaskStats] = {}
        failed: dict[_Key, tuple[int, str]] = {}  # id and status of the newest run that failed
        unfinished = queries.running(transaction, task, start)
        live = {one.run.id for one in unfinished if lease.is_live(transaction, one.run, moment)}
        for key, own in groupby(queries.every_run(transaction, task, start), key=lambda run: (run.project, run.task)):
            found[key] = TaskStats(*key)
            if newest := _count(found[key], own, live, moment):
                failed[key] = newest
        for folder, main, waited in queries.waited(transaction, task, start):
            found[folder, main].waited = waited
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


class StatsRow(NamedTuple):
    """What is said of one main task, beside its last failure."""

    stats: TaskStats
    task: str
    project: str  # the last part of its path
    numbers: list[str]
    history: str  # a mark of each occurrence


class StatsTable(NamedTuple):
    """The statistics in words, as a terminal and a page draw them."""

    titles: list[str]  # of the numbers
    rows: list[StatsRow]
    legend: list[str]  # what the marks mean


def table_of(found: Sequence[TaskStats]) -> StatsTable:
    """Return what is said of tasks, without numbers that none of them has."""
    told: dict[str, Callable[[TaskStats], str]] = {
        "runs": _runs,
        "completed": _completed,
        "median": lambda one: format_duration(one.median),
        "95 %": lambda one: format_duration(one.p95),
    }
    if any(one.waits for one in found):
        told["waited"] = lambda one: format_duration(one.waited if one.waits else None)
    added = [each for each in numbers() if any(one.added.get(each.name) for one in found)]

    def row(one: TaskStats) -> StatsRow:
        own = [(each, one.added.get(each.name)) for each in added]
        more = (["0"] * len(each.columns) if cells is None else cells.cells() for each, cells in own)
        return StatsRow(
            one,
            one_line(one.task) if one.task else NOTHING,
            project_name(one.project),
            [*(tell(one) for tell in told.values()), *(cell for cells in more for cell in cells)],
            "".join(map(_mark, one.history)),
        )

    titles = [*told, *(title for each in added for title in each.columns)]
    return StatsTable(titles, list(map(row, found)), _legend(found))


def _runs(one: TaskStats) -> str:
    return f"{one.runs}" + (f" ({one.running} running)" if one.running else "")


def _completed(one: TaskStats) -> str:
    return f"{one.completed}" + ("" if one.share is None else f" ({percent(one.share)})")


_RESUMED, _MISSED = "+", "_"  # marks beside those of statuses


def _mark(occurrence: Occurrence) -> str:
    if occurrence.status == "missed":
        return _MISSED
    is_resumed = occurrence.status == "completed" and occurrence.runs > 1
    return _RESUMED if is_resumed else MARKS.get(occurrence.status, NOTHING)


def _legend(found: Iterable[TaskStats]) -> list[str]:
    """Explain the marks that are shown."""
    marks = {status: (mark, status) for status, mark in MARKS.items()}
    shown = {_mark(each) for one in found for each in one.history}
    every = [
        marks.pop("completed"),
        (_RESUMED, "completed by a later run"),
        *marks.values(),
        (_MISSED, "due, did not run"),
    ]
    return [f"{mark} {meaning}" for mark, meaning in every if mark in shown]


class _History:
    """The occurrences of one task, made of its runs in the order of their sessions."""

    def __init__(self, moment: int) -> None:
        self.took: list[int] = []  # of the completed ones
        self._moment = moment
        self._newest: deque[Occurrence] = deque(maxlen=LAST)
        self._periods: list[Period] = []
        self._of: int | None = None  # the session of the last one, if a further run would continue it

    def add(self, run: queries.PastRun, status: str) -> None:
        """Count a run: the first of an occurrence, or one that continues it."""
        if self._of != run.session_id:
            self._newest.append(Occurrence(run.session, status, run.started_at))
            if (period := period_of(run.session)) is not None:
                self._periods.append(period)
        last = self._newest[-1]
        until = run.ended_at if status != "lost" else lease.last_renewal(run.lease_expires_at)
        last.status, last.runs = status, last.runs + 1
        last.took += max(0, (self._moment if until is None else until) - run.started_at)
        self._of = None if status == "completed" else run.session_id
        if status == "completed":
            self.took.append(last.took)

    def newest(self) -> list[Occurrence]:
        """Return the newest occurrences, and in their order when the job was due and did not run."""
        absent = deque(missed(self._periods, self._moment))
        merged: list[Occurrence] = []
        for occurrence in self._newest:
            period = period_of(occurrence.session)
            while period is not None and absent and absent[0].is_before(period):
                merged.append(Occurrence(absent.popleft().session, "missed"))
            merged.append(occurrence)
        merged.extend(Occurrence(each.session, "missed") for each in absent)
        return merged[-LAST:]


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
