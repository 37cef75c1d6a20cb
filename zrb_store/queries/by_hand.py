"""The records of changes by hand, and the values that `requeue` revives, `drop` takes out and `replace` mends.

What a person does to one value, outside any attempt, is recorded as a change with the detail QUEUE#SEQ.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from zrb_store.codec import Encoded
from zrb_store.db.columns import CHANGE, Cell
from zrb_store.db.core import bindparam, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import now, whole_text
from zrb_store.db.rows import fit, sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.process import identity
from zrb_store.queries import chunks
from zrb_store.queries.clock import Moment, given_moment, given_tick, now_given
from zrb_store.queries.values import is_dead, of_seqs
from zrb_store.records import JsonObject


class Change(NamedTuple):
    """One thing that a person did to a session."""

    at: int
    action: str
    detail: str | None
    user: str | None
    host: str
    pid: int
    reason: str | None = None  # as the person gave it

    @property
    def text(self) -> str:
        """What it was done to, and why."""
        return ": ".join(part for part in (self.detail, self.reason) if part)

    def to_json(self) -> JsonObject:
        """Return who did it, and why."""
        return {"user": self.user, "host": self.host, "pid": self.pid, "reason": self.reason}


def _of_values() -> sa.ColumnElement[bool]:
    """Return the condition that a change is what somebody did to one value of a session."""
    actions = is_one_of(t.change.c.action, "push", "pop", "drop", "replace")
    return sa.and_(t.change.c.session == bindparam("session"), actions)


_GIVEN = ("action", "session", "detail", "reason", "user", "host", "pid")


@statement
def _insert() -> sa.Insert:
    return sa.insert(t.change).values({"at": now(), **{name: bindparam(name) for name in _GIVEN}})


def record_change(
    executor: Executor, action: str, session_name: str | None, detail: str | None = None, reason: str | None = None
) -> None:
    """Record what a person does with this process to a session, or to the whole store (None)."""
    params = {**asdict(identity()), "action": action, "session": session_name, "detail": detail, "reason": reason}
    executor.execute(_insert(), params)


def _changes(*conditions: sa.ColumnElement[bool]) -> sa.Select[*Row]:
    of_session = t.change.c.session == bindparam("session")
    return sa.select(*(t.change.c[name] for name in CHANGE)).where(of_session, *conditions)


@statement
def _of_session() -> sa.Select[*Row]:
    return _changes().order_by(t.change.c.id)


def of_session(transaction: Transaction, session_name: str) -> Iterator[Change]:
    """Yield what was done to a session by hand, the oldest change first."""
    return sound(_change, transaction.stream(_of_session(), {"session": session_name}))


@statement
def _last_of_session() -> sa.Select[*Row]:
    return _changes(t.change.c.action == bindparam("action")).order_by(t.change.c.id.desc()).limit(literal(1))


def last_of_session(executor: Executor, session_name: str, action: str) -> Change | None:
    """Return the last time that an action was done to a session, or None."""
    rows = executor.execute(_last_of_session(), {"session": session_name, "action": action})
    return _change(rows[0]) if rows else None


@statement
def _last() -> sa.Select[int | None]:
    return sa.select(sa.func.max(t.change.c.at)).where(
        t.change.c.session.is_(None), t.change.c.action == bindparam("action", type_=sa.Text)
    )


def last_of_store(executor: Executor, action: str) -> int | None:
    """Return when an action was last done to the store as a whole, or None if it never was."""
    moment: int | None = executor.execute(_last(), {"action": action})[0][0]
    return moment


class Act(NamedTuple):
    """What a person did to a value: a push, a pop, a drop or a replacement."""

    place: tuple[int, int]  # the id of its queue, and its seq
    change: Change  # what it was, who did it, and when


@statement
def _from() -> sa.Select[*Row]:
    first_queue = bindparam("first_queue", type_=sa.BigInteger)
    before_seq = sa.func.rtrim(t.change.c.detail, literal("-0123456789"))  # QUEUE#
    name_length = sa.func.length(before_seq) - literal(1)
    name = sa.func.substr(t.change.c.detail, literal(1), sa.func.abs(name_length))  # PostgreSQL refuses a negative one
    digits = sa.func.substr(t.change.c.detail, sa.func.length(before_seq) + literal(1))
    is_number = sa.and_(
        is_one_of(sa.func.rtrim(digits, literal("0123456789")), "", "-"),
        ~is_one_of(digits, "", "-"),
        sa.func.length(digits) <= literal(18),
    )
    # The detail may be damaged, and then PostgreSQL refuses to cast it.
    seq = sa.case((is_number, sa.cast(digits, sa.BigInteger)))
    return (
        sa.select(t.queue.c.id, seq, *(t.change.c[name] for name in CHANGE))
        .join_from(
            t.change,
            t.queue,
            sa.and_(
                t.queue.c.session_id == bindparam("session_id"),
                t.queue.c.name == name,
                t.queue.c.name + literal("#") == before_seq,
            ),
        )
        .where(
            _of_values(),
            sa.or_(
                t.queue.c.id > first_queue,
                sa.and_(t.queue.c.id == first_queue, seq >= bindparam("first_seq", type_=sa.BigInteger)),
            ),
        )
        .order_by(t.queue.c.id, seq, t.change.c.id)
    )


def acts_from(
    transaction: Transaction, session: str, session_id: int, first: tuple[int, int]
) -> Generator[Act, None, None]:
    """Yield what was done from a shell to the values of a session, from this queue id and seq on, in that order."""
    params = {"session": session, "session_id": session_id, "first_queue": first[0], "first_seq": first[1]}
    yield from sound(lambda row: Act((row[0], row[1]), _change(row[2:])), transaction.stream(_from(), params))


@statement
def _delete_acts(old: bool) -> sa.Delete:
    deleted = sa.delete(t.change).where(_of_values())
    return deleted.where(t.change.c.at < bindparam("before", type_=sa.BigInteger)) if old else deleted


def delete_acts(executor: Executor, session: str, before: int | None = None) -> None:
    """Delete the records of what was done from a shell to the values of a session, or only those before a moment."""
    executor.execute(_delete_acts(before is not None), {"session": session, "before": before})


def _change(columns: Sequence[Cell]) -> Change:
    named = fit("zrb_change", CHANGE, columns)
    return Change(**{name: named[name] for name in Change._fields})


@statement
def _dead_of_session() -> sa.Select[int]:
    return (
        sa.select(literal(1))
        .select_from(t.queue.join(t.value, t.value.c.queue_id == t.queue.c.id))
        .where(t.queue.c.session_id == bindparam("session_id"), is_dead())
        .limit(literal(1))
    )


@statement
def _of_queue() -> sa.Select[int]:
    return (
        sa.select(t.value.c.seq).where(t.value.c.queue_id == bindparam("queue_id"), is_dead()).order_by(t.value.c.seq)
    )


def has_dead_values(executor: Executor, session_id: int) -> bool:
    """Whether a queue of the session has a dead value."""
    return bool(executor.execute(_dead_of_session(), {"session_id": session_id}))


def dead_values(executor: Executor, queue_id: int) -> list[int]:
    """Return the seqs of the queue's dead values in ascending order."""
    return list(map(first_column, executor.execute(_of_queue(), {"queue_id": queue_id})))


