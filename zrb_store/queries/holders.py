"""What holds the values of sessions: running attempts, and completed steps of tasks that have not completed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from zrb_store.db.columns import RUN
from zrb_store.db.core import bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.rows import sound
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.names import full_name
from zrb_store.queries import runs, sessions
from zrb_store.queries.attempts import attempt_as, is_in_effect, is_of_no_task
from zrb_store.records import JsonObject, RunRecord, pick_all


class Holder(NamedTuple):
    """What holds values of a session: a running attempt, or a completed step, which never gives them back by itself."""

    home_id: int  # the session whose values it holds
    queue_id: int  # the queue of these values; 0 for a step, which may hold values of several
    session: str  # name of its own session
    task: str  # of a step, its id
    number: int
    values: int  # how many these are; 0 for a step
    since: int  # when it took the first of them, in microseconds
    status: str = ""  # of its process, `alive`, `dead` or `lease expired`; of a step, as in `step of a failed session`
    step_of: str | None = None  # of a completed step, the task

    @property
    def attempt(self) -> str:
        """SESSION/TASK#NUMBER."""
        return full_name(self.session, self.task, self.number)


@statement
def _held(dialect_name: str, of_sessions: bool) -> sa.Select[*Row]:
    holder, is_taken = attempt_as("holder"), t.value.c.state == literal("taken")
    taken = (sa.func.count().label("count"), sa.func.min(t.value.c.ended_at).label("since"))
    held = (
        sa.select(t.attempt.c.id, t.value.c.queue_id, *taken)
        .select_from(t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id))
        .where(t.attempt.c.status == literal("running"), *([] if of_sessions else [is_taken]))
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
        .group_by(t.attempt.c.id, t.value.c.queue_id)
        .subquery("held")
    )
    name = (t.session.c.name, holder.c.task, holder.c.number)
    found = sa.select(
        *(t.queue.c.session_id, t.queue.c.id, *name, held.c.count, held.c.since), *(t.run.c[name] for name in RUN)
    ).select_from(
        held.join(t.queue, t.queue.c.id == held.c.queue_id)
        .join(holder, holder.c.id == held.c.id)
        .join(t.session, t.session.c.id == holder.c.session_id)
        .join(t.run, t.run.c.id == holder.c.run_id)
    )
    if of_sessions:
        found = found.where(among(dialect_name, t.queue.c.session_id, "session_ids"))
        return found.order_by(holder.c.id, t.queue.c.id)
    return found.order_by(t.queue.c.id, *name)


def held_values(executor: Executor, session_ids: Sequence[int] | None = None) -> list[tuple[Holder, RunRecord]]:
    """Return what running attempts hold of each queue of these sessions, or what they took of any queue.

    Each comes with its run, whose process may have died.
    """
    statement = _held(executor.dialect_name, session_ids is not None)
    rows = executor.execute(statement, {"session_ids": json.dumps(list(session_ids or ()))})
    return list(sound(lambda row: (Holder(*row[:7]), runs.record(row[7:])), rows))


class ValueHolder(NamedTuple):
    """A running attempt that holds a value, itself or by a completed step."""

    session: str
    task: str
    number: int
    run: RunRecord


@statement
def _holder() -> sa.Select[*Row]:
    holder = attempt_as("holder")
    return (
        sa.select(t.session.c.name, holder.c.task, holder.c.number, *(t.run.c[name] for name in RUN))
        .select_from(
            t.value.join(t.attempt, t.attempt.c.id == t.value.c.taken_by)
            .join(holder, sa.or_(holder.c.id == t.attempt.c.id, holder.c.id == t.attempt.c.parent_id))
            .join(t.session, t.session.c.id == holder.c.session_id)
            .join(t.run, t.run.c.id == holder.c.run_id)
        )
        .where(
            t.value.c.queue_id == bindparam("queue_id"),
            t.value.c.seq == bindparam("seq", type_=sa.BigInteger),
            t.value.c.state == literal("taken"),
            holder.c.status == literal("running"),
        )
        .order_by(holder.c.id.desc())
    )


def holder_of(executor: Executor, queue_id: int, seq: int) -> ValueHolder | None:
    """Return the running attempt that holds a value; of a step that runs and its attempt, the step."""
    rows = executor.execute(_holder(), {"queue_id": queue_id, "seq": seq})
    return ValueHolder._make((*rows[0][:3], runs.record(rows[0][3:]))) if rows else None


@statement
def _unfinished() -> sa.Select[*Row]:
    newest_run = sa.and_(t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence)
    return (
        sa.select(t.session.c.id, t.session.c.name, t.session.c.status, *(t.run.c[name] for name in RUN))
        .select_from(t.session.join(t.run, newest_run))
        .where(
            is_one_of(t.session.c.status, "running", "failed", "interrupted", "waiting"),
            sessions.is_not_completed(),
            exists(t.attempt.c.session_id == t.session.c.id, t.attempt.c.step_of.is_not(None)),
        )
    )


