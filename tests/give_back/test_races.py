"""Giving back while other transactions take and return the same values. PostgreSQL runs several writers at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.support.postgres import DEADLINE, wait_until, waits_for_lock
from tests.support.rows import faults, states
from zrb_store import Attempt, Store, codec, open_store
from zrb_store.db.transaction import Transaction
from zrb_store.queries import attempts, takes, values
from zrb_store.queries.by_hand import dead_values, revive
from zrb_store.queries.clock import draw
from zrb_store.queries.give_back import give_back
from zrb_store.queries.values import lock_queue
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.parametrize("location", ["postgresql"], indirect=True)

Work = Callable[[Transaction], object]
Interleave = Callable[[Store, tuple[Work, ...], Store, Work], None]


@pytest.fixture
def other(location: str) -> Iterator[Store]:
    """The same store over another connection."""
    with open_store(location) as opened:
        yield opened


@pytest.fixture
def interleave(postgres_admin: psycopg.Connection[Any]) -> Interleave:
    """Return a function that interleaves two transactions.

    It does the first part of `first`, lets `second` wait for a lock that `first` holds, does the rest of `first`, and
    commits both.
    """

    def run(one: Store, first: tuple[Work, ...], two: Store, second: Work) -> None:
        with uncommitted(one, first):
            thread = threading.Thread(target=two.database.transact, args=(second,))
            thread.start()
            wait_until(
                lambda: waits_for_lock(postgres_admin, two.database.url),
                lambda: "the second transaction does not wait for the first",
            )
        thread.join(DEADLINE)
        assert not thread.is_alive()

    return run


@contextmanager
def uncommitted(store: Store, works: tuple[Work, ...]) -> Iterator[None]:
    """Do the first of `works` in a transaction, run the block, then do the others and commit."""
    done, commit = threading.Event(), threading.Event()

    def held(transaction: Transaction) -> None:
        works[0](transaction)
        done.set()
        assert commit.wait(DEADLINE)
        for work in works[1:]:
            work(transaction)

    thread = threading.Thread(target=store.database.transact, args=(held,))
    thread.start()
    assert done.wait(DEADLINE)
    yield
    commit.set()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def giving_back(attempt: Attempt) -> Work:
    return lambda transaction: give_back(transaction, [(attempt.id, "failed")])


def taking(attempt: Attempt, queue_id: int) -> Work:
    return lambda transaction: takes.take_whole(transaction, queue_id, attempt.id)


@pytest.fixture
def pusher(store: Store) -> Attempt:
    """An attempt that pushed "v" to the queue "shared/q"."""
    attempt = store.session("pusher").run().start().begin("push")
    values.push(store.database, queue_id(store), codec.encode("v"), attempt.id)
    return attempt


@pytest.fixture
def taker(other: Store) -> Attempt:
    """An attempt of another session, over another connection."""
    return other.session("taker").run().start().begin("take")


def queue_id(store: Store) -> int:
    return store.session("shared").xcom.queue_id("q")


def state(store: Store) -> tuple[str, bool]:
    [[state, orphaned]] = store.database.transact(
        lambda t: t.driver.execute("SELECT state, orphaned FROM zrb_value").fetchall()
    )
    return state, orphaned


def requeuing(queue_id: int) -> Work:
    def work(transaction: Transaction) -> None:
        lock_queue(transaction, queue_id)
        revive(transaction, queue_id, dead_values(transaction, queue_id), draw(transaction), "requeued")

    return work


class Race(NamedTuple):
    """Two transactions on one value: the second begins before the first has committed."""

    first: str
    second: str
    left: tuple[str, bool]  # the value's state, and whether it is orphaned
    before: tuple[str, ...] = ()
    max_deliveries: int | None = None


GONE, LIVE, ORPHANED = ("retracted", False), ("live", False), ("taken", True)
HELD, DEAD = ("take",), ("take", "taker fails")
RACES = {
    "taken while its pusher fails": Race("take", "pusher fails", ORPHANED),
    "taken after its pusher failed": Race("pusher fails", "take", GONE),
    "returned while its pusher fails": Race("taker fails", "pusher fails", GONE, HELD),
    "orphaned while its taker fails": Race("pusher fails", "taker fails", GONE, HELD),
    "dying while its pusher fails": Race("taker fails", "pusher fails", GONE, HELD, 1),
    "retracted while its taker fails for the last time": Race("pusher fails", "taker fails", GONE, HELD, 1),
    "dying while it is requeued": Race("taker fails", "requeue", LIVE, HELD, 1),
    "requeued while its pusher fails": Race("requeue", "pusher fails", GONE, DEAD, 1),
    "retracted while it is requeued": Race("pusher fails", "requeue", GONE, DEAD, 1),
}


@pytest.mark.promise(number=1)
@pytest.mark.promise(number=10)
@pytest.mark.parametrize("name", RACES)
def test_of_two_transactions_on_one_value_both_take_effect(
    store: Store, other: Store, pusher: Attempt, taker: Attempt, interleave: Interleave, name: str
) -> None:
    race = RACES[name]
    queue = store.session("shared").xcom["q"]
    queue.max_deliveries = race.max_deliveries
    works = {
        "take": taking(taker, queue_id(store)),
        "taker fails": giving_back(taker),
        "pusher fails": giving_back(pusher),
        "requeue": requeuing(queue_id(store)),
    }
    for work in race.before:
        other.database.transact(works[work])
    interleave(other, (works[race.first],), store, works[race.second])
    assert state(store) == race.left
    assert faults(store) == []
    if race.left == ORPHANED:
        other.database.transact(works["taker fails"])
        assert state(store) == GONE


def pushing(attempt: Attempt, queue_id: int, pushed: list[values.PushedValue | None]) -> Work:
    return lambda transaction: pushed.append(values.push(transaction, queue_id, codec.encode("late"), attempt.id))


def test_write_that_waits_for_a_take_over_is_refused(
    store: Store, other: Store, pusher: Attempt, interleave: Interleave
) -> None:
    expire_lease(store.session("pusher"))
    pushed: list[values.PushedValue | None] = []
    interleave(other, (other.session("pusher").run()._start,), store, pushing(pusher, queue_id(store), pushed))
    assert pushed == [None]
    assert states(store, "shared") == [("v", "retracted")]


def test_take_over_that_waits_for_a_write_gives_it_back(
    store: Store, other: Store, pusher: Attempt, interleave: Interleave
) -> None:
    expire_lease(store.session("pusher"))
    pushed: list[values.PushedValue | None] = []
    push = pushing(pusher, queue_id(store), pushed)
    interleave(store, (push, push), other, other.session("pusher").run()._start)
    assert [each and each.seq for each in pushed] == [2, 3]
    assert states(store, "shared") == [("v", "retracted"), ("late", "retracted"), ("late", "retracted")]
    assert faults(store) == []  # nothing ended before it was pushed, for example


def test_attempt_that_completes_before_a_take_over_gets_its_lock_stands(
    store: Store, other: Store, pusher: Attempt, interleave: Interleave
) -> None:
    expire_lease(store.session("pusher"))

    def complete(transaction: Transaction) -> None:
        assert attempts.complete(transaction, pusher.id, None, restorable=True, result=None)

    interleave(store, (complete,), other, other.session("pusher").run()._start)
    assert states(store, "shared") == [("v", "live")]
    assert faults(store) == []


def test_attempt_that_waits_for_a_take_over_does_not_begin(
    store: Store, other: Store, pusher: Attempt, interleave: Interleave
) -> None:
    expire_lease(store.session("pusher"))
    run = store.session("pusher").record()
    begun: list[object] = []

    def begin(transaction: Transaction) -> None:
        begun.append(attempts.begin(transaction, run.id, None, run.fence, "other", "task", None))

    interleave(other, (other.session("pusher").run()._start,), store, begin)
    assert begun == [None]


def test_a_delivery_locks_its_queue_before_its_values(
    store: Store, other: Store, postgres_admin: psycopg.Connection[Any]
) -> None:
    """Who gives back has locked the queue, and comes to its values in any order: both at once would be a deadlock."""
    store.session("shared").xcom["q"].extend([1, 2, 3])
    consumer = other.session("consumer").run().start().consumer(other.session("shared").xcom["q"], batch=3)
    place, taken = queue_id(store), []
    works: tuple[Work, ...] = (
        lambda transaction: lock_queue(transaction, place),
        lambda transaction: transaction.driver.execute("UPDATE zrb_value SET orphaned = orphaned"),
    )
    with uncommitted(store, works):
        thread = threading.Thread(target=lambda: taken.append(consumer.take()))
        thread.start()
        wait_until(
            lambda: waits_for_lock(postgres_admin, other.database.url),
            lambda: "the delivery does not wait for the queue",
        )
    thread.join(DEADLINE)
    assert [delivery.value for delivery in taken if delivery] == [[1, 2, 3]]


def test_an_attempt_that_fails_locks_queues_elsewhere_before_their_values(
    store: Store, other: Store, taker: Attempt, postgres_admin: psycopg.Connection[Any]
) -> None:
    store.session("shared").xcom["q"].extend([1, 2])
    place = queue_id(store)
    other.database.transact(taking(taker, place))
    works: tuple[Work, ...] = (
        lambda transaction: lock_queue(transaction, place),
        lambda transaction: transaction.driver.execute("UPDATE zrb_value SET orphaned = orphaned"),
    )
    with uncommitted(store, works):
        thread = threading.Thread(target=taker.fail)
        thread.start()
        wait_until(
            lambda: waits_for_lock(postgres_admin, other.database.url),
            lambda: "the attempt does not wait for the queue",
        )
    thread.join(DEADLINE)
    assert states(store, "shared") == [(1, "live"), (2, "live")]
