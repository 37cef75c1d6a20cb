"""Fill large stores by SQL, because a million rows would take a minute through the API."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.queues import SMALL
from zrb_store import open_store

TASKS = 20  # main tasks
INBOX = "inbox"  # a session without a run, whose queue `files` is shared
_DATA = json.dumps(SMALL, separators=(",", ":"))
_TIME = 1_750_000_000_000_000
_TICKS = 20  # of one session: the events and changes of it follow each other
_STATUS = "(CASE WHEN i % 50 = 7 AND i <= {count} - 40 OR i IN ({last}) THEN 'failed' ELSE 'completed' END)"
Execute = Callable[[str], Any]


def _numbers(first: int, last: int | str) -> str:
    return f"WITH RECURSIVE n(i) AS (SELECT CAST({first} AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {last})"


@contextmanager
def _opened(location: str | Path) -> Iterator[Execute]:
    """Create the tables, and yield what runs a statement. Foreign keys are not checked: that takes minutes."""
    open_store(location).close()
    if "://" not in str(location):
        with closing(sqlite3.connect(location)) as file, file:
            yield file.execute
        return
    import psycopg

    with psycopg.connect(str(location).replace("+psycopg", "", 1)) as server:
        server.execute("SET session_replication_role = replica")
        yield server.execute
        server.commit()
        server.autocommit = True
        server.execute("VACUUM (ANALYZE)")  # as the server does by itself within a minute


def add_values(path: Path, queue_id: int, count: int, *, attempt_id: int, taken: bool, after: int = 0) -> None:
    """Add `count` small values to a queue, after the seq `after`: pushed by an attempt and, if `taken`, taken by it."""
    state, end, taken_by = ("'taken'", (_TIME, 2), attempt_id) if taken else ("'live'", ("NULL", "NULL"), "NULL")
    with _opened(path) as execute:
        execute(
            f"""INSERT INTO zrb_value (queue_id, seq, state, type, size, pushed_at, pushed_tick, pushed_by, ended_at,
                ended_tick, taken_by, data)
            {_numbers(1, count)} SELECT {queue_id}, i + {after}, {state}, 'dict', {len(_DATA)}, {_TIME}, 2,
                {attempt_id}, {end[0]}, {end[1]}, {taken_by}, '{_DATA}' FROM n"""
        )


def add_sessions(location: str | Path, count: int) -> None:
    """Add sessions `etl-1` to `etl-COUNT` of a few main tasks, and the shared queue `inbox/files`.

    Each has a run, an attempt of `extract` and one of `load`, two queues of four values, of which `load` took all but
    its result, and one or two values of the shared queue. Every tenth `load` has failed once and was tried again. Every
    fiftieth session has failed for good, which newer ones of its task have made up for, but for the last three. Four
    others run, and four wait. All that does not grow with their number.
    """
    failed = ", ".join(str(count - each) for each in (5, 12, 17))
    status = _STATUS.format(count=count, last=failed)
    made = f"{_TIME} + i * 1000000"
    tick = f"i * {_TICKS}"
    with _opened(location) as execute:
        execute(
            f"""INSERT INTO zrb_session (id, name, status, project, task, path, tasks, fence, created_at, created_tick,
                ended_at, ended_tick)
            {_numbers(1, count)} SELECT i, 'etl-' || i, {status}, '/srv/etl', 'load-' || (i % {TASKS}),
                '["etl","load-' || (i % {TASKS}) || '"]', '{{"extract":"not started","load":"not started"}}', 1,
                {made}, {tick} + 1, {made} + 500000, {tick} + 17 FROM n"""
        )
        execute(
            """INSERT INTO zrb_run (id, session_id, number, origin, host, pid, command, folder, python_version,
                started_at, started_tick, lease_expires_at, ended_at, ended_tick, status)
            SELECT id, id, 1, 'cli', 'host', 4711, '["zrb","etl","load"]', '/srv/etl', '3.13.0', created_at,
                created_tick + 2, created_at + 60000000, ended_at, ended_tick, status FROM zrb_session"""
        )
        execute(
            """INSERT INTO zrb_attempt (id, session_id, run_id, fence, task, number, kind, status, started_at,
                started_tick, ended_at, ended_tick, result_queue_id, result_seq)
            SELECT id * 4, id, id, 1, 'extract', 1, 'task', 'completed', created_at, created_tick + 4,
                created_at + 100000, created_tick + 6, id * 2, 4 FROM zrb_session
            UNION ALL
            SELECT id * 4 + 2, id, id, 1, 'load', 1 + CASE WHEN id % 10 = 3 THEN 1 ELSE 0 END, 'task', status,
                created_at + 300000, created_tick + 12, created_at + 400000, created_tick + 14,
                CASE WHEN status = 'completed' THEN id * 2 + 1 END, CASE WHEN status = 'completed' THEN 4 END
            FROM zrb_session"""
        )
        execute(
            """INSERT INTO zrb_attempt (id, session_id, run_id, fence, task, number, kind, status, started_at,
                started_tick, ended_at, ended_tick, given_back_at, given_back_tick, error_type, error_message)
            SELECT id * 4 + 1, id, id, 1, 'load', 1, 'task', 'failed', created_at + 100000, created_tick + 8,
                created_at + 200000, created_tick + 10, created_at + 300000, created_tick + 12, 'ValueError',
                'no column ''price''' FROM zrb_session WHERE id % 10 = 3"""
        )
        execute(
            "UPDATE zrb_attempt SET error_type = 'ValueError', error_message = 'no column ''price''' "
            "WHERE status = 'failed' AND error_type IS NULL"
        )
        execute(
            f"""INSERT INTO zrb_queue (id, session_id, name, high)
            SELECT id * 2, id, 'extract', 4 FROM zrb_session UNION ALL SELECT id * 2 + 1, id, 'load', 4
            FROM zrb_session UNION ALL SELECT 1, {count + 1}, 'files', {2 * count + 30}"""
        )
        execute(
            f"""INSERT INTO zrb_value (queue_id, seq, state, type, size, pushed_at, pushed_tick, pushed_by, ended_at,
                ended_tick, taken_by, data)
            {_numbers(1, 4)} SELECT q.id, i, CASE WHEN i < 4 THEN 'taken' ELSE 'live' END, 'dict', {len(_DATA)},
                s.created_at + 100000, s.created_tick + 5 + 8 * (q.id % 2), s.id * 4 + 2 * (q.id % 2),
                CASE WHEN i < 4 THEN s.created_at + 350000 END, CASE WHEN i < 4 THEN s.created_tick + 13 END,
                CASE WHEN i < 4 THEN s.id * 4 + 2 END, '{_DATA}'
            FROM zrb_session s JOIN zrb_queue q ON q.session_id = s.id, n"""
        )
        execute(
            """INSERT INTO zrb_return (queue_id, seq, taken_by, taken_at, taken_tick, returned_at, returned_tick,
                reason)
            SELECT id * 2, 1, id * 4 + 1, created_at + 150000, created_tick + 9, created_at + 300000,
                created_tick + 12, 'failed' FROM zrb_session WHERE id % 10 = 3"""
        )
        _add_shared_queue(execute, count)
        _add_unfinished(execute, count)
        if "://" in str(location):
            execute(f"SELECT setval('zrb_tick', {(count + 100) * _TICKS})")
        else:
            execute(f"UPDATE zrb_clock SET tick = {(count + 100) * _TICKS}")


def _add_shared_queue(execute: Execute, count: int) -> None:
    """Add the shared queue: its values were taken by the attempts of `load`, and at last 20 are live and 10 dead."""
    end, pushed = (count + 50) * _TICKS, (count + 40) * _TICKS
    execute(
        f"""INSERT INTO zrb_session (id, name, status, created_at, created_tick)
        VALUES ({count + 1}, '{INBOX}', 'open', {_TIME}, 1)"""
    )
    execute(
        f"""INSERT INTO zrb_value (queue_id, seq, state, type, size, pushed_at, pushed_tick, ended_at, ended_tick,
            taken_by, data)
        {_numbers(1, 2 * count)} SELECT 1, i, 'taken', 'dict', {len(_DATA)}, {_TIME}, 2,
            s.created_at + 350000, s.created_tick + 13, s.id * 4 + 2, '{_DATA}'
        FROM n JOIN zrb_session s ON s.id = (i + 1) / 2 AND s.status = 'completed'"""
    )
    execute(
        f"""INSERT INTO zrb_value (queue_id, seq, state, type, size, pushed_at, pushed_tick, ended_at, ended_tick,
            failed_deliveries, data)
        {_numbers(1, 30)} SELECT 1, {2 * count} + i, CASE WHEN i > 20 THEN 'dead' ELSE 'live' END, 'dict',
            {len(_DATA)}, {_TIME}, {pushed}, CASE WHEN i > 20 THEN {_TIME} END, CASE WHEN i > 20 THEN {end} END,
            CASE WHEN i > 20 THEN 3 ELSE 0 END, '{_DATA}' FROM n"""
    )


def _add_unfinished(execute: Execute, count: int) -> None:
    """Add four sessions that run, on a machine that nobody knows here, and four that wait for an answer."""
    first, tick = count + 2, f"({count} + 20 + i) * {_TICKS}"
    later = int((time.time() + 12 * 3600) * 1e6)  # a lease that ends after more than a day would be damage
    running = "i <= 4"
    execute(
        f"""INSERT INTO zrb_session (id, name, status, project, task, path, tasks, fence, created_at, created_tick,
            ended_at, ended_tick)
        {_numbers(1, 8)} SELECT {first} + i, 'now-' || i, CASE WHEN {running} THEN 'running' ELSE 'waiting' END,
            '/srv/etl', 'now', '["etl","now"]', '{{"ask":"not started"}}', 1, {_TIME}, {tick} + 1,
            CASE WHEN NOT ({running}) THEN {_TIME} END, CASE WHEN NOT ({running}) THEN {tick} + 9 END FROM n"""
    )
    execute(
        f"""INSERT INTO zrb_run (id, session_id, number, origin, host, boot_id, pid, command, folder, started_at,
            started_tick, lease_expires_at, ended_at, ended_tick, status)
        SELECT id, id, 1, 'cli', 'elsewhere', 'another', 4711, '["zrb","etl","now"]', '/srv/etl', created_at,
            created_tick + 2, {later}, ended_at, ended_tick, CASE WHEN status = 'waiting' THEN status END
        FROM zrb_session WHERE id > {first}"""
    )
    execute(
        f"""INSERT INTO zrb_attempt (id, session_id, run_id, fence, task, number, kind, status, started_at,
            started_tick, ended_at, ended_tick)
        SELECT id * 4, id, id, 1, 'ask', 1, 'task', status, created_at, created_tick + 4, ended_at, ended_tick
        FROM zrb_session WHERE id > {first}"""
    )
    execute(
        f"""INSERT INTO zrb_attempt (id, session_id, run_id, fence, task, number, kind, status, started_at,
            started_tick, ended_at, ended_tick, parent_id, step_of, step, step_number, awaited_queue)
        SELECT id * 4 + 1, id, id, 1, 'ask/1', 1, 'wait', status, created_at, created_tick + 6, ended_at, ended_tick,
            id * 4, 'ask', 'wait approve', 1, 'approve' FROM zrb_session WHERE id > {first} AND status = 'waiting'"""
    )
