"""The names that TAB completes.

This is plain SQL, and the only such module of this layer: it is written for both databases without SQLAlchemy, which
takes longer to import than the answer may take.
Every function returns at most a given number of names, and with them the last one of all: what a shell inserts is the
common beginning of the names, which must not be longer than that of those left out.
"""

from __future__ import annotations

import json

from zrb_store.db.bare import Reader

_UNSUCCESSFUL = (
    "(status IN ('failed', 'interrupted') OR status = 'running' AND EXISTS (SELECT 1 FROM zrb_run AS run "
    "WHERE run.session_id = zrb_session.id AND run.number = zrb_session.fence AND run.lease_expires_at < ?))"
)


def session_names(reader: Reader, prefix: str, limit: int) -> list[str]:
    """Return names of sessions: the newest ones, or those that begin with the prefix, in descending order."""
    begins, params = reader.begins("name", prefix)
    newest = "id DESC" if not prefix else f"name{reader.bytewise} DESC"
    sql = f"SELECT name FROM zrb_session WHERE {begins} ORDER BY"
    found = _first(reader, f"{sql} {newest} LIMIT ?", *params, limit)
    if len(found) == limit:
        for order in ("", " DESC"):
            found += _first(reader, f"{sql} name{reader.bytewise}{order} LIMIT 1", *params)
    return list(dict.fromkeys(found))


def session_id(reader: Reader, name: str) -> int | None:
    """Return the id of the session of this name, or of the only one whose name begins so."""
    found = reader.rows("SELECT id FROM zrb_session WHERE name = ?", name)
    if not found:
        begins, params = reader.begins("name", name)
        found = reader.rows(f"SELECT id FROM zrb_session WHERE {begins} LIMIT 2", *params)
    return found[0][0] if len(found) == 1 else None


def newest_session_id(reader: Reader, failed_before: int | None) -> int | None:
    """Return the id of the newest session that is nobody's child.

    Args:
        reader: The store.
        failed_before: Only a session that failed, was interrupted, or has a lease that expired before this moment, in
            microseconds; None for any session.
    """
    condition, params = ("1 = 1", []) if failed_before is None else (_UNSUCCESSFUL, [failed_before])
    sql = f"SELECT id FROM zrb_session WHERE parent IS NULL AND {condition} ORDER BY id DESC LIMIT 1"
    found = reader.rows(sql, *params)
    return found[0][0] if found else None


def queue_names(reader: Reader, session: int, prefix: str, limit: int) -> list[str]:
    """Return names of a session's queues."""
    begins, params = reader.begins("name", prefix)
    return _ascending(reader, "name", f"zrb_queue WHERE session_id = ? AND {begins}", [session, *params], limit)


def queue_id(reader: Reader, session: int, name: str) -> int | None:
    """Return the id of a queue."""
    found = reader.rows("SELECT id FROM zrb_queue WHERE session_id = ? AND name = ?", session, name)
    return found[0][0] if found else None


def task_names(reader: Reader, session: int, prefix: str, limit: int) -> list[str]:
    """Return names of a session's tasks, also of those that have not run yet."""
    ((known,),) = reader.rows("SELECT tasks FROM zrb_session WHERE id = ?", session)
    names = [name for name in json.loads(known or "{}") if name.startswith(prefix)]
    names += _attempted(reader, "session_id = ?", [session], prefix, limit)
    return list(dict.fromkeys(names))[:limit]


def main_task_names(reader: Reader, prefix: str, limit: int) -> list[str]:
    """Return names of the main tasks of all sessions."""
    return _distinct(reader, "task", "zrb_session WHERE task IS NOT NULL", [], prefix, limit)


def completed_task_names(reader: Reader, prefix: str, limit: int) -> list[str]:
    """Return names of the tasks that have completed in some session."""
    return _attempted(reader, "status = 'completed'", [], prefix, limit)


def step_names(reader: Reader, session: int, task: str, prefix: str, limit: int) -> list[str]:
    """Return names of a task's steps."""
    rows = "zrb_attempt WHERE session_id = ? AND step_of = ?"
    return _distinct(reader, "step", rows, [session, task], prefix, limit)


def step_ids(reader: Reader, session: int, task: str, prefix: str, limit: int) -> list[str]:
    """Return ids, TASK/NUMBER, of a task's steps, in their order."""
    begins, params = reader.begins("task", prefix)
    rows = reader.rows(
        "SELECT DISTINCT task, step_number FROM zrb_attempt "
        f"WHERE session_id = ? AND step_of = ? AND {begins} ORDER BY step_number LIMIT ?",
        *(session, task, *params, limit),
    )
    return [row[0] for row in rows]


