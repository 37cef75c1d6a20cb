"""PostgreSQL: a snapshot that somebody keeps open does not make takes slow, and the order of a queue stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.attempts import Broken, acting_as
from tests.support.clocks import let_pass
from tests.support.consumers import fail
from tests.support.postgres import DEADLINE, wait_until, waits_for_lock
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db.transaction import Transaction
from zrb_store.operations.sessions import remove_sessions
from zrb_store.operations.values import requeue_all
from zrb_store.queries import takes
from zrb_store.queries.give_back import give_back
from zrb_store.queries.takes import Front

pytestmark = [pytest.mark.parametrize("location", ["postgresql"], indirect=True)]

DEAD = 3000


@pytest.fixture
def snapshot(location: str, store: Store) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that keeps its snapshot, as a backup does. After it began, `DEAD` values were pushed and taken."""
    queue = store.session("inbox").xcom["q"]
    queue.push(0)
    queue.pop()
    url = make_url(location).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM zrb_value")
        queue.extend(range(DEAD))
        while queue.pop_many(1000):
            pass
        yield connection


def queue_of(store: Store) -> Any:
    return store.session("inbox").xcom["q"]


def look(store: Store) -> Front:
    """Find out where the live values of the queue begin."""
    queue_id = store.session("inbox").xcom.queue_id("q")
    takes.look(store.database, queue_id)
    front = takes.known_front(store.database, queue_id)
    assert front is not None
    return front


def entries_read(store: Store) -> int:
    """Return how many entries of the index of live values were read up to now."""
    sql = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelid = 'ix_zrb_value_live'::regclass"

    def ask(transaction: Any) -> int:
        transaction.driver.execute("SELECT pg_stat_force_next_flush()")
        return int(transaction.driver.execute(sql).fetchone()[0])

    return store.database.operate(ask)


def take_each(store: Store) -> None:
    """Take ten values by pop, and ten by deliveries."""
    queue = queue_of(store)
    for _ in range(10):
        queue.pop()
    with store.session("consumer").run(again=True) as run:
        for number, delivery in enumerate(run.consume(queue), 1):
            with delivery:
                pass
            if number == 10:
                break


