"""The records of changes by hand, and dead values that `requeue` revives.

The push or pop of a value from a shell, outside any attempt, is recorded as a change with the detail QUEUE#SEQ.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from zrb_store.db.columns import CHANGE, readable
from zrb_store.db.core import bindparam, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, now
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.process import identity
from zrb_store.queries.clock import Moment, given_moment, given_tick
from zrb_store.queries.values import is_dead


class Change(NamedTuple):
    """One thing that a person did to a session."""

    at: int
    action: str
    detail: str | None
    user: str | None
    host: str
    pid: int
    reason: str | None = None

    @property
    def text(self) -> str:
        """What it was done to, and why."""
        return ": ".join(part for part in (self.detail, self.reason) if part)


def _of_values() -> sa.ColumnElement[bool]:
    """Return the condition that a change is the push or the pop of a value of a session."""
    return sa.and_(t.change.c.session == bindparam("session"), is_one_of(t.change.c.action, "push", "pop"))


_GIVEN = ("action", "session", "detail", "user", "host", "pid", "reason")


@statement
def _insert() -> sa.Insert:
    return sa.insert(t.change).values({"at": now(), **{name: bindparam(name) for name in _GIVEN}})


def record_change(
    executor: Executor, action: str, session_name: str | None, detail: str | None = None, reason: str | None = None
) -> None:
    """Record what a person does with this process to a session, or to the whole store (None)."""
    params = {**asdict(identity()), "action": action, "session": session_name, "detail": detail, "reason": reason}
    executor.execute(_insert(), params)


@statement
def _of_session() -> sa.Select[*Row]:
    return (
        sa.select(*(t.change.c[name] for name in CHANGE))
        .where(t.change.c.session == bindparam("session"))
        .order_by(t.change.c.id)
    )


def of_session(transaction: Transaction, session_name: str) -> Iterator[tuple[Change, tuple[str, ...]]]:
    """Yield what was done to a session by hand, the oldest change first, each with the names of its damaged columns."""
    for row in transaction.stream(_of_session(), {"session": session_name}):
        yield _change(row)


def last_of_session(transaction: Transaction, session_name: str, action: str) -> Change | None:
    """Return the last time that an action was done to a session, or None."""
    found = [change for change, _ in of_session(transaction, session_name) if change.action == action]
    return found[-1] if found else None


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
    """The push or the pop of a value from a shell."""

    place: tuple[int, int]  # the id of its queue, and its seq
    change: Change  # which of both it was, who did it, and when
    damage: tuple[str, ...]  # the damaged columns of that record


@statement
def _from() -> sa.Select[*Row]:
    first_queue = bindparam("first_queue", type_=sa.BigInteger)
    before_seq = sa.func.rtrim(t.change.c.detail, literal("-0123456789"))  # QUEUE#
    name_length = sa.func.length(before_seq) - literal(1)
    name = sa.func.substr(
        t.change.c.detail, literal(1), sa.func.abs(name_length)
    )  # PostgreSQL refuses a negative length
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
    for queue_id, seq, *columns in transaction.stream(_from(), params):
        yield Act((queue_id, seq), *_change(columns))


@statement
def _on_value() -> sa.Select[*Row]:
    return (
        sa.select(*(t.change.c[name] for name in CHANGE))
        .where(_of_values(), t.change.c.detail == bindparam("detail"))
        .order_by(t.change.c.id)
    )


def acts_on(executor: Executor, session: str, queue_name: str, place: tuple[int, int]) -> list[Act]:
    """Return what was done from a shell to one value, given by queue id and seq."""
    rows = executor.execute(_on_value(), {"session": session, "detail": f"{queue_name}#{place[1]}"})
    return [Act(place, *_change(row)) for row in rows]


@statement
def _delete_acts(old: bool) -> sa.Delete:
    deleted = sa.delete(t.change).where(_of_values())
    return deleted.where(t.change.c.at < bindparam("before", type_=sa.BigInteger)) if old else deleted


def delete_acts(executor: Executor, session: str, before: int | None = None) -> None:
    """Delete the records of what was done from a shell to the values of a session, or only those before a moment."""
    executor.execute(_delete_acts(before is not None), {"session": session, "before": before})


def _change(columns: Sequence[Any]) -> tuple[Change, tuple[str, ...]]:
    named, damage = readable(CHANGE, columns)
    return Change(**{name: named[name] for name in Change._fields}), damage


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
    return [row[0] for row in executor.execute(_of_queue(), {"queue_id": queue_id})]


def _chosen(dialect_name: str) -> tuple[sa.ColumnElement[bool], ...]:
    of_queue = t.value.c.queue_id == bindparam("of_queue")
    return of_queue, among(dialect_name, t.value.c.seq, "seqs"), is_dead()


@statement
def _record_returns(dialect_name: str) -> sa.Insert:
    ended = (t.value.c.ended_at, t.value.c.ended_tick)
    returned = (given_moment(), given_tick(), bindparam("reason", type_=sa.Text), literal(0))
    return sa.insert(t.returned).from_select(
        ["queue_id", "seq", "taken_at", "taken_tick", "returned_at", "returned_tick", "reason", "failed_deliveries"],
        sa.select(t.value.c.queue_id, t.value.c.seq, *ended, *returned).where(*_chosen(dialect_name)),
    )


@statement
def _revive(dialect_name: str) -> sa.Update:
    lives = {"state": literal("live"), "ended_at": sa.null(), "ended_tick": sa.null()}
    return sa.update(t.value).where(*_chosen(dialect_name)).values(**lives, failed_deliveries=literal(0))


def revive(executor: Executor, queue_id: int, seqs: Sequence[int], moment: Moment, reason: str) -> None:
    """Make dead values of a locked queue live again at their old places, with no deliveries."""
    params = {"of_queue": queue_id, "seqs": json.dumps(list(seqs)), "reason": reason, **moment.params}
    executor.execute(_record_returns(executor.dialect_name), params)
    executor.execute(_revive(executor.dialect_name), params)
