"""What `prune --keep-last N` keeps: the last results of each task, and its last failures."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.test_prune import DAY, age, names, pruned, run
from zrb_store import Store
from zrb_store.operations import prune
from zrb_store.operations.prune import Deletion, Policy


def runs(store: Store, outcomes: Iterable[str]) -> None:
    """Run sessions with names like `3-failed`, the oldest first."""
    for number, outcome in enumerate(outcomes):
        run(store, f"{number}-{outcome}", outcome=outcome)


def test_failures_do_not_drive_out_the_last_results(store: Store) -> None:
    runs(store, ["completed", "failed", "completed", *["failed", "interrupted"] * 3])
    assert pruned(store, Policy(keep_last=2)) == ["1-failed", "3-failed", "4-interrupted", "5-failed", "6-interrupted"]
    assert names(store) == {"0-completed", "2-completed", "7-failed", "8-interrupted"}
    assert store.last("step") == "2-completed"


def test_a_task_that_never_completes_keeps_its_last_tries(store: Store) -> None:
    runs(store, ["failed"] * 5)
    assert pruned(store, Policy(keep_last=2)) == ["0-failed", "1-failed", "2-failed"]
    run(store, "at-last")
    assert pruned(store, Policy(keep_last=2)) == ["3-failed"]


def test_a_failure_that_newer_sessions_have_followed_goes(store: Store) -> None:
    runs(store, ["completed", "failed", "completed", "completed"])
    assert pruned(store, Policy(keep_last=2)) == ["0-completed", "1-failed"]


def test_what_completed_last_is_kept_although_it_began_first(store: Store) -> None:
    run(store, "began-first", outcome="failed")
    run(store, "began-second")
    run(store, "began-first")
    assert pruned(store, Policy(keep_last=1)) == ["began-second"]
    assert store.last("step") == "began-first"


def test_a_session_whose_main_task_was_skipped_is_no_result(store: Store) -> None:
    run(store, "result")
    for number in range(2):
        with store.session(f"skipped-{number}").run(task="load") as started:
            started.note_tasks({"load": "skipped"})
    assert {record.status for record in store.sessions()} == {"completed"}
    assert pruned(store, Policy(keep_last=1)) == ["skipped-0"]
    assert names(store) == {"result", "skipped-1"}
    assert store.last("step") == "result"


def test_running_sessions_do_not_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(store, ["failed", "failed"])
    with store.session("running").run(task="load"):
        assert pruned(store, Policy(keep_last=1)) == ["0-failed"]
        age(store, 1)
        monkeypatch.setattr("zrb_store.queries.lease.is_running", lambda *_: False)
        assert pruned(store, Policy(keep_last=1)) == ["1-failed"], "the dead session is kept as the last failure"
        assert names(store) == {"running"}
        monkeypatch.undo()


def test_a_status_that_is_asked_for_changes_nothing_about_what_is_kept(store: Store) -> None:
    runs(store, ["failed", "interrupted", "failed"])
    assert pruned(store, Policy(keep_last=2, statuses=("failed",))) == ["0-failed"]
    assert pruned(store, Policy(keep_last=2, statuses=("interrupted",))) == []


def test_the_rule_says_what_was_counted(store: Store) -> None:
    runs(store, ["failed", "completed", "failed", "completed"])
    run(store, "script", task=None)
    age(store, 2)
    policy = Policy(older_than=DAY, keep_last=0)
    assert list(prune.prune(store.database, policy, dry_run=True)) == [
        Deletion("0-failed", "older than 1d, not among the last 0 of load"),
        Deletion("1-completed", "older than 1d, not among the last 0 completed of load"),
        Deletion("2-failed", "older than 1d, not among the last 0 of load"),
        Deletion("3-completed", "older than 1d, not among the last 0 completed of load"),
        Deletion("script", "older than 1d, not among the last 0 completed"),
    ]


def test_retention_keeps_the_last_result(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(store, ["completed", "failed", "failed"])
    age(store, 31)
    monkeypatch.setenv("ZRB_STORE_RETENTION", "30d,keep=1")
    run(store, "new", outcome="failed")
    assert names(store) == {"0-completed", "new"}
    assert store.last("step") == "0-completed"
