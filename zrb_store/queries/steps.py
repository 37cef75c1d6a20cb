"""Begin, complete and find steps: attempts inside an attempt (guarantees.md, promise 11)."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple

from zrb_store.db.columns import ATTEMPT
from zrb_store.db.core import Params, bindparam, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, insert_if_absent, new_id, next_tick, now, schema_is_unchanged
from zrb_store.db.rows import fit
from zrb_store.db.transaction import Executor, Row, first_column
from zrb_store.errors import InvalidArgument
from zrb_store.queries import attempts
from zrb_store.queries.attempts import BegunAttempt, attempt_as, attempt_may_write, is_in_effect, is_of_no_task
from zrb_store.records import AttemptRecord

KINDS: Final = ("step", "wait")
"""The kinds of steps. Wings add others."""
_parent, _other = functools.partial(attempt_as, "parent"), functools.partial(attempt_as, "other")


def of_task(of_parent: bool = False) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is of a step of `:task`, in `:session_id` or in that of `:attempt_id`."""
    parents = sa.select(_parent().c.session_id).where(_parent().c.id == bindparam("attempt_id")).scalar_subquery()
    session_id = parents if of_parent else bindparam("session_id")
    return sa.and_(t.attempt.c.session_id == session_id, t.attempt.c.step_of == bindparam("task"))


def is_running() -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is a step of the attempt `:attempt_id` that runs."""
    # The status is compared twice: if PostgreSQL has waited for a step that has just completed, it compares the step's
    # own columns once more, but does not search for the ids again.
    return sa.and_(
        t.attempt.c.status == literal("running"),
        t.attempt.c.id.in_(
            sa.select(_other().c.id)
            .where(
                _other().c.status == literal("running"),
                _other().c.run_id
                == sa.select(_parent().c.run_id).where(_parent().c.id == bindparam("attempt_id")).scalar_subquery(),
                _other().c.parent_id == bindparam("attempt_id"),
            )
            .with_hint(_other(), "INDEXED BY ix_zrb_attempt_running", "sqlite")
        ),
    )


class StepKey(NamedTuple):
    """What a step is known by within its task: steps of two kinds may have one name."""

    kind: str
    name: str


class NewStep(NamedTuple):
    """What is stored of a step when it begins."""

    step: str  # its name
    arguments: str | None
    once: bool = False
    kind: str = "step"
    attributes: str | None = None
    awaited_queue: str | None = None  # what a wait waits for
    deadline_at: int | None = None  # until when, in microseconds
    say: str | None = None
    say_digest: str | None = None

    @property
    def key(self) -> StepKey:
        """What it is known by within its task."""
        return StepKey(self.kind, self.step)


class StepRecord(NamedTuple):
    """An attempt of a step."""

    id: int
    number: int
    task: str  # the step's id within its session: TASK/NUMBER
    kind: str
    step: str  # its name, which no other step of its kind has in its task
    step_number: int  # its number within its task
    status: str
    started_at: int  # when it began, in microseconds
    started_tick: int
    ended_tick: int | None
    arguments: str | None  # its encoded arguments; None of a wait, and if a person marked it before it ever began
    attributes: str | None  # what else its kind says of it, as a JSON object
    awaited_queue: str | None
    deadline_at: int | None
    say: str | None
    say_digest: str | None
    result: str | None  # its encoded result, or None
    inputs_assigned: str | None  # encoded: what it has assigned to inputs
    command_pid: int | None  # the process that leads its command, if it is one
    command_started: str | None
    parent_id: int | None  # the attempt around it
    used_by: int | None  # the last attempt of a script that got its stored result
    restorable: bool  # whether its result could be stored
    once: bool  # whether it may not be repeated unless a person lets it
    given_back: bool  # whether it was given back
    kept: bool  # whether a person has kept it: `fork` copied it, or `mark` wrote it

    @property
    def key(self) -> StepKey:
        """What it is known by within its task."""
        return StepKey(self.kind, self.step)

    @property
    def in_effect(self) -> bool:
        """Whether it has completed and has not been given back since."""
        return self.status == "completed" and not self.given_back

    @property
    def is_done(self) -> bool:
        """Whether its stored result is returned instead of running the step again."""
        return self.in_effect and self.restorable

    @property
    def is_wait(self) -> bool:
        """Whether it waits for something, or has waited."""
        return self.awaited_queue is not None or self.deadline_at is not None

    def as_new(self) -> NewStep:
        """Return what another attempt of it is to store."""
        return NewStep(**{name: getattr(self, name) for name in NewStep._fields})

    @property
    def uncertain(self) -> bool:
        """Whether it was declared `once`, and has happened or may have happened."""
        return self.once and self.status != "failed"

    @property
    def what(self) -> str:
        """Say that it has happened, or may have happened."""
        return "has completed" if self.in_effect else "may have happened"


def select_steps(*without: str) -> sa.Select[*Row]:
    """Select attempts of steps as `step_record` reads them, without the values of some columns."""
    columns = [sa.null() if name in without else t.attempt.c[name] for name in StepRecord._fields[:-2]]
    return sa.select(*columns, t.attempt.c.given_back_at.is_not(None), t.attempt.c.run_id.is_(None))


def step_record(row: Row) -> StepRecord:
    """Return the attempt of a step of a row."""
    return StepRecord._make((*row[:-4], *map(bool, row[-4:])))


@statement
def _newest() -> sa.Select[*Row]:
    is_it = (t.attempt.c.step == bindparam("step"), t.attempt.c.kind == bindparam("kind"))
    found = select_steps().where(of_task(of_parent=True), *is_it)
    return found.order_by(t.attempt.c.id.desc()).limit(literal(1))


def newest(executor: Executor, parent_id: int, task: str, step: StepKey) -> StepRecord | None:
    """Return the newest attempt of a step, in whichever attempt of its task it ran; None if the step never began."""
    rows = executor.execute(_newest(), {"attempt_id": parent_id, "task": task, "step": step.name, "kind": step.kind})
    return step_record(rows[0]) if rows else None


@statement
def _of_attempt(with_values: bool) -> sa.Select[*Row]:
    found = select_steps() if with_values else select_steps("arguments", "result")
    return found.where(t.attempt.c.parent_id == bindparam("attempt_id")).order_by(t.attempt.c.id)


def of_attempt(executor: Executor, attempt_id: int, *, with_values: bool = True) -> dict[StepKey, StepRecord]:
    """Return the last attempt of each step that an attempt of a task began; its arguments and result if asked for."""
    found = map(step_record, executor.execute(_of_attempt(with_values), {"attempt_id": attempt_id}))
    return {each.key: each for each in found}


@statement
def _count_used() -> sa.Select[int]:
    around = (t.attempt.c.session_id == _parent().c.session_id, t.attempt.c.step_of == _parent().c.task)
    used = t.attempt.c.used_by == _parent().c.id
    found = sa.select(sa.func.count()).select_from(_parent().join(t.attempt, sa.and_(*around)))
    return found.where(_parent().c.id == bindparam("attempt_id"), used)


def count_used(executor: Executor, attempt_id: int) -> int:
    """Count the steps whose stored results other processes have used in an attempt."""
    return int(executor.execute(_count_used(), {"attempt_id": attempt_id})[0][0])


@statement
def _highest_number(of_parent: bool) -> sa.Select[int | None]:
    return sa.select(sa.func.max(t.attempt.c.step_number)).where(of_task(of_parent))


def highest_number(
    executor: Executor, task: str, *, session_id: int | None = None, parent_id: int | None = None
) -> int:
    """Return the highest number of a task's steps, or 0: in a session, or in that of an attempt of the task."""
    params = {"session_id": session_id, "attempt_id": parent_id, "task": task}
    return executor.execute(_highest_number(parent_id is not None), params)[0][0] or 0


