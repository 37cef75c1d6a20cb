"""Run the migrations for Alembic, on the connection that zrb-store passes to it, or else on ZRB_STORE_URL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context

from zrb_store.db import VERSION_TABLE, migrate, tables
from zrb_store.db.location import store_url


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether a comparison includes this object. Tables of other programs may be in the same database."""
    return kind != "table" or ((name or "").startswith("zrb_") and name not in (VERSION_TABLE, tables.clock.name))


def run(connection: sa.Connection) -> None:
    """Run the migrations; in offline mode only print their SQL."""
    target: dict[str, Any] = {"connection": connection}
    if context.is_offline_mode():
        target = {"dialect_name": connection.dialect.name, "literal_binds": True}
    context.configure(
        target_metadata=tables.metadata,
        version_table=VERSION_TABLE,
        version_table_schema=migrate.version_schema(connection),
        include_name=is_ours,
        render_as_batch=True,  # SQLite can change few things in a table, so Alembic recreates the table
        transactional_ddl=True,
        **target,
    )
    with context.begin_transaction():
        needs_views = is_upgrade_to_head()
        context.run_migrations()
        if needs_views:
            migrate.make_views(connection.dialect.name, context.execute)


def is_upgrade_to_head() -> bool:
    """Whether the store has an older revision, and gets the newest one, for which the views are written."""
    if "destination_rev" not in context.get_context().opts:
        return False
    head = context.get_head_revision()
    return context.get_revision_argument() == head and context.get_context().get_current_heads() != (head,)


given: sa.Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migrate.engine_of(store_url()).connect() as connection:
        if context.is_offline_mode():
            run(connection)
        else:
            with migrate.exclusive(connection):
                run(connection)
