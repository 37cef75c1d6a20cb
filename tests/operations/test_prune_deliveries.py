"""A consumer that runs for ever does not fill the store: what it has done may be pruned while it works."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.pruning import DAY
from tests.support.rows import query, states
from zrb_store import Run, Store
from zrb_store.operations.prune import Deletion, Policy, prune

OLD = Policy(older_than=DAY)
RULE = "taken by deliveries that completed more than 1d ago"
_COLUMNS = (
    "zrb_session.created_at zrb_session.ended_at zrb_run.started_at zrb_run.ended_at zrb_attempt.started_at "
    "zrb_attempt.ended_at zrb_attempt.given_back_at zrb_value.pushed_at zrb_value.ended_at zrb_return.taken_at "
    "zrb_return.returned_at"
)


pytestmark = pytest.mark.usefixtures("sound")


def age(store: Store) -> None:
    """Let everything have happened two days earlier; leases stay."""
    for column in _COLUMNS.split():
        table, name = column.split(".")
        store.database.execute(sa.text(f"UPDATE {table} SET {name} = {name} - {2 * DAY.total_seconds() * 1e6:.0f}"))


def consume(run: Run, store: Store, session: str = "inbox", bad: str = "") -> None:
    """Deliver what the queue has; `bad` fails."""
    for delivery in run.consume(store.session(session).xcom["q"]):
        with delivery as value:
            store.session("done").xcom["q"].push(value)
            if value == bad:
                raise ValueError(value)


def attempts(store: Store) -> list[tuple[str, int, str]]:
    """Return the attempts: the task, its number and its status."""
    return query(store, "SELECT task, number, status FROM zrb_attempt ORDER BY id")


@pytest.mark.promise(number=10)
def test_what_a_running_consumer_has_done_goes(store: Store) -> None:
    store.session("inbox").xcom["q"].extend("abc")
    with store.session("consumer").run() as run:
        consume(run, store)
        age(store)
        store.session("inbox").xcom["q"].push("new")
        consume(run, store)
        assert [(each.session, each.values) for each in prune(store.database, OLD, dry_run=True)] == [("inbox", 3)]
        assert len(states(store, "inbox")) == 4
        assert [each.values for each in prune(store.database, OLD)] == [3]
        assert states(store, "inbox") == [("new", "taken")]
        assert states(store, "done") == [(each, "live") for each in ("a", "b", "c", "new")]
        assert len(attempts(store)) == 4, "what they pushed still names them"
        store.session("done").xcom["q"].clear()
        age(store)
        list(prune(store.database, OLD))
        assert attempts(store) == [("inbox/q", 4, "completed")], "so that no number is used twice"
        consume(run, store)
    assert store.session("consumer").status == "completed"


@pytest.mark.parametrize("status", ["running", "failed"])
def test_also_from_the_queues_of_sessions_that_had_runs(store: Store, status: str) -> None:
    home = store.session("home")
    home.xcom["q"].extend("ab")
    own = home.run().start()
    if status == "failed":
        own.end("failed")
    with store.session("consumer").run() as run:
        consume(run, store, "home")
    age(store)
    keeps = Policy(older_than=DAY, keep_last=9)
    assert Deletion("home", RULE, 2) in list(prune(store.database, keeps, dry_run=True))
    assert list(prune(store.database, keeps)) == [Deletion("home", RULE, 2)]
    assert states(store, "home") == []
    assert query(store, "SELECT DISTINCT detail FROM zrb_change WHERE session = 'home'") == [(f"2 {RULE}",)]


def test_but_not_what_other_attempts_took_or_what_is_pinned(store: Store) -> None:
    home, pinned = store.session("home"), store.session("pinned")
    for session in (home, pinned):
        session.xcom["q"].extend("ab")
        with session.run() as run, run.attempt("load"):
            session.xcom["q"].pop()
    store.database.execute(sa.text("UPDATE zrb_session SET pinned = (1 = 1) WHERE name = 'pinned'"))
    with store.session("consumer").run() as run:
        consume(run, store, "home")
        consume(run, store, "pinned")
        age(store)
        list(prune(store.database, Policy(older_than=DAY, keep_last=9)))
        assert states(store, "home") == [("a", "taken")]
        assert states(store, "pinned") == [("a", "taken"), ("b", "taken")]


def test_failed_deliveries_go_after_the_values_that_name_them(store: Store) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.extend("ab")
    for _ in range(2):
        with store.session("consumer").run(again=True) as run:
            consume(run, store, bad="b")
    age(store)
    list(prune(store.database, Policy(older_than=DAY, keep_last=9)))
    assert states(store, "inbox") == [("b", "live")]
    store.session("done").xcom["q"].clear()
    with store.session("consumer").run(again=True) as run:
        consume(run, store)
    age(store)
    list(prune(store.database, Policy(older_than=DAY, keep_last=9)))
    list(prune(store.database, Policy(older_than=DAY, keep_last=9)))
    assert states(store, "inbox") == []
    assert attempts(store) == [("inbox/q", 4, "completed")]
    assert query(store, "SELECT number FROM zrb_run") == [(3,)], "runs without attempts go too"
    assert store.session("consumer").status == "completed"


def test_a_poison_value_and_what_it_did_stay(store: Store) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.max_deliveries = 1
    queue.push("bad")
    with store.session("consumer").run() as run:
        consume(run, store, bad="bad")
    age(store)
    list(prune(store.database, Policy(older_than=DAY, keep_last=9)))
    assert states(store, "inbox") == [("bad", "dead")]
    assert attempts(store) == [("inbox/q", 1, "failed")]
