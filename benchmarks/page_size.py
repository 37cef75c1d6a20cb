"""How large should the pages of a SQLite file be?

The log gets whole pages, three for each push and pop. Smaller pages are written faster, and so is the file at a
checkpoint. But a text that does not fit into a page needs pages of its own: with 2 KiB from 490 bytes on, with 4 KiB
from 1,000 on. All contestants are the raw driver on our schema.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing

from benchmarks.contest import new_folder
from benchmarks.harness import Effort, Race
from benchmarks.queues import Queue, live_attempt
from benchmarks.raw import RawSQLite
from benchmarks.report import Answer, ratios
from benchmarks.small_values import OPERATIONS, turn
from zrb_store.db.dialect.sqlite import PAGE_SIZE

SIZES = (1024, 2048, 4096, 8192)
LENGTHS = (63, 300, 700, 3_000, 10_000)


def queue_on(stack: ExitStack, page_size: int) -> Queue:
    """Return the raw driver on a new store with pages of this size."""
    path = new_folder(stack) / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.execute("PRAGMA journal_mode=WAL")  # from now on the size is fixed
    _, attempt = stack.enter_context(live_attempt(path))
    raw = RawSQLite(path, attempt)
    stack.callback(raw.connection.close)
    assert raw.connection.execute("PRAGMA page_size").fetchone() == (page_size,)
    return raw.queue()


def run(effort: Effort) -> Answer:
    """Run a race for each length of a text."""
    answer = Answer()
    for length in LENGTHS:
        with ExitStack() as stack:
            queues = {f"{size} bytes": queue_on(stack, size) for size in SIZES}
            turns = {name: turn(queue, 20, "x" * (length - 2)) for name, queue in queues.items()}
            race = Race(turns, effort(25, 5), effort(20, 5))
        answer.add(f"Values of {length:,} bytes:", "", *ratios(race, OPERATIONS, f"{PAGE_SIZE} bytes"))
    return answer
