"""A connection to PostgreSQL is lost around a COMMIT: the change is made once, and whoever made it knows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.pgbouncer import pooler
from tests.support.postgres import DEADLINE, Server, private_server, server_session, wait_until, waits_for_lock
from tests.support.proxy import AFTER, BEFORE, MOMENTS, Interrupted, Proxy, cut, proxy, through
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db.dialect import postgresql, watchdog
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.show import open_session

pytestmark = [pytest.mark.parametrize("location", ["postgresql"], indirect=True), pytest.mark.unpooled]

UNKNOWN = r"^[^\n]*cannot be reached[^\n]*; the change may have been made: check before you repeat it$"


@pytest.fixture
def between(postgres_server: Server) -> Iterator[Proxy]:
    with proxy(postgres_server.folder) as started:
        yield started


def extend(store: Store) -> object:
    """Change a queue in a transaction of its own."""
    return store.session("s").xcom["q"].extend(["a", "b"])


def rotate(store: Store) -> object:
    store.session("inbox").xcom["q"].rotate(1)
    return None


def complete(store: Store) -> object:
    with store.session("flow").run() as run, run.attempt("load") as attempt:
        attempt.xcom["out"].push(1)
        attempt.complete("done")
    return None


CHANGES: dict[str, Callable[[Store], object]] = {"extend": extend, "rotate": rotate, "complete": complete}


def state(store: Store) -> dict[str, Any]:
    """Return what the changes leave behind."""
    names = {record.name for record in store.sessions()}
    queues = {"s": ["q"], "inbox": ["q"], "flow": ["load", "out"]}
    values = {(name, q): list(store.session(name).xcom[q]) for name in names for q in queues[name]}
    rows = store.database.operate(
        lambda t: t.driver.execute("SELECT task, number, status FROM zrb_attempt ORDER BY id").fetchall()
    )
    runs = store.database.operate(lambda t: t.driver.execute("SELECT status FROM zrb_run ORDER BY id").fetchall())
    return {"values": values, "attempts": rows, "runs": runs}


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_connection_that_is_cut_around_its_commit(between: Proxy, location: str, change: str, moment: str) -> None:
    """Every COMMIT of the change is cut, one in each try; what is there in the end is what is there without a cut."""
    with open_store(location) as direct:
        direct.session("inbox").xcom["q"].extend([1, 2, 3])
        CHANGES[change](direct)
        expected = state(direct)
        number = 0
        clear(direct)
        while cut_one(between, location, change, moment, number):
            assert state(direct) == expected
            clear(direct)
            number += 1
    assert number >= 1


def clear(store: Store) -> None:
    store.database.transact(lambda t: t.driver.execute("DELETE FROM zrb_session"))


def cut_one(between: Proxy, location: str, change: str, moment: str, number: int) -> bool:
    """Make a change while the COMMIT number `number` is cut. Return whether there were as many."""
    with open_store(through(between.folder, location)) as store:
        store.session("inbox").xcom["q"].extend([1, 2, 3])
        store.database.operate(lambda t: setattr(t.driver, "prepare_threshold", None))  # so that COMMIT is sent as text
        begin = store.database.dialect.begin
        begun = 0

        def counted(driver: Any) -> Any:
            nonlocal begun
            driver.prepare_threshold = None
            begun += 1
            if begun == number + 1:
                cut(between, moment)
            return begin(driver)

        store.database.dialect.begin = counted  # type: ignore[method-assign]
        CHANGES[change](store)
        assert between.cut_at is None
    return begun > number


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_session_that_is_ended_around_its_commit(
    location: str, store: Store, moment: str, postgres_admin: psycopg.Connection[Any]
) -> None:
    """The server ends its session, as an administrator does."""
    queue = store.session("s").xcom["q"]
    queue.push(0)
    tries = iter([True])

    class Ended:
        def __init__(self, driver: psycopg.Connection[Any]) -> None:
            self._driver = driver

        def __getattr__(self, name: str) -> Any:
            return getattr(self._driver, name)

        def execute(self, sql: str, *args: Any, **kwargs: Any) -> Any:
            if sql != "COMMIT" or not next(tries, False):
                return self._driver.execute(sql, *args, **kwargs)
            session = server_session(cast("Any", SimpleNamespace(driver=self._driver)))
            if moment == AFTER:
                self._driver.execute(sql)
            postgres_admin.execute("SELECT pg_terminate_backend(%s, 10000)", [session])
            return self._driver.execute("SELECT 1")  # of an ended session: what psycopg raises then

    transaction = store.database._connection()
    transaction.driver = Ended(transaction.driver)
    queue.extend([1, 2])
    assert list(queue) == [0, 1, 2]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("place", ["before the pooler", "behind the pooler"])
def test_a_connection_through_a_pooler(location: str, postgres_server: Server, place: str, moment: str) -> None:
    with proxy(postgres_server.folder) as behind:
        server = behind if place == "behind the pooler" else postgres_server
        with pooler(cast("Any", SimpleNamespace(folder=server.folder))) as pool, proxy(pool.folder) as before:
            between = before if place == "before the pooler" else behind
            with open_store(through(before.folder, location)) as store:
                queue = store.session("s").xcom["q"]
                for number in range(3):
                    cut(between, moment)
                    queue.extend([number, number])
                    assert between.cut_at is None
        with open_store(location) as direct:
            assert list(direct.session("s").xcom["q"]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("end", [pytest.param("stop", marks=pytest.mark.long), "kill"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_crashes_during_a_commit_is_not_believed(location: str, end: str, moment: str) -> None:
    """After a crash it may give the number of a lost transaction to another. A restart in good order is no crash."""

    def restart() -> None:
        getattr(server, end)()
        server.start()

    with (
        private_server() as server,
        proxy(server.folder) as between,
        open_store(through(between.folder, server.url)) as store,
    ):
        queue = store.session("s").xcom["q"]
        queue.push(0)
        transaction = store.database._connection()
        transaction.driver = Interrupted(transaction.driver, restart)
        cut(between, moment)
        if end == "stop":
            queue.extend([1, 2])
        else:
            with pytest.raises(StoreUnavailable, match=r"has since crashed.*; the change may have been made"):
                queue.extend([1, 2])
            assert list(queue) == ([0, 1, 2] if moment == AFTER else [0])
            queue.extend([1, 2] if moment == BEFORE else [])
        assert list(queue) == [0, 1, 2]


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
def test_rows_tell_what_became_of_runs_and_attempts_although_the_server_crashed(location: str, moment: str) -> None:
    """Only this process writes them, so that they need no number of a transaction."""

    def restart() -> None:
        server.kill()
        server.start()

    def lose() -> None:
        transaction = store.database._connection()
        transaction.driver = Interrupted(transaction.driver, restart)
        cut(between, moment)

    with (
        private_server() as server,
        proxy(server.folder) as between,
        open_store(through(between.folder, server.url)) as store,
    ):
        store.session("s").xcom["q"].push(0)
        lose()
        run = store.session("s").run().start()
        attempt = run.begin("load")
        lose()
        attempt.fail(ValueError())
        lose()
        attempt = run.begin("load")
        lose()
        attempt.complete(1)
        lose()
        run.end("completed")
        assert between.cut_at is None
        with open_session(store.database, "s") as document:
            assert [each.record.status for task in document.tasks for each in task.attempts] == [
                "failed",
                "completed",
            ]
            assert [run.status for run in document.runs] == ["completed"]
            assert {queue.now.name: queue.live for queue in document.queues}["load"] == [1]


def test_a_commit_that_has_not_ended_is_waited_for(
    location: str, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may not have noticed yet that its client is lost."""
    asked: list[str] = []
    was_committed: Callable[..., bool] = postgresql.PostgreSQL.was_committed

    class Driver:
        def __init__(self, driver: Any) -> None:
            self._driver = driver

        def __getattr__(self, name: str) -> Any:
            return getattr(self._driver, name)

        def execute(self, sql: str, *args: Any) -> Any:
            cursor = self._driver.execute(sql, *args)
            if sql != postgresql._STATUS or len(asked) >= 3:
                return cursor
            ((*others, status),) = cursor.fetchall()
            asked.append(status)
            return SimpleNamespace(fetchall=lambda: [(*others, "in progress")])

    monkeypatch.setattr(
        postgresql.PostgreSQL,
        "was_committed",
        lambda self, driver, ticket: was_committed(self, Driver(driver), ticket),
    )
    with open_store(through(between.folder, location)) as store:
        queue = store.session("s").xcom["q"]
        queue.push(0)
        cut(between, AFTER)
        queue.extend([1, 2])
        assert list(queue) == [0, 1, 2]
        assert len(asked) == 3


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("operation", ["push", "extend"])
def test_a_change_that_nobody_can_ask_about(
    location: str, store: Store, between: Proxy, moment: str, operation: str
) -> None:
    """A single statement commits itself, and the server stays away: one line says that it may have been made."""
    store.session("s").xcom["q"].push(0)
    with open_store(through(between.folder, location)) as lost:
        queue = lost.session("s").xcom["q"]
        lost.database.operate(lambda t: setattr(t.driver, "prepare_threshold", None))
        lost.database.timeout = 0.5
        if operation == "push":
            cut(between, moment, b"INSERT INTO zrb_value")
            with pytest.raises(StoreUnavailable, match=UNKNOWN):
                queue.push(1)
        else:
            cut(between, moment)
            server, between.server = between.server, "/nowhere"
            with pytest.raises(StoreUnavailable, match=UNKNOWN):
                queue.extend([1])
            between.server = server
    assert list(store.session("s").xcom["q"]) == ([0, 1] if moment == AFTER else [0])


