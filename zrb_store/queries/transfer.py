"""The rows of a session as records that name each other by name instead of id, read and written as a stream."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store import columns
from zrb_store.db.dialect import bytewise, insert_if_absent
from zrb_store.db.tables import attempt, change, queue, returned, run, session, value
from zrb_store.db.transaction import Executor, Transaction

Record = dict[str, Any]
"""`kind` (session, run, queue, attempt, value, return or change) and the fields of one row."""

_ATTEMPT_LINKS = ("id", "session_id", "run_id", "result_queue_id")


def _columns(table: sa.Table, *without: str) -> list[sa.Column[Any]]:
    return [column for column in table.c if column.name not in without]


SESSION = _columns(session, "id")
RUN = _columns(run, "id", "session_id")
QUEUE = _columns(queue, "id", "session_id")
ATTEMPT = _columns(attempt, *_ATTEMPT_LINKS)
VALUE = _columns(value, "queue_id", "pushed_by", "taken_by")
RETURN = _columns(returned, "id", "queue_id", "taken_by")
CHANGE = _columns(change, "id", "session")


def _record(kind: str, columns: Sequence[sa.Column[Any]], row: Sequence[Any], **links: Any) -> Record:
    fields = {
        column.name: bool(field) if isinstance(column.type, sa.Boolean) and field in (0, 1) else field
        for column, field in zip(columns, row, strict=False)
    }
    return {"kind": kind, **links, **fields}


# -- reading

_COUNT = sa.select(sa.func.count()).select_from(session)
_SESSION = sa.select(*SESSION, session.c.id).where(session.c.name == bindparam("name"))
_OF_SESSION = bindparam("session_id", type_=session.c.id.type)
_RUNS = sa.select(*RUN).where(run.c.session_id == _OF_SESSION).order_by(run.c.number)
_numbers = sa.select(sa.func.min(value.c.seq), sa.func.max(value.c.seq)).where(
    value.c.queue_id == bindparam("queue_id", type_=queue.c.id.type)
)
_QUEUES = sa.select(*QUEUE, queue.c.id).where(queue.c.session_id == _OF_SESSION).order_by(queue.c.id)
_ATTEMPTS = (
    sa.select(*ATTEMPT, run.c.number, queue.c.name)
    .select_from(
        attempt.outerjoin(run, run.c.id == attempt.c.run_id).outerjoin(
            queue, sa.and_(queue.c.id == attempt.c.result_queue_id, queue.c.session_id == attempt.c.session_id)
        )
    )
    .where(attempt.c.session_id == _OF_SESSION)
    # The sign keeps SQLite from walking the whole table by id.
    .order_by(sa.literal_column("+zrb_attempt.id"))
)
_pusher, _taker = attempt.alias("pusher"), attempt.alias("taker")
_home_of_pusher, _home_of_taker = session.alias("home_of_pusher"), session.alias("home_of_taker")
_PUSHER = (_home_of_pusher.c.name, _pusher.c.task, _pusher.c.number)
_TAKER = (_home_of_taker.c.name, _taker.c.task, _taker.c.number)
_VALUES = (
    sa.select(*VALUE, *_PUSHER, *_TAKER)
    .select_from(
        value.outerjoin(_pusher, _pusher.c.id == value.c.pushed_by)
        .outerjoin(_home_of_pusher, _home_of_pusher.c.id == _pusher.c.session_id)
        .outerjoin(_taker, _taker.c.id == value.c.taken_by)
        .outerjoin(_home_of_taker, _home_of_taker.c.id == _taker.c.session_id)
    )
    .where(value.c.queue_id == bindparam("queue_id"))
    .order_by(value.c.seq)
)
_RETURNS = (
    sa.select(*RETURN, *_TAKER)
    .select_from(
        returned.outerjoin(_taker, _taker.c.id == returned.c.taken_by).outerjoin(
            _home_of_taker, _home_of_taker.c.id == _taker.c.session_id
        )
    )
    .where(returned.c.queue_id == bindparam("queue_id"))
    .order_by(returned.c.seq, returned.c.id)
)
_CHANGES = (
    sa.select(*CHANGE)
    .where(
        change.c.session == bindparam("name"),
        change.c.action.not_in([sa.literal_column("'import'"), sa.literal_column("'copy'")]),
    )
    .order_by(change.c.id)
)
"""How a session came into its store is of that store, and does not travel."""


@functools.cache
def _names(dialect_name: str) -> Any:
    return sa.select(session.c.name).order_by(session.c.created_at, bytewise(dialect_name, session.c.name))


def names(transaction: Transaction) -> Iterator[str]:
    """The name of every session, oldest first."""
    return (name for (name,) in transaction.stream(_names(transaction.dialect_name)))


def count(executor: Executor) -> int:
    """How many sessions there are."""
    number: int = executor.execute(_COUNT)[0][0]
    return number


def read(transaction: Transaction, name: str) -> Iterator[Record]:
    """A session and everything in it, each record after those of the session that it names."""
    for *fields, session_id in transaction.execute(_SESSION, {"name": name}):
        of = {"session_id": session_id}
        yield _record("session", SESSION, fields)
        for row in transaction.stream(_RUNS, of):
            yield _record("run", RUN, row)
        queues = transaction.execute(_QUEUES, of)
        for row in queues:
            found = _record("queue", QUEUE, row)
            lowest, highest = transaction.execute(_numbers, {"queue_id": row[-1]})[0]
            if lowest is not None and type(found["low"]) is type(found["high"]) is int:
                # PostgreSQL counts with them, SQLite looks at the rows as well: written so that both go on alike.
                found["low"], found["high"] = min(found["low"], lowest), max(found["high"], highest)
            yield found
        for *fields, run_number, queue_name in transaction.stream(_ATTEMPTS, of):
            yield _record("attempt", ATTEMPT, fields, run=run_number, result_queue=queue_name)
        for row in queues:
            yield from _read_values(transaction, row[-1], row[0])
        for row in transaction.stream(_CHANGES, {"name": name}):
            yield _record("change", CHANGE, row)


def _read_values(transaction: Transaction, queue_id: int, queue_name: str) -> Iterator[Record]:
    # Both streams are in the order of seq.
    returns = transaction.stream(_RETURNS, {"queue_id": queue_id})
    back = next(returns, None)
    for row in transaction.stream(_VALUES, {"queue_id": queue_id}):
        owners = {"pushed_by": _owner(row[-6:-3]), "taken_by": _owner(row[-3:])}
        yield _record("value", VALUE, row, queue=queue_name, **owners)
        while back is not None and back[0] <= row[0]:
            yield _record("return", RETURN, back, queue=queue_name, taken_by=_owner(back[-3:]))
            back = next(returns, None)


_NUMBER = columns.ATTEMPT["number"]


def _owner(owner: Sequence[Any]) -> str | None:
    # A number that cannot be is of an attempt whose session does not travel.
    return None if owner[0] is None or _NUMBER.problem(owner[2]) else f"{owner[0]}/{owner[1]}#{owner[2]}"


# -- writing


@functools.cache
def _create(dialect_name: str) -> Any:
    values: dict[str, Any] = {column.name: bindparam(column.name) for column in SESSION}
    return insert_if_absent(dialect_name, session).values(values).returning(session.c.id)


def _insert(table: sa.Table, columns: Sequence[sa.Column[Any]], *links: str) -> tuple[sa.Insert, list[str]]:
    names = [*links, *(column.name for column in columns)]
    return sa.insert(table).values({name: bindparam(name) for name in names}), names


_ADD = {
    "run": _insert(run, RUN, "session_id")[0].returning(run.c.id),
    "queue": _insert(queue, QUEUE, "session_id")[0].returning(queue.c.id),
    "attempt": _insert(attempt, ATTEMPT, *_ATTEMPT_LINKS[1:])[0].returning(attempt.c.id),
}
_ADD_MANY = {
    "value": _insert(value, VALUE, "queue_id", "pushed_by", "taken_by"),
    "return": _insert(returned, RETURN, "queue_id", "taken_by"),
    "change": _insert(change, CHANGE, "session"),
}


def add_session(executor: Executor, fields: Record) -> int | None:
    """Write a session; returns its id, or None if there is one of that name."""
    rows = executor.execute(_create(executor.dialect_name), fields)
    return rows[0][0] if rows else None


def add(executor: Executor, fields: Record) -> int:
    """Write a run, queue or attempt with its links as ids; returns its id."""
    new_id: int = executor.execute(_ADD[fields["kind"]], fields)[0][0]
    return new_id


def add_many(transaction: Transaction, kind: str, rows: Sequence[Record]) -> None:
    """Write values, returns or changes with their links."""
    statement, names = _ADD_MANY[kind]
    transaction.execute_many(statement, names, map(operator.itemgetter(*names), rows))


_SEQ, _AT = bindparam("of_seq", type_=sa.BigInteger), bindparam("at", type_=sa.BigInteger)


def _give(link: sa.Column[Any], moment: sa.Column[Any], *conditions: Any) -> Any:
    table = link.table
    here = (table.c.queue_id == bindparam("of_queue"), table.c.seq == _SEQ, moment == _AT, link.is_(None))
    return sa.update(table).where(*here, *conditions).values({link.name: bindparam("owner")})


_new_owner = attempt.alias("new_owner")
_is_new_owner = _new_owner.c.id == bindparam("owner", type_=attempt.c.id.type)
_one: sa.ColumnClause[Any] = sa.literal_column("1")
_given_back = sa.exists(sa.select(_one).where(_is_new_owner, _new_owner.c.given_back_at.is_not(None)))
_is_check = sa.exists(sa.select(_one).where(_is_new_owner, _new_owner.c.role == sa.literal_column("'check'")))
_undone = sa.or_(value.c.state == sa.literal_column("'retracted'"), value.c.orphaned)
_GIVE = {
    "pushed_by": _give(
        value.c.pushed_by,
        value.c.pushed_at,
        sa.or_(sa.and_(_given_back, _undone), sa.and_(~_given_back, sa.or_(sa.not_(value.c.orphaned), _is_check))),
    ),
    "taken_by": _give(value.c.taken_by, value.c.ended_at, ~_given_back),
    "returned": _give(returned.c.taken_by, returned.c.returned_at),
}


def give_owner(executor: Executor, link: str, queue_id: int, seq: int, at: int, attempt_id: int) -> None:
    """Let an attempt own a value that was written without owner, if the value is still as it was then.

    Not if that cannot be: the attempt was given back, and the value shows nothing of it.

    Args:
        executor: The open transaction.
        link: `pushed_by`, `taken_by` or `returned`.
        queue_id: Id of the value's queue.
        seq: The value's seq.
        at: When it was pushed, taken or returned.
        attempt_id: The owner.
    """
    executor.execute(_GIVE[link], {"of_queue": queue_id, "of_seq": seq, "at": at, "owner": attempt_id})
