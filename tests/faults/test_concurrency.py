"""Many processes, threads and coroutines use one store: each value goes to one taker, in order, and nobody starves."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.faults.crowd import crowd
from tests.faults.fire import consume_under_fire
from tests.support.attempts import Broken, start
from tests.support.processes import Child, children
from tests.support.rows import faults, query, states
from tests.support.workers import (
    fail_on_shared_queues,
    fork_after_open,
    open_and_push,
    push_and_take,
    push_in_signal_handlers,
    rotate_until_told,
    take_and_sometimes_undo,
)
from zrb_store import Store, open_store
from zrb_store.db import engine, schema
from zrb_store.db.transaction import Transaction, roll_back

pytestmark = pytest.mark.slow

PROCESSES = 8


@pytest.mark.promise(number=4)
@pytest.mark.smoke
def test_each_value_goes_to_one_process(location: str, store: Store) -> None:
    """Eight processes push and take at both ends of queues. All finish without an error."""
    rounds = 60
    answers = []
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Child(push_and_take, location, number, rounds)) for number in range(PROCESSES)]
        for process in processes:
            assert process.receive() == "ready"
        for process in processes:
            process.send("go")
        answers = [process.receive() for process in processes]
        assert [process.join() for process in processes] == [0] * PROCESSES
    pushed = {(number, turn) for number in range(PROCESSES) for turn in range(rounds)}
    for place, name in enumerate(("line", "both")):
        taken = [value for answer in answers for value in answer[place]]
        assert Counter([*taken, *store.session("s").xcom[name]]) == Counter(pushed)
    for line, _, _ in answers:
        for number in range(PROCESSES):
            of_one = [turn for producer, turn in line if producer == number]
            assert of_one == sorted(of_one)
    assert faults(store) == []


def test_attempts_that_fail_on_shared_queues_never_lock_each_other_out(location: str, store: Store) -> None:
    """PostgreSQL has several writers at a time. All take their locks in one order, so that there are no deadlocks."""
    shared = store.session("shared").xcom
    shared["a"].extend(range(10))
    shared["b"].extend(range(10, 20))
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Child(fail_on_shared_queues, location, number, 15)) for number in range(5)]
        for process in processes:
            assert process.receive() == "ready"
        for process in processes:
            process.send("go")
        refused = sum(process.receive() for process in processes)
        assert [process.join() for process in processes] == [0] * 5
    assert sorted([*shared["a"], *shared["b"]]) == list(range(20)), "every attempt must have been undone"
    assert faults(store) == []
    if store.database.dialect_name == "postgresql":
        assert refused == 0


@pytest.mark.promise(number=4)
def test_each_value_goes_to_one_thread(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    together = threading.Barrier(PROCESSES)

    def work(number: int) -> list[Any]:
        together.wait()
        taken = []
        for turn in range(50):
            queue.push((number, turn))
            queue.rotate(turn % 3)
            taken.append(queue.pop())
        return taken

    with ThreadPoolExecutor(PROCESSES) as threads:
        taken = [value for part in threads.map(work, range(PROCESSES)) for value in part]
    assert Counter(taken) == Counter((number, turn) for number in range(PROCESSES) for turn in range(50))
    assert list(queue) == []
    assert faults(store) == []


def test_a_step_that_two_threads_ask_for_completes_once(store: Store) -> None:
    together = threading.Barrier(2)
    calls: Counter[str] = Counter()

    def work(task: str) -> str:
        calls[task] += 1
        return task

    def ask(task: str) -> str:
        together.wait()
        return run.task(task, work, task)

    tasks = [f"t{number}" for number in range(60)]
    with store.session("s").run() as run, ThreadPoolExecutor(2) as threads:
        for task in tasks:
            assert list(threads.map(ask, [task, task])) == [task, task]
            assert list(store.session("s").xcom[task]) == [task]
    assert calls == Counter(tasks)
    assert faults(store) == []


@pytest.mark.smoke
def test_each_coroutine_has_its_own_attempt(store: Store) -> None:
    """This holds for coroutines that take turns inside their attempts, and in threads that asyncio starts for them."""
    session = store.session("flow")
    inbox = store.session("inbox").xcom["q"]
    inbox.extend(range(20))
    run = session.run().start()

    async def work(number: int) -> None:
        with run.attempt(f"task-{number}"):
            inbox.pop()
            await asyncio.sleep(0)
            session.xcom["out"].push(number)
            await asyncio.to_thread(session.xcom["out"].push, number)
            await asyncio.sleep(0)
            if number % 2:
                raise Broken

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(work(number) for number in range(10)), return_exceptions=True)

    outcomes = asyncio.run(all_of_them())
    assert [isinstance(outcome, Broken) for outcome in outcomes] == [False, True] * 5
    start(store, "flow")
    assert sorted(session.xcom["out"]) == [number for number in range(0, 10, 2) for _ in range(2)]
    assert len(inbox) == 15
    assert faults(store) == []


@pytest.mark.smoke
def test_processes_that_open_a_new_store_at_once(new_location: str) -> None:
    """One process creates the store, and all others find it."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(Child(open_and_push, new_location, number)) for number in range(PROCESSES)]
        for process in processes:
            assert process.receive() == "ready"
        for process in processes:
            process.send("go")
        assert max(process.receive() for process in processes) == PROCESSES
        assert [process.join() for process in processes] == [0] * PROCESSES
    with open_store(new_location) as store:
        assert sorted(store.session("s").xcom["q"]) == list(range(PROCESSES))
        assert faults(store) == []


