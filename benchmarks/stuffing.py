"""Fill large stores by SQL, because a million rows would take a minute through the API."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from benchmarks.queues import SMALL
from zrb_store import open_store

_DATA = json.dumps(SMALL, separators=(",", ":"))
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
_TIME = 1_750_000_000_000_000


def add_values(path: Path, queue_id: int, count: int, *, attempt_id: int, taken: bool, after: int = 0) -> None:
    """Add `count` small values to a queue, after the seq `after`: pushed by an attempt and, if `taken`, taken by it."""
    state, ended_at, taken_by = ("taken", _TIME, attempt_id) if taken else ("live", None, None)
    with sqlite3.connect(path) as connection:
        connection.execute(
            f"""{_NUMBERS} INSERT INTO zrb_value
                (queue_id, seq, state, type, size, pushed_at, pushed_by, ended_at, taken_by, data)
            SELECT ?, i + ?, ?, 'dict', ?, ? + i, ?, ?, ?, ? FROM n""",
            (count, queue_id, after, state, len(_DATA), _TIME, attempt_id, ended_at, taken_by, _DATA),
        )
    connection.close()


def add_sessions(path: Path, count: int) -> None:
    """Add completed sessions, each with a run, 2 tasks and 2 queues of 5 values, of which 4 are taken."""
    open_store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            f"""{_NUMBERS} INSERT INTO zrb_session
                (id, name, status, project, task, path, tasks, fence, created_at, ended_at, created_tick, ended_tick)
            SELECT i, 'etl-' || i, 'completed', '/srv/etl', 'load', '["etl","load"]', '{{"load":"waiting"}}', 1,
                {_TIME} + i * 1000000, {_TIME} + i * 1000000 + 500000, i * 2 - 1, i * 2 FROM n""",
            (count,),
        )
        connection.execute(
            """INSERT INTO zrb_run (id, session_id, number, origin, host, pid, command, folder, python_version,
                started_at, lease_expires_at, ended_at, status, started_tick, ended_tick)
            SELECT id, id, 1, 'cli', 'host', 4711, '["zrb","etl","load"]', '/srv/etl', '3.13.0', created_at,
                created_at + 60000000, ended_at, 'completed', created_tick, ended_tick FROM zrb_session"""
        )
        for place, task in enumerate(("extract", "load")):
            connection.execute(
                """INSERT INTO zrb_queue (id, session_id, name) SELECT id * 2 + ?, id, ? FROM zrb_session""",
                (place, task),
            )
            connection.execute(
                """INSERT INTO zrb_attempt (id, session_id, run_id, fence, task, number, kind, status, result_queue_id,
                    result_seq, started_at, ended_at)
                SELECT id * 2 + ?1, id, id, 1, ?2, 1, 'task', 'completed', id * 2 + ?1, 5, created_at, ended_at
                FROM zrb_session""",
                (place, task),
            )
        connection.execute(
            f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) INSERT INTO zrb_value
                (queue_id, seq, state, type, size, pushed_at, pushed_by, ended_at, taken_by, data)
            SELECT q.id, i, CASE WHEN i < 5 THEN 'taken' ELSE 'live' END, 'dict', {len(_DATA)}, {_TIME}, q.id,
                CASE WHEN i < 5 THEN {_TIME} + 1 END, CASE WHEN i < 5 THEN q.id END, ?
            FROM zrb_queue q, n""",
            (_DATA,),
        )
    connection.close()
