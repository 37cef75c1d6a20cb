"""What `export` and `copy` read: a session and everything in it, as a stream of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store.db import columns
from zrb_store.db.dialect import whole_text
from zrb_store.db.tables import attempt, change, output, queue, returned, run, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.names import full_name
from zrb_store.queries.joined_attempts import pusher, taker
from zrb_store.queries.transfer import ATTEMPT, CHANGE, OUTPUT, QUEUE, RETURN, RUN, SESSION, VALUE, Record

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
