"""Steps and queues of other sessions: what counts as a delivery, what a dead process leaves, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.support.attempts import failing as failing_attempt
from tests.support.consumers import deliveries_of
from tests.support.processes import Child
from tests.support.rows import all_rows, states
from tests.support.steps import Boom, Counted, attempt_of, failing
from zrb_store import Attempt, LeaseLost, StepUncertain, Store, Xcom, open_store, step
from zrb_store.run import RunSpec
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


@pytest.fixture
def files(store: Store) -> Xcom:
    """A queue of another session, with three values."""
    queue = store.session("inbox").xcom["files"]
    queue.extend("abc")
    return queue


def take_and_raise(files: Xcom, error: BaseException) -> None:
    files.pop()
    raise error


# -- deliveries


def test_a_failed_step_is_a_delivery_and_an_interrupted_one_is_not(store: Store, files: Xcom) -> None:
    files.max_deliveries = 2
    with attempt_of(store) as attempt:
        for error, deliveries in ((Boom(), 1), (KeyboardInterrupt(), 1), (Boom(), 2)):
            with pytest.raises(type(error)):
                attempt.step("take", take_and_raise, files, error)
            assert deliveries_of(store) == [deliveries, 0, 0]
        assert attempt.step("next", files.pop) == "b"
    assert states(store, "inbox", "files") == [("a", "dead"), ("b", "taken"), ("c", "live")]


@pytest.mark.promise(number=11)
def test_a_completed_step_that_comes_back_is_no_delivery(store: Store, files: Xcom) -> None:
    """Not with the attempt that it rests on, and not when its task starts over; what the attempt took is one."""
    files.max_deliveries = 1
    with attempt_of(store, fails=True) as attempt:
        files.pop()
        assert attempt.step("take", files.pop) == "b"
    assert deliveries_of(store) == [1, 0, 0]
    assert states(store, "inbox", "files") == [("a", "dead"), ("b", "live"), ("c", "live")]
    with store.session("night").run() as run:
        with run.attempt("convert") as attempt:
            assert attempt.step("take", files.pop) == "b"
        done = run.completed("convert")
        assert done is not None
        run.give_back(done, "again")
    assert deliveries_of(store) == [1, 0, 0]
    assert list(files) == ["b", "c"]


def test_a_step_that_was_lost_is_a_delivery(store: Store, files: Xcom) -> None:
    with pytest.raises(Crash), crash_at("step_complete:before"), attempt_of(store) as attempt:
        attempt.step("take", files.pop)
    expire_lease(store.session("night"))
    with attempt_of(store):
        assert deliveries_of(store) == [1, 0, 0]


@pytest.mark.promise(number=11)
def test_a_completed_once_step_that_came_back_is_uncertain(store: Store, files: Xcom) -> None:
    """Nobody but a person knows whether what it did outside of the store may be repeated."""
    charge = Counted()
    for _ in range(2):
        with attempt_of(store, fails=True) as attempt:
            file = files.pop()
            if charge.calls == 0:
                attempt.step("charge", charge, file, once=True)
            else:
                with pytest.raises(StepUncertain, match=r'completed, and was given back; its arguments were "a"'):
                    attempt.step("charge", charge, file, once=True)
    assert charge.calls == 1


# -- a process that dies


def die_in_a_step(pipe: Connection, location: str, outside: bool) -> None:
    """Take values by a completed step, outside of steps if the test says so, by another step, and in a running step."""
    with open_store(location) as store, attempt_of(store):
        files, more = store.session("inbox").xcom["files"], store.session("inbox").xcom["more"]
        pipe.send(step("before", files.pop))
        pipe.send(files.pop() if outside else None)
        step("after", lambda: store.session("done").xcom["out"].push(more.pop()))

        def hang() -> None:
            pipe.send(files.pop())
            pipe.recv()

        step("running", hang)


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("outside", [False, True])
def test_what_a_dead_process_held_by_steps(store: Store, location: str, files: Xcom, outside: bool) -> None:
    """What completed steps took stays taken, unless they rest on what comes back."""
    more = store.session("inbox").xcom["more"]
    more.push("m")
    with Child(die_in_a_step, location, outside) as child:
        assert [child.receive() for _ in range(3)] == ["a", "b" if outside else None, "c" if outside else "b"]
        child.kill()
    with store.session("other").run() as run, run.attempt("take"):
        assert files.pop() == "b"
        assert states(store, "inbox", "files")[0] == ("a", "taken")
        assert list(more) == (["m"] if outside else [])
        assert list(store.session("done").xcom["out"]) == ([] if outside else ["m"])
    after = Counted()
    with attempt_of(store, fails=True) as attempt:
        assert attempt.step("before", failing) == "a"
        attempt.step("after", after)
        assert after.calls == outside


@pytest.mark.parametrize("look", ["take", "read what it pushed"])
def test_a_dead_process_is_found_by_what_its_dependent_steps_have(
    store: Store, location: str, files: Xcom, look: str
) -> None:
    """A step that took from this queue, or pushed to it, comes back with what the attempt took from another queue."""
    store.session("inbox").xcom["more"].push("m")
    with Child(die_in_a_step, location, True) as child:
        for _ in range(3):
            child.receive()
        child.kill()
    if look == "take":
        assert store.session("inbox").xcom["more"].pop() == "m"
    else:
        with pytest.raises(IndexError):
            store.session("done").xcom["out"].pop()
    assert list(files) == ["b", "c"]


def test_a_process_that_was_taken_over_amid_a_step_changes_nothing(store: Store, location: str, files: Xcom) -> None:
    session = store.session("night")
    run = session.run().start()
    attempt = run.attempt("convert")
    refused: list[Any] = []

    def work() -> None:
        taken = files.pop()
        attempt.xcom["out"].push(taken)
        expire_lease(session)
        with open_store(location) as other, other.session("night").run():
            before = all_rows(store)
            assert list(files) == ["a", "b", "c"]
            changes: list[Callable[[], object]] = [files.pop, lambda: files.push("x"), files.rotate, files.clear]
            for change in changes:
                with pytest.raises(LeaseLost):
                    change()
            refused.append(before)
            assert all_rows(store) == before

    with pytest.raises(LeaseLost), attempt:
        attempt.step("work", work)
    assert len(refused) == 1
    assert list(files) == ["a", "b", "c"]
    assert states(store, "night", "out") == [("a", "retracted")]


# -- parents and children


def test_a_parents_value_stays_taken_until_the_next_attempt(store: Store) -> None:
    """So does a step that began after that, as everything that the attempt did to related sessions."""
    store.session("parent").xcom["q"].extend("ab")
    with store.session("night").prepare(RunSpec(parent="parent/start#1")) as run:
        with pytest.raises(Boom), run.attempt("convert") as attempt:
            take_in_two_ways(store, attempt)
        assert list(store.session("parent").xcom["q"]) == []
        assert list(store.session("night").xcom["out"]) == ["b"]
        with run.attempt("convert"):
            assert list(store.session("parent").xcom["q"]) == ["a", "b"]
            assert list(store.session("night").xcom["out"]) == []


def take_in_two_ways(store: Store, attempt: Attempt) -> None:
    store.session("parent").xcom["q"].pop()
    attempt.step("take", lambda: attempt.xcom["out"].push(store.session("parent").xcom["q"].pop()))
    raise Boom


# -- moved and orphaned values


def test_a_step_rests_on_a_value_that_its_attempt_only_moved(store: Store, files: Xcom) -> None:
    with attempt_of(store, fails=True) as attempt:
        attempt.step("before", files.push, "d")
        files.rotate()
        assert attempt.step("take", files.pop) == "d"
    assert list(files) == ["a", "b", "c", "d"]


def test_a_step_that_moved_what_its_attempt_pushed_does_not_stand(store: Store) -> None:
    queue = store.session("night").xcom["q"]
    queue.extend("ab")
    with attempt_of(store, fails=True) as attempt:
        attempt.step("stands", queue.rotate)
        queue.push("c")
        attempt.step("falls", queue.rotate)
        attempt.step("falls too", queue.popleft)
        assert list(queue) == ["b", "a"]
    with attempt_of(store):
        assert list(queue) == ["b", "a"]
    assert [state for _, state in states(store, "night") if state == "live"] == ["live"] * 2


def test_a_step_keeps_what_another_tasks_attempt_pushed_and_took_back(store: Store) -> None:
    queue = store.session("night").xcom["q"]
    with store.session("night").run() as run:
        failing_attempt(run, "push", lambda: queue.push("x"))
        with run.attempt("convert") as attempt:
            assert attempt.step("take", queue.pop) == "x"
        with run.attempt("push"):
            assert states(store, "night") == [("x", "taken+")]
        done = run.completed("convert")
        assert done is not None
        run.give_back(done, "again")
    assert states(store, "night") == [("x", "retracted")]
