"""docs/promises.md, promise 10: `Run.consume` gives each value of a queue to an attempt of its own."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from tests.attempts import Broken, acting_as, start
from tests.commands import Commands
from tests.processes import DEADLINE, Child
from tests.rows import faults, query, states
from zrb_store import (
    AttemptClosed,
    InvalidArgument,
    LeaseLost,
    Run,
    Store,
    StoreUnavailable,
    ZrbStoreError,
    open_store,
)
from zrb_store.codec import Undecodable
from zrb_store.db.failpoints import set_callback
from zrb_store.operations.rm import remove_sessions
from zrb_store.run.delivery import Delivery
from zrb_store.testing import expire_lease


@pytest.fixture(autouse=True)
def sound(store: Store) -> Iterator[None]:
    """After each test no invariant of the rows is broken."""
    yield
    assert faults(store) == []


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a consumer made; it does not really sleep."""
    made: list[float] = []
    monkeypatch.setattr("zrb_store.run.deliveries.time", SimpleNamespace(sleep=made.append))
    return made


@pytest.fixture
def inbox(store: Store) -> Any:
    queue = store.session("inbox").xcom["files"]
    queue.extend(["a", "b", "c"])
    return queue


def attempts(store: Store) -> list[tuple[Any, ...]]:
    """Return the task, the number, the status and the error of each delivery."""
    found = query(store, "SELECT task, number, status, error_type FROM zrb_attempt WHERE role = 'delivery' ORDER BY id")
    return [tuple(row) for row in found]


def deliveries_of(store: Store) -> list[int]:
    """Return how often each value of the inbox was delivered without success."""
    sql = (
        "SELECT v.deliveries FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id "
        "JOIN zrb_session s ON s.id = q.session_id WHERE s.name = 'inbox' ORDER BY v.seq"
    )
    return [row[0] for row in query(store, sql)]


