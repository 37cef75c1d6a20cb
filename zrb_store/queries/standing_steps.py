"""Completed steps, by task: how many stand, and which may not run again (docs/promises.md, promise 11)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from zrb_store.db.core import bindparam, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.errors import InvalidArgument
from zrb_store.queries.steps import standing, standing_of_task


def refuse_repeating(
    executor: Executor, session: str, session_id: int, tasks: Iterable[str], *, without: Collection[int] = ()
) -> None:
    """Refuse to let tasks start over that have completed a step which was declared `once`.

    Args:
        executor: The database, or the open transaction.
        session: Name of the session.
        session_id: The session.
        tasks: Names of the tasks.
        without: Ids of steps that do not count: they are given back for another reason.

    Raises:
        InvalidArgument: There is such a step.
    """
    for task in tasks:
        for step in standing_of_task(executor, session_id, task):
            if step.once and step.id not in without:
                raise InvalidArgument(
                    f"step {step.step} ({session}/{step.task}) has completed and is declared `once`, and would run "
                    "again: add --repeat-once if it may"
                )


@statement
def _count_done(dialect_name: str) -> sa.Select[str | None, int]:
    return (
        sa.select(t.attempt.c.step_of, sa.func.count())
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.step_of.is_not(None),
            standing(),
            t.attempt.c.restorable,
            sa.not_(among(dialect_name, t.attempt.c.id, "without")),
        )
        .group_by(t.attempt.c.step_of)
    )


def count_done(executor: Executor, session_id: int, *, without: Iterable[int] = ()) -> dict[str, int]:
    """Return, by task, how many steps need not run again in the task's next attempt.

    Args:
        executor: The database, or the open transaction.
        session_id: The session.
        without: Ids of steps that do not count.
    """
    params = {"session_id": session_id, "without": json.dumps(list(without))}
    rows = executor.execute(_count_done(executor.dialect_name), params)
    return {row[0]: row[1] for row in rows}