def test_a_store_that_another_process_has_just_made_is_not_another_programs(store: Store) -> None:
    schema.refuse_foreign(store.database, None)  # as if no revision had been found a moment ago


@pytest.mark.promise(number=4)
def test_first_in_first_out_also_where_takes_are_rolled_back(location: str, store: Store) -> None:
    """A taker waits for an earlier take that is not yet committed, and gets the value if that is rolled back."""
    count = 400
    store.session("s").xcom["q"].extend(range(count))
    with children(PROCESSES, take_and_sometimes_undo, location) as processes:
        for process in processes:
            assert process.receive() == "ready"
        for process in processes:
            process.send("go")
        taken = [process.receive() for process in processes]
    assert sorted(seq for part in taken for seq in part) == list(range(1, count + 1))
    for part in taken:
        assert part == sorted(part)
    in_order_of_time = [seq for (seq,) in query(store, "SELECT seq FROM zrb_value ORDER BY ended_at, seq")]
    assert in_order_of_time == list(range(1, count + 1))


@pytest.mark.smoke
def test_what_a_forked_child_pushes_stays(location: str) -> None:
    """This holds even after the parent has closed the store: SQLite's locks are not inherited by a fork."""
    with Child(fork_after_open, location) as child:
        assert child.receive() == "forked"
        child.send("push and close")
        assert child.receive() == 0
        with open_store(location) as store:
            assert [state for _, state in states(store, "s")] == ["live"] * 4
            assert sorted(store.session("s").xcom["q"]) == [
                "before",
                "child",
                "child, after the parent closed",
                "parent",
            ]


def test_iterating_over_a_long_queue_while_another_process_moves_its_values(location: str) -> None:
    """An iteration reads one snapshot, page by page: it yields each value exactly once."""
    with Child(rotate_until_told, location, 2500) as child, open_store(location) as store:
        child.receive()
        queue = store.session("s").xcom["q"]
        for _ in range(40):
            assert sorted(queue) == list(range(2500))
        child.send("enough")
        assert child.join() == 0


