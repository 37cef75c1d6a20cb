"""The rows that `export`, `import` and `copy` read and write, which refer to each other by name instead of id."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from zrb_store.db import columns
from zrb_store.db.columns import Cell, Columns
from zrb_store.db.core import bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import insert_if_absent, new_id, whole_text
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.names import full_name
from zrb_store.queries import chunks
from zrb_store.queries.attempts import attempt_as
from zrb_store.queries.history import pusher, taker
from zrb_store.records import UNFINISHED

RecordKind = Literal["session", "run", "queue", "attempt", "output", "value", "return", "replaced", "change"]
Batched = Literal["output", "value", "return", "replaced", "change"]
Record = dict[str, Any]
"""`record` (session, run, queue, attempt, output, value, return, replaced or change) and the fields of one row."""


def _without(table: Columns, *names: str) -> Columns:
    return {name: rule for name, rule in table.items() if name not in names}


COPIED: Mapping[RecordKind, Columns] = {
    "session": _without(columns.SESSION, "id", "identity"),
    "run": _without(columns.RUN, "id", "session_id", "suspected_at"),  # a suspicion means nothing in another store
    "queue": _without(columns.QUEUE, "id", "session_id"),
    # Nor does the process of a command, or that a running script has come to a step.
    "attempt": _without(
        columns.ATTEMPT,
        *("id", "session_id", "run_id", "result_queue_id", "parent_id", "command_pid", "command_started", "used_by"),
    ),
    "output": _without(columns.OUTPUT, "attempt_id"),
    "value": _without(columns.VALUE, "queue_id", "pushed_by", "taken_by"),
    "return": _without(columns.RETURN, "id", "queue_id", "taken_by"),
    "replaced": _without(columns.REPLACED, "id", "queue_id"),
    "change": _without(columns.CHANGE, "id", "session"),
}
"""The columns that are copied, by the kind of record."""

# -- reading


@statement
def _names() -> sa.Select[str]:
    return sa.select(t.session.c.name).order_by(t.session.c.id)


def names(transaction: Transaction) -> Iterator[str]:
    """Yield the names of all sessions, the oldest first."""
    return (name for (name,) in transaction.stream(_names()))


def _table(kind: RecordKind) -> sa.Table:
    return t.metadata.tables[f"zrb_{kind}"]


def _of_session() -> sa.BindParameter[int]:
    return bindparam("session_id", type_=t.session.c.id.type)


@statement
def _rows(kind: RecordKind) -> sa.Select[*Row]:
    """Select the rows of a session, or the values or returns of a queue, with what names the rows they refer to."""
    columns = [_table(kind).c[name] for name in COPIED[kind]]
    rows = sa.select(*columns)
    # The plus sign keeps SQLite from walking the whole table by id.
    by_attempt: sa.ColumnClause[int] = sa.literal_column("+zrb_attempt.id")
    match kind:
        case "session":
            return rows.add_columns(t.session.c.id).where(t.session.c.name == bindparam("name"))
        case "run":
            return rows.where(t.run.c.session_id == _of_session()).order_by(t.run.c.number)
        case "queue":
            return rows.add_columns(t.queue.c.id).where(t.queue.c.session_id == _of_session()).order_by(t.queue.c.id)
        case "attempt":
            parent = attempt_as("parent")
            own_queue = sa.and_(
                t.queue.c.id == t.attempt.c.result_queue_id, t.queue.c.session_id == t.attempt.c.session_id
            )
            own_parent = sa.and_(parent.c.id == t.attempt.c.parent_id, parent.c.session_id == t.attempt.c.session_id)
            return (
                rows.add_columns(t.run.c.number, t.queue.c.name, parent.c.task, parent.c.number)
                .select_from(
                    t.attempt.outerjoin(t.run, t.run.c.id == t.attempt.c.run_id)
                    .outerjoin(t.queue, own_queue)
                    .outerjoin(parent, own_parent)
                )
                .where(t.attempt.c.session_id == _of_session())
                .order_by(by_attempt)
            )
        case "output":
            return (
                rows.add_columns(t.attempt.c.task, t.attempt.c.number)
                .select_from(t.attempt.join(t.output))
                .where(t.attempt.c.session_id == _of_session())
                .order_by(by_attempt, t.output.c.piece)
            )
        case "value":
            texts = (whole_text() if column is t.value.c.data else column for column in columns)
            return (
                sa.select(*texts, *pusher().name, *taker().name)
                .select_from(taker().join(pusher().join(t.value, t.value.c.pushed_by), t.value.c.taken_by))
                .where(t.value.c.queue_id == bindparam("queue_id"))
                .order_by(t.value.c.seq)
            )
        case "return":
            return (
                rows.add_columns(*taker().name)
                .select_from(taker().join(t.returned, t.returned.c.taken_by))
                .where(t.returned.c.queue_id == bindparam("queue_id"))
                .order_by(t.returned.c.seq, t.returned.c.id)
            )
        case "replaced":
            return rows.where(t.replaced.c.queue_id == bindparam("queue_id")).order_by(
                t.replaced.c.seq, t.replaced.c.id
            )
        case "change":
            # Without the imports and copies that brought the session here, which mean nothing in another store.
            brought = [literal("import"), literal("copy")]
            of_session = (t.change.c.session == bindparam("name"), t.change.c.action.not_in(brought))
            return rows.where(*of_session).order_by(t.change.c.id)


@statement
def _numbers() -> sa.Select[int | None, int | None]:
    return sa.select(sa.func.min(t.value.c.seq), sa.func.max(t.value.c.seq)).where(
        t.value.c.queue_id == bindparam("queue_id", type_=t.queue.c.id.type)
    )


def read(transaction: Transaction, name: str) -> Iterator[Record]:
    """Yield a session and everything in it. Each record comes after those that it refers to."""
    for *fields, session_id in transaction.execute(_rows("session"), {"name": name}):
        params = {"session_id": session_id}
        yield _record("session", fields)
        for row in transaction.stream(_rows("run"), params):
            yield _record("run", row)
        queue_names: dict[int, str] = {}
        for *fields, queue_id in transaction.execute(_rows("queue"), params):
            found = _record("queue", fields)
            queue_names[queue_id] = found["name"]
            lowest, highest = transaction.execute(_numbers(), {"queue_id": queue_id})[0]
            if lowest is not None and type(found["low"]) is type(found["high"]) is int:
                # SQLite numbers values by the rows as well, PostgreSQL by these two alone. Make both continue alike.
                found["low"], found["high"] = min(found["low"], lowest), max(found["high"], highest)
            yield found
        for *fields, run_number, queue_name, parent_task, parent_number in transaction.stream(_rows("attempt"), params):
            parent = None if parent_task is None else _owner(name, parent_task, parent_number)
            yield _record("attempt", fields, run=run_number, result_queue=queue_name, parent=parent)
        for *fields, task, number in transaction.stream(_rows("output"), params):
            yield _record("output", fields, attempt=_owner(name, task, number))
        for queue_id, name_of_queue in queue_names.items():
            yield from _read_values(transaction, queue_id, name_of_queue)
            for row in transaction.stream(_rows("replaced"), {"queue_id": queue_id}):
                yield _record("replaced", row, queue=name_of_queue)
        for row in transaction.stream(_rows("change"), {"name": name}):
            yield _record("change", row)


def _read_values(transaction: Transaction, queue_id: int, queue_name: str) -> Iterator[Record]:
    # Both streams are in the order of seq.
    returns = (
        _record("return", fields, queue=queue_name, taken_by=_owner(session_name, task, number))
        for *fields, session_name, task, number in transaction.stream(_rows("return"), {"queue_id": queue_id})
    )
    next_return = next(returns, None)
    for row in transaction.stream(_rows("value"), {"queue_id": queue_id}):
        *fields, pusher_session, pusher_task, pusher_number, taker_session, taker_task, taker_number = row
        owners = {
            "pushed_by": _owner(pusher_session, pusher_task, pusher_number),
            "taken_by": _owner(taker_session, taker_task, taker_number),
        }
        found = _record("value", fields, queue=queue_name, **owners)
        seq = found["seq"]
        yield found
        while next_return is not None and next_return["seq"] <= seq:
            yield next_return
            next_return = next(returns, None)


def _owner(session_name: str | None, task: str, number: int) -> str | None:
    return None if session_name is None else full_name(session_name, task, number)


def _record(kind: RecordKind, row: Sequence[Cell], **links: Cell) -> Record:
    fields = {
        name: bool(field) if rule.kind is bool and field in (0, 1) else field
        for (name, rule), field in zip(COPIED[kind].items(), row, strict=True)
    }
    return {"record": kind, **links, **fields}


# -- writing


@statement
def _create(dialect_name: str) -> sa.sql.dml.ReturningInsert[int]:
    inserted = insert_if_absent(dialect_name, t.session).values({name: bindparam(name) for name in COPIED["session"]})
    return inserted.values(id=new_id("zrb_session")).returning(t.session.c.id)


def add_session(executor: Executor, fields: Record) -> int | None:
    """Write a session. Return its id, or None if a session of that name exists."""
    return next(map(first_column, executor.execute(_create(executor.dialect_name), fields)), None)


_LINKS: Mapping[RecordKind, tuple[str, ...]] = {
    "run": ("session_id",),
    "queue": ("session_id",),
    "attempt": ("session_id", "run_id", "result_queue_id", "parent_id"),
    "output": ("attempt_id",),
    "value": ("queue_id", "pushed_by", "taken_by"),
    "return": ("queue_id", "taken_by"),
    "replaced": ("queue_id",),
    "change": ("session",),
}


@statement
def _add(kind: Literal["run", "queue", "attempt"]) -> sa.sql.dml.ReturningInsert[int]:
    table = _table(kind)
    new = {name: bindparam(name) for name in (*_LINKS[kind], *COPIED[kind])}
    return sa.insert(table).values(new).values(id=new_id(table.name)).returning(table.c.id)


def add(executor: Executor, fields: Record) -> int:
    """Write a run, a queue or an attempt that refers to other rows by id. Return its id."""
    return int(executor.execute(_add(fields["record"]), fields)[0][0])


@statement
def _add_many(kind: Batched) -> sa.Insert:
    return sa.insert(_table(kind)).values({name: bindparam(name) for name in (*_LINKS[kind], *COPIED[kind])})


def add_many(transaction: Transaction, kind: Batched, rows: Sequence[Record]) -> None:
    """Write output, values, returns, replaced contents or changes that refer to other rows by id."""
    names = (*_LINKS[kind], *COPIED[kind])
    least = chunks.LONG_FROM[transaction.dialect_name]
    long = [row for row in rows if kind == "value" and row["size"] >= least]
    texts = [row["data"] for row in long]
    for row in long:
        row["data"] = ""
    transaction.execute_many(_add_many(kind), names, map(operator.itemgetter(*names), rows))
    for row, text in zip(long, texts, strict=True):
        chunks.add(transaction, row["queue_id"], row["seq"], text)


Link = Literal["pushed_by", "taken_by", "returned"]


@statement
def _set_owner(link: Link) -> sa.Update:
    table, column, moment = {
        "pushed_by": (t.value, t.value.c.pushed_by, t.value.c.pushed_at),
        "taken_by": (t.value, t.value.c.taken_by, t.value.c.ended_at),
        "returned": (t.returned, t.returned.c.taken_by, t.returned.c.returned_at),
    }[link]
    here = (
        table.c.queue_id == bindparam("of_queue"),
        table.c.seq == bindparam("of_seq", type_=sa.BigInteger),
        moment == bindparam("at", type_=sa.BigInteger),
        column.is_(None),
    )
    update = sa.update(table).where(*here).values({column.name: bindparam("owner")})
    if link == "returned":
        return update
    owner = t.attempt.alias("new_owner")
    is_owner = owner.c.id == bindparam("owner", type_=t.attempt.c.id.type)
    given_back = exists(is_owner, owner.c.given_back_at.is_not(None))
    if link == "taken_by":
        return update.where(~given_back)
    # An attempt that did not complete has undone what it did to other sessions, though it was not given back. A check
    # is opened again after it was given back.
    unsuccessful = is_one_of(owner.c.status, *UNFINISHED)
    may_orphan = exists(is_owner, sa.or_(owner.c.kind == literal("check"), unsuccessful))
    undone = sa.or_(t.value.c.state == literal("retracted"), t.value.c.orphaned)
    kept = sa.or_(sa.not_(t.value.c.orphaned), may_orphan)
    return update.where(sa.or_(sa.and_(given_back, undone), sa.and_(~given_back, kept)))


def set_owner(executor: Executor, link: Link, queue_id: int, seq: int, at: int, attempt_id: int) -> None:
    """Set the owner of a value that was written without one, if it has not changed and the owner agrees with it."""
    executor.execute(_set_owner(link), {"of_queue": queue_id, "of_seq": seq, "at": at, "owner": attempt_id})
