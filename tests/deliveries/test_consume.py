"""guarantees.md, promise 10: `Run.consume` gives each value of a queue to an attempt of its own."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from typing import Any

import pytest

from tests.support.attempts import Broken, acting_as, start
from tests.support.consumers import attempts, consume, deliveries_of, raising, taken
from tests.support.rows import query, states
from zrb_store import (
    AttemptClosed,
    InvalidArgument,
    Run,
    Store,
    ZrbStoreError,
    open_store,
)
from zrb_store.db.transaction import set_callback
from zrb_store.operations.sessions import remove_sessions

pytestmark = pytest.mark.usefixtures("sound")


def refuse(point: str, at: str) -> None:
    if point == at:
        raise Broken(at)


class TestOneByOne:
    @pytest.mark.smoke
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

    @pytest.mark.promise(number=10)
    def test_begin_and_take_are_one_transaction(self, store: Store, inbox: Any) -> None:
        with store.session("worker").run() as run:
            deliveries = run.consume(inbox)
            previous = set_callback(lambda point: refuse(point, "consume:inside"))
            with contextlib.suppress(Broken):
                next(deliveries)
            set_callback(previous)
            assert attempts(store) == []
            assert list(inbox) == ["a", "b", "c"]

    @pytest.mark.promise(number=10)
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

    @pytest.mark.promise(number=10)
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

    @pytest.mark.slow
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

    @pytest.mark.slow
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

    def test_an_error_after_that_is_raised(self, store: Store, inbox: Any) -> None:
        """What is done cannot be given back, and the error must not be lost."""

        def complete_and_fail(run: Run) -> None:
            for delivery in run.consume(inbox):
                with delivery:
                    delivery.complete()
                    raise Broken

        with store.session("worker").run() as run, pytest.raises(Broken):
            complete_and_fail(run)
        assert list(inbox) == ["b", "c"]


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
    @pytest.mark.on_sqlite
    def test_arguments_out_of_range_are_refused(self, store: Store, inbox: Any, options: Any) -> None:
        with store.session("worker").run() as run, pytest.raises(InvalidArgument):
            run.consume(inbox, **options)

    def test_a_queue_of_another_store(self, store: Store, empty_store: Store) -> None:
        with store.session("worker").run() as run, pytest.raises(InvalidArgument, match="another store"):
            run.consume(empty_store.session("inbox").xcom["files"])

    def test_the_same_store_opened_twice(self, store: Store, location: str, inbox: Any) -> None:
        with open_store(location) as again, store.session("worker").run() as run:
            assert taken(run, again.session("inbox").xcom["files"]) == ["a", "b", "c"]

    def test_a_delivery_begins_in_no_attempt(self, store: Store, inbox: Any) -> None:
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

    @pytest.mark.promise(number=10)
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
