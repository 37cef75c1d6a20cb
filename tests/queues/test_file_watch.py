"""What wakes a process that waits for a value, and what it asks then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.attempts import acting_as
from tests.support.postgres import DEADLINE
from zrb_store import SessionNotFound, Store, system
from zrb_store.operations.values import pop
from zrb_store.queries import deliveries
from zrb_store.runtime import waiting
from zrb_store.runtime.waiting import QueueWait

ON_POSTGRESQL = pytest.mark.parametrize("location", ["postgresql"], indirect=True)


def test_a_file_that_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watch = system.here().file_watch(path)
    if watch is None:
        pytest.skip("this system has no inotify")
    assert not watch.arm(), "there is no file"
    path.write_text("1")
    assert watch.arm()
    assert not watch.wait(0.01)
    with path.open("r+") as file:
        file.write("2")
    assert watch.wait(DEADLINE)
    assert watch.arm()
    assert not watch.wait(0)
    path.unlink()
    assert watch.wait(DEADLINE)
    assert not watch.arm()
    path.write_text("3")
    assert watch.arm()
    path.write_text("4")
    assert watch.wait(DEADLINE)


@ON_POSTGRESQL
def test_it_asks_without_prepared_statements_too(store: Store) -> None:
    has_value, has_other = (deliveries.has_value(store.database, "inbox", name) for name in ("ä", "other"))
    assert not has_value()
    store.session("inbox").xcom["ä"].push(1)
    assert has_value()
    store.database.operate(lambda connection: setattr(connection.driver, "prepare_threshold", None))
    assert has_value()
    assert not has_other()


def test_what_may_come_back_is_worth_a_look(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    watch = QueueWait(store.database, "inbox", "files", DEADLINE)
    assert not watch.may_get_value(), "there is no queue"
    queue.push("a")
    assert watch.may_get_value()
    with store.session("worker").run() as run:
        attempt = run.begin("convert")
        with acting_as(attempt):
            queue.pop()
            store.session("inbox").xcom["other"].extend([])
        assert (watch.has_value(), watch.may_get_value()) == (False, True)
        assert not QueueWait(store.database, "inbox", "other", DEADLINE).may_get_value()
        attempt.complete()
        assert not watch.may_get_value(), "it is taken for good"


@pytest.mark.parametrize("by_shell", [False, True], ids=["python", "shell"])
def test_a_look_that_would_find_nothing_is_one_statement(
    store: Store, monkeypatch: pytest.MonkeyPatch, by_shell: bool
) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY", 0.02)  # shorter than any pause: there is a look after each
    queue = store.session("inbox").xcom["files"]
    queue.extend([])
    looks = []
    ask = QueueWait.is_time_to_look

    def asking(self: QueueWait) -> bool:
        looks.append(ask(self))
        return looks[-1]

    monkeypatch.setattr(QueueWait, "is_time_to_look", asking)

    def statements(wait: float) -> int:
        before = sent()
        with pytest.raises((IndexError, SessionNotFound)):
            pop(store.database, "inbox", "files", None, wait) if by_shell else queue.pop(wait=wait)
        return sent() - before

    def sent() -> int:
        return store.database.operate(lambda connection: int(connection.sent))

    statements(0.001)  # prepares them
    few = statements(0)
    looks.clear()
    many = statements(0.3)
    assert len(looks) > 3
    assert all(looks)
    assert many - few <= len(looks) + 1