@statement
def _lock_values(dialect_name: str) -> sa.Select[int, str]:
    chosen = sa.select(t.value.c.seq, t.value.c.state).where(*of_seqs(dialect_name))
    return chosen.order_by(t.value.c.seq).with_for_update()


def lock_values(executor: Executor, queue_id: int, seqs: Sequence[int]) -> dict[int, str]:
    """Lock values of a locked queue, which others may be taking, and return the state of each by its seq."""
    params = {"of_queue": queue_id, "seqs": json.dumps(list(seqs))}
    return dict(executor.execute(_lock_values(executor.dialect_name), params))


@statement
def _record_returns(dialect_name: str) -> sa.Insert:
    ended = (t.value.c.ended_at, t.value.c.ended_tick)
    returned = (given_moment(), given_tick(), bindparam("reason", type_=sa.Text), literal(0))
    return sa.insert(t.returned).from_select(
        [
            *("queue_id", "seq", "taken_at", "taken_tick", "returned_at", "returned_tick", "reason"),
            *("failed_deliveries", "due_at"),
        ],
        sa.select(t.value.c.queue_id, t.value.c.seq, *ended, *returned, t.value.c.due_at).where(
            *of_seqs(dialect_name), is_dead()
        ),
    )


@statement
def _revive(dialect_name: str) -> sa.Update:
    lives = {"state": literal("live"), "ended_at": sa.null(), "ended_tick": sa.null(), "due_at": sa.null()}
    return sa.update(t.value).where(*of_seqs(dialect_name), is_dead()).values(**lives, failed_deliveries=literal(0))


