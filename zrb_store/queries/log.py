"""What `log` reads: attempts with their tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from zrb_store.db.core import attempt, bindparam, sa
from zrb_store.db.transaction import Transaction
from zrb_store.queries import attempts
from zrb_store.queries.output import has_output
from zrb_store.queries.show import attempts_without, no_step, of_task
from zrb_store.records import AttemptRecord

_around = attempt.alias("around")
_NUMBER_AROUND = sa.select(_around.c.number).where(_around.c.id == attempt.c.parent_id).scalar_subquery()
_ALL = (
    attempts_without("arguments")
    .add_columns(_NUMBER_AROUND, has_output)
    .order_by(sa.func.coalesce(attempt.c.parent_id, attempt.c.id), attempt.c.id)
)
_OF_TASK = _ALL.where(sa.or_(sa.and_(of_task, no_step), attempt.c.step_of == bindparam("task")))
_OF_STEP = _ALL.where(of_task, ~no_step)


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
    statement = _ALL if task is None else _OF_STEP if is_step else _OF_TASK
    for *columns, number, printed in transaction.stream(statement, {"session_id": session_id, "task": task}):
        record = attempts.record(tuple(columns))
        yield LoggedAttempt(record, None if number is None else f"{record.step_of}#{number}", bool(printed))
