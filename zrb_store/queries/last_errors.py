"""The errors that ended runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.core import literal_column, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.records import UNSUCCESSFUL


class LastError(NamedTuple):
    """An error that ended an attempt, or a run outside of its attempts: then there is no task."""

    task: str | None
    type: str | None
    message: str | None

    def text(self) -> str:
        """Return it as text: `load: ValueError: no column 'price'`."""
        return ": ".join(part for part in self if part)


@statement
def _last_errors(dialect_name: str) -> sa.Select[int | None, str, str | None, str | None]:
    later = t.attempt.alias("later")
    last = (
        sa.select(sa.func.max(t.attempt.c.id))
        .where(
            among(dialect_name, t.attempt.c.run_id, "ids"),
            t.attempt.c.status.in_([literal_column(f"'{status}'") for status in UNSUCCESSFUL]),
            t.attempt.c.error_type.is_not(None),
            t.attempt.c.step_of.is_(None),  # the error of a step is its task's, too
            ~sa.exists(
                sa.select(literal_column("1")).where(
                    later.c.run_id == t.attempt.c.run_id,
                    later.c.task == t.attempt.c.task,
                    later.c.id > t.attempt.c.id,
                    later.c.status == literal_column("'completed'"),
                )
            ),
        )
        .group_by(t.attempt.c.run_id)
    )
    columns = (t.attempt.c.run_id, t.attempt.c.task, t.attempt.c.error_type, t.attempt.c.error_message)
    return sa.select(*columns).where(t.attempt.c.id.in_(last))


@statement
def _own_errors(dialect_name: str) -> sa.Select[int, str | None, str | None, str | None]:
    return sa.select(t.run.c.id, sa.null(), t.run.c.error_type, t.run.c.error_message).where(
        among(dialect_name, t.run.c.id, "ids"), t.run.c.error_type.is_not(None)
    )


def last_errors(executor: Executor, run_ids: Sequence[int]) -> dict[int, LastError]:
    """Return by the id of a run the error that ended it.

    It is that of the newest attempt that ended with one and whose task did not complete afterwards, or else the error
    that ended the run outside of its attempts.
    """
    ids = {"ids": json.dumps(list(run_ids))}
    rows = [
        *executor.execute(_own_errors(executor.dialect_name), ids),
        *executor.execute(_last_errors(executor.dialect_name), ids),
    ]
    return {run_id: LastError(*error) for run_id, *error in rows}
