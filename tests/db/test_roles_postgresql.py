"""What a database or a role may set for its sessions: everything is right, or there is one clear line."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.commands import Commands
from tests.support.history import fill_with_history
from tests.support.postgres import DEADLINE, Server, server_session, wait_until
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db.engine import Database
from zrb_store.runtime import lease

pytestmark = pytest.mark.parametrize("location", ["postgresql"], indirect=True)

WithSettings = Callable[..., str]
ISOLATION = ["read uncommitted", "repeatable read", "serializable"]


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("level", ISOLATION)
def test_any_default_isolation_of_a_role(location: str, level: str, with_settings: WithSettings) -> None:
    """Each value goes to one of many who push and pop at once, and nobody gets an error."""
    check_queue_of_many(with_settings(location, default_transaction_isolation=level), location)


@pytest.mark.parametrize("level", ISOLATION[1:])
def test_any_default_isolation_of_a_database(
    postgres_url: str, location: str, level: str, postgres_admin: psycopg.Connection[Any]
) -> None:
    name = f"isolated_{location.rpartition('%3D')[2]}"
    postgres_admin.execute(f"CREATE DATABASE {name}".encode())
    try:
        postgres_admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'".encode())
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        check_queue_of_many(url, url)
    finally:
        postgres_admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def check_queue_of_many(url: str, same: str) -> None:
    popped: list[list[int]] = [[] for _ in range(3)]
    errors: list[BaseException] = []

    def push_and_pop(me: int) -> None:
        try:
            with open_store(url) as store, store.session(f"flow-{me}").run() as run, run.attempt("load"):
                queue = store.session("inbox").xcom["q"]
                for number in range(15):
                    queue.push(me * 100 + number)
                    queue.extend([me * 100 + 50 + number])
                    popped[me].append(queue.pop())
        except BaseException as error:
            errors.append(error)
            raise

    with open_store(url) as store:
        store.session("inbox").xcom["q"].push(-1)
    threads = [threading.Thread(target=push_and_pop, args=(me,)) for me in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert errors == []
    with open_store(same) as store:
        left = list(store.session("inbox").xcom["q"])
    everything = [-1, *(me * 100 + half + number for me in range(3) for half in (0, 50) for number in range(15))]
    assert sorted([*left, *popped[0], *popped[1], *popped[2]]) == sorted(everything)


@pytest.mark.parametrize(
    "settings",
    [
        {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
        {"statement_timeout": "20s", "lock_timeout": "10ms", "idle_in_transaction_session_timeout": "10s"},
        {"client_encoding": "LATIN1", "DateStyle": "SQL, DMY", "TimeZone": "Asia/Kathmandu", "bytea_output": "escape"},
    ],
    ids=["isolation", "timeouts", "formats"],
)
def test_commands_work_whatever_a_role_sets(
    location: str,
    settings: dict[str, str],
    with_settings: WithSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = with_settings(location, **settings)
    with open_store(url) as store:
        fill_with_history(store)
    command = Commands(url, monkeypatch, capsys.readouterr)
    for args in (
        ["list"],
        ["show", "etl"],
        ["log", "etl"],
        ["export"],
        ["doctor"],
        ["db", "status"],
        ["db", "upgrade"],
    ):
        command.ok(*args)
    command.ok("push", "inbox", "żółw €", '"żółw €"')
    assert "żółw €" in command.ok("pop", "inbox", "żółw €")
    command.ok("prune", "--older-than", "0s")


def test_a_lock_timeout_of_the_role_is_no_reason_to_give_up(
    location: str, store: Store, with_settings: WithSettings, postgres_admin: psycopg.Connection[Any]
) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(1)
    with open_store(with_settings(location, lock_timeout="20ms")) as other:
        pusher = threading.Thread(target=other.session("s").xcom["q"].push, args=(2,))
        with locked_queues(location, postgres_admin):
            pusher.start()
            wait_until(lambda: other.database.under_way is None and pusher.is_alive(), lambda: "it is not tried again")
        pusher.join(DEADLINE)
    assert list(queue) == [1, 2]


@contextlib.contextmanager
def locked_queues(location: str, admin: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold a lock on the rows of all queues of a store."""
    with admin.transaction():
        admin.execute(f"SELECT 1 FROM {location.rpartition('%3D')[2]}.zrb_queue FOR UPDATE".encode())
        yield


