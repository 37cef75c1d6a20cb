"""Pruning: deleting what is old, by hand or after a run."""

from __future__ import annotations

import json
import logging
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from zrb_store import lease, settings
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import InvalidName, ZrbStoreError
from zrb_store.operations import removal
from zrb_store.process import identity
from zrb_store.queries import removal as queries
from zrb_store.queries import sessions, values
from zrb_store.queries.removal import Candidate
from zrb_store.reading.damage import Damage

VALUES_AT_ONCE = 500
"""How many values one transaction deletes, so that others get their turn."""
_TELL_AFTER = 2.0  # seconds
_DAY = 24 * 60 * 60 * 1_000_000
_LOWEST_SEQ = -(2**63)

_log = logging.getLogger("zrb_store")


@dataclass(frozen=True)
class Policy:
    """What may be deleted: sessions to which every given condition applies.

    Raises:
        InvalidName: Neither an age nor a number to keep is given.

    Attributes:
        older_than: Only what ended so long ago.
        keep_last: Of each task of each project, not the last so many sessions, nor the last so many that completed: its
            last results stay, however often it has failed since.
        statuses: Only sessions of these statuses.
    """

    older_than: timedelta | None = None
    keep_last: int | None = None
    statuses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.older_than is None and self.keep_last is None:
            raise InvalidName("say what to prune: --older-than 30d, --keep-last 20 or both")


@dataclass(frozen=True)
class Removal:
    """One thing that is deleted.

    Attributes:
        session: Name of the session.
        rule: Why.
        values: How many values of it; None: the whole session.
    """

    session: str
    rule: str
    values: int | None = None


def prune(
    database: Database, policy: Policy, *, dry_run: bool = False, damage: Damage | None = None
) -> Iterator[Removal]:
    """Delete what the policy takes, one session or batch of values in each transaction.

    A session that runs or is pinned is never taken. An `open` one is never taken whole: it loses values that have left
    its queues, except results of tasks and those that an attempt took which may yet be given back. One is left alone if
    what decides about it, its times for one, is damaged.

    Args:
        database: Where.
        policy: What may be deleted.
        dry_run: Delete nothing.
        damage: Collects what is left alone.

    Yields:
        Each thing after it was deleted, the oldest session first.
    """
    chosen = array("q")  # not the sessions themselves: there may be a million
    with database.snapshot() as transaction:
        moment = values.moment(transaction)
        cutoff = None if policy.older_than is None else moment - policy.older_than // timedelta(microseconds=1)
        seen = _sound(transaction, moment, Damage() if damage is None else damage)
        for session in _taken(seen, policy, cutoff):
            chosen.extend((session.fence, session.id))
    while chosen:
        found, fence = queries.candidate(database, chosen.pop()), chosen.pop()
        if found is None or found.fence != fence:
            continue  # deleted or run since it was seen
        if found.status == "open":
            if cutoff is not None:
                yield from _prune_values(database, found, cutoff, policy, dry_run)
        elif dry_run or _remove(database, found, _rule(policy, found)):
            yield Removal(found.name, _rule(policy, found))


def _sound(transaction: Transaction, moment: int, damage: Damage) -> Iterator[_Seen]:
    """Every session that can be read, the one that ended last first."""
    for candidate in queries.candidates(transaction):
        seen = _Seen(transaction, candidate, moment)
        damage.note(f"session {candidate.name}", seen.damage)
        if not seen.damage:
            yield seen


class _Seen:
    """A session with what its last run adds: the status that readers see, and when it ended."""

    def __init__(self, transaction: Transaction, session: Candidate, moment: int) -> None:
        self.session = session
        self.status = session.status
        self.ended_at = session.finished_at or session.created_at
        self.damage = session.damage
        if session.status == "running":
            run = sessions.last_run(transaction, session.id)
            if run is None or not lease.is_live(transaction, run, moment):
                self.status = "stale"
            if run is not None:
                self.ended_at = run.lease_expires_at
                self.damage += run.damage


def _taken(found: Iterable[_Seen], policy: Policy, cutoff: int | None) -> Iterator[Candidate]:
    """The sessions that the policy takes, and the open ones, of those given, the last one first."""
    sessions_of: Counter[tuple[str | None, str | None]] = Counter()
    results_of: Counter[tuple[str | None, str | None]] = Counter()
    for seen in found:
        session = seen.session
        task = (session.project, session.task)
        sessions_of[task] += seen.status not in ("open", "running")
        results_of[task] += _left_a_result(session)
        if policy.statuses and seen.status not in policy.statuses:
            continue
        rank = (results_of if _left_a_result(session) else sessions_of)[task]  # a result has a higher one there
        is_old = cutoff is None or seen.ended_at < cutoff
        is_beyond = policy.keep_last is None or rank > policy.keep_last
        is_free = seen.status != "running" and not session.pinned
        if is_free and (session.status == "open" or (is_old and is_beyond)):
            yield session


