"""What do reads cost?

This measures `peek`, `get` (of the newest value) and `len`, on a queue that holds 1,000 small values and from which
10,000 were taken. diskcache keeps a counter row for `len`. We count in an index, since with a counter each push and pop
would write another page.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.contest import ours, theirs
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.plans import plan_of
from benchmarks.queues import API, RAW, SMALL, Queue
from benchmarks.report import Answer, Goal, at_most, ratios
from zrb_store.queries import values

OPERATIONS = {"peek": "peek", "newest": "get", "length": "len"}


def turn(queue: Queue, times: int) -> Contestant:
    """Return a turn that reads in each way that the contestant has."""
    ways = {"peek": queue.peek, "newest": queue.newest, "length": queue.length}
    return lambda: {name: timed(way, times) for name, way in ways.items() if way is not None}


def run(effort: Effort) -> Answer:
    """Run one race."""
    answer = Answer()
    with ExitStack() as stack:
        queues = {**ours(stack), **theirs(stack, "NORMAL")}
        for queue in queues.values():
            for _ in range(effort(10_000, 1_000)):
                queue.push(SMALL)
                queue.pop()
            queue.tidy()
            for _ in range(1_000):
                queue.push(SMALL)
        race = Race({name: turn(queue, 20) for name, queue in queues.items()}, effort(25, 9), effort(20, 5))
    answer.add(*ratios(race, OPERATIONS, RAW))
    plan = plan_of(values._count("sqlite"))
    from_index = "COVERING INDEX ix_zrb_value_live" in plan
    answer.goals += [
        at_most("peek", 2, race.ratio("peek", API, RAW)),
        at_most("get", 2, race.ratio("newest", API, RAW)),
        Goal("len", "from the index alone", "from it alone" if from_index else plan, from_index),
    ]
    return answer
