"""Code that ends in another context than it began in: a generator or a coroutine that is closed from outside."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import Any

import pytest

from zrb_store import Run, Store, step

Work = Callable[[Store, Run], Generator[Any, None, None]]


def in_an_attempt(store: Store, run: Run) -> Generator[None, None, None]:
    with run.attempt("load"):
        store.session("inbox").xcom["files"].pop()
        yield


def in_a_step(store: Store, run: Run) -> Generator[Any, None, None]:
    async def take() -> None:
        store.session("inbox").xcom["files"].pop()
        await asyncio.sleep(0)

    async def work() -> None:
        with run.attempt("load"):
            await step("take", take)

    yield from work().__await__()


def in_a_delivery(store: Store, run: Run) -> Generator[None, None, None]:
    for delivery in run.consume(store.session("inbox").xcom["files"]):
        with delivery:
            yield


@pytest.mark.parametrize("work", [in_an_attempt, in_a_step, in_a_delivery])
def test_what_it_took_is_given_back(store: Store, work: Work) -> None:
    files = store.session("inbox").xcom["files"]
    files.push("a.csv")
    with store.session("night").run() as run:
        working = work(store, run)
        contextvars.copy_context().run(next, working)
        assert list(files) == []
        working.close()
        assert list(files) == ["a.csv"]
