"""Steps: attempts inside an attempt, which stand although it fails (guarantees.md, promise 11)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.rows import query
from tests.support.steps import Boom, Counted, attempt_of, failing, recorded
from zrb_store import (
    Attempt,
    AttemptClosed,
    InputsDiffer,
    InvalidArgument,
    LeaseLost,
    Run,
    StepUncertain,
    Store,
    ZrbStoreError,
    open_store,
    step,
)
from zrb_store.testing import Crash, crash_at, expire_lease
from zrb_store.xcom import Xcoms


@pytest.mark.promise(number=11)
@pytest.mark.smoke
def test_completed_steps_stand_when_the_attempt_fails(store: Store) -> None:
    session = store.session("night")
    session.xcom["in"].extend(["a", "b", "c"])

    @Counted
    def fetch(page: int) -> object:
        session.xcom["out"].push(page)
        return session.xcom["in"].pop()

    store.session("bystander").run().start().begin("work")
    after = Counted()
    with attempt_of(store, fails=True):
        assert [step(f"page {page}", fetch, page) for page in (1, 2)] == ["a", "b"]
        session.xcom["out"].push("outside")
        session.xcom["in"].pop()
        step("after a take from its own session", after)
    assert list(session.xcom["out"]) == [1, 2, "outside"]
    with attempt_of(store):
        assert (list(session.xcom["out"]), list(session.xcom["in"])) == ([1, 2], ["c"])
        assert [step(f"page {page}", fetch, page) for page in (1, 2, 3)] == ["a", "b", "c"]
        step("after a take from its own session", after)
    assert (fetch.calls, after.calls) == (3, 1)
    assert list(session.xcom["out"]) == [1, 2, 3]


def test_a_second_step_of_a_name_is_numbered(store: Store) -> None:
    for _ in range(2):
        with attempt_of(store, fails=True) as attempt:
            assert [attempt.step("page", int, text) for text in "789"] == [7, 8, 9]
    assert [recorded(store, f"convert/{number}").step for number in (1, 2, 3)] == ["page", "page~2", "page~3"]
    with attempt_of(store, "other") as attempt, pytest.raises(InvalidArgument, match="cannot name a step"):
        attempt.step("page~2", int)


@pytest.mark.promise(number=11)
def test_a_failed_step_is_given_back_at_once(store: Store) -> None:
    session = store.session("night")
    session.xcom["in"].push("a")

    def take_and_fail() -> None:
        session.xcom["out"].push(session.xcom["in"].pop())
        raise Boom

    with attempt_of(store) as attempt:
        with pytest.raises(Boom):
            attempt.step("page", take_and_fail)
        assert (list(session.xcom["in"]), list(session.xcom["out"])) == (["a"], [])
        failed = recorded(store, "convert/1")
        assert (failed.status, failed.error_type) == ("failed", "Boom")
        # The same call again is the step's second attempt, not another step.
        with pytest.raises(Boom):
            attempt.step("page", take_and_fail)
        assert recorded(store, "convert/1", 2).status == "failed"
        assert attempt.step("page", int, "3") == 3  # another one
    assert recorded(store, "convert/2").step == "page~2"


@pytest.mark.on_sqlite
def test_a_traceback_has_only_frames_of_the_user(store: Store) -> None:
    """Also inside of steps, of what led to an exception, and of the exceptions in a group."""

    def empty() -> None:
        store.session("night").xcom["nothing"].pop()

    def page() -> None:
        try:
            empty()
        except IndexError as error:
            raise ExceptionGroup("all", [Boom("one")]) from error

    with pytest.raises(ExceptionGroup), store.session("night").run() as run, run.attempt("convert") as attempt:
        attempt.step("page", page)
    tracebacks = [row[0] for row in query(store, "SELECT error_traceback FROM zrb_attempt ORDER BY id")]
    functions = [re.findall(r'File "(.*)", line \d+, in (.*)', each) for each in tracebacks]
    assert {file for each in functions for file, _ in each} == {__file__}
    name = "test_a_traceback_has_only_frames_of_the_user"
    assert [[function for _, function in each] for each in functions] == [
        ["page", "empty", name, "page"],
        ["page", "empty", "page"],
    ]


@pytest.mark.promise(number=11)
def test_other_arguments_are_refused(store: Store) -> None:
    with attempt_of(store, fails=True) as attempt:
        attempt.step("page", int, "7")
    with attempt_of(store) as attempt:
        with pytest.raises(InputsDiffer, match=r"step page of task convert \(night/convert/1#1\) completed with other"):
            attempt.step("page", int, "8")
        assert attempt.step("page", int, "7") == 7


class LateStep:
    """A step in a thread: it takes a value, pushes it, and pushes another one after its attempt has ended."""

    def __init__(self, attempt: Attempt) -> None:
        self.refused: list[ZrbStoreError] = []
        self._attempt = attempt
        self._taken, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._taken.wait(60)

    def go_on(self) -> None:
        """Say that the attempt has ended, and wait for the end of the step."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._attempt.step("slow", self._work)
        except ZrbStoreError as error:
            self.refused.append(error)

    def _work(self) -> None:
        self._attempt.xcom["out"].push(self._attempt.xcom["in"].pop())
        self._taken.set()
        assert self._ended.wait(60)
        self._attempt.xcom["out"].push("late")


