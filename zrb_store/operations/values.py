"""`push`, `pop`, `queue`, `requeue`, `drop` and `replace`: changes by hand to one queue and its values."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NoReturn

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import InvalidArgument, SessionBusy, SessionNotFound, ValueNotFound, ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.inspect.value import find_queue, find_value
from zrb_store.local_time import as_duration, delay_in_micros, rounded
from zrb_store.names import check_name, check_session_name, full_name, nearest, split_id
from zrb_store.process import identity
from zrb_store.queries import by_hand as queries
from zrb_store.queries import queues, sessions, takes, values
from zrb_store.queries.attempts import Owner, may_write
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.clock import draw, now_micros
from zrb_store.queries.deliveries import has_value
from zrb_store.queries.holders import holder_of
from zrb_store.queries.queues import QueueRules
from zrb_store.runtime import reclaim
from zrb_store.runtime.waiting import QueueWait


def push(
    database: Database, session: str, queue: str, item: Encoded, owner: Owner | None, delay: timedelta = timedelta()
) -> None:
    """Add a value at the end of a queue, which is created if necessary. Until the delay is over, nobody can take it.

    It belongs to the owner and is retracted when the owner is given back. Without an owner it stays, and the push is
    recorded with user, host and pid.
    """
    check_session_name(session)
    check_name(queue, "queue")
    micros = delay_in_micros(delay)
    traceparent = None if database.observer is None else database.observer.traceparent(None)

    def work(transaction: Transaction) -> None:
        if owner is not None and not may_write(transaction, owner.id):
            owner.refuse_if_closed(transaction)
        queue_id = queues.ensure_queue(transaction, session, queue)
        pushed = values.push(
            transaction, queue_id, item, owner.id if owner else None, delay=micros, traceparent=traceparent
        )
        if pushed is None:
            raise SessionNotFound(sessions.being_removed(session))
        if owner is None:
            record_change(transaction, "push", session, f"{queue}#{pushed.seq}")

    database.transact(work, "push")


def pop(
    database: Database,
    session: str,
    queue: str,
    owner: Owner | None,
    wait: float = 0.0,
    check: Callable[[str], object] | None = None,
) -> tuple[int, str]:
    """Take the oldest value of a queue. Neither the session nor the queue needs to exist, and neither is created.

    The owner holds the value, which returns when the owner is given back. Without an owner it stays taken, and the pop
    is recorded with user, host and pid. If the value is damaged, or `check` raises an error, it stays where it is.
    While the queue is paused, it has no value for a shell.
    """
    check_session_name(session)
    attempt_id, taker = (owner.id, owner.full_name) if owner else (None, None)

    def unpaused(executor: Executor) -> int:
        found = queues.find_for_consumer(executor, session, queue)
        return 0 if found is None or found.is_paused else found.id

    def work(transaction: Transaction) -> tuple[int, str] | None:
        found = takes.take_whole(transaction, queue_id, attempt_id) if unpaused(transaction) else None
        if found is None:
            return None
        if problem := codec.problem_of(found[1]):
            get_it = f"`zrb-store get {session} {shlex.quote(queue)} --seq {found[0]}` shows it"
            left = f"{full_name(session, queue, found[0])} is damaged, and was left in its place"
            raise ZrbStoreError(f"{left}: it {problem}; {get_it}, and a pop in Python takes it")
        if check is not None:
            check(found[1])
        if owner is None:
            record_change(transaction, "pop", session, f"{queue}#{found[0]}")
        return found

    waiting = QueueWait(database, session, queue, wait, has_value(database, session, queue, unpaused=True))
    while True:
        queue_id = unpaused(database) if waiting.may_get_value() else 0
        if queue_id:
            # Look first, which locks nothing, however many processes wait for the same queue.
            reclaim.search(database, queue_id, taker, missing=True)
        while queue_id and takes.has_live(database, queue_id):
            found = database.transact(work, "pop")
            if found is not None:
                return found
            if owner:
                owner.refuse_if_closed()
            queue_id = unpaused(database)
        if owner:
            owner.refuse_if_closed()
        if not waiting.wait():
            raise nothing_there_error(database, session, queue, f" after {wait:g} s" if wait else "")


def nothing_there_error(database: Database, session: str, queue: str, after: str) -> ZrbStoreError:
    """Return the error that there is no value, which says whether that may be a matter of a wrong name."""
    if sessions.find(database, session) is None:
        return session_names.not_found_error(database, session, after)
    found = queues.find_for_consumer(database, session, queue)
    if found is None:
        known = queues.queue_ids(database, session)
        return ValueNotFound(f"session {session} has no queue {queue!r}{after}{nearest(queue, known)}")
    if found.is_paused:
        return ValueNotFound(queues.being_paused(session, queue))
    due_at = values.next_due(database, found.id)
    until = "" if due_at is None else f"; its next delayed value is due in {rounded(due_at - now_micros(database))}"
    return ValueNotFound(f"queue {queue!r} of session {session} is empty{after}{until}")


MOST_DELIVERIES = 1_000_000


def set_max_deliveries(database: Database, session: str, queue: str, limit: int | None) -> None:
    """Limit how often a value of a queue is delivered, None for no limit; the queue is created if necessary."""
    if limit is not None and (type(limit) is not int or not 1 <= limit <= MOST_DELIVERIES):
        allowed = f"a number from 1 to {MOST_DELIVERIES:,}, or None for no limit"
        raise InvalidArgument(f"max_deliveries is {allowed}, not {limit!r}")
    detail = f"max_deliveries {limit or 'unlimited'}"
    _set_rules(database, session, queue, detail, lambda rules: rules._replace(max_deliveries=limit))


SHORTEST_DELAY = timedelta(seconds=0.1)
"""The shortest one of `set_retry_after`, so that a value on which everybody fails keeps no processor busy."""


def set_retry_after(database: Database, session: str, queue: str, delays: Iterable[timedelta | float] | None) -> None:
    """Delay values that a failed or lost attempt gives back to a queue; the queue is created if necessary.

    The first delay, a timedelta or a number of seconds, is for a value's first failed delivery, and so on; the last one
    repeats. Without any, values are live at once.
    """
    if delays is not None and not isinstance(delays, Iterable):
        raise InvalidArgument(f"retry_after is a list of delays, not {delays!r}")
    micros = tuple(map(delay_in_micros, delays or ()))
    if any(timedelta(microseconds=each) < SHORTEST_DELAY for each in micros):
        raise InvalidArgument("a delay of retry_after is at least 0.1 seconds; without any, values are live at once")
    detail = f"retry_after {','.join(map(as_duration, micros)) or 'none'}"
    _set_rules(database, session, queue, detail, lambda rules: rules._replace(retry_after=micros))


_Change = Callable[[QueueRules], QueueRules]


def _set_rules(
    database: Database, session: str, queue: str, detail: str, change: _Change, *, creates: bool = True
) -> None:
    if creates:
        check_session_name(session)
        check_name(queue, "queue")
    found = queues.find_queue(database, session, queue)
    if found is not None and change(present := queues.rules(database, found)) == present:
        return

    def work(transaction: Transaction) -> None:
        get = queues.ensure_queue if creates else _queue_id
        queue_id = get(transaction, session, queue)
        values.lock_queue(transaction, queue_id)
        queues.set_rules(transaction, queue_id, change(queues.rules(transaction, queue_id)))
        record_change(transaction, "queue", session, f"{queue}: {detail}")

    database.transact(work, "queue")


def set_paused(database: Database, session: str, queue: str, paused: bool) -> None:
    """Pause a queue, so that consumers and `pop` from a shell wait, or end its pause; a change is recorded."""
    now = now_micros(database)

    def change(rules: QueueRules) -> QueueRules:
        return rules._replace(paused_at=(rules.paused_at or now) if paused else None)

    _set_rules(database, session, queue, "paused" if paused else "unpaused", change, creates=False)


def requeue(database: Database, ids: Iterable[str]) -> None:
    """Make dead values (SESSION/QUEUE#SEQ) live again at their places, without deliveries; all of them or none."""
    chosen = _by_queue(database, ids)

    def work(transaction: Transaction) -> None:
        for queue_id, (session, queue), seqs in _locked(transaction, chosen, "requeued", only_dead=True):
            _revive(transaction, session, queue, queue_id, seqs)

    database.transact(work, "requeue")


def drop(database: Database, ids: Iterable[str], why: str | None) -> None:
    """Take live, delayed or dead values (SESSION/QUEUE#SEQ) out of their queues for good, all of them or none."""
    chosen = _by_queue(database, ids)

    def work(transaction: Transaction) -> None:
        locked = _locked(transaction, chosen, "dropped")
        moment = draw(transaction)
        for queue_id, (session, queue), seqs in locked:
            queries.drop(transaction, queue_id, seqs, moment, _by_me("dropped"))
            for seq in seqs:
                record_change(transaction, "drop", session, f"{queue}#{seq}", why)

    database.transact(work, "drop")


def replace(database: Database, value_id: str, item: Encoded, why: str | None) -> None:
    """Replace the content of a live, delayed or dead value, which is live then; the earlier one is kept."""
    chosen = _by_queue(database, [value_id])

    def work(transaction: Transaction) -> None:
        ((queue_id, (session, queue), (seq,)),) = _locked(transaction, chosen, "replaced")
        queries.replace(transaction, queue_id, seq, item, draw(transaction), _by_me("replaced"))
        record_change(transaction, "replace", session, f"{queue}#{seq}", why)

    database.transact(work, "replace")


def requeue_all(database: Database, session: str, queue: str) -> int:
    """Make all dead values of a queue live again, as `requeue` does, and return how many there were."""

    def work(transaction: Transaction) -> int:
        queue_id = _queue_id(transaction, session, queue)
        values.lock_queue(transaction, queue_id)
        seqs = queries.dead_values(transaction, queue_id)
        if seqs:
            _revive(transaction, session, queue, queue_id, seqs)
        return len(seqs)

    return database.transact(work, "requeue")


_Chosen = dict[tuple[str, str], list[int]]
"""Seqs by session and queue."""


def _by_queue(database: Database, ids: Iterable[str]) -> _Chosen:
    """Sort ids by queue, and reclaim what dead processes hold of these queues."""
    chosen: _Chosen = {}
    for session, queue, seq in dict.fromkeys(split_id(each) for each in ids):
        chosen.setdefault((session, queue), []).append(seq)
    for place in chosen:
        if (queue_id := queues.find_queue(database, *place)) is not None:
            reclaim.search(database, queue_id, None, missing=True)
    return chosen


def _locked(
    transaction: Transaction, chosen: _Chosen, done: str, *, only_dead: bool = False
) -> list[tuple[int, tuple[str, str], list[int]]]:
    """Lock queues and values, and return each queue's id, names and seqs. Refuse values that cannot be `done` so."""
    # In its row, a delayed value is live.
    allowed, these = (("dead",), "dead") if only_dead else (("live", "dead"), "live, delayed and dead")
    found = sorted((_queue_id(transaction, *place), place, seqs) for place, seqs in chosen.items())
    for queue_id, *_ in found:
        values.lock_queue(transaction, queue_id)
    for queue_id, place, seqs in found:
        states = queries.lock_values(transaction, queue_id, seqs)
        for seq in seqs:
            if states.get(seq) not in allowed:
                _refuse(transaction, *place, queue_id, seq, f"only {these} values can be {done}")
    return found


def _refuse(transaction: Transaction, session: str, queue: str, queue_id: int, seq: int, rule: str) -> NoReturn:
    """Raise the error about a value in another state, which names who holds it, or has taken it."""
    value = find_value(transaction, sessions.get(transaction, session), queue, queue_id, seq)
    holder = holder_of(transaction, queue_id, seq)
    if holder is not None:
        name = full_name(holder.session, holder.task, holder.number)
        process = f"pid {holder.run.pid} on {holder.run.host}"
        raise SessionBusy(f"value {value.id} is held by {name} ({process}): wait until that has ended")
    taker = value.taken_by or (value.taken_from and f"{value.taken_from.user} on {value.taken_from.host}")
    by = f" by {taker}" if taker else ""
    raise InvalidArgument(f"value {value.id} is {value.outcome}{by}: {rule}")


def _queue_id(transaction: Transaction, session: str, queue: str) -> int:
    return find_queue(transaction, sessions.get(transaction, session), queue)


def _revive(transaction: Transaction, session: str, queue: str, queue_id: int, seqs: list[int]) -> None:
    queries.revive(transaction, queue_id, seqs, draw(transaction), _by_me("requeued"))
    shown = ", ".join(f"{queue}#{seq}" for seq in seqs[:10])
    more = f" and {len(seqs) - 10} more" if len(seqs) > 10 else ""
    record_change(transaction, "requeue", session, shown + more)


def _by_me(done: str) -> str:
    """Return the reason of a return that ends a value's death; it begins with what was done."""
    me = identity()
    return f"{done} by {me.user} on {me.host}"
