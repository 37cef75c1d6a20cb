"""What SQLAlchemy needs to compile our statements: a function of our own, and a compiler for SQLite."""

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
