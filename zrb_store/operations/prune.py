"""`prune`: delete the sessions that a policy names, and what consumers, which may run for ever, did long ago.

At the end of a run, `apply_retention` does so as `ZRB_STORE_RETENTION` says.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from zrb_store import settings
from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.local_time import as_duration
from zrb_store.operations.sessions import delete
from zrb_store.queries import lease, queues, runs, sessions
from zrb_store.queries import prune as queries
from zrb_store.queries.by_hand import delete_acts, has_dead_values, last_of_store, record_change
from zrb_store.queries.clock import now_micros
from zrb_store.queries.prune import Candidate
from zrb_store.queries.waits import parked

VALUES_AT_ONCE = 500
"""How many values, or deliveries, one transaction deletes, so that other processes can write in between."""
_LOWEST_SEQ = -(2**63)


@dataclass(frozen=True)
class Policy:
    """Which sessions may be deleted: those that meet every given condition."""

    older_than: timedelta | None = None  # only sessions that ended longer ago than this
    # For each task of each project, and for each program whose sessions have no task, keep this many of the last
    # sessions, and as many of the last that completed: the last results stay, however often the task has failed since.
    keep_last: int | None = None
    statuses: tuple[str, ...] = ()  # only sessions with one of these statuses

    def __post_init__(self) -> None:
        if self.older_than is None and self.keep_last is None:
            raise InvalidArgument("say what to prune: --older-than 30d, --keep-last 20 or both")


@dataclass(frozen=True)
class Deletion:
    """A session, or values of a session, that were deleted."""

    session: str
    rule: str  # why it was deleted
    values: int | None = None  # how many of its values were deleted; None if the whole session was


def prune(database: Database, policy: Policy, *, dry_run: bool = False) -> Iterator[Deletion]:
    """Delete the sessions that a policy names, each session or batch of values in a transaction of its own.

    Sessions that are running, pinned, or have dead values are left alone, and those that wait until their deadline has
    passed. If a row that decides is damaged, nothing is deleted. An `open` session only loses the values that have left
    its queues for good, without the results of tasks. Of any session, values that completed deliveries took are
    deleted, and then the deliveries.
    """
    chosen = array("q")  # fences and ids, not records: there may be a million sessions
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        cutoff = None if policy.older_than is None else moment - policy.older_than // timedelta(microseconds=1)
        for session in _choose(_seen_sessions(transaction, moment), policy, cutoff):
            chosen.extend((session.fence, session.id))
    ago = f"more than {_length(policy.older_than)} ago"
    while chosen:
        found, fence = queries.candidate(database, chosen.pop()), chosen.pop()
        if found is None or found.fence != fence:
            continue  # it was deleted or run since it was chosen
        if found.status == "open":
            if cutoff is not None:
                ids = queues.queue_ids(database, found.name).values()
                yield from _prune_values(database, found.name, ids, cutoff, f"taken or removed {ago}", dry_run)
        elif has_dead_values(database, found.id):
            continue
        elif dry_run or _delete_session(database, found, _rule(policy, found)):
            yield Deletion(found.name, _rule(policy, found))
    if cutoff is not None and not policy.statuses:
        yield from _prune_deliveries(database, cutoff, ago, dry_run)


class _Seen(NamedTuple):
    """A session with the status that readers see, and when it ended."""

    session: Candidate
    status: str
    ended_at: int


def _seen_sessions(transaction: Transaction, moment: int) -> Iterator[_Seen]:
    """Yield all sessions in descending order of their end."""
    for session in queries.candidates(transaction):
        status, ended_at = session.status, session.ended_at or session.created_at
        if status in ("running", "interrupted"):
            run = runs.last(transaction, session.id)
            status = lease.status_of(transaction, session.status, run, moment)
            if run is not None and session.status == "running":
                ended_at = run.lease_expires_at
        if status == "waiting" and (waits := parked(transaction, [session.id])):
            late = [each.deadline for each in waits if each.deadline is not None and each.is_late]
            # Before that, somebody may still answer.
            status, ended_at = ("failed", max(late)) if len(late) == len(waits) else ("running", ended_at)
        yield _Seen(session, status, ended_at)


def _choose(every: Iterable[_Seen], policy: Policy, cutoff: int | None) -> Iterator[Candidate]:
    """Choose the sessions to delete, and the open sessions, whose values may be deleted."""
    sessions_of: Counter[tuple[str | None, str | None]] = Counter()
    results_of: Counter[tuple[str | None, str | None]] = Counter()
    for seen in every:
        session = seen.session
        task = (session.project, session.of)
        sessions_of[task] += seen.status not in ("open", "running")
        results_of[task] += _left_a_result(session)
        if policy.statuses and seen.status not in policy.statuses:
            continue
        # A session with a result is ranked among those with results.
        rank = (results_of if _left_a_result(session) else sessions_of)[task]
        is_old = cutoff is None or seen.ended_at < cutoff
        is_beyond = policy.keep_last is None or rank > policy.keep_last
        is_free = seen.status != "running" and not session.pinned
        if is_free and (session.status == "open" or (is_old and is_beyond)):
            yield session


def _left_a_result(session: Candidate) -> bool:
    """Whether a session completed and its main task was not skipped."""
    return session.status == "completed" and json.loads(session.tasks or "{}").get(session.task) != "skipped"


def _delete_session(database: Database, chosen: Candidate, rule: str) -> bool:
    """Delete a session, unless it was run, pinned or deleted since it was chosen."""

    def work(transaction: Transaction) -> bool:
        session = sessions.find(transaction, chosen.name, lock=True)
        if session is None or session.pinned or (session.id, session.fence) != (chosen.id, chosen.fence):
            return False
        if has_dead_values(transaction, session.id):
            return False
        run = runs.last(transaction, session.id)
        if run is not None and run.ended_at is None:
            state = lease.state_of_process(transaction, run, now_micros(transaction))
            if state == "alive" or lease.living_command(transaction, run) is not None:
                return False
        delete(transaction, session)
        record_change(transaction, "prune", chosen.name, rule)
        return True

    return database.transact(work, "prune")


def _prune_values(
    database: Database,
    session: str,
    ids: Collection[int],
    cutoff: int,
    rule: str,
    dry_run: bool,
    delivered: bool = False,
) -> Iterator[Deletion]:
    """Delete values that left these queues of a session, or with `delivered` only those that deliveries took."""

    def record(transaction: Transaction) -> None:
        delete_acts(transaction, session, cutoff)
        record_change(transaction, "prune", session, f"{count} {rule}")

    if dry_run:
        count = queries.count_settled(database, ids, cutoff, delivered=delivered)
    else:
        count = sum(_delete_settled(database, queue_id, cutoff, delivered) for queue_id in ids)
        if count:
            database.transact(record, "prune")
    if count:
        yield Deletion(session, rule, count)


def _prune_deliveries(database: Database, cutoff: int, ago: str, dry_run: bool) -> Iterator[Deletion]:
    """Delete values that completed deliveries took, deliveries that no value names, and runs that have none left."""
    rule = f"taken by deliveries that completed {ago}"
    for session, ids in queries.delivered_queues(database, cutoff).items():
        yield from _prune_values(database, session, ids, cutoff, rule, dry_run, delivered=True)
    if dry_run:
        return
    total, deleted = 0, [0]

    def delete_some(transaction: Transaction) -> list[int]:
        return queries.delete_deliveries(transaction, cutoff, deleted[-1], VALUES_AT_ONCE)

    while deleted := database.transact(delete_some, "prune"):
        total += len(deleted)

    def delete_runs(transaction: Transaction) -> None:
        empty = queries.delete_runs(transaction, cutoff)
        if total or empty:
            record_change(transaction, "prune", None, f"{total} old deliveries, and {empty} runs without any")

    database.transact(delete_runs, "prune")


def _delete_settled(database: Database, queue_id: int, cutoff: int, delivered: bool) -> int:
    total, after = 0, _LOWEST_SEQ

    def work(transaction: Transaction) -> tuple[int, int] | None:
        return queries.delete_settled(transaction, queue_id, cutoff, after, VALUES_AT_ONCE, delivered=delivered)

    while deleted := database.transact(work, "prune"):
        total, after = total + deleted[0], deleted[1]
    return total


def _rule(policy: Policy, session: Candidate) -> str:
    rules = []
    if policy.older_than is not None:
        rules.append(f"older than {_length(policy.older_than)}")
    if policy.keep_last is not None:
        which = f"{policy.keep_last} completed" if _left_a_result(session) else str(policy.keep_last)
        rules.append(f"not among the last {which}" + (f" of {session.of}" if session.of else ""))
    if policy.statuses:
        rules.append(f"status {' or '.join(policy.statuses)}")
    return ", ".join(rules)


def _length(time: timedelta | None) -> str:
    return as_duration(1_000_000 * int(time.total_seconds()) if time else 0)


_TELL_AFTER = 2.0  # seconds
_DAY = 24 * 60 * 60 * 1_000_000

_log = logging.getLogger("zrb_store")


def apply_retention(database: Database) -> None:
    """Prune the store as `ZRB_STORE_RETENTION` says, at most once a day. An error is logged, not raised."""
    try:
        rule = settings.retention()
        if rule is not None and _is_due(database) and database.transact(_claim_the_day):
            _prune_in_time(database, Policy(*rule))
    except ZrbStoreError as error:
        _log.warning("the store was not pruned: %s", error)


def _prune_in_time(database: Database, policy: Policy) -> None:
    """Prune until all is done or the process has to end. Log a message if that takes long."""
    tell_at: float | None = clock.monotonic() + _TELL_AFTER
    for _ in prune(database, policy):
        if database.is_stopping:
            return
        if tell_at is not None and clock.monotonic() > tell_at:
            tell_at = None
            _log.warning(
                "old sessions are being deleted, as ZRB_STORE_RETENTION says; the rest is deleted tomorrow "
                "if you end this process"
            )


def _is_due(executor: Executor) -> bool:
    last = last_of_store(executor, "retention")
    return last is None or now_micros(executor) - last >= _DAY


def _claim_the_day(transaction: Transaction) -> bool:
    """Record that this process prunes today. Return False if another process does."""
    is_due = _is_due(transaction)
    if is_due:
        record_change(transaction, "retention", None)
    return is_due
