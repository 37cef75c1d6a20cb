"""What one attempt did to queues, by itself and in its steps, and what is left to do before it can be replayed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

from zrb_store.db.columns import MOST_TICK
from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import among, whole_text
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries import attempts
from zrb_store.queries.attempts import is_step
from zrb_store.queries.values import is_same_value
from zrb_store.records import AttemptRecord


def _since() -> sa.ColumnElement[bool]:
    return t.attempt.c.started_tick > bindparam("since", type_=sa.BigInteger)


@statement
def _steps() -> sa.Select[*Row]:
    # Those that a replay has from the record have no attempt around them.
    is_copied = sa.and_(t.attempt.c.parent_id.is_(None), _since())
    return (
        sa.select(*(t.attempt.c[name] for name in StepOfAttempt._fields))
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.step_of == bindparam("task"),
            sa.or_(t.attempt.c.parent_id == bindparam("attempt_id"), is_copied),
        )
        .order_by(t.attempt.c.id)
    )


class StepOfAttempt(NamedTuple):
    """An attempt of a step, in the attempt around it."""

    id: int
    task: str  # its id within the session, TASK/NUMBER
    step: str  # its name
    number: int
    status: str
    once: bool


def steps_of(executor: Executor, attempt: AttemptRecord, since: int = MOST_TICK) -> list[StepOfAttempt]:
    """Return the steps of an attempt; of a replay, also those from the record, which began after the tick `since`."""
    params = {"session_id": attempt.session_id, "task": attempt.task, "attempt_id": attempt.id, "since": since}
    return [StepOfAttempt._make((*row[:-1], bool(row[-1]))) for row in executor.execute(_steps(), params)]


@statement
def _newest() -> sa.Select[*Row]:
    of_task = (t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.task == bindparam("task"))
    found = attempts.selection().where(*of_task, ~is_step(t.attempt), _since())
    return found.order_by(t.attempt.c.id.desc()).limit(literal(1))


def newest(executor: Executor, session_id: int, task: str, since: int) -> AttemptRecord | None:
    """Return the newest attempt of a task that began after a tick, if there is one."""
    rows = executor.execute(_newest(), {"session_id": session_id, "task": task, "since": since})
    return attempts.record(rows[0]) if rows else None


@statement
def _handled(dialect_name: str, what: Literal["taken", "pushed"]) -> sa.Select[*Row]:
    value, returned, replaced = t.value.c, t.returned.c, t.replaced.alias("replaced")
    if what == "pushed":
        rows = sa.select(value.queue_id, value.seq, value.pushed_tick.label("tick")).where(
            among(dialect_name, value.pushed_by, "attempt_ids")
        )
        events = rows.subquery()
    else:
        held = sa.select(value.queue_id, value.seq, value.ended_tick.label("tick"))
        given_back = sa.select(returned.queue_id, returned.seq, returned.taken_tick)
        events = sa.union_all(
            held.where(among(dialect_name, value.taken_by, "attempt_ids")),
            given_back.where(among(dialect_name, returned.taken_by, "attempt_ids")),
        ).subquery()
    # The content of then, if a person has replaced it since.
    earlier = sa.select(replaced.c.data).where(
        is_same_value(replaced, t.value), replaced.c.replaced_tick > events.c.tick
    )
    content = earlier.order_by(replaced.c.id).limit(literal(1)).scalar_subquery()
    return (
        sa.select(t.session.c.name, t.queue.c.name, events.c.queue_id, events.c.seq, events.c.tick)
        .add_columns(sa.func.coalesce(content, whole_text()))
        .select_from(events.join(t.value, is_same_value(events, t.value)).join(t.queue).join(t.session))
        .order_by(events.c.tick, events.c.seq)
    )


class Handled(NamedTuple):
    """A value that an attempt took or pushed."""

    session: str
    queue: str
    queue_id: int
    seq: int
    tick: int  # when it did
    data: str  # encoded, as it was then


def handled(
    transaction: Transaction, what: Literal["taken", "pushed"], attempt_ids: Collection[int]
) -> Iterator[Handled]:
    """Yield the values that attempts took or pushed, in that order."""
    params = {"attempt_ids": json.dumps(list(attempt_ids))}
    return map(Handled._make, transaction.stream(_handled(transaction.dialect_name, what), params))


@statement
def _used_sessions() -> sa.Select[str]:
    of_session = sa.select(t.attempt.c.id).where(t.attempt.c.session_id == bindparam("session_id"))
    columns = (t.value.c.pushed_by, t.value.c.taken_by, t.returned.c.taken_by)
    used = sa.union(*(sa.select(column.table.c.queue_id).where(column.in_(of_session)) for column in columns))
    return sa.select(t.session.c.name).where(
        t.session.c.id.in_(sa.select(t.queue.c.session_id).where(t.queue.c.id.in_(used)))
    )


def used_sessions(executor: Executor, session_id: int) -> set[str]:
    """Return the names of the sessions whose queues the attempts of a session have taken from or pushed to."""
    return {row[0] for row in executor.execute(_used_sessions(), {"session_id": session_id})}


@statement
def _set_owner(what: Literal["taken", "pushed"]) -> sa.Update:
    of_queue = (t.session.c.name == bindparam("session"), t.queue.c.name == bindparam("queue"))
    queue_id = sa.select(t.queue.c.id).select_from(t.queue.join(t.session)).where(*of_queue).scalar_subquery()
    place = (t.value.c.queue_id == queue_id, t.value.c.seq == bindparam("of_seq", type_=sa.BigInteger))
    return sa.update(t.value).where(*place).values({f"{what}_by": bindparam("owner", type_=t.attempt.c.id.type)})


def set_owner(transaction: Transaction, what: Literal["taken", "pushed"], value: Handled, owner: int) -> None:
    """Say that an attempt took or pushed the value at this place, in a session of another name than its own."""
    place = {"session": value.session, "queue": value.queue, "of_seq": value.seq}
    transaction.execute(_set_owner(what), {**place, "owner": owner})


@statement
def _delay_before() -> sa.Update:
    return (
        sa.update(t.value)
        .where(
            t.value.c.queue_id == bindparam("of_queue"),
            t.value.c.seq < bindparam("before", type_=sa.BigInteger),
            t.value.c.ended_at.is_(None),
        )
        .values(due_at=literal(2**62))
    )


def delay_before(transaction: Transaction, queue_id: int, seq: int) -> None:
    """Delay the values before one for ever: a delivery passed over them."""
    transaction.execute(_delay_before(), {"of_queue": queue_id, "before": seq})
