"""Deliveries: attempts that `consume` makes, each taking its values as it begins.

The questions that a waiting process asks again and again come last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection
from typing import NamedTuple

from zrb_store.db.core import Statement, bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, short_text
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction, first_column
from zrb_store.queries import chunks
from zrb_store.queries.clock import draw
from zrb_store.queries.pushers import Alive, pusher_is_alive
from zrb_store.queries.queues import named_queue
from zrb_store.queries.takes import Front, not_before_front, parameters, taken_at_once
from zrb_store.queries.values import from_live, is_due, is_same_value


class NextValue(NamedTuple):
    """A live value that may be taken."""

    seq: int
    came_back: bool  # whether an attempt has taken it before and given it back
    pusher_is_alive: bool  # or cannot have died before its push was for good


@statement
def _next(dialect_name: str, from_front: bool, lock: bool) -> sa.Select[int, bool, bool]:
    came_back = sa.or_(t.value.c.failed_deliveries > literal(0), exists(is_same_value(t.returned, t.value)))
    found = (
        from_live(sa.select(t.value.c.seq, came_back, pusher_is_alive(dialect_name)))
        .where(
            sa.not_(among(dialect_name, t.value.c.seq, "passed_over")), *([not_before_front()] if from_front else [])
        )
        .where(exists(t.queue.c.id == bindparam("queue_id"), t.queue.c.paused_at.is_(None)))
        .order_by(t.value.c.seq)
        .limit(bindparam("count"))
    )
    return found.with_for_update(of=t.value) if lock else found


def next_values(
    executor: Executor,
    queue_id: int,
    passed_over: Collection[int],
    count: int,
    front: Front | None,
    alive: Alive,
    *,
    lock: bool,
) -> list[NextValue]:
    """Return the oldest live values of a queue, except those to pass over; none while the queue is paused."""
    statement = _next(executor.dialect_name, front is not None, lock)
    params = {"queue_id": queue_id, "passed_over": json.dumps(list(passed_over)), "count": count}
    params.update(alive | parameters(front))
    return [NextValue(seq, *map(bool, flags)) for seq, *flags in executor.execute(statement, params)]


@statement
def _take(dialect_name: str) -> sa.sql.dml.ReturningUpdate[int, str]:
    return (
        sa.update(t.value)
        .where(
            t.value.c.queue_id == bindparam("queue_id"),
            among(dialect_name, t.value.c.seq, "seqs"),
            t.value.c.ended_at.is_(None),
        )
        # Another thread may have ended the run just now: the lock that `begin` has waited for shows the end of it.
        .where(exists(t.run.c.id == bindparam("run_id"), t.run.c.ended_at.is_(None)))
        .values(taken_at_once())
        .returning(t.value.c.seq, short_text())
    )


def take(
    transaction: Transaction, queue_id: int, seqs: Collection[int], attempt_id: int, run_id: int
) -> list[tuple[int, str]]:
    """Take values that the transaction has locked for an attempt that it has begun; none if the run has ended."""
    params = {"queue_id": queue_id, "seqs": json.dumps(list(seqs)), "attempt_id": attempt_id, "run_id": run_id}
    params.update(draw(transaction).params)
    rows = sorted((seq, text) for seq, text in transaction.execute(_take(transaction.dialect_name), params))
    return list(chunks.whole_rows(transaction, queue_id, rows))


@statement
def _running() -> sa.Select[int]:
    return (
        sa.select(t.attempt.c.id)
        .where(
            t.attempt.c.run_id == bindparam("run_id"),
            t.attempt.c.status == literal("running"),
            t.attempt.c.kind == literal("delivery"),
        )
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    )


def running(executor: Executor, run_id: int) -> list[int]:
    """Return the ids of a run's deliveries that have not ended."""
    return list(map(first_column, executor.execute(_running(), {"run_id": run_id})))


@statement
def _failed() -> sa.Select[int]:
    return (
        sa.select(literal(1))
        .where(
            t.attempt.c.run_id == bindparam("run_id"),
            t.attempt.c.kind == literal("delivery"),
            ~is_one_of(t.attempt.c.status, "completed", "interrupted"),
        )
        .limit(literal(1))
    )


