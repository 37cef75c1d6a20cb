"""The errors that ended runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from zrb_store.db.core import attempt, literal_column, run, sa
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


_later = attempt.alias("later")


@functools.cache
def _last_errors(dialect_name: str) -> Any:
    last = (
        sa.select(sa.func.max(attempt.c.id))
        .where(
            among(dialect_name, attempt.c.run_id, "ids"),
            attempt.c.status.in_([literal_column(f"'{status}'") for status in UNSUCCESSFUL]),
            attempt.c.error_type.is_not(None),
            attempt.c.step_of.is_(None),  # the error of a step is its task's, too
            ~sa.exists(
                sa.select(literal_column("1")).where(
                    _later.c.run_id == attempt.c.run_id,
                    _later.c.task == attempt.c.task,
                    _later.c.id > attempt.c.id,
                    _later.c.status == literal_column("'completed'"),
                )
            ),
        )
        .group_by(attempt.c.run_id)
    )
    columns = (attempt.c.run_id, attempt.c.task, attempt.c.error_type, attempt.c.error_message)
    return sa.select(*columns).where(attempt.c.id.in_(last))


@functools.cache
def _own_errors(dialect_name: str) -> Any:
    return sa.select(run.c.id, sa.null(), run.c.error_type, run.c.error_message).where(
        among(dialect_name, run.c.id, "ids"), run.c.error_type.is_not(None)
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
