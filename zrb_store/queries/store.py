"""The facts about a whole store that `db` reads."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from zrb_store.db.core import sa, statement, t
from zrb_store.db.dialect import now
from zrb_store.db.transaction import Executor
from zrb_store.queries.values import is_due

Kind = Literal["sessions", "runs", "attempts", "queues", "values", "live values"]


@statement
def _count(kind: Kind) -> sa.Select[int]:
    tables = {"sessions": t.session, "runs": t.run, "attempts": t.attempt, "queues": t.queue}
    counted = sa.select(sa.func.count()).select_from(tables.get(kind, t.value))
    return counted.where(t.value.c.ended_at.is_(None), is_due()) if kind == "live values" else counted


def rows(executor: Executor) -> dict[str, int]:
    """Count the rows of each kind."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    return {kind: executor.execute(_count(kind))[0][0] for kind in kinds}


class Holder(NamedTuple):
    """A run that holds the lease of its session, and its process."""

    session: str
    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None


@statement
def _holders() -> sa.Select[str, str, str | None, str | None, int, str | None]:
    # This reads an older store, so it may use only columns of the first revision.
    return (
        sa.select(t.session.c.name, *(t.run.c[name] for name in Holder._fields[1:]))
        .select_from(t.run.join(t.session))
        .where(t.run.c.ended_at.is_(None), t.run.c.lease_expires_at > now())
        .order_by(t.run.c.id)
    )


def holders(executor: Executor) -> list[Holder]:
    """Return the runs whose lease has not expired, in a store of any revision."""
    return [Holder(*row) for row in executor.execute(_holders())]
