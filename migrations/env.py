"""How Alembic runs the migrations: on the connection that zrb-store hands over, or on ZRB_STORE_URL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context

from zrb_store import settings
from zrb_store.db import migrate, tables
from zrb_store.db.dialect import dialect_of


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether a comparison looks at this table: others may live in the same database."""
    return kind != "table" or ((name or "").startswith("zrb_") and name != tables.VERSION_TABLE)


def run(connection: sa.Connection) -> None:
    where: dict[str, Any] = {"connection": connection}
    if context.is_offline_mode():
        where = {"dialect_name": connection.dialect.name, "literal_binds": True}
    context.configure(
        target_metadata=tables.metadata,
        version_table=tables.VERSION_TABLE,
        version_table_schema=migrate.version_schema(connection),
        include_name=ours,
        render_as_batch=True,  # SQLite can alter little: a table is written anew instead
        transactional_ddl=True,
        **where,
    )
    with context.begin_transaction():
        if "destination_rev" in context.get_context().opts:  # not for commands that only look
            migrate.move_revision(connection, context.execute)
        context.run_migrations()


def engine() -> sa.Engine:
    url = settings.store_url()
    dialect = dialect_of(url)
    dialect.create(url)
    return dialect.engine(url, read_only=False, durability="normal")


given: sa.Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with engine().connect() as connection:
        if context.is_offline_mode():
            run(connection)
        else:
            with migrate.exclusive(connection):
                run(connection)
