"""Changes of a table that SQLite can only make by copying it. Only migrations import this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.util import OrderedSet

if TYPE_CHECKING:
    from alembic.operations import BatchOperations

# Rows of sqlite_sequence go with their table.
_KEPT = "kept by zrb_store.db.rebuild"


@contextmanager
def rebuild(table: str) -> Iterator[BatchOperations]:
    """Change constraints, types or defaults of a table in a block: by ALTER TABLE on PostgreSQL, by a copy on SQLite.

    Use it instead of `op.batch_alter_table`, whose copy is not STRICT, may use an id again, has no triggers, and has
    its constraints in an order that differs between runs. Names of constraints need `op.f`.
    """
    from alembic import op
    from alembic.util import CommandError

    if op.get_context().dialect.name != "sqlite":
        with op.batch_alter_table(table) as batch:
            yield batch
        return
    if op.get_context().as_sql:
        raise CommandError("a migration that copies a table reads it: use `zrb-store db upgrade --sql`")
    connection = op.get_bind()
    query = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('table', 'trigger') ORDER BY type, rowid"
    definition, *triggers = connection.exec_driver_sql(query, (table,)).scalars()
    before = sa.Table(table, sa.MetaData(), autoload_with=connection, resolve_fks=False)
    before.constraints = OrderedSet(sorted(before.constraints, key=lambda one: str(one.name)))
    before.indexes = OrderedSet(sorted(before.indexes, key=lambda one: str(one.name)))
    has_sequence = "AUTOINCREMENT" in definition
    options = {
        "sqlite_strict": True,
        "sqlite_autoincrement": has_sequence,
        "sqlite_with_rowid": "WITHOUT ROWID" not in definition,
    }
    if has_sequence:
        op.execute(f"INSERT INTO sqlite_sequence SELECT '{_KEPT}', seq FROM sqlite_sequence WHERE name = '{table}'")
    with op.batch_alter_table(table, recreate="always", copy_from=before, table_kwargs=options) as batch:
        yield batch
    if has_sequence:
        op.execute(f"DELETE FROM sqlite_sequence WHERE name = '{table}'")
        op.execute(f"UPDATE sqlite_sequence SET name = '{table}' WHERE name = '{_KEPT}'")
    for trigger in triggers:
        connection.exec_driver_sql(trigger)
