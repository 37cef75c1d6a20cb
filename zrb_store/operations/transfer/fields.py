"""What each kind of line has: the columns of its row without ids, and links by name in their place."""

from __future__ import annotations

from collections.abc import Mapping

from zrb_store import columns
from zrb_store.columns import Column, Columns
from zrb_store.errors import InvalidName
from zrb_store.names import is_session_name, split_id


def _owner(text: str) -> str | None:
    try:
        session, _, number = split_id(text)
    except InvalidName as error:
        return f"is no attempt: {error}"
    return None if is_session_name(session) and number > 0 else f"is no attempt: {text[:60]!r}"


_OWNER = Column(
    str,
    nullable=True,
    pattern=r"^[A-Za-z0-9._:+][A-Za-z0-9._:+-]{0,199}/[\s\S]*#[0-9]{1,18}$",
    note="SESSION/TASK#NUMBER",
    content=_owner,
)
_QUEUE = columns.QUEUE["name"]
_OF_QUEUE = Column(str, note="name of the session's queue", content=_QUEUE.content)
_QUEUE_OR_NULL = Column(str, nullable=True, note="name of the session's queue", content=_QUEUE.content)
_RUN = Column(int, nullable=True, least=1, most=columns.RUN["number"].most, note="number of the session's run")


def _fields(table: Columns, links: Columns, *without: str) -> Columns:
    return {**links, **{name: column for name, column in table.items() if name not in ("id", "session_id", *without)}}


FIELDS: Mapping[str, Columns] = {
    "session": _fields(columns.SESSION, {}),
    "run": _fields(columns.RUN, {}),
    "queue": _fields(columns.QUEUE, {}),
    "attempt": _fields(columns.ATTEMPT, {"run": _RUN, "result_queue": _QUEUE_OR_NULL}, "run_id", "result_queue_id"),
    "value": _fields(
        columns.VALUE,
        {"queue": _OF_QUEUE, "pushed_by": _OWNER, "taken_by": _OWNER},
        "queue_id",
        "pushed_by",
        "taken_by",
    ),
    "return": _fields(columns.RETURN, {"queue": _OF_QUEUE, "taken_by": _OWNER}, "queue_id", "taken_by"),
    "change": _fields(columns.CHANGE, {}, "session"),
}
"""By the kind of line, what each of its fields may hold."""
