"""How large is a value in the database?

This measures the size of the file for each value of 63 bytes, with all indexes. Taken values were pushed and taken by
attempts, so that they are in every index. The peers delete taken values.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from pathlib import Path

from benchmarks import peers
from benchmarks.contest import new_folder
from benchmarks.harness import Effort
from benchmarks.queues import SMALL, live_attempt
from benchmarks.report import Answer, Goal, table


def ours(stack: ExitStack, many: int, *, taken: bool) -> float:
    """Return the bytes per value in zrb-store."""
    path = new_folder(stack) / "store.db"
    with live_attempt(path) as (_, attempt):
        empty = _bytes_used(path)
        queue = attempt.xcom["values"]
        for _ in range(many):
            queue.push(SMALL)
        if taken:
            for _ in range(many):
                queue.pop()
    return (_bytes_used(path) - empty) / many


def theirs(stack: ExitStack, factory: peers.Factory, many: int) -> float:
    """Return the bytes per live value in a peer."""
    folder = new_folder(stack)
    queue = factory(folder, "NORMAL")
    for _ in range(many):
        queue.push(SMALL)
    queue.close()
    return sum(_bytes_used(path) for path in folder.iterdir() if path.name.endswith(".db")) / many


def _bytes_used(path: Path) -> int:
    connection = sqlite3.connect(path)
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    connection.close()
    return int(pages * size)


def run(effort: Effort) -> Answer:
    """Count the pages of each contestant."""
    answer = Answer()
    many = effort(50_000, 5_000)
    with ExitStack() as stack:
        sizes = {
            "zrb-store, live": ours(stack, many, taken=False),
            "zrb-store, taken": ours(stack, many, taken=True),
            **{f"{name}, live": theirs(stack, factory, many) for name, factory in peers.available().items()},
        }
    answer.add(*table(["", "bytes per value"], [[name, f"{size:.0f}"] for name, size in sizes.items()]))
    largest = max(sizes["zrb-store, live"], sizes["zrb-store, taken"])
    answer.goals.append(Goal("bytes per 63-byte value", "at most 180", f"{largest:.0f}", largest <= 180))
    return answer