def has_failed(executor: Executor, run_id: int) -> bool:
    """Whether a delivery of the run has failed, or was never ended. One that was interrupted has not failed."""
    return bool(executor.execute(_failed(), {"run_id": run_id}))


class Fate(NamedTuple):
    """What became of a value that was given back."""

    state: str
    failed_deliveries: int  # how many deliveries of it have failed
    max_deliveries: int | None  # how many its queue allows; None if that is not limited


@statement
def _fate() -> sa.Select[str, int, int | None]:
    return (
        sa.select(t.value.c.state, t.value.c.failed_deliveries, t.queue.c.max_deliveries)
        .select_from(t.queue.join(t.session).join(t.value, t.value.c.queue_id == t.queue.c.id))
        .where(
            t.session.c.name == bindparam("session"),
            t.queue.c.name == bindparam("queue"),
            t.value.c.seq == bindparam("seq", type_=sa.BigInteger),
        )
    )


def fate(executor: Executor, session_name: str, queue_name: str, seq: int) -> Fate | None:
    """Return what became of a value, or None if it was deleted."""
    rows = executor.execute(_fate(), {"session": session_name, "queue": queue_name, "seq": seq})
    return Fate(*rows[0]) if rows else None


_TUPLES_OK = 2  # libpq's status of a query that went well


def _is_in_queue(unpaused: bool = False) -> sa.ColumnElement[bool]:
    queue = named_queue().construct
    queue = queue.where(t.queue.c.paused_at.is_(None)) if unpaused else queue
    return t.value.c.queue_id == queue.scalar_subquery()


def _live_value(unpaused: bool = False) -> sa.Select[int]:
    return (
        sa.select(literal(1))
        .where(_is_in_queue(unpaused), t.value.c.ended_at.is_(None), is_due())
        .with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")
    )


@statement
def _has_value(unpaused: bool) -> sa.Select[int]:
    return _live_value(unpaused).limit(literal(1))


@statement
def _may_get_value() -> sa.Select[int]:
    held_value = (
        sa.select(literal(1))
        .select_from(t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id))
        .where(t.attempt.c.status == literal("running"), _is_in_queue())
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    )
    return sa.select(literal(1)).where(sa.or_(sa.exists(_live_value()), sa.exists(held_value)))


Predicate = Callable[[], bool]
"""Asks the database. It locks nothing, and costs little when it is asked again and again."""


def has_value(database: Database, session_name: str, queue_name: str, *, unpaused: bool = False) -> Predicate:
    """Return the question whether there is such a queue and it has a live value; with `unpaused`, and is not paused."""
    name = b"zrb_has_value_now" if unpaused else b"zrb_has_value"
    return _question(database, name, _has_value(unpaused), session_name, queue_name)


def may_get_value(database: Database, session_name: str, queue_name: str) -> Predicate:
    """Return the question whether the queue has a live value, or one that comes back if its holder has died."""
    return _question(database, b"zrb_may_get_value", _may_get_value(), session_name, queue_name)


def _question(
    database: Database, name: bytes, statement: Statement[sa.Select[int]], session_name: str, queue_name: str
) -> Predicate:
    params = {"session": session_name, "queue": queue_name}
    encoded: list[bytes] = []

    def ask(connection: Transaction) -> bool:
        # PostgreSQL has prepared it: by psycopg's cursor, eight waiting processes cost 3.3 % of a core.
        driver = connection.driver
        if connection.dialect_name == "sqlite" or driver.prepare_threshold is None:  # behind a pooler
            return bool(connection.execute(statement, params))
        if name in connection.prepared:
            connection.sent += 1
            encoded[:] = encoded or [text.encode(driver.info.encoding) for text in params.values()]
            result = driver.pgconn.exec_prepared(name, encoded)
            if result.status == _TUPLES_OK:
                return bool(result.ntuples)
            connection.prepared.clear()  # a pooler may have given us another server session
        found = connection.execute(statement, params)  # raises psycopg's error, if there is one
        sql = connection.sql.replace("%(session)s", "$1").replace("%(queue)s", "$2")
        connection.sent += 1
        driver.pgconn.prepare(name, sql.encode())
        connection.prepared.add(name)
        return bool(found)

    # Who waits does not mind that a lost connection is noticed a moment later, but looking first costs time every time.
    return functools.partial(database.operate, ask, may_be_ended=True)