def unfinished_sessions(executor: Executor) -> Iterator[tuple[int, str, str, RunRecord]]:
    """Yield id, name, stored status and newest run of the sessions that have steps and have not completed."""
    return sound(lambda row: (*row[:3], runs.record(row[3:])), executor.execute(_unfinished()))


def _holds_as_step(dialect_name: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is a completed step of some sessions, of a task that has not completed."""
    whole = t.attempt.alias("whole")
    completed = exists(
        whole.c.session_id == t.attempt.c.session_id,
        whole.c.task == t.attempt.c.step_of,
        ~is_of_no_task(whole),
        is_in_effect(whole),
    )
    of_sessions = among(dialect_name, t.attempt.c.session_id, "step_sessions")
    return sa.and_(of_sessions, t.attempt.c.step_of.is_not(None), is_in_effect(), ~completed)


@statement
def _holding_steps(dialect_name: str) -> sa.Select[int, int, str | None, str, int, int | None]:
    since = sa.func.min(t.value.c.ended_at)
    columns = (t.queue.c.session_id, t.attempt.c.session_id, t.attempt.c.step_of, t.attempt.c.task, t.attempt.c.number)
    taken = t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id)
    return (
        sa.select(*columns, since)
        .select_from(taken.join(t.queue, t.queue.c.id == t.value.c.queue_id))
        .where(
            _holds_as_step(dialect_name),
            t.value.c.state == literal("taken"),
            among(dialect_name, t.queue.c.session_id, "session_ids"),
            t.queue.c.session_id != t.attempt.c.session_id,
        )
        .group_by(*columns)
        .order_by(since)
    )


@statement
def _each_held(dialect_name: str) -> sa.Select[*Row]:
    home = t.session.alias("home")
    columns = (home.c.name, t.queue.c.name, t.value.c.seq, t.value.c.ended_at)
    has_completed = t.attempt.c.status == literal("completed")
    holder = (t.session.c.name, t.attempt.c.task, t.attempt.c.number, has_completed, t.attempt.c.session_id)
    # Not OR: they are looked up by an index each, and then what they hold by another one.
    running = sa.select(t.attempt.c.id).where(t.attempt.c.status == literal("running"))
    running = running.with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    step = sa.select(t.attempt.c.id).where(_holds_as_step(dialect_name))
    may_hold = sa.union_all(running.correlate(None), step.correlate(None))
    return (
        sa.select(*columns, *holder, *(t.run.c[name] for name in RUN))
        .select_from(
            t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id)
            .join(t.queue, t.queue.c.id == t.value.c.queue_id)
            .join(home, home.c.id == t.queue.c.session_id)
            .join(t.session, t.session.c.id == t.attempt.c.session_id)
            .join(t.run, t.run.c.id == t.attempt.c.run_id)
        )
        .where(
            t.value.c.state == literal("taken"),
            t.value.c.taken_by.in_(may_hold),
            sa.or_(t.attempt.c.status == literal("running"), t.queue.c.session_id != t.attempt.c.session_id),
        )
        .order_by(t.value.c.ended_tick, t.queue.c.id, t.value.c.seq)
    )


class Hold(NamedTuple):
    """A value that is held, and by whom."""

    value: str  # SESSION/QUEUE#SEQ
    held_by: str  # SESSION/TASK#NUMBER
    since: int  # when it was taken, in microseconds
    status: str  # of the holder, as in `Holder`

    def to_json(self) -> JsonObject:
        """Return it as `list --holds --format json` shows it."""
        return pick_all(self)


Halted: TypeAlias = Mapping[int, tuple[str, str]]
"""Sessions by id whose completed steps may hold values: the name of each, and the status of such a step."""


def each_held(transaction: Transaction, halted: Halted) -> Iterator[tuple[Hold, RunRecord]]:
    """Yield every value that is held, by running attempts or by completed steps, the oldest first.

    Each comes with its run, by which the status of a running attempt is known.
    """
    params = {"step_sessions": json.dumps(list(halted))}

    def held(row: Row) -> tuple[Hold, RunRecord]:
        value, since, holder, (is_step, session_id) = row[:3], row[3], row[4:7], row[7:9]
        status = halted[session_id][1] if is_step else ""
        return Hold(full_name(*value), full_name(*holder), since, status), runs.record(row[9:])

    return sound(held, transaction.stream(_each_held(transaction.dialect_name), params))


def holding_steps(executor: Executor, session_ids: Sequence[int], halted: Halted) -> list[Holder]:
    """Return the completed steps that hold values of other sessions, of tasks that have not completed."""
    if not halted:
        return []
    params = {"session_ids": json.dumps(list(session_ids)), "step_sessions": json.dumps(list(halted))}
    rows = executor.execute(_holding_steps(executor.dialect_name), params)
    return [
        Holder(home_id, 0, halted[session_id][0], task, number, 0, since, halted[session_id][1], step_of)
        for home_id, session_id, step_of, task, number, since in rows
    ]
