"""Begin, complete, fail and find attempts. Every write of an attempt checks its fence.

The conditions on attempts that other files share come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from zrb_store.db.columns import ATTEMPT
from zrb_store.db.core import bindparam, exists, literal, made_once, sa, statement, t
from zrb_store.db.dialect import new_id, next_tick, now, schema_is_unchanged, short_text
from zrb_store.db.rows import fit, sound
from zrb_store.db.transaction import Executor, Lost, Row, first_column
from zrb_store.masking import ErrorText
from zrb_store.queries import chunks
from zrb_store.records import COMMAND_FAILED, AttemptRecord

if TYPE_CHECKING:
    from zrb_store.db.engine import Database


class Owner(Protocol):
    """An attempt that owns changes to queues: they are given back if it does not complete."""

    id: int
    database: Database

    @property
    def full_name(self) -> str:
        """`SESSION/TASK#N`."""

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the attempt itself, or a step of it."""

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise an error if the attempt may no longer write."""


@made_once
def attempt_as(alias: str) -> sa.FromClause:
    """Return the table of attempts under another name: the same alias for the same name."""
    return t.attempt.alias(alias)


def is_in_effect(of: sa.FromClause | None = None) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt has completed and was not given back."""
    columns = t.attempt.c if of is None else of.c
    return sa.and_(columns.status == literal("completed"), columns.given_back_at.is_(None))


def attempt_may_write() -> sa.Exists:
    """Return a condition for each write of an attempt: it is running, and no newer run has taken over its session."""
    # On PostgreSQL the lock orders this write and a take-over at the same moment: one of them waits for the other.
    # Not a join: once ANALYZE has found a single row in a table, SQLite reads all its rows even for a lookup by id.
    writer = t.attempt.alias("writer")
    return sa.exists(
        sa.select(literal(1))
        .where(
            writer.c.id == bindparam("attempt_id"),
            writer.c.status == literal("running"),
            writer.c.fence
            == sa.select(t.session.c.fence)
            .where(t.session.c.id == writer.c.session_id)
            .correlate(writer)
            .scalar_subquery(),
        )
        .with_for_update(read=True, of=writer)
    )


_READ = {name: rule for name, rule in ATTEMPT.items() if name != "result"}


def selection(*without: str) -> sa.Select[*Row]:
    """Return a statement that reads attempts, without results and some other columns; `record` converts a row."""
    columns = (sa.null() if name in without else t.attempt.c[name] for name in _READ)
    rows = t.attempt.join(t.session).outerjoin(t.run, t.run.c.id == t.attempt.c.run_id)
    return sa.select(*columns, t.session.c.name, t.run.c.number).select_from(rows)


def record(row: Row) -> AttemptRecord:
    """Return the record of a row of `selection`."""
    *columns, session_name, run_number = row
    named = fit("zrb_attempt", _READ, columns)
    return AttemptRecord(session=session_name, run=run_number, **named)


def _of_task() -> sa.ColumnElement[bool]:
    return sa.and_(t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.task == bindparam("task"))


def is_of_no_task(of: sa.FromClause | None = None) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is a delivery or a step. A task may have the name that it has."""
    columns = (t.attempt if of is None else of).c
    return sa.or_(columns.kind == literal("delivery"), columns.step_of.is_not(None))


def is_step(of: sa.FromClause | None = None) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is one of a step."""
    return (t.attempt if of is None else of).c.step_of.is_not(None)


