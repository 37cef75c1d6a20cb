"""What `import` and `copy` write: records whose names were replaced by ids."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store.db.chunks import long_from
from zrb_store.db.dialect import insert_if_absent, new_id
from zrb_store.db.tables import attempt, change, output, queue, returned, run, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import chunks
from zrb_store.queries.transfer import (
    ATTEMPT,
    ATTEMPT_LINKS,
    CHANGE,
    OUTPUT,
    QUEUE,
    RETURN,
    RUN,
    SESSION,
    VALUE,
    Record,
)
from zrb_store.records import UNSUCCESSFUL


@functools.cache
def _create(dialect_name: str) -> Any:
    values: dict[str, Any] = {column.name: bindparam(column.name) for column in SESSION}
    values["id"] = new_id("zrb_session")
    return insert_if_absent(dialect_name, session).values(values).returning(session.c.id)


def _insert(table: sa.Table, columns: Sequence[sa.Column[Any]], *links: str) -> tuple[sa.Insert, list[str]]:
    names = [*links, *(column.name for column in columns)]
    return sa.insert(table).values({name: bindparam(name) for name in names}), names


def _insert_one(table: sa.Table, columns: Sequence[sa.Column[Any]], *links: str) -> Any:
    insert, _ = _insert(table, columns, *links)
    return insert.values(id=new_id(table.name)).returning(table.c.id)


_ADD = {
    "run": _insert_one(run, RUN, "session_id"),
    "queue": _insert_one(queue, QUEUE, "session_id"),
    "attempt": _insert_one(attempt, ATTEMPT, *ATTEMPT_LINKS[1:]),
}
_ADD_MANY = {
    "output": _insert(output, OUTPUT, "attempt_id"),
    "value": _insert(value, VALUE, "queue_id", "pushed_by", "taken_by"),
    "return": _insert(returned, RETURN, "queue_id", "taken_by"),
    "change": _insert(change, CHANGE, "session"),
}


def add_session(executor: Executor, fields: Record) -> int | None:
    """Write a session. Return its id, or None if a session of that name exists."""
    rows = executor.execute(_create(executor.dialect_name), fields)
    return rows[0][0] if rows else None


def add(executor: Executor, fields: Record) -> int:
    """Write a run, a queue or an attempt that refers to other rows by id. Return its id."""
    row_id: int = executor.execute(_ADD[fields["kind"]], fields)[0][0]
    return row_id


def add_many(transaction: Transaction, kind: str, rows: Sequence[Record]) -> None:
    """Write output, values, returns or changes that refer to other rows by id."""
    statement, names = _ADD_MANY[kind]
    least = long_from(transaction.dialect_name)
    long = [row for row in rows if kind == "value" and row["size"] >= least]
    texts = [row["data"] for row in long]
    for row in long:
        row["data"] = ""
    transaction.execute_many(statement, names, map(operator.itemgetter(*names), rows))
    for row, text in zip(long, texts, strict=True):
        chunks.add(transaction, row["queue_id"], row["seq"], text)


_SEQ, _AT = bindparam("of_seq", type_=sa.BigInteger), bindparam("at", type_=sa.BigInteger)


def _set_owner(link: sa.Column[Any], moment: sa.Column[Any], *conditions: Any) -> Any:
    table = link.table
    here = (table.c.queue_id == bindparam("of_queue"), table.c.seq == _SEQ, moment == _AT, link.is_(None))
    return sa.update(table).where(*here, *conditions).values({link.name: bindparam("owner")})


_new_owner = attempt.alias("new_owner")
_is_new_owner = _new_owner.c.id == bindparam("owner", type_=attempt.c.id.type)
_one: sa.ColumnClause[Any] = sa.literal_column("1")
_given_back = sa.exists(sa.select(_one).where(_is_new_owner, _new_owner.c.given_back_at.is_not(None)))
# An attempt that did not complete has undone what it did to other sessions, though it was not given back. A check is
# opened again after it was given back.
_may_orphan = sa.exists(
    sa.select(_one).where(
        _is_new_owner,
        sa.or_(
            _new_owner.c.role == sa.literal_column("'check'"),
            _new_owner.c.status.in_([sa.literal_column(f"'{status}'") for status in UNSUCCESSFUL]),
        ),
    )
)
_undone = sa.or_(value.c.state == sa.literal_column("'retracted'"), value.c.orphaned)
_SET_OWNER = {
    "pushed_by": _set_owner(
        value.c.pushed_by,
        value.c.pushed_at,
        sa.or_(sa.and_(_given_back, _undone), sa.and_(~_given_back, sa.or_(sa.not_(value.c.orphaned), _may_orphan))),
    ),
    "taken_by": _set_owner(value.c.taken_by, value.c.ended_at, ~_given_back),
    "returned": _set_owner(returned.c.taken_by, returned.c.returned_at),
}


def set_owner(executor: Executor, link: str, queue_id: int, seq: int, at: int, attempt_id: int) -> None:
    """Set the owner of a value that was written without one, if the value has not changed since.

    Nothing is set if that would contradict the rows, for example if the attempt was given back and the value was not.

    Args:
        executor: The open transaction.
        link: `pushed_by`, `taken_by` or `returned`.
        queue_id: Id of the value's queue.
        seq: The value's seq.
        at: When the value was pushed, taken or returned.
        attempt_id: The owner.
    """
    executor.execute(_SET_OWNER[link], {"of_queue": queue_id, "of_seq": seq, "at": at, "owner": attempt_id})
