"""What `rm` and `prune` delete, and what they never delete."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import timedelta
from multiprocessing.connection import Connection

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.processes import Child
from tests.support.pruning import DAY, MONTH, age, names, pruned, run
from zrb_store import InvalidArgument, SessionBusy, Store, open_store
from zrb_store.db import tables
from zrb_store.operations import prune
from zrb_store.operations.prune import Deletion, Policy
from zrb_store.operations.sessions import pin, remove_sessions
from zrb_store.queries import queues, values
from zrb_store.runtime import lease
from zrb_store.testing import expire_lease

# -- sessions


def test_old_sessions_go_with_all_their_rows(store: Store) -> None:
    run(store, "old")
    run(store, "old-failed", status="failed")
    age(store, 31)
    run(store, "new")
    assert list(prune.prune(store.database, MONTH, dry_run=True)) == [
        Deletion("old", "older than 30d"),
        Deletion("old-failed", "older than 30d"),
    ]
    assert pruned(store, MONTH) == ["old", "old-failed"]
    assert pruned(store, MONTH) == []
    for table in (tables.run, tables.attempt, tables.queue, tables.value):
        assert len(store.database.execute(sa.select(table))) == 1, "no row of a deleted session may be left"


def test_the_newest_of_each_task_and_project_are_kept(store: Store) -> None:
    for number in range(4):
        run(store, f"load-{number}")
        run(store, f"other-project-{number}", project="/other")
        run(store, f"report-{number}", task="report")
    run(store, "script", task=None)
    assert set(pruned(store, Policy(keep_last=2))) == {
        f"{kind}-{number}" for kind in ("load", "other-project", "report") for number in (0, 1)
    }


def test_every_condition_must_apply(store: Store) -> None:
    for number in range(3):
        run(store, f"old-{number}", status="failed" if number == 0 else "completed")
    age(store, 31)
    run(store, "new")
    policy = Policy(older_than=30 * DAY, keep_last=2, statuses=("completed",))
    assert list(prune.prune(store.database, policy, dry_run=True)) == [
        Deletion("old-1", "older than 30d, not among the last 2 completed of load, status completed")
    ]
    assert pruned(store, Policy(older_than=30 * DAY, keep_last=2)) == ["old-0", "old-1"]


def test_a_live_session_never_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.session("long").run():
        age(store, 100)
        monkeypatch.setattr("zrb_store.queries.lease.is_live", lambda executor, run, moment: True)
        assert pruned(store, Policy(older_than=timedelta(0), keep_last=0)) == []
        with pytest.raises(SessionBusy):
            remove_sessions(store.database, "long")


def test_a_stale_session_is_as_old_as_its_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease.stop_renewing(store.session("s").run().start())
    age(store, 20)
    monkeypatch.setattr("zrb_store.queries.lease.is_running", lambda *_: False)
    assert pruned(store, MONTH) == []
    age(store, 20)
    assert pruned(store, Policy(older_than=30 * DAY, statuses=("running", "failed"))) == []
    assert pruned(store, Policy(older_than=30 * DAY, statuses=("stale",))) == ["s"]


def test_a_pinned_session_never_goes(command: Commands, store: Store) -> None:
    run(store, "kept")
    run(store, "other")
    command.ok("pin", "kept")
    assert json.loads(command.ok("show", "kept", "--format", "json"))["pinned"] is True
    assert "is pinned" in command("rm", "kept").err
    assert pruned(store, Policy(keep_last=0)) == ["other"]
    command.ok("unpin", "kept")
    command.ok("rm", "kept")
    assert names(store) == set()


def test_a_session_that_changed_since_it_was_seen_stays(store: Store) -> None:
    for name in ("first", "resumed", "awake", "pinned", "removed", "untouched"):
        run(store, name, status="failed")
    pruning = prune.prune(store.database, Policy(keep_last=0))
    assert next(pruning).session == "first"
    run(store, "resumed", status="failed")
    pin(store.database, "pinned")
    remove_sessions(store.database, "removed")
    awake = store.session("awake").record().id
    again = f"UPDATE zrb_run SET ended_at = NULL, ended_tick = NULL, status = NULL WHERE session_id = {awake}"
    store.database.transact(lambda t: t.driver.execute(again))  # this process is alive
    assert [gone.session for gone in pruning] == ["untouched"]
    assert names(store) == {"resumed", "pinned", "awake"}


@pytest.mark.promise(number=3)
def test_what_unfinished_attempts_took_elsewhere_is_given_back_first(store: Store) -> None:
    inbox = store.session("inbox").xcom["files"]
    inbox.extend(["a", "b", "c"])
    started = store.session("s").run().start()
    done, dead = started.begin("done"), started.begin("dead")
    done.complete(store.session("inbox").xcom.bound_to(done)["files"].pop())
    taking = store.session("inbox").xcom.bound_to(dead)
    assert taking["files"].pop() == "b"
    taking["files"].push("d")
    expire_lease(store.session("s"))
    assert list(inbox) == ["c", "d"]
    remove_sessions(store.database, "s")
    assert list(inbox) == ["b", "c"], "only the dead attempt must have been undone"


def test_what_unfinished_attempts_took_at_home_goes_with_it(store: Store) -> None:
    store.session("s").xcom["q"].push(1)
    started = store.session("s").run().start()
    started.begin("a").xcom["q"].pop()
    started.end("failed")
    remove_sessions(store.database, "s")
    assert names(store) == set()


# -- open sessions


def test_an_open_session_loses_only_what_left_its_queues(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "VALUES_AT_ONCE", 3)
    queue = store.session("inbox").xcom["q"]
    queue.extend(range(20))
    for _ in range(7):
        queue.pop()
        queue.popright()
    age(store, 31)
    queue.pop()
    assert list(prune.prune(store.database, MONTH, dry_run=True)) == [
        Deletion("inbox", "taken or removed more than 30d ago", 14)
    ]
    assert pruned(store, Policy(keep_last=0)) == [], "without an age, no values may be deleted"
    assert pruned(store, MONTH) == ["inbox"]
    assert list(queue) == list(range(8, 13))
    assert len(store.database.execute(sa.select(tables.value))) == 6
    assert pruned(store, MONTH) == []


def test_a_pinned_open_session_loses_nothing(store: Store) -> None:
    store.session("inbox").xcom["q"].push(1)
    store.session("inbox").xcom["q"].pop()
    pin(store.database, "inbox")
    age(store, 31)
    assert pruned(store, MONTH) == []


@pytest.mark.parametrize("push", ["append", "appendleft"])
def test_no_number_is_given_twice(store: Store, push: str) -> None:
    queue = store.session("inbox").xcom["q"]
    given = []
    for take in ("pop", "popright", "pop"):
        for number in range(3):
            getattr(queue, push)(number)
            queue_id = queues.find_queue(store.database, "inbox", "q")
            assert queue_id is not None
            given.append(values.lock_live(store.database, queue_id)[0 if push == "appendleft" else -1][0])
        for _ in range(3):
            getattr(queue, take)()
        age(store, 31)
        assert pruned(store, MONTH) == ["inbox"]
        assert store.database.execute(sa.select(tables.value)) == []
    assert len(set(given)) == 9
    assert sorted(given, reverse=push == "appendleft") == given


@pytest.mark.promise(number=3)
def test_a_value_that_may_come_back_stays(store: Store) -> None:
    inbox = store.session("inbox").xcom["q"]
    inbox.extend([1, 2])
    started = store.session("s").run().start()
    taker, failed = started.begin("taker"), started.begin("failed")
    taker.complete(store.session("inbox").xcom.bound_to(taker)["q"].pop())
    store.session("inbox").xcom.bound_to(failed)["q"].pop()
    failed.fail()
    started.end("failed")
    age(store, 31)
    assert pruned(store, Policy(older_than=30 * DAY, statuses=("open",))) == []
    with store.session("s").run() as again:
        done = again.completed("taker")
        assert done is not None
        again.give_back(done, "forced")
        assert list(inbox) == [1, 2]
        with again.attempt("taker") as attempt:
            store.session("inbox").xcom.bound_to(attempt)["q"].pop()
        again.task("failed", lambda: None)
    age(store, 31)
    assert pruned(store, Policy(older_than=30 * DAY, statuses=("open",))) == ["inbox"], (
        "its taker's session has completed"
    )


def test_a_result_that_a_fork_uses_stays(store: Store) -> None:
    run(store, "s")
    started = store.session("s2").run().start()
    started.task("a", lambda: "result")
    started.task("b", lambda: None)
    started.end("failed")
    forked = store.fork("s2", from_task="b")
    assert forked.xcom["a"].pop() == "result"
    age(store, 31)
    assert pruned(store, Policy(older_than=30 * DAY, statuses=("open",))) == []
    with forked.run() as again:
        assert again.task("a", str) == "result"


def test_a_policy_says_something() -> None:
    with pytest.raises(InvalidArgument):
        Policy(statuses=("failed",))


# -- after a run


def test_retention_is_applied_after_a_run_once_a_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        run(store, f"s{number}")
    monkeypatch.setenv("ZRB_STORE_RETENTION", "1d,keep=2")
    age(store, 2)
    run(store, "new")
    assert names(store) == {"s3", "new"}
    age(store, 2)
    store.database.execute(sa.update(tables.change).values(at=tables.change.c.at + 86_400_000_000 * 3 // 2))
    run(store, "newer")
    assert names(store) == {"s3", "new", "newer"}, "it was pruned only half a day ago"
    age(store, 1)
    run(store, "newest")
    assert names(store) == {"newer", "newest"}


# -- while other processes work

WRITERS, ROUNDS = 4, 6


def work(_: Connection, location: str, number: int) -> None:
    """Run sessions that fail, give back what they took, are run again, pass values on, and complete."""
    with open_store(location) as store:
        inbox = store.session("inbox").xcom["q"]
        for turn in range(ROUNDS):
            session = store.session(f"s{number}-{turn}")
            failing = session.run(task="load").start()
            attempt = failing.begin("load")
            store.session("inbox").xcom.bound_to(attempt)["lent"].pop()
            failing.end("failed")
            with session.run(task="load") as run, run.attempt("load") as attempt:
                inbox.push(turn)
                attempt.xcom["mine"].push(turn)
                inbox.pop()
                attempt.complete(turn)
            inbox.push("by hand")
            inbox.pop()


@pytest.mark.slow
def test_with_writers_at_work_nothing_fails(location: str) -> None:
    with open_store(location) as store, ExitStack() as stack:
        store.session("inbox").xcom["lent"].extend(range(WRITERS))
        writers = [stack.enter_context(Child(work, location, number)) for number in range(WRITERS)]
        gone: list[Deletion] = []
        while any(writer.is_running for writer in writers):
            gone += prune.prune(store.database, Policy(older_than=timedelta(0), statuses=("completed", "open")))
        assert [writer.join() for writer in writers] == [0] * WRITERS
        gone += prune.prune(store.database, Policy(older_than=timedelta(0)))
        assert sum(deletion.values is None for deletion in gone) == WRITERS * ROUNDS
        assert names(store) == {"inbox"}
        assert list(store.session("inbox").xcom["q"]) == []
        assert list(store.session("inbox").xcom["lent"]) == list(range(WRITERS))
