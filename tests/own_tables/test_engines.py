"""Engines of other drivers, and engines whose URL does not say where they lead: each works, or gets one line."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tests.own_tables.shops import ALONE, ANYWHERE, ORDERS, Shop, engine_of, load, load_all
from tests.support.postgres import Server
from tests.support.programs import require_module
from tests.support.proxy import MOMENTS, cut, proxy, through
from tests.support.rows import faults, states
from zrb_store import InvalidArgument, Store, StoreUnavailable, ZrbStoreError, open_store, step
from zrb_store.own_tables.database import UserDatabase
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.promise(number=22)]

SERVER = pytest.mark.parametrize("arrangement", ["sqlite+postgresql"], indirect=True)
SERVERS = pytest.mark.parametrize("arrangement", ["sqlite+postgresql", "postgresql"], indirect=True)
FILES = pytest.mark.parametrize("arrangement", ["sqlite+sqlite", "sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("arrangement", ["postgresql"], indirect=True)


def with_driver(shop: Shop, driver: str, **options: Any) -> sa.URL:
    """Return the URL of a shop for another driver."""
    return shop.engine.url.set(drivername=f"{shop.engine.dialect.name}+{driver}", **options)


def asyncpg_engine(shop: Shop) -> AsyncEngine:
    """Return an engine of asyncpg, which takes no options in its URL."""
    schema = str(shop.engine.url.query["options"]).rpartition("=")[2]
    url = with_driver(shop, "asyncpg", query={"host": shop.engine.url.query["host"]})
    return create_async_engine(url, connect_args={"server_settings": {"search_path": schema}}, poolclass=sa.NullPool)


async def loads(connection: AsyncConnection, number: int) -> int:
    await connection.execute(sa.insert(ORDERS), [{"number": number}])
    return number


async def commits(connection: AsyncConnection) -> None:
    await loads(connection, 9)
    await connection.commit()


def load_and_take(store: Store, make_engine: Callable[[], AsyncEngine]) -> None:
    """Load an order by a step whose process dies once, and another one from a queue; refuse a commit."""
    store.session("inbox").xcom["orders"].push(2)

    async def step_once() -> None:
        engine = make_engine()
        try:
            with store.session("s").run() as run, run.attempt("load"):
                assert await step.transaction(engine, "order", loads, 1) == 1
                with pytest.raises(InvalidArgument, match="must not commit"):
                    await step.transaction(engine, "commits", commits)
        finally:
            await engine.dispose()

    async def take() -> None:
        engine = make_engine()
        with store.session("w").run() as run:
            async for delivery in run.consume(store.session("inbox").xcom["orders"]):
                async with delivery.transaction(engine) as (connection, number):
                    await loads(connection, number)
        await engine.dispose()

    with pytest.raises(Crash), crash_at("own_tables:after"):
        asyncio.run(step_once())
    expire_lease(store.session("s"))
    asyncio.run(step_once())
    asyncio.run(take())
    assert states(store, "inbox", "orders") == [(2, "taken")]
    assert faults(store) == []


@FILES
def test_aiosqlite_loads_each_order_once(store: Store, shop: Shop) -> None:
    require_module("aiosqlite")
    load_and_take(store, lambda: create_async_engine(with_driver(shop, "aiosqlite"), poolclass=sa.NullPool))
    assert shop.orders() == [1, 2]


@SERVERS
def test_asyncpg_loads_each_order_once(store: Store, shop: Shop) -> None:
    require_module("asyncpg")
    load_and_take(store, lambda: asyncpg_engine(shop))
    assert shop.orders() == [1, 2]


async def push_and_roll_back(store: Store, engine: AsyncEngine) -> None:
    """Push a value that is committed, and another one that is not."""
    queue = store.session("inbox").xcom["orders"]
    async with engine.begin() as connection:
        await loads(connection, 1)
        await queue.push({"order": 1}, connection=connection)
    with contextlib.suppress(ZeroDivisionError):
        async with engine.begin() as connection:
            await loads(connection, 2)
            await queue.push({"order": 2}, connection=connection)
            raise ZeroDivisionError
    await engine.dispose()


@pytest.mark.parametrize("arrangement", ["sqlite"], indirect=True)
def test_a_push_by_aiosqlite(store: Store, shop: Shop) -> None:
    require_module("aiosqlite")
    engine = create_async_engine(with_driver(shop, "aiosqlite"), poolclass=sa.NullPool)
    asyncio.run(push_and_roll_back(store, engine))
    assert (list(store.session("inbox").xcom["orders"]), shop.orders()) == ([{"order": 1}], [1])


@POSTGRESQL
def test_an_engine_of_asyncpg_cannot_push(store: Store, shop: Shop) -> None:
    require_module("asyncpg")
    with pytest.raises(InvalidArgument, match="is one of asyncpg, which cannot push: use psycopg"):
        asyncio.run(push_and_roll_back(store, asyncpg_engine(shop)))
    assert (len(store.session("inbox").xcom["orders"]), shop.orders()) == (0, [])


@SERVERS
def test_psycopg2_loads_each_order_once(store: Store, shop: Shop) -> None:
    require_module("psycopg2")
    engine = sa.create_engine(with_driver(shop, "psycopg2"), poolclass=sa.NullPool)
    with pytest.raises(Crash), crash_at("own_tables:after"):
        load_all(store, engine, 2)
    expire_lease(store.session("nightly"))
    load_all(store, engine, 2)
    assert shop.orders() == [1, 2]
    if shop.is_store:
        queue = store.session("inbox").xcom["orders"]
        with engine.begin() as connection:
            queue.push({"order": "a % b"}, connection=connection)
        with contextlib.suppress(ZeroDivisionError), engine.begin() as connection:
            queue.push(2, connection=connection)
            raise ZeroDivisionError
        assert list(queue) == [{"order": "a % b"}]
    assert faults(store) == []


@pytest.mark.unpooled
@SERVER
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_a_lost_answer_is_looked_up_with_each_driver(
    store: Store, shop: Shop, postgres_server: Server, moment: str, driver: str
) -> None:
    require_module(driver)
    runs = []
    with proxy(postgres_server.folder) as between:
        near = Shop(through(between.folder, shop.location), is_store=False)

        def counted(connection: sa.Connection) -> int:
            runs.append(load(connection, 1))
            if len(runs) == 1:
                cut(between, moment, b"COMMIT")
            return len(runs)

        async def counts(connection: AsyncConnection) -> int:
            return await connection.run_sync(counted)

        async def main() -> None:
            engine = asyncpg_engine(near)
            assert await step.transaction(engine, "order", counts) == expected
            await engine.dispose()

        expected = 2 if moment == MOMENTS[0] else 1
        with store.session("s").run() as run, run.attempt("load"):
            if driver == "asyncpg":
                asyncio.run(main())
            else:
                engine = sa.create_engine(with_driver(near, driver), poolclass=sa.NullPool)
                assert step.transaction(engine, "order", counted) == expected
    assert (shop.orders(), len(runs)) == ([1], expected)


# -- where an engine leads


@ALONE
def test_an_engine_without_a_database_in_its_url(store: Store, shop: Shop, tmp_path: Path) -> None:
    """A function connects, or arguments name the database. It is asked where it is, and found to be the store's own."""
    url = shop.engine.url
    if shop.engine.dialect.name == "sqlite":
        engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(shop.location), poolclass=sa.NullPool)
        name = "store.db"
    else:
        words = {"dbname": url.database, "user": url.username, **url.query}
        engine, name = sa.create_engine("postgresql+psycopg://", connect_args=words, poolclass=sa.NullPool), "postgres"
    load_all(store, engine, 2)
    assert (shop.orders(), shop.rows()) == ([1, 2], [])
    assert UserDatabase(engine, "it").name == name


