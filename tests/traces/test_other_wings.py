"""Spans of transactions of own tables, of forked children, and of replays."""

from __future__ import annotations

import asyncio
import itertools
import os

import pytest
import sqlalchemy as sa

from tests.own_tables.shops import engine_of
from tests.traces.conftest import Programs, Traced
from tests.traces.spans import Collector


@pytest.mark.parametrize("fails", [False, True])
def test_a_step_in_the_stores_own_database_ends_with_its_transaction(
    traced: Traced, location: str, fails: bool
) -> None:
    engine = engine_of(location)

    def insert(connection: sa.Connection) -> int:
        if fails:
            raise ValueError("no rows")
        return 3

    try:
        with traced.store.session("etl").run(task="etl") as run, run.attempt("load") as attempt:
            attempt.step.transaction(engine, "rows", insert)
    except ValueError:
        pass
    finally:
        engine.dispose()
    status = "failed" if fails else "completed"
    assert traced.seen.tree == f"run etl: {status}\n  task load #1: {status}\n    step rows #1: {status}\n"


@pytest.mark.parametrize("fails", [False, True])
def test_a_delivery_in_the_stores_own_database_ends_with_its_transaction(
    traced: Traced, location: str, fails: bool
) -> None:
    engine = engine_of(location)
    inbox = traced.store.session("inbox").xcom["q"]
    inbox.push(1)
    with traced.store.session("worker").run(task="work") as run:
        for delivery in run.consume(inbox):
            with delivery.transaction(engine) as (_, value):
                assert value == 1
                if fails:
                    raise ValueError("no rows")
    engine.dispose()
    [found] = [each for each in traced.seen.spans if each.name == "process q"]
    assert found.attributes["zrb_store.status"] == ("failed" if fails else "completed")


def test_a_forked_child_ends_no_span(traced: Traced) -> None:
    with traced.store.session("etl").run(task="etl") as run, run.attempt("load") as attempt:
        pid = os.fork()
        if not pid:
            try:
                attempt.__exit__(None, None, None)
            finally:
                os._exit(len(traced.seen.spans))
        assert os.waitpid(pid, 0)[1] == 0
    assert traced.seen.tree == "run etl: completed\n  task load #1: completed\n"


def test_a_coroutine_keeps_its_own_span(traced: Traced) -> None:
    async def page(number: int) -> None:
        await asyncio.sleep(0)
        traced.provider.get_tracer("the application").start_span(f"GET {number}").end()

    async def load() -> None:
        with traced.store.session("etl").run(task="etl") as run, run.attempt("load") as attempt:
            await asyncio.gather(*(attempt.step(f"page {number}", page, number) for number in (1, 2)))

    asyncio.run(load())
    assert traced.seen.tree == (
        "run etl: completed\n"
        "  task load #1: completed\n"
        "    step page 1 #1: completed\n"
        "      GET 1\n"
        "    step page 2 #1: completed\n"
        "      GET 2\n"
    )


def test_each_try_of_a_coroutine_is_a_span_of_its_run(traced: Traced) -> None:
    tracer, tries = traced.provider.get_tracer("the application"), itertools.count(1)

    async def load() -> int:
        if next(tries) == 1:
            raise OSError("reset by peer")
        return 1

    async def etl() -> None:
        async with traced.store.session("etl").run(task="etl") as run:
            with tracer.start_as_current_span("before"):
                pass
            assert await run.task.options(retries=1, retry_after=0)("load", load) == 1
        with tracer.start_as_current_span("after"):
            pass

    asyncio.run(etl())
    assert traced.seen.tree == (
        "run etl: completed\n  before\n  task load #1: failed\n  task load #2: completed\nafter\n"
    )


SCRIPT = """
zrb-store step one -- true
"""


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_a_replay_exports_nothing(programs: Programs, collector: Collector) -> None:
    programs.write("job.sh", SCRIPT)
    programs.run("zrb-store", "run", "night", "--task", "job", "--", "sh", "job.sh")
    before = collector.tree
    assert before == "run job: completed\n  task job #1: completed\n    step one #1: completed\n"
    programs.run("zrb-store", "replay", "night/job#1", "--yes")
    assert collector.tree == before
