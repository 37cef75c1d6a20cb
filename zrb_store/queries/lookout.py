"""What a process that waits for a value asks again and again."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from zrb_store.db.core import Statement, bindparam, literal_column, sa, statement, t
from zrb_store.db.engine import Database
from zrb_store.queries import fronts
from zrb_store.queries.queues import find_queue

_KNOWN_FOR = 5.0  # seconds after which a queue's id is looked for again: it may be created, or its session anew


def _queue_id() -> sa.ScalarSelect[int]:
    return (
        sa.select(t.queue.c.id)
        .select_from(t.queue.join(t.session, t.session.c.id == t.queue.c.session_id))
        .where(t.session.c.name == bindparam("session"), t.queue.c.name == bindparam("queue"))
        .scalar_subquery()
    )


def _live_value() -> sa.Select[int]:
    return (
        sa.select(literal_column("1"))
        .where(t.value.c.queue_id == _queue_id(), t.value.c.ended_at.is_(None))
        .with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")
    )


@statement
def _has_value() -> sa.Select[int]:
    return _live_value().limit(literal_column("1"))


@statement
def _may_get_value() -> sa.Select[int]:
    held_value = (
        sa.select(literal_column("1"))
        .select_from(t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id))
        .where(t.attempt.c.status == literal_column("'running'"), t.value.c.queue_id == _queue_id())
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    )
    return sa.select(literal_column("1")).where(sa.or_(sa.exists(_live_value()), sa.exists(held_value)))


Question = Callable[[], bool]
"""Asks the database. It locks nothing, and costs little when it is asked again and again."""


def has_value(database: Database, session_name: str, queue_name: str) -> Question:
    """Return the question whether there is such a queue and it has a live value."""
    question = _question(database, _has_value(), session_name, queue_name)
    if database.dialect_name == "sqlite":
        return question
    return _FromFront(database, session_name, queue_name, question)


class _FromFront:
    """The question whether a queue has a live value, asked from where the live ones begin, if that is known.

    The queue's id is looked for only after a slow answer, and seldom: over a network, or on a busy machine, all answers
    are slow, and each of them would cost a second statement.
    """

    def __init__(self, database: Database, session_name: str, queue_name: str, question: Question) -> None:
        self._database = database
        self._names = session_name, queue_name
        self._question = question
        self._queue_id: int | None = None
        self._find_at = 0.0

    def __call__(self) -> bool:
        database = self._database
        if database.fronts.is_any_known and (queue_id := self._find()) is not None:
            front = fronts.known_front(database, queue_id)
            if front is not None:
                return fronts.has_live(database, queue_id, front)
        began = time.perf_counter()
        found = self._question()
        seconds = time.perf_counter() - began
        queue_id = self._find() if database.fronts.is_slow(seconds) else self._queue_id
        if queue_id is not None:
            database.fronts.searched(queue_id, seconds, None, None)
        return found

    def _find(self) -> int | None:
        now = time.monotonic()
        if now >= self._find_at:
            self._find_at = now + _KNOWN_FOR
            self._queue_id = find_queue(self._database, *self._names)
        return self._queue_id


def may_get_value(database: Database, session_name: str, queue_name: str) -> Question:
    """Return the question whether the queue has a live value, or one that comes back if its holder has died."""
    return _question(database, _may_get_value(), session_name, queue_name)


def _question(database: Database, statement: Statement[sa.Select[int]], session_name: str, queue_name: str) -> Question:
    probe = database.dialect.probe(statement, {"session": session_name, "queue": queue_name})
    # Who waits does not mind that a lost connection is noticed a moment later, but looking first costs time every time.
    return functools.partial(database.operate, probe, may_be_ended=True)
