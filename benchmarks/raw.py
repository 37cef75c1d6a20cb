"""Hand-written SQL on the same schema: the baseline of every ratio.

Our migrations create the schema, and the pragmas are ours. The statements do the same work as those of the store, with
the fence and attempt check and the ticks that order the rows, in one autocommit statement each. Values are encoded by
the standard library's JSON.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.queues import Queue
from zrb_store import codec
from zrb_store.attempt import Attempt

_MAY_WRITE = """
    EXISTS (SELECT 1 FROM zrb_attempt a JOIN zrb_session s ON s.id = a.session_id
            WHERE a.id = ? AND a.status = 'running' AND a.fence = s.fence)"""
_TICK, _NEXT_TICK = "(SELECT tick FROM zrb_clock)", "(SELECT tick + 1 FROM zrb_clock)"
_NEXT_SEQ = "max(coalesce((SELECT max(seq) FROM zrb_value WHERE queue_id = q.id), 0), q.high) + 1"
_PUSH = f"""
    INSERT INTO zrb_value (queue_id, seq, type, size, pushed_at, pushed_tick, pushed_by, data)
    SELECT q.id, {_NEXT_SEQ}, ?, ?, ?, {_TICK}, ?, ? FROM zrb_queue q WHERE q.id = ? AND {_MAY_WRITE} RETURNING seq"""
_POP = f"""
    UPDATE zrb_value SET state = 'taken', ended_at = ?, ended_tick = {_TICK}, taken_by = ?
    WHERE queue_id = ? AND seq =
        (SELECT seq FROM zrb_value WHERE queue_id = ? AND ended_at IS NULL ORDER BY seq LIMIT 1) AND {_MAY_WRITE}
    RETURNING seq, data"""
_LIVE = "FROM zrb_value INDEXED BY ix_zrb_value_live WHERE queue_id = ? AND ended_at IS NULL"
_PEEK = f"SELECT data {_LIVE} ORDER BY seq LIMIT 1"
_NEWEST = f"SELECT data {_LIVE} ORDER BY seq DESC LIMIT 1"
_LENGTH = f"SELECT count(*) {_LIVE}"
_ITERATE = f"SELECT data {_LIVE} ORDER BY seq"
_INSERT = """
    INSERT INTO zrb_value (queue_id, seq, type, size, pushed_at, pushed_tick, pushed_by, data)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_BEGIN = f"""
    INSERT INTO zrb_attempt (session_id, run_id, fence, task, number, kind, status, arguments, started_at, started_tick)
    SELECT s.id, ?, s.fence, ?,
        (SELECT coalesce(max(number), 0) + 1 FROM zrb_attempt WHERE session_id = s.id AND task = ?),
        'task', 'running', ?, ?, {_NEXT_TICK}
    FROM zrb_session s WHERE s.id = ? AND s.fence = ? AND NOT EXISTS
        (SELECT 1 FROM zrb_attempt WHERE session_id = s.id AND task = ? AND given_back_at IS NULL
            AND status != 'completed')
    RETURNING id"""
_COMPLETE = f"""
    UPDATE zrb_attempt
    SET status = 'completed', ended_at = ?, ended_tick = {_NEXT_TICK}, result_queue_id = ?, result_seq = ?
    WHERE id = ? AND {_MAY_WRITE}"""
_BEGIN_STEP = f"""
    INSERT INTO zrb_attempt (session_id, run_id, fence, task, number, kind, status, arguments, started_at,
        started_tick, parent_id, step_of, step, step_number, once)
    SELECT p.session_id, p.run_id, p.fence, ?,
        (SELECT coalesce(max(number), 0) + 1 FROM zrb_attempt WHERE session_id = p.session_id AND task = ?),
        'step', 'running', ?, ?, {_NEXT_TICK}, p.id, p.task, ?, ?, 0
    FROM zrb_attempt p WHERE p.id = ? AND {_MAY_WRITE}
    RETURNING id, number"""
_COMPLETE_STEP = f"""
    UPDATE zrb_attempt
    SET status = 'completed', ended_at = ?, ended_tick = {_NEXT_TICK}, restorable = 1, result = ?
    WHERE id = ? AND {_MAY_WRITE}
    RETURNING id"""
_QUEUE = "INSERT INTO zrb_queue (session_id, name) VALUES (?, ?) RETURNING id"


def _micros() -> int:
    return time.time_ns() // 1000


