"""The table `zrb_store_done` in the user's database: an execution whose row is committed there has happened.

The row is inserted before the user's function runs, and gets its result after it, in one transaction with its changes.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from zrb_store.db.core import sa
from zrb_store.errors import ZrbStoreError

NAME: Final = "zrb_store_done"


class Key(NamedTuple):
    """What an execution is known by."""

    identity: str  # of the session
    kind: Literal["step", "value"]
    place: str  # the task, or the queue
    item: str  # the step, or the value's seq
    cycle: int  # how often it was given back after it had completed, or requeued

    @property
    def lock(self) -> int:
        """The number of its lock in PostgreSQL."""
        return int.from_bytes(blake2b(json.dumps(self).encode(), digest_size=8).digest(), signed=True)


def table() -> sa.Table:
    """Return the definition of the table."""
    key = [
        sa.Column(name, sa.Integer if name == "cycle" else sa.Text, primary_key=True, autoincrement=False)
        for name in Key._fields
    ]
    return sa.Table(
        NAME,
        sa.MetaData(),
        *key,
        sa.Column("session", sa.Text, nullable=False),  # its name, for people
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("result", sa.Text),  # encoded
        sqlite_with_rowid=False,
    )


_COLUMNS: Final = (*Key._fields, "session", "done_at", "result")
_IS_KEY: Final = " AND ".join(f"{name} = :{name}" for name in Key._fields)
_INSERT: Final = (
    f"INSERT INTO {NAME} ({', '.join(Key._fields)}, session) "
    "SELECT :identity, :kind, :place, :item, CAST(:cycle AS INTEGER), :session "
    f"WHERE {{}} ON CONFLICT ({', '.join(Key._fields)}) DO NOTHING"
)
_SELECT: Final = f"SELECT result FROM {NAME} WHERE {_IS_KEY}"
_UPDATE: Final = f"UPDATE {NAME} SET result = :result WHERE {_IS_KEY} AND {{}}"
# Whoever works on an execution has its lock until its transaction ends, so nobody has to wait for the row itself.
_LOCKED: Final = {"sqlite": "true", "postgresql": "pg_catalog.pg_try_advisory_xact_lock(CAST(:lock AS bigint))"}
# If the function has committed by itself, another transaction has inserted the row.
_OWN: Final = {
    "sqlite": "result IS NULL",
    "postgresql": "CAST(xmin AS text) = CAST(pg_catalog.txid_current() % 4294967296 AS text)",
}


class CommittedRow(NamedTuple):
    """The committed row of an execution."""

    result: str | None  # encoded; None if a function has committed by itself before it ended


def claim(connection: sa.Connection, key: Key, session: str) -> CommittedRow | Literal["ours", "held"]:
    """Insert the row of an execution. Return what another transaction has committed, or that it is `held` by one."""
    dialect = connection.dialect.name
    params: dict[str, str | int] = {**key._asdict(), "session": session}
    if dialect == "postgresql":
        params["lock"] = key.lock
    if connection.execute(_text(_INSERT, _LOCKED[dialect]), params).rowcount:
        return "ours"
    row = connection.execute(_text(_SELECT), key._asdict()).first()
    return "held" if row is None else CommittedRow(row[0])


def write(connection: sa.Connection, key: Key, result: str) -> bool:
    """Write the result into the row that this transaction has inserted; return False if it was committed already."""
    statement = _text(_UPDATE, _OWN[connection.dialect.name])
    return bool(connection.execute(statement, {**key._asdict(), "result": result}).rowcount)


def _text(sql: str, condition: str = "") -> sa.TextClause:
    found = _made.get((sql, condition))
    if found is None:
        found = _made[sql, condition] = sa.text(sql.format(condition))
    return found


_made: dict[tuple[str, str], sa.TextClause] = {}


def create(connection: sa.Connection) -> None:
    """Make the table unless there is one. In PostgreSQL, do not wait for another transaction that makes it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
    connection.execute(sa.schema.CreateTable(table(), if_not_exists=True))


def statement(dialect: sa.Dialect) -> str:
    """Return the statement that makes the table."""
    text = str(sa.schema.CreateTable(table(), if_not_exists=True).compile(dialect=dialect))
    return "\n".join(line.rstrip() for line in text.strip().replace("\t", "    ").splitlines()) + ";"


def is_missing(connection: sa.Connection) -> bool:
    """Whether there is no such table. One that is not ours is an error."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(NAME):
        return True
    found = {column["name"] for column in inspector.get_columns(NAME)}
    key = inspector.get_pk_constraint(NAME)["constrained_columns"]
    if lacks := [name for name in _COLUMNS if name not in found]:
        raise ZrbStoreError(f"the table {NAME} there is not ours: it has no column {lacks[0]}; rename it")
    if set(key) != set(Key._fields):
        raise ZrbStoreError(f"the table {NAME} there is not ours: its primary key differs; rename it")
    return False


_HOLDER = """
SELECT activity.pid, activity.application_name, CAST(activity.client_addr AS text)
FROM pg_catalog.pg_locks AS held JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
AND ((CAST(held.classid AS bigint) << 32) | CAST(held.objid AS bigint)) = CAST(:lock AS bigint)
"""


def holder(connection: sa.Connection, key: Key) -> str:
    """Say which session of PostgreSQL has to be ended, because it works on an execution."""
    row = connection.execute(sa.text(_HOLDER), {"lock": key.lock}).first()
    if row is None:
        return "try again"
    pid, application, address = row
    who = " ".join(filter(None, (application, address and f"from {address}")))
    return f"end it by SELECT pg_terminate_backend({pid})" + (f", or its program ({who})" if who else "")


def identities(connection: sa.Connection, after: str, count: int) -> list[str]:
    """Return the next identities of sessions that have rows, in order."""
    found = sa.text(f"SELECT DISTINCT identity FROM {NAME} WHERE identity > :after ORDER BY identity LIMIT {count}")
    return list(connection.scalars(found, {"after": after}))


def delete(connection: sa.Connection, gone: list[str]) -> int:
    """Delete the rows of sessions, and return how many."""
    if not gone:
        return 0
    of_sessions = sa.text(f"DELETE FROM {NAME} WHERE identity IN :gone").bindparams(
        sa.bindparam("gone", expanding=True)
    )
    return connection.execute(of_sessions, {"gone": gone}).rowcount
