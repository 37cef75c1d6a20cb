"""A store in which much has happened, and a check of the statements that a reader runs in it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from tests.support.sessions import etl, inbox
from tests.support.steps import fill_with_steps
from tests.support.waits import start
from zrb_store import Store, codec
from zrb_store.db import REVISION_SQL
from zrb_store.operations import prune
from zrb_store.operations.mark import mark
from zrb_store.operations.values import replace, requeue
from zrb_store.queries import output
from zrb_store.queries.chunks import LONGEST
from zrb_store.queries.output import OutputLine
from zrb_store.runtime import lease


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


def fill_with_history(store: Store) -> None:
    """Do everything that can happen to a store: failed and resumed runs, give-backs, forks, marks, pruning."""
    inbox = store.session("inbox").xcom["files"]
    inbox.extend(range(6))
    first = store.session("etl").run(task="load").start()
    done, failing, running = first.begin("extract"), first.begin("load"), first.begin("watch")
    for number in range(2):
        said = [
            OutputLine(1_795_000_000_000_000 + number, "stdout", f"line {number}"),
            OutputLine(1, "print", "\u00e9\0"),
        ]
        end = output.end_of(store.database, done.id)
        store.database.transact(lambda each: output.add(each, done.id, end, said, 100))  # noqa: B023
    done.complete(store.session("inbox").xcom.bound_to(done)["files"].pop())
    taking = store.session("inbox").xcom.bound_to(failing)["files"]
    taking.pop()
    taking.rotate()
    poison = store.session("inbox").xcom["poison"]
    poison.max_deliveries = 1
    poison.extend(["deadly", "harmless"])
    store.session("inbox").xcom.bound_to(failing)["poison"].clear()
    store.session("inbox").xcom["poison"].extend(["deadly", "too"])
    for _ in range(2):
        store.session("inbox").xcom.bound_to(failing)["poison"].pop()
    store.session("etl").xcom.bound_to(running)["log"].push("orphan")
    failing.fail(ValueError("no"))
    requeue(store.database, ["inbox/poison#4"])
    replace(store.database, "inbox/poison#4", codec.encode("mended"), None)
    with store.session("reader").run() as reading, reading.attempt("read") as reader:
        reader.complete(store.session("etl").xcom["log"].pop())
    first.end("failed")
    mark(store.database, "etl", "watch")
    store.fork("etl", from_task="load", name="again")
    again = store.session("etl").run(task="load").start()
    again.task("load", lambda: "loaded")
    extracted = again.completed("extract")
    assert extracted is not None
    again.give_back(extracted, "forced")
    again.task("extract", lambda: 1)
    again.end("completed")
    under_way = store.session("under-way").run().start()
    under_way.begin("t").xcom["q"].push(1)
    lease.stop_renewing(under_way)  # do not renew the lease while tests look at it, nor end the run
    store.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = lease_expires_at + 3600000000"))
    list(prune.prune(store.database, prune.Policy(older_than=timedelta(0), statuses=("open",))))
    inbox.clear()
    inbox.extendleft([1, 2])
    store.session("inbox").xcom["long"].push("x" * LONGEST)  # with its quotes it takes two chunks
    fill_with_steps(store, "etl/load#1", running=False)
    fill_with_steps(store, "under-way/t#1", running=True)
    start(store)