def test_an_error_before_the_commit_does_not_say_that_it_may_have_been_made(location: str, between: Proxy) -> None:
    with open_store(through(between.folder, location)) as lost:
        queue = lost.session("s").xcom["q"]
        queue.push(0)
        lost.database.timeout = 0.2
        server, between.server = between.server, "/nowhere"
        cut(between, BEFORE, b"BEGIN")
        with pytest.raises(StoreUnavailable) as caught:
            queue.extend([1])
        between.server = server
    assert "may have been made" not in str(caught.value)


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("statement", [b"INSERT INTO zrb_attempt", b"UPDATE zrb_attempt"], ids=["begin", "complete"])
def test_a_step_whose_beginning_or_end_is_not_answered(
    location: str, between: Proxy, statement: bytes, moment: str
) -> None:
    """Each is a statement that commits itself. The step runs once, and the row tells which of the two it was."""
    ran: list[int] = []
    with open_store(through(between.folder, location)) as store, store.session("flow").run() as run:
        with run.attempt("load") as attempt:
            store.database._connection().driver.prepare_threshold = None  # so that it is sent as text
            if statement.startswith(b"INSERT"):
                cut(between, moment, statement)

            def page() -> int:
                ran.append(1)
                if statement.startswith(b"UPDATE"):
                    cut(between, moment, statement)
                return 7

            assert attempt.step("page", page) == 7
            assert between.cut_at is None
        assert ran == [1]
        found = store.database.operate(
            lambda t: t.driver.execute("SELECT task, number, status FROM zrb_attempt ORDER BY id").fetchall()
        )
    assert found == [("load", 1, "completed"), ("load/1", 1, "completed")]


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", ["step", "attempt", "after one that has not ended"])
def test_an_attempt_whose_beginning_is_not_answered(location: str, between: Proxy, way: str, moment: str) -> None:
    """Nor are the tasks noted. The rows tell, and the run goes on."""
    with open_store(through(between.folder, location)) as store, store.session("flow").run() as run:
        store.database._connection().driver.prepare_threshold = None  # so that it is sent as text
        cut(between, moment, b"UPDATE zrb_session")
        run.note_tasks({"load": "not started"})
        if way == "after one that has not ended":
            run.begin("load")
        store.database._connection().driver.prepare_threshold = None
        assert between.cut_at is None
        cut(between, moment, b"INSERT INTO zrb_attempt")
        if way == "step":
            assert run.task("load", lambda: 7) == 7
        else:
            with run.begin("load") as attempt:
                attempt.complete(7)
        assert between.cut_at is None
        found = store.database.operate(
            lambda t: t.driver.execute("SELECT number, status FROM zrb_attempt ORDER BY id").fetchall()
        )
    assert found == ([(1, "lost"), (2, "completed")] if way.startswith("after") else [(1, "completed")])