@statement
def _begin(dialect_name: str) -> sa.sql.dml.ReturningInsert[int, int]:
    task = bindparam("task", type_=sa.Text)
    last = (
        sa.select(sa.func.coalesce(sa.func.max(_other().c.number), literal(0)))
        .where(_other().c.session_id == _parent().c.session_id, _other().c.task == task)
        .scalar_subquery()
    )
    begun = {
        "id": new_id("zrb_attempt"),
        "session_id": _parent().c.session_id,
        "run_id": _parent().c.run_id,
        "fence": _parent().c.fence,
        "task": task,
        "number": bindparam("known", type_=sa.Integer) + literal(1),
        "status": literal("running"),
        "started_at": now(),
        "started_tick": next_tick(),
        "parent_id": _parent().c.id,
        "step_of": _parent().c.task,
        "step_number": bindparam("step_number", type_=sa.Integer),
        **{name: bindparam(name, type_=t.attempt.c[name].type) for name in NewStep._fields},
    }
    rows = sa.select(*begun.values()).where(
        _parent().c.id == bindparam("attempt_id"),
        ~is_of_no_task(_parent()),
        last == bindparam("known", type_=sa.Integer),  # a forked process may have begun one meanwhile
        schema_is_unchanged(),
        attempt_may_write(),
    )
    new = insert_if_absent(dialect_name, t.attempt).from_select(list(begun), rows)
    return new.returning(t.attempt.c.id, t.attempt.c.number)


