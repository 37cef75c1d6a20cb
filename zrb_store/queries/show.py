"""For `show`, `log` and `diff`, rows of a session: its attempts, its steps, and the counts of its queues."""

from __future__ import annotations

import json
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from zrb_store.db.core import bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, now, whole_text
from zrb_store.db.rows import sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.queries import attempts
from zrb_store.queries.attempts import attempt_as, is_in_effect, is_step
from zrb_store.queries.clock import Moment, by_then
from zrb_store.queries.output import has_output
from zrb_store.queries.queues import RULES, QueueRules, rules_of
from zrb_store.queries.steps import KINDS
from zrb_store.queries.values import is_dead, is_delayed, is_due, is_held, is_same_value, was_live
from zrb_store.records import UNSUCCESSFUL, AttemptRecord


@statement
def _summary() -> sa.Select[int, int | None, bool]:
    of_session = t.attempt.c.session_id == bindparam("session_id")
    return sa.select(
        now(),
        sa.select(sa.func.count()).where(of_session, ~is_step()).scalar_subquery(),
        exists(of_session, t.attempt.c.step_of.is_not(None)),
    )


def attempt_summary(executor: Executor, session_id: int) -> tuple[int, int, bool]:
    """Return the database's clock, how many attempts a session has without steps, and whether it has steps."""
    moment, count, has_steps = executor.execute(_summary(), {"session_id": session_id})[0]
    return moment, count, bool(has_steps)


class QueueCounts(NamedTuple):
    """A queue of a session."""

    id: int
    name: str
    values: int  # the number of its values, live or not
    live: int  # the number of its live values
    dead: int  # the number of its values that are dead now
    delayed: int  # the number of its values that are delayed now
    held: int  # the number of its values that running attempts hold now
    rules: QueueRules  # what it allows now


@statement
def _summaries(named: bool, then: bool) -> sa.Select[*Row]:
    count = sa.select(sa.func.count()).where(t.value.c.queue_id == t.queue.c.id)
    if then:
        every = count.where(by_then(t.value, "pushed"))
        live = count.where(was_live())
    else:
        every = count
        live = count.where(t.value.c.ended_at.is_(None), is_due())
        live = live.with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")
    dead = count.where(is_dead()).with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite")
    delayed = count.where(is_delayed()).with_hint(t.value, "INDEXED BY ix_zrb_value_delayed", "sqlite")
    held = count.where(is_held())
    counts: list[sa.ColumnElement[int]] = [each.scalar_subquery() for each in (every, live, dead, delayed, held)]
    if named:
        zero = literal(0)
        counts = [sa.case((t.queue.c.name == bindparam("queue"), each), else_=zero) for each in counts]
    columns = (t.queue.c.id, t.queue.c.name, *counts, *(t.queue.c[name] for name in RULES))
    return sa.select(*columns).where(t.queue.c.session_id == bindparam("session_id"))


def queue_counts(
    executor: Executor, session_id: int, name: str | None = None, *, at: Moment | None = None
) -> list[QueueCounts]:
    """Return the queues of a session, in the order of their first pushes."""
    params = {"session_id": session_id, "queue": name, **(at.bounds if at else {})}
    rows = executor.execute(_summaries(name is not None, at is not None), params)
    ordered = sorted(rows, key=operator.itemgetter(0))
    return list(sound(lambda row: QueueCounts._make((*row[:7], rules_of(row[7:]))), ordered))


def attempts_without(*without: str) -> sa.Select[*Row]:
    """Return a statement that reads the attempts of a session without some columns."""
    return attempts.selection(*without).where(t.attempt.c.session_id == bindparam("session_id"))


def of_task() -> sa.ColumnElement[bool]:
    return t.attempt.c.task == bindparam("task")


@statement
def _short_of_tasks() -> sa.Select[*Row]:
    return attempts_without("arguments", "error_traceback").where(~is_step())


