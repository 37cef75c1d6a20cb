"""ZRB_STORE_RETENTION is applied at the normal end of a run, and never delays a process that has to end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zrb_store import InvalidArgument, Store, ZrbStoreError, open_store
from zrb_store.operations import prune


@pytest.fixture
def old_sessions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create ten sessions, and set a retention that keeps none of them."""
    for number in range(10):
        with store.session(f"old-{number}").run():
            pass
    monkeypatch.setenv("ZRB_STORE_RETENTION", "keep=0")


def count_old(store: Store) -> int:
    return sum(session.name.startswith("old-") for session in store.sessions())


def fail(store: Store) -> None:
    with store.session("new").run():
        raise ValueError


def interrupt(store: Store) -> None:
    with store.session("new").run():
        raise KeyboardInterrupt


def complete_although_told_to_stop(store: Store) -> None:
    with store.session("new").run():
        store.database.stop_waiting(5.0)


@pytest.mark.usefixtures("old_sessions")
@pytest.mark.parametrize(("run", "remains"), [(fail, 0), (interrupt, 10), (complete_although_told_to_stop, 10)])
def test_an_interrupted_process_has_no_time_for_it(store: Store, run: Callable[[Store], None], remains: int) -> None:
    try:
        run(store)
    except (ValueError, KeyboardInterrupt):
        assert run is not complete_although_told_to_stop
    assert count_old(store) == remains


@pytest.mark.usefixtures("old_sessions")
def test_it_ends_early_when_the_process_has_to_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = prune._delete_session
    deleted = []

    def count(*args: object) -> bool:
        deleted.append(delete(*args))  # type: ignore[arg-type]
        if len(deleted) == 3:
            store.database.stop_waiting(5.0)
        return deleted[-1]

    monkeypatch.setattr(prune, "_delete_session", count)
    with store.session("new").run():
        pass
    assert count_old(store) == 7


@pytest.mark.usefixtures("old_sessions")
def test_a_long_duration_is_reported(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zrb_store.operations.prune._TELL_AFTER", 0.0)
    with store.session("new").run():
        pass
    assert count_old(store) == 0
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "old sessions are being deleted, as ZRB_STORE_RETENTION says"
    ]


@pytest.mark.parametrize("setting", ["30", "keep=", "30d;keep=2", "30d,,", "forever"])
@pytest.mark.on_sqlite
def test_a_wrong_setting_is_refused_at_once(location: str, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("ZRB_STORE_RETENTION", setting)
    with pytest.raises(InvalidArgument, match="ZRB_STORE_RETENTION"):
        open_store(location)


def test_a_run_does_not_fail_by_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZrbStoreError("no")

    monkeypatch.setenv("ZRB_STORE_RETENTION", "1d")
    monkeypatch.setattr("zrb_store.operations.prune._claim_the_day", fail)
    with store.session("s").run():
        pass
    assert "the store was not pruned: no" in caplog.text
