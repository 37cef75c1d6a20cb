"""A question that a process which waits asks PostgreSQL again and again."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zrb_store.db.core import Params, Statement, binder, compiled
from zrb_store.db.transaction import Transaction

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.sql import Executable

_TUPLES_OK = 2  # libpq's status of a query that went well


class Probe:
    """Whether a query yields a row.

    Everything that does not change from one time to the next is done once: the statement is prepared on the server and
    its parameters are encoded. By psycopg's cursor each time would take twice as long.
    """

    __slots__ = ("_bind", "_encoded", "_name", "_params", "_sql", "_statement")

    def __init__(self, statement: Statement[Executable], params: Params) -> None:
        """Prepare to ask.

        Args:
            statement: The query.
            params: Its parameters: texts.
        """
        self._statement = statement
        self._params = params
        self._name, self._sql, self._bind = _below_psycopg(statement)
        self._encoded: list[bytes] | None = None

    def __call__(self, connection: Transaction) -> bool:
        """Ask over a connection."""
        driver = connection.driver
        if driver.prepare_threshold is not None:
            if self._encoded is None or self._name not in connection.prepared:
                self._prepare(connection)
            connection.sent += 1
            result = driver.pgconn.exec_prepared(self._name, self._encoded)
            if result.status == _TUPLES_OK:
                return bool(result.ntuples)
            connection.prepared.clear()  # a pooler may have given us another server session
        return bool(connection.execute(self._statement, self._params))  # raises psycopg's error, if there is one

    def _prepare(self, connection: Transaction) -> None:
        encoding = connection.driver.info.encoding
        self._encoded = [str(one).encode(encoding) for one in self._bind(self._params)]
        if self._name not in connection.prepared:
            connection.sent += 1
            connection.driver.pgconn.prepare(self._name, self._sql.encode(encoding))
            connection.prepared.add(self._name)


@functools.cache
def _below_psycopg(statement: Statement[Executable]) -> tuple[bytes, str, Callable[[Params], Any]]:
    """Return a name for a prepared statement, its SQL as libpq expects it, and what puts its parameters in order."""
    from sqlalchemy.dialects import postgresql

    dialect: sa.Dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
    found = compiled(dialect, statement.construct)
    name = f"zrb_{hashlib.sha256(found.sql.encode()).hexdigest()[:16]}"
    return name.encode(), found.sql, binder(found.names, found.constants)
