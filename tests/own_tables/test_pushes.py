"""`push(value, connection=...)`: a value and the user's rows are committed together, or neither is there."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tests.own_tables.shops import ALONE, BESIDE, Shop, engine_of, load
from tests.support.postgres import wait_until, waits_for_lock
from tests.support.rows import faults
from zrb_store import AttemptClosed, InvalidArgument, LeaseLost, Store, UnencodableValue, open_store
from zrb_store.testing import expire_lease

pytestmark = [pytest.mark.promise(number=22)]

SQLITE = pytest.mark.parametrize("arrangement", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("arrangement", ["postgresql"], indirect=True)


@ALONE
def test_the_value_is_there_with_the_commit(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    with shop.engine.begin() as connection:
        load(connection, 1)
        queue.push(1, connection=connection)
        queue.push("x" * 2_000_000, connection=connection)
        assert "inbox" not in [each.name for each in store.sessions()]
    assert (shop.orders(), len(queue), queue.pop()) == ([1], 2, 1)
    with contextlib.suppress(ZeroDivisionError), shop.engine.begin() as connection:
        load(connection, 2)
        queue.push(2, connection=connection)
        store.session("new").xcom["made"].push(2, connection=connection)
        raise ZeroDivisionError
    with shop.engine.begin() as connection:
        savepoint = connection.begin_nested()
        queue.push(3, connection=connection)
        savepoint.rollback()
        load(connection, 3)
    store.session("new").xcom["made"].push(4)
    queue.push(5)
    assert (shop.orders(), list(queue)[1:], list(store.session("new").xcom["made"])) == ([1, 3], [5], [4])
    assert faults(store) == []


@ALONE
def test_a_queue_that_was_rolled_back_is_forgotten(store: Store, shop: Shop, location: str) -> None:
    queue = store.session("new").xcom["made"]
    with contextlib.suppress(ZeroDivisionError), shop.engine.begin() as connection:
        queue.push(1, connection=connection)
        raise ZeroDivisionError
    with open_store(location) as elsewhere:  # makes it, with another id
        elsewhere.session("new").xcom["made"].push(2)
    assert list(queue) == [2]


@ALONE
def test_in_an_attempt_it_belongs_to_it(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    with store.session("s").run() as run:
        with contextlib.suppress(ZeroDivisionError), run.attempt("load") as attempt:
            with shop.engine.begin() as connection:
                queue.push(1, connection=connection)
            with shop.engine.begin() as connection:
                attempt.xcom["own"].push(2, connection=connection)
            raise ZeroDivisionError
        assert list(queue) == []  # of another session: undone as the attempt fails
        with run.attempt("load") as attempt, shop.engine.begin() as connection:
            assert list(attempt.xcom["own"]) == []
            queue.push(3, connection=connection)
        attempt_of_before = attempt
        with shop.engine.begin() as connection, pytest.raises(AttemptClosed):
            attempt_of_before.xcom["own"].push(4, connection=connection)
    assert list(queue) == [3]
    assert faults(store) == []


@ALONE
def test_after_a_takeover_it_is_refused(store: Store, shop: Shop) -> None:
    run = store.session("s").run().start()
    attempt = run.begin("load")
    store.database.transact(lambda each: each.driver.execute("UPDATE zrb_session SET fence = fence + 1"))
    with shop.engine.begin() as connection, pytest.raises(LeaseLost):
        attempt.xcom["own"].push(4, connection=connection)
    expire_lease(store.session("s"))


@POSTGRESQL
def test_the_end_of_the_attempt_waits_for_the_commit(
    store: Store, shop: Shop, postgres_admin: psycopg.Connection[Any]
) -> None:
    with store.session("s").run() as run:
        attempt = run.begin("load")
        with shop.engine.begin() as connection:
            attempt.xcom["own"].push(1, connection=connection)
            ending = threading.Thread(target=attempt.fail)
            ending.start()
            wait_until(lambda: waits_for_lock(postgres_admin, store.database.url), lambda: "it does not wait")
        ending.join()
        with run.attempt("load") as attempt:
            assert list(attempt.xcom["own"]) == []
    assert faults(store) == []


@SQLITE
def test_a_connection_of_sqlite3(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    with contextlib.closing(sqlite3.connect(shop.location)) as driver:
        with driver:
            driver.execute("INSERT INTO orders (number) VALUES (1)")
            queue.push(1, connection=driver)
        queue.push(2, connection=driver)
        driver.rollback()
    assert (shop.orders(), list(queue)) == ([1], [1])
    with contextlib.closing(sqlite3.connect(shop.location, isolation_level=None)) as driver:
        with pytest.raises(InvalidArgument, match="BEGIN IMMEDIATE"):
            queue.push(3, connection=driver)
        driver.execute("BEGIN")
        queue.push(3, connection=driver)
        driver.execute("COMMIT")
    with pytest.raises(InvalidArgument, match="closed"):
        queue.push(4, connection=driver)
    assert list(queue) == [1, 3]


@POSTGRESQL
def test_a_connection_of_psycopg(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    url = shop.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as driver:
        driver.execute("INSERT INTO orders (number) VALUES (1)")
        queue.push(1, connection=driver)
        driver.commit()
        queue.push(2, connection=driver)
        driver.rollback()
        driver.autocommit = True
        with pytest.raises(InvalidArgument, match=r"connection\.transaction"):
            queue.push(3, connection=driver)
        with driver.transaction():
            queue.push(4, connection=driver)
    assert (shop.orders(), list(queue)) == ([1], [1, 4])


@POSTGRESQL
def test_a_connection_of_asyncio(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    engine = create_async_engine(shop.engine.url, poolclass=sa.NullPool)

    async def main() -> None:
        async with engine.begin() as connection:
            await queue.push(1, connection=connection)
        with contextlib.suppress(ZeroDivisionError):
            async with engine.begin() as connection:
                await queue.push(2, connection=connection)
                raise ZeroDivisionError
        await engine.dispose()

    asyncio.run(main())
    assert list(queue) == [1]


@BESIDE
def test_another_database_is_refused(store: Store, shop: Shop, tmp_path: Path) -> None:
    queue = store.session("inbox").xcom["orders"]
    with shop.engine.begin() as connection:
        load(connection, 1)
        with pytest.raises(InvalidArgument, match="is not to the database of the store"):
            queue.push(1, connection=connection)
    refusal = pytest.raises(InvalidArgument, match="is not to the database of the store")
    with contextlib.closing(sqlite3.connect(tmp_path / "third.db")) as driver, refusal:
        queue.push(1, connection=driver)
    assert (shop.orders(), list(queue)) == ([1], [])


@ALONE
def test_bad_input_is_refused(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    closed = shop.engine.connect()
    closed.close()
    wrong: list[tuple[Any, str]] = [("shop", "is a str"), (shop.engine, "is a Engine"), (closed, "has no transaction")]
    for connection, what in wrong:
        with pytest.raises(InvalidArgument, match=what):
            queue.push(1, connection=connection)
    with shop.engine.connect() as connection, pytest.raises(InvalidArgument, match=r"engine\.begin"):
        queue.push(1, connection=connection)
    with engine_of(shop.location, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.begin()
        with pytest.raises(InvalidArgument, match="AUTOCOMMIT"):
            queue.push(1, connection=connection)
    with shop.engine.begin() as connection, pytest.raises(UnencodableValue):
        queue.push(object(), connection=connection)
    assert list(queue) == []
