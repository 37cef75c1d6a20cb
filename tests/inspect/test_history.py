"""Readers run a fixed number of statements, however much is stored, and each statement uses an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.history import check_statements, fill_with_much
from tests.support.sessions import logged, show
from zrb_store import Store, open_store
from zrb_store.inspect.diff import diff
from zrb_store.inspect.get import get_result, get_value
from zrb_store.inspect.list import list_sessions
from zrb_store.inspect.queues import all_holds
from zrb_store.inspect.session_names import resolve
from zrb_store.queries.fork import copies
from zrb_store.queries.sessions import main_tasks, names_with_prefix

READS: dict[str, tuple[int, Callable[[Store], Any]]] = {
    "list": (4, lambda store: list_sessions(store.database, limit=50)),
    "list failed": (5, lambda store: list_sessions(store.database, statuses=["failed"], limit=50)),
    "list running": (4, lambda store: list_sessions(store.database, statuses=["running"], limit=50)),
    "sessions": (4, lambda store: store.sessions(limit=50)),
    "resolve": (1, lambda store: resolve(store.database, "etl-24")),
    "show": (9, lambda store: show(store.database, "etl-24")),
    "show steps": (11, lambda store: show(store.database, "stepping")),
    "show visited": (9, lambda store: show(store.database, "inbox")),
    "show queue": (9, lambda store: show(store.database, "etl-24", "rows", live=True)),
    "show at": (10, lambda store: show(store.database, "etl-24", at="before:load#2")),
    "log": (7, lambda store: logged(store, "etl-24")),
    "log of a step": (8, lambda store: logged(store, "stepping", "load/7")),
    "diff": (9, lambda store: compared(store, "stepping", "etl-24")),
    "get": (6, lambda store: get_value(store.database, "etl-24", "rows", None)),
    "get result": (6, lambda store: get_result(store.database, "etl-25", "load")),
    "result of a step": (6, lambda store: get_result(store.database, "stepping", "load/7")),
    "list holders": (10, lambda store: list_sessions(store.database, limit=50, with_holders=True)),
    "list task": (5, lambda store: list_sessions(store.database, task="load", limit=5)),
    "last": (5, lambda store: resolve(store.database, "@last")),
    "last failed": (6, lambda store: resolve(store.database, "@last-failed")),
    "list holds": (3, lambda store: held(store)),
    "forks": (1, lambda store: copies(store.database, "etl-24", "rows", 1, 0)),
    "complete a session": (1, lambda store: names_with_prefix(store.database, "etl-2", 5)),
    "complete a task": (1, lambda store: main_tasks(store.database)),
}


@pytest.fixture(scope="module", params=["", "ANALYZE"])
def sqlite_store(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Store]:
    """A store with 60 sessions that took values of another session, with and without the statistics of ANALYZE."""
    path = tmp_path_factory.mktemp("read") / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    with open_store(path) as store:
        fill_with_much(store)
        if request.param:
            store.database.execute(sa.text(request.param))
        yield store


def held(store: Store) -> list[Any]:
    """Return the values that are held."""
    with all_holds(store.database) as (found, _):
        return list(found)


def compared(store: Store, a: str, b: str) -> list[Any]:
    """Return the differences of two sessions."""
    with diff(store.database, a, b) as differences:
        return [each._asdict() for each in differences]


@pytest.mark.parametrize("name", READS)
def test_reads_take_few_statements_each_by_an_index(sqlite_store: Store, name: str) -> None:
    check_statements(sqlite_store, *READS[name])


def test_what_is_shown_of_many_sessions_is_right(sqlite_store: Store) -> None:
    found = list_sessions(sqlite_store.database, limit=50)
    assert [one.session.name for one in found] == [f"etl-{number}" for number in range(59, 9, -1)]
    assert {(one.session.status, one.done, one.tasks) for one in found} == {("failed", 2, 4), ("completed", 4, 4)}
    assert all(len(one.runs) == 1 and one.took is not None for one in found)
    everything, some = (
        [one.session.name for one in list_sessions(sqlite_store.database, limit=limit)] for limit in (None, 100)
    )
    assert len(everything) == 122
    assert some == everything[:100], "those that have not ended count too"


def test_pages_of_computed_statuses_find_all(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zrb_store.inspect.list._PAGE", 7)
    assert len(list_sessions(sqlite_store.database)) == 122
    assert len(list_sessions(sqlite_store.database, statuses=["failed", "stale"])) == 30
    assert [
        one.session.name for one in list_sessions(sqlite_store.database, statuses=["failed", "stale"], limit=9)
    ] == [f"etl-{number}" for number in range(58, 40, -2)]


def test_the_sessions_of_a_project(store: Store) -> None:
    for name, project in (("a", "/srv/shop"), ("b", "/srv/mill"), ("c", None)):
        with store.session(name).run(project=project):
            pass
    assert [session.name for session in store.sessions(project="/srv/shop")] == ["a"]
