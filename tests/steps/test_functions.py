"""What a step may call: functions of every kind, but none whose code would run outside of the step."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.support.steps import attempt_of, recorded
from zrb_store import Attempt, InvalidArgument, Store

pytestmark = pytest.mark.usefixtures("sound")


async def push(attempt: Attempt) -> None:
    attempt.xcom["out"].push("x")


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
def test_functions_of_every_kind(store: Store) -> None:
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
            made.append(asyncio.ensure_future(push(attempt)))
            return made[0]

        with pytest.raises(InvalidArgument, match="give the coroutine function itself"):
            _ = attempt.step("start", start)
        with pytest.raises(asyncio.CancelledError):
            await made[0]

    with attempt_of(store) as attempt:
        asyncio.run(main(attempt))
    assert list(store.session("night").xcom["out"]) == []