class RawSQLite:
    """Hand-written statements on the standard library's driver, for one attempt and one queue."""

    dumps: Callable[[Any], str] = staticmethod(json.dumps)
    loads: Callable[[str], Any] = staticmethod(json.loads)

    def __init__(self, path: Path, attempt: Attempt, name: str = "values", synchronous: str = "NORMAL") -> None:
        self.queue_id = attempt.xcom.queue_id(name)
        self.attempt_id = attempt.id
        self.connection = sqlite3.connect(path, isolation_level=None)
        checkpoints = ("wal_autocheckpoint=4000", "journal_size_limit=16777216")
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", *checkpoints):
            self.connection.execute(f"PRAGMA {pragma}")

    def push(self, value: Any) -> int:
        data = self.dumps(value)
        parameters = (type(value).__name__, len(data), _micros(), self.attempt_id, data, self.queue_id, self.attempt_id)
        seq: int = self.connection.execute(_PUSH, parameters).fetchone()[0]
        return seq

    def pop(self) -> Any:
        parameters = (_micros(), self.attempt_id, self.queue_id, self.queue_id, self.attempt_id)
        # fetchall, not fetchone: the transaction ends only when the statement has ended.
        ((_, data),) = self.connection.execute(_POP, parameters).fetchall()
        return self.loads(data)

    def peek(self) -> Any:
        return self.loads(self.connection.execute(_PEEK, (self.queue_id,)).fetchone()[0])

    def newest(self) -> Any:
        return self.loads(self.connection.execute(_NEWEST, (self.queue_id,)).fetchone()[0])

    def length(self) -> int:
        number: int = self.connection.execute(_LENGTH, (self.queue_id,)).fetchone()[0]
        return number

    def iterate(self) -> Iterator[Any]:
        for (data,) in self.connection.execute(_ITERATE, (self.queue_id,)):
            yield self.loads(data)

    def extend(self, many: list[Any]) -> None:
        encoded = [(type(value).__name__, self.dumps(value)) for value in many]
        self.connection.execute("BEGIN IMMEDIATE")
        if not self.connection.execute(f"SELECT {_MAY_WRITE}", (self.attempt_id,)).fetchone()[0]:
            raise AssertionError("the attempt has ended")
        next_seq = f"SELECT {_NEXT_SEQ} FROM zrb_queue q WHERE q.id = ?"
        first = self.connection.execute(next_seq, (self.queue_id,)).fetchone()[0]
        now, tick = _micros(), self.connection.execute("SELECT tick FROM zrb_clock").fetchone()[0]
        self.connection.executemany(
            _INSERT,
            [
                (self.queue_id, seq, kind, len(data), now, tick, self.attempt_id, data)
                for seq, (kind, data) in enumerate(encoded, first)
            ],
        )
        self.connection.execute("COMMIT")

    def task(self, session_id: int, run_id: int, fence: int, task: str, arguments: str, result: Any) -> None:
        """Record one task in two transactions: its beginning, and its completion with the result in a new queue."""
        begin = (run_id, task, task, arguments, _micros(), session_id, fence, task)
        ((self.attempt_id,),) = self.connection.execute(_BEGIN, begin).fetchall()
        self.connection.execute("BEGIN IMMEDIATE")
        ((self.queue_id,),) = self.connection.execute(_QUEUE, (session_id, task)).fetchall()
        seq = self.push(result)
        complete = (_micros(), self.queue_id, seq, self.attempt_id, self.attempt_id)
        self.connection.execute(_COMPLETE, complete)
        self.connection.execute("COMMIT")

    def step(self, task: str, number: int, name: str, arguments: str, result: Any) -> None:
        """Record one step of the attempt in two transactions: its beginning, and its completion with the result."""
        step_of, attempt_id = f"{task}/{number}", self.attempt_id
        begin = (step_of, step_of, arguments, _micros(), name, number, attempt_id, attempt_id)
        ((step_id, _),) = self.connection.execute(_BEGIN_STEP, begin).fetchall()
        complete = (_micros(), self.dumps(result), step_id, step_id)
        ((_,),) = self.connection.execute(_COMPLETE_STEP, complete).fetchall()

    def queue(self) -> Queue:
        """Return these operations as a contestant."""
        return Queue(
            push=self.push,
            pop=self.pop,
            peek=self.peek,
            newest=self.newest,
            length=self.length,
            extend=self.extend,
            iterate=self.iterate,
            close=self.connection.close,
        )


class RawWithOurCodec(RawSQLite):
    """The same statements with the codec of the store."""

    dumps = staticmethod(lambda value: codec.encode(value).data)
    loads = staticmethod(codec.decode)
