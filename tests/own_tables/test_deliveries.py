"""`delivery.transaction`: a value is taken and its row written exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
from multiprocessing.connection import Connection
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tests.own_tables.shops import BESIDE, ORDERS, Shop, engine_of, load
from tests.support.postgres import Server
from tests.support.processes import Child
from tests.support.proxy import MOMENTS, cut, proxy, through
from tests.support.rows import faults, states
from zrb_store import AttemptClosed, Delivery, InvalidArgument, Store, ZrbStoreError, open_store
from zrb_store.operations.values import requeue
from zrb_store.testing import obey_environment

pytestmark = [pytest.mark.promise(number=22)]

POINTS = ["consume:after", "own_tables:before", "own_tables:inside", "own_tables:after", "complete:after"]


def take_all(store: Store, engine: sa.Engine, session: str = "worker") -> list[int]:
    """Take every value into the table, and return those whose block ran."""
    entered = []
    with store.session(session).run() as run:
        for delivery in run.consume(store.session("inbox").xcom["orders"]):
            with delivery.transaction(engine) as (connection, number):
                entered.append(number)
                load(connection, number)
    return entered


def take_in_a_child(pipe: Connection, location: str, shop: str, testing: str) -> None:
    """Do the same in a process that dies where `testing` says."""
    os.environ["ZRB_STORE_TESTING"] = testing
    obey_environment()
    with open_store(location) as store:
        take_all(store, engine_of(shop, poolclass=sa.NullPool))
    pipe.send("done")


@pytest.mark.slow
@pytest.mark.promise(number=22)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_takes_each_value_once(store: Store, location: str, shop: Shop, point: str) -> None:
    store.session("inbox").xcom["orders"].extend([1, 2, 3])
    if shop.is_store and point == "complete:after":
        point = "own_tables:after"  # it completes before that
    with Child(take_in_a_child, location, shop.location, f"crash_at={point}#2") as child:
        assert child.join() == -signal.SIGKILL
    entered = take_all(store, shop.engine, "other")
    was_committed = point in ("own_tables:after", "complete:after")
    assert entered == ([3] if was_committed else [2, 3])
    assert shop.orders() == [1, 2, 3]
    assert states(store, "inbox", "orders") == [(number, "taken") for number in (1, 2, 3)]
    assert faults(store) == []


def test_a_block_that_raises_undoes_all(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.extend([1, 2])
    with store.session("w").run() as run:
        for delivery in run.consume(queue):
            with delivery.transaction(shop.engine) as (connection, number):
                load(connection, number)
                if number == 1:
                    raise ValueError("no such customer")
        raised: list[str] = []
        try:
            for delivery in run.consume(queue, on_error="raise"):
                with delivery.transaction(shop.engine) as (connection, number):
                    load(connection, number)
                    raise ValueError("no such customer")
        except ValueError as error:
            raised.append(str(error))
    assert raised == ["no such customer"]
    assert (shop.orders(), list(queue)) == ([2], [1])
    assert take_all(store, shop.engine, "other") == [1]
    assert shop.orders() == [1, 2]
    assert faults(store) == []


@pytest.mark.slow
@BESIDE
def test_a_value_that_is_requeued_is_taken_again(store: Store, shop: Shop, location: str) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.max_deliveries = 1
    queue.push(1)
    with Child(take_in_a_child, location, shop.location, "crash_at=own_tables:after") as child:
        assert child.join() == -signal.SIGKILL
    assert take_all(store, shop.engine, "other") == []
    assert states(store, "inbox", "orders") == [(1, "dead")]
    requeue(store.database, ["inbox/orders#1"])
    assert take_all(store, shop.engine, "third") == [1]
    assert shop.orders() == [1, 1]  # a person asked for it


def test_the_block_cannot_end_its_transaction(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.extend([1, 2])
    with store.session("w").run() as run:
        for delivery in run.consume(queue):
            with delivery.transaction(shop.engine) as (connection, number):
                load(connection, number)
                if number == 1:
                    connection.commit()
                else:
                    with pytest.raises(InvalidArgument):
                        connection.rollback()
    assert (shop.orders(), list(queue)) == ([], [1, 2])


@BESIDE
def test_queues_cannot_be_changed_in_the_block(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.push(1)
    with store.session("w").run() as run:
        for delivery in run.consume(queue):
            with delivery.transaction(shop.engine) as (connection, number):
                load(connection, number)
                with pytest.raises(ZrbStoreError, match="could not be committed with it"):
                    store.session("out").xcom["done"].push(number)
                raise KeyError
    assert (shop.orders(), list(queue)) == ([], [1])


@BESIDE
def test_a_batch_has_no_transaction(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.extend([1, 2])
    with store.session("w").run() as run:
        delivery = next(run.consume(queue, batch=2))
        with pytest.raises(InvalidArgument, match="has 2 values"):
            delivery.transaction(shop.engine).__enter__()
        delivery.fail()
    assert (shop.orders(), list(queue)) == ([], [1, 2])


@BESIDE
def test_a_delivery_that_has_ended_has_no_transaction(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.extend([1, 2])
    with store.session("w").run() as run:
        for delivery, end in zip(run.consume(queue), ("complete", "fail"), strict=False):
            getattr(delivery, end)()
            with pytest.raises(AttemptClosed, match=end), delivery.transaction(shop.engine) as (connection, number):
                load(connection, number)
    assert (shop.orders(), list(queue)) == ([], [2])


@BESIDE
def test_a_coroutine_needs_an_engine_of_asyncio(store: Store, shop: Shop) -> None:
    queue = store.session("inbox").xcom["orders"]
    queue.push(1)

    async def main(delivery: Delivery) -> None:
        with pytest.raises(InvalidArgument, match="needs an engine of `create_async_engine`, not a Engine"):
            await delivery.transaction(shop.engine).__aenter__()

    with store.session("w").run() as run:
        delivery = next(run.consume(queue))
        asyncio.run(main(delivery))
        delivery.fail()
    assert list(queue) == [1]


@pytest.mark.unpooled
@pytest.mark.parametrize("arrangement", ["sqlite+postgresql", "postgresql"], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_lost_answer_to_the_commit(store: Store, shop: Shop, postgres_server: Server, moment: str) -> None:
    store.session("inbox").xcom["orders"].push(1)
    entered = []
    with proxy(postgres_server.folder) as between, store.session("w").run() as run:
        engine = engine_of(through(between.folder, shop.location), poolclass=sa.NullPool)
        for delivery in run.consume(store.session("inbox").xcom["orders"]):
            with delivery.transaction(engine) as (connection, number):
                entered.append(number)
                load(connection, number)
                cut(between, moment)
    assert shop.orders() == [1] * (moment == MOMENTS[1])
    assert take_all(store, shop.engine, "other") == [1] * (moment == MOMENTS[0])
    assert (shop.orders(), entered) == ([1], [1])
    assert faults(store) == []


@pytest.mark.parametrize("arrangement", ["sqlite+postgresql", "postgresql"], indirect=True)
@pytest.mark.parametrize("point", ["own_tables:inside", "own_tables:after"])
def test_a_delivery_killed_in_a_coroutine_loads_once(store: Store, shop: Shop, location: str, point: str) -> None:
    store.session("inbox").xcom["orders"].extend([1, 2])
    with Child(take_in_a_child, location, shop.location, f"crash_at={point}") as child:
        assert child.join() == -signal.SIGKILL
    engine = create_async_engine(shop.engine.url, poolclass=sa.NullPool)
    entered: list[Any] = []

    async def main() -> None:
        with store.session("w").run() as run:
            async for delivery in run.consume(store.session("inbox").xcom["orders"]):
                async with delivery.transaction(engine) as (connection, number):
                    entered.append(number)
                    await connection.execute(sa.insert(ORDERS), [{"number": number}])
                entered.append("after")
        await engine.dispose()

    asyncio.run(main())
    # In the store's own database, the delivery has completed with its changes.
    first = [1, "after"] if point == "own_tables:inside" else ["after"] * (not shop.is_store)
    assert entered == [*first, 2, "after"]
    assert shop.orders() == [1, 2]
    assert faults(store) == []
