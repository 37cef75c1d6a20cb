"""What `list` shows: each session with the status that readers see, its runs, and how many of its tasks are done."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.holders import HeldBy, holders_of
from zrb_store.inspect.run_times import worked_until
from zrb_store.inspect.shapes import header
from zrb_store.name_pattern import NamePattern
from zrb_store.project import Projects
from zrb_store.queries import lease, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.list import TaskCounts, matching_sessions, runs_by_session, task_counts
from zrb_store.queries.requeue import dead_by_queue
from zrb_store.records import RunRecord, SessionRecord, iso

STATUSES = ("open", "running", "stale", "completed", "failed", "interrupted")
HALTED = ("failed", "interrupted", "stale")
"""The statuses of sessions that ended without completing."""
_COMPUTED = {"running", "stale"}  # a stale session is stored as running
_PAGE = 100  # sessions whose runs and tasks are read by one statement each


@dataclass(frozen=True)
class SessionSummary:
    """One session in a list.

    Attributes:
        session: Its record, with the status that readers see.
        runs: Its runs, the first one first.
        tasks: How many tasks it is known to have.
        done: How many of them have completed or were skipped.
        holders: What holds values of its queues and belongs to other sessions: running attempts, then completed steps
            of sessions that do not run.
        dead: How many values of its queues are dead.
        moment: When all this was read, in microseconds.
    """

    session: SessionRecord
    runs: list[RunRecord]
    tasks: int
    done: int
    holders: list[HeldBy]
    dead: int
    moment: int

    @property
    def owner(self) -> RunRecord | None:
        """The run that is working on the session, or was when it died; None if the session is not running."""
        return self.runs[-1] if self.session.status in ("running", "stale") and self.runs else None

    @property
    def took(self) -> int | None:
        """How long the session's runs have worked, in microseconds; None if there was no run."""
        if not self.runs:
            return None
        return sum(_took(run, self.moment if self.session.status == "running" else None) for run in self.runs)


def summary_shape(summary: SessionSummary, damage: Damage) -> dict[str, Any]:
    """Return the shape of one session in `list --format json`.

    Args:
        summary: The session, read with its holders and its dead values.
        damage: Collects damaged columns.
    """
    owner, took = summary.owner, summary.took if summary.session.status != "stale" else None
    return {
        **header(summary.session, damage),
        "started_at": iso(summary.runs[0].started_at) if summary.runs else None,
        "took_seconds": None if took is None else took / 1_000_000,
        "task_counts": {"done": summary.done, "total": summary.tasks},
        "owner": owner and {"host": owner.host, "pid": owner.pid},
        "held_by": [{"attempt": each.name, "state": each.state} for each in summary.holders],
        "dead": summary.dead,
    }


def _took(run: RunRecord, now: int | None) -> int:
    return max(0, worked_until(run, now) - run.started_at)


@contextmanager
def summaries(
    database: Database,
    *,
    statuses: Collection[str] | None = None,
    name: NamePattern | None = None,
    task: str | None = None,
    projects: Projects | None = None,
    since: timedelta | None = None,
    before: str | None = None,
    roots: bool = False,
    limit: int | None = None,
    with_holders: bool = False,
    with_dead: bool = False,
) -> Iterator[Iterator[SessionSummary]]:
    """Read the sessions that meet every given condition, the newest first, as of one moment and with flat memory.

    The context manager gives an iterator, which can be used within the block.

    Args:
        database: Where to look.
        statuses: Only sessions that readers see with one of these statuses.
        name: Only sessions whose name matches.
        task: Only sessions of this main task.
        projects: Only sessions of these projects.
        since: Only sessions created within this length of time.
        before: Only sessions that come after the session of this name in this order.
        roots: Leave out child sessions.
        limit: At most this many sessions.
        with_holders: Read who holds values of them.
        with_dead: Count their dead values.

    Raises:
        SessionNotFound: There is no session of the name `before`.
    """
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        dead = _dead(transaction) if with_dead else {}
        conditions: dict[str, Any] = {
            "name": name,
            "task": task,
            "projects": projects,
            "since": None if since is None else moment - since // timedelta(microseconds=1),
            "before": None if before is None else sessions.get(transaction, before).id,
            "roots": roots,
        }
        if statuses is None or not set(statuses) & _COMPUTED:
            found = matching_sessions(transaction, statuses=statuses, limit=limit, **conditions)
            yield _summarized(transaction, found, moment, with_holders, dead)
            return
        # SQL cannot tell whether a running session is stale.
        stored = {"running", *statuses} - {"stale"}
        found = matching_sessions(transaction, statuses=stored, **conditions)
        every = _summarized(transaction, found, moment, with_holders, dead)
        yield itertools.islice((each for each in every if each.session.status in statuses), limit)


def list_sessions(database: Database, **conditions: Any) -> list[SessionSummary]:
    """Return the sessions that meet every given condition; the conditions are those of `summaries`."""
    with summaries(database, **conditions) as found:
        return list(found)


def _summarized(
    transaction: Transaction, found: Iterator[SessionRecord], moment: int, with_holders: bool, dead: Mapping[int, int]
) -> Iterator[SessionSummary]:
    while page := list(itertools.islice(found, _PAGE)):
        ids = [session.id for session in page]
        skipped = {session.id: _skipped(session) for session in page}
        runs = runs_by_session(transaction, ids)
        counts = task_counts(transaction, ids, [session_id for session_id, tasks in skipped.items() if tasks])
        held = _holders(transaction, ids, moment) if with_holders else {}
        for session in page:
            own = runs.get(session.id, [])
            status = lease.status_of(transaction, session, own[-1] if own else None, moment)
            counted = counts.get(session.id, TaskCounts(0, 0, frozenset()))
            tasks = max(counted.attempted, len(session.tasks))
            # A skipped task with an attempt that was not given back has failed or runs, or is counted as completed.
            done = counted.completed + len(skipped[session.id] - counted.kept)
            elsewhere = [each for each in held.get(session.id, []) if each.session != session.name]
            yield SessionSummary(
                replace(session, status=status), own, tasks, done, elsewhere, dead.get(session.id, 0), moment
            )


def _skipped(session: SessionRecord) -> set[str]:
    return {task for task, state in session.tasks.items() if state == "skipped"}


def _dead(transaction: Transaction) -> Mapping[int, int]:
    """Count the dead values of every session that has some."""
    counts: Counter[int] = Counter()
    for each in dead_by_queue(transaction):
        counts[each.session_id] += each.dead
    return counts


def _holders(transaction: Transaction, session_ids: list[int], moment: int) -> dict[int, list[HeldBy]]:
    found: dict[int, list[HeldBy]] = {}
    for holder in holders_of(transaction, session_ids, moment):
        found.setdefault(holder.home_id, []).append(holder)
    return found
