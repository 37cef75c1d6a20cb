"""Several processes whose steps and attempts share queues, and fail at random: each value is done exactly once."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from tests.support.processes import DEADLINE, children
from tests.support.rows import query
from tests.support.steps import Boom
from zrb_store import Attempt, Run, Store, Xcom, open_store

pytestmark = pytest.mark.usefixtures("sound")

VALUES = 120


def work(pipe: Connection, location: str, number: int) -> None:
    """Move values from the inbox to the outbox until all are there, by attempts and steps that often fail."""
    generator = random.Random(number)
    with open_store(location) as store:
        queues = store.session("shared").xcom
        with store.session(f"worker-{number}").run() as run:
            ends = time.monotonic() + DEADLINE
            for task in range(10_000):
                if len(queues["out"]) == VALUES:
                    break
                assert time.monotonic() < ends
                while not run.completed(f"task {task}"):
                    with contextlib.suppress(Boom):
                        move_some(run, f"task {task}", queues["in"], queues["out"], generator)
        pipe.send("done")


def move_some(run: Run, task: str, source: Xcom, target: Xcom, generator: random.Random) -> None:
    def move(fails: bool) -> None:
        with contextlib.suppress(IndexError):
            target.push(source.pop())
        if fails:
            raise Boom

    def perhaps_fail() -> bool:
        return generator.random() < 0.2

    with run.attempt(task) as attempt:
        move_by_steps(attempt, move, generator)
        if generator.random() < 0.5:
            move(perhaps_fail())
            move_by_steps(attempt, move, generator)
        if perhaps_fail():
            raise Boom


def move_by_steps(attempt: Attempt, move: Callable[[bool], None], generator: random.Random) -> None:
    for _ in range(generator.randrange(3)):
        with contextlib.suppress(Boom) if generator.random() < 0.5 else contextlib.nullcontext():
            attempt.step(f"move {generator.random()}", move, generator.random() < 0.2)


@pytest.mark.promise(number=11)
def test_each_value_is_moved_exactly_once(store: Store, location: str) -> None:
    queues = store.session("shared").xcom
    queues["in"].extend(range(VALUES))
    with children(4, work_in_child, location) as workers:
        for number, worker in enumerate(workers):
            worker.send(number)
        assert [worker.receive() for worker in workers] == ["done"] * 4
    assert sorted(queues["out"]) == list(range(VALUES))
    assert list(queues["in"]) == []
    running = query(store, "SELECT task FROM zrb_attempt WHERE status = 'running'")
    assert running == []


def work_in_child(pipe: Connection, location: str) -> None:
    work(pipe, location, pipe.recv())
