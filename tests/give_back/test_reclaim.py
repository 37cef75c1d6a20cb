"""guarantees.md, promise 10: what an attempt did to queues of other sessions comes back by itself."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.attempts import acting_as, start
from tests.support.commands import Commands
from tests.support.holders import age_lease, age_suspicion, hold_a_value, hold_and_die
from tests.support.postgres import wait_until
from tests.support.processes import Child
from tests.support.rows import query, states
from zrb_store import SessionCompleted, Store, open_store
from zrb_store.db.clock import Clock
from zrb_store.db.transaction import Executor
from zrb_store.process import is_running
from zrb_store.queries import lease as lease_queries
from zrb_store.queries import reclaim as queries
from zrb_store.queries import runs
from zrb_store.queries.reclaim import HoldingRun
from zrb_store.run import RunSpec
from zrb_store.runtime import reclaim
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.usefixtures("sound")


def become_another_program(pipe: Connection, location: str) -> None:
    """Take a value of the shared queue, and execute a program that does not end."""
    with open_store(location) as store, store.session("worker").run() as run, run.attempt("convert"):
        pipe.send(store.session("inbox").xcom["files"].pop())
        os.execlp("sleep", "sleep", "86400")


LOOKS: dict[str, Callable[[Any], Any]] = {
    "peek": lambda queue: queue.peek(),
    "get": lambda queue: queue.get(),
    "item": lambda queue: queue[0],
    "iteration": lambda queue: next(iter(queue)),
}
EDITS: dict[str, tuple[Callable[[Any], object], list[str]]] = {
    "in": (lambda queue: "a" in queue, ["a", "b", "c"]),
    "remove": (lambda queue: queue.remove("a"), ["b", "c"]),
    "del": (lambda queue: queue.__delitem__(0), ["b", "c"]),
    "set item": (lambda queue: queue.__setitem__(0, "x"), ["x", "b", "c"]),
    "clear": (lambda queue: queue.clear(), []),
    "rotate": (lambda queue: queue.rotate(1), ["c", "a", "b"]),
    "reverse": (lambda queue: queue.reverse(), ["c", "b", "a"]),
    "insert": (lambda queue: queue.insert(1, "x"), ["a", "x", "b", "c"]),
}


class TestLooking:
    @pytest.mark.promise(number=10)
    @pytest.mark.parametrize("look", LOOKS)
    def test_whoever_finds_nothing_looks_for_dead_holders(self, store: Store, look: str) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.push("a")
        hold_and_die(store)
        assert LOOKS[look](queue) == "a"

    @pytest.mark.promise(number=10)
    @pytest.mark.parametrize("edit", EDITS)
    def test_an_edit_sees_what_a_dead_process_holds(self, store: Store, inbox: Any, edit: str) -> None:
        hold_and_die(store)
        assert inbox.peek() == "b", "since this process has just looked for dead holders"
        act, left = EDITS[edit]
        act(inbox)
        assert list(open_again(store)) == left

    def test_others_find_it_within_a_second(self, store: Store, inbox: Any) -> None:
        hold_and_die(store)
        assert [open_again(store).peek(), len(inbox)] == ["a", 3]

    @pytest.mark.promise(number=10)
    def test_who_only_reads_changes_nothing(self, store: Store, location: str, inbox: Any, command: Commands) -> None:
        hold_and_die(store)
        with open_store(location, read_only=True) as reader:
            queue = reader.session("inbox").xcom["files"]
            assert (queue.peek(), "a" in queue, len(queue)) == ("b", False, 2)
        assert command.ok("get", "inbox", "files") == "c\n"
        assert query(store, "SELECT status FROM zrb_run") == [(None,)]


def let_a_holder_die(location: str) -> None:
    """Let another process take the first value, "a", and be killed."""
    with Child(hold_a_value, location, "worker") as child:
        assert child.receive() == "a"
        child.kill()


class TestDeath:
    @pytest.mark.slow
    @pytest.mark.systems
    @pytest.mark.promise(number=10)
    def test_the_next_taker_gets_the_value_of_a_dead_process(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_value, location, "worker-3") as child:
            assert child.receive() == "a"
            child.kill()
        with store.session("worker-4").run() as run, run.attempt("convert"):
            assert inbox.pop() == "a"
        assert states(store, "done", "files") == [("half", "retracted")]
        assert list(store.session("worker-3").xcom["own"]) == ["half"], "until the session is run again"
        assert [each.name for each in store.sessions(status="stale")] == ["worker-3"]
        assert store.sessions(status="interrupted") == [], "nobody stopped it"
        told = query(store, "SELECT status, origin FROM zrb_run WHERE status <> 'completed' ORDER BY number")
        assert told == [("lost", "library"), ("interrupted", "reclaim")]
        assert query(store, "SELECT command FROM zrb_run WHERE origin = 'reclaim'") == [("[]",)], "it may have secrets"
        assert query(store, "SELECT action, session, detail FROM zrb_change") == [
            ("reclaim", "worker-3", "run 1: its process had died; reclaimed by worker-4/convert#1")
        ]

    def test_its_session_goes_on_with_the_next_value(self, store: Store, location: str, inbox: Any) -> None:
        let_a_holder_die(location)
        assert inbox.pop() == "a"
        with store.session("worker").run() as run:
            assert run.number == 3
            with run.attempt("convert") as attempt:
                assert (attempt.number, inbox.pop(), list(attempt.xcom["own"])) == (2, "b", [])

    def test_an_empty_queue_is_looked_through(self, store: Store, location: str) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.push("a")
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            with pytest.raises(IndexError):
                queue.pop()
            child.kill()
        assert queue.pop() == "a"

    def test_a_loop_over_the_queue_finds_it(self, store: Store, location: str) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.push("a")
        let_a_holder_die(location)
        taken = []
        while queue:
            taken.append(queue.pop())
        assert taken == ["a"]

    def test_what_a_dead_process_pushed_is_retracted_before_it_is_taken(self, store: Store, location: str) -> None:
        store.session("inbox").xcom["files"].push("a")
        done = store.session("done").xcom["files"]
        let_a_holder_die(location)
        with pytest.raises(IndexError):
            done.pop()
        assert list(store.session("inbox").xcom["files"]) == ["a"]

    @pytest.mark.promise(number=10)
    def test_a_process_at_work_keeps_its_value_without_a_lease(self, store: Store, location: str, inbox: Any) -> None:
        """One call may keep all threads of a process waiting, and so the renewal of its lease."""
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            expire_lease(store.session("worker"))
            assert inbox.pop() == "b"
            assert query(store, "SELECT count(suspected_at) FROM zrb_run") == [(0,)]
            child.send("go on")
            child.join()
        assert store.session("worker").status == "completed"

    @pytest.mark.promise(number=5)
    @pytest.mark.skipif(platform.system() != "Linux", reason="only Linux tells one program of a process from the next")
    def test_a_program_that_a_task_has_become_keeps_its_value_as_long_as_its_lease(
        self, store: Store, location: str, inbox: Any
    ) -> None:
        with Child(become_another_program, location) as child:
            assert child.receive() == "a"
            run = runs.last(store.database, store.session("worker").record().id)
            assert run is not None
            # The kernel names the new program before it says where its stack is.
            wait_until(lambda: is_running(*run.process) is None, lambda: "it is no other program")
            assert inbox.pop() == "b"
            age_lease(store, "worker", known=True)
            assert open_again(store).pop() == "c"
            age_suspicion(store, lease_queries.SUSPICION)
            assert open_again(store).pop() == "a"

    def test_a_taker_does_not_reclaim_itself(self, store: Store, inbox: Any) -> None:
        run = start(store, "worker")
        with acting_as(run.begin("convert")):
            assert inbox.pop() == "a"
            age_lease(store, "worker")
            store.database.execute(sa.text("UPDATE zrb_run SET suspected_at = 1"))
            assert open_again(store).pop() == "b"

    def test_a_suspicion_of_a_clock_that_was_ahead(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            age_lease(store, "worker")
            child.kill()
        store.database.execute(sa.text(f"UPDATE zrb_run SET suspected_at = {2**52}"))
        assert inbox.pop() == "b"
        age_suspicion(store, lease_queries.SUSPICION)
        assert [*iter(lambda: pop_at_once(store), None)] == ["a", "c"]

    @pytest.mark.promise(number=10)
    def test_a_shell_script_gets_it_too(self, store: Store, location: str, inbox: Any, command: Commands) -> None:
        let_a_holder_die(location)
        assert command.ok("pop", "inbox", "files") == "a\n"
        assert "reclaimed by pid" in command.ok("log", "worker")

    @pytest.mark.promise(number=10)
    def test_a_live_holder_loses_nothing(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            assert [inbox.pop(), inbox.pop()] == ["b", "c"]
            with pytest.raises(IndexError):
                inbox.pop()
            child.send("go on")
            child.join()
        assert store.session("worker").xcom["convert"].peek() == "converted"

    def test_show_names_the_holder(self, store: Store, location: str, inbox: Any, command: Commands) -> None:
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            assert re.search(r"held by worker/convert#1 for .* \(alive\)", command.ok("show", "inbox"))
            assert "held by worker/convert#1 (alive)" in command.ok("list")
            child.stop_between_writes(store)  # else it renews the lease
            age_lease(store, "worker")
            assert re.search(r"held by worker/convert#1 for .* \(lease expired\)", command.ok("show", "inbox"))
            expire_lease(store.session("worker"))
            child.kill()
        assert "taken by worker/convert#1" not in command.ok("show", "inbox")
        assert inbox.pop() == "b"

    @pytest.mark.promise(number=10)
    def test_a_process_elsewhere_is_first_suspected(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            child.stop_between_writes(store)
            age_lease(store, "worker")
            assert inbox.pop() == "b"
            assert query(store, "SELECT count(suspected_at) FROM zrb_run") == [(1,)]
            age_suspicion(store, lease_queries.SUSPICION - 1)
            assert open_again(store).pop() == "c"
            age_suspicion(store, 1)
            assert open_again(store).pop() == "a"
            child.resume()
            child.send("go on")
            assert "run 2: worker/convert#1" in child.receive()
            child.join()
        assert states(store, "inbox", "files") == [("a", "taken"), ("b", "taken"), ("c", "taken")]
        assert store.session("worker").xcom.get("convert") is None

    def test_a_renewal_removes_the_suspicion(self, store: Store, location: str, inbox: Any) -> None:
        with Child(hold_a_value, location, "worker") as child:
            assert child.receive() == "a"
            child.stop_between_writes(store)
            age_lease(store, "worker")
            assert inbox.pop() == "b"
            run_id = query(store, "SELECT id FROM zrb_run")[0][0]
            assert lease_queries.renew(store.database, run_id, 60_000_000)
            assert query(store, "SELECT count(suspected_at) FROM zrb_run") == [(0,)]
            assert open_again(store).pop() == "c"
            child.resume()
            child.send("go on")
            child.join()
        assert store.session("worker").status == "completed"

    def test_a_dead_parent_keeps_what_it_took_of_its_child(self, store: Store, location: str) -> None:
        store.session("inbox").prepare(RunSpec(parent="worker")).start().end("completed")
        queue = store.session("inbox").xcom["files"]
        queue.push("a")
        let_a_holder_die(location)
        with pytest.raises(IndexError):
            queue.pop()
        assert store.session("worker").status == "stale"

    def test_two_takers_reclaim_once(self, store: Store, location: str, inbox: Any) -> None:
        let_a_holder_die(location)
        (holder,) = queries.holding_runs(store.database, query(store, "SELECT min(id) FROM zrb_queue")[0][0])
        assert reclaim._reclaim(store.database, holder, None)
        assert reclaim._reclaim(store.database, holder, None), "the values are back, although not by this taker"
        assert query(store, "SELECT count(*) FROM zrb_run WHERE origin = 'reclaim'") == [(1,)]

    @pytest.mark.needs("transfer")
    def test_its_session_can_be_copied_exported_and_forked(
        self, store: Store, location: str, inbox: Any, command: Commands
    ) -> None:
        let_a_holder_die(location)
        assert inbox.pop() == "a"
        command.ok("fork", "worker", "--from", "convert")
        exported = command.ok("export")
        command.ok("rm", "worker", "worker-fork", "inbox", "done")
        command.ok("import", stdin=exported)
        assert store.session("worker").status == "stale"


def open_again(store: Store) -> Any:
    """Return the queue as a process has it that has not looked for dead holders yet."""
    reclaim.searches(store.database).clear()
    return store.session("inbox").xcom["files"]


def pop_at_once(store: Store) -> Any:
    """Take a value as a new process does; None if there is none."""
    try:
        return open_again(store).pop()
    except IndexError:
        return None


@pytest.mark.promise(number=10)
def test_takers_look_at_most_once_a_second(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def no_holders(executor: Executor, queue_id: int) -> list[HoldingRun]:
        looks.append(queue_id)
        return []

    monkeypatch.setattr(queries, "holding_runs", no_holders)
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    reclaim.searches(store.database).clear()
    queue = store.session("inbox").xcom["files"]
    queue.extend(range(30))
    for _ in range(10):
        queue.pop()
    assert len(looks) == 1
    now += 1.0
    queue.pop()
    queue.pop()
    assert len(looks) == 2


def test_a_completed_session_is_reopened_for_a_new_run(store: Store) -> None:
    worker = store.session("worker")
    for night in (1, 2):
        with worker.run(again=True) as run, run.attempt(f"night {night}") as attempt:
            attempt.complete(night)
    assert [worker.record().fence, worker.status] == [2, "completed"]
    with pytest.raises(SessionCompleted):
        worker.run().start()


def test_expired_leases_of_this_machine_are_suspected_too(store: Store, location: str, inbox: Any) -> None:
    """A process that is stopped is not dead."""
    with Child(hold_a_value, location, "worker") as child:
        assert child.receive() == "a"
        child.stop_between_writes(store)
        expire_lease(store.session("worker"))
        assert inbox.pop() == "b"
        assert query(store, "SELECT count(suspected_at) FROM zrb_run") == [(1,)]
        assert store.session("worker").status == "stale"
        child.resume()
        child.send("go on")
        child.join()
    assert store.session("worker").status == "completed"
