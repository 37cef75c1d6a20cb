"""Run statements on the driver's connection, in autocommit or in a transaction. Each statement is compiled once.

At the end: failpoints, named points around every commit at which `zrb_store.testing` can stop the process.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zrb_store.db.core import Params, ready

if TYPE_CHECKING:
    from zrb_store.db.columns import Cell
    from zrb_store.db.core import Runnable


MOST_ROWS = 500  # that `Transaction.stream` reads from a server at once
MOST_BYTES = 4 * 1024 * 1024  # that these rows may have together

_cursors = itertools.count()

T = TypeVar("T")
Row = tuple[Any, ...]
first_column: Callable[[Row], Any] = operator.itemgetter(0)
Lost = Callable[["Transaction"], list[Row] | None]
"""Finds what a statement has changed, and returns what the statement returned; None if it has changed nothing."""
Died = list[tuple[int, int]]
"""Queue id and seq of each value that has died in a transaction."""


class Executor(Protocol):
    """What a query function runs on: a `Database` (each statement in its own transaction) or a `Transaction`."""

    def execute(self, statement: Runnable, params: Params = ..., lost: Lost | None = None, /) -> list[Row]:
        """Run one statement and return its rows, if any. If its answer is lost, `lost` tells what it had returned."""

    def transact(self, work: Callable[[Transaction], T], /) -> T:
        """Run several statements as one change, and return what `work` returns. It may be called several times."""

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        """Return a transaction for several reads as of one moment."""

    @property
    def dialect_name(self) -> str:
        """`sqlite` or `postgresql`."""


class Transaction:
    """A connection of the driver that is in use. Query functions run statements on it, and never commit."""

    __slots__ = ("cancelled", "dialect_name", "died", "driver", "prepared", "sent", "sql")

    def __init__(self, driver: Any, dialect_name: str) -> None:
        self.driver = driver
        self.sql = ""  # the newest of the statements that were sent over it, with the driver's placeholders
        self.sent = 0  # how many were sent
        self.cancelled = False  # whether the server was asked to cancel one. It may then cancel a later one instead
        self.prepared: set[bytes] = set()  # names of the statements that were prepared below psycopg
        self.died: Died = []  # in the open transaction
        self.dialect_name = dialect_name

    def execute(self, statement: Runnable, params: Params = {}, lost: Lost | None = None, /) -> list[Row]:  # noqa: B006
        self.sql, bind, _ = ready(statement, self.dialect_name)
        self.sent += 1
        cursor = self.driver.execute(self.sql, bind(params))
        return cursor.fetchall() if cursor.description is not None else []

    def ask(self, sql: str) -> list[Row]:
        """Run a query about the database itself, which is no statement of `queries/`."""
        self.sql = sql
        self.sent += 1
        rows: list[Row] = self.driver.execute(sql).fetchall()
        return rows

    def transact(self, work: Callable[[Transaction], T], /) -> T:
        """Call `work` with this transaction, which is one already."""
        return work(self)

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        """Return this transaction."""
        return contextlib.nullcontext(self)

    def stream(self, statement: Runnable, params: Params = {}, /) -> Iterator[Row]:  # noqa: B006 - never changed
        """Run one statement and yield its rows as they are read, so that memory does not grow with their number."""
        sql, bind, _ = ready(statement, self.dialect_name)
        self.sql = sql
        self.sent += 1
        if self.dialect_name == "sqlite":
            cursor = self.driver.execute(sql, bind(params))
            try:
                for row in cursor:  # noqa: UP028 - `yield from` would close the cursor itself
                    yield row
            finally:
                # Whoever stopped reading (`... | head`) may have closed the connection first, and the cursor with it.
                with contextlib.suppress(sqlite3.ProgrammingError):
                    cursor.close()
            return
        name = f"zrb_{next(_cursors)}"
        self.sql = f'DECLARE "{name}" CURSOR FOR {sql}'  # as psycopg sends it
        # psycopg's ordinary cursor reads all rows before it returns the first one.
        with contextlib.closing(self.driver.cursor(name)) as cursor:
            cursor.execute(sql, bind(params))
            count = 10
            while rows := cursor.fetchmany(count):
                yield from rows
                self.sent += 1
                # Next, as many rows as fit if they are as large as these: their sizes may differ a thousandfold.
                size = sum(len(field) for row in rows for field in row if type(field) is str)
                count = max(1, min(MOST_ROWS, 4 * count, MOST_BYTES * len(rows) // (size + 1)))

    def execute_many(self, statement: Runnable, names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """Run a statement without results once for each of `rows`, which hold the parameters `names` in that order."""
        self.sql, bind, _ = ready(statement, self.dialect_name)
        self.sent += 1
        places = bind({name: place for place, name in enumerate(names)})
        bound: Iterable[Sequence[Cell] | Mapping[str, Cell]] = rows
        if isinstance(places, dict):  # the driver expects a mapping
            bound = ({name: row[place] for name, place in places.items()} for row in rows)
        elif list(places) != list(range(len(names))):
            bound = map(operator.itemgetter(*places), rows)
        self.driver.cursor().executemany(self.sql, bound)


def roll_back(transaction: Transaction) -> None:
    """End what is open on a connection. Nothing may be: SQLite may have rolled back by itself, if the disk is full."""
    with contextlib.suppress(Exception):  # a lost connection cannot answer
        transaction.driver.execute("ROLLBACK")


@contextlib.contextmanager
def savepoint(transaction: Transaction) -> Iterator[None]:
    """Undo what a block has done in a transaction if it raises."""
    transaction.driver.execute("SAVEPOINT zrb_store")
    try:
        yield
    except BaseException:
        transaction.driver.execute("ROLLBACK TO SAVEPOINT zrb_store")
        raise
    finally:
        transaction.driver.execute("RELEASE SAVEPOINT zrb_store")


FailpointCallback = Callable[[str], None]

_callback: FailpointCallback | None = None


def failpoint(name: str) -> None:
    """Mark a point, such as `complete:before`, `complete:inside` or `complete:after`."""
    if _callback is not None:
        _callback(name)


def set_callback(callback: FailpointCallback | None) -> FailpointCallback | None:
    """Let every point call `callback` with its name, or nothing for None. Return the previous callback."""
    global _callback
    previous, _callback = _callback, callback
    return previous
