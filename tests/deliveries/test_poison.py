"""guarantees.md, promise 10: a value that nobody can work on dies, is kept, and may be requeued."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.support.attempts import Broken, acting_as, failing, start
from tests.support.consumers import deliver, fates
from tests.support.holders import hold_a_value
from tests.support.processes import Child
from tests.support.rows import faults, query, states
from tests.support.sessions import show
from zrb_store import InvalidArgument, Store, ValueNotFound, open_store
from zrb_store.operations.sessions import remove_sessions
from zrb_store.operations.values import requeue, requeue_all
from zrb_store.queries.clock import now_micros
from zrb_store.records import iso
from zrb_store.run import RunSpec

pytestmark = pytest.mark.usefixtures("sound")


@pytest.fixture
def inbox(store: Store) -> Any:
    """A queue that allows two deliveries."""
    queue = store.session("inbox").xcom["files"]
    queue.max_deliveries = 2
    queue.extend(["a", "b", "c"])
    return queue


class TestDeath:
    @pytest.mark.promise(number=10)
    def test_it_comes_with_the_last_delivery_that_is_allowed(self, store: Store, inbox: Any) -> None:
        inbox.max_deliveries = 3
        for count in (1, 2):
            deliver(store, inbox.pop)
            assert fates(store)[0] == ("a", "live", count)
            assert list(inbox) == ["a", "b", "c"]
        deliver(store, inbox.pop)
        assert fates(store) == [("a", "dead", 3), ("b", "live", 0), ("c", "live", 0)]
        assert (len(inbox), inbox.pop(), list(inbox)) == (2, "b", ["c"])
        assert query(store, "SELECT reason, failed_deliveries FROM zrb_return ORDER BY id") == [
            ("failed", 1),
            ("failed", 2),
            ("failed", 3),
        ]

    def test_it_never_comes_without_a_limit(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.push("a")
        deliver(store, queue.pop, times=6)
        assert fates(store) == [("a", "live", 6)]

    def test_each_of_several_values_is_counted(self, store: Store, inbox: Any) -> None:
        deliver(store, lambda: [inbox.pop(), inbox.popright()], times=2)
        assert fates(store) == [("a", "dead", 2), ("b", "live", 0), ("c", "dead", 2)]

    @pytest.mark.promise(number=10)
    def test_a_process_that_was_killed_counts(self, store: Store, location: str, inbox: Any) -> None:
        inbox.max_deliveries = 1
        with Child(hold_a_value, location, "killed") as child:
            assert child.receive() == "a"
            child.kill()
        assert inbox.pop() == "b"
        assert fates(store)[0] == ("a", "dead", 1)

    def test_so_does_one_whose_session_was_taken_over(self, store: Store, inbox: Any) -> None:
        with acting_as(start(store, "worker").begin("convert")):
            inbox.pop()
        start(store, "worker")
        assert fates(store)[0] == ("a", "live", 1)
        assert query(store, "SELECT reason, failed_deliveries FROM zrb_return ORDER BY id") == [("lost", 1)]

    @pytest.mark.promise(number=10)
    def test_retries_in_the_own_session_count_when_the_next_one_begins(self, store: Store) -> None:
        run = start(store, "s")
        queue = store.session("s").xcom["q"]
        queue.max_deliveries = 2
        queue.push("a")
        failing(run, "load", queue.pop)
        assert fates(store, "s", "q") == [("a", "taken", 0)]
        failing(run, "load", queue.pop)
        run.begin("load")
        assert fates(store, "s", "q") == [("a", "dead", 2)]

    @pytest.mark.promise(number=10)
    def test_what_a_person_or_a_signal_ended_does_not_count(self, store: Store, inbox: Any) -> None:
        run = start(store, "worker")
        with contextlib.suppress(KeyboardInterrupt), run.attempt("convert"):
            inbox.pop()
            raise KeyboardInterrupt
        with acting_as(run.begin("convert")) as attempt:
            inbox.pop()
        attempt.fail(status="interrupted")
        with acting_as(run.begin("convert")):
            inbox.pop()
        run.end("interrupted")
        assert fates(store)[0] == ("a", "live", 0)
        returns = query(store, "SELECT reason, failed_deliveries FROM zrb_return ORDER BY id")
        assert returns == [("interrupted", None)] * 3

    @pytest.mark.promise(number=10)
    def test_neither_does_rm_nor_a_completed_attempt_that_runs_again(self, store: Store) -> None:
        # What a child took of its parent comes back only with the next attempt, or with rm.
        start(store, "parent")
        queue = store.session("parent").xcom["q"]
        queue.max_deliveries = 1
        queue.extend(["a", "b"])
        child = store.session("child").prepare(RunSpec(parent="parent")).start()
        failing(child, "convert", queue.pop)
        child.end("failed")
        remove_sessions(store.database, "child")
        worker = start(store, "worker")
        with worker.attempt("convert"):
            assert queue.pop() == "a"
        done = worker.completed("convert")
        assert done is not None
        worker.give_back(done, "forced")
        assert fates(store, "parent", "q") == [("a", "live", 0), ("b", "live", 0)]

    def test_what_was_removed_was_not_delivered(self, store: Store, inbox: Any) -> None:
        deliver(store, inbox.clear, times=3)
        assert fates(store) == [("a", "live", 0), ("b", "live", 0), ("c", "live", 0)]

    def test_what_is_taken_outside_any_attempt_is_gone(self, store: Store, inbox: Any) -> None:
        assert inbox.pop() == "a"
        assert fates(store)[0] == ("a", "taken", 0)

    @pytest.mark.promise(number=10)
    def test_a_limit_that_changes_concerns_the_next_death(self, store: Store, inbox: Any) -> None:
        deliver(store, inbox.pop)
        inbox.max_deliveries = 1
        assert fates(store)[0] == ("a", "live", 1), "what is live stays live"
        deliver(store, inbox.pop)
        assert fates(store)[0] == ("a", "dead", 2)
        inbox.max_deliveries = 5
        assert fates(store)[0] == ("a", "dead", 2), "what is dead stays dead"
        deliver(store, inbox.pop, times=4)
        assert fates(store)[1] == ("b", "live", 4)
        inbox.max_deliveries = None
        deliver(store, inbox.pop, times=3)
        assert fates(store)[1] == ("b", "live", 7)
        assert [detail for (detail,) in query(store, "SELECT detail FROM zrb_change ORDER BY id")] == [
            f"files: max_deliveries {limit}" for limit in (2, 1, 5, "unlimited")
        ]

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, "5", 10**7])
    @pytest.mark.on_sqlite
    def test_limits_that_are_none(self, store: Store, inbox: Any, limit: Any) -> None:
        with pytest.raises(InvalidArgument):
            inbox.max_deliveries = limit
        assert inbox.max_deliveries == 2


MOVES: dict[str, Callable[[Any], object]] = {
    "rotate": lambda queue: queue.rotate(-1),
    "reverse": lambda queue: queue.reverse(),
    "insert": lambda queue: queue.insert(1, "new"),
    "assign": lambda queue: queue.__setitem__(1, "new"),
    "multiply": lambda queue: queue.__imul__(2),
}


class TestMoves:
    @pytest.mark.promise(number=10)
    @pytest.mark.parametrize("move", MOVES)
    def test_the_count_goes_with_the_value(self, store: Store, inbox: Any, move: str) -> None:
        deliver(store, inbox.pop)
        MOVES[move](inbox)
        while inbox[0] != "a":
            inbox.pop()
        deliver(store, inbox.pop)
        assert ("a", "dead", 2) in fates(store)

    @pytest.mark.parametrize("move", ["rotate", "reverse"])
    def test_a_value_that_is_moved_and_taken_by_one_attempt(self, store: Store, inbox: Any, move: str) -> None:
        def work() -> None:
            MOVES[move](inbox)
            assert inbox.popright() == "a"

        deliver(store, work)
        assert fates(store)[:1] == [("a", "live", 1)]
        assert {count for _, state, count in fates(store)[1:] if state == "live"} == {0}
        deliver(store, work)
        assert fates(store)[0] == ("a", "dead", 2)
        assert list(inbox) == ["b", "c"]

    def test_a_removed_value_of_another_queue_with_its_number_is_not_counted(self, store: Store, inbox: Any) -> None:
        other = store.session("other").xcom["files"]
        other.push("x")

        def work() -> None:
            inbox.rotate(-1)
            assert inbox.popright() == "a"
            other.remove("x")

        deliver(store, work)
        (value,) = show(store.database, "other")["queues"]["files"]["values"]
        assert (value["state"], value["failed_deliveries"]) == ("live", 0)


class TestPushersThatAreGivenBack:
    def test_the_value_is_retracted_and_does_not_die(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.max_deliveries = 1
        pushing, taking = start(store, "pusher").begin("push"), start(store, "taker").begin("take")
        with acting_as(pushing):
            queue.push("a")
        with acting_as(taking):
            assert queue.pop() == "a"
        pushing.fail()
        assert fates(store) == [("a", "taken+", 0)]
        taking.fail()
        assert fates(store) == [("a", "retracted", 1)]

    @pytest.mark.promise(number=10)
    def test_a_dead_value_is_retracted(self, store: Store) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.max_deliveries = 1
        pushing = start(store, "pusher").begin("push")
        with acting_as(pushing):
            queue.push("a")
        deliver(store, queue.pop)
        before = now_micros(store.database)
        pushing.fail()
        assert fates(store) == [("a", "retracted", 1)]
        (then,) = show(store.database, "inbox", at=iso(before))["queues"]["files"]["values"]
        assert (then["state"], then["failed_deliveries"]) == ("dead", 1)
        with pytest.raises(InvalidArgument, match="is retracted: only dead values"):
            requeue(store.database, ["inbox/files#1"])


class TestRequeue:
    @pytest.mark.promise(number=10)
    def test_it_is_live_at_its_old_place_and_counts_anew(self, store: Store, inbox: Any) -> None:
        deliver(store, inbox.pop, times=2)
        deliver(store, lambda: inbox.popright(), times=2)
        assert list(inbox) == ["b"]
        requeue(store.database, ["inbox/files#3", "inbox/files#1", "inbox/files#3"])
        assert list(inbox) == ["a", "b", "c"]
        assert fates(store)[0] == ("a", "live", 0)
        deliver(store, inbox.pop, times=2)
        assert fates(store) == [("a", "dead", 2), ("b", "live", 0), ("c", "live", 0)]
        assert query(store, "SELECT action, session, detail FROM zrb_change WHERE action = 'requeue'") == [
            ("requeue", "inbox", "files#3, files#1")
        ]
        told = query(store, "SELECT taken_by, failed_deliveries FROM zrb_return WHERE reason LIKE 'requeued by % on %'")
        assert told == [(None, 0), (None, 0)]

    @pytest.mark.promise(number=10)
    @pytest.mark.parametrize(
        ("other", "error"),
        [
            ("inbox/files#2", InvalidArgument),
            ("inbox/files#9", ValueNotFound),
            ("inbox/nothing#1", ValueNotFound),
            ("nobody/files#1", LookupError),
            ("inbox/files", InvalidArgument),
        ],
    )
    def test_all_named_values_are_requeued_or_none(
        self, store: Store, inbox: Any, other: str, error: type[Exception]
    ) -> None:
        deliver(store, inbox.pop, times=2)
        with pytest.raises(error):
            requeue(store.database, ["inbox/files#1", other])
        assert fates(store)[0] == ("a", "dead", 2)
        assert query(store, "SELECT 1 FROM zrb_change WHERE action = 'requeue'") == []

    def test_all_of_a_queue(self, store: Store, inbox: Any) -> None:
        assert requeue_all(store.database, "inbox", "files") == 0
        inbox.max_deliveries = 1
        inbox.extend(map(str, range(10)))
        deliver(store, inbox.pop, times=13)
        assert requeue_all(store.database, "inbox", "files") == 13
        assert list(inbox) == ["a", "b", "c", *map(str, range(10))]
        ((detail,),) = query(store, "SELECT detail FROM zrb_change WHERE action = 'requeue'")
        assert detail.endswith("files#10 and 3 more")


@pytest.mark.slow
@pytest.mark.promise(number=10)
@pytest.mark.parametrize("seed", range(3))
def test_every_earlier_moment_is_shown_as_it_was(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    queue = store.session("inbox").xcom["files"]
    queue.push("first")
    pusher = start(store, "pusher")
    seen: list[tuple[int, list[tuple[Any, str, int]], list[Any]]] = []
    open_attempts = [pusher.begin(f"push-{number}") for number in range(3)]
    for _ in range(40):
        queue.max_deliveries = chance.choice([1, 1, 2, None])
        match chance.randrange(8):
            case 0 | 1 if open_attempts:
                with acting_as(chance.choice(open_attempts)):
                    queue.push(chance.randrange(100))
            case 2 if open_attempts:
                open_attempts.pop().fail()
            case 3:
                requeue_all(store.database, "inbox", "files")
            case 4:
                queue.push(chance.randrange(100))
            case 5:
                queue.rotate()
            case _:
                with contextlib.suppress(IndexError):
                    deliver(store, queue.pop)
        seen.append((now_micros(store.database), fates(store), list(queue)))
    assert {"dead", "retracted", "live"} <= {state for _, then, _ in seen for _, state, _ in then}
    for moment, then, live in seen:
        shown = show(store.database, "inbox", at=iso(moment))["queues"]["files"]
        assert shown["live"] == live
        states_then = [each["state"] + "+" * each["orphaned"] for each in shown["values"]]
        assert [
            (each["value"], state, each["failed_deliveries"])
            for each, state in zip(shown["values"], states_then, strict=True)
        ] == then


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
