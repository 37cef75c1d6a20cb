"""Threads of one run: none executes a task that another thread executes, or gives back an open attempt of another."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.attempts import Broken, start
from tests.support.processes import Child
from tests.support.rows import query
from tests.support.runners import fork_amid_a_step
from zrb_store import Attempt, InputsDiffer, LeaseLost, Run, Store, StoreUnavailable, ZrbStoreError

pytestmark = [pytest.mark.long_on_postgresql, pytest.mark.usefixtures("sound")]

PATIENCE = 30.0
UNDER_WAY = "is running in this process: it must end before the task's next attempt begins"


class Step:
    """A step that one thread executes while another thread asks for it.

    Attributes:
        calls: The arguments of each call of the function.
    """

    def __init__(self, run: Run, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        self._threads = threads
        self._run = run
        self._executing, self._waited, self._go_on = (threading.Event() for _ in range(3))
        look = run.refuse_if_over

        def looking() -> None:
            if self._executing.is_set():
                self._waited.set()
            look()

        monkeypatch.setattr(run, "refuse_if_over", looking)

    def _work(self, outcome: Any) -> Any:
        self.calls.append(outcome)
        self._executing.set()
        if len(self.calls) == 1:
            assert self._go_on.wait(PATIENCE)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def ask(self, outcome: Any) -> Future[Any]:
        """Ask for the step in a thread. Return when that thread executes the function or waits for another thread."""
        event = self._waited if self._executing.is_set() else self._executing
        future = self._threads.submit(self._run.task, "load", self._work, outcome)
        assert event.wait(PATIENCE)
        return future

    def go_on(self) -> None:
        """Let the first call of the function return."""
        self._go_on.set()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def run(store: Store) -> Run:
    return start(store, "flow")


@pytest.fixture
def step(run: Run, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Step:
    return Step(run, threads, monkeypatch)


def attempts(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(store, "SELECT task, number, status FROM zrb_attempt ORDER BY id")]


def test_the_second_thread_gets_the_result_of_the_first(store: Store, step: Step) -> None:
    first, second = step.ask("result"), step.ask("result")
    assert not second.done()
    step.go_on()
    assert first.result(PATIENCE) == second.result(PATIENCE) == "result"
    assert step.calls == ["result"]
    assert attempts(store) == [("load", 1, "completed")]


@pytest.mark.parametrize(("error", "status"), [(Broken(), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_the_second_thread_has_the_next_attempt_if_the_first_ends_by_an_error(
    store: Store, step: Step, error: BaseException, status: str
) -> None:
    first, second = step.ask(error), step.ask("result")
    step.go_on()
    with pytest.raises(type(error)):
        first.result(PATIENCE)
    assert second.result(PATIENCE) == "result"
    assert attempts(store) == [("load", 1, status), ("load", 2, "completed")]


def test_the_arguments_of_the_second_thread_are_compared(step: Step) -> None:
    first, second = step.ask(1), step.ask(2)
    step.go_on()
    assert first.result(PATIENCE) == 1
    with pytest.raises(InputsDiffer, match="1 became 2"):
        second.result(PATIENCE)


def test_waiting_ends_with_the_run(run: Run, step: Step) -> None:
    first, second = step.ask("result"), step.ask("result")
    run.end("failed")
    with pytest.raises(ZrbStoreError, match="this run of session flow has ended: use `with"):
        second.result(PATIENCE)
    step.go_on()
    with pytest.raises(ZrbStoreError, match="flow/load#1 is interrupted"):
        first.result(PATIENCE)


def test_waiting_ends_when_the_run_is_lost(store: Store, run: Run, step: Step) -> None:
    first, second = step.ask("result"), step.ask("result")
    start(store, "flow")
    with pytest.raises(LeaseLost):
        run.begin("report")
    with pytest.raises(LeaseLost):
        second.result(PATIENCE)
    step.go_on()
    with pytest.raises(LeaseLost):
        first.result(PATIENCE)


def test_other_tasks_do_not_wait(run: Run, step: Step) -> None:
    first = step.ask("result")
    assert run.task("report", lambda: 1) == 1
    step.go_on()
    first.result(PATIENCE)


def test_a_step_in_itself_is_refused(run: Run) -> None:
    with pytest.raises(ZrbStoreError, match=UNDER_WAY):
        run.task("load", lambda: run.task("load", lambda: 1))


def test_a_forked_child_waits_for_no_thread_of_its_parent(location: str) -> None:
    """Nor does it do what its parent is doing."""
    with Child(fork_amid_a_step, location) as child:
        assert child.receive() == 7


def test_coroutines_run_a_step_once(store: Store, run: Run) -> None:
    calls: list[str] = []

    def work(name: str) -> str:
        calls.append(name)
        return name

    async def ask(name: str) -> list[str]:
        return [run.task(name, work, name), await asyncio.to_thread(run.task, f"{name} in a thread", work, name)]

    async def both() -> Any:
        return await asyncio.gather(ask("a"), ask("a"), ask("b"))

    assert asyncio.run(both()) == [["a", "a"], ["a", "a"], ["b", "b"]]
    assert sorted(calls) == ["a", "a", "b", "b"]


class TestAttempts:
    """A thread does not wait for an open attempt, since it may be the one that has to end it."""

    @pytest.mark.parametrize(
        "ask", [lambda run: run.attempt("load"), lambda run: run.task("load", lambda: 1)], ids=["attempt", "step"]
    )
    def test_one_that_is_open_is_left_alone(
        self, store: Store, run: Run, threads: ThreadPoolExecutor, ask: Callable[[Run], Any]
    ) -> None:
        queue = store.session("shared").xcom["q"]
        attempt = run.attempt("load")
        attempt.xcom["q"].push(1)
        with pytest.raises(ZrbStoreError, match=f"load#1 {UNDER_WAY}"):
            ask(run)
        with pytest.raises(ZrbStoreError, match=f"load#1 {UNDER_WAY}"):
            threads.submit(ask, run).result(PATIENCE)
        with attempt:
            queue.push(2)
        assert attempts(store) == [("load", 1, "completed")]

    def test_one_of_two_threads_gets_it(self, store: Store, run: Run, threads: ThreadPoolExecutor) -> None:
        together = threading.Barrier(2)

        def begin(task: str) -> Attempt | ZrbStoreError:
            together.wait(PATIENCE)
            try:
                return run.attempt(task)
            except ZrbStoreError as error:
                return error

        for number in range(30):
            task = f"t{number}"
            got = list(threads.map(begin, [task, task]))
            [attempt] = [one for one in got if isinstance(one, Attempt)]
            [refusal] = [one for one in got if isinstance(one, ZrbStoreError)]
            assert str(refusal).endswith(UNDER_WAY)
            attempt.complete(number)
        assert [row[1:] for row in attempts(store)] == [(1, "completed")] * 30

    def test_a_step_that_is_executed_is_not_begun_by_hand(self, run: Run, step: Step) -> None:
        first = step.ask("result")
        with pytest.raises(ZrbStoreError, match=UNDER_WAY):
            run.attempt("load")
        step.go_on()
        first.result(PATIENCE)

    @pytest.mark.parametrize("end", ["complete", "fail"])
    def test_it_is_over_when_it_was_ended(self, store: Store, run: Run, end: str) -> None:
        first = run.attempt("load")
        getattr(first, end)()
        if end == "fail":
            with run.attempt("load") as second:
                assert second.number == 2
        assert run.task("load", lambda: pytest.fail("called")) is None

    def test_it_is_over_when_its_block_was_left(self, store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """This holds even if the end could not be stored."""

        def unreachable(*_: object) -> None:
            raise StoreUnavailable("gone for a moment")

        with monkeypatch.context() as patched:
            patched.setattr(Attempt, "fail", unreachable)
            with pytest.raises(Broken), run.attempt("load") as kept:
                raise Broken
        with run.attempt("load") as second:
            assert second.number == 2
        assert kept.number == 1
        assert attempts(store) == [("load", 1, "lost"), ("load", 2, "completed")]

    @pytest.mark.slow
    def test_it_is_over_when_it_was_garbage_collected(self, store: Store, run: Run) -> None:
        run.attempt("load")
        gc.collect()
        assert run.task("load", lambda: 5) == 5
        assert attempts(store) == [("load", 1, "lost"), ("load", 2, "completed")]

    def test_not_before_the_run_starts_nor_after_its_end(self, store: Store) -> None:
        run = store.session("new").run()
        for ask in (lambda: run.attempt("load"), lambda: run.task("load", lambda: 1)):
            with pytest.raises(ZrbStoreError, match="this run of session new was not started: use `with"):
                ask()
        with run:
            run.task("count", lambda: 3)
        for ask in (lambda: run.attempt("load"), lambda: run.task("load", lambda: 1)):
            with pytest.raises(ZrbStoreError, match="this run of session new has ended: use `with"):
                ask()
        assert run.task("count", lambda: pytest.fail("called")) == 3
        assert attempts(store) == [("count", 1, "completed")]
