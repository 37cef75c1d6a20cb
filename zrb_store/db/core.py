"""What statements are written with: SQLAlchemy, the tables, and what differs between the databases; all deferred.

SQLAlchemy takes longer to import than most commands take altogether. Here it is not imported before a statement is
compiled, and those that are stored (`stored_statements.py`) need not be compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.db.deferred import module

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import bindparam, literal_column

    from zrb_store.db.tables import attempt, change, chunk, clock, output, queue, returned, run, session, value, version
else:
    sa = module("sqlalchemy")
    bindparam, literal_column = sa.bindparam, sa.literal_column
    _tables = module("zrb_store.db.tables")
    attempt, change, chunk, output = _tables.attempt, _tables.change, _tables.chunk, _tables.output
    clock = _tables.clock
    queue, returned, run = _tables.queue, _tables.returned, _tables.run
    session, value, version = _tables.session, _tables.value, _tables.version

__all__ = [
    "attempt",
    "bindparam",
    "change",
    "chunk",
    "clock",
    "literal_column",
    "output",
    "queue",
    "returned",
    "run",
    "sa",
    "session",
    "value",
    "version",
]
