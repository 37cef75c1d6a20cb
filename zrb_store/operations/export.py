"""`export`: sessions as JSON Lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from zrb_store.db.engine import Database
from zrb_store.inspect.damage import Damage
from zrb_store.operations.transfer import lines
from zrb_store.operations.transfer.reading import read_sessions


def export(database: Database, names: Sequence[str] | None = None, damage: Damage | None = None) -> Iterator[str]:
    """Write sessions as JSON Lines, as of one moment. Damaged sessions, which could not be imported, are left out.

    Args:
        database: Where the sessions are.
        names: Full names of the sessions; by default all sessions. The oldest session comes first in any case.
        damage: Collects the sessions that are left out.

    Yields:
        Each line, with a hash of itself and all lines before it.
    """
    with contextlib.closing(read_sessions(database, names, damage)) as records:
        yield from lines.write(records)
