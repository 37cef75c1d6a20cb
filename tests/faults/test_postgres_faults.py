"""What a PostgreSQL server, or a program between it and its clients, can do: one clear error, or another attempt."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support import postgres
from tests.support.postgres import (
    DEADLINE,
    Server,
    private_server,
    server_session,
    stopped_server,
    wait_until,
    waits_for_lock,
)
from tests.support.proxy import proxy
from tests.support.rows import stop_renewals
from zrb_store import InvalidArgument, Store, StoreUnavailable, ZrbStoreError, open_store
from zrb_store.db.dialect import watchdog
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import attempts, takes, values
from zrb_store.queries.clock import draw

pytestmark = pytest.mark.parametrize("location", ["postgresql"], indirect=True)


def test_a_first_connection_cut_anywhere_is_an_unavailable_store(
    location: str, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes the queries that SQLAlchemy sends to a server that it does not know yet."""
    monkeypatch.setattr(Database, "timeout", 0.0)
    with proxy(postgres_server.folder) as between:
        url = make_url(location).update_query_dict({"host": str(between.folder)}).render_as_string(hide_password=False)
        open_store(url).close()
        whole = between.passed
        assert whole > 500
        for between.cut_after in range(0, whole - 10, 13):
            with pytest.raises(StoreUnavailable, match=r"^[^\n]* cannot be reached: [^\n]*$"):
                open_store(url)


def test_a_connection_that_the_server_ended_for_idling_during_a_change(
    store: Store, location: str, postgres_admin: psycopg.Connection[Any], with_settings: Callable[..., str]
) -> None:
    """The change was rolled back by the server, and is made again over a new connection."""
    store.session("s").xcom["q"].extend([1, 2])
    backends: list[int] = []

    def work(transaction: Transaction) -> tuple[int, str] | None:
        taken = takes.take_whole(transaction, queue_id, None)
        backends.append(server_session(transaction))
        if len(backends) == 1:
            wait_until(lambda: not alive(postgres_admin, backends[0]), lambda: "the server does not end it")
        draw(transaction)
        return taken

    with open_store(with_settings(location, idle_in_transaction_session_timeout="100ms")) as other:
        queue_id = other.session("s").xcom.queue_id("q")
        assert other.database.transact(work) == (1, "1")
    assert len(backends) == 2
    assert list(store.session("s").xcom["q"]) == [2]


def alive(admin: psycopg.Connection[Any], backend: int) -> bool:
    return admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone() is not None


def test_a_statement_timeout_is_called_one(location: str, with_settings: Callable[..., str]) -> None:
    with (
        open_store(with_settings(location, statement_timeout="50ms")) as store,
        pytest.raises(StoreUnavailable, match="stopped a statement that took too long: canceling statement due to"),
    ):
        store.database.transact(lambda t: t.driver.execute("SELECT pg_sleep(60)"))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("53200", "is out of space or connections: out of order"),  # out_of_memory
        ("XX001", "reports an error of its own: out of order"),  # data_corrupted
        ("42501", "does not allow this: out of order"),  # insufficient_privilege
    ],
)
def test_errors_of_the_server_s_own_are_told_apart(store: Store, state: str, says: str) -> None:
    raises = f"DO $$ BEGIN RAISE EXCEPTION 'out of order' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(StoreUnavailable, match=says):
        store.database.transact(lambda t: t.driver.execute(raises))


