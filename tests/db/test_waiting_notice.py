"""While a store cannot be used, a command says after 2 s that it waits, and for how long; readers give up after 5 s."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.postgres import DEADLINE, Server, private_server, stopped_server, wait_until
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db import migrate, patience
from zrb_store.db.clock import clock
from zrb_store.db.dialect import connecting, watchdog
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.db.transaction import Transaction

ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("location", ["postgresql"], indirect=True)
ROOT = Path(__file__).resolve().parents[2]


class Command:
    """A running `zrb-store`, the lines of its stderr, and when each came."""

    def __init__(self, location: str, *args: str) -> None:
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self._popen = subprocess.Popen(
            [sys.executable, "-c", "from zrb_store.cli import main; main()", *args],
            env={**os.environ, "ZRB_STORE_URL": location, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            self.lines.append((time.monotonic() - self.began, line.rstrip()))

    def says(self, number: int) -> str:
        """Wait for a line, and return it."""
        wait_until(lambda: len(self.lines) > number, lambda: str(self.lines))
        return self.lines[number][1]

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    def end(self) -> int:
        """Wait until it ends, and return its exit code."""
        code = self._popen.wait(DEADLINE)
        self._reader.join()
        return code

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self.end()
        assert self._popen.stderr is not None
        self._popen.stderr.close()


@contextlib.contextmanager
def running(location: str, *args: str) -> Iterator[Command]:
    command = Command(location, *args)
    try:
        yield command
    finally:
        command.kill()


def check_notice(command: Command, why: str, least: int, most: int) -> None:
    """The first line says that the command waits, not before 2 s, and for how long."""
    line = command.says(0)
    found = re.fullmatch(rf"zrb-store: the store \S+ {why}: waiting up to (\d+) s more", line)
    assert found, line
    assert least <= int(found[1]) <= most
    assert command.lines[0][0] >= 2.0


def check_gives_up(command: Command, why: str) -> None:
    """A reader waits for 5 s, and ends with one line."""
    assert command.end() == 69
    assert len(command.lines) == 2, command.lines
    (_, notice), (after, error) = command.lines
    assert "waiting up to" in notice
    assert re.match(rf"zrb-store: the store \S+ {why}", error), error
    assert after >= 4.9


@pytest.mark.promise(number=8)
@pytest.mark.slow
@ON_SQLITE
def test_a_command_says_once_that_the_file_is_locked_and_once_that_it_is_free(store: Store, location: str) -> None:
    with closing(sqlite3.connect(location, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with running(location, "push", "s", "q", "1") as command:
            check_notice(command, "is locked by another program", 4, 28)
            other.execute("ROLLBACK")
            assert re.fullmatch(r"zrb-store: the store \S+ can be used again, after \d+ s", command.says(1))
            assert command.end() == 0
            assert len(command.lines) == 2
    assert list(store.session("s").xcom["q"]) == [1]


@pytest.mark.slow
@ON_SQLITE
def test_a_file_that_even_readers_cannot_use(location: str) -> None:
    with closing(sqlite3.connect(location, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("COMMIT")
        with running(location, "list") as command:
            check_notice(command, "is locked by another program", 0, 3)
            check_gives_up(command, "is locked by another program")


@pytest.mark.promise(number=8)
@pytest.mark.slow
def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    location = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with running(location, "list") as reader, running(location, "push", "s", "q", "1") as writer:
        check_notice(writer, "cannot be reached", 4, 28)
        check_notice(reader, "cannot be reached", 0, 3)
        check_gives_up(reader, "cannot be reached")


@pytest.mark.promise(number=8)
@pytest.mark.slow
def test_a_host_that_does_not_answer() -> None:
    """It takes connections, and says nothing."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    address = "::" if family == socket.AF_INET6 else "localhost"
    with socket.create_server((address, 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as silent:
        location = f"postgresql://postgres@localhost:{silent.getsockname()[1]}/postgres"
        with running(location, "db", "status") as reader, running(location, "push", "s", "q", "1") as writer:
            check_notice(writer, "cannot be reached", 4, 28)
            check_notice(reader, "cannot be reached", 0, 3)
            check_gives_up(reader, "cannot be reached")
            assert not writer.ended(), "a reader waits as long as a writer"


@pytest.mark.slow
def test_a_server_that_stops_amid_an_operation(caplog: pytest.LogCaptureFixture) -> None:
    with private_server() as server:
        open_store(server.url).close()
        with open_store(server.url, read_only=True) as store, stopped_server(server):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                store.sessions()
            assert time.monotonic() - began >= 4.9
        notice, gave_up = caplog.messages
        assert re.fullmatch(r"the store \S+ cannot be reached: waiting up to [0-3] s more", notice)
        assert "its connection is given up" in gave_up


@ON_POSTGRESQL
@pytest.mark.parametrize("read_only", [True, False])
def test_the_log_says_once_that_a_table_is_locked(
    location: str,
    postgres_admin: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    read_only: bool,
) -> None:
    """The server answers, so that it is asked why the statement takes so long."""
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.05)
    schema = location.rpartition("%3D")[2]
    with open_store(location, read_only=read_only) as store:
        store.sessions()
        store.database.timeout = 3.0
        with postgres_admin.transaction():
            postgres_admin.execute(f"LOCK TABLE {schema}.zrb_session IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable, match="is locked by another program"):
                store.sessions()
        assert len(caplog.messages) == 1, caplog.messages
        (message,) = caplog.messages
        assert re.fullmatch(r"the store \S+ is locked by another program: waiting up to [012] s more", message)
        caplog.clear()
        store.sessions()
    assert caplog.messages == []


@ON_POSTGRESQL
def test_a_slow_statement_is_no_outage(
    location: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(patience, "WARN_AFTER", DEADLINE)  # a slow machine is none either
    monkeypatch.setattr(watchdog, "_ANSWER_WITHIN", DEADLINE - 0.1)
    asked: list[float] = []
    within: list[float] = []
    if_slow = patience.Notice.if_slow

    def noted(notice: patience.Notice, why: str, said_at: float, *times: float) -> Any:
        within.append(said_at - clock.monotonic())
        return if_slow(notice, why, said_at, *times)

    connect = connecting.connect

    def counting(*args: Any) -> Any:
        asked.append(args[1])
        return connect(*args)

    monkeypatch.setattr(watchdog, "connect", counting)
    with open_store(location) as store:
        monkeypatch.setattr(patience.Notice, "if_slow", noted)
        store.database.transact(lambda t: t.driver.execute("SELECT pg_sleep(2)"))
    assert asked
    # The server has the whole time to take another connection, however long the statement has taken by then.
    assert min(within) > DEADLINE - 0.1
    assert caplog.messages == []


def test_an_operation_that_was_slow_before_it_failed_is_no_outage(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The store was asked once, and answers when it is asked again."""

    def busy_at_first(transaction: Transaction) -> None:
        if clock.monotonic() < began + 5:
            clock.turn(10)
            raise error

    error: Exception = psycopg.OperationalError("gone")
    if store.database.dialect_name == "sqlite":
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    began = clock.monotonic()
    store.database.transact(busy_at_first)
    assert caplog.messages == []


@ON_SQLITE
def test_a_reader_that_succeeds_meanwhile_does_not_call_the_store_usable(
    store: Store, location: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "WARN_AFTER", 0.1)
    with closing(sqlite3.connect(location, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        push = threading.Thread(target=store.session("s").xcom["q"].push, args=[1])
        push.start()
        wait_until(lambda: len(caplog.messages) == 1, lambda: str(caplog.messages))
        for _ in range(20):
            store.sessions()
        assert len(caplog.messages) == 1
        other.execute("ROLLBACK")
        push.join(DEADLINE)
    assert ["waiting up to" in line for line in caplog.messages] == [True, False]


def test_an_outage_after_one_that_was_not_survived_is_told_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = patience.Notice("x.db")
    monkeypatch.setattr(clock, "monotonic", lambda: 100.0)
    notice.give(patience.LOCKED, 100, 101)
    notice.give(patience.LOCKED, 100, 110)
    monkeypatch.setattr(clock, "monotonic", lambda: 101.0)
    notice.give(patience.LOCKED, 100, 101)
    notice.give(patience.LOCKED, 101, 111)
    assert [line.rpartition("to ")[2] for line in caplog.messages] == ["1 s more", "10 s more"]


def test_readers_wait_less_than_writers(location: str) -> None:
    with open_store(location) as writer, open_store(location, read_only=True) as reader:
        assert (writer.database.timeout, reader.database.timeout) == (30.0, 5.0)
        assert Database.timeout == 30.0


def test_an_upgrade_that_waits_for_another_one(
    new_location: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who opens a store that another process is just making waits for it."""
    monkeypatch.setattr(patience, "WARN_AFTER", 0.2)
    entered, leave = threading.Event(), threading.Event()
    upgrade = migrate.alembic_config

    def slow(*args: Any) -> Any:
        if not entered.is_set():
            entered.set()
            leave.wait(DEADLINE)
        return upgrade(*args)

    monkeypatch.setattr(migrate, "alembic_config", slow)
    monkeypatch.setattr(migrate, "_alembic_lock", contextlib.nullcontext())
    first = threading.Thread(target=lambda: migrate.upgrade(migrate.engine_of(store_url(new_location))))
    second = threading.Thread(target=lambda: open_store(new_location).close())
    first.start()
    assert entered.wait(DEADLINE)
    second.start()
    locked = re.compile(r"is locked by another program: waiting up to \d+ s more")
    # On a slow machine a connection takes longer than 0.2 s, too, and that is said first.
    wait_until(lambda: any(map(locked.search, caplog.messages)), lambda: str(caplog.messages))
    leave.set()
    first.join(DEADLINE)
    second.join(DEADLINE)
    said = next(place for place, message in enumerate(caplog.messages) if locked.search(message))
    assert "can be used again" in caplog.messages[said + 1]


def test_the_time_for_a_connection_is_shared_by_the_addresses_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: [host] * (2 if host == "two" else 1))
    for host, count in (("two", 2), ("one", 1), ("two,one", 3), ("/tmp/socket", 1), ("", 1)):
        assert connecting.addresses(host) == count


def test_a_connection_takes_no_longer_than_somebody_waits(
    monkeypatch: pytest.MonkeyPatch, postgres_server: Server
) -> None:
    seen: list[int] = []

    def refuse(**parameters: Any) -> None:
        seen.append(parameters["connect_timeout"])
        raise psycopg.OperationalError("refused by this test")

    monkeypatch.setattr(psycopg, "connect", refuse)
    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(lambda cls, *_, **more: refuse(**more)))
    monkeypatch.setattr(Database, "timeout", 0.0)
    with pytest.raises(StoreUnavailable, match="refused by this test"):
        open_store(postgres_server.url)
    monkeypatch.setattr(Database, "timeout", 4.0)
    with pytest.raises(StoreUnavailable, match="refused by this test"):
        open_store(postgres_server.url)
    assert seen[0] == 2
    assert seen[1] == 4
