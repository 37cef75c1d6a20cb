"""The records of `export`, `import` and `copy`: rows that refer to each other by name instead of id."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from zrb_store.db.tables import attempt, change, output, queue, returned, run, session, value

Record = dict[str, Any]
"""`kind` (session, run, queue, attempt, output, value, return or change) and the fields of one row."""

ATTEMPT_LINKS = ("id", "session_id", "run_id", "result_queue_id", "parent_id")
_COMMAND = ("command_pid", "command_started")  # a process means nothing in another store


def _columns(table: sa.Table, *without: str) -> list[sa.Column[Any]]:
    return [column for column in table.c if column.name not in without]


SESSION = _columns(session, "id")
RUN = _columns(run, "id", "session_id", "suspected_at")  # a suspicion means nothing in another store
QUEUE = _columns(queue, "id", "session_id", "token")
ATTEMPT = _columns(attempt, *ATTEMPT_LINKS, *_COMMAND)
OUTPUT = _columns(output, "attempt_id")
VALUE = _columns(value, "queue_id", "pushed_by", "taken_by")
RETURN = _columns(returned, "id", "queue_id", "taken_by")
CHANGE = _columns(change, "id", "session")
