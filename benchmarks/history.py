"""Do push and pop stay fast when many values were taken before?

A queue with 1,000,000 taken values is compared with an empty one. `tests/db/test_hot_statements.py` asserts how SQLite
finds the rows of every frequent statement, with and without ANALYZE; this table shows the effect.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.queues import SMALL, Queue, live_attempt
from benchmarks.report import Answer, at_most, ratios
from benchmarks.stuffing import add_values

EMPTY = "empty queue"
OPERATIONS = {"push": "push", "pop": "pop", "peek": "peek", "newest": "get", "length": "len"}


def turn(queue: Queue, times: int) -> Contestant:
    """Return a turn that pushes, peeks and pops."""
    peek, newest, length = queue.peek, queue.newest, queue.length
    assert peek is not None
    assert newest is not None
    assert length is not None
    return lambda: {
        "push": timed(lambda: queue.push(SMALL), times),
        "peek": timed(peek, times),
        "newest": timed(newest, times),
        "length": timed(length, times),
        "pop": timed(queue.pop, times),
    }


def run(effort: Effort) -> Answer:
    """Run one race of zrb-store against itself."""
    answer = Answer()
    many = effort(1_000_000, 100_000)
    full = f"{many:,} taken values"
    with ExitStack() as stack:
        turns = {}
        for name in (EMPTY, full):
            path = new_folder(stack) / "store.db"
            _, attempt = stack.enter_context(live_attempt(path))
            if name == full:
                add_values(path, attempt.xcom.queue_id("values"), many, attempt_id=attempt.id, taken=True)
            bound = attempt.xcom["values"]
            turns[name] = turn(Queue(bound.push, bound.pop, bound.peek, bound.get, length=bound.__len__), 20)
        race = Race(turns, effort(25, 7), effort(40, 10))
    answer.add(*ratios(race, OPERATIONS, EMPTY))
    for operation, name in OPERATIONS.items():
        answer.goals.append(at_most(f"{name} with {full} in the same queue", 1.2, race.ratio(operation, full, EMPTY)))
    return answer
