"""What do push and pop of a small value cost?

The value has 63 bytes of JSON, and an attempt of a live run pushes it. `zrb-store` means `session.xcom[...]`. Below the
API, the compiled statements run on the driver's connection, with encoding and decoding, but without lock, retries and
Python API. The raw driver runs hand-written statements with the same fence and attempt check. All run in autocommit on
SQLite in WAL mode. The peers are measured once with our durability and once with their default.
"""

from __future__ import annotations

import random
from contextlib import ExitStack

from benchmarks import peers
from benchmarks.contest import ours, theirs
from benchmarks.harness import Contestant, Effort, Race, Sample, timed
from benchmarks.queues import API, BELOW, RAW, SMALL, Queue
from benchmarks.report import Answer, at_least, at_most, ratios

OPERATIONS = {"push": "push", "pop": "pop"}


def turn(queue: Queue, times: int, value: object = SMALL) -> Contestant:
    """Return a turn that pushes about `times` values and pops them again."""
    lengths = random.Random(times)

    def take_turn() -> Sample:
        # The number varies: otherwise a checkpoint, which follows after a fixed number of pages, would always hit the
        # same operation.
        length = lengths.randint(times // 2, times + times // 2)
        sample = {"push": timed(lambda: queue.push(value), length), "pop": timed(queue.pop, length)}
        queue.tidy()
        return sample

    return take_turn


def race(synchronous: str, rounds: int, turns: int) -> Race:
    """Run a race with the same durability for all."""
    with ExitStack() as stack:
        queues = {**ours(stack, synchronous), **theirs(stack, synchronous)}
        return Race({name: turn(queue, 20) for name, queue in queues.items()}, rounds, turns)


def run(effort: Effort) -> Answer:
    """Run three races: with NORMAL, with FULL, and with the peers as shipped."""
    answer = Answer()
    normal = race("NORMAL", effort(25, 7), effort(80, 20))
    answer.add("WAL, synchronous=NORMAL for all:", "", *ratios(normal, OPERATIONS, RAW))
    for operation in OPERATIONS:
        answer.goals += [
            at_most(f"{operation} of a small dict through `session.xcom`", 1.5, normal.ratio(operation, API, RAW)),
            at_most(f"{operation} below the API", 1.15, normal.ratio(operation, BELOW, RAW)),
        ]
        if "diskcache.Deque" in normal.contestants:
            faster = normal.ratio(operation, "diskcache.Deque", API)
            answer.goals.append(at_least(f"{operation}: faster than diskcache.Deque", 1.3, faster))
    full = race("FULL", effort(15, 5), effort(4, 1))
    answer.add("WAL, synchronous=FULL for all:", "", *ratios(full, OPERATIONS, RAW))
    with ExitStack() as stack:
        queues = {API: ours(stack)[API], **theirs(stack, peers.SHIPPED)}
        turns = {name: turn(queue, 20) for name, queue in queues.items()}
        shipped = Race(turns, effort(15, 5), effort(4, 1))
    answer.add(
        "Everyone as shipped (persist-queue and huey sync at each commit):", "", *ratios(shipped, OPERATIONS, API)
    )
    return answer