class TestOneByOne:
    def test_each_value_has_an_attempt_of_its_own(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            seen = []
            for delivery in run.consume(inbox):
                with delivery as file:
                    seen.append((file, delivery.attempt.name, delivery.ids))
                    assert states(store, "inbox", "files")[len(seen) - 1] == (file, "taken")
        assert seen == [(file, f"inbox/files#{n}", (f"inbox/files#{n}",)) for n, file in enumerate("abc", 1)]
        assert attempts(store) == [("inbox/files", n, "completed", None) for n in (1, 2, 3)]
        assert store.session("worker").status == "completed"

    def test_begin_and_take_are_one_transaction(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            deliveries = run.consume(inbox)
            previous = set_callback(lambda point: refuse(point, "consume:inside"))
            with contextlib.suppress(Broken):
                next(deliveries)
            set_callback(previous)
            assert attempts(store) == []
            assert list(inbox) == ["a", "b", "c"]

    def test_what_the_block_does_belongs_to_the_delivery(self, store: Store, inbox: Any) -> None:
        done, own = store.session("done").xcom["files"], store.session("worker").xcom["own"]
        with store.session("worker").run() as run:
            for delivery in run.consume(inbox):
                with delivery as file:
                    done.push(file)
                    own.push(file)
                    if file == "b":
                        raise Broken
        expected = [("a", "live"), ("b", "retracted"), ("c", "live")]
        assert states(store, "done", "files") == states(store, "worker", "own") == expected
        assert list(inbox) == ["b"]

    def test_a_failed_delivery_is_recorded_and_the_loop_goes_on(
        self, store: Store, inbox: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with store.session("worker").run() as run, caplog.at_level(logging.WARNING, "zrb_store"):
            seen = []
            for delivery in run.consume(inbox):
                with delivery as file:
                    seen.append(file)
                    if file == "a":
                        raise Broken("no such column")
        assert seen == ["a", "b", "c"], "it passes over what it gave back"
        assert attempts(store)[0] == ("inbox/files", 1, "failed", "Broken")
        assert caplog.messages == ["worker/inbox/files#1 failed: Broken: no such column"]
        assert list(inbox) == ["a"]
        assert deliveries_of(store) == [1, 0, 0]
        assert query(store, "SELECT reason FROM zrb_return") == [("failed",)]

    def test_another_consumer_of_the_run_gets_what_one_gave_back(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            for delivery in run.consume(inbox):
                with delivery:
                    raise Broken
            assert taken(run, inbox) == ["a", "b", "c"]

    def test_it_can_raise_instead(self, store: Store, inbox: Any) -> None:
        run = start(store, "worker")
        with pytest.raises(Broken):
            consume(run, inbox, raising(Broken()), on_error="raise")
        assert list(inbox) == ["a", "b", "c"]
        assert attempts(store) == [("inbox/files", 1, "failed", "Broken")]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_the_end_of_the_program_is_raised(self, store: Store, inbox: Any, error: type[BaseException]) -> None:
        with pytest.raises(error), store.session("worker").run() as run:
            consume(run, inbox, raising(error(3)))
        status = "interrupted" if error is KeyboardInterrupt else "failed"
        assert [row[2] for row in attempts(store)] == [status]
        assert store.session("worker").status == status
        assert list(inbox) == ["a", "b", "c"]
        assert deliveries_of(store) == [error is SystemExit, 0, 0], "an interruption does not count"

    @pytest.mark.parametrize("leave", ["break", "return"])
    def test_a_loop_that_is_left_completes_its_delivery(self, store: Store, inbox: Any, leave: str) -> None:
        def first(run: Run) -> None:
            for delivery in run.consume(inbox):
                with delivery:
                    if leave == "return":
                        return
                    break

        with store.session("worker").run() as run:
            first(run)
        assert [row[2] for row in attempts(store)] == ["completed"]
        assert list(inbox) == ["b", "c"]
        assert store.session("worker").status == "completed"

    def test_a_delivery_that_has_not_ended_before_the_next_one(self, store: Store, inbox: Any) -> None:
        run = start(store, "worker")
        deliveries = run.consume(inbox)
        next(deliveries)
        with pytest.raises(ZrbStoreError, match="worker/inbox/files#1 was not ended before the next delivery"):
            next(deliveries)
        assert list(inbox) == ["a", "b", "c"]
        assert attempts(store) == [("inbox/files", 1, "interrupted", None)]
        with next(deliveries) as file:
            assert file == "b"

    def test_a_delivery_that_nobody_ends_goes_back_at_the_end_of_the_run(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            next(run.consume(inbox))
            assert list(inbox) == ["b", "c"]
        assert list(inbox) == ["a", "b", "c"]
        assert attempts(store) == [("inbox/files", 1, "interrupted", None)]
        assert store.session("worker").status == "failed"
        assert deliveries_of(store) == [0, 0, 0]

    @pytest.mark.parametrize("status", ["completed", "failed", "interrupted"])
    def test_it_can_be_ended_by_hand(self, store: Store, inbox: Any, status: str) -> None:
        with store.session("worker").run() as run:
            deliveries = run.consume(inbox)
            for delivery in itertools.islice(deliveries, 2):
                with delivery:
                    if status == "completed":
                        delivery.complete()
                    else:
                        delivery.fail(Broken("by hand"), status)
                    assert not delivery.is_open
                with pytest.raises(AttemptClosed):
                    delivery.complete()
            with next(deliveries) as third:
                assert third == "c"
        assert [row[2] for row in attempts(store)] == [status, status, "completed"]
        assert list(inbox) == ([] if status == "completed" else ["a", "b"])
        assert deliveries_of(store) == [status == "failed", status == "failed", 0]


def refuse(point: str, at: str) -> None:
    if point == at:
        raise Broken(at)


def consume(run: Run, queue: Any, work: Callable[[Any], object], **options: Any) -> None:
    """Consume a queue, and call a function with each value."""
    for delivery in run.consume(queue, **options):
        with delivery as value:
            work(value)


def taken(run: Run, queue: Any, **options: Any) -> list[Any]:
    """Consume a queue, and return what its deliveries had."""
    seen: list[Any] = []
    consume(run, queue, seen.append, **options)
    return seen


def raising(error: BaseException) -> Callable[[Any], None]:
    """Return a function that raises an exception."""

    def work(value: Any) -> None:
        raise error

    return work


class TestArguments:
    @pytest.mark.parametrize(
        "options",
        [
            {"batch": 0},
            {"batch": -1},
            {"batch": True},
            {"batch": 1.5},
            {"on_error": "ignore"},
            {"wait": -1},
            {"wait": math.nan},
        ],
        ids=str,
    )
    def test_bad_ones(self, store: Store, inbox: Any, options: Any) -> None:
        with store.session("worker").run() as run, pytest.raises(InvalidArgument):
            run.consume(inbox, **options)

    def test_a_queue_of_another_store(self, store: Store, empty_store: Store) -> None:
        with store.session("worker").run() as run, pytest.raises(InvalidArgument, match="another store"):
            run.consume(empty_store.session("inbox").xcom["files"])

    def test_the_same_store_opened_twice(self, store: Store, location: str, inbox: Any) -> None:
        with open_store(location) as again, store.session("worker").run() as run:
            assert taken(run, again.session("inbox").xcom["files"]) == ["a", "b", "c"]

    def test_inside_an_attempt(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run, run.attempt("t"):
            deliveries = run.consume(inbox)
            with pytest.raises(ZrbStoreError, match="cannot begin inside an attempt"):
                next(deliveries)

    def test_a_run_that_has_not_started_or_has_ended(self, store: Store, inbox: Any) -> None:
        run = store.session("worker").run()
        with pytest.raises(ZrbStoreError, match="was not started"):
            next(run.consume(inbox))
        deliveries = run.start().consume(inbox)
        run.end("completed")
        with pytest.raises(ZrbStoreError, match="has ended"):
            next(deliveries)
        assert list(inbox) == ["a", "b", "c"]

    def test_a_run_that_another_thread_ends_meanwhile(self, store: Store, inbox: Any) -> None:
        """The taking has looked whether the run is under way, and has not begun its transaction."""
        run = start(store, "worker")
        deliveries = run.consume(inbox)

        def end(point: str) -> None:
            if point == "consume:before":
                set_callback(previous)
                run.end("completed")

        previous = set_callback(end)
        with pytest.raises(ZrbStoreError, match="has ended"):
            next(deliveries)
        assert list(inbox) == ["a", "b", "c"]
        assert attempts(store) == []

    def test_a_name_too_long_for_a_task(self, store: Store) -> None:
        queue = store.session("inbox").xcom["ä" * 1000]
        queue.push(1)
        with store.session("worker").run() as run:
            assert taken(run, queue) == [1]


class TestQueues:
    def test_one_that_is_created_later(self, store: Store) -> None:
        queue = store.session("later").xcom["files"]
        with store.session("worker").run() as run:
            deliveries = run.consume(queue)
            assert next(deliveries, None) is None
            assert "later" not in [record.name for record in store.sessions()]
            queue.push(1)
            with next(deliveries) as value:
                assert value == 1

    def test_one_that_is_removed_and_created_again(self, store: Store, location: str) -> None:
        """The values of the new queue are others, although they have the same numbers."""
        queue = store.session("inbox").xcom["files"]
        queue.extend([1, 2])
        with store.session("worker").run() as run:
            deliveries = run.consume(queue)
            with next(deliveries):
                raise Broken
            remove_sessions(store.database, "inbox")
            assert next(deliveries, None) is None
            with open_store(location) as other:
                other.session("inbox").xcom["files"].extend([3, 4])
            for expected in (3, 4):
                with next(deliveries) as value:
                    assert value == expected

    def test_one_that_is_removed_during_a_delivery(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            for ends_well, delivery in zip((True, False), run.consume(inbox), strict=False):
                with delivery:
                    remove_sessions(store.database, "inbox")
                    store.session("inbox").xcom["files"].push("new")
                    if not ends_well:
                        raise Broken
        assert [row[2] for row in attempts(store)] == ["completed", "failed"]

    def test_one_of_the_run_itself(self, store: Store) -> None:
        """Unlike those of other attempts, changes that a delivery made to its own session are undone at once."""
        own = store.session("worker").xcom["todo"]
        own.extend([1, 2])
        with store.session("worker").run() as run:
            for delivery in run.consume(own):
                with delivery as value:
                    if value == 1:
                        raise Broken
            assert states(store, "worker", "todo") == [(1, "live"), (2, "taken")]

    def test_values_pushed_at_the_left_come_first(self, store: Store, inbox: Any) -> None:
        inbox.appendleft("first")
        with store.session("worker").run() as run:
            assert taken(run, inbox) == ["first", "a", "b", "c"]


class TestWaiting:
    def test_for_a_value(self, store: Store, location: str) -> None:
        queue = store.session("inbox").xcom["files"]
        with store.session("worker").run() as run, ThreadPoolExecutor() as threads:
            waiting = threads.submit(next, run.consume(queue, wait=DEADLINE))
            with open_store(location) as other:
                other.session("inbox").xcom["files"].push("a")
            with waiting.result(DEADLINE) as value:
                assert value == "a"

    def test_a_time_without_a_value_ends_the_loop(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            assert taken(run, inbox, wait=0.05) == ["a", "b", "c"]

    def test_it_does_not_wait_for_what_it_passes_over(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            deliveries = run.consume(inbox, wait=0.05)
            assert sum(fail(delivery) for delivery in deliveries) == 3
            assert next(deliveries, None) is None

    def test_for_ever_tries_again_what_it_passed_over(self, store: Store, inbox: Any, pauses: list[float]) -> None:
        with store.session("worker").run() as run:
            seen = []
            for delivery in itertools.islice(run.consume(inbox, wait=math.inf), 7):
                with delivery as value:
                    seen.append(value)
                    if len(seen) < 4:
                        raise Broken
                    inbox.push("d") if len(seen) == 4 else None
        assert seen[:6] == ["a", "b", "c", "a", "b", "c"]
        assert seen[6] == "d"
        assert [pause for pause in pauses if pause >= 1] == [1, 2]


def fail(delivery: Delivery) -> bool:
    with delivery:
        raise Broken
    return True


class TestPauses:
    def test_they_double_from_the_second_failure_on(self, store: Store, pauses: list[float]) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(range(11))
        with store.session("worker").run() as run:
            for delivery in run.consume(queue):
                with delivery as value:
                    if value != 9:
                        raise Broken
        assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 0, 0]

    def test_a_damaged_value_is_handed_over_as_one(self, store: Store, inbox: Any) -> None:
        """As `pop` does: the block decides what to do with it."""
        damage(store, "a")
        with store.session("worker").run() as run:
            seen = taken(run, inbox)
        assert isinstance(seen[0], Undecodable)
        assert seen[1:] == ["b", "c"]
        repair(store)


def damage(store: Store, *values: str) -> None:
    for value in values:
        change(store, "{", f"data = '\"{value}\"'")


def repair(store: Store) -> None:
    change(store, '"x"', "data LIKE '{%'")


def change(store: Store, data: str, where: str) -> None:
    statement = sa.text(f"UPDATE zrb_value SET data = :data, size = :size WHERE {where}")
    store.database.execute(statement.bindparams(data=data, size=len(data)))


class TestBatches:
    def test_lists(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(range(5))
        with store.session("worker").run() as run:
            assert taken(run, queue, batch=2) == [[0, 1], [2, 3], [4]]
        assert len(attempts(store)) == 3

    def test_values_of_a_failed_batch_come_again_each_alone(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(range(5))
        with store.session("worker").run() as run:
            seen = []
            for delivery in run.consume(queue, batch=3):
                with delivery as value:
                    seen.append(value)
                    if 1 in value:
                        raise Broken
        assert seen == [[0, 1, 2], [0], [1], [2], [3, 4]]
        assert list(queue) == [1]
        assert deliveries_of(store) == [1, 2, 1, 0, 0]

    def test_a_value_that_came_back_is_not_taken_with_others(self, store: Store) -> None:
        """Neither one in front of others nor one between them; an interrupted delivery is enough."""
        queue = store.session("inbox").xcom["files"]
        queue.extend([1, 3])
        with store.session("first").run() as run:
            for delivery in run.consume(queue):
                with delivery:
                    delivery.fail(status="interrupted")
        queue.extend([0, 2, 4])
        queue.appendleft("new")
        with store.session("second").run() as run:
            assert taken(run, queue, batch=10) == [["new", 0, 2, 4], [1], [3]]

    def test_one_of_one(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            assert taken(run, inbox, batch=1) == [["a"], ["b"], ["c"]]


class TestPoison:
    def test_a_value_dies_after_its_last_delivery(self, store: Store, inbox: Any) -> None:
        inbox.max_deliveries = 2
        for night in (1, 2, 3):
            with store.session("worker").run(again=True) as run:
                for delivery in run.consume(inbox):
                    with delivery as value:
                        if value == "b":
                            raise Broken
            assert store.session("worker").status == ("completed" if night == 3 else "failed")
        assert states(store, "inbox", "files") == [("a", "taken"), ("b", "dead"), ("c", "taken")]
        assert deliveries_of(store) == [0, 2, 0]

    def test_lost_ones_count(self, store: Store, location: str, inbox: Any) -> None:
        inbox.max_deliveries = 1
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.kill()
        with store.session("worker-2").run() as run:
            assert taken(run, inbox) == ["b", "c"]
        assert states(store, "inbox", "files")[0] == ("a", "dead")
        assert deliveries_of(store) == [1, 0, 0]


def hold_a_delivery(pipe: Connection, location: str, session: str) -> None:
    """Take a value, push to another session, and do what the test says."""
    with open_store(location) as store:
        done = store.session("done").xcom["files"]
        try:
            with store.session(session).run(again=True) as run:
                for delivery in run.consume(store.session("inbox").xcom["files"]):
                    with delivery as value:
                        done.push(value)
                        pipe.send(value)
                        assert pipe.recv() == "go on"
                pipe.send("the queue is empty")
        except LeaseLost as error:
            pipe.send(str(error))


class TestDeath:
    def test_any_taker_reclaims_a_dead_consumer(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.kill()
        assert inbox.pop() == "a"
        assert states(store, "done", "files") == [("a", "retracted")]
        assert store.session("worker-1").status == "interrupted"

    def test_a_consumer_does_and_is_named(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.kill()
        with store.session("worker-2").run() as run:
            assert taken(run, inbox) == ["a", "b", "c"]
        told = "reclaimed by worker-2: its process had died"
        assert query(store, "SELECT reason FROM zrb_return") == [(told,)]

    def test_the_next_run_of_its_session_does(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.kill()
        with store.session("worker-1").run(again=True) as run:
            assert taken(run, inbox) == ["a", "b", "c"]
        assert store.session("worker-1").status == "completed"
        assert deliveries_of(store) == [1, 0, 0]

    def test_of_the_session_of_the_queue_itself(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "inbox") as child:
            assert child.receive() == "a"
            child.kill()
        assert inbox.pop() == "a"

    def test_a_live_one_keeps_its_value(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            with store.session("worker-2").run() as run:
                assert taken(run, inbox) == ["b", "c"]
            child.send("go on")
            assert child.receive() == "the queue is empty"
            assert child.join() == 0
        assert list(store.session("done").xcom["files"]) == ["a"]

    def test_one_whose_lease_was_taken_over_changes_nothing(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.stop_between_writes(store)
            expire_lease(store.session("worker-1"))
            with store.session("worker-1").run(again=True) as run:
                assert taken(run, inbox) == ["a", "b", "c"]
            child.resume()
            child.send("go on")
            assert "was taken over by run 2: worker-1/inbox/files#1 can no longer write" in child.receive()
            assert child.join() == 0
        assert states(store, "done", "files") == [("a", "retracted")]
        assert store.session("worker-1").status == "completed"

    @pytest.mark.parametrize("fails", [True, False])
    def test_a_lease_lost_in_a_block_ends_the_loop(self, store: Store, inbox: Any, fails: bool) -> None:
        run = start(store, "worker")

        def lose_the_lease(value: Any) -> None:
            start(store, "worker")
            if fails:
                raise Broken

        with pytest.raises(LeaseLost):
            consume(run, inbox, lose_the_lease)
        assert list(inbox) == ["a", "b", "c"]
        with pytest.raises(LeaseLost):
            next(run.consume(inbox))
        assert attempts(store) == [("inbox/files", 1, "lost", None)]


class TestOutcome:
    def test_other_tasks_of_the_session(self, store: Store, inbox: Any) -> None:
        session = store.session("worker")
        with session.run() as run:
            assert run.step("prepare", lambda: 1) == 1
            sum(fail(delivery) for delivery in run.consume(inbox))
        assert session.status == "failed"
        with session.run() as run:  # not again: it had failed
            assert run.step("prepare", lambda: 2) == 1
            assert taken(run, inbox) == ["a", "b", "c"]
            assert [task for task, *_ in attempts(store)] == ["inbox/files"] * 6
        assert session.status == "completed"

    def test_a_task_that_fails_beside_deliveries(self, store: Store, inbox: Any) -> None:
        session = store.session("worker")
        with session.run() as run:
            assert taken(run, inbox) == ["a", "b", "c"]
            with contextlib.suppress(Broken), run.attempt("report"):
                raise Broken
        assert session.status == "failed"

    def test_a_task_with_the_name_of_the_queue(self, store: Store, inbox: Any) -> None:
        """Neither hides the other."""
        session = store.session("worker")
        with session.run() as run:
            assert run.step("inbox/files", lambda: "done") == "done"
            assert taken(run, inbox) == ["a", "b", "c"]
            assert run.step("inbox/files", lambda: "again") == "done"
        assert session.status == "completed"

    def test_each_night_is_judged_by_itself(self, store: Store, inbox: Any) -> None:
        session = store.session("worker")
        with session.run(again=True) as run:
            sum(fail(delivery) for delivery in run.consume(inbox))
        assert session.status == "failed"
        inbox.clear()
        for _ in range(2):
            with session.run(again=True) as run:
                assert taken(run, inbox) == []
            assert session.status == "completed"


class TestThreads:
    def test_they_share_one_consumer(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(range(40))
        seen: list[int] = []
        with store.session("worker").run() as run:
            consumer = run.consumer(queue)
            together = threading.Barrier(4)

            def work() -> None:
                together.wait(DEADLINE)
                while (delivery := consumer.take()) is not None:
                    with delivery as value:
                        seen.append(value)
                        store.session("done").xcom["files"].push((value, delivery.attempt.number))
                        if value % 10 == 3:
                            raise Broken

            with ThreadPoolExecutor(4) as threads:
                for future in [threads.submit(work) for _ in range(4)]:
                    future.result(DEADLINE)
        assert sorted(seen) == list(range(40)), "a value that one of them gave back is passed over by all"
        assert list(queue) == [3, 13, 23, 33]
        done = list(store.session("done").xcom["files"])
        assert sorted(value for value, _ in done) == [n for n in range(40) if n % 10 != 3]
        assert len({number for _, number in done}) == 36

    def test_the_attempt_is_that_of_the_thread(self, store: Store, inbox: Any) -> None:
        done = store.session("done").xcom["files"]
        with store.session("worker").run() as run, next(run.consume(inbox)), ThreadPoolExecutor() as threads:
            done.push("by the delivery")
            threads.submit(done.push, "by nobody").result(DEADLINE)
        pushed = query(store, "SELECT data, pushed_by IS NULL FROM zrb_value WHERE data LIKE '\"by%' ORDER BY data")
        assert [(data, bool(alone)) for data, alone in pushed] == [('"by nobody"', True), ('"by the delivery"', False)]


class TestTheStoreAway:
    """A store that fails during one of the writes: nothing is lost, and nothing stays held."""

    @pytest.mark.parametrize("point", ["consume:before", "consume:inside", "consume:after"])
    def test_as_it_takes(self, store: Store, inbox: Any, point: str) -> None:
        def work() -> None:
            with store.session("worker").run() as run:
                unavailable_at(point)
                taken(run, inbox)

        with pytest.raises(StoreUnavailable):
            work()
        assert list(inbox) == ["a", "b", "c"]
        assert deliveries_of(store) == [0, 0, 0]

    @pytest.mark.parametrize("point", ["complete:before", "complete:inside", "complete:after"])
    def test_as_it_completes(self, store: Store, inbox: Any, point: str) -> None:
        def work(value: Any) -> None:
            store.session("done").xcom["files"].push("done")
            unavailable_at(point)

        with pytest.raises(StoreUnavailable), store.session("worker").run() as run:
            consume(run, inbox, work)
        happened = point == "complete:after"
        assert list(inbox) == ["a", "b", "c"][happened:]
        assert list(store.session("done").xcom["files"]) == ["done"] * happened

    @pytest.mark.parametrize("point", ["fail:before", "fail:inside", "fail:after"])
    @pytest.mark.parametrize("on_error", ["continue", "raise"])
    def test_as_it_fails(self, store: Store, inbox: Any, point: str, on_error: Any) -> None:
        def work(value: Any) -> None:
            unavailable_at(point)
            raise Broken

        expected = StoreUnavailable if on_error == "continue" else Broken
        with pytest.raises(expected), store.session("worker").run() as run:
            consume(run, inbox, work, on_error=on_error)
        assert list(inbox) == ["a", "b", "c"]


def unavailable_at(point: str) -> None:
    """Let the store fail once at a point."""

    def reached(name: str) -> None:
        if name == point:
            set_callback(previous)
            raise StoreUnavailable(f"at {point}")

    previous = set_callback(reached)


def fork_in_a_block(pipe: Connection, location: str) -> None:
    """Fork inside a delivery. The child does something else and ends; the parent completes."""
    with open_store(location) as store, store.session("worker").run() as run:
        for delivery in run.consume(store.session("inbox").xcom["files"]):
            with delivery as value:
                child = os.fork()
                if child == 0:
                    store.session("done").xcom["files"].push(["child", value])
                    os._exit(0)
                os.waitpid(child, 0)
    pipe.send("ended")


def test_a_fork_in_a_block(store: Store, location: str, inbox: Any) -> None:
    with Child(fork_in_a_block, location) as child:
        assert child.receive() == "ended"
        assert child.join() == 0
    assert list(store.session("done").xcom["files"]) == [["child", "a"], ["child", "b"], ["child", "c"]]
    assert [row[2] for row in attempts(store)] == ["completed"] * 3


def leave_a_delivery_open(pipe: Connection, location: str) -> None:
    """End the interpreter inside a delivery, without any block."""
    store = open_store(location)
    run = store.session("worker").run().start()
    pipe.send(run.consumer(store.session("inbox").xcom["files"]).take() is not None)


def test_an_interpreter_that_ends_with_an_open_delivery(store: Store, location: str, inbox: Any) -> None:
    with Child(leave_a_delivery_open, location) as child:
        assert child.receive() is True
        assert child.join() == 0
    assert inbox.pop() == "a"


def test_an_attempt_cannot_begin_in_a_block(store: Store, inbox: Any) -> None:
    with store.session("worker").run() as run, next(run.consume(inbox)), pytest.raises(ZrbStoreError, match="nest"):
        run.attempt("t")


def test_a_delivery_can_act_for_other_code(store: Store, inbox: Any) -> None:
    """Its attempt is like any other: code elsewhere can act for it, and its token names it to other processes."""
    with store.session("worker").run() as run:
        delivery = run.consumer(inbox).take()
        assert delivery is not None
        with acting_as(delivery.attempt):
            store.session("done").xcom["files"].push("half")
        delivery.fail()
    assert states(store, "done", "files") == [("half", "retracted")]
    assert delivery.attempt.token == "worker/inbox/files#1@1"


def test_a_session_with_many_deliveries(store: Store, command: Commands) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.extend(range(300))
    with store.session("worker").run() as run:
        with contextlib.suppress(Broken), run.attempt("prepare"):
            raise Broken
        for delivery in run.consume(queue):
            with delivery as value:
                if value in (7, 8):
                    delivery.fail(Broken("no such file"))
    assert "no such file" in command.ok("log", "worker")
    assert "worker/inbox/files#8" in command.ok("trace", "inbox/files#8")
    assert "worker/inbox/files#1" in command.ok("trace", "inbox/files#1")
    assert command.ok("show", "worker")
    assert "worker" in command.ok("list")
    assert command.ok("mark", "worker", "prepare", "completed", "--result", "2") == "worker/prepare#2\n"
    with store.session("worker").run() as run:
        assert run.step("prepare", lambda: 3) == 2
