"""Other transactions, lost answers and coroutines: the function runs again only where nothing is committed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.own_tables.shops import ANYWHERE, ORDERS, Shop, engine_of, load
from tests.support.postgres import Server
from tests.support.processes import Child
from tests.support.proxy import MOMENTS, cut, proxy, through
from tests.support.rows import faults, query
from zrb_store import InvalidArgument, Store, StoreUnavailable, ZrbStoreError, step
from zrb_store.own_tables import done, once
from zrb_store.xcom import current_attempt

SERVER = pytest.mark.parametrize("arrangement", ["sqlite+postgresql"], indirect=True)
SERVERS = pytest.mark.parametrize("arrangement", ["sqlite+postgresql", "postgresql"], indirect=True)

pytestmark = [pytest.mark.promise(number=22)]


@SERVERS
@pytest.mark.parametrize("conflicts", [1, once.MOST_TRIES])
def test_a_serialization_failure_runs_the_function_again(store: Store, shop: Shop, conflicts: int) -> None:
    engine = sa.create_engine(shop.engine.url, isolation_level="REPEATABLE READ", poolclass=sa.NullPool)
    with shop.engine.begin() as connection:
        load(connection, 0)
    runs = 0

    def adds(connection: sa.Connection) -> int:
        nonlocal runs
        runs += 1
        connection.execute(sa.select(ORDERS)).all()
        if runs <= conflicts:
            with shop.engine.begin() as other:
                other.execute(sa.update(ORDERS).values(number=ORDERS.c.number + 1))
        connection.execute(sa.update(ORDERS).values(number=ORDERS.c.number + 100))
        return runs

    with store.session("s").run() as run, run.attempt("load"):
        if conflicts < once.MOST_TRIES:
            assert step.transaction(engine, "order", adds) == 2
        else:
            with pytest.raises(sa.exc.OperationalError):
                step.transaction(engine, "order", adds)
    assert runs == min(conflicts + 1, once.MOST_TRIES)
    assert shop.orders() == [conflicts + 100 * (conflicts < once.MOST_TRIES)]
    assert faults(store) == []


@pytest.mark.unpooled
@SERVERS
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_lost_answer_to_the_commit_is_looked_up(
    store: Store, shop: Shop, postgres_server: Server, moment: str
) -> None:
    with proxy(postgres_server.folder) as between:
        engine = engine_of(through(between.folder, shop.location), poolclass=sa.NullPool)

        runs = 0

        def counted(connection: sa.Connection) -> int:
            nonlocal runs
            runs += 1
            load(connection, 1)
            if runs == 1:
                cut(between, moment)
            return runs

        with store.session("s").run() as run, run.attempt("load"):
            assert step.transaction(engine, "order", counted) == (2 if moment == MOMENTS[0] else 1)
    assert shop.orders() == [1]
    assert faults(store) == []


@SERVERS
def test_a_commit_that_the_server_refuses_fails_the_step(store: Store, shop: Shop) -> None:
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE orders ADD UNIQUE (number) DEFERRABLE INITIALLY DEFERRED")
    with store.session("s").run() as run, run.attempt("load"):
        with pytest.raises(sa.exc.IntegrityError):
            step.transaction(shop.engine, "order", load, 1, 1)
        assert query(store, "SELECT status FROM zrb_attempt WHERE step_of IS NOT NULL") == [("failed",)]
        assert step.transaction(shop.engine, "other", load, 2) == 1
    assert (shop.orders(), faults(store)) == ([2], [])


@pytest.mark.unpooled
@SERVER
def test_a_commit_of_which_nobody_knows_is_not_a_failure(
    store: Store, shop: Shop, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import of the session, which cannot find the row, must not take it for one."""
    with proxy(postgres_server.folder) as between:
        engine = engine_of(through(between.folder, shop.location), poolclass=sa.NullPool)

        def loses(connection: sa.Connection) -> int:
            cut(between, MOMENTS[1])
            (between.folder / ".s.PGSQL.5432").unlink()  # and no further connection is made
            return load(connection, 1)

        monkeypatch.setattr(store.database, "timeout", 0.2)
        unknown = pytest.raises(StoreUnavailable, match="whether it was committed is not known: the next attempt finds")
        with unknown, store.session("s").run() as run, run.attempt("load"):
            step.transaction(engine, "order", loses)
    assert query(store, "SELECT status FROM zrb_attempt WHERE step_of IS NOT NULL") == [("interrupted",)]
    with store.session("s").run() as run, run.attempt("load"):
        assert step.transaction(shop.engine, "order", load) == 1
    assert (shop.orders(), faults(store)) == ([1], [])


