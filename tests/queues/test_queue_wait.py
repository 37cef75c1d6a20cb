"""Waiting for a value: it is noticed at once whoever brings it, and nothing is locked or created meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from tests.support.attempts import acting_as
from tests.support.postgres import DEADLINE, is_in_transaction, server_session, wait_until
from tests.support.processes import Child
from tests.support.rows import query
from zrb_store import (
    AttemptClosed,
    InvalidArgument,
    LeaseLost,
    SessionNotFound,
    Store,
    StoreUnavailable,
    open_store,
    system,
)
from zrb_store.db.dialect.sqlite import SQLite
from zrb_store.operations.values import pop
from zrb_store.queries import deliveries
from zrb_store.runtime import waiting as runtime_waiting
from zrb_store.runtime.waiting import QueueWait, watch_of
from zrb_store.testing import expire_lease

LONG = 3 * DEADLINE
"""Longer than any test waits, because a taker looks once more when its time is over."""

ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("location", ["postgresql"], indirect=True)


@pytest.fixture(params=["watched", "not watched"])
def no_looks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a waiting process notice a value, or miss it for ever; on SQLite also where there is no inotify."""
    monkeypatch.setattr(runtime_waiting, "LOOK_EVERY", 3600.0)
    if request.param == "not watched":  # as PostgreSQL always is
        monkeypatch.setattr(SQLite, "written_file", lambda self: None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The answers that waiting threads of this process have got to the question whether it is time to look."""
    answers: list[bool] = []
    ask = QueueWait.is_time_to_look

    def asking(self: QueueWait) -> bool:
        answers.append(ask(self))
        return answers[-1]

    monkeypatch.setattr(QueueWait, "is_time_to_look", asking)
    return answers


@contextlib.contextmanager
def waiting(asked: list[bool], take: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Call `take` in a thread, and run the block while it waits for a value."""
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(take)
        wait_until(lambda: bool(asked) or future.done(), lambda: "nobody waits")
        assert not future.done(), future.result()
        yield future
        wait_until(future.done, lambda: "it is not noticed")


def push_late(pipe: Connection, location: str) -> None:
    """Push a value in another process."""
    with open_store(location) as store:
        store.session("inbox").xcom["files"].push("late")
        pipe.recv()  # the connection stays open: closing the last one would write, too


TAKERS: dict[str, Callable[[Store], Any]] = {
    "python": lambda store: store.session("inbox").xcom["files"].pop(wait=LONG),
    "shell": lambda store: pop(store.database, "inbox", "files", None, LONG)[1].strip('"'),
}


@pytest.mark.promise(number=10)
@pytest.mark.usefixtures("no_looks")
@pytest.mark.parametrize("pusher", ["thread", "connection", "process"])
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_value_is_noticed_whoever_pushes_it(
    store: Store, location: str, asked: list[bool], take: Callable[[Store], Any], pusher: str
) -> None:
    with contextlib.ExitStack() as stack:
        with waiting(asked, lambda: take(store)) as taken:
            assert store.sessions() == [], "neither the queue nor its session is created"
            if pusher == "process":
                stack.enter_context(Child(push_late, location))
            else:
                other = store if pusher == "thread" else stack.enter_context(open_store(location))
                other.session("inbox").xcom["files"].push("late")
        assert taken.result() == "late"
    assert asked[-1]
    assert not all(asked)


@pytest.mark.usefixtures("no_looks")
def test_values_of_other_queues_are_no_reason_to_look(store: Store, location: str, asked: list[bool]) -> None:
    with open_store(location) as other, waiting(asked, lambda: TAKERS["python"](store)) as taken:
        for number in range(3):
            seen = len(asked)
            other.session("inbox").xcom["other"].push(number)
            wait_until(lambda seen=seen: len(asked) > seen, lambda: "the waiting process sleeps")  # type: ignore[misc]
        assert not any(asked)
        other.session("inbox").xcom["files"].push("late")
    assert taken.result() == "late"


@ON_SQLITE
@pytest.mark.usefixtures("no_looks")
def test_a_new_connection_is_no_reason_to_miss_a_value(store: Store, location: str, asked: list[bool]) -> None:
    """A fork closes the connection, and the last one that is closed removes the file that is watched."""
    with waiting(asked, lambda: TAKERS["python"](store)) as taken:
        store.database.before_fork()
        assert not Path(location + "-wal").exists()
        store.database.after_fork(False)
        with open_store(location) as other:
            other.session("inbox").xcom["files"].push("late")
            assert taken.result(DEADLINE) == "late"


@ON_POSTGRESQL
@pytest.mark.usefixtures("no_looks")
def test_a_lost_connection_is_no_reason_to_miss_a_value(
    location: str, asked: list[bool], postgres_admin: psycopg.Connection[Any], with_settings: Callable[..., str]
) -> None:
    own_sessions = with_settings(location)
    with (
        open_store(location) as other,
        open_store(own_sessions) as store,
        waiting(asked, lambda: TAKERS["python"](store)) as taken,
    ):
        backend = store.database.operate(server_session)
        postgres_admin.execute("SELECT pg_terminate_backend(%s)", (backend,))
        seen = len(asked)
        wait_until(lambda: len(asked) > seen, lambda: "the waiting thread does not go on")
        assert not taken.done()
        other.session("inbox").xcom["files"].push("late")
    assert taken.result() == "late"


@ON_POSTGRESQL
@pytest.mark.usefixtures("no_looks")
def test_a_pooler_may_give_it_another_server_session(store: Store, asked: list[bool]) -> None:
    """What was prepared in the former one is not there, or has its plan discarded."""
    with waiting(asked, lambda: TAKERS["python"](store)) as taken:
        store.database.operate(lambda connection: connection.driver.pgconn.exec_(b"DEALLOCATE ALL"))
        seen = len(asked)
        wait_until(lambda: len(asked) > seen + 1, lambda: "the waiting thread does not go on")
        assert not taken.done()
        store.session("inbox").xcom["files"].push("late")
    assert taken.result() == "late"


@pytest.mark.usefixtures("no_looks")
def test_a_failed_question_is_asked_again(store: Store, asked: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    queue = store.session("inbox").xcom["files"]
    watch = QueueWait(store.database, "inbox", "files", LONG)
    assert not watch.is_time_to_look()
    queue.push("late")
    with monkeypatch.context() as patch:
        patch.setattr(watch, "has_value", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watch.wait()
    assert watch.wait()


# -- what a look is for


def hold_a_value(pipe: Connection, location: str) -> None:
    with open_store(location) as store, store.session("worker").run() as run, run.attempt("convert"):
        pipe.send(store.session("inbox").xcom["files"].pop())
        pipe.recv()


@pytest.mark.slow
@pytest.mark.systems
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_value_comes_back_from_a_dead_process(
    store: Store, location: str, asked: list[bool], take: Callable[[Store], Any]
) -> None:
    store.session("inbox").xcom["files"].push("a")
    with Child(hold_a_value, location) as child:
        assert child.receive() == "a"
        with waiting(asked, lambda: take(store)) as taken:
            child.kill()
        assert taken.result() == "a"


@pytest.mark.slow
@pytest.mark.parametrize("end", [AttemptClosed, LeaseLost])
def test_it_ends_with_the_attempt(store: Store, location: str, asked: list[bool], end: type[Exception]) -> None:
    session = store.session("flow")
    run = session.run().start()
    attempt = run.begin("load")

    def take() -> Any:
        with acting_as(attempt):
            return TAKERS["python"](store)

    with open_store(location) as other, waiting(asked, take) as taken:
        if end is AttemptClosed:
            attempt.complete()
        else:
            expire_lease(other.session("flow"))
            other.session("flow").run().start()
        with pytest.raises(end):
            taken.result(DEADLINE)


def test_the_time_is_over(store: Store, asked: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]  # only sleeping takes time
    monkeypatch.setattr(runtime_waiting, "clock", SimpleNamespace(monotonic=lambda: now[0], ask_every=math.inf))
    monkeypatch.setattr(runtime_waiting, "time", SimpleNamespace(sleep=lambda pause: now.append(now.pop() + pause)))
    monkeypatch.setattr(runtime_waiting, "watch_of", lambda database: None)
    queue = store.session("inbox").xcom["files"]
    with pytest.raises(IndexError, match="Xcom is empty"):
        queue.pop(wait=0.2)
    assert (asked.count(True), asked[-1]) == (1, True), "it looks once more at the end, and not before"
    assert now[0] == pytest.approx(0.2)
    asked.clear()
    with pytest.raises(IndexError, match="Xcom is empty"):
        queue.pop(wait=0)
    with pytest.raises(SessionNotFound, match="there is no session 'inbox'"):
        pop(store.database, "inbox", "files", None, 0)
    assert asked == []
    assert store.sessions() == []


def test_who_finds_a_value_waits_for_nothing(store: Store, asked: list[bool]) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.extend(["a", "b"])
    assert (queue.pop(wait=math.inf), queue.pop(wait=DEADLINE), asked) == ("a", "b", [])


@pytest.mark.parametrize("seconds", [-1, math.nan, None, "1", ""])
@pytest.mark.on_sqlite
def test_a_time_that_is_none(store: Store, seconds: Any) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.push("a")
    with pytest.raises(InvalidArgument, match=r"is not a number of seconds: give 0 or more, or math.inf"):
        queue.pop(wait=seconds)
    assert list(queue) == ["a"]


def test_it_ends_when_it_is_told(store: Store, asked: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_waiting, "LOOK_EVERY", 0.1)
    over = threading.Event()

    def wait_until_over() -> bool:
        watch = QueueWait(store.database, "inbox", "files", math.inf)
        while watch.wait(over.is_set):
            pass
        return True

    with waiting(asked, wait_until_over) as ended:
        wait_until(lambda: asked.count(True) > 1, lambda: "it does not look")
        over.set()
    assert ended.result()


def test_the_parts_for_asyncio(store: Store) -> None:
    watch = QueueWait(store.database, "inbox", "files", LONG)
    pause = watch.next_pause()
    assert pause is not None
    assert 0 < pause < 1
    assert not watch.is_time_to_look()
    store.session("inbox").xcom["files"].push("late")
    assert watch.is_time_to_look()
    assert QueueWait(store.database, "inbox", "files", 0).next_pause() is None


# -- what it costs others


@pytest.mark.promise(number=10)
@pytest.mark.usefixtures("no_looks")
def test_no_transaction_is_open(
    store: Store, location: str, asked: list[bool], postgres_admin: psycopg.Connection[Any]
) -> None:
    """On SQLite a log that a reader still needs could not be truncated."""
    store.session("other").xcom["q"].push(1)
    with waiting(asked, lambda: TAKERS["python"](store)):
        if "postgresql" in location:
            url = store.database.url
            wait_until(lambda: not is_in_transaction(postgres_admin, url), lambda: "a transaction is open")
        else:
            with contextlib.closing(sqlite3.connect(location, isolation_level=None)) as outside:
                truncate = "PRAGMA wal_checkpoint(TRUNCATE)"
                wait_until(lambda: outside.execute(truncate).fetchone()[0] == 0, lambda: "a transaction is open")
                outside.execute("BEGIN EXCLUSIVE")
                outside.execute("ROLLBACK")
        store.session("inbox").xcom["files"].push("late")


@ON_SQLITE
def test_a_locked_store_does_not_end_the_waiting(
    store: Store, location: str, asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_waiting, "LOOK_EVERY", 0.05)
    store.database.timeout = 0.01
    with contextlib.closing(sqlite3.connect(location, isolation_level=None)) as outside:
        with waiting(asked, lambda: TAKERS["shell"](store)) as taken:
            outside.execute("BEGIN EXCLUSIVE")
            looks = asked.count(True)
            wait_until(lambda: asked.count(True) > looks + 3 or taken.done(), lambda: "it does not look")
            assert not taken.done()
            outside.execute("ROLLBACK")
            store.database.timeout = DEADLINE
            store.session("inbox").xcom["files"].push("late")
        assert taken.result() == "late"


@pytest.mark.slow
@pytest.mark.systems
@ON_SQLITE
def test_nothing_is_asked_while_nobody_writes(
    store: Store, location: str, asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_waiting, "LOOK_EVERY", 3600.0)
    if watch_of(store.database) is None:
        pytest.skip("this system has no inotify")
    with pytest.raises(IndexError):
        store.session("inbox").xcom["files"].pop(wait=1)
    assert asked == [False, True]


@pytest.mark.slow
@pytest.mark.systems
@ON_SQLITE
def test_a_store_that_is_gone_ends_the_waiting(store: Store, asked: list[bool]) -> None:
    store.session("other").xcom["q"].push(1)
    with waiting(asked, lambda: TAKERS["python"](store)) as taken:
        Path(store.database.url.database or "").unlink()
        store.database.before_fork()
        store.database.after_fork(False)
        with pytest.raises(StoreUnavailable):
            taken.result(DEADLINE)


def test_the_history_tells_of_it_as_of_any_pop(store: Store, asked: list[bool]) -> None:
    with store.session("flow").run() as run, run.attempt("load") as attempt:

        def take() -> Any:
            with acting_as(attempt):
                return TAKERS["python"](store)

        with waiting(asked, take):
            store.session("inbox").xcom["files"].push("late")
        sql = "SELECT a.task FROM zrb_value v JOIN zrb_attempt a ON a.id = v.taken_by"
        assert query(store, sql) == [("load",)]


@ON_POSTGRESQL
def test_one_slow_answer_does_not_end_the_asking(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(runtime_waiting, "clock", SimpleNamespace(monotonic=lambda: clock[0], ask_every=math.inf))
    asked = []

    def has_value() -> bool:
        asked.append(clock[0])
        clock[0] += 0.4 if len(asked) == 1 else 0.001
        return False

    watch = QueueWait(store.database, "inbox", "files", 10, has_value=has_value)
    while (pause := watch.next_pause()) is not None:
        clock[0] += max(pause, 0.001)
        watch.is_time_to_look()
    assert max(later - before for before, later in itertools.pairwise(asked)) <= 2 * runtime_waiting.LOOK_EVERY
    assert len(asked) > 20


# -- what wakes it, and what it asks then


def test_a_file_that_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watch = system.here().file_watch(path)
    if watch is None:
        pytest.skip("this system has no inotify")
    assert not watch.arm(), "there is no file"
    path.write_text("1")
    assert watch.arm()
    assert not watch.wait(0.01)
    with path.open("r+") as file:
        file.write("2")
    assert watch.wait(DEADLINE)
    assert watch.arm()
    assert not watch.wait(0)
    path.unlink()
    assert watch.wait(DEADLINE)
    assert not watch.arm()
    path.write_text("3")
    assert watch.arm()
    path.write_text("4")
    assert watch.wait(DEADLINE)


@ON_POSTGRESQL
def test_it_asks_without_prepared_statements_too(store: Store) -> None:
    has_value, has_other = (deliveries.has_value(store.database, "inbox", name) for name in ("ä", "other"))
    assert not has_value()
    store.session("inbox").xcom["ä"].push(1)
    assert has_value()
    store.database.operate(lambda connection: setattr(connection.driver, "prepare_threshold", None))
    assert has_value()
    assert not has_other()


def test_what_may_come_back_is_worth_a_look(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    watch = QueueWait(store.database, "inbox", "files", DEADLINE)
    assert not watch.may_get_value(), "there is no queue"
    queue.push("a")
    assert watch.may_get_value()
    with store.session("worker").run() as run:
        attempt = run.begin("convert")
        with acting_as(attempt):
            queue.pop()
            store.session("inbox").xcom["other"].extend([])
        assert (watch.has_value(), watch.may_get_value()) == (False, True)
        assert not QueueWait(store.database, "inbox", "other", DEADLINE).may_get_value()
        attempt.complete()
        assert not watch.may_get_value(), "it is taken for good"


@pytest.mark.parametrize("by_shell", [False, True], ids=["python", "shell"])
def test_a_look_that_would_find_nothing_is_one_statement(
    store: Store, monkeypatch: pytest.MonkeyPatch, by_shell: bool
) -> None:
    monkeypatch.setattr(runtime_waiting, "LOOK_EVERY", 0.02)  # shorter than any pause: there is a look after each
    queue = store.session("inbox").xcom["files"]
    queue.extend([])
    looks = []
    ask = QueueWait.is_time_to_look

    def asking(self: QueueWait) -> bool:
        looks.append(ask(self))
        return looks[-1]

    monkeypatch.setattr(QueueWait, "is_time_to_look", asking)

    def statements(wait: float) -> int:
        before = sent()
        with pytest.raises((IndexError, SessionNotFound)):
            pop(store.database, "inbox", "files", None, wait) if by_shell else queue.pop(wait=wait)
        return sent() - before

    def sent() -> int:
        return store.database.operate(lambda connection: int(connection.sent))

    statements(0.001)  # prepares them
    few = statements(0)
    looks.clear()
    many = statements(0.3)
    assert len(looks) > 3
    assert all(looks)
    assert many - few <= len(looks) + 1