def short_attempts(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Return all attempts of a session, the oldest first, without steps, and without arguments and tracebacks."""
    # Sorted here, because SQLite would walk the whole table by id.
    found = sound(attempts.record, executor.execute(_short_of_tasks(), {"session_id": session_id}))
    return sorted(found, key=operator.attrgetter("id"))


@statement
def _of_task(then: bool) -> sa.Select[*Row]:
    found = _short_of_tasks().construct.where(of_task()).order_by(t.attempt.c.number)
    return found.where(by_then(t.attempt, "started")) if then else found


def attempts_of_task(
    transaction: Transaction, session_id: int, task: str, moment: Moment | None = None
) -> Iterator[AttemptRecord]:
    """Yield the attempts of one task by number, as `short_attempts` returns them."""
    params = {"session_id": session_id, "task": task, **(moment.bounds if moment else {})}
    return sound(attempts.record, transaction.stream(_of_task(moment is not None), params))


@statement
def _tasks(then: bool) -> sa.Select[str, int | None, int]:
    found = (
        sa.select(t.attempt.c.task, sa.func.max(t.attempt.c.number), sa.func.count())
        .where(t.attempt.c.session_id == bindparam("session_id"), ~is_step())
        .group_by(t.attempt.c.task)
        .order_by(sa.func.min(t.attempt.c.id))
    )
    return found.where(by_then(t.attempt, "started")) if then else found


class AttemptedTask(NamedTuple):
    """A task that has attempts."""

    task: str
    last: int  # the number of its last attempt
    attempts: int  # how many attempts it has


def attempted_tasks(executor: Executor, session_id: int, moment: Moment | None = None) -> list[AttemptedTask]:
    """Return the tasks that have attempts, or had some at a moment, in the order of their first attempts."""
    params = {"session_id": session_id, **(moment.bounds if moment else {})}
    return [AttemptedTask(*row) for row in executor.execute(_tasks(moment is not None), params)]


@statement
def _left() -> sa.Select[str, int]:
    pushed = t.attempt.join(t.value, t.value.c.pushed_by == t.attempt.c.id)
    return (
        sa.select(t.queue.c.name, sa.func.count())
        .select_from(pushed.join(t.queue, t.queue.c.id == t.value.c.queue_id))
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            sa.func.coalesce(t.attempt.c.step_of, t.attempt.c.task) == bindparam("task"),
            t.value.c.ended_at.is_(None),
        )
        .group_by(t.queue.c.name)
        .order_by(t.queue.c.name)
    )


def live_values_of(executor: Executor, session_id: int, task: str) -> dict[str, int]:
    """Count the live values that a task and its steps pushed, by the name of their queue."""
    rows = executor.execute(_left(), {"session_id": session_id, "task": task})
    return {row[0]: row[1] for row in rows}


@statement
def _holding(dialect_name: str) -> sa.Select[int, bool, bool, int]:
    owned = t.value.alias("owned")
    in_queue = sa.or_(owned.c.ended_at.is_(None), owned.c.state == literal("dead"))
    took = exists(owned.c.taken_by == t.attempt.c.id)
    pushed = exists(owned.c.pushed_by == t.attempt.c.id, in_queue)
    elsewhere = (
        sa.select(sa.func.count())
        .select_from(owned.join(t.queue, t.queue.c.id == owned.c.queue_id))
        .where(owned.c.taken_by == t.attempt.c.id, t.queue.c.session_id != t.attempt.c.session_id)
    )
    columns = (t.attempt.c.id, took, pushed, elsewhere.scalar_subquery())
    return sa.select(*columns).where(among(dialect_name, t.attempt.c.id, "ids"))


class Holding(NamedTuple):
    """What an attempt did that still stands."""

    acts: str  # `took` for a value that it holds, `pushed` for one that is in a queue, or both
    elsewhere: int  # how many values of other sessions it holds


def holding_values(executor: Executor, attempt_ids: Sequence[int]) -> dict[int, Holding]:
    """Return what these attempts did that still stands, by the id of each of which something does."""
    rows = executor.execute(_holding(executor.dialect_name), {"ids": json.dumps(list(attempt_ids))})
    acts = {row[0]: " and ".join(["took"] * bool(row[1]) + ["pushed"] * bool(row[2])) for row in rows}
    return {row[0]: Holding(acts[row[0]], row[3]) for row in rows if acts[row[0]]}


@statement
def _dead_by() -> sa.Select[int]:
    has_its_count = t.returned.c.failed_deliveries == t.value.c.failed_deliveries
    last = sa.and_(is_same_value(t.returned, t.value), has_its_count)
    return (
        sa.select(sa.func.count())
        .select_from(t.value.join(t.returned, last).join(t.attempt, t.attempt.c.id == t.returned.c.taken_by))
        .where(is_dead(), t.attempt.c.session_id == bindparam("session_id"))
        .with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite")
    )


def dead_by(executor: Executor, session_id: int) -> int:
    """Count the dead values that attempts of a session took last."""
    ((count,),) = executor.execute(_dead_by(), {"session_id": session_id})
    return int(count)


@statement
def _logged(of: Literal["session", "task", "step"]) -> sa.Select[*Row]:
    around = t.attempt.alias("around")
    number_around = sa.select(around.c.number).where(around.c.id == t.attempt.c.parent_id).scalar_subquery()
    later = t.attempt.alias("later")
    was_followed = exists(
        later.c.session_id == t.attempt.c.session_id,
        later.c.task == t.attempt.c.task,
        later.c.number > t.attempt.c.number,
        t.attempt.c.kind != literal("delivery"),  # the next one has another value
    )
    found = (
        attempts_without("arguments")
        .add_columns(number_around, has_output(), was_followed)
        .order_by(sa.func.coalesce(t.attempt.c.parent_id, t.attempt.c.id), t.attempt.c.id)
    )
    if of == "task":
        return found.where(sa.or_(sa.and_(of_task(), ~is_step()), t.attempt.c.step_of == bindparam("task")))
    return found.where(of_task(), is_step()) if of == "step" else found


def attempts_with_errors(
    transaction: Transaction, session_id: int, task: str | None = None, *, is_step: bool = False
) -> Iterator[tuple[AttemptRecord, str | None, bool, bool]]:
    """Yield attempts with tracebacks, each with the name of the one around it, whether it has output, and was followed.

    The oldest is the first, but steps come after the attempt around them; its name is None if it was deleted. Only
    those of a task and its steps, if one is given; with `is_step` those of the step with that id.
    """
    statement = _logged("session" if task is None else "step" if is_step else "task")

    def logged(row: Row) -> tuple[AttemptRecord, str | None, bool, bool]:
        *columns, number, printed, followed = row
        record = attempts.record(tuple(columns))
        return record, None if number is None else f"{record.step_of}#{number}", bool(printed), bool(followed)

    return sound(logged, transaction.stream(statement, {"session_id": session_id, "task": task}))


@statement
def _standing(count: bool) -> sa.Select[str] | sa.Select[int]:
    states = [literal("live"), literal("taken")]
    of_queue = (t.value.c.queue_id == bindparam("queue_id"), t.value.c.state.in_(states))
    if count:
        return sa.select(sa.func.count()).where(*of_queue)
    return sa.select(whole_text()).where(*of_queue).order_by(t.value.c.seq)


def standing_data(transaction: Transaction, queue_id: int) -> Iterator[str]:
    """Yield the encoded values of a queue that are live or taken, in the order of the queue."""
    return map(first_column, transaction.stream(_standing(False), {"queue_id": queue_id}))


def count_standing(transaction: Transaction, queue_id: int) -> int:
    """Count the values that `standing_data` reads."""
    return int(transaction.execute(_standing(True), {"queue_id": queue_id})[0][0])


def _of(step: sa.FromClause, session: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is one of a step of a session that is done, with a stored result."""
    return sa.and_(
        step.c.session_id == bindparam(session),
        step.c.step_of.is_not(None),
        step.c.step.is_not(None),
        is_in_effect(step),
        step.c.restorable,
    )


@statement
def _differing(done_in: Literal["a", "b"]) -> sa.Select[*Row]:
    a, b = attempt_as("a"), attempt_as("b")
    here, one, there, other = ("a", a, "b", b) if done_in == "a" else ("b", b, "a", a)
    same = sa.and_(*(other.c[name] == one.c[name] for name in ("step_of", "kind", "step")))
    differs = sa.or_(other.c.id.is_(None), *([a.c.result != b.c.result] if done_in == "a" else []))
    return (
        sa.select(one.c.step_of, one.c.kind, one.c.step, a.c.result, b.c.result)
        .select_from(one.outerjoin(other, sa.and_(_of(other, there), same)))
        .where(_of(one, here), differs)
        .order_by(one.c.id)
    )


def differing_steps(transaction: Transaction, a: int, b: int) -> Iterator[Row]:
    """Yield the steps whose stored results differ between two sessions, or that are done in only one of them.

    Each is a task, kind and name of its step, and both encoded results, of which one may be None.
    """
    for steps in (_differing("a"), _differing("b")):
        yield from transaction.stream(steps, {"a": a, "b": b})


class StepCounts(NamedTuple):
    """How many steps a task has, and how many attempts these have had."""

    task: str
    steps: int  # how many steps it has
    standing: int  # how many of them have completed and were not given back
    kept: int  # how many of these have results that are stored
    running: int  # how many attempts of steps are running
    failed: int  # how many attempts of steps failed
    interrupted: int  # how many were interrupted
    lost: int  # how many were lost
    of_wings: int  # how many attempts of steps are of kinds that wings add


@statement
def _step_counts(dialect_name: str, then: bool) -> sa.Select[*Row]:
    status: sa.ColumnElement[str] = t.attempt.c.status
    given_back: sa.ColumnElement[bool] = t.attempt.c.given_back_at.is_not(None)
    if then:
        status = sa.case((by_then(t.attempt, "ended"), status), else_=literal("running"))
        given_back = sa.and_(given_back, by_then(t.attempt, "given_back"))
    is_dead = sa.and_(status == literal("running"), among(dialect_name, t.attempt.c.run_id, "dead_runs"))
    status = sa.case((is_dead, literal("lost")), else_=status)
    stands = sa.and_(status == literal("completed"), ~given_back)
    words = ("running", *UNSUCCESSFUL)
    counted = (stands, stands & t.attempt.c.restorable, *(status == literal(word) for word in words))
    return (
        sa.select(
            t.attempt.c.step_of,
            sa.func.count(t.attempt.c.step_number.distinct()),
            *(sa.func.count(sa.case((condition, literal(1)))) for condition in counted),
            sa.func.count(sa.case((~is_one_of(t.attempt.c.kind, *KINDS), literal(1)))),
        )
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.step_of.is_not(None),
            *[by_then(t.attempt, "started")] * then,
        )
        .group_by(t.attempt.c.step_of)
        .order_by(sa.func.min(t.attempt.c.id))
    )


