"""A shop: a database of a user, with a table of orders, and programs that load orders into it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from zrb_store import Run, Store, ZrbStoreError, open_store, step
from zrb_store.db.location import store_url
from zrb_store.testing import obey_environment

# The store, and the user's database if that is another one.
ARRANGEMENTS = ["sqlite+sqlite", "sqlite+postgresql", "postgresql+postgresql", "sqlite", "postgresql"]

ANYWHERE = pytest.mark.parametrize("arrangement", ARRANGEMENTS[:1], indirect=True)
BESIDE = pytest.mark.parametrize("arrangement", ARRANGEMENTS[:3], indirect=True)
ALONE = pytest.mark.parametrize("arrangement", ARRANGEMENTS[3:], indirect=True)

METADATA = sa.MetaData()
ORDERS = sa.Table(
    "orders", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("number", sa.Integer, nullable=False)
)


def engine_of(location: str, **options: Any) -> sa.Engine:
    """Return an engine for the database at a location, as a user would make it."""
    return sa.create_engine(make_url(store_url(location).render_as_string(hide_password=False)), **options)


class Shop:
    """The user's database."""

    def __init__(self, location: str, *, is_store: bool) -> None:
        self.location = location
        self.is_store = is_store
        self.engine = engine_of(location, poolclass=sa.NullPool)
        METADATA.create_all(self.engine)

    def orders(self) -> list[int]:
        """Return the numbers of all orders."""
        with self.engine.connect() as connection:
            return sorted(connection.scalars(sa.select(ORDERS.c.number)))

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of `zrb_store_done`: place, item, cycle and result; none if there is no such table."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("zrb_store_done"):
                return []
            found = connection.exec_driver_sql("SELECT place, item, cycle, result FROM zrb_store_done ORDER BY 1, 2, 3")
            return [tuple(row) for row in found]


def load(connection: sa.Connection, *numbers: int) -> int:
    """Insert orders, and return how many."""
    connection.execute(sa.insert(ORDERS), [{"number": number} for number in numbers])
    return len(numbers)


def load_all(store: Store, engine: sa.Engine, count: int, session: str = "nightly") -> None:
    """Load orders 1 to `count`, each in a step of its own; push their numbers to a queue after that."""
    with store.session(session).run() as run:
        load_orders(run, engine, count)


def load_orders(run: Run, engine: sa.Engine, count: int, function: Callable[..., object] = load) -> None:
    """Do the same in a run that has begun, by this function."""
    with run.attempt("load") as attempt:
        for number in range(1, count + 1):
            step.transaction(engine, f"order {number}", function, number)
            attempt.xcom["loaded"].push(number)


def load_in_a_child(pipe: Connection, location: str, shop: str, count: int, testing: str, lease: float = 60.0) -> None:
    """Do the same in a process that dies or stops where `testing` says, and send the error that it ends with."""
    os.environ["ZRB_STORE_TESTING"] = f"{testing} lease={lease}"
    obey_environment()
    engine = engine_of(shop, poolclass=sa.NullPool)
    try:
        with open_store(location) as store:
            load_all(store, engine, count)
    except (ZrbStoreError, sa.exc.SQLAlchemyError) as error:
        pipe.send(f"{type(error).__name__}: {error}")
    else:
        pipe.send("completed")


def forget_lease(store: Store, session: str) -> None:
    """Let the lease of a session's run expire, as if its process had been stopped for long."""
    run = store.session(session).record().fence
    store.database.transact(
        lambda transaction: transaction.driver.execute(
            f"UPDATE zrb_run SET lease_expires_at = 0, suspected_at = 0 WHERE number = {run} AND session_id = "
            f"(SELECT id FROM zrb_session WHERE name = '{session}')"
        )
    )


def doubled(orders: list[int]) -> list[int]:
    """Return the orders that are there more than once."""
    return [number for number, count in Counter(orders).items() if count > 1]
