"""Waits: steps that wait for a value of their session's queue, or for a time, while no process runs (promise 18).

The columns of such a step say what it waits for (`awaited_queue`), until when and what it asks, whatever its kind. It
is parked while its status is `waiting` and it was not given back. Its deadline stands while it is restorable: until its
task starts over. Nothing wakes it: whether its wait is over is read from the rows.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store.db.core import bindparam, exists, literal, sa, statement, t
from zrb_store.db.dialect import among, next_tick, now, schema_is_unchanged
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.local_time import rounded
from zrb_store.masking import one_line
from zrb_store.queries import by_hand
from zrb_store.queries.attempts import attempt_as, is_in_effect, is_same_step, write_own
from zrb_store.queries.clock import draw, now_micros
from zrb_store.queries.queues import find_queue
from zrb_store.queries.steps import NewStep, StepKey
from zrb_store.queries.values import is_due, lock_queue
from zrb_store.records import JsonObject, SessionRecord, pick, to_datetime
from zrb_store.wings import kinds, load

_EXAMPLE = '"yes"'  # an answer that can be typed: any JSON is one


class Awaited(NamedTuple):
    """What a step waits for: a value of a queue, or a time (the deadline) if there is no queue."""

    awaited_queue: str | None
    deadline_at: int | None  # in microseconds since 1970
    say: str | None  # what a person is asked, without secrets
    say_digest: str | None  # a digest of what a person is asked about, since `say` may lack secrets


@dataclass(frozen=True)
class Wait:
    """A parked wait."""

    session: str
    task: str
    kind: str
    step: str  # its name
    attributes: str | None
    queue: str | None  # None if it waits for a time
    since: int  # when the task first waited there, in microseconds
    deadline: int | None  # after it, the wait is over in any case
    say: str | None
    has_value: bool  # whether a value is there
    moment: int  # when all this was read

    @property
    def is_over(self) -> bool:
        """Whether the session may go on."""
        return self.has_value or (self.deadline is not None and self.deadline <= self.moment)

    @property
    def answer(self) -> str:
        """The command that answers, without the program."""
        kind = kinds().get(self.kind)
        if kind is not None and kind.answer is not None:
            return str(load(kind.answer)(self))
        return f"push {shlex.join([self.session, str(self.queue), _EXAMPLE])}"

    @property
    def is_late(self) -> bool:
        """Whether nobody has answered in time."""
        return self.is_over and not self.has_value and self.queue is not None

    def text(self) -> str:
        """Return what it waits for: `for approve, 2 d left: Refund 120?`."""
        what = f"for {self.queue}"
        if self.deadline is not None:
            left = self.deadline - self.moment
            left += left // 1000  # two days that have just begun are two days
            time = f"{rounded(left)} left" if left > 0 else f"{rounded(-left)} late"
            if self.queue is None:
                what = f"until {to_datetime(self.deadline).astimezone():%Y-%m-%d %H:%M}"
            what += f", {time}"
        if self.has_value:
            what += ", which is there"
        return one_line(what + (f": {self.say}" if self.say else ""))

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return pick(self, "task", "queue", "since", "deadline", "say", "is_over")


@statement
def _parked(dialect_name: str) -> sa.Select[*Row]:
    later, first = t.attempt.alias("later"), t.attempt.alias("first")
    since = sa.select(sa.func.min(first.c.started_at)).where(
        is_same_step(first, t.attempt), first.c.status == literal("waiting"), first.c.restorable
    )
    columns = ("session_id", "step_of", "kind", "step", "attributes", "awaited_queue", "deadline_at", "say")
    return (
        sa.select(t.session.c.name, since.scalar_subquery(), *(t.attempt.c[name] for name in columns))
        .select_from(t.attempt.join(t.session))
        .where(
            among(dialect_name, t.attempt.c.session_id, "ids"),
            t.attempt.c.step_of.is_not(None),
            t.attempt.c.status == literal("waiting"),
            t.attempt.c.given_back_at.is_(None),
            ~exists(is_same_step(later, t.attempt), later.c.id > t.attempt.c.id),  # a person has settled it
        )
        .order_by(t.attempt.c.id)
    )


def _is_from_outside(pusher: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.or_(pusher.c.id.is_(None), pusher.c.session_id != t.queue.c.session_id)


@statement
def _with_live(dialect_name: str) -> sa.Select[int, str]:
    pusher = attempt_as("pusher")
    # What unfinished attempts of the session pushed is retracted when it continues.
    stays = sa.or_(_is_from_outside(pusher), is_in_effect(pusher))
    live = (
        sa.select(literal(1))
        .select_from(t.value.outerjoin(pusher, pusher.c.id == t.value.c.pushed_by))
        .where(t.value.c.queue_id == t.queue.c.id, t.value.c.ended_at.is_(None), is_due(), stays)
        .with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")
    )
    of_sessions = among(dialect_name, t.queue.c.session_id, "ids")
    return sa.select(t.queue.c.session_id, t.queue.c.name).where(of_sessions, live.correlate(t.queue).exists())


def parked(executor: Executor, session_ids: Sequence[int]) -> list[Wait]:
    """Return the parked waits of these sessions, those that began first come first."""
    if not session_ids:
        return []
    ids = {"ids": json.dumps(list(session_ids))}
    rows = executor.execute(_parked(executor.dialect_name), ids)
    moment = now_micros(executor) if rows else 0
    answered = set(executor.execute(_with_live(executor.dialect_name), ids)) if rows else set()
    found = []
    for session, since, session_id, task, kind, step, attributes, queue, deadline, say in rows:
        has_value = (session_id, queue) in answered
        found.append(Wait(session, task, kind, step, attributes, queue, since, deadline, say, has_value, moment))
    return found


def may_continue(waiting: Sequence[Wait]) -> bool:
    """Whether one of a session's waits is over. If there are none, a person has settled them."""
    return not waiting or any(each.is_over for each in waiting)


