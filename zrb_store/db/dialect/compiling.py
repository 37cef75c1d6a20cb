"""What SQLAlchemy needs to compile our statements: expressions that differ between databases, and SQLite's compiler."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

T = TypeVar("T")


class Expression(FunctionElement[T]):
    """An expression that is written differently for each database; `{0}` stands for its first argument."""

    inherit_cache = False  # the key of SQLAlchemy's cache would lack the SQL

    def __init__(self, type_: TypeEngine[T], *arguments: sa.ColumnElement[Any], sqlite: str, postgresql: str) -> None:
        super().__init__(*arguments)
        self.type = type_
        self.templates = {"sqlite": sqlite, "postgresql": postgresql}


@compiles(Expression)
def _expression(element: Expression[Any], compiler: SQLCompiler, **options: Any) -> str:
    arguments = (compiler.process(each, **options) for each in element.clauses)
    return element.templates[compiler.dialect.name].format(*arguments)


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
