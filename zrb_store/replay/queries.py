"""What one attempt did to queues, by itself and in its steps, and how a replay does the part of a step again."""

from __future__ import annotations

from typing import Literal, NamedTuple

from zrb_store.codec import Encoded
from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import whole_text
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.queries import attempts
from zrb_store.queries.clock import draw
from zrb_store.queries.takes import take_these
from zrb_store.queries.values import NewValue, from_queue, is_same_value, push_many
from zrb_store.records import AttemptRecord


@statement
def _newest() -> sa.Select[*Row]:
    # Those of the record have no run.
    of_session = (t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.run_id.is_not(None))
    found = attempts.selection().where(*of_session, ~attempts.is_step())
    return found.order_by(t.attempt.c.id.desc()).limit(literal(1))


def replayed(executor: Executor, session_id: int) -> AttemptRecord | None:
    """Return the attempt that was replayed in a session of a scratch store, or None if it did not begin."""
    return next(map(attempts.record, executor.execute(_newest(), {"session_id": session_id})), None)


@statement
def _handled(what: Literal["taken", "pushed"]) -> sa.Select[*Row]:
    value, returned, replaced = t.value.c, t.returned.c, t.replaced.alias("replaced")
    attempt_id = bindparam("attempt_id", type_=t.attempt.c.id.type)
    pushed = sa.select(value.queue_id, value.seq, value.pushed_tick.label("tick")).where(value.pushed_by == attempt_id)
    held = sa.select(value.queue_id, value.seq, value.ended_tick.label("tick")).where(value.taken_by == attempt_id)
    given_back = sa.select(returned.queue_id, returned.seq, returned.taken_tick).where(returned.taken_by == attempt_id)
    events = pushed.subquery() if what == "pushed" else sa.union_all(held, given_back).subquery()
    # The content of then, if a person has replaced it since.
    earlier = sa.select(replaced.c.data).where(
        is_same_value(replaced, t.value), replaced.c.replaced_tick > events.c.tick
    )
    content = earlier.order_by(replaced.c.id).limit(literal(1)).scalar_subquery()
    return (
        sa.select(t.session.c.name, t.queue.c.name, events.c.queue_id, events.c.seq, events.c.tick)
        .add_columns(sa.func.coalesce(content, whole_text()), value.type, value.plain)
        .select_from(events.join(t.value, is_same_value(events, t.value)).join(t.queue).join(t.session))
        .order_by(events.c.tick, events.c.seq)
    )


class Handled(NamedTuple):
    """A value that an attempt took or pushed."""

    session: str
    queue: str
    queue_id: int
    seq: int
    tick: int
    data: str  # encoded, as it was then
    type: str
    plain: bool  # whether a program assigned it in place of the queue

    @property
    def place(self) -> tuple[int, int]:
        return self.queue_id, self.seq


def handled(executor: Executor, what: Literal["taken", "pushed"], attempt_id: int) -> list[Handled]:
    """Return the values that an attempt took or pushed, in that order."""
    return [Handled._make(row) for row in executor.execute(_handled(what), {"attempt_id": attempt_id})]


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
    return set(map(first_column, executor.execute(_used_sessions(), {"session_id": session_id})))


@statement
def _fork_of() -> sa.Select[str]:
    found = sa.select(t.session.c.name).where(t.session.c.forked_from == bindparam("record", type_=sa.Text))
    return found.order_by(t.session.c.created_tick.desc())  # the record may have forks, too


def fork_of(executor: Executor, record: str) -> str | None:
    """Return the name of the session in a scratch store that was made of a session of the record."""
    return next(map(first_column, executor.execute(_fork_of(), {"record": record})), None)


@statement
def _in_queue() -> sa.Select[str]:
    return from_queue(sa.select(whole_text())).where(t.value.c.seq == bindparam("seq", type_=sa.BigInteger))


def take_again(transaction: Transaction, queue_id: int, seq: int, data: str, attempt_id: int) -> bool:
    """Take the value at this place for an attempt; False if it is not there, or another one is."""
    if list(map(first_column, transaction.execute(_in_queue(), {"queue_id": queue_id, "seq": seq}))) != [data]:
        return False
    take_these(transaction, queue_id, [seq], attempt_id)
    return True


def push_again(transaction: Transaction, queue_id: int, value: Handled, attempt_id: int) -> int:
    """Push a value once more, for an attempt, and return its seq."""
    new = NewValue(Encoded(value.data, value.type, len(value.data.encode())), plain=bool(value.plain))
    return push_many(transaction, queue_id, [new], attempt_id, draw(transaction), left=value.seq < 1)
