"""Why runs did not complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.core import exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row
from zrb_store.records import UNSUCCESSFUL, ErrorRecord


class LastError(NamedTuple):
    """An error that ended an attempt, or a run outside of its attempts: then there is no task."""

    task: str | None
    type: str | None
    message: str | None
    others: int = 0  # how many other tasks of the run did not complete

    def text(self) -> str:
        """Return it as text: `load and 2 more: ValueError: no column 'price'`."""
        parts = [self.named(), ErrorRecord(self.type, self.message).text()]
        return ": ".join(part for part in parts if part)

    def named(self) -> str | None:
        """Return the task, and how many others did not complete: `load and 2 more`."""
        return self.task and self.task + (f" and {self.others} more" if self.others else "")


@statement
def _last_errors(dialect_name: str) -> sa.Select[*Row]:
    later = t.attempt.alias("later")
    is_first_choice = sa.or_(t.attempt.c.status == literal("failed"), t.attempt.c.kind == literal("delivery"))
    chosen = sa.func.coalesce(sa.func.max(sa.case((is_first_choice, t.attempt.c.id))), sa.func.max(t.attempt.c.id))
    last = (
        sa.select(chosen.label("id"), sa.func.count(t.attempt.c.task.distinct()).label("tasks"))
        .where(
            among(dialect_name, t.attempt.c.run_id, "ids"),
            is_one_of(t.attempt.c.status, *UNSUCCESSFUL),
            t.attempt.c.error_type.is_not(None),
            t.attempt.c.step_of.is_(None),  # the error of a step is its task's, too
            # What a consumer took later was another value.
            sa.or_(
                t.attempt.c.kind == literal("delivery"),
                ~exists(
                    later.c.run_id == t.attempt.c.run_id,
                    later.c.task == t.attempt.c.task,
                    later.c.id > t.attempt.c.id,
                    sa.or_(later.c.status == literal("completed"), later.c.error_type.is_not(None)),
                ),
            ),
        )
        .group_by(t.attempt.c.run_id)
        .subquery()
    )
    columns = (t.attempt.c.run_id, t.attempt.c.task, t.attempt.c.error_type, t.attempt.c.error_message)
    return sa.select(*columns, last.c.tasks - literal(1)).join(last, last.c.id == t.attempt.c.id)


@statement
def _own_errors(dialect_name: str) -> sa.Select[int, str | None, str | None, str | None]:
    return sa.select(t.run.c.id, sa.null(), t.run.c.error_type, t.run.c.error_message).where(
        among(dialect_name, t.run.c.id, "ids"), t.run.c.error_type.is_not(None)
    )


def last_errors(executor: Executor, run_ids: Sequence[int]) -> dict[int, LastError]:
    """Return by run why it did not complete: the failure that `list`, `check`, `stats`, cards and notifications name.

    It is the newest delivery that did not complete, or else the last attempt of a task that failed, or was interrupted
    if none failed; the newest, if several did. A run without such an attempt has the error outside of its attempts.
    """
    ids = {"ids": json.dumps(list(run_ids))}
    rows = [
        *executor.execute(_own_errors(executor.dialect_name), ids),
        *executor.execute(_last_errors(executor.dialect_name), ids),
    ]
    return {run_id: LastError(*error) for run_id, *error in rows}
