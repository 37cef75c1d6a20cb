"""The columns of each table, and what each may contain.

The tables are made of them, and refuse most other content (`tables.py`). `import` refuses all of it, and `doctor`
reports it. `rows.py` says what becomes of a row that has it all the same. docs/schema/export.json states the rules for
other programs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from zrb_store.codec import problem_of
from zrb_store.errors import InvalidArgument
from zrb_store.masking import storable
from zrb_store.names import STEP_BYTES, TASK_ID_BYTES, check_name, is_session_name
from zrb_store.records import JsonValue

LONGEST_LEASE = 24 * 60 * 60 * 1_000_000
"""Microseconds from now within which every valid lease expires. A lease lasts a minute, but clocks differ."""

_INTEGER = 2**31 - 1  # PostgreSQL's limit
_BIGINT = 2**63 - 1
_SEQ = 10**17  # no queue gets that far, and SQLite's arithmetic is exact far beyond it
_LATEST = 253_402_300_799_999_999  # the last microsecond of the year 9999, where datetime ends


Cell: TypeAlias = int | float | str | bytes | bool | None
"""What a database may return for a column, valid or not."""


@dataclass(frozen=True)
class ColumnRule:
    """What one column may contain."""

    kind: type[int] | type[str] | type[bool]
    nullable: bool = False
    least: int = 0
    most: int = 0
    words: tuple[str, ...] = ()  # the only valid texts, if these are limited
    pattern: str | None = None  # which a text matches as a whole, for docs/schema
    note: str | None = None  # a description of the content, for docs/schema
    content: Callable[[str], str | None] | None = field(default=None, compare=False)  # what is wrong with a text
    json: Literal["array", "object"] | None = None  # what a short JSON text is
    is_id: bool = False  # of a row, which another database numbers anew
    long: bool = False  # whether readers check the content themselves when they show it

    @property
    def is_big(self) -> bool:
        """Whether its numbers do not fit an INTEGER of PostgreSQL."""
        return not -_INTEGER <= self.least <= self.most <= _INTEGER

    def problem(self, item: Cell, *, shallow: bool = False) -> str | None:
        """Return what is wrong with an item, or None. With `shallow`, the content of long texts is not checked."""
        if item is None and self.nullable:
            return None
        if type(item) is not self.kind:
            return "is not of its type"
        if isinstance(item, int):
            if self.kind is bool or self.least <= item <= self.most:
                return None
            return f"is less than {self.least}" if item < self.least else "is too large"
        if not isinstance(item, str):
            return None
        if self.words:
            return None if item in self.words else f"is none of {', '.join(self.words)}"
        if not shallow and storable(item) != item:
            return "is not text"
        return None if self.content is None or (shallow and self.long) else self.content(item)


Columns = Mapping[str, ColumnRule]


# -- checks of content


def _problem_of_name(text: str, what: str, **most: int) -> str | None:
    try:
        check_name(text, what, **most)
    except InvalidArgument as error:
        return f"is not a valid name: {error}"
    return None


def _session_name(text: str) -> str | None:
    return None if is_session_name(text) else f"is not a valid name: {text[:40]!r} cannot name a session"


def _problem_of_json(is_valid: Callable[[JsonValue], bool], what: str, text: str) -> str | None:
    try:
        return None if is_valid(json.loads(text)) else f"is not {what}"
    except (ValueError, RecursionError):
        return "is not JSON"


_texts = functools.partial(
    _problem_of_json, lambda tree: type(tree) is list and {*map(type, tree)} <= {str}, "a list of texts"
)
_tasks = functools.partial(
    _problem_of_json,
    lambda tree: type(tree) is dict and {*map(str, tree.values())} <= {"not started", "skipped"},
    "a dict of tasks, each `not started` or `skipped`",
)
_dict = functools.partial(_problem_of_json, lambda tree: type(tree) is dict, "a dict")
_durations = functools.partial(
    _problem_of_json,
    lambda tree: type(tree) is list and bool(tree) and all(type(item) is int and 0 <= item <= _LATEST for item in tree),
    "a list of microseconds",
)


def _is_line(line: JsonValue) -> bool:
    if type(line) is not list or [type(item) for item in line] != [int, str, str]:
        return False
    at = line[0]
    return isinstance(at, int) and 0 <= at <= _LATEST


def _lines(text: str) -> str | None:
    if not text.isascii():
        return "is not ASCII"
    return _problem_of_json(lambda tree: type(tree) is list and all(map(_is_line, tree)), "a list of lines", text)


def _inputs(text: str) -> str | None:
    return problem_of(text) or (None if text.lstrip().startswith("{") else "is not a dict")


# -- columns

_ID = ColumnRule(int, least=1, most=_BIGINT, is_id=True)
_OTHER_ID = ColumnRule(int, nullable=True, least=1, most=_BIGINT, is_id=True)
_NUMBER = ColumnRule(int, least=1, most=_INTEGER)
_COUNT = ColumnRule(int, least=0, most=_INTEGER)
_ANY_SEQ = ColumnRule(int, least=-_SEQ, most=_SEQ)
_SEQ_OR_NULL = ColumnRule(int, nullable=True, least=-_SEQ, most=_SEQ)
_TIME = ColumnRule(int, most=_LATEST, note="microseconds since 1970 UTC")
_TIME_OR_NULL = ColumnRule(int, nullable=True, most=_LATEST, note="microseconds since 1970 UTC")
MOST_TICK = 2**60  # what an import adds to it still fits
_TICK = ColumnRule(int, most=MOST_TICK, note="order within the store")
_TICK_OR_NULL = ColumnRule(int, nullable=True, most=MOST_TICK, note="order within the store")
_TEXT = ColumnRule(str)
_TEXT_OR_NULL = ColumnRule(str, nullable=True)
_FLAG = ColumnRule(bool)
_TASK_OR_NULL = ColumnRule(
    str, nullable=True, note="at most 2,000 bytes", content=functools.partial(_problem_of_name, what="task")
)
_TRACEPARENT = ColumnRule(str, nullable=True, note="a span, as in the header traceparent of W3C Trace Context")
_SESSION_NAME = r"^[A-Za-z0-9._:+][A-Za-z0-9._:+-]{0,199}$"


def _words(words: str, *, nullable: bool = False) -> ColumnRule:
    return ColumnRule(str, nullable, words=tuple(words.split()))


SESSION: Columns = {
    "id": _ID,
    "name": ColumnRule(str, pattern=_SESSION_NAME, content=_session_name),
    "status": _words("open running waiting completed failed interrupted"),
    "project": _TEXT_OR_NULL,
    "task": _TASK_OR_NULL,
    # JSON list: the words that name the task on zrb's command line
    "path": ColumnRule(str, nullable=True, note="JSON: a list of texts", content=_texts, json="array"),
    "parent": _TEXT_OR_NULL,  # SESSION or SESSION/TASK#N; a text, so that it outlives the parent
    "forked_from": ColumnRule(str, nullable=True, pattern=_SESSION_NAME, content=_session_name),
    "pinned": _FLAG,
    "fence": _COUNT,  # the number of the newest run
    "created_at": _TIME,
    "created_tick": _TICK,
    "ended_at": _TIME_OR_NULL,
    "ended_tick": _TICK_OR_NULL,
    # JSON dict: maps every known task, in order, to "not started" or "skipped"
    "tasks": ColumnRule(
        str,
        nullable=True,
        note="JSON: names of tasks, each with `not started` or `skipped`",
        content=_tasks,
        json="object",
    ),
    # encoded dict, without secrets
    "inputs": ColumnRule(str, nullable=True, note="JSON: an encoded dict", content=_inputs, json="object"),
    # Random. Copies of the database keep it; a session that is made again, forked or imported has another one.
    "identity": _TEXT,
    "traceparent": _TRACEPARENT,  # of its last run
}
RUN: Columns = {
    "id": _ID,
    "session_id": _ID,
    "number": _NUMBER,  # also the fence number of its attempts
    "origin": _words("cli web library reclaim"),  # cli, web, library, or reclaim: a taker ended a dead run
    "status": _words("completed failed interrupted lost waiting", nullable=True),  # null while it has not ended
    "host": _TEXT,
    "boot_id": _TEXT_OR_NULL,
    "pid_namespace": _TEXT_OR_NULL,
    "pid": _COUNT,
    "process_started": _TEXT_OR_NULL,  # in the kernel's own count, which is only compared for equality
    "user": _TEXT_OR_NULL,
    # JSON list, without secrets
    "command": ColumnRule(str, nullable=True, note="JSON: a list of texts", content=_texts, json="array"),
    "folder": _TEXT_OR_NULL,
    "python_version": _TEXT_OR_NULL,
    "zrb_version": _TEXT_OR_NULL,
    "started_at": _TIME,
    "started_tick": _TICK,
    "lease_expires_at": _TIME,
    "suspected_at": _TIME_OR_NULL,  # when the lease was found expired; a renewal sets it to NULL
    "ended_at": _TIME_OR_NULL,
    "ended_tick": _TICK_OR_NULL,
    "stop_requested_at": _TIME_OR_NULL,  # when `stop` asked its process to end it
    "notified_at": _TIME_OR_NULL,  # when the command of ZRB_STORE_NOTIFY was started for its end
    "acknowledged_at": _TIME_OR_NULL,  # when `ack` told `check` to be quiet about it
    # The error that ended it outside of attempts.
    "error_type": _TEXT_OR_NULL,
    "error_message": _TEXT_OR_NULL,
    "error_traceback": _TEXT_OR_NULL,
    # encoded dict, as of the session; null if they still are those of the session
    "inputs": ColumnRule(str, nullable=True, note="JSON: an encoded dict", content=_inputs, json="object"),
}
ATTEMPT: Columns = {
    "id": _ID,
    "session_id": _ID,
    "run_id": _OTHER_ID,  # null: forked, or marked by hand
    "fence": _COUNT,
    "task": ColumnRule(
        str,
        note=f"at most {TASK_ID_BYTES:,} bytes; of a step STEP_OF/STEP_NUMBER",
        content=functools.partial(_problem_of_name, what="task", most=TASK_ID_BYTES),
    ),
    "number": _NUMBER,
    "kind": _TEXT,  # what it is: task, check, server, fallback, manual, delivery, step, ...
    "status": _words("running completed failed interrupted lost waiting"),
    "restorable": _FLAG,
    "started_at": _TIME,
    "started_tick": _TICK,
    "ended_at": _TIME_OR_NULL,
    "ended_tick": _TICK_OR_NULL,
    "given_back_at": _TIME_OR_NULL,
    "given_back_tick": _TICK_OR_NULL,
    # The process that leads the group of its command: of a delivery, a CmdTask, a step of a script, or `run`.
    "command_pid": ColumnRule(int, nullable=True, least=1, most=_INTEGER),
    "command_started": _TEXT_OR_NULL,  # as `process_started` of a run
    "result_queue_id": _OTHER_ID,
    "result_seq": _SEQ_OR_NULL,
    # What follows is set for steps only, and these have all of the last three.
    "parent_id": _OTHER_ID,  # the attempt that the step runs in
    "used_by": _OTHER_ID,  # the last attempt to which a script's step has given its stored result
    "once": _FLAG,  # do not repeat it if its end is unknown
    "step_of": _TASK_OR_NULL,  # name of the task
    # name of the step, with ~2 if it is the second of that name in its attempt
    "step": ColumnRule(
        str,
        nullable=True,
        note=f"at most {STEP_BYTES} bytes",
        content=functools.partial(_problem_of_name, what="step", most=STEP_BYTES),
    ),
    "step_number": ColumnRule(int, nullable=True, least=1, most=_INTEGER),
    # JSON dict: what else its kind says of it
    "attributes": ColumnRule(str, nullable=True, note="JSON: a dict", content=_dict, json="object"),
    # What a wait waits for: a value of a queue, or the deadline if there is none.
    "awaited_queue": _TEXT_OR_NULL,
    "deadline_at": _TIME_OR_NULL,
    "say": _TEXT_OR_NULL,  # what a person is asked, without secrets
    "say_digest": _TEXT_OR_NULL,  # of what a person is asked with its secrets
    # The error that ended it.
    "error_type": _TEXT_OR_NULL,
    "error_message": _TEXT_OR_NULL,
    "error_traceback": _TEXT_OR_NULL,
    # encoded: what the error of a step is made of again
    "error_data": ColumnRule(str, nullable=True, note="JSON: an encoded error", content=problem_of, long=True),
    # JSON list of the inputs that an attempt of zrb has read, also when a step completed, or ["*"]; null: not known
    "inputs_read": ColumnRule(str, nullable=True, note="JSON: list of names of inputs", content=_texts, json="array"),
    # encoded dict: of each that it has assigned, its value in a list
    "inputs_assigned": ColumnRule(str, nullable=True, note="JSON: an encoded dict", content=_inputs, json="object"),
    "code": _TEXT_OR_NULL,  # digest of what its task ran, when it completed
    "inside": _TEXT_OR_NULL,  # the task whose action has started it, if one has
    # encoded, of a step or of `Run.task`
    "arguments": ColumnRule(str, nullable=True, note="JSON: encoded arguments", content=problem_of, long=True),
    # encoded, of a step; may be long
    "result": ColumnRule(str, nullable=True, note="JSON: an encoded value", content=problem_of, long=True),
}
OUTPUT: Columns = {
    "attempt_id": _ID,
    "piece": _NUMBER,  # from 1; the lowest ones are deleted in time
    "start": ColumnRule(int, most=_BIGINT, note="bytes of the attempt's output before this piece"),
    "size": ColumnRule(int, least=1, most=_INTEGER, note="bytes of its lines, with a newline after each"),
    "data": ColumnRule(
        str,
        note="JSON, ASCII only: a list of lines, each [microseconds since 1970 UTC, stream, text]",
        content=_lines,
        long=True,
    ),
}
QUEUE: Columns = {
    "id": _ID,
    "session_id": _ID,
    "name": ColumnRule(str, note="at most 2,000 bytes", content=functools.partial(_problem_of_name, what="queue")),
    # No seq from low to high is used again, even if its row was deleted. PostgreSQL numbers values by these columns.
    # SQLite also looks at the rows, and updates these columns only when rows are deleted.
    "high": _ANY_SEQ,
    "low": _ANY_SEQ,
    "max_deliveries": ColumnRule(int, nullable=True, least=1, most=_INTEGER),  # NULL: unlimited
    # JSON list of microseconds: how long a value is delayed that is given back for the first time, the second ...
    "retry_after": ColumnRule(
        str, nullable=True, note="JSON: a list of microseconds", content=_durations, json="array"
    ),
    "paused_at": _TIME_OR_NULL,  # since when consumers wait; NULL: not paused
}
VALUE: Columns = {
    "queue_id": _ID,
    "seq": _ANY_SEQ,
    "state": _words("live taken removed retracted dead"),
    "type": _TEXT,
    "size": ColumnRule(int, least=1, most=_INTEGER, note="bytes of data in UTF-8"),
    "pushed_by": _OTHER_ID,
    "pushed_at": _TIME,
    "pushed_tick": _TICK,
    "taken_by": _OTHER_ID,  # null: by hand, or by a deleted one
    "ended_at": _TIME_OR_NULL,  # when the value left the queue; NULL while it is live
    "ended_tick": _TICK_OR_NULL,
    "due_at": _TIME_OR_NULL,  # until then it is delayed: in its place, but in nobody's queue
    "failed_deliveries": _COUNT,
    "moved_from": _SEQ_OR_NULL,  # seq of the earlier value, in this queue, that this one continues
    "orphaned": _FLAG,
    "plain": _FLAG,  # assigned as `ctx.xcom["mode"] = "dry-run"`
    "traceparent": _TRACEPARENT,  # in which it was pushed
    # JSON, or '' if the text lies in chunks; last, because it is the long one
    "data": ColumnRule(str, note="JSON: an encoded value", content=problem_of, long=True),
}
CHUNK: Columns = {
    "queue_id": _ID,
    "seq": _ANY_SEQ,
    "number": _COUNT,  # 0, 1, 2 ...
    "data": _TEXT,  # the next characters of the text
}
RETURN: Columns = {
    "id": _ID,
    "queue_id": _ID,
    "seq": _ANY_SEQ,
    "taken_by": _OTHER_ID,
    "taken_at": _TIME,
    "taken_tick": _TICK,
    "returned_at": _TIME,
    "returned_tick": _TICK,
    "reason": _TEXT,
    # The value's `failed_deliveries` from then on, if they changed. 0: it was dead, and that ended by hand.
    "failed_deliveries": ColumnRule(int, nullable=True, least=0, most=_INTEGER),
    "due_at": _TIME_OR_NULL,  # until when the value had been delayed before it was taken
}
REPLACED: Columns = {
    "id": _ID,
    "queue_id": _ID,
    "seq": _ANY_SEQ,
    "type": _TEXT,
    "size": VALUE["size"],
    "failed_deliveries": _COUNT,
    "replaced_at": _TIME,
    "replaced_tick": _TICK,
    "data": VALUE["data"],  # as of a value, but always whole
}
CHANGE: Columns = {
    "id": _ID,
    "session": _TEXT_OR_NULL,
    "action": _TEXT,
    "detail": _TEXT_OR_NULL,
    "reason": _TEXT_OR_NULL,  # as the person gave it
    "at": _TIME,
    "user": _TEXT_OR_NULL,
    "host": _TEXT,
    "pid": _COUNT,
}
TABLES: Mapping[str, Columns] = {
    "zrb_session": SESSION,
    "zrb_run": RUN,
    "zrb_attempt": ATTEMPT,
    "zrb_output": OUTPUT,
    "zrb_queue": QUEUE,
    "zrb_value": VALUE,
    "zrb_chunk": CHUNK,
    "zrb_return": RETURN,
    "zrb_replaced": REPLACED,
    "zrb_change": CHANGE,
}
