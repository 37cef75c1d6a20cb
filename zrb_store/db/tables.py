"""The tables. Only migrations create them; a test checks that both definitions are equal.

Times are whole microseconds since 1970 UTC, read from the database's clock inside the transaction that writes them:
they are for people. Ticks decide what came before what (guarantees.md, promise 17). Each beginning or end is an
event and draws the next tick; a change of a queue has a tick between those of the events before and after it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    TableClause,
    Text,
    UniqueConstraint,
    column,
    false,
    text,
    true,
)

from zrb_store.db import VERSION_TABLE

version = TableClause(VERSION_TABLE, column("version_num"))
# Ticks come from this table on SQLite, which has one writer at a time, and from a sequence on PostgreSQL. An event has
# an odd tick; changes of queues share the even one that follows, until the next event.
clock = TableClause("zrb_clock", column("tick", BigInteger))

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# On SQLite only a column whose type is exactly INTEGER becomes the row id.
Id = BigInteger().with_variant(Integer, "sqlite")


tick = Sequence("zrb_tick", data_type=BigInteger, metadata=metadata)


def _first_tick(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _id() -> Column[int]:
    # AUTOINCREMENT: the id of a deleted row must never be used again.
    return Column("id", Id, primary_key=True, autoincrement=True)


session = Table(
    "zrb_session",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("project", Text),
    Column("task", Text),
    Column("path", Text),  # JSON list: the words that name the task on zrb's command line
    Column("inputs", Text),  # encoded dict, without secrets
    Column("tasks", Text),  # JSON dict: maps every known task, in order, to "waiting" or "skipped"
    Column("parent", Text),  # SESSION or SESSION/TASK#N; a text, so that it outlives the parent
    Column("forked_from", Text),
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("fence", Integer, nullable=False, server_default=text("0")),  # the number of the newest run
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    _first_tick("created_tick"),
    Column("ended_tick", BigInteger),
    Index(None, "ended_tick"),
    Index(None, "task", "id"),
    Index(None, "task", "ended_tick"),
    # For whoever looks for what is not done. It leaves out most sessions, so it is short.
    Index("ix_zrb_session_not_completed", "status", "id", sqlite_where=text("status <> 'completed'")),
    sqlite_autoincrement=True,
)

run = Table(
    "zrb_run",
    metadata,
    _id(),
    Column("session_id", Id, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),  # also the fence number of its attempts
    Column("origin", Text, nullable=False),  # cli, web, library, or reclaim: a taker ended a dead run
    Column("host", Text, nullable=False),
    Column("boot_id", Text),
    Column("pid_namespace", Text),
    Column("pid", Integer, nullable=False),
    Column("process_started", Text),  # in the kernel's own count, which is only compared for equality
    Column("user", Text),
    Column("command", Text),  # JSON list, without secrets
    Column("folder", Text),
    Column("python_version", Text),
    Column("zrb_version", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("lease_expires_at", BigInteger, nullable=False),
    Column("suspected_at", BigInteger),  # when the lease was found expired; a renewal sets it to NULL
    Column("ended_at", BigInteger),
    Column("status", Text),  # completed, failed, interrupted, lost or waiting
    Column("told_at", BigInteger),  # when the command for failures was started for its end
    _first_tick("started_tick"),
    Column("ended_tick", BigInteger),
    # The error that ended it outside of attempts.
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_traceback", Text),
    Column("stop_requested_at", BigInteger),  # when `stop` asked its process to end it
    Column("acknowledged_at", BigInteger),  # when `ack` told `check` to be quiet about it
    Column("inputs", Text),  # encoded dict, as of the session; null if they still are those of the session
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
    Column("role", Text, nullable=False),  # task, check, server, fallback, manual, delivery or step
    Column("status", Text, nullable=False),
    Column("restorable", Boolean, nullable=False, server_default=true()),
    Column("arguments", Text),  # the encoded arguments of `Run.task`
    Column("result_queue_id", Id),
    Column("result_seq", BigInteger),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_traceback", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("given_back_at", BigInteger),
    # The process that leads the group of the command which `consume` runs for this delivery.
    Column("command_pid", Integer),
    Column("command_started", Text),  # as `process_started` of a run
    # What follows is set for steps only. Their `task` is STEP_OF/STEP_NUMBER.
    Column("parent_id", Id),  # the attempt that the step runs in
    Column("step_of", Text),  # name of the task
    Column("step", Text),  # name of the step, with ~2 if it is the second of that name in its attempt
    Column("step_number", Integer),
    Column("once", Boolean, nullable=False, server_default=false()),  # do not repeat it if its end is unknown
    Column("result", Text),  # encoded; may be long
    _first_tick("started_tick"),
    Column("ended_tick", BigInteger),
    Column("given_back_tick", BigInteger),
    # JSON list of the inputs that an attempt of zrb has read, also when a step completed, or ["*"]; null: not known
    Column("inputs_read", Text),
    Column("code", Text),  # digest of what its task ran, when it completed
    UniqueConstraint("session_id", "task", "number"),
    Index(None, "run_id"),
    # For takers, which look for dead holders of a queue.
    Index("ix_zrb_attempt_running", "run_id", sqlite_where=text("status = 'running'")),
    # For `last`, which looks for the newest result of a task.
    Index("ix_zrb_attempt_completed", "task", "ended_tick", sqlite_where=text("status = 'completed'")),
    # Only a few attempts are steps.
    Index("ix_zrb_attempt_step", "session_id", "step_of", "step", sqlite_where=text("step_of IS NOT NULL")),
    sqlite_autoincrement=True,
)

# The last part of what an attempt printed and logged, in pieces, so that storing more of it writes nothing again.
output = Table(
    "zrb_output",
    metadata,
    Column("attempt_id", Id, ForeignKey("zrb_attempt.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("piece", Integer, primary_key=True, autoincrement=False),  # from 1; the lowest ones are deleted in time
    Column("start", BigInteger, nullable=False),  # bytes of the attempt's output before this piece
    Column("size", Integer, nullable=False),  # bytes of its lines, with a newline after each
    Column("data", Text, nullable=False),  # JSON list, ASCII only: [microseconds since 1970, stream, text] of each line
    # One page less to write for each piece.
    sqlite_with_rowid=False,
)

queue = Table(
    "zrb_queue",
    metadata,
    _id(),
    Column("session_id", Id, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    # No seq from low to high is used again, even if its row was deleted. PostgreSQL numbers values by these columns.
    # SQLite also looks at the rows, and updates these columns only when rows are deleted.
    Column("high", BigInteger, nullable=False, server_default=text("0")),
    Column("low", BigInteger, nullable=False, server_default=text("1")),
    Column("max_deliveries", Integer),  # NULL: unlimited
    # JSON list of microseconds: how long a value is delayed that is given back for the first time, the second ...
    Column("retry_after", Text),
    Column("paused_at", BigInteger),  # since when consumers wait; NULL: not paused
    UniqueConstraint("session_id", "name"),
    sqlite_autoincrement=True,
)

value = Table(
    "zrb_value",
    metadata,
    Column("queue_id", Id, ForeignKey("zrb_queue.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False, server_default=text("'live'")),  # live, taken, removed, retracted or dead
    Column("type", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of `data` in UTF-8
    Column("pushed_at", BigInteger, nullable=False),
    Column("pushed_by", Id, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("ended_at", BigInteger),  # when the value left the queue; NULL while it is live
    Column("taken_by", Id, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("moved_from", BigInteger),  # seq of the earlier value, in this queue, that this one continues
    Column("orphaned", Boolean, nullable=False, server_default=false()),
    # JSON, or '' if the text lies in chunks; last among the first columns, because it is the long one
    Column("data", Text, nullable=False),
    # How many attempts took it and then failed or died. SQLite reads 0 and 1 without reading `data`.
    Column("failed_deliveries", Integer, nullable=False, server_default=text("0")),
    _first_tick("pushed_tick"),
    Column("ended_tick", BigInteger),
    Column("plain", Boolean, nullable=False, server_default=false()),  # assigned as `ctx.xcom["mode"] = "dry-run"`
    Column("due_at", BigInteger),  # until then it is delayed: in its place, but in nobody's queue
    # With ended_at and due_at, the index covers len(), and SQLite's planner chooses it without ANALYZE.
    Index(
        "ix_zrb_value_live", "queue_id", "seq", "ended_at", "due_at", unique=True, sqlite_where=text("ended_at IS NULL")
    ),
    Index("ix_zrb_value_delayed", "queue_id", "due_at", sqlite_where=text("due_at IS NOT NULL AND ended_at IS NULL")),
    Index("ix_zrb_value_pushed_by", "pushed_by", sqlite_where=text("pushed_by IS NOT NULL")),
    Index("ix_zrb_value_taken_by", "taken_by", "queue_id", sqlite_where=text("taken_by IS NOT NULL")),
    Index("ix_zrb_value_dead", "queue_id", "seq", sqlite_where=text("state = 'dead'")),
    # Rows are stored in queue order, so that a push writes one page less (benchmarks/, docs/adr).
    sqlite_with_rowid=False,
)

# The text of a long value. A change of its state does not write the text again (docs/adr/0020-large-values.md).
chunk = Table(
    "zrb_chunk",
    metadata,
    Column("queue_id", Id, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 0, 1, 2 ...
    Column("data", Text, nullable=False),  # the next characters of the text
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    # With a row id, since SQLite reads a long row whole when it only compares its key without one.
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
    # The value's `failed_deliveries` from then on, if they changed. 0: it was dead and was requeued.
    Column("failed_deliveries", Integer),
    _first_tick("taken_tick"),
    _first_tick("returned_tick"),
    Column("due_at", BigInteger),  # until when the value had been delayed before it was taken
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    Index(None, "taken_by"),
    sqlite_autoincrement=True,
)

# What a value was before `replace` put another content in its place. The change by hand tells who did it, and why.
replaced = Table(
    "zrb_replaced",
    metadata,
    _id(),
    Column("queue_id", Id, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("data", Text, nullable=False),  # as of a value, but always whole
    Column("failed_deliveries", Integer, nullable=False),
    Column("replaced_at", BigInteger, nullable=False),
    Column("replaced_tick", BigInteger, nullable=False),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    sqlite_autoincrement=True,
)

# What people do by hand. `rm` and `prune` leave a trace here too.
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
    Column("reason", Text),  # as the person gave it
    Index(None, "session"),
    sqlite_autoincrement=True,
)


def add_postgresql_options() -> None:
    """Set the conditions of partial indexes for PostgreSQL, which makes SQLAlchemy import its dialects, for 50 ms."""
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
