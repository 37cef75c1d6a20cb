"""Attempts that are running and hold values."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import literal_column

from zrb_store.db.columns import RUN
from zrb_store.db.dialect import among
from zrb_store.db.tables import attempt, queue, run, session, value
from zrb_store.db.transaction import Executor
from zrb_store.queries import runs
from zrb_store.records import RunRecord


class Holder(NamedTuple):
    """An attempt that is running and holds values.

    Attributes:
        home_id: The session whose values it holds.
        session: Name of the attempt's own session.
        task: Its task.
        number: Its number.
        run: Its run, whose process may have died.
    """

    home_id: int
    session: str
    task: str
    number: int
    run: RunRecord


@functools.cache
def _holders(dialect_name: str) -> Any:
    return (
        sa.select(queue.c.session_id, session.c.name, attempt.c.task, attempt.c.number, *(run.c[name] for name in RUN))
        .select_from(
            attempt.join(run, run.c.id == attempt.c.run_id)
            .join(session, session.c.id == attempt.c.session_id)
            .join(value, value.c.taken_by == attempt.c.id)
            .join(queue, queue.c.id == value.c.queue_id)
        )
        .where(attempt.c.status == literal_column("'running'"), among(dialect_name, queue.c.session_id, "session_ids"))
        .with_hint(attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
        .distinct()
    )


def holders(executor: Executor, session_ids: Sequence[int]) -> list[Holder]:
    """Return the running attempts, of any session, that hold values of some sessions' queues."""
    rows = executor.execute(_holders(executor.dialect_name), {"session_ids": json.dumps(list(session_ids))})
    return [
        Holder(home_id, name, task, number, runs.record(tuple(columns)))
        for home_id, name, task, number, *columns in rows
    ]
