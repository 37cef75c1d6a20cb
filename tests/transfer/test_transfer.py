"""`export`, `import` and `copy` preserve everything; and what they refuse."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.findings import doctor_findings
from tests.support.history import fill_with_history
from tests.support.postgres import StoreSchemas
from tests.support.rows import query
from tests.support.scenarios import Scenario, ScenarioRun, steps
from tests.support.sessions import logged, show
from tests.transfer.exports import comparable, exported, imported
from zrb_store import InvalidArgument, SessionNotFound, Store, ZrbStoreError, codec, open_store
from zrb_store.db import tables
from zrb_store.db import transaction as db_transaction
from zrb_store.operations.copy import copy
from zrb_store.operations.mark import mark
from zrb_store.operations.sessions import pin
from zrb_store.operations.values import push
from zrb_store.queries import by_hand
from zrb_store.transfer.export import export
from zrb_store.transfer.importing import import_sessions


def shown(store: Store) -> dict[str, Any]:
    """Return what `show --format json` prints about every session."""
    return {session.name: show(store.database, session.name) for session in store.sessions()}


@pytest.fixture
def other(store: Store, tmp_path: Path, sqlite_template: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store on the other kind of database."""
    with ExitStack() as stack:
        location = str(shutil.copy(sqlite_template, tmp_path / "other.db"))
        if store.database.dialect_name == "sqlite":
            schemas: StoreSchemas = request.getfixturevalue("postgres_schemas")
            schema = schemas.take()
            stack.callback(schemas.give_back, schema)
            location = f"{request.getfixturevalue('postgres_url')}&options=-csearch_path%3D{schema}"
        yield stack.enter_context(open_store(location))


@pytest.fixture
def back(tmp_path: Path, sqlite_template: Path) -> Iterator[Store]:
    """An empty SQLite store."""
    with open_store(shutil.copy(sqlite_template, tmp_path / "back.db")) as opened:
        yield opened


# -- round trips


@pytest.mark.slow
def test_a_store_with_a_past_goes_there_and_back(store: Store, other: Store, back: Store) -> None:
    fill_with_history(store)
    assert copy(store.database, other.database) == 6
    assert copy(other.database, back.database) == 6
    assert shown(store) == shown(other) == shown(back)
    assert comparable(exported(store)) == comparable(exported(other)) == comparable(exported(back))
    assert imported(open_again(back, "third.db"), exported(other)) == 6


def open_again(store: Store, name: str) -> Store:
    return open_store(Path(str(store.database.url.database)).with_name(name))


@pytest.mark.slow
def test_copied_sessions_break_no_invariant(store: Store, other: Store) -> None:
    fill_with_history(store)
    copy(store.database, other.database)
    assert doctor_findings(other.database.url.render_as_string(hide_password=False)) == []


def test_a_copied_queue_goes_on(store: Store, other: Store) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.extend([1, 2, 3])
    queue.appendleft(0)
    for _ in range(2):
        queue.pop()
        queue.popright()
    store.database.execute(sa.delete(tables.value))
    store.database.execute(sa.update(tables.queue).values(low=0, high=3))
    queue.extend(["a", "b"])
    copy(store.database, other.database)
    for at in (store, other):
        copied = at.session("inbox").xcom["q"]
        copied.push("c")
        copied.appendleft("first")
        assert list(copied) == ["first", "a", "b", "c"]
    assert [value["seq"] for value in show(other.database, "inbox")["queues"]["q"]["values"]] == [-1, 4, 5, 6]
    assert [value["seq"] for value in show(store.database, "inbox")["queues"]["q"]["values"]] == [-1, 4, 5, 6]


@pytest.mark.slow
def test_a_copied_session_is_resumed(store: Store, other: Store) -> None:
    session = store.session("s")
    session.xcom["in"].extend([1, 2])
    run = session.run(inputs={"day": 1}).start()
    run.task("a", lambda: {"rows": 3})
    run.begin("b").xcom["in"].pop()
    run.end("failed")
    copy(store.database, other.database)
    with other.session("s").run(inputs={"day": 1}) as again:
        assert again.number == 2
        assert again.task("a", dict) == {"rows": 3}
        assert list(other.session("s").xcom["in"]) == [1, 2], "the failed attempt must have been given back"
        again.task("b", lambda: None)
    assert session.status == "failed"


def test_what_was_done_by_hand_is_known_there_too(store: Store, other: Store) -> None:
    push(store.database, "s", "q", codec.encode(1), None)
    mark(store.database, "s", "load", new=True)
    pin(store.database, "s")
    copy(store.database, other.database)
    here, there = (logged(one, "s")["changes"] for one in (store, other))
    assert [change["action"] for change in here] == ["push", "mark", "pin"]
    assert [change["action"] for change in there] == ["push", "mark", "pin", "copy"]
    assert there[:3] == here


