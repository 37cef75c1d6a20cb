"""Steps end as their code does: by any exception, by cancellation and Ctrl-C, and in generators that are closed."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from tests.support.steps import Boom, attempt_of, failing, recorded
from zrb_store import Attempt, AttemptClosed, InvalidArgument, Store, ZrbStoreError, step
from zrb_store.db.transaction import set_callback
from zrb_store.xcom import current_attempt

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


async def push_and_hang(attempt: Attempt) -> None:
    attempt.xcom["out"].push("hanging")
    await asyncio.Event().wait()


async def push(attempt: Attempt, value: str) -> str:
    await asyncio.sleep(0)
    attempt.xcom["out"].push(value)
    return value


def statuses(store: Store, *step_ids: str) -> list[str]:
    """Return how the first attempts of these steps ended."""
    return [recorded(store, step_id).status for step_id in step_ids]


def pushed(store: Store) -> list[Any]:
    return list(store.session("night").xcom["out"])


# -- cancellation


@pytest.mark.on_sqlite
def test_cancelling_one_of_several_gathered_steps_leaves_the_others(store: Store) -> None:
    async def main(attempt: Attempt) -> list[object]:
        hanging = asyncio.ensure_future(attempt.step("hang", push_and_hang, attempt))
        others = [attempt.step(f"push {name}", push, attempt, name) for name in "ab"]
        asyncio.get_running_loop().call_soon(hanging.cancel)
        return await asyncio.gather(hanging, *others, return_exceptions=True)

    with attempt_of(store) as attempt:
        cancelled, *values = asyncio.run(main(attempt))
        assert isinstance(cancelled, asyncio.CancelledError)
        assert values == ["a", "b"]
        assert pushed(store) == ["a", "b"]
        assert statuses(store, "convert/1", "convert/2", "convert/3") == ["interrupted", "completed", "completed"]


@pytest.mark.on_sqlite
def test_a_task_group_cancels_the_steps_beside_one_that_fails(store: Store) -> None:
    async def fail_after_a_while(attempt: Attempt) -> None:
        await push(attempt, "failing")
        raise Boom

    async def main(attempt: Attempt) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(attempt.step("hang", push_and_hang, attempt))
            group.create_task(attempt.step("fail", fail_after_a_while, attempt))

    with attempt_of(store) as attempt, pytest.raises(BaseExceptionGroup) as caught:
        asyncio.run(main(attempt))
    assert [type(each) for each in caught.value.exceptions] == [Boom]
    assert statuses(store, "convert/1", "convert/2") == ["interrupted", "failed"]
    assert pushed(store) == []


def test_a_timeout_interrupts_a_step_which_can_run_again(store: Store) -> None:
    async def main(attempt: Attempt) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await attempt.step("slow", push, attempt, "late")
        assert pushed(store) == []
        return await attempt.step("slow", push, attempt, "late")

    with attempt_of(store) as attempt:
        assert asyncio.run(main(attempt)) == "late"
    assert (statuses(store, "convert/1"), recorded(store, "convert/1", 2).status) == (["interrupted"], "completed")
    assert pushed(store) == ["late"]


# -- coroutines


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.on_sqlite
def test_a_coroutine_that_is_never_awaited_starts_nothing(store: Store) -> None:
    with attempt_of(store) as attempt:
        _ = attempt.step("push", push, attempt, "first")
        del _
        gc.collect()
        assert asyncio.run(attempt.step("push", push, attempt, "second")) == "second"
        assert pushed(store) == ["second"]
    assert recorded(store, "convert/1").step == "push"


@pytest.mark.on_sqlite
def test_a_coroutine_is_awaited_once_and_in_its_own_attempt(store: Store) -> None:
    with attempt_of(store, fails=True) as attempt:
        done = attempt.step("push", push, attempt, "a")
        late = attempt.step("late", push, attempt, "b")
        assert asyncio.run(done) == "a"
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            asyncio.run(done)
    with pytest.raises(AttemptClosed):
        asyncio.run(late)
    with attempt_of(store, "other"):
        foreign = attempt.step("push", push, attempt, "c")
        with pytest.raises(ZrbStoreError, match="cannot begin inside night/other#1"):
            asyncio.run(foreign)
    assert pushed(store) == ["a"]


@pytest.mark.parametrize("collected", [False, True], ids=["closed", "collected"])
@pytest.mark.on_sqlite
def test_a_step_whose_coroutine_is_dropped_in_another_context_is_interrupted(store: Store, collected: bool) -> None:
    with attempt_of(store) as attempt:
        coroutine = attempt.step("hang", push_and_hang, attempt)
        elsewhere = contextvars.copy_context()
        loop = asyncio.new_event_loop()
        asyncio._set_running_loop(loop)
        try:
            elsewhere.run(coroutine.send, None)
        finally:
            asyncio._set_running_loop(None)
            loop.close()
        assert pushed(store) == ["hanging"]
        if collected:
            del coroutine
            gc.collect()
        else:
            coroutine.close()
        assert current_attempt.get() is attempt
        assert pushed(store) == []
        assert recorded(store, "convert/1").status == "interrupted"
        assert attempt.step("hang", lambda attempt: "again", attempt) == "again"  # nothing is still claimed


@pytest.mark.on_sqlite
def test_an_async_generator_that_is_dropped_amid_a_step_interrupts_it(store: Store) -> None:
    """The event loop closes it in a context of its own."""

    async def pages(attempt: Attempt) -> AsyncGenerator[str, None]:
        yield await attempt.step("page", push, attempt, "one")
        await attempt.step("hang", push_and_hang, attempt)

    async def main(attempt: Attempt) -> None:
        found = pages(attempt)
        assert await anext(found) == "one"
        second = asyncio.ensure_future(anext(found))
        await asyncio.sleep(0)
        assert pushed(store) == ["one", "hanging"]
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await found.aclose()

    with attempt_of(store) as attempt:
        asyncio.run(main(attempt))
        assert statuses(store, "convert/1", "convert/2") == ["completed", "interrupted"]
        assert pushed(store) == ["one"]


@pytest.mark.on_sqlite
def test_an_attempt_that_a_generator_holds_open_fails_when_it_is_closed_in_another_context(store: Store) -> None:
    session = store.session("night")

    def task() -> Generator[None, None, None]:
        with run.attempt("convert") as attempt:
            attempt.step("push", attempt.xcom["out"].push, "stands")
            session.xcom["out"].push("falls")
            yield

    with session.run() as run:
        generator = task()
        contextvars.copy_context().run(next, generator)
        generator.close()
        assert recorded(store, "convert").status == "interrupted"
        assert current_attempt.get() is None
        with run.attempt("convert"):
            assert pushed(store) == ["stands"]


# -- exceptions that are no Exception


ENDINGS: dict[BaseException, str] = {
    KeyboardInterrupt(): "interrupted",
    SystemExit(0): "failed",
    BaseExceptionGroup("all", [KeyboardInterrupt(), ValueError()]): "interrupted",
    ExceptionGroup("all", [ValueError(), Boom()]): "failed",
    RecursionError(): "failed",
    StopIteration(): "failed",
    StopAsyncIteration(): "failed",
    GeneratorExit(): "interrupted",
}


@pytest.mark.promise(number=11)
@pytest.mark.on_sqlite
def test_any_exception_ends_the_step_and_goes_on(store: Store) -> None:
    def work(error: BaseException) -> None:
        store.session("night").xcom["out"].push("x")
        raise error

    with attempt_of(store) as attempt:
        for number, (error, status) in enumerate(ENDINGS.items(), 1):
            with pytest.raises(type(error)) as caught:
                attempt.step(type(error).__name__, work, error)
            assert caught.value is error
            ended = recorded(store, f"convert/{number}")
            assert (ended.status, ended.error_type) == (status, type(error).__name__)
            assert pushed(store) == []


@pytest.mark.on_sqlite
def test_endless_recursion_inside_a_step_fails_it(store: Store) -> None:
    def deeper() -> None:
        deeper()

    with attempt_of(store) as attempt:
        with pytest.raises(RecursionError):
            attempt.step("deep", deeper)
        assert recorded(store, "convert/1").status == "failed"
        assert attempt.step("deep", int) == 0


@pytest.mark.on_sqlite
def test_a_step_that_calls_itself_is_refused_and_fails(store: Store) -> None:
    def again() -> None:
        step("work", again)

    with attempt_of(store) as attempt, pytest.raises(ZrbStoreError, match="steps do not nest"):
        attempt.step("work", again)
    assert recorded(store, "convert/1").status == "failed"


INTERRUPTED = {
    # The point, whether the step's function ran before it, and whether it runs again in the next attempt.
    "step_begin:before": (0, 1),
    "step_begin:after": (0, 1),
    "step_complete:before": (1, 2),
    "step_complete:after": (1, 1),
    "complete:before": (1, 1),
    "complete:inside": (1, 1),
}


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("point", INTERRUPTED)
def test_a_ctrl_c_anywhere_leaves_a_step_done_or_undone(store: Store, point: str) -> None:
    session = store.session("night")
    session.xcom["in"].push("a")
    calls: list[str] = []

    def work() -> str:
        calls.append("work")
        session.xcom["out"].push(session.xcom["in"].pop())
        return "done"

    def press(name: str) -> None:
        if name == point:
            set_callback(None)
            raise KeyboardInterrupt

    before, after = INTERRUPTED[point]
    with pytest.raises(KeyboardInterrupt), attempt_of(store) as attempt:  # noqa: PT012 - the attempt's end may raise it
        set_callback(press)
        attempt.step("work", work)
    assert set_callback(None) is None  # the point was reached
    assert len(calls) == before
    done = before == after
    assert (list(session.xcom["in"]), pushed(store)) == (([], ["a"]) if done else (["a"], []))
    with attempt_of(store) as attempt:
        assert attempt.step("work", work) == "done"
    assert len(calls) == after
    assert (list(session.xcom["in"]), pushed(store)) == ([], ["a"])


@pytest.mark.parametrize("point", ["step_begin:after", "step_complete:before"])
def test_a_task_that_survives_a_ctrl_c_runs_the_step_again(store: Store, point: str) -> None:
    def press(name: str) -> None:
        if name == point:
            set_callback(None)
            raise KeyboardInterrupt

    with attempt_of(store) as attempt:
        set_callback(press)
        with pytest.raises(KeyboardInterrupt):
            attempt.step("work", store.session("night").xcom["out"].push, 1)
        attempt.step("work", store.session("night").xcom["out"].push, 1)
        assert (statuses(store, "convert/1"), recorded(store, "convert/1", 2).status) == (["interrupted"], "completed")
        assert pushed(store) == [1]


@pytest.mark.on_sqlite
def test_sys_exit_in_a_step_ends_the_task_and_keeps_what_completed(store: Store) -> None:
    def task(attempt: Attempt) -> None:
        attempt.step("before", attempt.xcom["out"].push, 1)
        attempt.step("exit", sys.exit, 3)

    with pytest.raises(SystemExit), attempt_of(store) as attempt:
        task(attempt)
    assert [recorded(store, *name).status for name in (("convert", 1), ("convert/1", 1), ("convert/2", 1))] == [
        "failed",
        "completed",
        "failed",
    ]
    with attempt_of(store) as attempt:
        attempt.step("before", failing, 1)  # it is done
        assert pushed(store) == [1]


class Doubler:
    """Callable in several ways."""

    def double(self, number: int) -> int:
        return 2 * number

    async def double_later(self, number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def __call__(self, number: int) -> int:
        return await self.double_later(number)


@pytest.mark.on_sqlite
def test_a_step_calls_functions_of_every_kind(store: Store) -> None:
    functions: list[tuple[Callable[..., Any], list[int]]] = [
        (Doubler().double, [4]),
        (Doubler().double_later, [4]),
        (Doubler(), [4]),
        (functools.partial(Doubler.double, Doubler(), 4), []),
        (functools.partial(Doubler().double_later, 4), []),
        (functools.partial(functools.partial(Doubler()), 4), []),
    ]
    for fails in (True, False):
        with attempt_of(store, fails=fails) as attempt:
            for number, (function, arguments) in enumerate(functions):
                result: Any = attempt.step(f"double {number}", function, *arguments)
                assert (asyncio.run(result) if asyncio.iscoroutine(result) else result) == 8


@pytest.mark.on_sqlite
def test_a_class_is_called_like_a_function(store: Store) -> None:
    """That its objects are coroutine functions does not make it one."""
    with attempt_of(store) as attempt, pytest.warns(RuntimeWarning, match="cannot store"):
        assert isinstance(attempt.step("make", Doubler), Doubler)


def generate() -> Iterator[int]:
    yield 1


async def generate_later() -> AsyncIterator[int]:
    yield 1


KINDS: tuple[Callable[[], Any], ...] = (generate, generate_later)


@pytest.mark.on_sqlite
def test_a_generator_is_refused_since_its_code_would_run_outside_of_the_step(store: Store) -> None:
    with attempt_of(store) as attempt:
        for function in KINDS:
            with pytest.raises(InvalidArgument, match="step pages returned a generator, whose code would run outside"):
                attempt.step("pages", function)
    assert recorded(store, "convert/1", 2).status == "failed"


@pytest.mark.on_sqlite
def test_an_asyncio_task_is_refused_and_cancelled(store: Store) -> None:
    async def main(attempt: Attempt) -> None:
        made: list[asyncio.Task[Any]] = []

        def start() -> asyncio.Task[Any]:
            made.append(asyncio.ensure_future(push(attempt, "x")))
            return made[0]

        with pytest.raises(InvalidArgument, match="coroutine function"):
            _ = attempt.step("start", start)
        with pytest.raises(asyncio.CancelledError):
            await made[0]

    with attempt_of(store) as attempt:
        asyncio.run(main(attempt))
    assert list(store.session("night").xcom["out"]) == []
