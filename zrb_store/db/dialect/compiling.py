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
