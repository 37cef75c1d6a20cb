"""Completed sessions, of which readers of the others read none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from tests.support import rows
from zrb_store import Store
from zrb_store.db.engine import Database

Reader = Callable[[Database], list[Any]]


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


def with_completed(filled: Store) -> Store:
    """Return a store with a session of each kind, and some that have completed."""
    with filled.session("under-way").run() as run:
        run.end("interrupted")
    add_completed(filled, 1, 100)
    return filled


def check_steps(store: Store, reader: Reader) -> None:
    """Check that a reader takes no more steps of SQLite's virtual machine with more completed sessions.

    They are the same on every computer.
    """
    driver = store.database.transact(lambda transaction: transaction.driver)

    def steps() -> int:
        count = itertools.count()
        driver.set_progress_handler(lambda: next(count) and 0, 1)
        reader(store.database)
        driver.set_progress_handler(None, 1)
        return next(count)

    reader(store.database)  # statements are compiled
    before = steps()
    add_completed(store, 1000, 2000)
    assert 0 < steps() <= before * 1.1 + 20


def check_rows(store: Store, readers: Mapping[str, Reader]) -> None:
    """Check that readers read no completed session on PostgreSQL.

    Rows are counted, not scans of the index: the planner may come to a session by its newest run as well.
    """

    def sessions_read() -> int:
        rows.query(store, "SELECT pg_stat_force_next_flush()")
        rows.query(store, "SELECT 1")
        read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'zrb_session' "
        return int(rows.query(store, read + "AND schemaname = current_schema()")[0][0])

    add_completed(store, 1000, 20_000)
    store.database.transact(lambda transaction: transaction.driver.execute("ANALYZE zrb_session"))
    everything: dict[str, Reader] = {"everything": lambda _: rows.query(store, "SELECT name FROM zrb_session")}
    for name, reader in {**readers, **everything}.items():
        before = sessions_read()
        reader(store.database)
        assert (sessions_read() - before > 20_000) == (name == "everything"), name
