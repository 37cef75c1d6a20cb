"""Direct access to the rows, for tests that must not rely on the API."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from zrb_store import Store, codec
from zrb_store.db.tables import metadata, run
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.doctor import examine_rows
from zrb_store.runtime import lease

T = TypeVar("T")

_TABLES = [table.name for table in metadata.sorted_tables]


def query(store: Store, sql: str) -> list[Any]:
    """Return the rows that a statement without parameters yields."""
    with store.database.snapshot() as transaction:
        return list(transaction.driver.execute(sql).fetchall())


def all_rows(store: Store, *, but: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Return all rows of all tables, without the leases of runs that have not ended: a thread renews them."""
    read = {name: "*" for name in _TABLES if name not in but}
    if "zrb_run" in read:
        columns = {column.name: f'"{column.name}"' for column in run.c}
        columns["lease_expires_at"] = "CASE WHEN ended_at IS NOT NULL THEN lease_expires_at END"
        read["zrb_run"] = ", ".join(columns.values())
    return {name: sorted(query(store, f"SELECT {columns} FROM {name}"), key=repr) for name, columns in read.items()}


class _DiedError(Exception):
    """The death of a change."""


def until_it_lives(store: Store, monkeypatch: pytest.MonkeyPatch, work: Callable[[], T]) -> T:
    """Let a change die at its first statement, at its second, and so on, each time without a trace, until it lives."""
    execute, left = Transaction.execute, 0

    def dying(self: Transaction, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise _DiedError
        return execute(self, *arguments)

    before = all_rows(store)
    for allowed in itertools.count(1):
        left = allowed
        with monkeypatch.context() as patches, contextlib.suppress(_DiedError):
            patches.setattr(Transaction, "execute", dying)
            return work()
        assert all_rows(store) == before
    raise AssertionError


def allow_damage(store: Store) -> None:
    """Let a test write rows that the databases refuse, as a failing disk or a person may leave them."""
    stop_renewals(store)

    def on_sqlite(transaction: Transaction) -> None:
        transaction.driver.execute("PRAGMA ignore_check_constraints=ON")

    def on_postgresql(transaction: Transaction) -> None:
        for table in metadata.sorted_tables:
            names = {str(each.name) for each in table.constraints if isinstance(each, sa.CheckConstraint)}
            drops = ", ".join(f"DROP CONSTRAINT IF EXISTS {name}" for name in names)
            transaction.driver.execute(f"ALTER TABLE {table.name} {drops}")

    store.database.transact(on_sqlite if store.database.dialect_name == "sqlite" else on_postgresql)


def faults(store: Store) -> list[str]:
    """Return the violations of invariants that `zrb-store doctor` finds in the rows."""
    return [finding.what for finding in examine_rows(store.database)]


def states(store: Store, session: str, queue: str = "q") -> list[tuple[Any, str]]:
    """Return each value that was ever in a queue, in order, with its state; `+` marks an orphaned value."""
    found = query(
        store,
        f"SELECT value, state, orphaned FROM zrb_xcom_values WHERE session = '{session}' AND queue = '{queue}' "
        "ORDER BY seq",
    )
    return [(codec.decode(data), state + "+" * bool(orphaned)) for data, state, orphaned in found]


def seqs(store: Store, session: str, queue: str = "q") -> list[int]:
    """Return the seqs of the live values of a queue."""
    return [
        seq
        for (seq,) in query(
            store,
            "SELECT v.seq FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id JOIN zrb_session s "
            f"ON s.id = q.session_id WHERE s.name = '{session}' AND q.name = '{queue}' AND v.state = 'live' "
            "ORDER BY v.seq",
        )
    ]


def is_waiting(store: Store) -> bool:
    """Whether a connection to the server waits for a lock."""
    return bool(query(store, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def stop_renewals(store: Store) -> None:
    """Let this process renew no lease any more: what a test writes into a run stays until the test looks."""
    for (run_id,) in query(store, "SELECT id FROM zrb_run WHERE ended_at IS NULL"):
        lease.abandon(store.database, run_id)
