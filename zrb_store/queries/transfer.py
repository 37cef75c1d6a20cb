"""What `export`, `import` and `copy` read and write: rows that refer to each other by name instead of id."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store.db import columns
from zrb_store.db.dialect import insert_if_absent, new_id, whole_text
from zrb_store.db.tables import attempt, change, output, queue, returned, run, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.names import full_name
from zrb_store.queries import chunks
from zrb_store.queries.attempts import pusher, taker
from zrb_store.queries.chunks import long_from
from zrb_store.records import UNSUCCESSFUL

Record = dict[str, Any]
"""`kind` (session, run, queue, attempt, output, value, return or change) and the fields of one row."""

ATTEMPT_LINKS = ("id", "session_id", "run_id", "result_queue_id", "parent_id")
_COMMAND = ("command_pid", "command_started")  # a process means nothing in another store


def _columns(table: sa.Table, *without: str) -> list[sa.Column[Any]]:
    return [column for column in table.c if column.name not in without]


SESSION = _columns(session, "id")
RUN = _columns(run, "id", "session_id", "suspected_at")  # a suspicion means nothing in another store
QUEUE = _columns(queue, "id", "session_id")
ATTEMPT = _columns(attempt, *ATTEMPT_LINKS, *_COMMAND)
OUTPUT = _columns(output, "attempt_id")
VALUE = _columns(value, "queue_id", "pushed_by", "taken_by")
RETURN = _columns(returned, "id", "queue_id", "taken_by")
CHANGE = _columns(change, "id", "session")

# -- reading

_COUNT = sa.select(sa.func.count()).select_from(session)
_SESSION = sa.select(*SESSION, session.c.id).where(session.c.name == bindparam("name"))
_OF_SESSION = bindparam("session_id", type_=session.c.id.type)
_RUNS = sa.select(*RUN).where(run.c.session_id == _OF_SESSION).order_by(run.c.number)
_numbers = sa.select(sa.func.min(value.c.seq), sa.func.max(value.c.seq)).where(
    value.c.queue_id == bindparam("queue_id", type_=queue.c.id.type)
)
_QUEUES = sa.select(*QUEUE, queue.c.id).where(queue.c.session_id == _OF_SESSION).order_by(queue.c.id)
_parent = attempt.alias("parent")
_ATTEMPTS = (
    sa.select(*ATTEMPT, run.c.number, queue.c.name, _parent.c.task, _parent.c.number)
    .select_from(
        attempt.outerjoin(run, run.c.id == attempt.c.run_id)
        .outerjoin(queue, sa.and_(queue.c.id == attempt.c.result_queue_id, queue.c.session_id == attempt.c.session_id))
        .outerjoin(_parent, sa.and_(_parent.c.id == attempt.c.parent_id, _parent.c.session_id == attempt.c.session_id))
    )
    .where(attempt.c.session_id == _OF_SESSION)
    # The plus sign keeps SQLite from walking the whole table by id.
    .order_by(sa.literal_column("+zrb_attempt.id"))
)
_OUTPUT = (
    sa.select(*OUTPUT, attempt.c.task, attempt.c.number)
    .select_from(attempt.join(output, output.c.attempt_id == attempt.c.id))
    .where(attempt.c.session_id == _OF_SESSION)
    .order_by(sa.literal_column("+zrb_attempt.id"), output.c.piece)
)
_VALUES = (
    sa.select(*(whole_text() if column is value.c.data else column for column in VALUE), *pusher().name, *taker().name)
    .select_from(taker().join(pusher().join(value, value.c.pushed_by), value.c.taken_by))
    .where(value.c.queue_id == bindparam("queue_id"))
    .order_by(value.c.seq)
)
_RETURNS = (
    sa.select(*RETURN, *taker().name)
    .select_from(taker().join(returned, returned.c.taken_by))
    .where(returned.c.queue_id == bindparam("queue_id"))
    .order_by(returned.c.seq, returned.c.id)
)
# Without the imports and copies that brought the session into this store, which mean nothing in another one.
_CHANGES = (
    sa.select(*CHANGE)
    .where(
        change.c.session == bindparam("name"),
        change.c.action.not_in([sa.literal_column("'import'"), sa.literal_column("'copy'")]),
    )
    .order_by(change.c.id)
)


_NAMES = sa.select(session.c.name).order_by(session.c.id)


def names(transaction: Transaction) -> Iterator[str]:
    """Yield the names of all sessions, the oldest first."""
    return (name for (name,) in transaction.stream(_NAMES))


def count(executor: Executor) -> int:
    """Count the sessions."""
    number: int = executor.execute(_COUNT)[0][0]
    return number


def read(transaction: Transaction, name: str) -> Iterator[Record]:
    """Yield a session and everything in it. Each record comes after those that it refers to."""
    for *fields, session_id in transaction.execute(_SESSION, {"name": name}):
        params = {"session_id": session_id}
        yield _record("session", SESSION, fields)
        for row in transaction.stream(_RUNS, params):
            yield _record("run", RUN, row)
        queue_names: dict[int, str] = {}
        for *fields, queue_id in transaction.execute(_QUEUES, params):
            found = _record("queue", QUEUE, fields)
            queue_names[queue_id] = found["name"]
            lowest, highest = transaction.execute(_numbers, {"queue_id": queue_id})[0]
            if lowest is not None and type(found["low"]) is type(found["high"]) is int:
                # SQLite numbers values by the rows as well, PostgreSQL by these two alone. Make both continue alike.
                found["low"], found["high"] = min(found["low"], lowest), max(found["high"], highest)
            yield found
        for *fields, run_number, queue_name, parent_task, parent_number in transaction.stream(_ATTEMPTS, params):
            parent = None if parent_task is None else _owner(name, parent_task, parent_number)
            yield _record("attempt", ATTEMPT, fields, run=run_number, result_queue=queue_name, parent=parent)
        for *fields, task, number in transaction.stream(_OUTPUT, params):
            yield _record("output", OUTPUT, fields, attempt=_owner(name, task, number))
        for queue_id, name_of_queue in queue_names.items():
            yield from _read_values(transaction, queue_id, name_of_queue)
        for row in transaction.stream(_CHANGES, {"name": name}):
            yield _record("change", CHANGE, row)


def _read_values(transaction: Transaction, queue_id: int, queue_name: str) -> Iterator[Record]:
    # Both streams are in the order of seq.
    returns = _read_returns(transaction, queue_id, queue_name)
    next_return = next(returns, None)
    for row in transaction.stream(_VALUES, {"queue_id": queue_id}):
        *fields, pusher_session, pusher_task, pusher_number, taker_session, taker_task, taker_number = row
        owners = {
            "pushed_by": _owner(pusher_session, pusher_task, pusher_number),
            "taken_by": _owner(taker_session, taker_task, taker_number),
        }
        found = _record("value", VALUE, fields, queue=queue_name, **owners)
        seq = found["seq"]
        yield found
        while next_return is not None and next_return["seq"] <= seq:
            yield next_return
            next_return = next(returns, None)


def _read_returns(transaction: Transaction, queue_id: int, queue_name: str) -> Iterator[Record]:
    for *fields, session_name, task, number in transaction.stream(_RETURNS, {"queue_id": queue_id}):
        yield _record("return", RETURN, fields, queue=queue_name, taken_by=_owner(session_name, task, number))


_NUMBER = columns.ATTEMPT["number"]


def _owner(session_name: str | None, task: str, number: int) -> str | None:
    # An attempt with an invalid number belongs to a session that is damaged, and so is not exported.
    return None if session_name is None or _NUMBER.problem(number) else full_name(session_name, task, number)


def _record(kind: str, columns: Sequence[sa.Column[Any]], row: Sequence[Any], **links: Any) -> Record:
    fields = {
        column.name: bool(field) if isinstance(column.type, sa.Boolean) and field in (0, 1) else field
        for column, field in zip(columns, row, strict=True)
    }
    return {"kind": kind, **links, **fields}


# -- writing


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
        link: `pushed_by`, `taken_by` or `returned`.
        queue_id: Id of the value's queue.
        seq: The value's seq.
        at: When the value was pushed, taken or returned.
        attempt_id: The owner.
    """
    executor.execute(_SET_OWNER[link], {"of_queue": queue_id, "of_seq": seq, "at": at, "owner": attempt_id})
