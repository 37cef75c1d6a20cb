"""Sessions that have become old, and what `prune` leaves of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from zrb_store import Store
from zrb_store.db import tables
from zrb_store.operations import prune
from zrb_store.operations.prune import Policy

DAY = timedelta(days=1)


MONTH = Policy(older_than=30 * DAY)


def age(store: Store, days: int) -> None:
    """Make everything in the store older."""
    micros = days * 86_400_000_000
    for table in tables.metadata.tables.values():
        moments = [c for c in table.c if isinstance(c.type, sa.BigInteger) and c.name.endswith(("_at", "at"))]
        if moments:
            store.database.execute(sa.update(table).values({column: column - micros for column in moments}))


def run(
    store: Store, name: str, task: str | None = "load", status: str = "completed", project: str | None = None
) -> None:
    started = store.session(name).run(task=task, project=project).start()
    started.task("step", lambda: name)
    started.end(status)


def names(store: Store) -> set[str]:
    return {session.name for session in store.sessions()}


def pruned(store: Store, policy: Policy) -> list[str]:
    """Prune, after checking that a dry run announces the same and changes nothing."""
    before = names(store)
    foretold = list(prune.prune(store.database, policy, dry_run=True))
    assert names(store) == before
    done = list(prune.prune(store.database, policy))
    assert done == foretold
    assert names(store) == before - {deletion.session for deletion in done if deletion.values is None}
    return [deletion.session for deletion in done]


def everything(store: Store) -> dict[str, Any]:
    return {name: store.database.execute(sa.select(table)) for name, table in tables.metadata.tables.items()}
