"""A store in which much has happened, and a check of the statements that a reader runs in it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from tests.support.sessions import etl, inbox
from zrb_store import Store
from zrb_store.db import REVISION_SQL


def fill_with_much(store: Store) -> None:
    """Add 60 sessions that took values of another session, and many more rows than a reader looks at."""
    inbox(store, *(f"{number}.csv" for number in range(200)))
    for number in range(60):
        store.session(f"old-{number}").xcom["q"].extend(range(40))
    for _ in range(150):  # many more runs than are asked for at once
        store.session("old-0").run(again=True).start().end("completed")
    stepping(store)
    for number in range(60):
        etl(store, f"etl-{number}", broken=number % 2 == 0)
    # Add many more rows than a reader looks at, so that the query planner avoids scans.
    store.database.execute(
        sa.text(
            "INSERT INTO zrb_return (queue_id, seq, taken_at, taken_tick, returned_at, returned_tick, reason) "
            "SELECT queue_id, seq, pushed_at, pushed_tick, pushed_at, pushed_tick, 'failed' FROM zrb_value "
            "WHERE pushed_by IS NULL"
        )
    )


def stepping(store: Store) -> None:
    """Make a session whose task took values of another session in 50 steps, and was interrupted."""
    run = store.session("stepping").run().start()
    attempt = run.begin("load")
    for number in range(50):
        attempt.step(f"step {number}", store.session("inbox").xcom["files"].pop)
    attempt.fail(status="interrupted")
    run.end("interrupted")


def statements(store: Store, read: Callable[[Store], Any]) -> list[str]:
    """Return the SELECT statements that a reader runs, with parameters filled in."""
    driver: sqlite3.Connection = store.database._connection().driver
    seen: list[str] = []
    driver.set_trace_callback(seen.append)
    try:
        read(store)
    finally:
        driver.set_trace_callback(None)
    # Whether the store was upgraded is asked once a second, whatever is read.
    return [sql for sql in seen if sql.startswith("SELECT") and sql != REVISION_SQL]


def check_statements(store: Store, most: int, read: Callable[[Store], Any]) -> None:
    """Check that a reader runs at most so many statements, each of which uses an index."""
    driver = sqlite3.connect(str(store.database.url.database))
    driver.create_function("zrb_now", 0, lambda: 0)
    found = statements(store, read)
    assert len(found) <= most
    for sql in found:
        for *_, step in driver.execute(f"EXPLAIN QUERY PLAN {sql}"):
            # Only the few that run, are dead, or have completed although a step failed.
            few = "SCAN zrb_[a-z]+ USING (COVERING )?INDEX ix_zrb_(attempt_running|value_dead|run_incomplete)"
            assert re.fullmatch(few, step) or not step.startswith("SCAN zrb_"), (sql, step)
            # The sessions that may be the last to start or end are few, and so are the queues with dead values.
            may_sort = "ORDER BY coalesce(zrb_session.ended_tick" in sql or "ix_zrb_value_dead" in sql
            sorts = "TEMP B-TREE FOR ORDER BY" in step and "zrb_session.id" in sql.partition("FROM")[0]
            assert may_sort or not sorts, sql
    driver.close()
