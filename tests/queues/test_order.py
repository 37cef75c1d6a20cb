"""Order needs no clock (guarantees.md, promise 17): everything stays right after the clock was set back."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.support.clocks import set_back
from tests.support.commands import Commands
from tests.support.rows import query
from zrb_store import Store, Xcom
from zrb_store.inspect.show import open_session
from zrb_store.operations.sessions import fork

# The clock is that of a session of the server, which a pooler shares.
pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.unpooled, pytest.mark.promise(number=17)]


@pytest.fixture
def files(store: Store) -> Xcom:
    """A queue of another session, with two values."""
    queue = store.session("inbox").xcom["files"]
    queue.extend(["old", "new"])
    return queue


def test_a_step_that_depends_on_a_value_of_another_session_comes_back_with_it(store: Store, files: Xcom) -> None:
    ran: list[str] = []
    with contextlib.suppress(ValueError), store.session("flow").run(task="load") as run, run.attempt("load") as attempt:
        name = files.pop()
        set_back(store, 5)
        attempt.step("convert", ran.append, name)
        raise ValueError
    with store.session("flow").run(task="load") as run, run.attempt("load") as attempt:
        name = files.pop()
        assert name == "old"
        attempt.step("convert", ran.append, name)
    assert ran == ["old", "old"]


def test_a_step_before_such_a_value_stands(store: Store, files: Xcom) -> None:
    set_back(store, -5)
    with contextlib.suppress(ValueError), store.session("flow").run(task="load") as run, run.attempt("load") as attempt:
        attempt.step("first", len, "abc")
        set_back(store, 5)
        files.pop()
        raise ValueError
    with store.session("flow").run(task="load") as run, run.attempt("load") as attempt:
        assert attempt.step("first", lambda text: 1 / 0, "abc") == 3


def extract_and_load(store: Store) -> None:
    """Run a workflow whose clock is set back between its two tasks, and before what is pushed after them."""
    with store.session("flow").run(task="load") as run:
        with run.attempt("extract") as attempt:
            attempt.xcom["rows"].extend([1, 2])
            attempt.complete("extracted")
        set_back(store, 5)
        with run.attempt("load") as attempt:
            assert attempt.xcom["rows"].pop() == 1
            attempt.complete("loaded")
    set_back(store, 10)
    store.session("flow").xcom["rows"].push("late")


def test_a_fork_has_what_had_happened_before_its_task(store: Store) -> None:
    extract_and_load(store)
    name = fork(store.database, "flow", "load")
    copied = store.session(name)
    assert list(copied.xcom["rows"]) == [1, 2]
    assert list(copied.xcom["extract"]) == ["extracted"]
    assert "load" not in copied.xcom
    with copied.run(task="load") as run:
        assert run.completed("extract")


def queue_at(store: Store, moment: str) -> Any:
    with open_session(store.database, "flow", at=moment) as document:
        return document.session.status, next(list(queue.live) for queue in document.queues if queue.now.name == "rows")


def test_a_session_is_shown_as_it_was_before_and_after_an_attempt(store: Store) -> None:
    extract_and_load(store)
    assert queue_at(store, "before:extract#1") == ("running", [])
    assert queue_at(store, "after:extract#1") == queue_at(store, "before:load#1") == ("running", [1, 2])
    assert queue_at(store, "after:load#1") == ("running", [2])


def test_the_last_result_is_that_of_the_last_completion(store: Store) -> None:
    for day in ("mon", "tue"):
        with store.session(day).run(task="load") as run, run.attempt("load") as attempt:
            attempt.complete(day)
        set_back(store, 5)
    assert store.last("load") == "tue"


def test_sessions_are_listed_in_the_order_of_their_creation(store: Store, command: Commands) -> None:
    for name in ("first", "second", "third"):
        store.session(name).xcom["q"].push(name)
        set_back(store, 5)
    assert [record.name for record in store.sessions()] == ["third", "second", "first"]
    assert command.ok("get", "@last", "q").strip() == "third"


def test_a_batch_is_taken_at_one_moment(store: Store, files: Xcom) -> None:
    files.extend(range(4))
    with store.session("worker").run() as run:
        for delivery in run.consume(files, batch=6, wait=0):
            with delivery as values:
                assert values == ["old", "new", 0, 1, 2, 3]
    assert query(store, "SELECT count(*), count(DISTINCT ended_at), count(DISTINCT ended_tick) FROM zrb_value") == [
        (6, 1, 1)
    ]


def test_a_step_that_fails_and_what_it_gives_back_are_one_moment(store: Store, files: Xcom) -> None:
    def take_and_fail() -> None:
        attempt.xcom["rows"].pop()
        raise ValueError

    store.session("flow").xcom["rows"].extend([1, 2])
    with store.session("flow").run(task="load") as run, run.attempt("load") as attempt:
        with contextlib.suppress(ValueError):
            attempt.step("take", take_and_fail)
        attempt.step("next", len, "abc")
    assert queue_at(store, "after:load/1#1") == ("running", [1, 2])


def test_a_completion_and_its_result_are_one_moment(store: Store) -> None:
    with store.session("flow").run(task="load") as run, run.attempt("load") as attempt:
        attempt.complete(1)
    [(at, tick)] = query(store, "SELECT pushed_at, pushed_tick FROM zrb_value")
    assert query(store, "SELECT ended_at, ended_tick FROM zrb_attempt") == [(at, tick + 1)]
