"""Dead values are kept: by `prune`, in forks, and in other stores."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.attempts import failing, start
from tests.support.consumers import deliver, fates, poison
from tests.support.pruning import age, names, pruned
from tests.support.sessions import show
from zrb_store import Store
from zrb_store.operations.prune import Policy
from zrb_store.operations.sessions import remove_sessions
from zrb_store.operations.values import requeue, requeue_all

OLD = Policy(older_than=timedelta(days=1))


pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


@pytest.fixture
def poisoned(store: Store) -> Any:
    """The queue of a session that completed; one of its values is dead, one is live, and one was taken."""
    return poison(store)


@pytest.mark.promise(number=10)
def test_prune_keeps_a_session_with_a_dead_value(store: Store, poisoned: Any) -> None:
    age(store, 2)
    assert [name.partition("-")[0] for name in pruned(store, OLD)] == ["worker"]
    assert pruned(store, Policy(keep_last=0)) == []
    assert names(store) == {"s"}
    assert fates(store, "s", "q") == [("deadly", "dead", 1), ("live", "live", 0), ("taken", "taken", 0)]
    requeue_all(store.database, "s", "q")
    assert pruned(store, OLD) == ["s"]


def test_retention_keeps_sessions_with_dead_values(
    store: Store, poisoned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(store, 2)
    monkeypatch.setenv("ZRB_STORE_RETENTION", "1d")
    with store.session("new").run() as run:
        run.task("one", int)
    assert names(store) == {"s", "new"}


@pytest.mark.promise(number=10)
def test_prune_keeps_the_dead_values_of_an_open_session(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.max_deliveries = 1
    queue.extend(["deadly", "taken"])
    deliver(store, queue.pop)
    assert queue.pop() == "taken"
    age(store, 2)
    pruned(store, OLD)
    assert fates(store) == [("deadly", "dead", 1)]


def test_rm_deletes_sessions_with_dead_values(store: Store, poisoned: Any) -> None:
    remove_sessions(store.database, "s")
    assert "s" not in names(store)


@pytest.mark.promise(number=10)
def test_a_fork_has_what_was_dead_then(store: Store) -> None:
    run = start(store, "s")
    queue = store.session("s").xcom["q"]
    queue.max_deliveries = 1
    store.session("s").xcom["empty"].max_deliveries = 7
    with run.attempt("push"):
        queue.extend(["deadly", "other"])
    tasks = []

    def mark(then: str) -> None:
        run.begin(then).complete()
        tasks.append((then, fates(store, "s", "q")))

    mark("live")
    deliver(store, queue.pop)
    mark("dead")
    requeue(store.database, ["s/q#1"])
    mark("requeued")
    deliver(store, queue.pop)
    mark("dead again")
    done = run.completed("push")
    assert done is not None
    run.give_back(done, "again")
    mark("retracted")
    assert [then[0] for _, then in tasks] == [
        ("deadly", state, count)
        for state, count in (("live", 0), ("dead", 1), ("live", 0), ("dead", 1), ("retracted", 1))
    ]
    for task, then in tasks:
        fork = store.fork("s", from_task=task)
        assert fates(store, fork.name, "q") == [each for each in then if each[1] != "retracted"], task
        assert (fork.xcom["q"].max_deliveries, fork.xcom["empty"].max_deliveries) == (1, 7)
        requeue_all(store.database, fork.name, "q")
        assert [state for _, state, _ in fates(store, fork.name, "q")].count("dead") == 0


def test_a_fork_of_a_fork_whose_dead_value_was_requeued(store: Store) -> None:
    run = start(store, "s")
    queue = store.session("s").xcom["q"]
    queue.max_deliveries = 2
    queue.push("deadly")
    deliver(store, queue.pop, times=2)
    run.begin("first").complete()
    copy = store.fork("s", from_task="first", name="copy")
    again = copy.run().start()
    again.begin("second").complete()
    requeue_all(store.database, "copy", "q")
    assert store.fork("copy", from_task="second", name="third").xcom["q"].max_deliveries == 2
    # How often the original was delivered is not known any more.
    assert fates(store, "third", "q") == [("deadly", "dead", 1)]
    (then,) = show(store.database, "copy", at="before:second#1")["queues"]["q"]["values"]
    assert (then["state"], then["failed_deliveries"]) == ("dead", 1)


def test_an_attempt_of_the_own_session_that_is_held_at_the_fork_does_not_count(store: Store) -> None:
    run = start(store, "s")
    queue = store.session("s").xcom["q"]
    queue.max_deliveries = 2
    queue.push("deadly")
    deliver(store, queue.pop)
    failing(run, "load", queue.pop)
    run.begin("next").complete()
    run.begin("load")
    assert fates(store, "s", "q") == [("deadly", "dead", 2)]
    assert fates(store, store.fork("s", from_task="next").name, "q") == [("deadly", "live", 1)]