@SERVER
def test_an_engine_of_asyncio_takes_a_coroutine_function(store: Store, shop: Shop) -> None:
    engine = create_async_engine(shop.engine.url, poolclass=sa.NullPool)

    async def loads(connection: AsyncConnection, number: int) -> int:
        assert current_attempt.get() is not None
        await asyncio.sleep(0)
        await connection.execute(sa.insert(ORDERS), [{"number": number}])
        return number

    async def commits(connection: AsyncConnection) -> None:
        await loads(connection, 2)
        await connection.commit()

    async def main() -> None:
        with store.session("s").run() as run, run.attempt("load"):
            assert await step.transaction(engine, "order", loads, 1) == 1
            with pytest.raises(InvalidArgument, match="must not commit"):
                await step.transaction(engine, "other", commits)
            with pytest.raises(InvalidArgument, match="give a coroutine function"):
                step.transaction(engine, "third", load, 1)
            with pytest.raises(InvalidArgument, match="create_async_engine"):
                await step.transaction(shop.engine, "third", loads, 1)
            with pytest.raises(InvalidArgument, match=r"task third is a coroutine function: use `with run\.attempt"):
                run.task.transaction(engine, "third", loads, 1)  # type: ignore[unused-coroutine]
            slow = asyncio.ensure_future(step.transaction(engine, "slow", waits))
            await asyncio.sleep(0.05)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
        await engine.dispose()

    async def waits(connection: AsyncConnection) -> None:
        await loads(connection, 3)
        await asyncio.sleep(60)

    asyncio.run(main())
    assert shop.orders() == [1]
    assert faults(store) == []


@pytest.mark.parametrize("arrangement", ["postgresql"], indirect=True)
def test_a_coroutine_function_in_the_store_s_own_database(store: Store, shop: Shop) -> None:
    engine = create_async_engine(shop.engine.url, poolclass=sa.NullPool)

    async def loads(connection: AsyncConnection, number: int) -> int:
        await connection.execute(sa.insert(ORDERS), [{"number": number}])
        return number

    async def main() -> None:
        with store.session("s").run() as run, run.attempt("load"):
            assert await step.transaction(engine, "order", loads, 1) == 1
        await engine.dispose()

    asyncio.run(main())
    assert (shop.orders(), shop.rows()) == ([1], [])


@SERVER
def test_a_role_that_may_not_make_the_table_is_told_how(store: Store, shop: Shop, postgres_admin: Any) -> None:
    postgres_admin.execute("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN")
    schema = shop.engine.url.query["options"].rpartition("%3D")[2].rpartition("=")[2]  # type: ignore[union-attr]
    postgres_admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO clerk")
    engine = sa.create_engine(shop.engine.url.set(username="clerk"), poolclass=sa.NullPool)
    refusal = pytest.raises(ZrbStoreError, match=r"may not make it \(.*\): run `zrb-store db own-tables URL`")
    try:
        with store.session("s").run() as run, run.attempt("load"), refusal:
            step.transaction(engine, "order", load, 1)
    finally:
        postgres_admin.execute(f"REVOKE ALL ON SCHEMA {schema} FROM clerk; DROP ROLE clerk")


@SERVER
def test_another_transaction_that_makes_the_table_is_awaited(
    store: Store, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL would wait for it without end: its program may have been stopped."""
    waits = pytest.raises(StoreUnavailable, match=f"makes the table {done.NAME} .* and is still open: .* names it")
    with store.session("s").run() as run, run.attempt("load"):
        with shop.engine.begin() as other:
            done.create(other)
            with monkeypatch.context() as patched, waits:
                patched.setattr(store.database, "timeout", 0.2)
                step.transaction(shop.engine, "order", load, 1)
        assert step.transaction(shop.engine, "order", load, 1) == 1
    assert shop.orders() == [1]


def hold_the_lock(pipe: Any, path: str) -> None:
    """Hold the write lock of a SQLite file until a message comes."""
    with engine_of(path).connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        pipe.send("locked")
        pipe.recv()


@pytest.mark.slow
@ANYWHERE
def test_a_locked_file_is_awaited(store: Store, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sa.create_engine(shop.engine.url, connect_args={"timeout": 0.05}, poolclass=sa.NullPool)
    with Child(hold_the_lock, shop.location) as child, store.session("s").run() as run, run.attempt("load"):
        assert child.receive() == "locked"
        monkeypatch.setattr(store.database, "timeout", 0.2)
        with pytest.raises(StoreUnavailable, match=f"end process {child.pid}, which holds it"):
            step.transaction(engine, "order", load, 1)
        monkeypatch.undo()
        child.send("go")
        assert step.transaction(engine, "order", load, 1) == 1
    assert shop.orders() == [1]