def test_a_statement_that_still_runs_is_ended_before_its_rows_are_asked(
    location: str, store: Store, postgres_admin: psycopg.Connection[Any]
) -> None:
    """The server has not noticed that its client is lost, because the statement waits for a lock."""
    url = make_url(location)
    locked, go_on = threading.Event(), threading.Event()

    def lock() -> None:
        def work(transaction: Transaction) -> None:
            transaction.driver.execute("SELECT 1 FROM zrb_attempt FOR UPDATE")
            locked.set()
            assert go_on.wait(DEADLINE)

        store.database.transact(work)

    with open_store(location) as other, other.session("flow").run() as run, run.attempt("load") as attempt:
        first = server_session(other.database._connection())
        with ThreadPoolExecutor() as threads:
            locking: list[Future[None]] = []

            def page() -> int:
                locking.append(threads.submit(lock))
                assert locked.wait(DEADLINE)
                return 7

            done = threads.submit(attempt.step, "page", page)
            wait_until(lambda: waits_for_lock(postgres_admin, url), lambda: "the end of the step does not wait")
            under_way = other.database.under_way
            assert under_way is not None
            watchdog._break(under_way.driver)
            wait_until(lambda: is_gone(postgres_admin, first), lambda: "the session is not ended")
            go_on.set()
            assert done.result(DEADLINE) == 7
            locking[0].result(DEADLINE)


def is_gone(admin: psycopg.Connection[Any], session: int) -> bool:
    return admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [session]).fetchone() is None
