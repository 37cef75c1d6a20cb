"""What `log` reads: attempts with their tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from zrb_store.db.core import bindparam, sa, statement, t
from zrb_store.db.transaction import Row, Transaction
from zrb_store.queries import attempts
from zrb_store.queries.output import has_output
from zrb_store.queries.show import attempts_without, no_step, of_task
from zrb_store.records import AttemptRecord


@statement
def _all() -> sa.Select[*Row]:
    around = t.attempt.alias("around")
    number_around = sa.select(around.c.number).where(around.c.id == t.attempt.c.parent_id).scalar_subquery()
    return (
        attempts_without("arguments")
        .add_columns(number_around, has_output())
        .order_by(sa.func.coalesce(t.attempt.c.parent_id, t.attempt.c.id), t.attempt.c.id)
    )


@statement
def _of_task() -> sa.Select[*Row]:
    return _all().construct.where(sa.or_(sa.and_(of_task(), no_step()), t.attempt.c.step_of == bindparam("task")))


@statement
def _of_step() -> sa.Select[*Row]:
    return _all().construct.where(of_task(), ~no_step())


class LoggedAttempt(NamedTuple):
    """An attempt as `log` shows it.

    Attributes:
        record: Its record, with the traceback.
        around: Name of the attempt around it, if it is one of a step and that one still exists.
        printed: Whether it has output.
    """

    record: AttemptRecord
    around: str | None
    printed: bool


def attempts_with_errors(
    transaction: Transaction, session_id: int, task: str | None = None, *, is_step: bool = False
) -> Iterator[LoggedAttempt]:
    """Yield attempts of a session with their tracebacks, the oldest first, but steps after the attempt around them.

    Args:
        transaction: A snapshot.
        session_id: The session.
        task: Only attempts of this task and of its steps.
        is_step: `task` is the id of a step: yield only attempts of this step.

    Yields:
        The attempts.
    """
    statement = _all() if task is None else _of_step() if is_step else _of_task()
    for *columns, number, printed in transaction.stream(statement, {"session_id": session_id, "task": task}):
        record = attempts.record(tuple(columns))
        yield LoggedAttempt(record, None if number is None else f"{record.step_of}#{number}", bool(printed))
