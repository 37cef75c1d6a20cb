"""What a process that waits for a value asks again and again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from zrb_store.db.core import Statement, bindparam, literal_column, sa, statement, t
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction

_TUPLES_OK = 2  # libpq's status of a query that went well


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
    return _question(database, b"zrb_has_value", _has_value(), session_name, queue_name)


def may_get_value(database: Database, session_name: str, queue_name: str) -> Question:
    """Return the question whether the queue has a live value, or one that comes back if its holder has died."""
    return _question(database, b"zrb_may_get_value", _may_get_value(), session_name, queue_name)


def _question(
    database: Database, name: bytes, statement: Statement[sa.Select[int]], session_name: str, queue_name: str
) -> Question:
    question = _Prepared(name, statement, session_name, queue_name)
    # Who waits does not mind that a lost connection is noticed a moment later, but looking first costs time every time.
    return functools.partial(database.operate, question, may_be_ended=True)


class _Prepared:
    """A question that PostgreSQL has prepared: by psycopg's cursor, eight waiting processes cost 3.3 % of a core."""

    def __init__(self, name: bytes, statement: Statement[sa.Select[int]], session_name: str, queue_name: str) -> None:
        self._name = name
        self._statement = statement
        self._params = {"session": session_name, "queue": queue_name}
        self._encoded: list[bytes] = []

    def __call__(self, connection: Transaction) -> bool:
        """Ask over a connection."""
        driver = connection.driver
        if connection.dialect_name == "sqlite" or driver.prepare_threshold is None:  # behind a pooler
            return bool(connection.execute(self._statement, self._params))
        if self._name in connection.prepared:
            connection.sent += 1
            result = driver.pgconn.exec_prepared(self._name, self._encoded or self._encode(driver))
            if result.status == _TUPLES_OK:
                return bool(result.ntuples)
            connection.prepared.clear()  # a pooler may have given us another server session
        found = connection.execute(self._statement, self._params)  # raises psycopg's error, if there is one
        sql = connection.sql.replace("%(session)s", "$1").replace("%(queue)s", "$2")
        connection.sent += 1
        driver.pgconn.prepare(self._name, sql.encode())
        connection.prepared.add(self._name)
        return bool(found)

    def _encode(self, driver: Any) -> list[bytes]:
        self._encoded = [text.encode(driver.info.encoding) for text in self._params.values()]
        return self._encoded
