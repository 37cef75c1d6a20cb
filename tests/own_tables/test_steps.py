"""`step.transaction`: what it changes in the user's database is there once, whatever is killed."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from tests.own_tables.shops import ALONE, ANYWHERE, BESIDE, Shop, forget_lease, load, load_all, load_in_a_child
from tests.support.processes import Child
from tests.support.rows import faults, query
from zrb_store import InvalidArgument, Store, StoreUnavailable, UnencodableValue, ZrbStoreError, step
from zrb_store.inspect import resume
from zrb_store.own_tables import done
from zrb_store.testing import Crash, crash_at, expire_lease

POINTS = ["step_begin:before", "step_begin:after", "own_tables:before", "own_tables:inside", "own_tables:after"]
POINTS += ["step_complete:before", "step_complete:after"]
MYSQL = SimpleNamespace(paramstyle="format", version_info=(2, 0, 0))  # as much of a driver as an engine looks at

pytestmark = [pytest.mark.promise(number=22)]


def statuses(store: Store) -> list[tuple[Any, ...]]:
    return query(store, "SELECT step, number, status FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")


def test_the_changes_are_committed_with_their_step(store: Store, shop: Shop) -> None:
    with store.session("s").run() as run:
        assert run.task.transaction(shop.engine, "first", load, 1, 2) == 2
        with run.attempt("load") as attempt:
            assert step.transaction(shop.engine, "second", load, 3) == 1
            assert attempt.step.transaction(shop.engine, "third", load, 4) == 1
    assert shop.orders() == [1, 2, 3, 4]
    assert [status for _, _, status in statuses(store)] == ["completed"] * 3
    rows = [("first", "first", 0, "2"), ("load", "second", 0, "1"), ("load", "third", 0, "1")]
    assert shop.rows() == ([] if shop.is_store else rows)
    assert faults(store) == []


@pytest.mark.promise(number=22)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_leaves_each_order_once(store: Store, location: str, shop: Shop, point: str) -> None:
    with Child(load_in_a_child, location, shop.location, 3, f"crash_at={point}#2") as child:
        assert child.join() == -signal.SIGKILL
    load_all(store, shop.engine, 3)
    assert shop.orders() == [1, 2, 3]
    assert list(store.session("nightly").xcom["loaded"]) == [1, 2, 3]
    assert faults(store) == []


@ANYWHERE
def test_without_it_a_kill_doubles_an_order(store: Store, shop: Shop) -> None:
    def plain(number: int) -> int:
        with shop.engine.begin() as connection:
            return load(connection, number)

    with pytest.raises(Crash), crash_at("step_complete:before"), store.session("s").run() as run, run.attempt("load"):
        step("order", plain, 1)
    expire_lease(store.session("s"))
    with store.session("s").run() as run, run.attempt("load"):
        step("order", plain, 1)
    assert shop.orders() == [1, 1]


def test_a_failure_of_the_function_undoes_what_it_did(store: Store, shop: Shop) -> None:
    def fails(connection: sa.Connection) -> None:
        load(connection, 1)
        raise ValueError("no such customer")

    with store.session("s").run() as run, run.attempt("load"):
        with pytest.raises(ValueError, match="no such customer"):
            step.transaction(shop.engine, "order", fails)
        assert shop.orders() == []
        assert step.transaction(shop.engine, "order", load, 1) == 1
    assert shop.orders() == [1]
    assert faults(store) == []


@pytest.mark.slow
@BESIDE
@pytest.mark.parametrize("point", ["own_tables:before", "own_tables:inside"])
def test_a_frozen_try_is_awaited_and_then_named(
    store: Store, location: str, shop: Shop, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Child(load_in_a_child, location, shop.location, 2, f"stop_at={point}#2") as child:
        child.wait_until_stopped()
        forget_lease(store, "nightly")
        monkeypatch.setattr(store.database, "timeout", 0.3)
        if shop.engine.dialect.name == "sqlite":
            shop.engine = sa.create_engine(shop.engine.url, connect_args={"timeout": 0.1}, poolclass=sa.NullPool)
        advice = f"end process {child.pid}" if shop.engine.dialect.name == "sqlite" else r"pg_terminate_backend\(\d+\)"
        with pytest.raises(StoreUnavailable, match=advice):
            load_all(store, shop.engine, 2)
        child.resume()
        # It holds no lease: before its commit it finds that out, or else its commit counts, and nobody repeats it.
        assert child.receive().startswith("LeaseLost")
        assert shop.orders() in ([1], [1, 2])
        assert (shop.orders() == [1]) == (point == "own_tables:before")
    monkeypatch.undo()
    load_all(store, shop.engine, 2)
    assert shop.orders() == [1, 2]
    assert faults(store) == []


@BESIDE
@pytest.mark.parametrize("point", ["step_begin:after", "own_tables:after"])
def test_who_was_frozen_outside_of_the_transaction_changes_nothing_later(
    store: Store, location: str, shop: Shop, point: str
) -> None:
    with Child(load_in_a_child, location, shop.location, 2, f"stop_at={point}#2") as child:
        child.wait_until_stopped()
        forget_lease(store, "nightly")
        load_all(store, shop.engine, 2)
        child.resume()
        assert child.receive().startswith("LeaseLost")
    assert shop.orders() == [1, 2]
    assert faults(store) == []


def test_the_function_cannot_end_its_transaction(store: Store, shop: Shop) -> None:
    def commits(connection: sa.Connection, how: str) -> None:
        load(connection, 1)
        getattr(connection, how)()

    def hides(connection: sa.Connection) -> None:
        with pytest.raises(InvalidArgument):
            commits(connection, "commit")

    with store.session("s").run() as run, run.attempt("load"):
        for how in ("commit", "rollback", "close"):
            with pytest.raises(InvalidArgument, match="must not commit, roll back or close"):
                step.transaction(shop.engine, how, commits, how)
        with pytest.raises(InvalidArgument, match="must not commit"):
            step.transaction(shop.engine, "hidden", hides)
    assert shop.orders() == []
    assert [row for row in shop.rows() if row[1] != "x"] == []


@BESIDE
def test_a_commit_by_the_driver_is_noticed(store: Store, shop: Shop) -> None:
    def commits(connection: sa.Connection) -> None:
        load(connection, 1)
        driver: Any = connection.connection.driver_connection
        driver.commit()

    with store.session("s").run() as run, run.attempt("load"):
        with pytest.raises(ZrbStoreError, match="by itself"):
            step.transaction(shop.engine, "order", commits)
        with pytest.raises(ZrbStoreError, match="by itself, and how much"):
            step.transaction(shop.engine, "order", commits)
    assert shop.orders() == [1]


def test_a_savepoint_may_be_rolled_back(store: Store, shop: Shop) -> None:
    def tries(connection: sa.Connection) -> None:
        load(connection, 1)
        savepoint = connection.begin_nested()
        load(connection, 2)
        savepoint.rollback()
        with connection.begin_nested():
            load(connection, 3)

    with store.session("s").run() as run, run.attempt("load"):
        step.transaction(shop.engine, "order", tries)
    assert shop.orders() == [1, 3]


def test_a_result_that_cannot_be_stored_is_refused_before_the_commit(store: Store, shop: Shop) -> None:
    def returns(connection: sa.Connection) -> object:
        load(connection, 1)
        return object()

    with store.session("s").run() as run, run.attempt("load"), pytest.raises(UnencodableValue):
        step.transaction(shop.engine, "order", returns)
    assert shop.orders() == []
    assert shop.rows() == []


@BESIDE
def test_a_write_to_the_store_is_refused_in_another_database(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.push(1)

    def moves(connection: sa.Connection, what: str) -> None:
        load(connection, 1)
        getattr(queue, what)()

    with store.session("s").run() as run, run.attempt("load") as attempt:
        for what in ("pop", "clear", "reverse"):
            with pytest.raises(ZrbStoreError, match="could not be committed with it"):
                step.transaction(shop.engine, what, moves, what)
        with pytest.raises(ZrbStoreError, match="could not be committed with it"):
            step.transaction(shop.engine, "own", lambda connection: attempt.xcom["own"].push(1))
    assert (shop.orders(), list(queue)) == ([], [1])


@ALONE
def test_a_write_to_the_store_belongs_to_the_transaction_of_its_own_database(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.extend([1, 2])

    def moves(connection: sa.Connection, fails: bool) -> int:
        number: int = queue.pop()
        load(connection, number)
        queue.push(number * 10)
        store.session("new").xcom["made"].extend([number, number])
        assert list(queue) == [2, 10]
        if fails:
            raise ValueError("too late")
        return number

    with store.session("s").run() as run, run.attempt("load"):
        with pytest.raises(ValueError, match="too late"):
            step.transaction(shop.engine, "order", moves, True)
        assert (list(queue), shop.orders()) == ([1, 2], [])
        step.transaction(shop.engine, "order", moves, False)
    assert (list(queue), list(store.session("new").xcom["made"]), shop.orders()) == ([2, 10], [1, 1], [1])
    assert faults(store) == []


@BESIDE
def test_it_is_refused_after_a_value_of_another_session(store: Store, shop: Shop) -> None:
    store.session("inbox").xcom["q"].extend([1, 2])
    with store.session("s").run() as run, run.attempt("load"):
        step.transaction(shop.engine, "before", load, 1)
        store.session("inbox").xcom["q"].pop()
        with pytest.raises(ZrbStoreError, match=r"delivery\.transaction"):
            step.transaction(shop.engine, "after", load, 3)
    assert shop.orders() == [1]


@ANYWHERE
def test_other_engines_are_refused(store: Store, shop: Shop) -> None:
    auto = sa.create_engine(shop.engine.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    connection = shop.engine.connect()
    wrong: list[tuple[Any, str]] = [
        (shop.location, "not a str"),
        (sa.create_engine("sqlite://"), "outlives this process"),
        (auto, "AUTOCOMMIT"),
        (shop.engine.execution_options(isolation_level="AUTOCOMMIT"), "AUTOCOMMIT"),
        (connection, "not a Connection"),
        (sa.create_engine("mysql+mysqldb://host/shop", module=MYSQL), "needs PostgreSQL or SQLite, not mysql"),
    ]
    with connection, store.session("s").run() as run, run.attempt("load"):
        for engine, what in wrong:
            with pytest.raises(InvalidArgument, match=what):
                step.transaction(engine, "order", load, 1)
    assert shop.orders() == []


def test_its_steps_are_known_although_another_wing_is_missing(
    store: Store, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.session("s")
    with session.run() as run:
        attempt = run.begin("load")
        attempt.step.transaction(shop.engine, "order", load, 1)
        attempt.fail(ValueError("later"))
    monkeypatch.setattr(resume, "is_whole", lambda: False)
    again = [resume.Decision("load", "run", "failed")]
    resume.refuse_unknown_steps(store.database, "s", session.record().id, again)
    monkeypatch.setattr(resume, "kinds", dict)  # without this one, its steps would be repeated
    with pytest.raises(ZrbStoreError, match="steps of kind transaction, which this zrb-store cannot use again"):
        resume.refuse_unknown_steps(store.database, "s", session.record().id, again)


@BESIDE
@pytest.mark.parametrize(
    ("columns", "difference"),
    [
        ("id INTEGER PRIMARY KEY, result TEXT", "it has no column identity"),
        (", ".join(f"{column.name} TEXT" for column in done.table().columns), "its primary key differs"),
    ],
)
def test_a_table_of_that_name_that_is_not_ours_is_refused(
    store: Store, shop: Shop, columns: str, difference: str
) -> None:
    with shop.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE zrb_store_done ({columns})")
    try:
        refusal = pytest.raises(ZrbStoreError, match=f"zrb_store_done there is not ours: {difference}; rename it")
        with store.session("s").run() as run, run.attempt("load"), refusal:
            step.transaction(shop.engine, "order", load, 1)
        assert shop.orders() == []
    finally:
        with shop.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE zrb_store_done")