@pytest.mark.parametrize(
    "use", [lambda q: q.rotate(), lambda q: q.push(3), lambda q: q.pop(), lambda q: q.peek(), lambda q: list(q)]
)
def test_nothing_joins_an_open_transaction(store: Store, use: Callable[[Any], Any]) -> None:
    """A rollback of the transaction would undo an operation that has already been acknowledged."""
    queue = store.session("s").xcom["q"]
    queue.extend([1, 2])

    def undone(_: object) -> None:
        use(queue)

    with pytest.raises(RuntimeError, match="is in use by this thread at this moment"):
        store.database.transact(undone)
    with store.database.snapshot(), pytest.raises(RuntimeError, match="is in use by this thread"):
        use(queue)
    assert list(queue) == [1, 2]


def test_a_snapshot_is_in_use_until_its_transaction_has_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg would wait for itself for ever if a signal handler used a connection during its ROLLBACK."""
    ends = []

    def interrupted(transaction: Transaction) -> None:
        with pytest.raises(RuntimeError, match="is in use by this thread"):
            store.session("s").xcom["q"].push(1)
        roll_back(transaction)
        ends.append("rolled back")

    monkeypatch.setattr(engine, "roll_back", interrupted)
    with store.database.snapshot():
        pass
    assert ends == ["rolled back"]
    store.session("s").xcom["q"].push(2)
    assert list(store.session("s").xcom["q"]) == [2]


def test_comparing_and_decoding_may_use_the_store(store: Store) -> None:
    xcom = store.session("s").xcom

    class Talkative:
        def __eq__(self, other: object) -> bool:
            xcom["log"].push(other)
            return other == 3

    xcom["q"].extend([1, 2, 3, 4])
    xcom["q"].remove(Talkative())
    assert (list(xcom["q"]), list(xcom["log"])) == ([1, 2, 4], [1, 2, 3])
    with pytest.raises(ValueError, match="is not in deque"):
        xcom["q"].remove(Talkative())
    assert list(xcom["log"]) == [1, 2, 3, 1, 2, 4]


def test_remove_takes_the_first_also_of_what_came_meanwhile(store: Store) -> None:
    queue = store.session("s").xcom["q"]

    class Slow:
        def __eq__(self, other: object) -> bool:
            if other == "b" and len(queue) == 2:
                queue.appendleft("b")
                queue.pop()
                queue.appendleft("b, too")
            return str(other).startswith("b")

    queue.extend(["a", "b"])
    queue.remove(Slow())
    assert list(queue) == ["a", "b"]


def test_acknowledged_in_a_signal_handler_is_there(location: str, store: Store) -> None:
    """A handler that interrupts another use of the store is refused. Every other push is in the store."""
    with Child(push_in_signal_handlers, location, 300) as child:
        acknowledged, refused = child.receive()
    assert acknowledged
    assert refused > 0
    assert sorted(store.session("s").xcom["signals"]) == sorted(acknowledged)


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_change_has_the_write_lock_from_its_beginning(store: Store, location: str) -> None:
    """A change that asked for the lock only after reading would fail whenever another process wrote in between."""

    def work(_: object) -> None:
        with (
            closing(sqlite3.connect(location, timeout=0, isolation_level=None)) as other,
            pytest.raises(sqlite3.OperationalError, match="database is locked"),
        ):
            other.execute("BEGIN IMMEDIATE")

    store.database.transact(work)


@pytest.mark.promise(number=4)
@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
@pytest.mark.parametrize("queues", [1, 6])
def test_a_crowd_takes_each_value_once_and_in_order(location: str, queues: int) -> None:
    """Each process waits for the others before it begins. `crowd` checks what they got."""
    seen = crowd(location, producers=4, consumers=12, queues=queues, each=50)
    assert len(seen.pops) == seen.values == 200


@pytest.mark.promise(number=10)
def test_every_value_is_done_exactly_once_although_consumers_are_killed(location: str) -> None:
    told = consume_under_fire(location, consumers=3, values=200, kills=5, pause=0.0)
    assert "2 poison values dead" in told
