"""`rm` and `prune` delete steps with their sessions, and give back first what is not done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.support.commands import Commands
from tests.support.pruning import DAY, MONTH, age, names, pruned
from tests.support.rows import query, states
from tests.support.steps import Boom, attempt_of
from zrb_store import Store, Xcom
from zrb_store.operations import prune
from zrb_store.operations.prune import Deletion, Policy
from zrb_store.operations.sessions import remove_sessions
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


def orphans(store: Store) -> int:
    """Return how many attempts have a parent that is not there."""
    missing = "parent_id IS NOT NULL AND parent_id NOT IN (SELECT id FROM zrb_attempt)"
    return int(query(store, f"SELECT count(*) FROM zrb_attempt WHERE {missing}")[0][0])


def die_amid_a_step(store: Store, files: Xcom) -> None:
    """Die in a step, after one that took a value, a take outside of steps, and another step that took a value."""
    with contextlib.suppress(Crash), crash_at("step_complete:before", visit=3), attempt_of(store) as attempt:
        attempt.step("stands", files.pop)
        files.pop()
        attempt.step("rests on the take", files.pop)
        attempt.step("is lost", files.pop)
    expire_lease(store.session("night"))
    assert list(files) == ["e"]
    store.database.transact(lambda transaction: transaction.driver.execute("UPDATE zrb_run SET boot_id = 'elsewhere'"))


def by_rm(store: Store) -> None:
    remove_sessions(store.database, "night")


def by_prune(store: Store) -> None:
    age(store, 31)
    stale = Policy(older_than=30 * DAY, statuses=("stale",))
    assert list(prune.prune(store.database, stale, dry_run=True)) == [Deletion("night", "older than 30d, status stale")]
    assert pruned(store, stale) == ["night"]


@pytest.mark.parametrize("remove", [by_rm, by_prune])
def test_only_what_stands_stays_taken_elsewhere(store: Store, remove: Callable[[Store], None]) -> None:
    files = store.session("inbox").xcom["files"]
    files.extend("abcde")
    die_amid_a_step(store, files)
    remove(store)
    assert list(files) == ["b", "c", "d", "e"]
    assert states(store, "inbox", "files")[0] == ("a", "taken")
    assert names(store) == {"inbox"}
    assert query(store, "SELECT task FROM zrb_attempt") == []


def test_a_dry_run_counts_sessions_and_no_steps(store: Store) -> None:
    for _ in range(2):
        with attempt_of(store, fails=True) as attempt:
            for page in range(3):
                attempt.step(f"page {page}", int)
    with attempt_of(store):
        pass
    age(store, 31)
    assert list(prune.prune(store.database, MONTH, dry_run=True)) == [Deletion("night", "older than 30d")]
    assert pruned(store, MONTH) == ["night"]


def test_a_value_that_a_step_holds_stays_until_its_session_completes(store: Store, inbox: Xcom) -> None:
    only_open = Policy(older_than=30 * DAY, statuses=("open",))
    with attempt_of(store, fails=True) as attempt:
        attempt.step("take", inbox.pop)
    age(store, 31)
    assert pruned(store, only_open) == [], "`--from` would give it back"
    with attempt_of(store) as attempt:
        assert attempt.step("take", inbox.pop) == "a"
    age(store, 31)
    assert pruned(store, only_open) == ["inbox"]


def test_a_consumer_keeps_the_steps_of_its_tasks(store: Store, inbox: Xcom) -> None:
    with contextlib.suppress(Boom), store.session("night").run() as run:
        for delivery in run.consume(inbox):
            with delivery:
                pass
        with run.attempt("convert") as attempt:
            attempt.step("one", int)
            attempt.step("two", int)
            raise Boom
    before = query(store, "SELECT count(*) FROM zrb_attempt WHERE kind = 'delivery'")
    age(store, 31)
    assert pruned(store, Policy(older_than=30 * DAY, keep_last=9)) == ["inbox"]
    assert query(store, "SELECT count(*) FROM zrb_attempt WHERE kind = 'delivery'") < before
    assert query(store, "SELECT task FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id") == [
        ("convert/1",),
        ("convert/2",),
    ]
    assert orphans(store) == 0


def test_a_value_on_which_a_step_fails_dies_and_can_be_requeued(command: Commands, store: Store, inbox: Xcom) -> None:
    inbox.max_deliveries = 1

    def take_and_fail() -> None:
        inbox.pop()
        raise Boom

    with attempt_of(store) as attempt, contextlib.suppress(Boom):
        attempt.step("page", take_and_fail)
    assert states(store, "inbox", "files")[0] == ("a", "dead")
    assert command("requeue", "inbox/files#1").code == 0
    assert list(inbox) == ["a", "b", "c"]
    command.ok("pin", "night")
    age(store, 31)
    assert pruned(store, MONTH) == []


def test_a_result_of_a_step_is_not_the_last_of_a_task(command: Commands, store: Store) -> None:
    with attempt_of(store) as attempt:
        attempt.complete(attempt.step("page", lambda: 7))
    assert command.ok("last", "convert", "--any-project") == "7\n"
    assert command("last", "convert/1", "--any-project").code == 3
    with store.session("noon").run() as run:
        run.task("convert/1", lambda: "of a task")
    assert command.ok("last", "convert/1", "--any-project") == "of a task\n"
