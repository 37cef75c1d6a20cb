"""The tables. Only migrations create them; a test checks that both definitions are equal.

Times are whole microseconds since 1970 UTC, read from the database's clock inside the transaction that writes them:
they are for people. Ticks decide what came before what (guarantees.md, promise 17). Each beginning or end is an
event and draws the next tick; a change of a queue has a tick between those of the events before and after it.

The databases refuse rows that break a rule of one row: the limits of columns that `db/columns.py` states, and the
rules that follow the columns of each table here. `doctor` checks the rules that need several rows, and those whose
price a benchmark can see (`python -m benchmarks constraints`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
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

from zrb_store.db import VERSION_TABLE, columns
from zrb_store.db.dialect.compiling import Expression

version = TableClause(VERSION_TABLE, column("version_num"))
# Ticks come from this table on SQLite, which has one writer at a time, and from a sequence on PostgreSQL. An event has
# an odd tick; changes of queues share the even one that follows, until the next event.
clock = TableClause("zrb_clock", column("tick", BigInteger))

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# STRICT tables of SQLite know no other names of types. A column of the type INTEGER is also the row id.
BigInt = BigInteger().with_variant(Integer, "sqlite")
Flag = Boolean().with_variant(Integer, "sqlite")

_random = Expression(Text(), sqlite="(lower(hex(randomblob(16))))", postgresql="(gen_random_uuid())::text")

tick = Sequence("zrb_tick", data_type=BigInteger, metadata=metadata)


def _id() -> Column[int]:
    # AUTOINCREMENT: the id of a deleted row must never be used again.
    return Column("id", BigInt, primary_key=True, autoincrement=True)


def _flag(name: str) -> Column[bool]:
    return Column(name, Flag, nullable=False, server_default=false())


def _rule(name: str, condition: str) -> CheckConstraint:
    return CheckConstraint(condition, name=name)


def _dear_rule(name: str, condition: str) -> CheckConstraint:
    """Return a rule of a table that each push, pop or step writes: PostgreSQL leaves it to `doctor`.

    PostgreSQL would read the text of each rule again for each statement. All rules of these tables together would make
    a step a third slower, and a push a fifth.
    """
    return CheckConstraint(condition, name=name, info={"is_dear": True}).ddl_if(dialect="sqlite")


def dear_rules(table: Table) -> str:
    """Return the condition that a row meets the rules of its table that PostgreSQL does not check."""
    rules = sorted(str(rule.sqltext) for rule in table.constraints if isinstance(rule, CheckConstraint) and rule.info)
    return " AND ".join(f"({rule})" for rule in rules)


def _limits(rules: columns.Columns, *, dear: bool = False) -> Iterator[CheckConstraint]:
    """Yield the limits of the columns of a table: words, short JSON, and on SQLite numbers and flags.

    PostgreSQL checks words and JSON alone, and these only in tables that are seldom written (see `_dear_rule`): there,
    the limits of numbers alone make a push and a pop a fifth slower. Its types limit them, and `doctor` finds what
    lies beyond our limits.
    """
    for name, rule in rules.items():
        if rule.words:
            # SQLite makes a table of the words after each IN, for each statement, which makes a push 8 % slower.
            known = _rule(name, " OR ".join(f"{name} = '{word}'" for word in rule.words))
            yield known.ddl_if(dialect="sqlite") if dear else known
        if rule.json is not None:
            is_valid = f"CASE WHEN json_valid({name}) THEN json_type({name}) = '{rule.json}' ELSE {name} IS NULL END"
            yield _rule(name, is_valid).ddl_if(dialect="sqlite")
            if not dear:
                yield _rule(name, f"json_typeof({name}::json) = '{rule.json}'").ddl_if(dialect="postgresql")
    numbers = [name for name, rule in rules.items() if rule.kind is int and not rule.is_id]
    limits = " AND ".join(f"{name} BETWEEN {rules[name].least} AND {rules[name].most}" for name in numbers)
    yield _rule("numbers", limits).ddl_if(dialect="sqlite")
    flags = [name for name, rule in rules.items() if rule.kind is bool]
    if flags:
        yield _rule("flags", " AND ".join(f"{name} IN (0, 1)" for name in flags)).ddl_if(dialect="sqlite")


session = Table(
    "zrb_session",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("project", Text),
    Column("task", Text),
    Column("path", Text),  # JSON list: the words that name the task on zrb's command line
    Column("parent", Text),  # SESSION or SESSION/TASK#N; a text, so that it outlives the parent
    Column("forked_from", Text),
    _flag("pinned"),
    Column("fence", Integer, nullable=False, server_default=text("0")),  # the number of the newest run
    Column("created_at", BigInt, nullable=False),
    Column("created_tick", BigInt, nullable=False),
    Column("ended_at", BigInt),
    Column("ended_tick", BigInt),
    Column("tasks", Text),  # JSON dict: maps every known task, in order, to "not started" or "skipped"
    Column("inputs", Text),  # encoded dict, without secrets
    # Random. Copies of the database keep it; a session that is made again, forked or imported has another one.
    Column("identity", Text, nullable=False, server_default=_random),
    *_limits(columns.SESSION),
    _rule(
        "ended", "(status IN ('open', 'running')) = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"
    ),
    _rule("order", "ended_tick >= created_tick"),
    Index(None, "ended_tick"),
    Index(None, "task", "id"),
    Index(None, "task", "ended_tick"),
    # For whoever looks for what is not done. It leaves out most sessions, so it is short. With the other columns,
    # `check` leaves out what newer sessions have made up for without reading it.
    Index(
        "ix_zrb_session_not_completed",
        *("status", "id", "task", "project", "parent", "ended_tick"),
        sqlite_where=text("status <> 'completed'"),
    ),
    # For `trace`. Few sessions are forks.
    Index("ix_zrb_session_fork", "forked_from", sqlite_where=text("forked_from IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

run = Table(
    "zrb_run",
    metadata,
    _id(),
    Column("session_id", BigInt, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),  # also the fence number of its attempts
    Column("origin", Text, nullable=False),  # cli, web, library, or reclaim: a taker ended a dead run
    Column("status", Text),  # null while it has not ended
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
    Column("started_at", BigInt, nullable=False),
    Column("started_tick", BigInt, nullable=False),
    Column("lease_expires_at", BigInt, nullable=False),
    Column("suspected_at", BigInt),  # when the lease was found expired; a renewal sets it to NULL
    Column("ended_at", BigInt),
    Column("ended_tick", BigInt),
    Column("stop_requested_at", BigInt),  # when `stop` asked its process to end it
    Column("notified_at", BigInt),  # when the command of ZRB_STORE_NOTIFY was started for its end
    Column("acknowledged_at", BigInt),  # when `ack` told `check` to be quiet about it
    # The error that ended it outside of attempts.
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_traceback", Text),
    Column("inputs", Text),  # encoded dict, as of the session; null if they still are those of the session
    *_limits(columns.RUN),
    _rule("ended", "(status IS NULL) = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
    _rule("order", "ended_tick >= started_tick"),
    UniqueConstraint("session_id", "number"),
    # For `check`. Few runs complete although a step of their script failed.
    Index("ix_zrb_run_incomplete", "session_id", sqlite_where=text("status = 'completed' AND error_type IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

attempt = Table(
    "zrb_attempt",
    metadata,
    _id(),
    Column("session_id", BigInt, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", BigInt, ForeignKey("zrb_run.id", ondelete="SET NULL")),  # null: forked, or marked by hand
    Column("fence", Integer, nullable=False),
    Column("task", Text, nullable=False),  # of a step STEP_OF/STEP_NUMBER
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),  # what it is: task, check, server, fallback, manual, delivery, step, ...
    Column("status", Text, nullable=False),
    Column("restorable", Flag, nullable=False, server_default=true()),
    Column("started_at", BigInt, nullable=False),
    Column("started_tick", BigInt, nullable=False),
    Column("ended_at", BigInt),
    Column("ended_tick", BigInt),
    Column("given_back_at", BigInt),
    Column("given_back_tick", BigInt),
    # The process that leads the group of its command: of a delivery, a CmdTask, a step of a script, or `run`.
    Column("command_pid", Integer),
    Column("command_started", Text),  # as `process_started` of a run
    Column("result_queue_id", BigInt),
    Column("result_seq", BigInt),
    # What follows is set for steps only, and these have all of the last three.
    Column("parent_id", BigInt),  # the attempt that the step runs in
    Column("used_by", BigInt),  # the last attempt to which a script's step has given its stored result
    _flag("once"),  # do not repeat it if its end is unknown
    Column("step_of", Text),  # name of the task
    Column("step", Text),  # name of the step, with ~2 if it is the second of that name in its attempt
    Column("step_number", Integer),
    Column("attributes", Text),  # JSON dict: what else its kind says of it
    # What a wait waits for: a value of a queue, or the deadline if there is none.
    Column("awaited_queue", Text),
    Column("deadline_at", BigInt),
    Column("say", Text),  # what a person is asked, without secrets
    Column("say_digest", Text),  # of what a person is asked with its secrets
    # The error that ended it.
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_traceback", Text),
    Column("error_data", Text),  # encoded: what the error of a step is made of again
    # JSON list of the inputs that an attempt of zrb has read, also when a step completed, or ["*"]; null: not known
    Column("inputs_read", Text),
    Column("inputs_assigned", Text),  # encoded dict: of each that it has assigned, its value in a list
    Column("code", Text),  # digest of what its task ran, when it completed
    Column("inside", Text),  # the task whose action has started it, if one has
    Column("arguments", Text),  # encoded, of a step or of `Run.task`
    Column("result", Text),  # encoded, of a step; may be long
    *_limits(columns.ATTEMPT, dear=True),
    _dear_rule("ended", "(status = 'running') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
    _dear_rule("order", "ended_tick >= started_tick AND given_back_tick >= ended_tick"),
    _dear_rule(
        "given_back",
        "(given_back_at IS NULL OR ended_at IS NOT NULL) AND (given_back_at IS NULL) = (given_back_tick IS NULL)",
    ),
    _dear_rule(
        "result", "(result_queue_id IS NULL) = (result_seq IS NULL) AND (result_seq IS NULL OR step_of IS NULL)"
    ),
    _dear_rule(
        "step",
        "CASE WHEN step_of IS NULL THEN step IS NULL AND step_number IS NULL AND parent_id IS NULL AND NOT once "
        "ELSE step IS NOT NULL AND step_number IS NOT NULL AND task = step_of || '/' || step_number END",
    ),
    _dear_rule(
        "wait",
        "CASE WHEN step_of IS NULL THEN awaited_queue IS NULL AND deadline_at IS NULL "
        "ELSE status <> 'waiting' OR awaited_queue IS NOT NULL OR deadline_at IS NOT NULL END",
    ),
    UniqueConstraint("session_id", "task", "number"),
    Index(None, "run_id"),
    # For takers, which look for dead holders of a queue.
    Index("ix_zrb_attempt_running", "run_id", sqlite_where=text("status = 'running'")),
    # For `last`, which looks for the newest result of a task.
    Index("ix_zrb_attempt_completed", "task", "ended_tick", sqlite_where=text("status = 'completed'")),
    # Only a few attempts are steps.
    Index("ix_zrb_attempt_step", "session_id", "step_of", "step", sqlite_where=text("step_of IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# The last part of what an attempt printed and logged, in pieces, so that storing more of it writes nothing again.
output = Table(
    "zrb_output",
    metadata,
    Column(
        "attempt_id", BigInt, ForeignKey("zrb_attempt.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("piece", Integer, primary_key=True, autoincrement=False),  # from 1; the lowest ones are deleted in time
    Column("start", BigInt, nullable=False),  # bytes of the attempt's output before this piece
    Column("size", Integer, nullable=False),  # bytes of its lines, with a newline after each
    Column("data", Text, nullable=False),  # JSON list, ASCII only: [microseconds since 1970, stream, text] of each line
    *_limits(columns.OUTPUT),
    # One page less to write for each piece.
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

queue = Table(
    "zrb_queue",
    metadata,
    _id(),
    Column("session_id", BigInt, ForeignKey("zrb_session.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    # No seq from low to high is used again, even if its row was deleted. PostgreSQL numbers values by these columns.
    # SQLite also looks at the rows, and updates these columns only when rows are deleted.
    Column("high", BigInt, nullable=False, server_default=text("0")),
    Column("low", BigInt, nullable=False, server_default=text("1")),
    Column("max_deliveries", Integer),  # NULL: unlimited
    # JSON list of microseconds: how long a value is delayed that is given back for the first time, the second ...
    Column("retry_after", Text),
    Column("paused_at", BigInt),  # since when consumers wait; NULL: not paused
    *_limits(columns.QUEUE, dear=True),
    _dear_rule("order", "low <= high + 1"),
    UniqueConstraint("session_id", "name"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

value = Table(
    "zrb_value",
    metadata,
    Column("queue_id", BigInt, ForeignKey("zrb_queue.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False, server_default=text("'live'")),
    Column("type", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of `data` in UTF-8
    Column("pushed_by", BigInt, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("pushed_at", BigInt, nullable=False),
    Column("pushed_tick", BigInt, nullable=False),
    Column("taken_by", BigInt, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),  # null: by hand, or by a deleted one
    Column("ended_at", BigInt),  # when the value left the queue; NULL while it is live
    Column("ended_tick", BigInt),
    Column("due_at", BigInt),  # until then it is delayed: in its place, but in nobody's queue
    Column("failed_deliveries", Integer, nullable=False, server_default=text("0")),
    Column("moved_from", BigInt),  # seq of the earlier value, in this queue, that this one continues
    _flag("orphaned"),
    _flag("plain"),  # assigned as `ctx.xcom["mode"] = "dry-run"`
    # JSON, or '' if the text lies in chunks; last, because it is the long one
    Column("data", Text, nullable=False),
    *_limits(columns.VALUE, dear=True),
    _dear_rule("ended", "(state = 'live') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
    _dear_rule("order", "ended_tick >= pushed_tick"),
    _dear_rule("held", "state IN ('taken', 'removed') OR (taken_by IS NULL AND NOT orphaned)"),
    _dear_rule("dead", "state <> 'dead' OR failed_deliveries > 0"),
    # With ended_at and due_at, the index covers len(), and SQLite's planner chooses it without ANALYZE.
    Index(
        "ix_zrb_value_live", "queue_id", "seq", "ended_at", "due_at", unique=True, sqlite_where=text("ended_at IS NULL")
    ),
    Index("ix_zrb_value_delayed", "queue_id", "due_at", sqlite_where=text("due_at IS NOT NULL AND ended_at IS NULL")),
    Index("ix_zrb_value_pushed_by", "pushed_by", "queue_id", sqlite_where=text("pushed_by IS NOT NULL")),
    Index("ix_zrb_value_taken_by", "taken_by", "queue_id", sqlite_where=text("taken_by IS NOT NULL")),
    Index("ix_zrb_value_dead", "queue_id", "seq", sqlite_where=text("state = 'dead'")),
    # Rows are stored in queue order, so that a push writes one page less (benchmarks/, docs/adr).
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# The text of a long value. A change of its state does not write the text again (docs/adr/0020-large-values.md).
chunk = Table(
    "zrb_chunk",
    metadata,
    Column("queue_id", BigInt, primary_key=True, autoincrement=False),
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 0, 1, 2 ...
    Column("data", Text, nullable=False),  # the next characters of the text
    *_limits(columns.CHUNK),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    # With a row id, since SQLite reads a long row whole when it only compares its key without one.
    sqlite_strict=True,
)

returned = Table(
    "zrb_return",
    metadata,
    _id(),
    Column("queue_id", BigInt, nullable=False),
    Column("seq", BigInt, nullable=False),
    Column("taken_by", BigInt, ForeignKey("zrb_attempt.id", ondelete="SET NULL")),
    Column("taken_at", BigInt, nullable=False),
    Column("taken_tick", BigInt, nullable=False),
    Column("returned_at", BigInt, nullable=False),
    Column("returned_tick", BigInt, nullable=False),
    Column("reason", Text, nullable=False),
    # The value's `failed_deliveries` from then on, if they changed. 0: it was dead, and that ended by hand.
    Column("failed_deliveries", Integer),
    Column("due_at", BigInt),  # until when the value had been delayed before it was taken
    *_limits(columns.RETURN),
    _rule("order", "returned_tick >= taken_tick"),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    Index(None, "taken_by"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# What a value was before `replace` put another content in its place. The change by hand tells who did it, and why.
replaced = Table(
    "zrb_replaced",
    metadata,
    _id(),
    Column("queue_id", BigInt, nullable=False),
    Column("seq", BigInt, nullable=False),
    Column("type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("failed_deliveries", Integer, nullable=False),
    Column("replaced_at", BigInt, nullable=False),
    Column("replaced_tick", BigInt, nullable=False),
    Column("data", Text, nullable=False),  # as of a value, but always whole
    *_limits(columns.REPLACED),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# What people do by hand. `rm` and `prune` leave a trace here too.
change = Table(
    "zrb_change",
    metadata,
    _id(),
    Column("session", Text),
    Column("action", Text, nullable=False),
    Column("detail", Text),
    Column("reason", Text),  # as the person gave it
    Column("at", BigInt, nullable=False),
    Column("user", Text),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    *_limits(columns.CHANGE),
    Index(None, "session"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)


def add_postgresql_options() -> None:
    """Set the conditions of partial indexes for PostgreSQL, which makes SQLAlchemy import its dialects, for 50 ms."""
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