def test_rows_that_contradict_each_other_are_refused_at_once(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Duplicate rows are retried only for two simultaneous attempts of a task. psycopg prints no warning to stderr."""
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    queue = store.session("s").xcom["q"]
    queue.push(1)
    queue_id = store.session("s").xcom.queue_id("q")

    def twice(transaction: Transaction) -> None:
        columns: dict[str, int | str] = {
            "queue_id": queue_id,
            "seq": 1,
            "type": "int",
            "size": 1,
            "data": "1",
            "pushed_at": 0,
            "pushed_tick": 0,
        }
        row = tuple((columns | {"failed_deliveries": 0, "plain": False}).get(name) for name in values._INSERTED)
        transaction.execute_many(values._insert(), values._INSERTED, [row, row])

    began = time.monotonic()
    with pytest.raises(ZrbStoreError, match="refuses rows that contradict each other: duplicate key value"):
        store.database.transact(twice)
    assert time.monotonic() - began < DEADLINE / 2
    assert capfd.readouterr().err == ""
    assert list(queue) == [1]


@pytest.mark.parametrize("option", ["foo=bar", "connect_timeout=soon", "sslmode=maybe"])
def test_an_unknown_option_of_the_url(location: str, option: str) -> None:
    with pytest.raises((InvalidArgument, StoreUnavailable), match=option.split("=")[0]) as caught:
        open_store(f"{location}&{option}")
    assert "\n" not in str(caught.value)


def test_no_ssl_where_it_is_required(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting would not help."""
    monkeypatch.setattr(Database, "timeout", DEADLINE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"listen_addresses": "127.0.0.1", "port": str(port)}
    with mock.patch.dict(postgres.SETTINGS, settings), tcp_server(port):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not support SSL"):
            open_store(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=require")
        assert time.monotonic() - began < DEADLINE / 2
        open_store(f"postgresql://postgres@127.0.0.1:{port}/postgres").close()


@contextlib.contextmanager
def tcp_server(port: int) -> Iterator[None]:
    def connect(self: Server, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname=database, autocommit=True)

    with mock.patch.object(Server, "connect", connect), private_server():
        yield


@pytest.mark.promise(number=8)
@pytest.mark.parametrize(
    "operation", ["push", *(pytest.param(one, marks=pytest.mark.long) for one in ("extend", "read"))]
)
def test_a_server_that_stands_still_is_not_waited_for_without_end(
    location: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped server (SIGSTOP) keeps its connections but answers nothing. Operations fail, and work again later."""
    monkeypatch.setattr(watchdog, "ASK_AFTER", 0.2)
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.1)
    with private_server() as server, open_store(f"{server.url}&connect_timeout=2") as store:
        queue = store.session("s").xcom["q"]
        queue.push(1)
        store.database.timeout = 1.0
        operations: dict[str, Callable[[], object]] = {
            "push": lambda: queue.push(2),
            "extend": lambda: queue.extend([2]),
            "read": lambda: list(queue),
        }
        with stopped_server(server), pytest.raises(StoreUnavailable, match="cannot be reached"):
            operations[operation]()
        store.database.timeout = DEADLINE
        wait_until(lambda: 3 in push_and_list(queue), lambda: "it does not go on")


def push_and_list(queue: Any) -> list[int]:
    with contextlib.suppress(StoreUnavailable):
        queue.push(3)
    return list(queue)


@pytest.mark.parametrize("how", [{"read_only": True}, {}, {"durability": "full"}])
def test_nothing_is_set_on_a_server_session_beyond_a_transaction(
    location: str, store: Store, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a connection pooler, the same server session serves other programs next."""
    store.session("s").xcom["q"].extend([1, 2, 3])
    monkeypatch.setenv("ZRB_STORE_DURABILITY", str(how.get("durability", "normal")))
    with open_store(location, read_only=how.get("read_only", False)) as used:
        queue = used.session("s").xcom["q"]
        assert list(queue) == [1, 2, 3]
        used.sessions()
        if not how.get("read_only"):
            queue.push(4)
            queue.rotate()
            with used.session("flow").run() as run:
                run.task("load", queue.pop)
        driver = used.database._connection().driver
        changed = driver.execute(  # a pooler sets these for the client that it serves
            "SELECT name FROM pg_settings WHERE source = 'session' "
            "AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'search_path')"
        )
        assert changed.fetchall() == []
        assert driver.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ).fetchone() == (0,)


def test_full_durability_where_the_server_does_not_wait_for_its_disk(
    location: str, monkeypatch: pytest.MonkeyPatch, with_settings: Callable[..., str]
) -> None:
    monkeypatch.setenv("ZRB_STORE_DURABILITY", "full")
    monkeypatch.setattr(takes, "_SLOW", math.inf)  # a pop that takes long would be followed by another transaction
    with open_store(with_settings(location, synchronous_commit="off")) as store:
        seen = []
        begin = store.database.dialect.begin

        def watched(driver: Any) -> Any:
            begun = begin(driver)
            seen.append(driver.execute("SHOW synchronous_commit").fetchone()[0])
            return begun

        store.database.dialect.begin = watched  # type: ignore[method-assign]
        queue = store.session("s").xcom["q"]
        queue.push(1)
        seen.clear()
        queue.push(2)
        assert queue.pop() == 1
        queue.rotate()
        assert seen == ["on"] * 3


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_take_over_sees_what_it_waited_for_whatever_the_default_isolation_is(
    location: str,
    store: Store,
    level: str,
    postgres_admin: psycopg.Connection[Any],
    with_settings: Callable[..., str],
) -> None:
    """A lost attempt's push that commits while the take-over waits for it is retracted like any other."""
    queue = store.session("shared").xcom["q"]
    queue.push("before")
    queue_id = store.session("shared").xcom.queue_id("q")
    attempt = store.session("flow").run().start().begin("load")
    stop_renewals(store)
    store.database.transact(lambda t: t.driver.execute("UPDATE zrb_run SET lease_expires_at = 0"))
    pushed, commit = threading.Event(), threading.Event()

    def push(transaction: Transaction) -> None:
        assert attempts.may_write(transaction, attempt.id)
        values.push_many(transaction, queue_id, [values.NewValue(_encoded("late"))], attempt.id, draw(transaction))
        pushed.set()
        assert commit.wait(DEADLINE)

    pusher = threading.Thread(target=store.database.transact, args=(push,))
    pusher.start()
    assert pushed.wait(DEADLINE)
    with open_store(with_settings(location, default_transaction_isolation=level)) as other:
        taker = threading.Thread(target=lambda: other.session("flow").run().start())
        taker.start()
        wait_until(
            lambda: waits_for_lock(postgres_admin, other.database.url),
            lambda: "the take-over does not wait for the push",
        )
        commit.set()
        for thread in (pusher, taker):
            thread.join(DEADLINE)
            assert not thread.is_alive()
    assert list(queue) == ["before"]


def _encoded(value: object) -> Any:
    from zrb_store import codec

    return codec.encode(value)


def test_completing_and_a_childs_push_to_the_same_queue_do_not_wait_for_each_other(
    location: str, store: Store, postgres_admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lock the attempt first and the queue second."""
    from zrb_store.queries import attempts

    attempt = store.session("flow").run().start().begin("load")
    attempt.xcom["load"].push("first")
    complete = attempts.complete
    deadlocks = 0
    is_busy = store.database.dialect.is_busy

    def counted(error: BaseException) -> bool:
        nonlocal deadlocks
        deadlocks += getattr(error, "sqlstate", None) == "40P01"
        return is_busy(error)

    with open_store(location) as theirs:
        theirs.database.dialect.is_busy = counted  # type: ignore[method-assign]
        store.database.dialect.is_busy = counted  # type: ignore[method-assign]
        queue_id = theirs.session("flow").xcom.queue_id("load")
        child = threading.Thread(target=values.push, args=(theirs.database, queue_id, _encoded("child"), attempt.id))

        def complete_while_the_child_waits(*args: Any, **kwargs: Any) -> bool:
            child.start()
            wait_until(
                lambda: waits_for_lock(postgres_admin, theirs.database.url),
                lambda: "the child does not wait",
            )
            return complete(*args, **kwargs)

        monkeypatch.setattr(attempts, "complete", complete_while_the_child_waits)
        attempt.complete("result")
        child.join(DEADLINE)
        assert not child.is_alive()
    assert deadlocks == 0
    assert list(store.session("flow").xcom["load"]) == ["first", "result"]
