"""One word for one thing: `ended_at`, `status` and `failed_deliveries`, in tables and in views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = (
    ("zrb_session", "finished_at", "ended_at"),
    ("zrb_session", "finished_tick", "ended_tick"),
    ("zrb_run", "outcome", "status"),
    ("zrb_value", "deliveries", "failed_deliveries"),
    ("zrb_return", "deliveries", "failed_deliveries"),
)
VIEW_COLUMNS = (
    ("zrb_xcom_sessions", "finished_at", "ended_at"),
    ("zrb_xcom_runs", "outcome", "status"),
    ("zrb_xcom_values", "deliveries", "failed_deliveries"),
    ("zrb_xcom_returns", "deliveries", "failed_deliveries"),
)
OUR_VIEWS = [
    f"zrb_xcom_{name}" for name in ("sessions", "runs", "attempts", "steps", "queues", "values", "returns", "lineage")
]

# PostgreSQL replaces a view only if its columns keep their names. A view of that name in another schema is not ours.
RENAME_IN_VIEW = """DO $$ BEGIN
    IF EXISTS (SELECT FROM information_schema.columns
               WHERE table_schema = current_schema() AND table_name = '{0}' AND column_name = '{1}') THEN
        ALTER TABLE {0} RENAME COLUMN {1} TO {2};
    END IF;
END $$"""


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        with without_views():
            rename(COLUMNS)
    else:
        rename(COLUMNS)
        for view in VIEW_COLUMNS:
            op.execute(RENAME_IN_VIEW.format(*view))
    op.drop_index("ix_zrb_session_task_finished_tick", table_name="zrb_session")
    op.create_index("ix_zrb_session_task_ended_tick", "zrb_session", ["task", "ended_tick"])


def rename(columns: tuple[tuple[str, str, str], ...]) -> None:
    for table, old, new in columns:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")


@contextmanager
def without_views() -> Iterator[None]:
    """Drop all views of a SQLite store, and then make those of the user again.

    SQLite refuses to rename a column while a view cannot be read, such as a view of the user on one of ours. Our own
    views are made at the end of the upgrade.
    """
    if op.get_context().as_sql:  # the views of the user are not known
        for name in OUR_VIEWS:
            op.execute(f"DROP VIEW IF EXISTS {name}")
        yield
        return
    run = op.get_bind().exec_driver_sql
    found = run("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid").all()
    views = [name for kind, name, _, _ in found if kind == "view"]
    of_user = set(views) - set(OUR_VIEWS)
    for name in views:
        quoted = name.replace('"', '""')
        run(f'DROP VIEW "{quoted}"')  # and its triggers
    yield
    for kind, _, table, sql in found:
        if kind in ("view", "trigger") and table in of_user:
            run(sql)
