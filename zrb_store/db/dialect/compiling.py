"""What SQLAlchemy needs to compile our statements: functions of our own, and a compiler for SQLite."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[int]):
    """The database's clock, in microseconds since 1970, at the moment of evaluation rather than of the transaction."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **_: Any) -> str:
    return "(zrb_now() / 1000)"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


class tick(FunctionElement[int]):
    """The tick of a change of a queue: it comes after the last event, and before the next one."""

    type = sa.BigInteger()
    inherit_cache = True


class next_tick(FunctionElement[int]):
    """The tick of an event: an attempt begins or ends. On SQLite a trigger moves the clock on (`db/tables.py`)."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(tick, "sqlite")
def _sqlite_tick(element: tick, compiler: Any, **_: Any) -> str:
    return "(SELECT tick FROM zrb_clock)"


@compiles(next_tick, "sqlite")
def _sqlite_next_tick(element: next_tick, compiler: Any, **_: Any) -> str:
    return "(SELECT tick + 1 FROM zrb_clock)"


@compiles(tick, "postgresql")
@compiles(next_tick, "postgresql")
def _postgresql_tick(element: FunctionElement[int], compiler: Any, **_: Any) -> str:
    return "nextval('zrb_tick')"


class new_id(FunctionElement[int]):
    """An id for a new row of the table that is its argument, higher than those that there are, and part of it random.

    Restored from a copy, a store counts on from where the copy was made. Were ids consecutive, a process that has the
    store open would take the rows of others for those that it knows.
    """

    type = sa.BigInteger()
    inherit_cache = True


@compiles(new_id, "sqlite")
def _sqlite_new_id(element: new_id, compiler: Any, **options: Any) -> str:
    table = compiler.process(element.clauses, **options)
    return f"((SELECT coalesce(max(id), 0) FROM {table}) + 1 + (random() & 268435455))"


@compiles(new_id, "postgresql")
def _postgresql_new_id(element: new_id, compiler: Any, **options: Any) -> str:
    table = compiler.process(element.clauses, **options)
    return f"(nextval('{table}_id_seq') * 268435456 + CAST(floor(random() * 268435456) AS BIGINT))"


class new_ids(FunctionElement[int]):
    """Ids as `new_id` gives them, for several rows of one statement: for a table, in the order of a column."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(new_ids, "sqlite")
def _sqlite_new_ids(element: new_ids, compiler: Any, **options: Any) -> str:
    table, order = (compiler.process(clause, **options) for clause in element.clauses)
    first = f"(SELECT coalesce(max(id), 0) + (random() & 268435455) FROM {table})"  # the same for all rows
    return f"({first} + row_number() OVER (ORDER BY {order}))"


@compiles(new_ids, "postgresql")
def _postgresql_new_ids(element: new_ids, compiler: Any, **options: Any) -> str:
    table, _ = element.clauses
    return _postgresql_new_id(new_id(table), compiler, **options)


class byte_length(FunctionElement[int]):
    """The size of a text in bytes, as UTF-8."""

    type = sa.Integer()
    inherit_cache = True


@compiles(byte_length, "sqlite")
def _sqlite_byte_length(element: byte_length, compiler: Any, **options: Any) -> str:
    # SQLite has octet_length only since 3.43. Its length() counts characters, and only up to a NUL.
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


@compiles(byte_length, "postgresql")
def _postgresql_byte_length(element: byte_length, compiler: Any, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


class short_text(FunctionElement[str]):
    """The text of a value of `zrb_value`, or nothing if that takes more than a look (`queries/chunks.py`)."""

    type = sa.Text()
    inherit_cache = True


class whole_text(FunctionElement[str]):
    """The text of a value of `zrb_value`, however long it is."""

    type = sa.Text()
    inherit_cache = True


# These are SQL, because SQLAlchemy leaves out the names of tables in what an UPDATE returns on SQLite.
_OF_VALUE = "{0}.queue_id = zrb_value.queue_id AND {0}.seq = zrb_value.seq"
_MORE = f"SELECT 1 FROM zrb_chunk AS more WHERE {_OF_VALUE.format('more')} AND more.number = 1"
_FIRST = f"SELECT chunk.data FROM zrb_chunk AS chunk WHERE {_OF_VALUE.format('chunk')} AND chunk.number = 0"
_IN_ORDER = (
    f"SELECT chunk.data, chunk.number FROM zrb_chunk AS chunk WHERE {_OF_VALUE.format('chunk')} ORDER BY chunk.number"
)


def _text(in_chunks: str) -> str:
    return f"CASE WHEN zrb_value.data = '' THEN coalesce(({in_chunks}), '') ELSE zrb_value.data END"


@compiles(short_text, "sqlite")
def _sqlite_short_text(element: short_text, compiler: Any, **_: Any) -> str:
    return _text(f"{_FIRST} AND NOT EXISTS ({_MORE})")


@compiles(short_text, "postgresql")
def _postgresql_short_text(element: short_text, compiler: Any, **_: Any) -> str:
    return "zrb_value.data"  # even if no value has chunks, to look for them would take 6 us more


@compiles(whole_text, "sqlite")
def _sqlite_whole_text(element: whole_text, compiler: Any, **_: Any) -> str:
    # SQLite has an ORDER BY in group_concat() only since 3.44.
    return _text(f"SELECT group_concat(in_order.data, '') FROM ({_IN_ORDER}) AS in_order")


@compiles(whole_text, "postgresql")
def _postgresql_whole_text(element: whole_text, compiler: Any, **_: Any) -> str:
    return _text(f"SELECT string_agg(in_order.data, '' ORDER BY in_order.number) FROM ({_IN_ORDER}) AS in_order")


class _Compiler(SQLiteCompiler):
    """A compiler that keeps `INDEXED BY`, which SQLAlchemy drops, and adds no `OFFSET ?` where there is no offset."""

    limit_clause = SQLCompiler.limit_clause

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        return text


def sqlite_engine(connect: Callable[[], sqlite3.Connection]) -> sa.Engine:
    """Return an engine for SQLite with our compiler, which opens its connections by `connect`."""
    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    engine.dialect.statement_compiler = _Compiler
    return engine


@functools.cache
def dialect(name: str) -> sa.Dialect:
    """Return the dialect that compiles statements for a database."""
    if name == "sqlite":
        found: sa.Dialect = SQLiteDialect_pysqlite()
        found.statement_compiler = _Compiler
        return found
    return PGDialect_psycopg()  # type: ignore[no-untyped-call]