@pytest.mark.unpooled
def test_takes_do_not_read_what_was_taken(store: Store, snapshot: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one does, and notes where the live values begin."""
    queue = queue_of(store)
    queue.extend(range(200))
    monkeypatch.setattr("zrb_store.queries.takes._SLOW", 0.0)
    monkeypatch.setattr("zrb_store.queries.takes._LASTS", DEADLINE)
    monkeypatch.setattr("zrb_store.queries.takes._hints", WeakKeyDictionary())  # a pop before may have been slow
    read = []
    for _ in range(2):
        before = entries_read(store)
        take_each(store)
        read.append(entries_read(store) - before)
    first, second = read
    assert first >= DEAD
    assert second < 5 * 30  # searches
    assert list(queue) == list(range(40, 200))


def appended(store: Store) -> None:
    queue_of(store).appendleft("back")


def rotated(store: Store) -> None:
    queue_of(store).push("back")
    queue_of(store).rotate(1)


def inserted(store: Store) -> None:
    queue_of(store).insert(0, "back")


def requeued(store: Store) -> None:
    requeue_all(store.database, "inbox", "q")


CHANGES: dict[str, Callable[[Store], object]] = {
    "append": appended,
    "rotate": rotated,
    "insert": inserted,
    "requeue": requeued,
}


@pytest.fixture
def died(store: Store, snapshot: object) -> None:
    """A value has died, with the text `back`."""
    queue = queue_of(store)
    queue.max_deliveries = 1
    queue.push("back")
    with store.session("dies").run() as run:
        for delivery in run.consume(queue):
            fail(delivery)


@pytest.mark.promise(number=4)
@pytest.mark.parametrize("change", CHANGES)
def test_what_another_process_puts_before_the_live_values_is_taken_next(
    location: str, store: Store, died: None, change: str
) -> None:
    queue = queue_of(store)
    queue.extend(range(5))
    look(store)
    assert queue.pop() == 0
    with open_store(location) as other:
        CHANGES[change](other)
    assert [queue.pop(), queue.pop()] == ["back", 1]
    look(store)
    with open_store(location) as other:
        other.session("inbox").xcom["q"].appendleft("again")
    with store.session("consumer").run() as run:
        taken = []
        for delivery in run.consume(queue):
            with delivery as value:
                taken.append(value)
    assert taken == ["again", 2, 3, 4]


@pytest.mark.promise(number=4)
def test_what_is_given_back_is_taken_next(location: str, store: Store, snapshot: object) -> None:
    queue = queue_of(store)
    queue.extend(range(5))
    with open_store(location) as other:
        run = other.session("flow").run().start()
        attempt = run.begin("task")
        with acting_as(attempt):
            assert queue_of(other).pop() == 0
        look(store)
        assert queue.pop() == 1
        attempt.fail(Broken())
        assert [queue.pop(), queue.pop()] == [0, 2]
        run.end("failed")


@pytest.mark.promise(number=4)
def test_a_look_waits_for_values_that_are_being_given_back(
    location: str, store: Store, snapshot: object, postgres_admin: psycopg.Connection[Any]
) -> None:
    """Their return was recorded before the look, and is committed after it began."""
    queue = queue_of(store)
    queue.extend(range(3))
    recorded, commit = threading.Event(), threading.Event()
    run = store.session("flow").run().start()
    attempt = run.begin("task")
    with acting_as(attempt):
        assert queue.pop() == 0

    def give_back_slowly() -> None:
        def work(transaction: Transaction) -> None:
            give_back(transaction, [(attempt.id, "failed")])
            recorded.set()
            assert commit.wait(DEADLINE)

        with open_store(location) as other:
            other.database.transact(work)

    with ThreadPoolExecutor() as threads:
        giving = threads.submit(give_back_slowly)
        assert recorded.wait(DEADLINE)
        looking = threads.submit(look, store)
        wait_until(lambda: waits_for_lock(postgres_admin, make_url(location)), lambda: "the look does not wait")
        commit.set()
        giving.result(DEADLINE)
        looking.result(DEADLINE)
    assert [queue.pop(), queue.pop()] == [0, 1]
    run.end("failed")


@pytest.mark.unpooled  # a pooler's own connection is lost; what is remembered then lasts for ten seconds at most
def test_nothing_is_remembered_of_a_connection_that_was_lost(
    store: Store, snapshot: object, postgres_admin: psycopg.Connection[Any]
) -> None:
    """The next one may lead to a standby that lacks some takes."""
    queue = queue_of(store)
    queue.extend(range(3))
    look(store)
    session = store.database.operate(lambda t: t.driver.execute("SELECT pg_backend_pid()").fetchone()[0])
    postgres_admin.execute("SELECT pg_terminate_backend(%s, 10000)", [session])
    assert queue.pop() == 0
    assert takes.known_front(store.database, store.session("inbox").xcom.queue_id("q")) is None


@pytest.mark.promise(number=8)
def test_a_look_that_fails_loses_no_value_that_was_taken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow search is followed by a look, but before the next search: what was taken reaches its taker."""

    def unreachable(*_: object) -> None:
        raise StoreUnavailable("the queue is locked")

    monkeypatch.setattr(takes, "_SLOW", 0.0)
    monkeypatch.setattr(takes, "look", unreachable)
    queue = queue_of(store)
    queue.extend([0, 1])
    assert queue.pop() == 0
    with pytest.raises(StoreUnavailable):
        queue.pop()
    assert list(queue) == [1]


@pytest.mark.promise(number=4)
def test_a_value_that_becomes_due_is_found_before_the_front(store: Store) -> None:
    queue = queue_of(store)
    queue.push("late", delay=3600)
    queue.extend(["a", "b"])
    look(store)
    assert queue.pop() == "a"
    let_pass(store, 3600)
    assert [queue.pop(), queue.pop()] == ["late", "b"]


@pytest.mark.promise(number=4)
def test_what_a_consumer_passes_over_is_taken_next_by_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zrb_store.queries.takes._LASTS", DEADLINE)
    queue = queue_of(store)
    queue.extend(["bad", "good", "last"])
    with store.session("consumer").run() as run:
        deliveries = run.consume(queue, wait=0)
        fail(next(deliveries))
        look(store)
        with next(deliveries) as taken:
            pass
    assert [taken, queue.pop()] == ["good", "bad"]


def test_a_queue_that_is_gone_has_no_front(store: Store) -> None:
    queue_of(store).push(0)
    queue_id = store.session("inbox").xcom.queue_id("q")
    assert takes.look(store.database, queue_id).front is not None
    remove_sessions(store.database, "inbox")
    assert takes.look(store.database, queue_id).front is None
