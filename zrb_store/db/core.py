"""Statements: the means to write them, how each is built and compiled once, and their stored SQL on SQLite.

A statement is a function that returns a construct of SQLAlchemy Core. It is built when something needs it:

    @statement
    def _oldest(locked: bool) -> sa.Select[int]:
        found = sa.select(t.value.c.seq).order_by(t.value.c.seq).limit(literal(1))
        return found.with_for_update() if locked else found

    rows = executor.execute(_oldest(True), params)

Shared parts of statements are also functions; aliases are made once. Importing SQLAlchemy takes longer than most
commands; so `sa` and `t`, the tables, are modules that load at their first use, and SQLite's SQL of each
statement is in sqlite_statements.json, by module, function and arguments. `python docs/generate.py` writes it, and
one for the module `queries` of each wing, into its folder.
"""

from __future__ import annotations

import functools
import importlib
import json
import operator
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar

try:
    from _blake2 import blake2b  # hashlib also loads OpenSSL, for a tenth of the start of a command
except ImportError:  # it is no public module
    from hashlib import blake2b

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.sql import Executable
    from sqlalchemy.sql.compiler import SQLCompiler

    from zrb_store.db import tables as t
    from zrb_store.db.dialect import compiling
else:

    class _Module:
        """A module that is imported at its first use."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            found = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, found)
            return found

    sa = _Module("sqlalchemy")
    t = _Module("zrb_store.db.tables")
    compiling = _Module("zrb_store.db.dialect.compiling")

__all__ = ["compiling", "sa", "t"]  # what it imports for others
PATH = Path(__file__).with_name("sqlite_statements.json")
P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item", bound=int | str)
Construct = TypeVar("Construct", bound="Executable", covariant=True)
Params = Mapping[str, Any]
# Two threads must not build an alias twice, because a statement would contain both.
_building = threading.RLock()


def bindparam(name: str, type_: Any = None) -> sa.BindParameter[Any]:
    """Return a parameter of a statement."""
    return sa.bindparam(name, type_=type_)


def literal(item: Item) -> sa.ColumnClause[Item]:
    """Return a number or a word that is written into the SQL itself."""
    return sa.literal_column(f"'{item}'" if isinstance(item, str) else str(item))


def is_one_of(column: sa.ColumnElement[str], *words: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these words."""
    return column.in_([literal(word) for word in words])


def exists(*conditions: sa.ColumnElement[bool], rows: sa.FromClause | None = None) -> sa.Exists:
    """Return the condition that some row meets these conditions; with `rows`, a row of that table or join."""
    found = sa.select(literal(1)).where(*conditions)
    return sa.exists(found if rows is None else found.select_from(rows))


def made_once(build: Callable[P, T]) -> Callable[P, T]:
    """Let a function return the same alias each time: one that is made twice is two in a statement."""
    built: dict[Hashable, T] = {}

    @functools.wraps(build)
    def get(*args: P.args, **kwargs: P.kwargs) -> T:
        key = (args, *kwargs.items())
        with _building:
            if key not in built:
                # If a signal handler interrupts this and builds it too, the first one counts.
                built.setdefault(key, build(*args, **kwargs))
            return built[key]

    return get


class Statement(Generic[Construct]):
    """A statement that is built when its construct is needed. The key names it in the file."""

    def __init__(self, key: str, build: Callable[[], Construct]) -> None:
        self.key = key
        self._build = build

    @functools.cached_property
    def construct(self) -> Construct:
        """The Core construct, built at first use."""
        return self._build()


if TYPE_CHECKING:
    Runnable = Statement[Executable] | Executable
    """What an executor runs: a statement, or a construct that was put together of what a user gave."""

STATEMENTS: list[Callable[..., Executable]] = []
"""The functions that `statement` has decorated, for docs/generate.py."""


def statement(build: Callable[P, Construct]) -> Callable[P, Statement[Construct]]:
    """Let a function return its statement without building it: the same one for equal arguments (CONTRIBUTING.md)."""

    @functools.cache
    def made(*args: P.args, **kwargs: P.kwargs) -> Statement[Construct]:
        code = build.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = dict(zip(names, args, strict=False)) | kwargs
        key = f"{build.__module__}.{build.__name__}({', '.join(repr(given[name]) for name in names)})"
        return Statement(key, functools.partial(build, *args, **kwargs))

    STATEMENTS.append(build)
    return made  # type: ignore[return-value]  # a cache forgets the types of arguments


