"""guarantees.md, promise 10: nobody gets what a dead process pushed to another session's queue, wherever it lies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.support.attempts import acting_as, start
from tests.support.commands import Commands
from tests.support.processes import Child
from tests.support.rows import query, states
from zrb_store import Store, Xcom, open_store
from zrb_store.queries import reclaim as queries

pytestmark = [pytest.mark.promise(number=10), pytest.mark.usefixtures("sound")]


def push_a_nine(pipe: Connection, location: str) -> None:
    """Push to the shared queue in an attempt, and wait."""
    with open_store(location) as store, store.session("worker").run() as run, run.attempt("work"):
        store.session("inbox").xcom["q"].push(9)
        pipe.send("pushed")
        pipe.recv()


def push_by_steps(pipe: Connection, location: str) -> None:
    """Push by a step that depends on nothing, take a value, and push by a step that depends on it."""
    with open_store(location) as store, store.session("worker").run() as run, run.attempt("work") as attempt:
        inbox = store.session("inbox").xcom
        attempt.step("first", inbox["q"].push, "stands")
        inbox["other"].pop()
        attempt.step("second", inbox["q"].push, 9)
        pipe.send("pushed")
        pipe.recv()


def consumed(store: Store, queue: Xcom, batch: int | None = None) -> list[Any]:
    values: list[Any] = []
    with store.session("consumer").run() as run:
        for delivery in run.consume(queue, batch=batch):
            with delivery as value:
                values.append(value)
    return values


def found(search: Callable[[], Any]) -> Any:
    try:
        return search()
    except ValueError as error:
        return type(error)


def after(queue: Xcom, change: Callable[[], object]) -> list[Any]:
    change()
    return list(queue)


# What each operation gives, or leaves, of [1, 2].
OPERATIONS: dict[str, tuple[Callable[[Store, Xcom], Any], Any]] = {
    "pop": (lambda store, q: [q.pop(), q.pop(), len(q)], [1, 2, 0]),
    "popright": (lambda store, q: [q.popright(), q.popright(), len(q)], [2, 1, 0]),
    "pop, then peek": (lambda store, q: [q.pop(), q.peek()], [1, 2]),
    "popright, then get": (lambda store, q: [q.popright(), q.get()], [2, 1]),
    "pop_many": (lambda store, q: q.pop_many(3), [1, 2]),
    "consume": (lambda store, q: consumed(store, q), [1, 2]),
    "consume in batches": (lambda store, q: consumed(store, q, 3), [[1, 2]]),
    "list": (lambda store, q: list(q), [1, 2]),
    "reversed": (lambda store, q: list(reversed(q)), [2, 1]),
    "len": (lambda store, q: len(q), 2),
    "in": (lambda store, q: 9 in q, False),
    "index": (lambda store, q: [found(lambda: q.index(9)), q.index(2)], [ValueError, 1]),
    "count": (lambda store, q: q.count(9), 0),
    "an item": (lambda store, q: [q[1], q[-1], q[-2]], [2, 2, 1]),
    "==": (lambda store, q: q == deque([1, 2]), True),
    "remove": (lambda store, q: [found(lambda: q.remove(9)), *q], [ValueError, 1, 2]),
    "del": (lambda store, q: after(q, lambda: q.__delitem__(1)), [1]),
    "set an item": (lambda store, q: after(q, lambda: q.__setitem__(1, 3)), [1, 3]),
    "insert": (lambda store, q: after(q, lambda: q.insert(2, 3)), [1, 2, 3]),
    "rotate": (lambda store, q: after(q, q.rotate), [2, 1]),
    "reverse": (lambda store, q: after(q, q.reverse), [2, 1]),
}


@pytest.mark.long_on_postgresql(False)
@pytest.mark.parametrize("has_looked", [False, True], ids=["first look", "just looked"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_a_dead_process_pushed_in_the_middle(
    store: Store, location: str, operation: str, has_looked: bool
) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.push(1)
    with Child(push_a_nine, location) as child:
        child.receive()
        queue.push(2)
        if has_looked:
            assert [queue.peek(), *queue] == [1, 1, 9, 2], "its process lives"
        child.kill()
    act, expected = OPERATIONS[operation]
    assert act(store, queue) == expected
    assert (9, "retracted") in states(store, "inbox", "q")
    assert store.session("worker").status == "stale"


def test_the_shell_gets_none_of_it_either(store: Store, location: str, command: Commands) -> None:
    with Child(push_a_nine, location) as child:
        child.receive()
        store.session("inbox").xcom["q"].push(2)
        child.kill()
    assert command.ok("pop", "inbox", "q") == "2\n"


def test_what_a_process_at_work_has_pushed(store: Store, location: str) -> None:
    queue = store.session("inbox").xcom["q"]
    with Child(push_a_nine, location) as child:
        child.receive()
        queue.push(2)
        assert [len(queue), queue.peek(), *queue.pop_many(1), queue.pop()] == [2, 9, 9, 2]
        child.send("go on")
        child.join()
    assert store.session("worker").status == "completed"


def test_a_step_comes_back_only_if_it_depends_on_what_comes_back(store: Store, location: str) -> None:
    inbox = store.session("inbox").xcom
    inbox["other"].push("a")
    with Child(push_by_steps, location) as child:
        child.receive()
        assert [inbox["q"].peek(), len(inbox["q"])] == ["stands", 2]
        child.kill()
    assert [inbox["q"].pop(), len(inbox["q"])] == ["stands", 0]
    assert list(inbox["other"]) == ["a"]


def test_an_attempt_does_not_look_for_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was found that the pusher is this very process, nothing more is asked for."""
    queue = store.session("inbox").xcom["q"]
    with acting_as(start(store, "worker").begin("work")):
        queue.extend(range(4))
        assert queue.pop() == 0
        monkeypatch.setattr(queries, "holding_runs", None)
        assert [queue.pop(), queue.peek(), len(queue), *queue] == [1, 2, 2, 2, 3]
    assert query(store, "SELECT status FROM zrb_attempt") == [("running",)]