def awaited(waiting: Sequence[Wait]) -> str:
    """Say what a session waits for."""
    return " and ".join(dict.fromkeys(each.text() for each in waiting))


class Surroundings(NamedTuple):
    """What is around an attempt that is about to wait."""

    kind: str
    parent: str | None  # of its session
    elsewhere: str | None  # the session of a value that it holds outside of steps, if that is another one
    running: str | None  # a step of it that runs


@statement
def _surroundings() -> sa.Select[str, str | None, str | None, str | None]:
    home, step = t.session.alias("home"), attempt_as("other")
    elsewhere = (
        sa.select(home.c.name)
        .select_from(t.value.join(t.queue).join(home, home.c.id == t.queue.c.session_id))
        .where(t.value.c.taken_by == bindparam("attempt_id"), t.queue.c.session_id != t.attempt.c.session_id)
        .limit(literal(1))
    )
    running = sa.select(step.c.step).where(
        step.c.session_id == t.attempt.c.session_id,
        step.c.step_of == t.attempt.c.task,
        step.c.parent_id == bindparam("attempt_id"),
        step.c.status == literal("running"),
    )
    return (
        sa.select(
            t.attempt.c.kind,
            t.session.c.parent,
            elsewhere.correlate(t.attempt).scalar_subquery(),
            running.correlate(t.attempt).limit(literal(1)).scalar_subquery(),
        )
        .select_from(t.attempt.join(t.session))
        .where(t.attempt.c.id == bindparam("attempt_id"))
    )


def surroundings(executor: Executor, attempt_id: int) -> Surroundings | None:
    """Return what is around an attempt; None if it was removed."""
    rows = executor.execute(_surroundings(), {"attempt_id": attempt_id})
    return Surroundings(*rows[0]) if rows else None


@statement
def _before() -> sa.Select[*Row]:
    parent, later = attempt_as("parent"), t.attempt.alias("later")
    # A script asks again by the same name.
    has_failed_here = exists(
        is_same_step(later, t.attempt),
        later.c.id > t.attempt.c.id,
        later.c.parent_id == bindparam("attempt_id"),
        later.c.status == literal("failed"),
    )
    return (
        sa.select(*(t.attempt.c[name] for name in Awaited._fields))
        .select_from(t.attempt.join(parent, parent.c.session_id == t.attempt.c.session_id))
        .where(
            parent.c.id == bindparam("attempt_id"),
            t.attempt.c.step_of == parent.c.task,
            t.attempt.c.step == bindparam("step"),
            t.attempt.c.kind == bindparam("kind"),
            t.attempt.c.status == literal("waiting"),
            t.attempt.c.restorable,
            ~has_failed_here,
        )
        .order_by(t.attempt.c.id.desc())
        .limit(literal(1))
    )


def waited_before(executor: Executor, attempt_id: int, step: StepKey) -> Awaited | None:
    """Return what the task of an attempt last waited for at this step, unless it starts over or asks again."""
    rows = executor.execute(_before(), {"attempt_id": attempt_id, "step": step.name, "kind": step.kind})
    return next(map(Awaited._make, rows), None)


@statement
def _went_on() -> sa.Select[int]:
    parent = attempt_as("parent")
    return (
        sa.select(literal(1))
        .select_from(t.attempt.join(parent, parent.c.session_id == t.attempt.c.session_id))
        .where(
            parent.c.id == bindparam("attempt_id"),
            t.attempt.c.step_of == parent.c.task,
            t.attempt.c.id > bindparam("since"),
            sa.or_(is_in_effect(), sa.and_(t.attempt.c.status == literal("waiting"), t.attempt.c.restorable)),
        )
        .limit(literal(1))
    )


def went_on(executor: Executor, attempt_id: int, since: int) -> bool:
    """Whether a step of an attempt's task stands, or has asked, that began after the step with the id `since`."""
    return bool(executor.execute(_went_on(), {"attempt_id": attempt_id, "since": since}))


