"""The errors that ended runs."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from zrb_store.db.core import attempt, literal_column, sa
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.records import UNSUCCESSFUL


class AttemptError(NamedTuple):
    """The error that ended an attempt."""

    task: str
    type: str | None
    message: str | None

    def text(self) -> str:
        """Return it as text: `load: ValueError: no column 'price'`."""
        return ": ".join(part for part in self if part)


@functools.cache
def _last_errors(dialect_name: str) -> Any:
    last = (
        sa.select(sa.func.max(attempt.c.id))
        .where(
            among(dialect_name, attempt.c.run_id, "ids"),
            attempt.c.status.in_([literal_column(f"'{status}'") for status in UNSUCCESSFUL]),
            attempt.c.error_type.is_not(None),
            attempt.c.step_of.is_(None),  # the error of a step is its task's, too
        )
        .group_by(attempt.c.run_id)
    )
    columns = (attempt.c.run_id, attempt.c.task, attempt.c.error_type, attempt.c.error_message)
    return sa.select(*columns).where(attempt.c.id.in_(last))


def last_errors(executor: Executor, run_ids: Sequence[int]) -> dict[int, AttemptError]:
    """Return by the id of a run the error of its newest attempt that ended with one."""
    rows = executor.execute(_last_errors(executor.dialect_name), {"ids": json.dumps(list(run_ids))})
    return {run_id: AttemptError(*error) for run_id, *error in rows}
