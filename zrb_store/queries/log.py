"""What `log` reads: attempts with their tracebacks."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from zrb_store.db.transaction import Transaction
from zrb_store.queries import attempts
from zrb_store.queries.show import attempts_without, of_task
from zrb_store.records import AttemptRecord

# The plus sign keeps SQLite from walking the whole table by id.
_IN_ORDER: sa.ColumnClause[int] = sa.literal_column("+zrb_attempt.id")
_ALL = attempts_without("arguments").order_by(_IN_ORDER)
_OF_TASK = _ALL.where(of_task)


def attempts_with_errors(transaction: Transaction, session_id: int, task: str | None) -> Iterator[AttemptRecord]:
    """Yield all attempts of a session, or of one of its tasks, with their tracebacks, the oldest first."""
    statement = _ALL if task is None else _OF_TASK
    return map(attempts.record, transaction.stream(statement, {"session_id": session_id, "task": task}))
