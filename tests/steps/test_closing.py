"""An attempt that ends closes its steps, whenever they began and however it ends; a step ends whole or not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.steps import Boom, attempt_of, failing, recorded
from zrb_store import Attempt, AttemptClosed, LeaseLost, Run, Store, ZrbStoreError, open_store, step
from zrb_store.testing import Crash, crash_at, expire_lease
from zrb_store.xcom import Xcoms

pytestmark = pytest.mark.usefixtures("sound")


@pytest.mark.parametrize("ending", ["complete", "fail"])
def test_a_step_that_runs_for_the_second_time_is_closed(store: Store, ending: str) -> None:
    """It is known from the attempt before, so that it needs no new number."""
    session = store.session("night")
    session.xcom["in"].push("a")
    began, ended = threading.Event(), threading.Event()
    refused: list[BaseException] = []

    def slow(attempt: Attempt) -> None:
        attempt.xcom["in"].pop()
        began.set()
        assert ended.wait(60)
        attempt.xcom["out"].push("late")

    def work(attempt: Attempt) -> None:
        try:
            attempt.step("slow", slow, attempt)
        except AttemptClosed as error:
            refused.append(error)

    with session.run() as run:
        with pytest.raises(Boom), run.attempt("convert") as attempt:
            attempt.step("slow", failing)
        attempt = run.attempt("convert")
        thread = threading.Thread(target=work, args=[attempt])
        thread.start()
        assert began.wait(60)
        try:
            getattr(attempt, ending)()
            assert recorded(store, "convert/1", 2).status == "interrupted"
            assert list(session.xcom["in"]) == ["a"]
        finally:
            ended.set()
            thread.join()
        assert (len(refused), list(session.xcom["out"])) == (1, [])


@contextlib.contextmanager
def slow_step(store: Store, run: Run) -> Iterator[tuple[Attempt, list[BaseException]]]:
    """Let a step take a value, and go on working when the block ends. Yield its attempt, and what it is refused."""
    began, ended = threading.Event(), threading.Event()
    refused: list[BaseException] = []
    attempt = run.begin("convert")

    def slow() -> None:
        attempt.xcom["out"].push(attempt.xcom["in"].pop())
        began.set()
        assert ended.wait(60)
        attempt.xcom["out"].push("late")

    def work() -> None:
        try:
            attempt.step("slow", slow)
        except ZrbStoreError as error:
            refused.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert began.wait(60)
        yield attempt, refused
    finally:
        ended.set()
        thread.join()


def take_over(run: Run, location: str) -> None:
    """Let another program run the session."""
    with open_store(location) as other:
        expire_lease(other.session("night"))
        other.session("night").run().start().end("failed")


WAYS: dict[str, tuple[Callable[[Run, str], object], str, type[ZrbStoreError]]] = {
    "the run ends": (lambda run, _: run.end("failed"), "interrupted", AttemptClosed),
    "the next attempt begins": (lambda run, _: run.begin("convert"), "lost", AttemptClosed),
    "the session is taken over": (take_over, "lost", LeaseLost),
}


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("way", WAYS)
def test_whichever_way_an_attempt_ends_its_running_steps_are_given_back(
    store: Store, location: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, status, error = WAYS[way]
    told: list[bool] = []
    monkeypatch.setattr(Xcoms, "step_ended", lambda self, step, parent, *, completed: told.append(completed))
    session = store.session("night")
    session.xcom["in"].push("a")
    run = session.run().start()
    with slow_step(store, run) as (_, refused):
        end(run, location)
        assert recorded(store, "convert/1").status == status
        assert list(session.xcom["in"]) == ["a"]
    assert [type(each) for each in refused] == [error]
    assert list(session.xcom["out"]) == []
    assert set(told) == {False}


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_a_step_that_fails_is_given_back_with_its_end_or_not_at_all(store: Store, place: str) -> None:
    session = store.session("night")
    session.xcom["in"].push("a")

    def take_and_fail() -> None:
        session.xcom["in"].pop()
        raise Boom

    with pytest.raises(Crash), crash_at(f"fail:{place}"), attempt_of(store) as attempt:
        attempt.step("take", take_and_fail)
    done = place == "after"
    assert recorded(store, "convert/1").status == ("failed" if done else "running")
    assert list(session.xcom["in"]) == (["a"] if done else [])
    expire_lease(session)
    with attempt_of(store):
        assert recorded(store, "convert/1").status == ("failed" if done else "lost")
        assert list(session.xcom["in"]) == ["a"]


def test_a_task_of_run_task_has_steps(store: Store) -> None:
    calls: list[str] = []

    def page() -> int:
        calls.append("page")
        return 7

    def task(attempts: int) -> int:
        found = step("page", page)
        step("fail", int if attempts else failing)
        return found

    for attempts in (0, 1):
        with contextlib.suppress(Boom), store.session("night").run() as run:
            assert run.task("convert", task, attempts) == 7
    assert calls == ["page"]
    assert store.session("night").status == "completed"
