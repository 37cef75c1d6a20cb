"""The fields of each kind of record: the columns of its table without ids, and names in place of foreign keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from zrb_store.db import columns
from zrb_store.db.columns import ColumnRule, Columns
from zrb_store.errors import InvalidArgument
from zrb_store.names import is_session_name, split_id


def _owner(text: str) -> str | None:
    try:
        session, _, number = split_id(text)
    except InvalidArgument as error:
        return f"is not an attempt: {error}"
    return None if is_session_name(session) and number > 0 else f"is not an attempt: {text[:60]!r}"


_OWNER = ColumnRule(
    str,
    nullable=True,
    pattern=r"^[A-Za-z0-9._:+][A-Za-z0-9._:+-]{0,199}/[\s\S]*#[0-9]{1,18}$",
    note="SESSION/TASK#NUMBER",
    content=_owner,
)
_OF_ATTEMPT = dataclasses.replace(_OWNER, nullable=False)
_QUEUE = columns.QUEUE["name"]
_QUEUE_NAME = ColumnRule(str, note="name of the session's queue", content=_QUEUE.content)
_QUEUE_NAME_OR_NULL = ColumnRule(str, nullable=True, note="name of the session's queue", content=_QUEUE.content)
_RUN = ColumnRule(int, nullable=True, least=1, most=columns.RUN["number"].most, note="number of the session's run")


def _fields(table: Columns, links: Columns, *without: str) -> Columns:
    return {**links, **{name: column for name, column in table.items() if name not in ("id", "session_id", *without)}}


FIELDS: Mapping[str, Columns] = {
    "session": _fields(columns.SESSION, {}),
    "run": _fields(columns.RUN, {}, "suspected_at"),
    "queue": _fields(columns.QUEUE, {}, "token"),
    "attempt": _fields(
        columns.ATTEMPT,
        {"run": _RUN, "result_queue": _QUEUE_NAME_OR_NULL, "parent": _OWNER},
        "run_id",
        "result_queue_id",
        "parent_id",
        "command_pid",
        "command_started",
    ),
    "output": _fields(columns.OUTPUT, {"attempt": _OF_ATTEMPT}, "attempt_id"),
    "value": _fields(
        columns.VALUE,
        {"queue": _QUEUE_NAME, "pushed_by": _OWNER, "taken_by": _OWNER},
        "queue_id",
        "pushed_by",
        "taken_by",
    ),
    "return": _fields(columns.RETURN, {"queue": _QUEUE_NAME, "taken_by": _OWNER}, "queue_id", "taken_by"),
    "change": _fields(columns.CHANGE, {}, "session"),
}
"""What each field may hold, by kind of record and name of the field."""

LATER: Mapping[str, Mapping[str, object]] = {
    "run": {"told_at": None, "error_type": None, "error_message": None, "error_traceback": None},
    "queue": {"max_deliveries": None},
    "attempt": {
        "parent": None,
        "step_of": None,
        "step": None,
        "step_number": None,
        "once": False,
        "result": None,
    },
    "value": {"deliveries": 0, "plain": False},
    "return": {"deliveries": None},
}
"""What fields that an export of an older version lacks are taken to hold."""
