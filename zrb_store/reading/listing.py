"""Sessions at a glance: newest first, each with the status that readers see, its runs and how much of it is done."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from zrb_store import lease
from zrb_store.queries import history, values
from zrb_store.records import RunRecord, SessionRecord

if TYPE_CHECKING:
    from zrb_store.db.transaction import Transaction
    from zrb_store.store import Store

STATUSES = ("open", "running", "stale", "completed", "failed", "interrupted")
_COMPUTED = {"running", "stale"}
_PAGE = 100  # sessions about whose runs and tasks one statement asks


@dataclass(frozen=True)
class Listed:
    """One session in a list.

    Attributes:
        session: Its record; the status is the one that readers see.
        runs: First to newest.
        tasks: How many tasks are known.
        completed: How many of them have completed.
        moment: When it was looked at, in microseconds.
    """

    session: SessionRecord
    runs: list[RunRecord]
    tasks: int
    completed: int
    moment: int

    @property
    def owner(self) -> RunRecord | None:
        """The run that works on it, or did when it died."""
        return self.runs[-1] if self.session.status in ("running", "stale") and self.runs else None

    @property
    def took(self) -> int | None:
        """Microseconds that its runs were at work, or None if there was none."""
        if not self.runs:
            return None
        return sum(_took(run, self.moment if self.session.status == "running" else None) for run in self.runs)


def _took(run: RunRecord, now: int | None) -> int:
    ended = run.ended_at if run.outcome != "lost" else None
    if ended is None:
        # Of one that died the last thing known is when it renewed its lease.
        ended = now if now and run.outcome is None else run.lease_expires_at - lease.duration_in_micros()
    return max(0, ended - run.started_at)


@contextmanager
def look(
    store: Store,
    *,
    statuses: Collection[str] | None = None,
    task: str | None = None,
    project: str | None = None,
    since: timedelta | None = None,
    roots: bool = False,
    limit: int | None = None,
) -> Iterator[Iterator[Listed]]:
    """Go through sessions that fit every given condition, newest first, as of one moment and with flat memory.

    Args:
        store: Where to look.
        statuses: As readers see them.
        task: Name of the main task.
        project: Folder of the project.
        since: Created at most so long ago.
        roots: Leave child sessions out.
        limit: How many at the most.
    """
    with store.database.snapshot() as transaction:
        moment = values.moment(transaction)
        about: dict[str, Any] = {
            "task": task,
            "project": project,
            "since": None if since is None else moment - since // timedelta(microseconds=1),
            "roots": roots,
        }
        if statuses is None or not set(statuses) & _COMPUTED:
            found = history.sessions_like(transaction, statuses=statuses, limit=limit, **about)
            yield _seen(transaction, found, moment)
            return
        # Whether a running one is stale cannot be asked in SQL.
        stored = {"running", *statuses} - {"stale"}
        all_seen = _seen(transaction, history.sessions_like(transaction, statuses=stored, **about), moment)
        yield itertools.islice((one for one in all_seen if one.session.status in statuses), limit)


def listed(store: Store, **conditions: Any) -> list[Listed]:
    """The sessions that fit the conditions, which are those of `look`."""
    with look(store, **conditions) as found:
        return list(found)


def _seen(transaction: Transaction, found: Iterator[SessionRecord], moment: int) -> Iterator[Listed]:
    while some := list(itertools.islice(found, _PAGE)):
        ids = [record.id for record in some]
        runs, counts = history.runs_of(transaction, ids), history.task_counts(transaction, ids)
        for record in some:
            of_record = runs.get(record.id, [])
            seen = lease.status_of(transaction, record, of_record[-1] if of_record else None, moment)
            attempted, completed = counts.get(record.id, (0, 0))
            tasks = max(attempted, len(record.tasks))
            yield Listed(replace(record, status=seen), of_record, tasks, completed, moment)
