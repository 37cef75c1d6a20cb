"""`copy`: copy sessions from one store to another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument
from zrb_store.inspect.damage import Damage
from zrb_store.operations.transfer.reading import read_sessions
from zrb_store.operations.transfer.writing import refuse_existing, write
from zrb_store.queries import export as queries


def copy(
    source: Database,
    target: Database,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    damage: Damage | None = None,
) -> int:
    """Copy sessions as of one moment, each in one transaction. Damaged sessions are left out.

    Args:
        source: The store to read.
        target: The store to write.
        names: Full names of the sessions; by default all sessions.
        progress: Called after each session with the number of sessions done and the number of all.
        damage: Collects the sessions that are left out.

    Returns:
        The number of sessions copied.

    Raises:
        InvalidArgument: Both are the same store.
        ZrbStoreError: The target has a session of such a name already. Nothing was written.
    """
    if source.url == target.url:
        raise InvalidArgument("both are the same store: name another one to copy to")
    chosen = None if names is None else dict.fromkeys(names)
    total = queries.count(source) if chosen is None else len(chosen)
    with source.snapshot() as transaction:
        for name in queries.names(transaction) if chosen is None else chosen:
            refuse_existing(target, name, "copy to a new store, delete it there, or name the sessions to copy")
    with contextlib.closing(read_sessions(source, names, damage)) as records:
        return write(target, records, "copy", lambda done: progress(done, total))
