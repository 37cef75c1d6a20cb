"""A store that another program keeps locked: who waits, for how long, and who need not wait."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.clocks import turn_until
from tests.support.postgres import DEADLINE, wait_until
from tests.support.rows import query
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db import patience
from zrb_store.db.clock import Clock
from zrb_store.db.dialect import watchdog
from zrb_store.queries import lease as lease_queries
from zrb_store.runtime import lease
from zrb_store.testing import short_lease

ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("location", ["postgresql"], indirect=True)
LOCKED = "is locked by another program"


@contextmanager
def locked(location: str) -> Iterator[None]:
    """Run the block while another program holds the write lock."""
    with closing(sqlite3.connect(location, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@ON_SQLITE
def test_threads_wait_side_by_side_and_readers_do_not_wait(
    store: Store, location: str, waits: list[tuple[int, patience.Backoff]]
) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(0)
    store.database.timeout = DEADLINE
    with locked(location), ThreadPoolExecutor(4) as threads:
        pushes = [threads.submit(queue.push, number) for number in range(4)]
        wait_until(lambda: len({thread for thread, _ in waits}) == 4, lambda: "they do not wait at the same time")
        assert list(queue) == [0]
        assert not any(one.done() for one in pushes)
        store.database.stop_waiting(0)
        for one in pushes:
            with pytest.raises(StoreUnavailable, match=LOCKED):
                one.result(DEADLINE)


@ON_SQLITE
def test_who_waits_gets_the_lock_when_it_is_free(store: Store, location: str) -> None:
    queue = store.session("s").xcom["q"]
    with ThreadPoolExecutor(4) as threads:
        with locked(location):
            pushes = [threads.submit(queue.push, number) for number in range(4)]
            wait_until(lambda: all(one.running() for one in pushes), lambda: "the pushes do not start")
        for one in pushes:
            one.result(DEADLINE)
    assert sorted(queue) == [0, 1, 2, 3]


@pytest.mark.slow
@ON_SQLITE
def test_nothing_waits_again_after_a_timeout(
    store: Store, location: str, waits: list[tuple[int, patience.Backoff]], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.session("flow")
    monkeypatch.setattr(patience, "_GIVE_UP_FOR", DEADLINE)

    def fail_while_locked() -> None:
        with session.run() as run, run.attempt("load"), locked(location):
            store.database.timeout = 1.0
            session.xcom["q"].push(1)  # the attempt and the run then fail too

    with pytest.raises(StoreUnavailable, match=LOCKED):
        fail_while_locked()
    assert len({id(wait) for thread, wait in waits if thread == threading.get_ident()}) <= 1


@pytest.mark.promise(number=12)
@ON_SQLITE
def test_who_stores_output_takes_no_patience_from_a_task(
    store: Store, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have waited long, and given up, just before a task needs the store."""
    is_waiting = threading.Event()
    sleep = patience.Backoff.sleep

    def noted(wait: patience.Backoff) -> None:
        is_waiting.set()
        sleep(wait)

    with store.session("s").run() as run, run.attempt("load") as attempt, ThreadPoolExecutor(1) as threads:
        queue = attempt.xcom["q"]
        queue.push(1)
        output = attempt.output
        assert output is not None
        with locked(location):
            store.database.timeout = 0.2
            output.add("log", "said\n")
            output.store()
            store.database.timeout = DEADLINE
            monkeypatch.setattr(patience.Backoff, "sleep", noted)
            push = threads.submit(queue.push, 2)
            wait_until(lambda: push.done() or is_waiting.is_set(), lambda: "the push does not start")
        push.result(DEADLINE)
        assert list(queue) == [1, 2]


@ON_SQLITE
@pytest.mark.parametrize(("pushes", "first"), [(1, 4), (40, 10), (1000, 24)])
def test_who_got_more_done_waits_longer_for_the_lock(
    store: Store, location: str, monkeypatch: pytest.MonkeyPatch, pushes: int, first: float
) -> None:
    queue = store.session("s").xcom["q"]

    def pauses() -> list[float]:
        """Push while another program has the lock, and return the pauses in milliseconds without their chance."""
        found: list[float] = []
        with closing(sqlite3.connect(location, isolation_level=None)) as other, monkeypatch.context() as patch:

            def noted(seconds: float) -> None:
                found.append(seconds * 1000)
                if len(found) == 40:
                    other.execute("ROLLBACK")

            patch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
            patch.setattr(time, "sleep", noted)
            other.execute("BEGIN IMMEDIATE")
            queue.push(0)
        return found

    queue.push(0)
    pauses()
    for _ in range(pushes):  # only what was done since the last waiting counts
        queue.push(0)
    found = pauses()
    assert found[:4] == pytest.approx([first, max(first / 8, 0.5), 0.5, 0.5], rel=0.05)
    assert found[15] == pytest.approx(0.5)
    assert found[16:20] == sorted(found[16:20]), "one process has the lock for long"
    assert found[-1] == pytest.approx(4)


@ON_SQLITE
def test_a_process_that_has_to_end_waits_no_longer(store: Store, location: str) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(0)
    with locked(location), ThreadPoolExecutor(1) as threads:
        push = threads.submit(queue.push, 1)
        wait_until(push.running, lambda: "the push does not start")
        store.database.stop_waiting(0.1)
        with pytest.raises(StoreUnavailable, match=LOCKED):
            push.result(DEADLINE)
        assert store.database.is_stopping
        with pytest.raises(StoreUnavailable, match=LOCKED):
            queue.push(2)
    queue.push(3)
    store.database.wait_again()
    assert not store.database.is_stopping
    assert list(queue) == [0, 3]


