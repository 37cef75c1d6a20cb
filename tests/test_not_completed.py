"""Whoever looks for sessions that have not completed does not read those that have."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests import rows
from zrb_store import Store
from zrb_store.db.engine import Database
from zrb_store.inspect import check
from zrb_store.inspect.list import HALTED, list_sessions
from zrb_store.queries.notify import running_unreported
from zrb_store.queries.queues import queues_of_open_sessions


def alerts(database: Database) -> list[Any]:
    return check.alerts(database, {})


READERS: dict[str, Callable[[Database], list[Any]]] = {
    "untold": running_unreported,
    "check": alerts,
    "queues": queues_of_open_sessions,
    "failed": lambda database: list_sessions(database, statuses=["failed"], limit=50),
    "halted": lambda database: list_sessions(database, statuses=HALTED, limit=50),
    "open": lambda database: list_sessions(database, statuses=["open"], limit=50),
}


def add_completed(store: Store, first: int, count: int) -> None:
    """Add completed sessions, each with a queue, by SQL."""
    numbers = ", ".join(
        f"('done-{number}', 'completed', {number}, {number}, {number}, {number})"
        for number in range(first, first + count)
    )
    sessions = (
        f"INSERT INTO zrb_session (name, status, created_at, created_tick, ended_at, ended_tick) VALUES {numbers}"
    )
    those = f"created_at BETWEEN {first} AND {first + count - 1}"
    queues = f"INSERT INTO zrb_queue (session_id, name) SELECT id, 'q' FROM zrb_session WHERE {those}"
    store.database.transact(
        lambda transaction: [transaction.driver.execute(statement).close() for statement in (sessions, queues)]
    )


@pytest.fixture
def watched(filled: Store) -> Store:
    """A store with a session of each kind, and some that have completed."""
    with filled.session("under-way").run() as run:
        run.end("interrupted")
    add_completed(filled, 1, 100)
    return filled


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_reading_takes_no_more_steps_with_more_completed_sessions(watched: Store, reader: str) -> None:
    """Steps of SQLite's virtual machine are counted, since they are the same on every computer."""
    driver = watched.database.transact(lambda transaction: transaction.driver)

    def steps() -> int:
        count = itertools.count()
        driver.set_progress_handler(lambda: next(count) and 0, 1)
        READERS[reader](watched.database)
        driver.set_progress_handler(None, 1)
        return next(count)

    READERS[reader](watched.database)  # statements are compiled
    before = steps()
    add_completed(watched, 1000, 2000)
    assert 0 < steps() <= before * 1.1 + 20


@pytest.mark.unpooled  # each server process keeps its counts to itself until it reports them
@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_postgresql_reads_no_completed_session(watched: Store) -> None:
    """Rows are counted, not scans of the index: the planner may come to a session by its newest run as well."""

    def sessions_read() -> int:
        rows.query(watched, "SELECT pg_stat_force_next_flush()")
        rows.query(watched, "SELECT 1")
        read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'zrb_session' "
        return int(rows.query(watched, read + "AND schemaname = current_schema()")[0][0])

    add_completed(watched, 1000, 20_000)
    watched.database.transact(lambda transaction: transaction.driver.execute("ANALYZE zrb_session"))
    everything = {"everything": lambda _: rows.query(watched, "SELECT name FROM zrb_session")}
    for name, reader in (READERS | everything).items():
        before = sessions_read()
        reader(watched.database)
        assert (sessions_read() - before > 20_000) == (name == "everything"), name