def revive(executor: Executor, queue_id: int, seqs: Sequence[int], moment: Moment, reason: str) -> None:
    """Make dead values of a locked queue live again at their old places, with no deliveries."""
    params = {"of_queue": queue_id, "seqs": json.dumps(list(seqs)), "reason": reason, **moment.params}
    executor.execute(_record_returns(executor.dialect_name), params)
    executor.execute(_revive(executor.dialect_name), params)


@statement
def _drop(dialect_name: str) -> sa.Update:
    return sa.update(t.value).where(*of_seqs(dialect_name)).values(state=literal("removed"), **now_given("ended"))


def drop(executor: Executor, queue_id: int, seqs: Sequence[int], moment: Moment, reason: str) -> None:
    """Take live, delayed and dead values, which are locked, out of a queue for good. They keep their count."""
    params = {"of_queue": queue_id, "seqs": json.dumps(list(seqs)), "reason": reason, **moment.params}
    executor.execute(_record_returns(executor.dialect_name), params)
    executor.execute(_drop(executor.dialect_name), params)


_KEPT = ("queue_id", "seq", "type", "size", "failed_deliveries")


@statement
def _keep(dialect_name: str) -> sa.Insert:
    kept = (*(t.value.c[name] for name in _KEPT), whole_text(), given_moment(), given_tick())
    return sa.insert(t.replaced).from_select(
        [*_KEPT, "data", "replaced_at", "replaced_tick"], sa.select(*kept).where(*of_seqs(dialect_name))
    )


@statement
def _delete_chunks() -> sa.Delete:
    return sa.delete(t.chunk).where(t.chunk.c.queue_id == bindparam("of_queue"), t.chunk.c.seq == bindparam("of_seq"))


@statement
def _replace(dialect_name: str) -> sa.Update:
    lives = {"state": literal("live"), "ended_at": sa.null(), "ended_tick": sa.null()}
    new = {name: bindparam(f"new_{name}", type_=t.value.c[name].type) for name in ("type", "size", "data")}
    return sa.update(t.value).where(*of_seqs(dialect_name)).values(**lives, **new, failed_deliveries=literal(0))


def replace(transaction: Transaction, queue_id: int, seq: int, item: Encoded, moment: Moment, reason: str) -> None:
    """Put another content in place of that of a live, delayed or dead value, which is locked; keep the earlier one."""
    name, is_long = transaction.dialect_name, item.size >= chunks.LONG_FROM[transaction.dialect_name]
    params = {"of_queue": queue_id, "of_seq": seq, "seqs": json.dumps([seq]), "reason": reason, **moment.params}
    new = {"new_type": item.type, "new_size": item.size, "new_data": "" if is_long else item.data}
    for each in (_record_returns(name), _keep(name), _delete_chunks(), _replace(name)):
        transaction.execute(each, {**params, **new})
    if is_long:
        chunks.add(transaction, queue_id, seq, item.data)
