"""The SQL of statements on SQLite, compiled in advance, so that SQLAlchemy need not be imported to run them.

sqlite_statements.json contains it by a digest of the text of the statement (`deferred.text_of`). A statement that was
changed has another text, so it is compiled as if nothing were stored. `python docs/generate.py` writes the file.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zrb_store.db.deferred import Deferred, made, text_of

PATH = Path(__file__).with_name("sqlite_statements.json")


class Compiled(NamedTuple):
    """A statement as the driver gets it.

    Attributes:
        sql: Its SQL.
        names: The order of its parameters, if the driver expects a sequence; None if it expects a mapping.
        constants: The values that the statement itself contains, by the names of their parameters.
        writes: Whether it changes rows.
    """

    sql: str
    names: list[str] | None
    constants: Mapping[str, Any]
    writes: bool


def compile_statement(dialect: Any, statement: Any) -> Compiled:
    """Compile a statement for a database.

    Args:
        dialect: SQLAlchemy's dialect, or an expression that makes it.
        statement: SQLAlchemy's statement, or an expression that makes it.
    """
    statement = made(statement)
    result = statement.compile(dialect=made(dialect), compile_kwargs={"render_postcompile": True})
    constants = {key: value for key, value in result.params.items() if value is not None or not _is_open(result, key)}
    return Compiled(str(result), result.positiontup, constants, bool(statement.is_dml))


def _is_open(result: Any, key: str) -> bool:
    """Whether the parameter needs a value, rather than being a constant None."""
    bind = result.binds.get(key)
    return bind is not None and bind.required


def find(dialect: Any, statement: Any) -> Compiled | None:
    """Return the stored form of a statement, or None if none is stored: always, if the dialect is not deferred."""
    if type(dialect) is not Deferred or type(statement) is not Deferred:
        return None
    text = text_of(statement)
    if text is None:
        return None
    # Only the line that is needed is parsed.
    _, found, line = _stored().partition(f'\n"{_digest(text)}": ')
    return Compiled(*json.loads(line.partition("\n")[0].rstrip(","))) if found else None


@functools.cache
def _stored() -> str:
    try:
        return PATH.read_text(encoding="utf-8")
    except FileNotFoundError:  # it is being generated for the first time
        return ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def stored_form(dialect: Any, statements: Iterable[Deferred]) -> str:
    """Return the content of the file for these statements. Those that are only parts of others are left out."""
    from sqlalchemy.sql import Executable  # late: this module exists in order not to need it

    found = {}
    for statement in statements:
        if (text := text_of(statement)) and isinstance(made(statement), Executable):
            found[_digest(text)] = list(compile_statement(dialect, statement))
    lines = (f"{json.dumps(digest)}: {json.dumps(found[digest], ensure_ascii=False)}" for digest in sorted(found))
    return "{\n" + ",\n".join(lines) + "\n}\n"
