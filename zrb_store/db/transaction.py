"""Statements on the driver connection: compiled once, run in autocommit or inside one transaction."""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect as SADialect
    from sqlalchemy.sql import Executable

MOST_ROWS = 500
MOST_BYTES = 4 * 1024 * 1024
"""How much `Transaction.stream` reads from a server at once."""

_cursors = itertools.count()

Row = tuple[Any, ...]
Params = Mapping[str, Any]


class Executor(Protocol):
    """What a query function runs on: a `Database` (each statement for itself) or a `Transaction`."""

    def execute(self, statement: Executable, params: Params = ..., /) -> list[Row]:
        """Run one statement and return its rows (an empty list where it returns none)."""

    @property
    def dialect_name(self) -> str:
        """`sqlite` or `postgresql`."""


@functools.lru_cache(maxsize=512)
def compiled(dialect: SADialect, statement: Executable) -> tuple[str, Callable[[Params], Any]]:
    """The statement as this driver takes it, and what makes the driver's parameters of ours."""
    result = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    brought = {key: value for key, value in result.params.items() if value is not None or not _is_open(result, key)}
    return str(result), _binder(result.positiontup, brought)


def _binder(names: Sequence[str] | None, brought: Params) -> Callable[[Params], Any]:
    """Add what the statement brings along itself, and bring all into the order of `names` if the driver goes by it."""
    if names is None:
        return (lambda params: {**brought, **params}) if brought else dict
    if brought or len(names) < 2:
        return lambda params: [params[name] if name in params else brought[name] for name in names]
    return operator.itemgetter(*names)


def _is_open(result: Any, key: str) -> bool:
    """Whether the parameter waits for a value, rather than being None itself."""
    bind = result.binds.get(key)
    return bind is not None and bind.required


@functools.lru_cache(maxsize=512)
def is_write(statement: Executable) -> bool:
    """Whether the statement changes rows."""
    return bool(statement.is_dml)


class Transaction:
    """A driver connection in use. Query functions get one; they never commit.

    Attributes:
        driver: The connection.
        sent: How many statements were sent over it.
        cancelled: Whether the server was asked to cancel one of them, so that it may cancel a later one instead.
    """

    __slots__ = ("_dialect", "cancelled", "driver", "sent")

    def __init__(self, driver: Any, dialect: SADialect) -> None:
        self.driver = driver
        self.sent = 0
        self.cancelled = False
        self._dialect = dialect

    @property
    def dialect_name(self) -> str:
        return self._dialect.name

    def execute(self, statement: Executable, params: Params = {}, /) -> list[Row]:  # noqa: B006 - never changed
        sql, bind = compiled(self._dialect, statement)
        self.sent += 1
        cursor = self.driver.execute(sql, bind(params))
        return cursor.fetchall() if cursor.description is not None else []

    def stream(self, statement: Executable, params: Params = {}, /) -> Iterator[Row]:  # noqa: B006 - never changed
        """Run one statement and yield its rows as they are read: memory stays flat, however many there are."""
        sql, bind = compiled(self._dialect, statement)
        self.sent += 1
        if self.dialect_name == "sqlite":
            with contextlib.closing(self.driver.execute(sql, bind(params))) as cursor:
                yield from cursor
            return
        # psycopg's ordinary cursor reads everything before it gives the first row.
        with contextlib.closing(self.driver.cursor(f"zrb_{next(_cursors)}")) as cursor:
            cursor.execute(sql, bind(params))
            count = 10
            while rows := cursor.fetchmany(count):
                yield from rows
                self.sent += 1
                # As many as fit if they are like these: one value may have as many bytes as a thousand others.
                size = sum(len(field) for row in rows for field in row if type(field) is str)
                count = max(1, min(MOST_ROWS, 4 * count, MOST_BYTES * len(rows) // (size + 1)))

    def execute_many(self, statement: Executable, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement that returns nothing for each of `rows`, which have the values of `names` in that order."""
        sql, bind = compiled(self._dialect, statement)
        self.sent += 1
        places = bind({name: place for place, name in enumerate(names)})
        bound: Iterable[Any] = rows
        if isinstance(places, dict):  # the driver goes by names
            bound = ({name: row[place] for name, place in places.items()} for row in rows)
        elif list(places) != list(range(len(names))):
            bound = map(operator.itemgetter(*places), rows)
        self.driver.cursor().executemany(sql, bound)