@statement
def _begun_already() -> sa.Select[int, int]:
    # An attempt of a step that runs, and that nobody else knows of, was begun by the call whose answer was lost.
    return (
        sa.select(t.attempt.c.id, t.attempt.c.number)
        .where(
            t.attempt.c.parent_id == bindparam("attempt_id"),
            t.attempt.c.task == bindparam("task", type_=sa.Text),
            t.attempt.c.step == bindparam("step", type_=sa.Text),
            t.attempt.c.kind == bindparam("kind", type_=sa.Text),
            t.attempt.c.status == literal("running"),
        )
        .order_by(t.attempt.c.id.desc())
        .limit(literal(1))
    )


def begin(
    executor: Executor, parent_id: int, task: str, number: int, new: NewStep, *, known: int = 0
) -> BegunAttempt | None:
    """Begin the next attempt of a step; None if the one around it may not write, or another process was faster."""
    params = {"attempt_id": parent_id, "task": f"{task}/{number}", "step": new.step, "kind": new.kind}
    rows = executor.execute(
        _begin(executor.dialect_name),
        {**params, **new._asdict(), "step_number": number, "known": known},
        lambda transaction: transaction.execute(_begun_already(), params) or None,
    )
    return BegunAttempt(*rows[0]) if rows else None


@statement
def _complete() -> sa.sql.dml.ReturningUpdate[int]:
    return attempts.write_own(
        status=literal("completed"),
        ended_at=now(),
        ended_tick=next_tick(),
        restorable=bindparam("restorable", type_=sa.Boolean),
        result=bindparam("result", type_=sa.Text),
        arguments=sa.func.coalesce(bindparam("arguments", type_=sa.Text), t.attempt.c.arguments),
        inputs_read=bindparam("inputs_read", type_=sa.Text),
        inputs_assigned=bindparam("inputs_assigned", type_=sa.Text),
    ).where(schema_is_unchanged())


@statement
def _is_completed() -> sa.Select[int]:
    # Only the process that runs a step completes it.
    return sa.select(t.attempt.c.id).where(
        t.attempt.c.id == bindparam("attempt_id"), t.attempt.c.status == literal("completed")
    )


def complete(
    executor: Executor,
    step_id: int,
    result: str,
    arguments: str | None = None,
    *,
    restorable: bool,
    inputs: tuple[str | None, str | None] = (None, None),
) -> bool:
    """Mark a running attempt of a step as completed, perhaps with new arguments; False if it may no longer write.

    `inputs` are those that its task has read by then, and what the step has assigned to inputs.
    """
    params = {"attempt_id": step_id, "result": result, "arguments": arguments}
    params |= {"restorable": restorable, "inputs_read": inputs[0], "inputs_assigned": inputs[1]}
    rows = executor.execute(_complete(), params, lambda other: other.execute(_is_completed(), params) or None)
    return bool(rows)


@statement
def _close() -> sa.sql.dml.ReturningUpdate[*Row]:
    return (
        sa.update(t.attempt)
        .where(is_running())
        .values(status=literal("interrupted"), ended_at=now(), ended_tick=next_tick())
        .returning(t.attempt.c.id, t.attempt.c.command_pid, t.attempt.c.command_started)
    )


def close_running(executor: Executor, parent_id: int) -> Sequence[Row]:
    """End the running steps of an attempt as interrupted, whose changes are not undone yet.

    Return the id of each, the process that leads its command, if it has one, and when that started.
    """
    return executor.execute(_close(), {"attempt_id": parent_id})


@statement
def _completed_of_task() -> sa.Select[*Row]:
    found = select_steps("arguments", "result").where(of_task(), is_in_effect())
    return found.order_by(t.attempt.c.id.desc())


@statement
def _inputs_read() -> sa.Select[str | None, str | None]:
    read = sa.func.coalesce(t.attempt.c.inputs_read, _parent().c.inputs_read)
    rows = t.attempt.outerjoin(_parent(), _parent().c.id == t.attempt.c.parent_id)
    of_session = (t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.step_of.is_not(None))
    return sa.select(t.attempt.c.step_of, read).select_from(rows).where(*of_session, is_in_effect()).distinct()


def inputs_read(executor: Executor, session_id: int) -> list[tuple[str, list[str] | None]]:
    """Return the inputs that tasks had read when a step of them completed that stands; None if that is not known.

    A step of a command does not know what its task has read, but the attempt around it may.
    """
    rows = executor.execute(_inputs_read(), {"session_id": session_id})
    column = {"inputs_read": ATTEMPT["inputs_read"]}
    read = ((task, fit("zrb_attempt", column, (text,))["inputs_read"]) for task, text in rows)
    return [(task, json.loads(text or "null")) for task, text in read]


def completed_of_task(executor: Executor, session_id: int, task: str) -> list[StepRecord]:
    """Return the completed steps of a task, in whichever attempt of it they ran, the newest first."""
    return list(map(step_record, executor.execute(_completed_of_task(), {"session_id": session_id, "task": task})))