def is_same_step(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that two attempts are of the same step."""
    of_task = (one.c.session_id == other.c.session_id, one.c.step_of == other.c.step_of)
    return sa.and_(*of_task, one.c.step == other.c.step, one.c.kind == other.c.kind)


def _run_may_write() -> sa.ColumnElement[bool]:
    run_id = bindparam("run_id", type_=t.attempt.c.id.type)
    return sa.and_(
        sa.exists(
            sa.select(literal(1))
            .where(t.session.c.id == bindparam("session_id"), t.session.c.fence == bindparam("fence", type_=sa.Integer))
            .with_for_update(read=True)
        ),
        # A store that was restored from a copy may have another run of that number.
        sa.or_(run_id.is_(None), exists(t.run.c.id == run_id)),
    )


@statement
def _begin(how: Literal["task", "once", "delivery"]) -> sa.sql.dml.ReturningInsert[int, int]:
    # An earlier attempt of the task that was not given back is in the way: an unfinished one, with `once` any one. A
    # consumer may have several deliveries at once.
    other = t.attempt.alias("other")
    of_task = sa.and_(other.c.session_id == bindparam("session_id"), other.c.task == bindparam("task"))
    unless: dict[str, list[sa.ColumnElement[bool]]] = {
        "task": [other.c.status != literal("completed")],
        "delivery": [sa.false()],
    }
    in_the_way = exists(of_task, other.c.given_back_at.is_(None), ~is_of_no_task(other), *unless.get(how, []))
    number = sa.func.coalesce(sa.func.max(other.c.number), literal(0)) + literal(1)
    new = {
        "id": new_id("zrb_attempt"),
        "session_id": bindparam("session_id", type_=t.attempt.c.id.type),
        "run_id": bindparam("run_id", type_=t.attempt.c.id.type),
        "fence": bindparam("fence", type_=sa.Integer),
        "task": bindparam("task", type_=sa.Text),
        "number": sa.select(number).where(of_task).scalar_subquery(),
        "kind": bindparam("kind", type_=sa.Text),
        "status": literal("running"),
        "arguments": bindparam("arguments", type_=sa.Text),
        "inside": bindparam("inside", type_=sa.Text),
        "started_at": now(),
        "started_tick": next_tick(),
    }
    source = sa.select(*new.values()).where(schema_is_unchanged(), _run_may_write(), ~in_the_way)
    return sa.insert(t.attempt).from_select(list(new), source).returning(t.attempt.c.id, t.attempt.c.number)


class BegunAttempt(NamedTuple):
    """The id and the number of an attempt that was begun."""

    id: int
    number: int


def begin(
    executor: Executor,
    session_id: int,
    run_id: int | None,
    fence: int,
    task: str,
    kind: str,
    arguments: str | None,
    *,
    once: bool = False,
    inside: str | None = None,
    lost: Lost | None = None,
) -> BegunAttempt | None:
    """Begin the next attempt of a task, with `once` only if none has completed; return None if one is in the way.

    `inside` is the task whose action starts it, if one does.
    """
    params: dict[str, int | str | None] = {"session_id": session_id, "run_id": run_id, "fence": fence}
    params |= {"task": task, "kind": kind, "arguments": arguments, "inside": inside}
    statement = _begin("delivery" if kind == "delivery" else "once" if once else "task")
    return next(map(BegunAttempt._make, executor.execute(statement, params, lost)), None)


def is_begun(executor: Executor, begun: BegunAttempt | None) -> bool:
    """Whether an attempt that was begun is there and runs."""
    return begun is not None and status_of(executor, begun.id) == "running"


ERROR = ("error_type", "error_message", "error_traceback")
"""The columns of an error."""


@statement
def _reopen() -> sa.sql.dml.ReturningUpdate[int, int]:
    return (
        sa.update(t.attempt)
        .where(_of_task(), t.attempt.c.kind == literal("check"), _run_may_write())
        .values(
            run_id=bindparam("run_id", type_=t.attempt.c.id.type),
            fence=bindparam("fence", type_=sa.Integer),
            status=literal("running"),
            started_at=now(),
            started_tick=next_tick(),
            **dict.fromkeys(("ended_at", "ended_tick", "given_back_at", "given_back_tick", *ERROR)),
        )
        .returning(t.attempt.c.id, t.attempt.c.number)
    )


def reopen_check(executor: Executor, session_id: int, run_id: int, fence: int, task: str) -> BegunAttempt | None:
    """Begin the only attempt of a readiness check again; return None if there is none or the session is taken over."""
    params = {"session_id": session_id, "run_id": run_id, "fence": fence, "task": task}
    return next(map(BegunAttempt._make, executor.execute(_reopen(), params)), None)


@statement
def _may_write(lock: bool) -> sa.Select[int]:
    found = sa.select(literal(1)).where(attempt_may_write())
    if not lock:
        return found
    return found.where(t.attempt.c.id == bindparam("attempt_id")).with_for_update(of=t.attempt, key_share=True)


def lock(executor: Executor, attempt_id: int) -> bool:
    """Lock an attempt until the transaction ends; return False if it may no longer write."""
    # SQLite has one writer at a time, and each write checks the attempt.
    return executor.dialect_name == "sqlite" or bool(executor.execute(_may_write(True), {"attempt_id": attempt_id}))


def may_write(executor: Executor, attempt_id: int) -> bool:
    """Whether an attempt may write: it is running, and no newer run has taken over its session."""
    return bool(executor.execute(_may_write(False), {"attempt_id": attempt_id}))


def write_own(**columns: sa.ColumnElement[Any] | None) -> sa.sql.dml.ReturningUpdate[int]:
    """Return the statement that changes the row of an attempt, if it may write."""
    own = sa.update(t.attempt).where(t.attempt.c.id == bindparam("attempt_id"), attempt_may_write())
    return own.values(columns).returning(t.attempt.c.id)


@statement
def _complete() -> sa.sql.dml.ReturningUpdate[int]:
    return write_own(
        status=literal("completed"),
        ended_at=sa.func.coalesce(bindparam("at", type_=sa.BigInteger), now()),
        ended_tick=next_tick(),
        restorable=bindparam("restorable", type_=sa.Boolean),
        result_queue_id=bindparam("result_queue_id"),
        result_seq=bindparam("result_seq"),
        inputs_read=bindparam("inputs_read", type_=sa.Text),
        inputs_assigned=bindparam("inputs_assigned", type_=sa.Text),
        code=bindparam("code", type_=sa.Text),
        result=None,  # what `zrb-store result` gave lies in the queue from now on
    )


def complete(
    executor: Executor,
    attempt_id: int,
    at: int | None,
    *,
    restorable: bool,
    result: tuple[int, int] | None,
    ran: tuple[str | None, str | None, str | None] = (None, None, None),
) -> bool:
    """Mark a running attempt as completed when its result was pushed; return False if it may no longer write.

    `ran` are the inputs that it has read, what it has assigned to inputs, and the digest of what it ran.
    """
    queue_id, seq = result or (None, None)
    read, assigned, code = ran
    params = {"attempt_id": attempt_id, "at": at, "restorable": restorable, "code": code}
    inputs = {"inputs_read": read, "inputs_assigned": assigned}
    return bool(executor.execute(_complete(), {**params, **inputs, "result_queue_id": queue_id, "result_seq": seq}))


def lost_or_interrupted() -> sa.Case[str]:
    """Return the status of an attempt whose process has died; `interrupted` if its run had been asked to stop."""
    asked = exists(t.run.c.id == t.attempt.c.run_id, t.run.c.stop_requested_at.is_not(None))
    return sa.case((asked, literal("interrupted")), else_=literal("lost"))


@statement
def _fail() -> sa.sql.dml.ReturningUpdate[str]:
    # A program may answer a signal with any exception, but a consumer lets the commands in hand come to their own end.
    given, kind = bindparam("status", type_=sa.Text), bindparam("error_type", type_=sa.Text)
    is_own_end = sa.func.coalesce(kind, literal("")) == literal(COMMAND_FAILED)
    is_stopped = sa.and_(lost_or_interrupted() == literal("interrupted"), sa.not_(is_own_end))
    return (
        sa.update(t.attempt)
        .where(attempt_may_write(), t.attempt.c.id == bindparam("attempt_id"))
        .values(
            status=sa.case((is_stopped, literal("interrupted")), else_=given), ended_at=now(), ended_tick=next_tick()
        )
        .values({name: bindparam(name, type_=sa.Text) for name in (*ERROR, "inputs_read", "error_data")})
        .returning(t.attempt.c.status)
    )


def fail(
    executor: Executor,
    attempt_id: int,
    status: str,
    error: ErrorText | None,
    inputs_read: str | None = None,
    raised: str | None = None,
) -> str | None:
    """End a running attempt as `failed` or `interrupted`, and return which; None if it may no longer write.

    `raised` is the encoded error of a step.
    """
    params = dict(zip(ERROR, error or (None, None, None), strict=True))
    params |= {"inputs_read": inputs_read, "error_data": raised}
    rows = executor.execute(_fail(), {"attempt_id": attempt_id, "status": status, **params})
    return rows[0][0] if rows else None


@statement
def _by_id() -> sa.Select[*Row]:
    return selection().where(t.attempt.c.id == bindparam("attempt_id"))


def by_id(executor: Executor, attempt_id: int) -> AttemptRecord | None:
    """Return the attempt with this id, or None."""
    return next(map(record, executor.execute(_by_id(), {"attempt_id": attempt_id})), None)


@statement
def _column(name: Literal["status", "result"]) -> sa.Select[str | None]:
    return sa.select(t.attempt.c[name]).where(t.attempt.c.id == bindparam("attempt_id"))


def status_of(executor: Executor, attempt_id: int) -> str | None:
    """Return the status of an attempt, or None if it is not there."""
    return next(map(first_column, executor.execute(_column("status"), {"attempt_id": attempt_id})), None)


@statement
def _by_number() -> sa.Select[*Row]:
    of_task = (t.session.c.name == bindparam("session"), t.attempt.c.task == bindparam("task"))
    return selection().where(*of_task, t.attempt.c.number == bindparam("number"))


def by_name(executor: Executor, session_name: str, task: str, number: int) -> AttemptRecord | None:
    """Return attempt TASK#NUMBER of the session with that name, or None."""
    rows = executor.execute(_by_number(), {"session": session_name, "task": task, "number": number})
    return record(rows[0]) if rows else None


@statement
def _of_session() -> sa.Select[*Row]:
    return (
        selection().where(t.attempt.c.session_id == bindparam("session_id"), ~is_of_no_task()).order_by(t.attempt.c.id)
    )


def of_session(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Return all attempts of the session, the oldest first, without deliveries and steps: there may be very many."""
    return list(sound(record, executor.execute(_of_session(), {"session_id": session_id})))


class CompletedTask(NamedTuple):
    """What `run.task` needs of an attempt that is in effect: its number, its arguments, and the place of its result."""

    number: int
    arguments: str | None
    result_queue_id: int | None
    result_seq: int | None


@statement
def _in_effect(short: bool) -> sa.Select[*Row]:
    found = sa.select(*(t.attempt.c[name] for name in CompletedTask._fields)) if short else selection()
    found = found.where(_of_task(), ~is_of_no_task(), is_in_effect())
    return found.order_by(t.attempt.c.number.desc()).limit(literal(1))


def in_effect(executor: Executor, session_id: int, task: str) -> AttemptRecord | None:
    """Return the newest attempt of the task that has completed and was not given back, or None."""
    return next(map(record, executor.execute(_in_effect(False), {"session_id": session_id, "task": task})), None)


def completed_task(executor: Executor, session_id: int, task: str) -> CompletedTask | None:
    """Return the same attempt, read more quickly: every `run.task` looks for it."""
    rows = executor.execute(_in_effect(True), {"session_id": session_id, "task": task})
    return CompletedTask(*rows[0]) if rows else None


@statement
def _unfinished(of_task: bool, lock: bool) -> sa.Select[*Row]:
    found = selection().where(t.attempt.c.session_id == bindparam("session_id"))
    if of_task:
        found = found.where(t.attempt.c.task == bindparam("task"), ~is_of_no_task())
    found = found.where(t.attempt.c.given_back_at.is_(None), t.attempt.c.status != literal("completed"))
    found = found.order_by(t.attempt.c.id.desc())
    return found.with_for_update(of=t.attempt, key_share=True) if lock else found


def unfinished(
    executor: Executor, session_id: int, task: str | None = None, *, lock: bool = False
) -> list[AttemptRecord]:
    """Return the attempts that have neither completed nor been given back, the newest first."""
    rows = executor.execute(_unfinished(task is not None, lock), {"session_id": session_id, "task": task})
    return list(sound(record, rows))


@statement
def _result() -> sa.Select[str]:
    return sa.select(short_text()).where(t.value.c.queue_id == bindparam("queue_id"), t.value.c.seq == bindparam("seq"))


def stored_result(executor: Executor, completed: AttemptRecord) -> str | None:
    """Return the encoded result of an attempt, even if the value was taken; None if it has none."""
    if completed.step is not None:
        return given_result(executor, completed.id)
    return result_at(executor, completed.result_queue_id, completed.result_seq)


def result_at(executor: Executor, queue_id: int | None, seq: int | None) -> str | None:
    """Return the encoded result that was pushed there; None if nothing was."""
    if queue_id is None or seq is None:
        return None
    rows = executor.execute(_result(), {"queue_id": queue_id, "seq": seq})
    return chunks.whole(executor, queue_id, seq, rows[0][0]) if rows else None


@statement
def _give_result() -> sa.sql.dml.ReturningUpdate[int]:
    return write_own(result=bindparam("result", type_=sa.Text)).where(schema_is_unchanged())


def give_result(executor: Executor, attempt_id: int, data: str) -> bool:
    """Keep the encoded result that a running attempt completes with; return False if it may no longer write."""
    params = {"attempt_id": attempt_id, "result": data}
    return bool(executor.execute(_give_result(), params, lambda other: other.execute(_column("result"), params)))


def given_result(executor: Executor, attempt_id: int) -> str | None:
    """Return the encoded result that was given to a running attempt, or None."""
    return next(map(first_column, executor.execute(_column("result"), {"attempt_id": attempt_id})), None)
