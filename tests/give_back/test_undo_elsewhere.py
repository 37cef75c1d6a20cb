"""guarantees.md, promise 10: what an attempt that fails did to queues of other sessions is undone at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.attempts import acting_as, failing, start
from tests.support.commands import Commands
from tests.support.rows import faults, query, states
from zrb_store import Store
from zrb_store.records import iso
from zrb_store.run import RunSpec

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


@pytest.mark.promise(number=10)
def test_it_comes_back_as_the_attempt_fails(store: Store, inbox: Any) -> None:
    run = start(store, "worker")
    own = store.session("worker").xcom["own"]
    own.push(1)
    done = store.session("done").xcom["files"]

    def work() -> None:
        inbox.pop()
        inbox.remove("c")
        done.push("half")
        own.pop()
        own.push(2)

    failing(run, "convert", work)
    assert list(inbox) == ["a", "b", "c"]
    assert states(store, "done", "files") == [("half", "retracted")]
    assert list(own) == [2], "a fallback sees what the failed attempt left in its own session"
    run.begin("convert")
    assert list(own) == [1]
    assert query(store, "SELECT reason FROM zrb_return ORDER BY id") == [("failed",), ("failed",), ("failed",)]


def test_and_as_a_run_ends_that_was_interrupted(store: Store, inbox: Any) -> None:
    run = start(store, "worker")
    with acting_as(run.begin("convert")):
        assert inbox.pop() == "a"
    run.begin("report")  # it did nothing elsewhere, and is undone first
    run.end("interrupted")
    assert list(inbox) == ["a", "b", "c"]
    assert query(store, "SELECT reason FROM zrb_return") == [("interrupted",)]


def test_a_value_that_another_attempt_holds_is_orphaned(store: Store) -> None:
    queue = store.session("shared").xcom["q"]
    pusher, taker = start(store, "pusher"), start(store, "taker")
    pushing, taking = pusher.begin("push"), taker.begin("take")
    with acting_as(pushing):
        queue.push(1)
    with acting_as(taking):
        assert queue.pop() == 1
    pushing.fail()
    assert states(store, "shared") == [(1, "taken+")]
    assert faults(store) == []
    taking.fail()
    assert states(store, "shared") == [(1, "retracted")]


@pytest.mark.promise(number=10)
@pytest.mark.parametrize("parent", ["parent", "parent/load#1"])
def test_queues_of_parents_and_children_stay_until_the_next_attempt(store: Store, parent: str) -> None:
    start(store, "parent")
    middle = store.session("middle").prepare(RunSpec(parent=parent)).start()
    child = store.session("child").prepare(RunSpec(parent="middle")).start()
    grandparent, grandchild = store.session("parent").xcom["q"], store.session("child").xcom["q"]
    failing(child, "task", lambda: grandparent.push("from a grandchild"))
    failing(middle, "task", lambda: grandchild.push("from a parent"))
    assert list(grandparent) == ["from a grandchild"]
    assert list(grandchild) == ["from a parent"]
    child.begin("task")
    middle.begin("task")
    assert list(grandparent) == list(grandchild) == []


def test_earlier_moments_stay_true(store: Store, inbox: Any, command: Commands) -> None:
    run = start(store, "worker")

    def work() -> None:
        inbox.pop()
        store.session("done").xcom["files"].push("half")

    failing(run, "convert", work)
    assert '"live": [\n        "b",' in command.ok("show", "inbox", "--at", taken_at(store), "--format", "json")
    told = command.ok("trace", "done/files#1")
    assert told.endswith("retracted  worker/convert#1  worker/convert#1 did not complete\n")


def taken_at(store: Store) -> str:
    ((micros,),) = query(store, "SELECT taken_at FROM zrb_return")
    return iso(micros) or ""
