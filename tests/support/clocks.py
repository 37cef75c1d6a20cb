"""Clocks: one of a database that goes wrong, and one of this process that is turned."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from tests.support.postgres import wait_until
from zrb_store import Store
from zrb_store.db.clock import Clock
from zrb_store.db.tables import value as value_table
from zrb_store.db.transaction import Transaction


def set_back(store: Store, seconds: float) -> None:
    """Let the clock of the store's database go this many seconds behind the machine's."""

    def work(transaction: Transaction) -> None:
        if transaction.dialect_name == "sqlite":
            transaction.driver.create_function("zrb_now", 0, lambda: time.time_ns() - int(seconds * 1e9))
            return
        # A function of the store's own schema takes the place of the server's.
        schema = transaction.driver.execute("SELECT current_schema()").fetchone()[0]
        transaction.driver.execute(f'SET search_path = "{schema}", pg_catalog')
        transaction.driver.execute(
            "CREATE OR REPLACE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"'SELECT pg_catalog.clock_timestamp() - interval ''{seconds} seconds'''"
        )

    store.database.operate(work)


def turn_until(clock: Clock, is_so: Callable[[], bool], problem: Callable[[], str]) -> None:
    """Turn the clock on, again and again, since what takes its time may begin after a turn, until something is so."""

    def happened() -> bool:
        clock.turn(15)
        return is_so()

    wait_until(happened, problem)


def let_pass(store: Store, seconds: float) -> None:
    """Let all delays be over earlier by this time."""
    earlier = value_table.c.due_at - round(seconds * 1_000_000)
    changed = sa.update(value_table).where(value_table.c.due_at.is_not(None)).values(due_at=earlier)
    store.database.transact(lambda transaction: transaction.execute(changed))
