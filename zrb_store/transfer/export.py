"""`export`: sessions as JSON Lines, as of one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence

from zrb_store.db.engine import Database
from zrb_store.operations.copy import sound_sessions
from zrb_store.queries import copy as queries
from zrb_store.queries.copy import Record
from zrb_store.transfer.lines import write_lines


def export(database: Database, names: Sequence[str] | None = None) -> Iterator[str]:
    """Write sessions, or all, as JSON Lines as of one moment, the oldest first. Damaged ones are left out."""

    def read() -> Generator[Record]:
        for name in sound_sessions(transaction, names):
            yield from queries.read(transaction, name)

    # One snapshot, so that what one session says of another agrees with the other.
    with database.snapshot() as transaction, contextlib.closing(read()) as records:
        yield from write_lines(records)
