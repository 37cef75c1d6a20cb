"""A store behind a real PgBouncer in transaction mode, where each transaction may get another server session.

`make test-pooled` runs all tests of PostgreSQL through one; these look at what is special about it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.commands import Commands
from tests.support.history import fill_with_history
from tests.support.pgbouncer import Pooler, pooler
from tests.support.postgres import DEADLINE, Server, private_server, stopped_server, wait_until, waits_for_lock
from zrb_store import Store, StoreUnavailable, open_store, step
from zrb_store.db.dialect import connecting, postgresql, watchdog
from zrb_store.db.dialect.postgresql import PostgreSQL
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.runtime.waiting import QueueWait

pytestmark = pytest.mark.parametrize("location", ["postgresql"], indirect=True)

# What a server session may keep when a transaction has ended.
SETTINGS = "SELECT name, setting FROM pg_settings WHERE source = 'session'"
STATEMENTS = "SELECT name FROM pg_prepared_statements"
ADVISORY_LOCKS = "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
TEMPORARY_TABLES = "SELECT relname FROM pg_class WHERE pg_my_temp_schema() = relnamespace"
CURSORS = "SELECT name FROM pg_cursors"
CHANNELS = "SELECT pg_listening_channels()"
WHAT_STAYS = (SETTINGS, STATEMENTS, ADVISORY_LOCKS, TEMPORARY_TABLES, CURSORS, CHANNELS)


@pytest.fixture(params=["0", "200"])
def prepared(request: pytest.FixtureRequest) -> str:
    """`max_prepared_statements`: without any, or with as many as PgBouncer allows by default."""
    return str(request.param)


@pytest.fixture
def narrow(postgres_server: Server, prepared: str) -> Iterator[Pooler]:
    """A PgBouncer whose clients all share one server session."""
    with pooler(postgres_server, max_prepared_statements=prepared, default_pool_size="1") as started:
        yield started


def behind(pool: Pooler, location: str) -> str:
    """Return the URL of a store, through a PgBouncer."""
    return make_url(location).update_query_dict({"host": str(pool.folder)}).render_as_string(hide_password=False)


def search_path(location: str) -> str:
    return str(make_url(location).query["options"])


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_neighbour_finds_its_server_session_as_it_was(
    narrow: Pooler,
    location: str,
    durability: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ZRB_STORE_DURABILITY", durability)
    url = behind(narrow, location)
    command = Commands(url, monkeypatch, capsys.readouterr)
    with narrow.connect(options=search_path(location)) as neighbour:

        def what_stays() -> tuple[int, list[Any]]:
            (pid,) = neighbour.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            return pid, [neighbour.execute(sql).fetchall() for sql in WHAT_STAYS]

        before = what_stays()
        with open_store(url) as store:
            fill_with_history(store)
            store.session("inbox").xcom["many"].extend(range(2000))
        for args in (
            ["list"],
            ["show", "etl"],
            ["log", "etl"],
            ["export"],
            ["doctor"],
            ["db", "status"],
            ["db", "upgrade"],
            ["push", "inbox", "q", "1"],
            ["pop", "inbox", "q"],
            ["prune", "--older-than", "0s"],
        ):
            command.ok(*args)
        assert what_stays() == before
        neighbour.execute("CREATE TABLE neighbours (id int); INSERT INTO neighbours VALUES (1); DROP TABLE neighbours")


@pytest.mark.promise(number=8)
def test_two_clients_repeat_every_statement(narrow: Pooler, location: str) -> None:
    """From the fifth time psycopg would prepare a statement, in a session that the other client then uses."""
    url = behind(narrow, location)
    with open_store(url) as one, open_store(url) as two:
        for number in range(20):
            for name, store in (("one", one), ("two", two)):
                store.session("inbox").xcom["q"].push(number)
                assert store.session("inbox").xcom["q"].pop() == number
                assert not QueueWait(store.database, "inbox", "q", 0).has_value()
                with store.session(f"{name}-{number}").run() as run, run.attempt("load"):
                    assert step("page", lambda: 1) == 1
        assert one.database._connection().driver.prepare_threshold is None


@pytest.mark.parametrize("operation", ["push", "change", "read"])
def test_a_pooler_that_is_not_noticed_at_first(
    narrow: Pooler, location: str, operation: str, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the first statement that is not prepared, or prepared already, tells it, and is repeated."""
    monkeypatch.setattr(postgresql, "is_pooled", lambda *_: False)
    url = behind(narrow, location)
    dropped: list[Database] = []
    drop = Database._drop

    def counted(database: Database) -> None:
        dropped.append(database)
        drop(database)

    monkeypatch.setattr(Database, "_drop", counted)
    with open_store(url) as store, open_store(url) as other:
        store.database.timeout = other.database.timeout = 0.0
        done = 0
        for _ in range(15):
            for one in (store, other):
                queue = one.session("inbox").xcom["q"]
                if operation == "push":
                    queue.push(done)
                elif operation == "change":
                    queue.extend([done])
                else:
                    assert len(queue) == 0
                    done -= 1
                done += 1
        monkeypatch.undo()
        assert sorted(store.session("inbox").xcom["q"]) == list(range(done))
    if prepared == "0":
        assert 1 <= len(dropped) <= 2