@statement
def _park() -> sa.sql.dml.ReturningUpdate[int]:
    inputs_read = bindparam("inputs_read", type_=sa.Text)
    ends = write_own(status=literal("waiting"), ended_at=now(), ended_tick=next_tick(), inputs_read=inputs_read)
    return ends.where(schema_is_unchanged())


def park(executor: Executor, attempt_id: int, inputs_read: str | None = None) -> bool:
    """End a running attempt, or a step, as `waiting`; return False if it may no longer write."""
    return bool(executor.execute(_park(), {"attempt_id": attempt_id, "inputs_read": inputs_read}))


@statement
def _forget() -> sa.Update:
    return (
        sa.update(t.attempt)
        .where(
            t.attempt.c.session_id == bindparam("of_session"),
            t.attempt.c.step_of == bindparam("of_task"),
            t.attempt.c.status == literal("waiting"),
        )
        .values(restorable=sa.false())
    )


@statement
def _answers() -> sa.Select[*Row]:
    pusher = attempt_as("pusher")
    return (
        sa.select(t.queue.c.id, t.queue.c.name, t.value.c.seq)
        .select_from(
            t.value.join(t.attempt, t.attempt.c.id == t.value.c.taken_by)
            .join(t.queue, t.queue.c.id == t.value.c.queue_id)
            .outerjoin(pusher, pusher.c.id == t.value.c.pushed_by)
        )
        .where(
            t.attempt.c.session_id == bindparam("of_session"),
            t.attempt.c.step_of == bindparam("of_task"),
            is_in_effect(),
            t.queue.c.session_id == bindparam("of_session"),
            t.queue.c.name == t.attempt.c.awaited_queue,
            _is_from_outside(pusher),
        )
        .order_by(t.queue.c.id, t.value.c.seq)
    )


@statement
def _open_questions() -> sa.Select[str | None]:
    done, queue = attempt_as("other"), t.attempt.c.awaited_queue
    found = sa.select(queue).where(
        t.attempt.c.session_id == bindparam("of_session"),
        t.attempt.c.step_of == bindparam("of_task"),
        t.attempt.c.status == literal("waiting"),
        t.attempt.c.restorable,
        queue.is_not(None),
        ~exists(is_same_step(done, t.attempt), is_in_effect(done)),
    )
    return found.distinct().order_by(queue)


@statement
def _unused() -> sa.Select[int]:
    pusher = attempt_as("pusher")
    return (
        sa.select(t.value.c.seq)
        .select_from(t.value.join(t.queue).outerjoin(pusher, pusher.c.id == t.value.c.pushed_by))
        .where(
            t.value.c.queue_id == bindparam("queue_id"),
            t.value.c.ended_at.is_(None),
            _is_from_outside(pusher),
        )
    )


class Answer(NamedTuple):
    """A value that a wait took, or that came while it waited, from outside of the session."""

    queue_id: int
    queue: str
    seq: int


def ask_anew(transaction: Transaction, session: SessionRecord, task: str) -> list[Answer]:
    """Let the deadlines of a task that starts over count anew, and return the answers that must not be used again."""
    params = {"of_session": session.id, "of_task": task}
    answers = list(map(Answer._make, transaction.execute(_answers(), params)))
    for (queue,) in transaction.execute(_open_questions(), params):
        answers += _unused_in(transaction, session.name, queue)
    transaction.execute(_forget(), params)
    return answers


def _unused_in(transaction: Transaction, session: str, queue: str) -> list[Answer]:
    """Return the answers that came from outside, and that nobody has taken."""
    queue_id = find_queue(transaction, session, queue)
    rows = [] if queue_id is None else transaction.execute(_unused(), {"queue_id": queue_id})
    return [Answer(queue_id or 0, queue, seq) for (seq,) in rows]


def drop_other_answers(transaction: Transaction, session: str, attempt_id: int, asked: NewStep) -> None:
    """Drop the answers to another question that the task asked at this step before.

    Two questions of a task may have the same name.
    """
    before = waited_before(transaction, attempt_id, asked.key)
    if before is not None and before.say_digest != asked.say_digest:
        drop(transaction, session, _unused_in(transaction, session, str(asked.awaited_queue)))


def drop(transaction: Transaction, session: str, answers: Iterable[Answer]) -> None:
    """Take answers that have come back to their queues out for good: their question is asked anew."""
    for each in answers:
        lock_queue(transaction, each.queue_id)
        if by_hand.lock_values(transaction, each.queue_id, [each.seq]).get(each.seq) == "live":
            reason = "what it answered is asked again"
            by_hand.drop(transaction, each.queue_id, [each.seq], draw(transaction), reason)
            by_hand.record_change(transaction, "drop", session, f"{each.queue}#{each.seq}", reason)
