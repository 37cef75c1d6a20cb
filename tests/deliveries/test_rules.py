"""What `Run.consume` does beyond one value: wait, pause, take batches, and judge the run."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.attempts import Broken
from tests.support.commands import Commands
from tests.support.consumers import attempts, deliveries_of, fail, hold_a_delivery, taken
from tests.support.processes import DEADLINE, Child
from tests.support.rows import states
from zrb_store import (
    Store,
    open_store,
)
from zrb_store.codec import Undecodable
from zrb_store.db.clock import Clock
from zrb_store.operations.values import requeue

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a consumer made; it does not really sleep."""
    made: list[float] = []

    wait = Clock.wait

    def noted(self: Clock, condition: threading.Condition | threading.Event, seconds: float) -> bool:
        if not isinstance(condition, threading.Event):
            return wait(self, condition, seconds)
        made.append(seconds)
        return condition.is_set()

    monkeypatch.setattr(Clock, "wait", noted)
    return made


class TestWaiting:
    def test_consume_waits_until_another_pushes_a_value(self, store: Store, location: str) -> None:
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

    @pytest.mark.promise(number=10)
    def test_it_does_not_wait_for_what_it_passes_over(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            deliveries = run.consume(inbox, wait=0.05)
            assert sum(fail(delivery) for delivery in deliveries) == 3
            assert next(deliveries, None) is None

    @pytest.mark.slow
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


class TestMemory:
    def test_values_that_are_dead_are_forgotten(
        self, store: Store, inbox: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that is requeued need not go to another consumer, as one that merely came back."""
        monkeypatch.setattr("zrb_store.run.deliveries._FEW", 2)
        inbox.max_deliveries = 1
        with store.session("worker").run() as run:
            consumer = run.consumer(inbox)
            for delivery in (consumer.take(), consumer.take()):
                assert delivery is not None
                delivery.fail(Broken())
            last = consumer.take()
            assert last is not None
            last.complete()
            requeue(store.database, ["inbox/files#1"])
            again = consumer.take()
            assert again is not None
            assert again.value == "a"
            again.complete()


class TestPauses:
    @pytest.mark.promise(number=10)
    def test_they_double_from_the_second_failure_on(self, store: Store, pauses: list[float]) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(range(11))
        with store.session("worker").run() as run:
            for delivery in run.consume(queue):
                with delivery as value:
                    if value != 9:
                        raise Broken
        assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 0, 0]

    def test_none_is_made_before_a_loop_ends(self, store: Store, inbox: Any, pauses: list[float]) -> None:
        with store.session("worker").run() as run:
            for delivery in run.consume(inbox):
                with delivery:
                    raise Broken
        assert pauses == [0, 0, 1, 0]

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
    def test_a_batch_is_a_list_and_one_attempt(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(range(5))
        with store.session("worker").run() as run:
            assert taken(run, queue, batch=2) == [[0, 1], [2, 3], [4]]
        assert len(attempts(store)) == 3

    @pytest.mark.promise(number=10)
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

    @pytest.mark.promise(number=10)
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

    def test_a_batch_of_one_is_a_list(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            assert taken(run, inbox, batch=1) == [["a"], ["b"], ["c"]]


class TestPoison:
    @pytest.mark.promise(number=10)
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

    @pytest.mark.promise(number=10)
    def test_a_delivery_that_was_killed_counts(self, store: Store, location: str, inbox: Any) -> None:
        inbox.max_deliveries = 1
        with Child(hold_a_delivery, location, "worker-1") as child:
            assert child.receive() == "a"
            child.kill()
        with store.session("worker-2").run() as run:
            assert taken(run, inbox) == ["b", "c"]
        assert states(store, "inbox", "files")[0] == ("a", "dead")
        assert deliveries_of(store) == [1, 0, 0]


class TestOutcome:
    def test_other_tasks_of_the_session(self, store: Store, inbox: Any) -> None:
        session = store.session("worker")
        with session.run() as run:
            assert run.task("prepare", lambda: 1) == 1
            sum(fail(delivery) for delivery in run.consume(inbox))
        assert session.status == "failed"
        with session.run() as run:  # not again: it had failed
            assert run.task("prepare", lambda: 2) == 1
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
            assert run.task("inbox/files", lambda: "done") == "done"
            assert taken(run, inbox) == ["a", "b", "c"]
            assert run.task("inbox/files", lambda: "again") == "done"
        assert session.status == "completed"

    def test_such_a_task_beside_an_open_delivery(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            delivery = run.consumer(inbox).take()
            assert delivery is not None
            assert run.task("inbox/files", lambda: "done") == "done"
            delivery.complete()
        assert [row[1:3] for row in attempts(store)] == [(1, "completed")]
        assert list(inbox) == ["b", "c"]

    @pytest.mark.promise(number=10)
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


@pytest.mark.slow
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
        assert run.task("prepare", lambda: 3) == 2
