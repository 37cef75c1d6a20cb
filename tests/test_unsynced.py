"""With `full` durability, the beginning of a step waits for no disk: it is synced with what is committed next."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.rows import faults
from zrb_store import Store, open_store
from zrb_store.testing import expire_lease


@pytest.fixture
def durable(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("ZRB_STORE_DURABILITY", "full")
    shutil.copy(sqlite_template, tmp_path / "store.db")
    with open_store(tmp_path / "store.db") as store:
        yield store


def driver_of(store: Store) -> Any:
    return store.database.operate(lambda transaction: transaction.driver)


def level(store: Store) -> int:
    (row,) = driver_of(store).execute("PRAGMA synchronous").fetchall()
    return int(row[0])


def writes(store: Store, operation: Callable[[], object]) -> list[str]:
    """Return what an operation sends that syncs or writes: the first two words of each."""
    seen: list[str] = []
    driver = driver_of(store)
    driver.set_trace_callback(seen.append)
    operation()
    driver.set_trace_callback(None)
    found = [re.sub(r"\s+", " ", sql).split(" ") for sql in seen]
    begun = [" ".join(words[:2]) for words in found if words[0] in ("PRAGMA", "INSERT", "UPDATE")]
    return [text for text, _ in itertools.groupby(begun)]  # a statement is seen again when its trigger runs


BEGIN, COMPLETE = "INSERT INTO", "UPDATE zrb_attempt"


def test_a_step_is_synced_once_and_one_that_must_not_be_repeated_twice(durable: Store) -> None:
    with durable.session("s").run() as run, run.attempt("work") as attempt:
        relaxed = ["PRAGMA synchronous=normal", BEGIN, "PRAGMA synchronous=full", COMPLETE]
        assert writes(durable, lambda: attempt.step("page 1", len, "x")) == relaxed
        assert writes(durable, lambda: attempt.step("mail", len, "x", once=True)) == [BEGIN, COMPLETE]
        assert level(durable) == 2
    assert faults(durable) == []


def test_nothing_is_set_where_nothing_is_synced(store: Store) -> None:
    if store.database.dialect_name != "sqlite":
        assert store.database.dialect.unsynced is None
        return
    with store.session("s").run() as run, run.attempt("work") as attempt:
        assert writes(store, lambda: attempt.step("page 1", len, "x")) == [BEGIN, COMPLETE]


def test_a_refused_beginning_leaves_the_next_commit_synced(durable: Store) -> None:
    with durable.session("s").run() as run:
        attempt = run.begin("work")
        attempt.fail()
        with pytest.raises(Exception, match="can no longer write"):
            attempt.step("page 1", len, "x")
        assert level(durable) == 2


def test_an_interrupted_beginning_leaves_the_next_commit_synced(
    durable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    database: Any = durable.database
    before = driver_of(durable)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with durable.session("s").run() as run:
        attempt = run.begin("work")
        unsynced = database.dialect.unsynced
        database.dialect.unsynced = (unsynced[0], "SELECT 1 FROM no_such_table")
        with monkeypatch.context() as patched:
            patched.setattr(database, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                attempt.step("page 1", len, "x")
        database.dialect.unsynced = unsynced
        assert level(durable) == 2
        assert driver_of(durable) is not before
        assert attempt.step("page 1", len, "x") == 1
        attempt.complete()


def test_a_power_cut_after_a_step_has_begun_undoes_its_beginning_alone(durable: Store, tmp_path: Path) -> None:
    """The log ends where it was last synced, which is the worst that a power cut may do."""
    log, cut = tmp_path / "store.db-wal", tmp_path / "cut"
    cut.mkdir()

    def pull_the_plug(name: str) -> None:
        # Closing these files drops SQLite's locks on them. Nobody else uses them.
        shutil.copy(tmp_path / "store.db", cut)
        (cut / "store.db-wal").write_bytes(log.read_bytes()[:synced])

    with durable.session("s").run() as run, run.attempt("work") as attempt:
        attempt.xcom["pages"].push(1)
        attempt.step("first", len, "abc")
        synced = log.stat().st_size
        attempt.step("second", pull_the_plug, "b")
        assert log.stat().st_size > synced
    with closing(open_store(cut / "store.db")) as after:
        expire_lease(after.session("s"))
        ran: list[str] = []
        with after.session("s").run() as run, run.attempt("work") as attempt:
            assert attempt.step("first", ran.append, "abc") == 3
            attempt.step("second", ran.append, "b")
        assert ran == ["b"]
        assert list(after.session("s").xcom["pages"]) == []  # the lost attempt was given back
        assert after.session("s").status == "completed"
        assert faults(after) == []