@statement
def _of_other_kinds() -> sa.Select[str | None, str]:
    of_session = (t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.step_of.is_not(None))
    found = sa.select(t.attempt.c.step_of, t.attempt.c.kind)
    return found.where(*of_session, is_in_effect(), ~is_one_of(t.attempt.c.kind, *KINDS)).distinct()


def of_other_kinds(executor: Executor, session_id: int) -> Sequence[Row]:
    """Return the tasks that have completed steps of kinds that wings add, each with such a kind."""
    return executor.execute(_of_other_kinds(), {"session_id": session_id})


@statement
def _let_repeat() -> sa.Update:
    return sa.update(t.attempt).where(of_task(), t.attempt.c.once).values(once=sa.false())


def let_repeat(executor: Executor, session_id: int, task: str) -> None:
    """Let the steps of a task that were declared `once` run again, since a person said so."""
    executor.execute(_let_repeat(), {"session_id": session_id, "task": task})


@statement
def _find(by: Literal["name", "number"]) -> sa.Select[*Row]:
    number = bindparam("number", type_=sa.Integer)
    is_it = t.attempt.c.step == bindparam("step") if by == "name" else t.attempt.c.step_number == number
    return attempts.selection().where(of_task(), is_it).order_by(t.attempt.c.id.desc()).limit(literal(1))


@statement
def _names() -> sa.Select[str | None]:
    return sa.select(t.attempt.c.step).where(of_task()).distinct().order_by(t.attempt.c.step)


_MARKED = (
    *("session_id", "fence", "task", "status", "error_message", "parent_id"),
    *("step_of", "step_number", "result", *NewStep._fields),
    *("started_at", "started_tick", "ended_at", "ended_tick", "given_back_at", "given_back_tick"),
)


@statement
def _insert_marked() -> sa.sql.dml.ReturningInsert[int]:
    other = t.attempt.alias("other")
    return (
        sa.insert(t.attempt)
        .values({name: bindparam(name, type_=t.attempt.c[name].type) for name in _MARKED})
        .values(
            id=new_id("zrb_attempt"),
            number=sa.select(sa.func.coalesce(sa.func.max(other.c.number), literal(0)) + literal(1))
            .where(other.c.session_id == bindparam("session_id"), other.c.task == bindparam("task"))
            .scalar_subquery(),
        )
        .returning(t.attempt.c.number)
    )


def insert_marked(executor: Executor, row: Params) -> int:
    """Insert an attempt of a step that has ended already, and return its number. The session is locked."""
    return int(executor.execute(_insert_marked(), row)[0][0])


def number_of(task: str, reference: str) -> int | None:
    """Return the number in a step's id, TASK/NUMBER; None if the text is no such id."""
    number = reference.removeprefix(f"{task}/")
    return int(number) if number != reference and number.isascii() and number.isdecimal() and len(number) < 10 else None


def find(executor: Executor, session_id: int, task: str, reference: str) -> AttemptRecord | None:
    """Return the newest attempt of a step, or None if it never began. It is given by its name or else by its id."""
    params: Params = {"session_id": session_id, "task": task}
    rows = executor.execute(_find("name"), {**params, "step": reference})
    number = number_of(task, reference)
    if not rows and number is not None:
        rows = executor.execute(_find("number"), {**params, "number": number})
    return next(map(attempts.record, rows), None)


def names(executor: Executor, session_id: int, task: str) -> list[str]:
    """Return the names of the steps of a task that have begun."""
    return list(map(first_column, executor.execute(_names(), {"session_id": session_id, "task": task})))


def refuse_repeating(
    executor: Executor, session: str, session_id: int, task: str, *, without: Collection[int] = ()
) -> None:
    """Raise `InvalidArgument` if a task that starts over has completed a step that was declared `once`."""
    for step in completed_of_task(executor, session_id, task):
        if step.once and step.id not in without:
            raise InvalidArgument(
                f"step {step.step} ({session}/{step.task}) has completed and is declared `once`, and would run again: "
                "add --repeat-once to allow it"
            )


@statement
def _count_done(dialect_name: str) -> sa.Select[str | None, int]:
    return (
        sa.select(t.attempt.c.step_of, sa.func.count())
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.step_of.is_not(None),
            is_in_effect(),
            t.attempt.c.restorable,
            sa.not_(among(dialect_name, t.attempt.c.id, "without")),
        )
        .group_by(t.attempt.c.step_of)
    )


def count_done(executor: Executor, session_id: int, *, without: Iterable[int] = ()) -> dict[str, int]:
    """Return, by task, how many steps need not run again in the task's next attempt."""
    params = {"session_id": session_id, "without": json.dumps(list(without))}
    return dict(executor.execute(_count_done(executor.dialect_name), params))
