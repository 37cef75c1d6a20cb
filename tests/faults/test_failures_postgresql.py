"""Failures of a PostgreSQL server and of the connections to it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.postgres import DEADLINE, Server, private_server, server_session
from tests.support.processes import Child
from tests.support.rows import stop_renewals
from tests.support.workers import hold_many_files
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db import patience
from zrb_store.db.dialect import watchdog
from zrb_store.db.dialect.postgresql import PostgreSQL
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import takes
from zrb_store.queries.clock import now_micros

on_postgresql = pytest.mark.parametrize("location", ["postgresql"], indirect=True)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that tests may stop. Each test leaves it running."""
    with private_server() as server:
        yield server


@pytest.fixture
def own_store(own_server: Server) -> Iterator[Store]:
    with open_store(own_server.url) as store:
        yield store


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restart_between_two_operations_is_survived(own_server: Server, own_store: Store, end: str) -> None:
    session = own_store.session(f"restarted-{end}")
    with session.run() as run, run.attempt("load") as attempt:
        session.xcom["q"].push(1)
        getattr(own_server, end)()
        own_server.start()
        session.xcom["q"].push(2)
        attempt.complete(session.xcom["q"].pop())
    assert (list(session.xcom["q"]), session.xcom["load"].pop()) == ([2], 1)
    assert session.status == "completed"


@pytest.mark.promise(number=8)
def test_a_server_that_comes_back_in_time_is_waited_for(own_server: Server, own_store: Store) -> None:
    queue = own_store.session("waiting").xcom["q"]
    queue.push(1)
    own_server.stop()
    starter = threading.Thread(target=own_server.start)
    starter.start()
    queue.push(2)  # the server was not running when this was called
    starter.join(DEADLINE)
    assert list(queue) == [1, 2]


@pytest.mark.promise(number=8)
def test_a_server_that_goes_away_gives_one_error_and_a_session_that_resumes(
    own_server: Server,
    own_store: Store,
    waits: list[tuple[int, patience.Backoff]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "_GIVE_UP_FOR", DEADLINE)
    session = own_store.session("cut-off")
    session.xcom["inbox"].extend([1, 2])
    own_store.database.timeout = 0.3

    def cut_off() -> None:
        with session.run() as run:
            run.task("first", lambda: "done")
            with run.attempt("second"):
                assert session.xcom["inbox"].pop() == 1
                own_server.stop()
                session.xcom["inbox"].push(3)

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        cut_off()
    # Recording that the attempt and the run failed was impossible, and was not waited for.
    assert len({id(wait) for thread, wait in waits if thread == threading.get_ident()}) <= 1
    own_server.start()
    own_store.database.timeout = Database.timeout
    assert session.status == "running"
    stop_renewals(own_store)
    own_store.database.transact(expire)
    assert session.status == "stale"
    with session.run() as run:
        assert run.task("first", lambda: "never called") == "done"
        assert list(session.xcom["inbox"]) == [1, 2]


def expire(transaction: Transaction) -> None:
    transaction.driver.execute("UPDATE zrb_run SET lease_expires_at = 0")


def end(admin: psycopg.Connection[Any], session: int) -> None:
    """End a server session, and return when it has ended."""
    assert admin.execute("SELECT pg_terminate_backend(%s, 10000)", [session]).fetchone() == (True,)


@on_postgresql
def test_a_connection_that_is_ended_between_two_operations(
    location: str, postgres_admin: psycopg.Connection[Any], with_settings: Callable[..., str]
) -> None:
    with open_store(with_settings(location)) as store:
        queue = store.session("s").xcom["q"]
        for number in range(20):
            queue.push(number)
            end(postgres_admin, store.database.operate(server_session))
        assert list(queue) == list(range(20))


@on_postgresql
def test_a_change_whose_connection_is_ended_before_its_commit_is_made_over_a_new_one(
    store: Store, postgres_admin: psycopg.Connection[Any]
) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend([1, 2, 3])
    tries, queue_id = iter([True]), store.session("s").xcom.queue_id("q")

    def work(transaction: Transaction) -> tuple[int, str] | None:
        taken = takes.take_whole(transaction, queue_id, None)
        if next(tries, False):
            end(postgres_admin, server_session(transaction))
        now_micros(transaction)
        return taken

    assert store.database.transact(work) == (1, "1")
    assert list(queue) == [2, 3]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(
    postgres_server: Server, postgres_admin: Any, encoding: str
) -> None:
    name = f"{encoding}_{os.getpid()}".lower()
    postgres_admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    try:
        with pytest.raises(StoreUnavailable, match=f"{name} has encoding {encoding}.*use one with encoding UTF8"):
            open_store(make_url(postgres_server.url).set(database=name).render_as_string(hide_password=False))
    finally:
        postgres_admin.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"username": "nobody", "password": "s3cret"}, 'role "nobody" does not exist'),
    ],
)
def test_a_server_that_refuses_us_is_not_asked_again(
    postgres_server: Server, changed: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    url = make_url(postgres_server.url).set(**changed)  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=says) as caught:
        open_store(url.render_as_string(hide_password=False))
    assert time.monotonic() - began < DEADLINE / 2
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "timeout", 0.2)
    with pytest.raises(StoreUnavailable, match=r"cannot be reached: .*Connection refused") as caught:
        open_store("postgresql+psycopg://user:s3cret@127.0.0.1:1/db")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@on_postgresql
def test_a_row_that_another_program_keeps_locked(
    location: str, postgres_admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgreSQL, "lock_timeout", "50ms")
    monkeypatch.setattr(watchdog, "ASK_AFTER", 0.1)
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.05)
    with open_store(location) as store:
        queue = store.session("s").xcom["q"]
        queue.push(1)
        store.database.timeout = 0.3
        schema = location.rpartition("%3D")[2]
        with postgres_admin.transaction():
            postgres_admin.execute(f"SELECT 1 FROM {schema}.zrb_queue FOR UPDATE")
            with pytest.raises(StoreUnavailable, match="is locked by another program"):
                queue.push(2)
            with pytest.raises(StoreUnavailable, match="is locked by another program"):
                queue.rotate()
        queue.push(3)
        assert list(queue) == [1, 3]


@on_postgresql
def test_of_two_changes_that_wait_for_each_other_both_are_made(store: Store, location: str) -> None:
    both_hold_one = threading.Barrier(2)

    def swap(database: Database, first: str, second: str) -> None:
        tries = iter([both_hold_one.wait])

        def work(transaction: Transaction) -> None:
            lock(transaction, first)
            next(tries, lambda: 0)()
            lock(transaction, second)

        database.transact(work)

    def lock(transaction: Transaction, name: str) -> None:
        transaction.driver.execute(f"UPDATE zrb_session SET task = 'swapped' WHERE name = '{name}'")

    for name in ("a", "b"):
        store.session(name).xcom["q"].push(1)
    with open_store(location) as other:
        threads = [
            threading.Thread(target=swap, args=(store.database, "a", "b")),
            threading.Thread(target=swap, args=(other.database, "b", "a")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert [record.task for record in store.sessions()] == ["swapped", "swapped"]


@on_postgresql
def test_a_process_with_many_open_files(location: str) -> None:
    with Child(hold_many_files, location, 1100) as child:
        assert child.receive() == [1, 2]