def _left_a_result(session: Candidate) -> bool:
    """Whether it completed and its main task was not skipped."""
    return session.status == "completed" and json.loads(session.tasks or "{}").get(session.task) != "skipped"


def _remove(database: Database, seen: Candidate, rule: str) -> bool:
    """Delete a session, unless it has been run, pinned or deleted since it was seen."""

    def work(transaction: Transaction) -> bool:
        session = sessions.by_name(transaction, seen.name, lock=True, even_damaged=True)
        if session is None or session.pinned or (session.id, session.fence) != (seen.id, seen.fence):
            return False
        run = sessions.last_run(transaction, session.id)
        if run is not None and lease.is_live(transaction, run, values.moment(transaction)):  # a process that slept
            return False
        removal.delete(transaction, session)
        sessions.note_change(transaction, identity(), "prune", seen.name, rule)
        return True

    return database.transact(work, "prune")


def _prune_values(
    database: Database, session: Candidate, cutoff: int, policy: Policy, dry_run: bool
) -> Iterator[Removal]:
    ids = list(values.queues(database, session.name).values())
    if dry_run:
        count = queries.count_settled(database, ids, cutoff)
    else:
        count = sum(_delete_settled(database, queue_id, cutoff) for queue_id in ids)
    if not count:
        return
    rule = f"taken or removed more than {_length(policy.older_than)} ago"
    if not dry_run:
        database.transact(lambda transaction: _note_values(transaction, session.name, cutoff, f"{count} {rule}"))
    yield Removal(session.name, rule, count)


def _delete_settled(database: Database, queue_id: int, cutoff: int) -> int:
    total, after = 0, _LOWEST_SEQ

    def work(transaction: Transaction) -> tuple[int, int] | None:
        return queries.delete_settled(transaction, queue_id, cutoff, after, VALUES_AT_ONCE)

    while gone := database.transact(work, "prune"):
        total, after = total + gone[0], gone[1]
    return total


def _note_values(transaction: Transaction, name: str, cutoff: int, detail: str) -> None:
    queries.delete_old_changes(transaction, name, cutoff)
    sessions.note_change(transaction, identity(), "prune", name, detail)


def _rule(policy: Policy, session: Candidate) -> str:
    rules = []
    if policy.older_than is not None:
        rules.append(f"older than {_length(policy.older_than)}")
    if policy.keep_last is not None:
        which = f"{policy.keep_last} completed" if _left_a_result(session) else str(policy.keep_last)
        rules.append(f"not among the last {which}" + (f" of {session.task}" if session.task else ""))
    if policy.statuses:
        rules.append(f"status {' or '.join(policy.statuses)}")
    return ", ".join(rules)


def _length(time: timedelta | None) -> str:
    seconds = int(time.total_seconds()) if time else 0
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def apply_retention(database: Database) -> None:
    """Prune as `ZRB_STORE_RETENTION` says, but once a day at most. For the end of a run: it raises nothing."""
    try:
        rule = settings.retention()
        if rule is not None and _is_due(database) and database.transact(_claim_the_day):
            damage = Damage("not pruned, since they are damaged")
            _prune_at_the_end(database, Policy(*rule), damage)
            if damage:
                _log.warning("%s", damage)
    except ZrbStoreError as error:
        _log.warning("the store was not pruned: %s", error)


def _prune_at_the_end(database: Database, policy: Policy, damage: Damage) -> None:
    tell_at: float | None = time.monotonic() + _TELL_AFTER
    for _ in prune(database, policy, damage=damage):
        if database.is_stopping:
            return
        if tell_at is not None and time.monotonic() > tell_at:
            tell_at = None
            _log.warning(
                "old sessions are being deleted, as ZRB_STORE_RETENTION says; what is left waits for tomorrow "
                "if you end this process"
            )


def _is_due(executor: Executor) -> bool:
    last = queries.last_change(executor, "retention")
    return last is None or values.moment(executor) - last >= _DAY


def _claim_the_day(transaction: Transaction) -> bool:
    due = _is_due(transaction)
    if due:
        sessions.note_change(transaction, identity(), "retention", None, None)
    return due