def test_a_lock_of_another_program_is_not_waited_for_without_end(
    postgres_server: Server, location: str, postgres_admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler does not tell which server session waits, and yet that statement is cancelled and no other."""
    monkeypatch.setattr(PostgreSQL, "lock_timeout", "50ms")
    monkeypatch.setattr(watchdog, "ASK_AFTER", 0.1)
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.05)
    schema = location.rpartition("%3D")[2]
    with pooler(postgres_server, default_pool_size="2") as wide, open_store(behind(wide, location)) as store:
        queue = store.session("s").xcom["100%_é'q"]
        queue.push(1)
        store.database.timeout = 0.3
        changes: dict[str, Callable[[], object]] = {
            f"SELECT 1 FROM {schema}.zrb_queue FOR UPDATE": lambda: queue.push(2),
            f"LOCK TABLE {schema}.zrb_value IN ACCESS EXCLUSIVE MODE": lambda: list(queue),
        }
        for lock, change in changes.items():
            with postgres_admin.transaction():
                postgres_admin.execute(lock.encode())
                with pytest.raises(StoreUnavailable, match="is locked"):
                    change()
        queue.push(3)
        assert list(queue) == [1, 3]


def test_a_statement_that_takes_long_is_not_taken_for_one_that_waits(
    postgres_server: Server, location: str, monkeypatch: pytest.MonkeyPatch, postgres_admin: psycopg.Connection[Any]
) -> None:
    """Not even while another statement of the same user waits for a lock."""
    monkeypatch.setattr(watchdog, "ASK_AFTER", 0.1)
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.05)
    asked: list[tuple[str, bool]] = []
    is_locked_out = watchdog._is_locked_out

    def watched(statement: Any, other: Any, *, cancel: bool) -> bool:
        asked.append((statement.sql, is_locked_out(statement, other, cancel=cancel)))
        return asked[-1][1]

    monkeypatch.setattr(watchdog, "_is_locked_out", watched)
    schema = location.rpartition("%3D")[2]
    with (
        pooler(postgres_server, default_pool_size="5") as wide,
        open_store(behind(wide, location)) as waits,
        open_store(behind(wide, location)) as store,
    ):
        waits.session("s").xcom["q"].push(1)
        pusher = threading.Thread(target=waits.session("s").xcom["q"].push, args=(2,))
        with postgres_admin.transaction():
            postgres_admin.execute(f"SELECT 1 FROM {schema}.zrb_queue FOR UPDATE".encode())
            pusher.start()
            wait_until(lambda: waits_for_lock(postgres_admin, waits.database.url), lambda: "it does not wait")

            def slow(transaction: Transaction) -> int:
                transaction.sql = "SELECT zrb_value"
                transaction.sent += 1
                deadline = time.monotonic() + DEADLINE
                while ("SELECT zrb_value", False) not in asked and time.monotonic() < deadline:
                    transaction.driver.execute("SELECT pg_sleep(0.5)")
                return int(transaction.driver.execute("SELECT 7").fetchone()[0])

            assert store.database.operate(slow) == 7
        pusher.join(DEADLINE)
    assert ("SELECT zrb_value", False) in asked
    assert any(cancelled for sql, cancelled in asked if sql.startswith("WITH"))


@pytest.mark.promise(number=8)
@pytest.mark.parametrize(
    "operation", ["push", *(pytest.param(one, marks=pytest.mark.long) for one in ("extend", "read", "open"))]
)
def test_a_server_that_stands_still_behind_it_is_not_waited_for_without_end(
    location: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pooler goes on accepting connections."""
    monkeypatch.setattr(watchdog, "ASK_AFTER", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(connecting, "SECONDS", 1.0)
    with private_server() as server, pooler(server) as pool, open_store(pool.url()) as store:
        queue = store.session("s").xcom["q"]
        queue.push(1)
        store.database.timeout = 1.0
        monkeypatch.setattr(Database, "timeout", 1.0)
        operations: dict[str, Callable[[], object]] = {
            "push": lambda: queue.push(2),
            "extend": lambda: queue.extend([2]),
            "read": lambda: list(queue),
            "open": lambda: open_store(pool.url()),
        }
        with stopped_server(server), pytest.raises(StoreUnavailable, match="cannot be reached"):
            operations[operation]()
        store.database.timeout = DEADLINE
        queue.push(3)
        assert list(queue)[-1] == 3


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("what", ["server", "pooler"])
def test_a_restart_is_survived(location: str, what: str) -> None:
    with (
        private_server() as server,
        pooler(server, server_login_retry="0.2") as pool,
        open_store(pool.url()) as store,
    ):
        queue = store.session("s").xcom["q"]
        with store.session("flow").run() as run, run.attempt("load") as attempt:
            queue.push(1)
            stopped: Any = server if what == "server" else pool
            stopped.stop()
            starter = threading.Thread(target=stopped.start)
            starter.start()
            attempt.complete(queue.pop())
            starter.join(DEADLINE)
        assert store.session("flow").status == "completed"


def test_a_pool_without_a_free_session_is_one_clear_line(location: str, postgres_server: Server) -> None:
    settings = {"default_pool_size": "1", "query_wait_timeout": "1"}
    with pooler(postgres_server, **settings) as pool, open_store(behind(pool, location)) as store:
        queue = store.session("s").xcom["q"]
        store.database.timeout = 0.0
        with pool.connect(options=search_path(location)) as neighbour, neighbour.transaction():
            neighbour.execute("SELECT 1")
            with pytest.raises(StoreUnavailable, match=r"^[^\n]*query_wait_timeout[^\n]*$"):
                queue.push(1)
        wait_until(lambda: push(queue), lambda: "it does not go on")
        assert set(queue) == {2}


def push(queue: Any) -> bool:
    try:
        queue.push(2)
    except StoreUnavailable:
        return False
    return True


def test_a_pooler_with_too_many_clients_is_waited_for(
    location: str, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pooler(postgres_server, max_client_conn="1") as pool:
        neighbour = pool.connect()
        monkeypatch.setattr(Database, "timeout", 0.0)
        with pytest.raises(StoreUnavailable, match=r"^[^\n]*no more connections allowed \(max_client_conn\)$"):
            open_store(behind(pool, location))
        monkeypatch.setattr(Database, "timeout", DEADLINE)
        leaver = threading.Timer(0.3, neighbour.close)
        leaver.start()
        open_store(behind(pool, location)).close()
        leaver.join(DEADLINE)


def test_the_role_names_the_schema(location: str, postgres_server: Server, with_settings: Callable[..., str]) -> None:
    """Before PostgreSQL 18, PgBouncer cannot pass on a search_path."""
    url = make_url(with_settings(location, search_path=search_path(location).rpartition("=")[2]))
    with (
        pooler(postgres_server, track_extra_parameters="IntervalStyle") as pool,
        open_store(behind(pool, url.difference_update_query(["options"]).render_as_string())) as store,
    ):
        store.session("s").xcom["q"].push(1)
        with open_store(location) as same:
            assert list(same.session("s").xcom["q"]) == [1]


def test_a_setting_in_the_url_that_it_does_not_pass_on_is_one_clear_line(
    postgres_server: Server, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    began = time.monotonic()
    with (
        pooler(postgres_server) as pool,
        pytest.raises(StoreUnavailable, match=r"^[^\n]*unsupported startup parameter[^\n]*statement_timeout[^\n]*$"),
    ):
        open_store(behind(pool, location) + "%20-cstatement_timeout%3D1s")
    assert time.monotonic() - began < DEADLINE / 2


@pytest.mark.usefixtures("location")  # of which every test here takes that on PostgreSQL
def test_the_first_writer_creates_the_tables_through_it(narrow: Pooler, new_postgres: str) -> None:
    with open_store(behind(narrow, new_postgres)) as store:
        store.session("s").xcom["q"].push(1)
        assert _names(store) == ["s"]


def _names(store: Store) -> list[str]:
    return [record.name for record in store.sessions()]