@pytest.mark.promise(number=11)
def test_ending_an_attempt_closes_its_steps(store: Store) -> None:
    session = store.session("night")
    session.xcom["in"].push("a")
    with store.session("night").run() as run:
        for number, fails in enumerate((True, False), 1):
            with contextlib.suppress(Boom), run.attempt("convert") as attempt:
                late = LateStep(attempt)
                assert list(session.xcom["in"]) == []
                if fails:
                    raise Boom
            assert list(session.xcom["in"]) == ["a"]
            late.go_on()
            assert ([type(each) for each in late.refused], list(session.xcom["out"])) == ([AttemptClosed], [])
            assert recorded(store, "convert/1", number).status == "interrupted"


@pytest.mark.promise(number=11)
def test_a_step_begun_after_a_foreign_take_goes_back_with_it(store: Store) -> None:
    inbox = store.session("inbox").xcom["files"]
    inbox.push("a.csv")
    before, after = Counted(), Counted(lambda file: store.session("night").xcom["done"].push(file))
    for expected in (1, 2):
        with attempt_of(store, fails=expected == 1) as attempt:
            attempt.step("before", before)
            attempt.step("after", after, inbox.pop())
            assert (before.calls, after.calls) == (1, expected)
    assert list(inbox) == []
    assert list(store.session("night").xcom["done"]) == ["a.csv"]


@pytest.mark.promise(number=11)
def test_a_step_that_took_what_its_attempt_pushed_does_not_stand(store: Store) -> None:
    queues = store.session("night").xcom
    pass_on = Counted(lambda source, target: queues[target].push(queues[source].pop()))
    for expected in (1, 2):
        with attempt_of(store, fails=expected == 1) as attempt:
            queues["a"].push("value")
            attempt.step("first", pass_on, "a", "b")
            attempt.step("second", pass_on, "b", "c")
            assert pass_on.calls == 2 * expected
    assert [list(queues[name]) for name in "abc"] == [[], [], ["value"]]


