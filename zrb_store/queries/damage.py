"""Damaged rows: what an invariant is, how a violation is found and named, and what only Python can check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from zrb_store.db.columns import TABLES, Columns
from zrb_store.db.core import exists, sa, statement, t
from zrb_store.db.dialect import whole_text
from zrb_store.db.rows import DamagedRow, fit
from zrb_store.db.transaction import Row, Transaction
from zrb_store.queries.attempts import attempt_as
from zrb_store.queries.values import is_same_value

if TYPE_CHECKING:
    Condition = sa.ColumnElement[bool]

RESTORE = "restore a backup, or fork the session before that task"
REPORT = "restore a backup, and report it as a bug of zrb-store"


@dataclass(frozen=True)
class Invariant:
    """A condition that must hold for all rows."""

    table: str
    name: str  # for programs
    wrong: str  # what the message says about the rows that violate it
    violation: Callable[[str], Condition]  # the condition that a row violates it, in this kind of database
    remedy: str = REPORT  # what the user can do
    dialect: str | None = None  # the database to which it applies, if it is only one
    rows: Callable[[], sa.Select[*Row]] | None = None  # selects these rows if more than their table is needed

    @property
    def noun(self) -> str:
        """What the rows are called."""
        if self.table in ("zrb_attempt", "zrb_output"):
            return "attempt"
        return "value" if self.table in ("zrb_value", "zrb_chunk", "zrb_return", "zrb_replaced") else "session"

    def violating(self, dialect_name: str) -> sa.Select[*Row]:
        """Return the statement that selects the rows that violate it."""
        rows = self.rows() if self.rows else rows_of(self.table)
        return rows.where(self.violation(dialect_name))


def rows_of(table: str) -> sa.Select[*Row]:
    """Select the sessions of the rows of a table by name, with queue and seq of values, task and number of attempts."""
    match table:
        case "zrb_change":
            return sa.select(t.change.c.session)
        case "zrb_session":
            return sa.select(t.session.c.name)
        case "zrb_run" | "zrb_queue":
            rows = t.metadata.tables[table]
            return sa.select(t.session.c.name).select_from(t.session.join(rows, rows.c.session_id == t.session.c.id))
        case "zrb_attempt" | "zrb_output":
            attempts = t.attempt.join(t.session).outerjoin(t.run, t.run.c.id == t.attempt.c.run_id)
            found = sa.select(t.session.c.name, t.attempt.c.task, t.attempt.c.number).select_from(attempts)
            return found if table == "zrb_attempt" else found.join(t.output, t.output.c.attempt_id == t.attempt.c.id)
    place = (t.session.c.name, t.queue.c.name.label("queue"))
    if table in ("zrb_return", "zrb_replaced"):
        rows = t.metadata.tables[table]
        return sa.select(*place, rows.c.seq).select_from(
            rows.join(t.queue, t.queue.c.id == rows.c.queue_id).join(t.session)
        )
    pusher, taker = attempt_as("pusher"), attempt_as("taker")
    values = sa.select(*place, t.value.c.seq).select_from(
        t.value.join(t.queue)
        .join(t.session, t.session.c.id == t.queue.c.session_id)
        .outerjoin(pusher, pusher.c.id == t.value.c.pushed_by)
        .outerjoin(taker, taker.c.id == t.value.c.taken_by)
    )
    return values.join(t.chunk, is_same_value(t.chunk, t.value)) if table == "zrb_chunk" else values


def invariant(table: str, name: str, wrong: str, violation: Callable[[], Condition], **more: Any) -> Invariant:
    """Return an invariant that is the same in both kinds of databases."""
    return Invariant(table, name, wrong, lambda _: violation(), **more)


def row_rules(table: str, name: str) -> Invariant:
    """Return the invariant that the rows of a table meet the rules that PostgreSQL does not check."""

    def is_broken() -> Condition:
        rows = t.metadata.tables[table]
        same = rows.alias("same")  # alone in its query, since the rules name columns without a table
        key = (same.c[column.name] == column for column in rows.primary_key)
        return exists(*key, sa.literal_column(f"NOT ({t.dear_rules(rows)})", sa.Boolean), rows=same)

    return invariant(table, name, "break a rule of their table", is_broken, dialect="postgresql")


SHOWN = 3
"""How many of the rows that violate an invariant are named."""


def label(row: Sequence[str | int | None]) -> str:
    """Return the name of a row for people."""
    return str(row[0] or "-") if len(row) == 1 else f"{row[0]}/{row[1]}#{row[2]}"


def say(noun: str, wrong: str, count: int, labels: list[str]) -> str:
    """Return the message that so many rows are wrong, of which it names the first ones."""
    more = ", ..." if count > SHOWN else ""
    return f"{noun}s that {wrong}: {count} ({', '.join(labels[:SHOWN])}{more})"


TextKind = Literal["result", "output", "value", "replaced"]


@statement
def _texts(kind: TextKind) -> sa.Select[*Row]:
    columns: dict[TextKind, tuple[sa.ColumnElement[Any], ...]] = {
        "result": (t.attempt.c.result,),
        "output": (t.output.c.size, t.output.c.data),
        "value": (whole_text(),),
        "replaced": (t.replaced.c.data,),
    }
    if kind != "result":
        return rows_of(f"zrb_{kind}").add_columns(*columns[kind])
    return rows_of("zrb_attempt").add_columns(*columns[kind]).where(t.attempt.c.result.is_not(None))


def texts(transaction: Transaction, kind: TextKind) -> Iterator[Row]:
    """Yield the texts of all rows of a kind, each after the row's label; the text of output after its size."""
    return transaction.stream(_texts(kind))


def _read(table: str) -> Columns:
    """Return the columns of a table but for the texts that `texts` yields."""
    return {
        name: rule for name, rule in TABLES[table].items() if name not in ("result", "data") or table == "zrb_chunk"
    }


def _every(table: str) -> sa.Select[*Row]:
    return rows_of(table).add_columns(*(t.metadata.tables[table].c[name] for name in _read(table)))


def damaged_rows(transaction: Transaction, table: str) -> Iterator[str]:
    """Yield the label of each row that does not fit its table, with the columns that are damaged."""
    columns = _read(table)
    for row in transaction.stream(_every(table)):
        try:
            fit(table, columns, row[-len(columns) :])
        except DamagedRow as error:
            yield f"{label(row[: -len(columns)])}: {error.row}"