_numbers = itertools.count()


@pytest.mark.long_on_postgresql
@hypothesis_settings(
    max_examples=hypothesis_settings().max_examples // 6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.slow
@given(scenario=st.lists(steps, max_size=25))
def test_any_scenario_goes_there_and_back(store: Store, other: Store, scenario: Scenario) -> None:
    name = f"s{next(_numbers)}"
    scenario_run = ScenarioRun(store, name)
    scenario_run.execute(scenario)
    scenario_run.end()
    names = [name, f"{name}-other"]
    assert copy(store.database, other.database, names) == 2
    assert [show(store.database, one) for one in names] == [show(other.database, one) for one in names]
    content = exported(store, *names)
    assert comparable(content) == comparable(exported(other, *names))
    assert imported(store, content, {one: f"{one}-again" for one in names}) == 2
    assert json.loads(json.dumps(show(other.database, name)).replace(name, f"{name}-again")) == json.loads(
        json.dumps(show(store.database, f"{name}-again")).replace(f"{name}-other-again", f"{name}-again-other")
    )


@pytest.mark.slow
def test_many_sessions_go_there_and_back(tmp_path: Path, new_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_transaction, "MOST_ROWS", 100)
    monkeypatch.setattr("zrb_store.operations.copy.BATCH", 100)
    with open_store(tmp_path / "first.db") as few, open_store(tmp_path / "many.db") as many:
        fill_with_history(few)
        content = exported(few)
        for number in range(8):
            renamed = {session.name: f"{session.name}-{number}" for session in few.sessions()}
            assert imported(many, content, renamed) == 6
        with open_store(new_postgres) as server, open_store(tmp_path / "back.db") as back:
            assert copy(many.database, server.database) == 48
            assert copy(server.database, back.database) == 48
            before, there = shown(many), shown(server)
            assert len(before) == 48
            assert before == there == shown(back)


# -- owners in other sessions


def test_owners_in_other_sessions_are_kept_where_these_come_too(store: Store, other: Store, back: Store) -> None:
    inbox = store.session("inbox").xcom["files"]
    inbox.extend(["a", "b"])
    with store.session("s").run() as run, run.attempt("load") as attempt:
        inbox.pop()
        inbox.push("c")
        attempt.complete()
    copy(store.database, other.database)
    values = show(other.database, "inbox")["queues"]["files"]["values"]
    assert [(value["taken_by"], value["pushed_by"]) for value in values] == [
        ("s/load#1", None),
        (None, None),
        (None, "s/load#1"),
    ]
    copy(store.database, back.database, ["inbox"])
    alone = show(back.database, "inbox")["queues"]["files"]["values"]
    assert [(value["state"], value["taken_by"], value["pushed_by"]) for value in alone] == [
        ("taken", None, None),
        ("live", None, None),
        ("live", None, None),
    ]


@pytest.mark.slow
def test_a_failed_pusher_of_an_orphaned_value_is_kept(store: Store, other: Store) -> None:
    """What it did elsewhere was undone when it failed, before it was given back."""
    with store.session("reader").run() as reading, store.session("s").run() as run:
        failing, reader = run.begin("load"), reading.begin("read")
        store.session("inbox").xcom.bound_to(failing)["files"].push("a")
        store.session("inbox").xcom.bound_to(reader)["files"].pop()
        failing.fail(ValueError())
        reader.complete()
    assert [value["pushed_by"] for value in show(store.database, "inbox")["queues"]["files"]["values"]] == ["s/load#1"]
    copy(store.database, other.database)
    assert comparable(exported(store)) == comparable(exported(other))


def test_a_stranger_of_the_same_name_owns_nothing(store: Store, other: Store) -> None:
    for at in (store, other):
        with at.session("s").run() as run, run.attempt("load") as attempt:
            if at is store:
                at.session("inbox").xcom["files"].push("a")
            attempt.complete()
    imported(other, exported(store, "inbox"))
    assert show(other.database, "inbox")["queues"]["files"]["values"][0]["pushed_by"] is None


@pytest.mark.slow
def test_owners_follow_new_names(store: Store, other: Store) -> None:
    fill_with_history(store)
    imported(other, exported(store), {"etl": "etl-2", "reader": "reader-2"})
    logged = show(other.database, "etl-2")["queues"]["log"]["values"][0]
    assert (logged["pushed_by"], logged["taken_by"]) == ("watch#1", "reader-2/read#1")
    assert show(other.database, "again")["forked_from"] == "etl-2"


@pytest.mark.slow
def test_lines_may_be_written_again(store: Store, back: Store) -> None:
    fill_with_history(store)
    reordered = [json.dumps(json.loads(line), sort_keys=True, indent=None) for line in exported(store).splitlines()]
    assert imported(back, "\n".join(reordered).encode()) == 6


# -- refusals


@pytest.mark.slow
def test_no_session_that_exists_is_overwritten(store: Store, other: Store) -> None:
    fill_with_history(store)
    other.session("reader").xcom["q"].push(1)
    content = exported(store)
    with pytest.raises(ZrbStoreError, match=r"there is a session reader in .* already: --rename reader=NEW"):
        imported(other, content)
    with pytest.raises(ZrbStoreError, match=r"there is a session reader in .* already"):
        copy(store.database, other.database)
    assert [session.name for session in other.sessions()] == ["reader"]
    with pytest.raises(ZrbStoreError, match="2 sessions would be named again"):
        imported(other, content, {"etl": "again"})
    with pytest.raises(SessionNotFound, match="has no session nothing to rename"):
        imported(other, content, {"nothing": "x"})
    with pytest.raises(InvalidArgument):
        imported(other, content, {"etl": "no name"})
    assert imported(other, content, {"reader": "reader-2"}) == 6
    with pytest.raises(InvalidArgument, match="same store"):
        copy(store.database, store.database)


def test_a_session_that_appears_meanwhile_is_left_alone(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.session("s").xcom["q"].push("theirs")
    other.session("s").xcom["q"].push("ours")
    monkeypatch.setattr("zrb_store.operations.copy.refuse_existing", lambda *_: None)
    with pytest.raises(ZrbStoreError, match="there is a session s already"):
        copy(store.database, other.database)
    assert list(other.session("s").xcom["q"]) == ["ours"]


class Busy(Exception):
    """The error of both databases when another transaction interferes."""

    sqlite_errorcode = 5
    sqlstate = "40001"


@pytest.mark.slow
def test_a_transaction_is_tried_again(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_with_history(store)
    note = by_hand.record_change
    failures = iter([True, True, False, True])

    def interfered(*args: Any) -> None:
        note(*args)
        if next(failures, False):
            raise Busy

    monkeypatch.setattr("zrb_store.operations.copy.record_change", interfered)
    assert copy(store.database, other.database) == 6
    assert shown(store) == shown(other)


# -- size


@pytest.mark.slow
def test_a_copy_takes_little_memory(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, open_store(tmp_path / "copy.db") as other:
        queue = store.session("s").xcom["q"]
        for _ in range(30):
            queue.push("x" * 1_000_000)
        tracemalloc.start()
        try:
            copy(store.database, other.database)
            with (tmp_path / "file.jsonl").open("wb") as file:
                for line in export(store.database):
                    file.write(line.encode() + b"\n")
            with (tmp_path / "file.jsonl").open("rb") as file:
                import_sessions(other.database, file, "file", {"s": "s2"})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(other.session("s2").xcom["q"]) == 30
        assert peak < 24_000_000, f"{peak} of 30 MB that went through"


@pytest.mark.slow
def test_a_copy_in_small_batches_shows_the_same(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_transaction, "MOST_ROWS", 3)
    monkeypatch.setattr("zrb_store.operations.copy.BATCH", 4)
    fill_with_history(store)
    queue = store.session("q").xcom["q"]
    queue.extend(range(10))
    queue.extendleft(range(10))
    for _ in range(3):
        run = store.session("s").run().start()
        for _ in range(7):
            store.session("q").xcom.bound_to(run.begin(f"t{next(_numbers)}"))["q"].pop()
        run.end("failed")
    copy(store.database, other.database)
    assert shown(store) == shown(other)
    monkeypatch.undo()
    assert comparable(exported(store)) == comparable(exported(other))


def test_a_pipe_can_be_imported(store: Store, back: Store) -> None:
    fill_with_history(store)
    content = exported(store)
    reading, writing_end = os.pipe()

    def write() -> None:
        with os.fdopen(writing_end, "wb") as pipe:
            pipe.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as pipe:
        assert import_sessions(back.database, pipe, "stdin") == 6
    writer.join()
    assert comparable(exported(back)) == comparable(content)


def test_copies_there_and_back_do_not_use_up_the_ticks(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db") as one, open_store(tmp_path / "b.db") as another:
        one.database.transact(lambda t: t.driver.execute("UPDATE zrb_clock SET tick = 1800000000000000"))
        for number, (source, target) in enumerate([(one, another), (another, one)] * 5):
            source.session(f"s{number}").xcom["q"].push(number)
            copy(source.database, target.database, [f"s{number}"])
        highest = [query(store, "SELECT tick FROM zrb_clock")[0][0] for store in (one, another)]
    assert max(highest) < 1_900_000_000_000_000
