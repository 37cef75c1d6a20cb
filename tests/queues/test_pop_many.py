"""`pop_many`: several values in one transaction, each as by `pop`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.support.attempts import Broken, acting_as, failing
from tests.support.postgres import DEADLINE, wait_until
from tests.support.processes import Child, children
from tests.support.rows import faults, query, states
from zrb_store import AttemptClosed, InvalidArgument, LeaseLost, Store, open_store
from zrb_store.operations.sessions import remove_sessions
from zrb_store.testing import expire_lease


def test_it_takes_the_oldest_in_their_order(store: Store, inbox: Any) -> None:
    inbox.appendleft("first")
    assert inbox.pop_many(2) == ["first", "a"]
    assert list(inbox) == ["b", "c"]
    assert inbox.pop_many(10) == ["b", "c"]
    assert inbox.pop_many(1) == []
    assert len(query(store, "SELECT DISTINCT ended_at FROM zrb_value WHERE state = 'taken'")) == 2, "two transactions"
    assert faults(store) == []


def test_a_queue_that_does_not_exist_is_not_created(store: Store) -> None:
    assert store.session("inbox").xcom["files"].pop_many(3) == []
    assert store.sessions() == []


@pytest.mark.parametrize("n", [0, -1])
def test_it_takes_at_least_one(inbox: Any, n: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"pop_many\({n}\) would take nothing: give 1 or more"):
        inbox.pop_many(n)
    with pytest.raises(TypeError):
        inbox.pop_many("2")
    assert len(inbox) == 3


def test_they_belong_to_the_attempt(store: Store, inbox: Any) -> None:
    with store.session("worker").run() as run:
        failing(run, "convert", lambda: inbox.pop_many(2))
        assert list(inbox) == ["a", "b", "c"]
        with run.attempt("convert"):
            assert inbox.pop_many(2) == ["a", "b"]
    assert states(store, "inbox", "files") == [("a", "taken"), ("b", "taken"), ("c", "live")]
    assert query(store, "SELECT count(*) FROM zrb_return") == [(2,)]
    assert faults(store) == []


@pytest.mark.parametrize("end", [AttemptClosed, LeaseLost])
def test_an_attempt_that_has_ended_takes_nothing(store: Store, inbox: Any, end: type[Exception]) -> None:
    session = store.session("worker")
    attempt = session.run().start().begin("convert")
    if end is AttemptClosed:
        attempt.fail(Broken())
    else:
        expire_lease(session)
        session.run().start()
    with acting_as(attempt), pytest.raises(end):
        inbox.pop_many(2)
    assert list(inbox) == ["a", "b", "c"]


def test_each_value_calls_the_callbacks(inbox: Any) -> None:
    calls: list[str] = []
    inbox.add_pop_callback(lambda: calls.append("popped"))
    inbox.pop_many(5)
    assert calls == ["popped"] * 3
    assert inbox.pop_many(5) == []
    assert calls == ["popped"] * 3


def test_a_session_that_was_created_again(store: Store, location: str, inbox: Any) -> None:
    assert inbox.pop_many(1) == ["a"]
    with open_store(location) as other:
        remove_sessions(other.database, "inbox")
        other.session("inbox").xcom["files"].push("new")
    assert inbox.pop_many(5) == ["new"]


def hold_values(pipe: Connection, location: str) -> None:
    with open_store(location) as store, store.session("worker").run() as run, run.attempt("convert"):
        pipe.send(store.session("inbox").xcom["files"].pop_many(3))
        pipe.recv()


def test_the_values_of_a_dead_process_come_back(store: Store, location: str, inbox: Any) -> None:
    with Child(hold_values, location) as child:
        assert child.receive() == ["a", "b", "c"]
        assert inbox.pop_many(3) == []
        child.kill()
    assert inbox.pop_many(2) == ["a", "b"]
    assert faults(store) == []


def take_all(pipe: Connection, location: str) -> None:
    with open_store(location) as store:
        queue = store.session("inbox").xcom["files"]
        pipe.send("ready")
        pipe.recv()
        batches = []
        while batch := queue.pop_many(7):
            batches.append(batch)
        pipe.send(batches)


def test_each_value_goes_to_one_process(store: Store, location: str) -> None:
    store.session("inbox").xcom["files"].extend(range(500))
    with children(3, take_all, location) as takers:
        for taker in takers:
            assert taker.receive() == "ready"
        for taker in takers:
            taker.send("go")
        batches = [batch for taker in takers for batch in taker.receive()]
    assert all(batch == sorted(batch) for batch in batches)
    assert sorted(value for batch in batches for value in batch) == list(range(500))


@pytest.mark.parametrize("commit", [True, False])
def test_it_waits_for_an_older_value_that_another_is_taking(
    store: Store, location: str, inbox: Any, commit: bool
) -> None:
    """The order is that of `pop`: nothing older is passed over because it is locked."""
    with open_store(location) as other, ThreadPoolExecutor(1) as threads:
        driver = other.database.operate(lambda connection: connection.driver)
        driver.execute("BEGIN")
        driver.execute(
            "UPDATE zrb_value SET state = 'taken', ended_at = pushed_at + 1, ended_tick = pushed_tick "
            "WHERE data = '\"a\"'"
        )
        batch = threads.submit(inbox.pop_many, 2)
        on_sqlite = store.database.dialect_name == "sqlite"  # where it asks for the lock again and again
        waits = batch.running if on_sqlite else lambda: store.database.under_way is not None
        wait_until(waits, lambda: "it does not start")
        driver.execute("COMMIT" if commit else "ROLLBACK")
        assert batch.result(DEADLINE) == (["b", "c"] if commit else ["a", "b"])
