"""Values that die and are requeued by several processes at the same time."""

from __future__ import annotations

import contextlib
from multiprocessing.connection import Connection

import pytest

from tests.support.attempts import Broken
from tests.support.consumers import fates
from tests.support.processes import Child
from tests.support.rows import faults, states
from zrb_store import Store, open_store
from zrb_store.operations.values import requeue_all


def work_and_requeue(pipe: Connection, location: str, number: int, rounds: int) -> None:
    """Push, fail to work on what another process may have pushed, and requeue what is dead, again and again."""
    with open_store(location) as store:
        queue = store.session("inbox").xcom["files"]
        pipe.send("ready")
        pipe.recv()
        with store.session(f"process-{number}").run() as run:
            for turn in range(rounds):
                queue.push((number, turn))
                with contextlib.suppress(IndexError, Broken), run.attempt("convert") as attempt:
                    store.session("done").xcom.bound_to(attempt)["files"].push(queue.pop())
                    raise Broken
                if turn % 3 == number:
                    requeue_all(store.database, "inbox", "files")
        pipe.send("done")


@pytest.mark.promise(number=10)
@pytest.mark.slow
def test_processes_that_kill_values_and_requeue_them_at_the_same_time(store: Store, location: str) -> None:
    store.session("inbox").xcom["files"].max_deliveries = 2
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(work_and_requeue, location, number, 30)) for number in range(3)]
        for message in ("ready", "done"):
            for child in children:
                assert child.receive() == message
            if message == "ready":
                for child in children:
                    child.send("go")
    after = fates(store)
    assert sorted(value for value, _, _ in after) == [(number, turn) for number in range(3) for turn in range(30)]
    assert all(count < 2 if state == "live" else (state, count) == ("dead", 2) for _, state, count in after)
    assert {state for _, state in states(store, "done", "files")} == {"retracted"}
    assert faults(store) == []