@ON_SQLITE
def test_long_waiting_is_reported(
    store: Store, location: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WARN_AFTER", 0.1)
    queue = store.session("s").xcom["q"]
    warning = f"the store {store.url} {LOCKED}: waiting up to 30 s more"
    with caplog.at_level(logging.WARNING, "zrb_store"), ThreadPoolExecutor(1) as threads:
        with locked(location):
            push = threads.submit(queue.push, 1)
            wait_until(lambda: caplog.messages == [warning], lambda: str(caplog.messages))
        push.result(DEADLINE)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith(f"the store {store.url} can be used again, after ")


@ON_POSTGRESQL
def test_a_lease_is_renewed_while_a_task_waits(
    store: Store, location: str, postgres_admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "ASK_AFTER", DEADLINE)
    schema = location.rpartition("%3D")[2]
    queue = store.session("s").xcom["q"]
    queue.push(1)
    with short_lease(2), store.session("flow").run(), ThreadPoolExecutor(1) as threads:
        with postgres_admin.transaction():
            postgres_admin.execute(f"SELECT 1 FROM {schema}.zrb_queue FOR UPDATE")
            push = threads.submit(queue.push, 2)
            for _ in range(3):
                before = expiry(postgres_admin, schema)
                wait_until(
                    lambda before=before: expiry(postgres_admin, schema) > before,  # type: ignore[misc]
                    lambda: "the lease is not renewed any more",
                )
            assert not push.done()
        push.result(DEADLINE)
    assert list(queue) == [1, 2]


def expiry(admin: psycopg.Connection, schema: str) -> int:
    [[end]] = admin.execute(f"SELECT max(lease_expires_at) FROM {schema}.zrb_run").fetchall()
    return int(end)


def test_renewals_that_fail_are_reported_once(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = lease_queries.renew
    failing = threading.Event()
    calls = 0

    def maybe_renew(*arguments: object) -> Any:
        nonlocal calls
        calls += 1
        if failing.is_set():
            raise StoreUnavailable("away")
        return renew(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lease, "renew", maybe_renew)
    failing.set()
    with caplog.at_level(logging.WARNING, "zrb_store"), store.session("flow").run():
        turn_until(clock, lambda: calls >= 3, lambda: "the lease is not renewed")
        assert caplog.messages == ["the lease of session flow could not be renewed: away"]
        failing.clear()
        turn_until(clock, lambda: len(caplog.messages) == 2, lambda: str(caplog.messages))
        assert caplog.messages[1] == "the lease of session flow is renewed again"


def test_renewals_go_over_a_connection_of_their_own(location: str, clock: Clock) -> None:
    """The connection exists only during runs, and is closed with the last lease."""
    with open_store(location) as store:
        with store.session("flow").run():
            turn_until(clock, lambda: bool(lease._renewal._databases), lambda: "no renewal yet")
            (own,) = lease._renewal._databases.values()
            assert own is not store.database
        wait_until(lambda: own.closed, lambda: "the connection is not closed")


@pytest.mark.parametrize("seconds", [3600, 315_360_000])
def test_a_lease_from_a_clock_that_was_ahead(store: Store, seconds: int) -> None:
    """A lease that ends later than its length allows comes from a wrong clock.

    SQLite uses the clock of its host. On PostgreSQL all processes use the server's clock, so such a lease is respected
    if its process cannot be checked.
    """
    run = store.session("flow").run().start()
    lease.stop_renewing(run)
    store.database.transact(
        lambda t: t.driver.execute(
            f"UPDATE zrb_run SET pid_namespace = 'another', started_at = started_at + {seconds}000000, "
            f"lease_expires_at = lease_expires_at + {seconds}000000, suspected_at = 1"
        )
    )
    if store.database.dialect_name == "sqlite":
        assert store.session("flow").status == "stale"
        with store.session("flow").run() as again:
            assert again.number == 2
    else:
        assert store.session("flow").status == "running"


def test_the_clock_was_set_back_while_a_process_runs(store: Store) -> None:
    """The process is alive, so it keeps its session and renews its lease by the new clock."""
    run = store.session("flow").run().start()
    store.database.transact(
        lambda t: t.driver.execute(
            "UPDATE zrb_run SET started_at = started_at + 7200000000, lease_expires_at = lease_expires_at + 7200000000"
        )
    )
    assert store.session("flow").status == "running"
    with pytest.raises(Exception, match=r"by pid \d+ on .* for 0 s"):
        store.session("flow").run().start()
    run.end("completed")
    assert query(store, "SELECT status FROM zrb_run") == [("completed",)]


def test_a_statement_is_found_by_its_text_wherever_that_is_cut(postgres_admin: psycopg.Connection[Any]) -> None:
    """The server shows `$1` where the statement has a placeholder, which may lie where the text is cut."""
    start = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND 'it''s 100 %%s' <> '"
    for length in range(watchdog._SHOWN - len(start) - 20, watchdog._SHOWN - len(start) + 5):
        sql = f"{start}{'_' * length}' AND 1 <> %(number)s"
        ((shown,),) = postgres_admin.execute(sql.encode(), {"number": 2}).fetchall()
        found = postgres_admin.execute(f"SELECT %s LIKE {watchdog._pattern(sql).replace('%', '%%')}".encode(), [shown])
        assert found.fetchone() == (True,), shown