def step_counts(
    executor: Executor, session_id: int, moment: Moment | None = None, *, dead_runs: Collection[int] = ()
) -> list[StepCounts]:
    """Count the steps of a session's tasks, in the order of their first steps. In dead runs, running ones are lost."""
    params = {"session_id": session_id, "dead_runs": json.dumps(list(dead_runs)), **(moment.bounds if moment else {})}
    found = executor.execute(_step_counts(executor.dialect_name, moment is not None), params)
    return [StepCounts(*row) for row in found]


@statement
def _with_results(then: bool) -> sa.Select[*Row]:
    found = (
        attempts_without("error_traceback")
        .add_columns(t.attempt.c.result)
        .where(t.attempt.c.step_of == bindparam("task"))
        .order_by(t.attempt.c.step_number, t.attempt.c.number)
    )
    return found.where(by_then(t.attempt, "started")) if then else found


def steps_of_task(
    transaction: Transaction, session_id: int, task: str, moment: Moment | None = None
) -> Iterator[tuple[AttemptRecord, str | None]]:
    """Yield the attempts of a task's steps, step by step, each with its encoded result."""
    params = {"session_id": session_id, "task": task, **(moment.bounds if moment else {})}
    rows = transaction.stream(_with_results(moment is not None), params)
    return sound(lambda row: (attempts.record(row[:-1]), row[-1]), rows)


@statement
def _running() -> sa.Select[*Row]:
    return attempts_without("arguments", "error_traceback").where(
        t.attempt.c.step_of.is_not(None), t.attempt.c.status == literal("running")
    )


def running_steps(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Return the attempts of steps of a session that run, or ran when their process died."""
    return list(sound(attempts.record, executor.execute(_running(), {"session_id": session_id})))


@statement
def _of_step() -> sa.Select[*Row]:
    return (
        attempts_without("error_traceback")
        .where(t.attempt.c.step_of.is_not(None), t.attempt.c.task == bindparam("step_id"))
        .order_by(t.attempt.c.number.desc())
        .limit(literal(1))
    )


def newest_of_step(executor: Executor, session_id: int, step_id: str) -> AttemptRecord | None:
    """Return the newest attempt of the step with the id `TASK/NUMBER`, or None if the session has no such step."""
    rows = executor.execute(_of_step(), {"session_id": session_id, "step_id": step_id})
    return attempts.record(rows[0]) if rows else None
