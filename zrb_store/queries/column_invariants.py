"""What must hold of each column (`columns.py`), as statements that find where it does not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import literal_column

from zrb_store import columns
from zrb_store.columns import Columns
from zrb_store.db.dialect import now
from zrb_store.db.tables import attempt, change, queue, returned, run, session, value
from zrb_store.queries.invariants import ATTEMPTS, RESTORE, SESSIONS, VALUES, Invariant

# Found, with what is contradicted by it, by invariants of their own.
_STATES = frozenset({"state", "status"})
_TYPES = {int: "integer", str: "text", bool: "integer"}


def _broken(table: sa.Table, rules: Columns, dialect: str, without: Collection[str] = ()) -> sa.ColumnElement[bool]:
    """Whether a row has a number, a time or a word that cannot be; on SQLite also one of another type."""
    conditions: list[Any] = []
    for name, rule in rules.items():
        column = table.c[name]
        if rule.kind is int:
            conditions += [column < literal_column(str(rule.least)), column > literal_column(str(rule.most))]
        if rule.words and name not in without:
            conditions.append(column.not_in([literal_column(f"'{word}'") for word in rule.words]))
        if dialect == "sqlite":
            kind = sa.func.typeof(column)
            conditions.append(kind.not_in([literal_column(f"'{each}'") for each in (_TYPES[rule.kind], "null")]))
            if rule.kind is bool:
                conditions.append(sa.cast(column, sa.Integer).not_in([literal_column("0"), literal_column("1")]))
            if not rule.nullable:
                conditions.append(column.is_(None))
    return sa.or_(*conditions)


def _invariants(name: str, wrong: str, statement: sa.Select[Any], table: sa.Table, rules: Columns) -> list[Invariant]:
    return [
        Invariant(name, wrong, RESTORE, statement.where(_broken(table, rules, dialect, _STATES)), dialect=dialect)
        for dialect in ("sqlite", "postgresql")
    ]


_RETURNS = sa.select(session.c.name, queue.c.name.label("queue"), returned.c.seq).select_from(
    returned.join(queue, queue.c.id == returned.c.queue_id).join(session, session.c.id == queue.c.session_id)
)
_RUNS = SESSIONS.join(run, run.c.session_id == session.c.id)
_CHANGES = sa.select(sa.func.coalesce(change.c.session, literal_column("'-'")))

VALUE_COLUMNS = [
    *_invariants("value-columns", "hold a number, a time or a word that no value has", VALUES, value, columns.VALUE),
    *_invariants(
        "return-columns", "have a give-back with a number or a time that none has", _RETURNS, returned, columns.RETURN
    ),
]
ATTEMPT_COLUMNS = _invariants(
    "attempt-columns", "hold a number, a time or a word that no attempt has", ATTEMPTS, attempt, columns.ATTEMPT
)
SESSION_COLUMNS = [
    *_invariants(
        "session-columns", "hold a number, a time or a word that no session has", SESSIONS, session, columns.SESSION
    ),
    *_invariants("run-columns", "have a run with a number, a time or a word that none has", _RUNS, run, columns.RUN),
    *_invariants(
        "queue-columns",
        "have a queue whose numbers are near the end of all numbers",
        SESSIONS.join(queue, queue.c.session_id == session.c.id),
        queue,
        columns.QUEUE,
    ),
    *_invariants(
        "change-columns",
        "have a note of what was done by hand that cannot be read",
        _CHANGES,
        change,
        columns.CHANGE,
    ),
    Invariant(
        "lease-end",
        "have a lease that ends more than a day from now, so that nobody else can run them",
        "end the process that runs them; if there is none, set lease_expires_at in zrb_run to 0 with SQL",
        _RUNS.where(
            run.c.ended_at.is_(None), run.c.lease_expires_at > now() + literal_column(str(columns.LONGEST_LEASE))
        ),
    ),
]