def attempt_numbers(reader: Reader, session: int, task: str, limit: int) -> list[int]:
    """Return numbers of a task's attempts, the newest first."""
    sql = "SELECT number FROM zrb_attempt WHERE session_id = ? AND task = ? ORDER BY number DESC LIMIT ?"
    return [row[0] for row in reader.rows(sql, session, task, limit)]


def seqs(reader: Reader, queue: int, prefix: str, *, dead: bool, limit: int) -> list[int]:
    """Return the seqs of a queue's values that begin with these digits, the highest first.

    Args:
        reader: The store.
        queue: Id of the queue.
        prefix: The digits, perhaps with a sign.
        dead: Only dead values.
        limit: At most so many.
    """
    condition = " AND state = 'dead'" if dead else ""
    one = f"SELECT seq FROM zrb_value WHERE queue_id = ? AND seq BETWEEN ? AND ?{condition} ORDER BY seq DESC LIMIT ?"
    found: list[int] = []
    params: list[int] = []
    ranges = list(_ranges(prefix))
    for low, high in ranges:
        params += [queue, low, high, limit]
    if ranges:
        sql = " UNION ALL ".join(f"SELECT * FROM ({one}) AS r{number}" for number in range(len(ranges)))
        found = sorted({row[0] for row in reader.rows(sql, *params)}, reverse=True)
    return found[:limit]


_MOST_DIGITS = 18


def _ranges(prefix: str) -> list[tuple[int, int]]:
    """Return the ranges of numbers that are written with these first characters."""
    digits = prefix.removeprefix("-")
    if not digits:
        most: int = 10**_MOST_DIGITS
        return [(-most, -1)] if prefix else [(-most, most)]
    if not digits.isdecimal() or not digits.isascii() or len(digits) > _MOST_DIGITS or (digits[0] == "0" != prefix):
        return []
    if digits == "0":
        return [(0, 0)]
    found = []
    for more in range(_MOST_DIGITS - len(digits) + 1):
        low = int(digits) * 10**more
        high = low + 10**more - 1
        found.append((low, high) if prefix == digits else (-high, -low))
    return found


def _first(reader: Reader, sql: str, *params: object) -> list[str]:
    return [row[0] for row in reader.rows(sql, *params)]


def _ascending(reader: Reader, column: str, rows: str, params: list[object], limit: int) -> list[str]:
    sql = f"SELECT {column} FROM {rows} GROUP BY {column} ORDER BY {column}"
    found = _first(reader, f"{sql}{reader.bytewise} LIMIT ?", *params, limit)
    if len(found) == limit:
        found += _first(reader, f"{sql}{reader.bytewise} DESC LIMIT 1", *params)
    return list(dict.fromkeys(found))


def _distinct(reader: Reader, column: str, rows: str, params: list[object], prefix: str, limit: int) -> list[str]:
    """Return distinct texts of many rows, by reading only the first row of each from an index if that is faster."""
    begins, more = reader.begins(column, prefix)
    if not reader.is_near:
        return _ascending(reader, column, f"(SELECT {column} FROM {rows} AND {begins}) AS r", [*params, *more], limit)
    found: list[str] = []
    sql = f"SELECT {column} FROM {rows} AND {begins}"
    following = _first(reader, f"{sql} ORDER BY {column} LIMIT 1", *params, *more)
    while following and len(found) < limit:
        found += following
        following = _first(reader, f"{sql} AND {column} > ? ORDER BY {column} LIMIT 1", *params, *more, found[-1])
    if following:
        found += _first(reader, f"{sql} ORDER BY {column} DESC LIMIT 1", *params, *more)
    return list(dict.fromkeys(found))


def _attempted(reader: Reader, condition: str, params: list[object], prefix: str, limit: int) -> list[str]:
    """Return names of tasks that have attempts, without steps, whose `task` is TASK/NUMBER."""
    rows = f"zrb_attempt WHERE {condition}"
    if not reader.is_near:
        return _distinct(reader, "task", f"{rows} AND step_of IS NULL", params, prefix, limit)
    begins, more = reader.begins("task", prefix)
    sql = f"SELECT task, step_of FROM {rows} AND {begins}"
    found: list[str] = []
    following = reader.rows(f"{sql} ORDER BY task LIMIT 1", *params, *more)
    while following and len(found) < limit:
        ((task, step_of),) = following
        if step_of is None:
            found.append(task)
        # The colon follows the digits: all steps of a task are skipped at once.
        last = task if step_of is None else max(task, f"{step_of}/:")
        following = reader.rows(f"{sql} AND task > ? ORDER BY task LIMIT 1", *params, *more, last)
    return found
