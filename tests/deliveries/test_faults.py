"""guarantees.md, promise 10: deliveries of processes that die, of threads, and of a store that fails."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.support.attempts import Broken, start
from tests.support.consumers import attempts, consume, deliveries_of, hold_a_delivery, taken, unavailable_at
from tests.support.processes import DEADLINE, Child
from tests.support.rows import query, states
from zrb_store import (
    LeaseLost,
    Store,
    StoreUnavailable,
    open_store,
)
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.usefixtures("sound")


class TestDeath:
    @pytest.mark.promise(number=10)
    def test_any_taker_reclaims_a_dead_consumer(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.kill()
        assert inbox.pop() == "a"
        assert states(store, "done", "files") == [("a", "retracted")]
        assert store.session("worker-1").status == "stale"

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

    @pytest.mark.promise(number=10)
    def test_a_live_one_keeps_its_value(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            with store.session("worker-2").run() as run:
                assert taken(run, inbox) == ["b", "c"]
            child.send("go on")
            assert child.receive() == "the queue is empty"
            assert child.join() == 0
        assert list(store.session("done").xcom["files"]) == ["a"]

    @pytest.mark.promise(number=10)
    def test_one_whose_lease_was_taken_over_changes_nothing(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.stop_between_writes(store)
            expire_lease(store.session("worker-1"))
            store.database.transact(lambda t: t.driver.execute("UPDATE zrb_run SET suspected_at = 1"))
            with store.session("worker-1").run(again=True) as run:
                assert taken(run, inbox) == ["a", "b", "c"]
            child.resume()
            child.send("go on")
            assert "run 2: worker-1/inbox/files#1" in child.receive()
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
    def test_a_value_is_not_lost_as_it_is_taken(self, store: Store, inbox: Any, point: str) -> None:
        def work() -> None:
            with store.session("worker").run() as run:
                unavailable_at(point)
                taken(run, inbox)

        with pytest.raises(StoreUnavailable):
            work()
        assert list(inbox) == ["a", "b", "c"]
        assert deliveries_of(store) == [0, 0, 0]

    def test_a_taking_whose_commit_is_in_doubt(self, store: Store, inbox: Any) -> None:
        """The value is with a delivery that nobody knows of, until the next one begins."""
        with store.session("worker").run() as run:
            other = run.consumer(store.session("other").xcom["q"])
            store.session("other").xcom["q"].push("x")
            known, consumer = other.take(), run.consumer(inbox)
            unavailable_at("consume:after")
            with pytest.raises(StoreUnavailable):
                consumer.take()
            assert list(inbox) == ["b", "c"]
            delivery = consumer.take()
            assert delivery is not None
            assert delivery.value == "a"
            delivery.complete()
            assert known is not None
            known.complete()
        assert [row[2] for row in attempts(store)] == ["completed", "interrupted", "completed"]
        assert deliveries_of(store) == [0, 0, 0]

    def test_a_taking_in_doubt_while_a_failure_waits_to_be_recorded(self, store: Store, inbox: Any) -> None:
        """The delivery that failed is known: it is not taken for the one in doubt, and its failure counts."""
        with store.session("worker").run() as run:
            consumer = run.consumer(inbox)
            failing = consumer.take()
            assert failing is not None
            unavailable_at("fail:before")
            with pytest.raises(StoreUnavailable):
                failing.fail(Broken())
            unavailable_at("consume:after")
            with pytest.raises(StoreUnavailable):
                consumer.take()
            assert consumer.take() is not None
            failing.fail(Broken())
        assert [row[2] for row in attempts(store)] == ["failed", "interrupted", "interrupted"]
        assert deliveries_of(store) == [1, 0, 0]

    @pytest.mark.parametrize("point", ["complete:before", "complete:inside", "complete:after"])
    def test_a_delivery_is_complete_or_given_back_whole(self, store: Store, inbox: Any, point: str) -> None:
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
    def test_the_value_of_a_failed_delivery_is_live_again(
        self, store: Store, inbox: Any, point: str, on_error: Any
    ) -> None:
        def work(value: Any) -> None:
            unavailable_at(point)
            raise Broken

        expected = StoreUnavailable if on_error == "continue" else Broken
        with pytest.raises(expected), store.session("worker").run() as run:
            consume(run, inbox, work, on_error=on_error)
        assert list(inbox) == ["a", "b", "c"]


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
