"""The rows themselves, for tests that must not believe what the API says."""

from __future__ import annotations

from typing import Any

from zrb_store import Store, codec
from zrb_store.db.tables import metadata
from zrb_store.operations.doctor import rows

_TABLES = [table.name for table in metadata.sorted_tables]


def query(store: Store, sql: str) -> list[Any]:
    """The rows that a statement without parameters gives."""
    with store.database.snapshot() as transaction:
        return list(transaction.driver.execute(sql).fetchall())


def all_rows(store: Store, *, but: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Everything there is, table by table."""
    return {name: sorted(query(store, f"SELECT * FROM {name}"), key=repr) for name in _TABLES if name not in but}


def faults(store: Store) -> list[str]:
    """What breaks the invariants of the rows, which `zrb-store doctor` knows."""
    return [finding.what for finding in rows.examine(store.database)]


def states(store: Store, session: str, queue: str = "q") -> list[tuple[Any, str]]:
    """Each value that a queue ever had, in its order, with its state; `+` marks an orphaned one."""
    found = query(
        store,
        "SELECT v.data, v.state, v.orphaned FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id "
        f"JOIN zrb_session s ON s.id = q.session_id WHERE s.name = '{session}' AND q.name = '{queue}' ORDER BY v.seq",
    )
    return [(codec.decode(data), state + "+" * bool(orphaned)) for data, state, orphaned in found]


def seqs(store: Store, session: str, queue: str = "q") -> list[int]:
    """The numbers of the live values of a queue."""
    return [
        seq
        for (seq,) in query(
            store,
            "SELECT v.seq FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id JOIN zrb_session s "
            f"ON s.id = q.session_id WHERE s.name = '{session}' AND q.name = '{queue}' AND v.state = 'live' "
            "ORDER BY v.seq",
        )
    ]
