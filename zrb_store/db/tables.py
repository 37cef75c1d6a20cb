"""The tables. Migrations are the only way they are born; a test holds the two equal.

Times are whole microseconds since 1970 UTC, read from the database's clock inside the transaction that writes them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    TableClause,
    Text,
    UniqueConstraint,
    column,
    false,
    text,
    true,
)

# The Alembic revision this code reads and writes; a test ties it to the head of migrations/.
REVISION = "0002"

# Where Alembic keeps the revision; ours alone, so that other programs that use Alembic may share a PostgreSQL schema.
VERSION_TABLE = "zrb_version"
# Where revision 0001 kept it, and where the programs of that revision still look (migrations/versions/0002).
OLD_VERSION_TABLE = "alembic_version"

version = TableClause(VERSION_TABLE, column("version_num"))

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite makes a row id only of a column that is exactly INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[Any]:
    # AUTOINCREMENT: an id that was pruned must never name another row.
    return Column("id", Id, primary_key=True, autoincrement=True)


session = Table(
    "zrb_session",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("project", Text),
    Column("task", Text),
    Column("path", Text),  # JSON list: how zrb's command line names the task
    Column("inputs", Text),  # encoded dict, secrets left out
    Column("tasks", Text),  # JSON dict: every task known to the session, in order -> "waiting" or "skipped"
    Column("parent", Text),  # SESSION or SESSION/TASK#N: text, so that it outlives the parent
    Column("forked_from", Text),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("fence", Integer, nullable=False, server_default=text("0")),  # number of the newest run
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Index(None, "created_at"),
    Index(None, "task", "created_at"),
    sqlite_autoincrement=True,
)

run = Table(
    "zrb_run",
    metadata,
    _id(),
    Column("session_id", Id, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),  # also its fence number
    Column("origin", Text, nullable=False),  # cli, web or library
    Column("host", Text, nullable=False),
    Column("boot_id", Text),
    Column("pid_namespace", Text),
    Column("pid", Integer, nullable=False),
    Column("process_started", Text),  # as the kernel counts it; compared, never computed with
    Column("user", Text),
    Column("command", Text),  # JSON list, secrets left out
    Column("folder", Text),
    Column("python_version", Text),
    Column("zrb_version", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("lease_expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("outcome", Text),  # completed, failed, interrupted or lost
    UniqueConstraint("session_id", "number"),
    sqlite_autoincrement=True,
)

attempt = Table(
    "zrb_attempt",
    metadata,
    _id(),
    Column("session_id", Id, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", Id, ForeignKey("zrb_run.id", ondelete="SET NULL")),  # null: forked, or marked by hand
    Column("fence", Integer, nullable=False),
    Column("task", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("role", Text, nullable=False),  # task, check, server, fallback or manual
    Column("status", Text, nullable=False),
    Column("restorable", Boolean, nullable=False, server_default=true()),
    Column("arguments", Text),  # encoded arguments of run.step
    Column("result_queue_id", Id),
    Column("result_seq", BigInteger),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_traceback", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("given_back_at", BigInteger),
    UniqueConstraint("session_id", "task", "number"),
    Index(None, "run_id"),
    # The newest result of a task, for `last`.
    Index(
        "ix_zrb_attempt_completed",
        "task",
        "ended_at",
        sqlite_where=text("status = 'completed'"),
    ),
    sqlite_autoincrement=True,
)

queue = Table(
    "zrb_queue",
    metadata,
    _id(),
    Column("session_id", Id, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    # No seq from low to high is given again even when its row is gone. PostgreSQL counts with them;
    # SQLite asks the rows as well, and moves them only when rows are deleted.
    Column("high", BigInteger, nullable=False, server_default=text("0")),
    Column("low", BigInteger, nullable=False, server_default=text("1")),
    UniqueConstraint("session_id", "name"),
    sqlite_autoincrement=True,
)

value = Table(
    "zrb_value",
    metadata,
    Column("queue_id", Id, ForeignKey("zrb_queue.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False, server_default=text("'live'")),  # live, taken, removed or retracted
    Column("type", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of data
    Column("pushed_at", BigInteger, nullable=False),
    Column("pushed_by", Id, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("ended_at", BigInteger),  # when it left the queue; null while live
    Column("taken_by", Id, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("moved_from", BigInteger),  # seq of the value in this queue that it continues
    Column("orphaned", Boolean, nullable=False, server_default=false()),
    Column("data", Text, nullable=False),  # JSON, ASCII only; last, since it is the long one
    # ended_at makes the index cover len() and keeps SQLite's planner on it without ANALYZE.
    Index(
        "ix_zrb_value_live",
        "queue_id",
        "seq",
        "ended_at",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
    ),
    Index(
        "ix_zrb_value_pushed_by",
        "pushed_by",
        sqlite_where=text("pushed_by IS NOT NULL"),
    ),
    Index(
        "ix_zrb_value_taken_by",
        "taken_by",
        sqlite_where=text("taken_by IS NOT NULL"),
    ),
    # Rows lie in queue order, so that a push writes one page less (benchmarks/, docs/adr).
    sqlite_with_rowid=False,
)

returned = Table(
    "zrb_return",
    metadata,
    _id(),
    Column("queue_id", Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("taken_by", Id, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("taken_at", BigInteger, nullable=False),
    Column("returned_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    Index(None, "taken_by"),
    sqlite_autoincrement=True,
)

# What people did by hand, so that rm and prune leave a trace too.
change = Table(
    "zrb_change",
    metadata,
    _id(),
    Column("at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("session", Text),
    Column("detail", Text),
    Column("user", Text),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Index(None, "session"),
    sqlite_autoincrement=True,
)


def version_table(tables: Collection[str]) -> str | None:
    """Which of the tables that are there holds the store's revision; None if there is no store.

    An `alembic_version` is ours only beside our tables and without `zrb_version`: it may be another program's.
    """
    if VERSION_TABLE in tables:
        return VERSION_TABLE
    return OLD_VERSION_TABLE if session.name in tables and OLD_VERSION_TABLE in tables else None


def add_postgresql_options() -> None:
    """Give partial indexes their condition on PostgreSQL too, which only migrations and their tests need.

    The mere name of the option makes SQLAlchemy import PostgreSQL's dialects: 50 ms that SQLite's users need not pay.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
