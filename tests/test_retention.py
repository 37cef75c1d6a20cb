"""ZRB_STORE_RETENTION is applied at the normal end of a run, and never holds up a process that has to end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zrb_store import Store
from zrb_store.operations import prune


@pytest.fixture
def old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten sessions, and a retention that keeps none of them."""
    for number in range(10):
        with store.session(f"old-{number}").run():
            pass
    monkeypatch.setenv("ZRB_STORE_RETENTION", "keep=0")


def left(store: Store) -> int:
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


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(("run", "remains"), [(fail, 0), (interrupt, 10), (complete_although_told_to_stop, 10)])
def test_an_interrupted_process_has_no_time_for_it(store: Store, run: Callable[[Store], None], remains: int) -> None:
    try:
        run(store)
    except (ValueError, KeyboardInterrupt):
        assert run is not complete_although_told_to_stop
    assert left(store) == remains


@pytest.mark.usefixtures("old")
def test_it_ends_early_when_the_process_has_to_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = prune._remove
    removed = []

    def count(*args: object) -> bool:
        removed.append(remove(*args))  # type: ignore[arg-type]
        if len(removed) == 3:
            store.database.stop_waiting(5.0)
        return removed[-1]

    monkeypatch.setattr(prune, "_remove", count)
    with store.session("new").run():
        pass
    assert left(store) == 7


@pytest.mark.usefixtures("old")
def test_a_person_is_told_when_it_takes_long(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prune, "_TELL_AFTER", 0.0)
    with store.session("new").run():
        pass
    assert left(store) == 0
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "old sessions are being deleted, as ZRB_STORE_RETENTION says"
    ]