def test_a_statement_timeout_while_it_waits_for_a_lock_is_one_clear_line(
    location: str, store: Store, with_settings: WithSettings, postgres_admin: psycopg.Connection[Any]
) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(1)
    with open_store(with_settings(location, statement_timeout="100ms")) as other:
        theirs = other.session("s").xcom["q"]
        for change in (theirs.append, lambda number: theirs.extend([number])):
            with (
                locked_queues(location, postgres_admin),
                pytest.raises(StoreUnavailable, match=r"^[^\n]*stopped a statement that took too long[^\n]*$"),
            ):
                change(2)
        theirs.push(3)
    assert list(queue) == [1, 3]


def test_a_session_that_the_server_ends_for_idling_is_replaced(
    location: str, with_settings: WithSettings, postgres_admin: psycopg.Connection[Any]
) -> None:
    def is_alive(backend: int) -> bool:
        return bool(postgres_admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchall())

    with open_store(with_settings(location, idle_session_timeout="50ms")) as store:
        queue = store.session("s").xcom["q"]
        for number in range(3):
            queue.push(number)
            backend = store.database.operate(server_session)
            wait_until(lambda backend=backend: not is_alive(backend), lambda: "the server does not end it")  # type: ignore[misc]
            queue.extend([number])
        assert list(queue) == [0, 0, 1, 1, 2, 2]


@pytest.mark.promise(number=8)
def test_a_role_that_may_only_read(
    location: str,
    new_postgres: str,
    with_settings: WithSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its sessions are read-only by default, as they are on a standby."""
    with open_store(location) as store:
        fill_with_history(store)
    command = Commands(with_settings(location, default_transaction_read_only="on"), monkeypatch, capsys.readouterr)
    for args in (["list"], ["show", "etl"], ["log", "etl"], ["export"], ["doctor"], ["db", "status"]):
        command.ok(*args)
    for args in (["push", "inbox", "q", "1"], ["pop", "inbox", "files"], ["rm", "inbox"], ["pin", "etl"]):
        result = command(*args)
        assert result.code == 69
        assert result.err.count("\n") == 1
        assert "does not allow this" in result.err
        assert "in a read-only transaction" in result.err


@pytest.mark.promise(number=8)
@pytest.mark.unpooled
def test_a_role_that_may_have_one_connection(
    location: str, with_settings: WithSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """The lease is then renewed over the connection of the tasks."""
    with open_store(with_settings(location, "LOGIN CONNECTION LIMIT 1")) as store, caplog.at_level(logging.ERROR):
        before = lease.duration_in_micros() / 1e6
        try:
            with store.session("flow").run() as run, run.attempt("load"):
                seen: set[int] = set()

                def is_renewed() -> bool:
                    lease.set_duration(9.0)  # renews all leases now; a connection is awaited for a third of it
                    store.session("flow").xcom["q"].push(len(seen))
                    rows = store.database.operate(lambda t: t.driver.execute("SELECT lease_expires_at FROM zrb_run"))
                    seen.add(rows.fetchone()[0])
                    return len(seen) > 5

                wait_until(is_renewed, lambda: "the lease is not renewed")
                assert store.session("flow").status == "running"
        finally:
            lease.set_duration(before)
        assert store.session("flow").status == "completed"


@pytest.mark.unpooled
def test_no_connection_left_is_one_clear_line(
    location: str, with_settings: WithSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = with_settings(location, "LOGIN CONNECTION LIMIT 1")
    with open_store(url) as store:
        store.session("s").xcom["q"].push(1)
        monkeypatch.setattr(Database, "timeout", 0.2)
        with pytest.raises(StoreUnavailable, match=r"^[^\n]*: [^\n]*too many connections for role[^\n]*$"):
            open_store(url)
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    open_store(url).close()


@pytest.mark.unpooled
def test_a_role_that_may_not_log_in_is_one_clear_line_at_once(
    location: str, with_settings: WithSettings, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"^[^\n]*is not permitted to log in$"):
        open_store(with_settings(location, "NOLOGIN"))
    assert time.monotonic() - began < DEADLINE / 2
