"""docs/promises.md, promise 10, under fire: consumers of a shared queue that are killed at any moment."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection

import pytest

from tests.processes import DEADLINE, Child
from tests.rows import faults, query
from zrb_store import open_store

pytestmark = pytest.mark.slow


def consume(pipe: Connection, location: str, name: str) -> None:
    """Take values one by one, each in an attempt of its own, until the test ends this process."""
    with open_store(location) as store:
        inbox, done = store.session("inbox").xcom["files"], store.session("done").xcom["files"]
        run = store.session(name).run().start()
        pipe.send("running")
        while not pipe.poll():
            try:
                with run.begin("convert"):
                    done.push(inbox.pop())
            except IndexError:
                time.sleep(0.01)
        run.end("completed")


def consume_under_fire(location: str, *, consumers: int, values: int, kills: int, pause: float, seed: int = 7) -> None:
    """Let consumers empty a queue while they are killed and replaced by new ones. Check that nothing is lost.

    No session of a dead consumer is resumed or deleted: the others take its value over.

    Args:
        location: An empty store.
        consumers: How many work at the same time.
        values: How many values there are.
        kills: How many consumers get SIGKILL.
        pause: Seconds between two kills.
        seed: Chooses who is killed.
    """
    dice = random.Random(seed)
    with open_store(location) as store, ExitStack() as stack:
        done = store.session("done").xcom["files"]
        store.session("inbox").xcom["files"].extend(range(values))
        living: list[Child] = []
        for number in range(consumers + kills):
            child = stack.enter_context(Child(consume, location, f"consumer-{number}"))
            assert child.receive() == "running"
            living.append(child)
            if number >= consumers:
                time.sleep(pause)
                living.pop(dice.randrange(len(living))).kill()
        deadline = time.monotonic() + DEADLINE
        while len(done) < values:
            assert time.monotonic() < deadline, f"{values - len(done)} values are not done"
            time.sleep(0.05)
        for child in living:
            child.send("end")
        for child in living:
            assert child.join() == 0
        assert sorted(done) == list(range(values))
        assert list(store.session("inbox").xcom["files"]) == []
        assert query(store, HOLDERS) == [("completed",)]
        assert faults(store) == []


HOLDERS = (
    "SELECT DISTINCT a.status FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id "
    "JOIN zrb_session s ON s.id = q.session_id JOIN zrb_attempt a ON a.id = v.taken_by WHERE s.name = 'inbox'"
)


def test_every_value_is_done_exactly_once(location: str) -> None:
    consume_under_fire(location, consumers=4, values=300, kills=25, pause=0.0)
