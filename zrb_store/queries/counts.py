"""How many rows of each kind there are, for `db status`."""

from __future__ import annotations

from typing import Literal, get_args

from zrb_store.db.core import sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.values import is_due

Counted = Literal["sessions", "runs", "attempts", "queues", "values", "live values"]


@statement
def _rows(kind: Counted) -> sa.Select[int]:
    tables = {"sessions": t.session, "runs": t.run, "attempts": t.attempt, "queues": t.queue}
    counted = sa.select(sa.func.count()).select_from(tables.get(kind, t.value))
    return counted.where(t.value.c.ended_at.is_(None), is_due()) if kind == "live values" else counted


def rows(executor: Executor) -> dict[str, int]:
    """Count the rows of each kind."""
    kinds: tuple[Counted, ...] = get_args(Counted)
    return {kind: executor.execute(_rows(kind))[0][0] for kind in kinds}