def in_thread(function: Callable[..., object], *args: object) -> None:
    """Call a function in a thread that has no context, and raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function, *args).result()


@pytest.mark.promise(number=11)
def test_a_thread_writes_for_the_only_open_step(store: Store) -> None:
    out = store.session("night").xcom["out"]

    async def push_and_wait(attempt: Attempt, both_began: asyncio.Barrier) -> None:
        await both_began.wait()
        try:
            in_thread(attempt.xcom["out"].push, "whose?")
        finally:
            await both_began.wait()

    async def two_steps(attempt: Attempt) -> None:
        both = asyncio.Barrier(2)
        await asyncio.gather(*(attempt.step(name, push_and_wait, attempt, both) for name in ("one", "two")))

    with attempt_of(store, fails=True) as attempt:
        attempt.step("only", in_thread, attempt.xcom["out"].push, "of the step")
        in_thread(attempt.xcom["out"].push, "of the attempt")
        assert list(out) == ["of the step", "of the attempt"]
    with attempt_of(store) as attempt:
        assert list(out) == ["of the step"]
        with pytest.raises(ZrbStoreError, match=r"several steps of night/convert#2 are open \(one, two\)"):
            asyncio.run(two_steps(attempt))
    assert list(out) == ["of the step"]


@pytest.mark.promise(number=11)
def test_a_once_step_that_was_lost_is_uncertain(store: Store) -> None:
    with pytest.raises(Crash), attempt_of(store) as attempt, crash_at("step_complete:before"):
        attempt.step("charge", int, "7", once=True)
    expire_lease(store.session("night"))
    charge = Counted()
    with attempt_of(store, fails=True) as attempt:
        with pytest.raises(StepUncertain, match=r'its arguments were "7"') as caught:
            attempt.step("charge", charge, "7", once=True)
        assert "zrb-store mark night convert --step charge completed --result JSON" in str(caught.value)
        with pytest.raises(Boom):
            attempt.step("refund", failing, once=True)
        assert attempt.step("refund", int, once=True) == 0  # its end was known
    assert charge.calls == 0


@pytest.mark.promise(number=11)
def test_an_unstorable_result_is_handed_on(store: Store) -> None:
    session = store.session("night")

    @Counted
    def make() -> object:
        session.xcom["out"].push("made")
        return object()

    for _ in range(2):
        with attempt_of(store, fails=True) as attempt, pytest.warns(RuntimeWarning, match="step make of task convert"):
            assert type(attempt.step("make", make)) is object
    assert make.calls == 2
    assert list(session.xcom["out"]) == ["made"]


def test_misuse_is_refused_with_advice(store: Store) -> None:
    with pytest.raises(ZrbStoreError, match="not inside an attempt"):
        step("page", int)
    with attempt_of(store) as attempt:
        with pytest.raises(ZrbStoreError, match="steps do not nest"):
            attempt.step("outer", lambda: step("inner", int))
        with pytest.raises(ZrbStoreError) as refused:
            asyncio.run(twice_at_once(attempt))
        assert str(refused.value) == (
            "step page of night/convert#1 is running: steps that run at the same time need different names"
        )
        with pytest.raises(InvalidArgument, match="give the coroutine function itself"):
            _ = attempt.step("lazy", lambda: asyncio.sleep(0))
    with pytest.raises(AttemptClosed):
        attempt.step("late", int)
    store.session("inbox").xcom["files"].push("a.csv")
    with store.session("worker").run() as run:
        for delivery in run.consume(store.session("inbox").xcom["files"], on_error="raise"):
            with delivery, pytest.raises(InvalidArgument, match="given back whole"):
                step("page", int)


async def twice_at_once(attempt: Attempt) -> None:
    await asyncio.gather(*(attempt.step("page", asyncio.sleep, 0) for _ in range(2)))


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize("ending", ["complete", "fail"])
def test_a_step_that_runs_for_the_second_time_is_closed(store: Store, ending: str) -> None:
    """It is known from the attempt before, so that it needs no new number."""
    session = store.session("night")
    session.xcom["in"].push("a")
    with session.run() as run:
        with pytest.raises(Boom), run.attempt("convert") as attempt:
            attempt.step("slow", failing)
        attempt = run.attempt("convert")
        late = LateStep(attempt)
        try:
            getattr(attempt, ending)()
            assert recorded(store, "convert/1", 2).status == "interrupted"
            assert list(session.xcom["in"]) == ["a"]
        finally:
            late.go_on()
        assert ([type(each) for each in late.refused], list(session.xcom["out"])) == ([AttemptClosed], [])


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


@pytest.mark.usefixtures("sound")
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
    late = LateStep(run.begin("convert"))
    try:
        end(run, location)
        assert recorded(store, "convert/1").status == status
        assert list(session.xcom["in"]) == ["a"]
    finally:
        late.go_on()
    assert [type(each) for each in late.refused] == [error]
    assert list(session.xcom["out"]) == []
    assert set(told) == {False}


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
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