@pytest.mark.parametrize("arrangement", ["sqlite"], indirect=True)
def test_a_link_to_the_store_s_file_is_the_store(store: Store, shop: Shop, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(shop.location)
    engine = engine_of(shop.location).execution_options()
    load_all(store, sa.create_engine(f"sqlite:///{link}", poolclass=sa.NullPool), 1)
    with sa.create_engine(f"sqlite:///{link}", poolclass=sa.NullPool).begin() as connection:
        store.session("inbox").xcom["orders"].push(1, connection=connection)
    assert (shop.orders(), shop.rows(), list(store.session("inbox").xcom["orders"])) == ([1], [], [1])
    engine.dispose()


@pytest.mark.parametrize("arrangement", ["sqlite+sqlite"], indirect=True)
def test_two_engines_to_one_file_find_the_same_rows(store: Store, shop: Shop, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(shop.location)
    with pytest.raises(Crash), crash_at("own_tables:after"):
        load_all(store, sa.create_engine(f"sqlite:///{link}", poolclass=sa.NullPool), 2)
    expire_lease(store.session("nightly"))
    load_all(store, shop.engine, 2)
    assert shop.orders() == [1, 2]


@ANYWHERE
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:shop?mode=memory&uri=true"])
def test_a_database_in_memory_is_refused(store: Store, shop: Shop, url: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.StaticPool)
    store.session("inbox").xcom["orders"].push(1)
    refusal = pytest.raises(InvalidArgument, match="needs a database that outlives this process: name a file")
    with store.session("s").run() as run, run.attempt("load"), refusal:
        step.transaction(engine, "order", load, 1)
    with refusal, store.session("w").run() as run:
        for delivery in run.consume(store.session("inbox").xcom["orders"]):
            with delivery.transaction(engine):
                raise AssertionError
    assert list(store.session("inbox").xcom["orders"]) == [1]
    with engine.begin() as connection, pytest.raises(InvalidArgument, match="is not to the database of the store"):
        store.session("inbox").xcom["orders"].push(2, connection=connection)
    assert list(store.session("inbox").xcom["orders"]) == [1]
    engine.dispose()


@pytest.mark.parametrize("arrangement", ["sqlite+sqlite", "postgresql+postgresql"], indirect=True)
def test_a_user_s_database_that_holds_another_store(
    store: Store, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is another database like any other; what the function does to that store is not part of its transaction."""
    if shop.engine.dialect.name == "sqlite":  # a store is not made in a file with other tables
        open_store(tmp_path / "both.db").close()
        shop = Shop(str(tmp_path / "both.db"), is_store=False)
    with open_store(shop.location) as other:
        monkeypatch.setattr(other.database, "timeout", 0.3)
        engine = engine_of(shop.location, poolclass=sa.NullPool)
        queue = other.session("inbox").xcom["orders"]
        queue.push(7)

        def pushes(connection: sa.Connection, number: int) -> None:
            load(connection, number)
            queue.push(number)

        with store.session("s").run() as run, run.attempt("load"):
            assert step.transaction(engine, "order", load, 1) == 1
            with pytest.raises(ZrbStoreError, match="could not be committed with it"):
                step.transaction(engine, "pushes", pushes, 2)
        with engine.begin() as connection, pytest.raises(InvalidArgument, match="is not to the database of the store"):
            store.session("inbox").xcom["orders"].push(1, connection=connection)
        assert (list(queue), shop.orders()) == ([7], [1])
        assert [row[:2] for row in shop.rows()] == [("load", "order")]
        assert (faults(store), faults(other)) == ([], [])
    engine.dispose()


# -- a database that does not answer

Use = Callable[[Store, sa.Engine], None]


def by_step(store: Store, engine: sa.Engine) -> None:
    with store.session("s").run() as run, run.attempt("load"):
        step.transaction(engine, "order", load, 1)


def by_delivery(store: Store, engine: sa.Engine) -> None:
    with store.session("w").run() as run:
        for delivery in run.consume(store.session("inbox").xcom["orders"]):
            with delivery.transaction(engine):
                raise AssertionError


async def asynchronous(store: Store, make: Callable[[], AsyncEngine]) -> None:
    engine = make()
    with store.session("s").run() as run, run.attempt("load"):
        await step.transaction(engine, "order", loads, 1)


@ANYWHERE
@pytest.mark.parametrize("use", [by_step, by_delivery])
def test_a_server_that_is_down_is_awaited(
    store: Store, shop: Shop, use: Use, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store.database, "timeout", 0.2)
    store.session("inbox").xcom["orders"].push(1)
    engine = sa.create_engine(f"postgresql+psycopg://shop:secret@/orders?host={tmp_path}", poolclass=sa.NullPool)
    with pytest.raises(StoreUnavailable, match="cannot reach orders: connection") as refused:
        use(store, engine)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert list(store.session("inbox").xcom["orders"]) == [1]
    assert faults(store) == []


@ANYWHERE
def test_a_server_that_is_down_is_awaited_with_asyncpg(
    store: Store, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_module("asyncpg")
    monkeypatch.setattr(store.database, "timeout", 0.2)
    url = f"postgresql+asyncpg://shop:secret@/orders?host={tmp_path}"
    with pytest.raises(StoreUnavailable, match="cannot reach orders: "):
        asyncio.run(asynchronous(store, lambda: create_async_engine(url, poolclass=sa.NullPool)))


@SERVER
def test_a_completed_step_needs_no_server(store: Store, shop: Shop, tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), store.session("s").run() as run, run.attempt("load"):
        step.transaction(shop.engine, "order", load, 1)
        raise ZeroDivisionError
    down = sa.create_engine(f"postgresql+psycopg://shop@/orders?host={tmp_path}", poolclass=sa.NullPool)
    by_step(store, down)
    assert shop.orders() == [1]