class Compiled(NamedTuple):
    """A statement as it is stored."""

    sql: str
    names: list[str] | None  # the order of its parameters, if the driver expects a sequence; None for a mapping
    constants: Params  # the values that the statement itself contains, by the names of their parameters
    writes: bool  # whether it changes rows


def compiled(dialect: sa.Dialect, construct: Executable) -> Compiled:
    """Compile a statement for a database."""
    result: SQLCompiler = construct.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    needed = {key for key, bind in result.binds.items() if bind.required}  # others that are None are constants
    constants = {key: value for key, value in result.params.items() if value is not None or key not in needed}
    return Compiled(str(result), result.positiontup, constants, bool(construct.is_dml))


class Ready(NamedTuple):
    """A statement as the driver runs it; `bind` converts parameters to the form that the driver expects."""

    sql: str
    bind: Callable[[Params], Any]
    writes: bool


def ready(statement: Runnable, dialect_name: str) -> Ready:
    """Return a statement as the driver of a database runs it."""
    return _once(statement, dialect_name) if isinstance(statement, Statement) else _compiled(statement, dialect_name)


@functools.cache
def _once(statement: Statement[Executable], dialect_name: str) -> Ready:
    stored = _stored(statement.key) if dialect_name == "sqlite" else None
    return _bound(stored) if stored else _compiled(statement.construct, dialect_name)


@functools.lru_cache(maxsize=8)  # whether it writes is asked before it runs
def _compiled(construct: Executable, dialect_name: str) -> Ready:
    return _bound(compiled(compiling.dialect(dialect_name), construct))


def _bound(found: Compiled) -> Ready:
    """Return a statement with what adds its constants to its parameters, in the form that the driver expects."""
    names, constants = found.names, found.constants

    def in_order(params: Params) -> list[Any]:
        return [params[name] if name in params else constants[name] for name in names or ()]

    def by_name(params: Params) -> Params:
        return {**constants, **params}

    if names is None:
        return Ready(found.sql, by_name if constants else dict, found.writes)
    is_plain = not constants and len(names) > 1
    return Ready(found.sql, operator.itemgetter(*names) if is_plain else in_order, found.writes)


def file_of(name: str) -> Path:
    """Return the file with the statements of a module: that of its wing, or that of the core."""
    top = name.split(".")[1]
    return PATH if top in ("db", "queries") else PATH.parents[1] / top / PATH.name


def _stored(key: str) -> Compiled | None:
    line = _lines(file_of(key)).get(json.dumps(key))
    return Compiled(*json.loads(line.rstrip(","))) if line else None  # only what is needed is parsed


@functools.cache
def _lines(path: Path) -> Mapping[str, str]:
    """Return the lines of a file by key; none if it was made from other sources than these, or if there is none."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = content.split("\n")[1:-2] if content.startswith(_first_line(path)) else []  # but for braces
    return {key: line for key, _, line in (each.partition(": ") for each in lines)}


def _first_line(path: Path) -> str:
    """Return the first line of a file, with a hash of every module that may build its statements or parts of them."""
    digest = blake2b(digest_size=10)
    for folder in (PATH.parent, PATH.parent / "dialect", PATH.parent.with_name("queries")):
        for source in sorted(folder.glob("*.py")):
            digest.update(f"{source.name}\n".encode() + source.read_bytes())
    if path != PATH:
        digest.update(path.with_name("queries.py").read_bytes())
    return f'{{"sources": "{digest.hexdigest()}",\n'


def file_content(path: Path, statements: Iterable[Statement[Executable]]) -> str:
    """Return the content of a file for these statements."""
    dialect = compiling.dialect("sqlite")
    found = {each.key: list(compiled(dialect, each.construct)) for each in statements}
    lines = (f"{json.dumps(key)}: {json.dumps(found[key], ensure_ascii=False)}" for key in sorted(found))
    return _first_line(path) + ",\n".join(lines) + "\n}\n"
