"""What SQLAlchemy needs to compile our statements: functions of our own, and a compiler for SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
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


class random_token(FunctionElement[int]):
    """A number that identifies a row beside its id."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(random_token, "sqlite")
def _sqlite_random_token(element: random_token, compiler: Any, **_: Any) -> str:
    return "random()"


@compiles(random_token, "postgresql")
def _postgresql_random_token(element: random_token, compiler: Any, **_: Any) -> str:
    return "CAST(random() * 9000000000000000 AS BIGINT)"


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
