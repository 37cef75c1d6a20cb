"""What does it cost that a queue is long?

A queue of 1,000,000 live values is compared with one of 1,000. `len` counts, and an index is found by skipping what
lies before it: both read only the index of live values, and take as much longer as the queue is longer. A counter of
the values in each queue would answer `len` at once, but every push and every pop would write it (1.4x). The ends of a
queue are found at once, and its middle in half the time of its `len`.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, time_text, timed
from benchmarks.queues import SMALL, live_attempt
from benchmarks.report import Answer, Goal, at_most, ratios
from benchmarks.stuffing import add_values
from zrb_store.xcom import Xcom

ENDS = {"push": "push", "pop": "pop", "first": "`queue[0]`", "last": "`queue[-1]`"}
OPERATIONS = {**ENDS, "length": "len", "middle": "`queue[middle]`"}
SHORT = 1_000


def turn(queue: Xcom, length: int, times: int) -> Contestant:
    """Return a turn that works at both ends of a queue and in its middle."""
    return lambda: {
        "push": timed(lambda: queue.push(SMALL), times),
        "pop": timed(queue.pop, times),
        "first": timed(lambda: queue[0], times),
        "last": timed(lambda: queue[-1], times),
        "length": timed(lambda: len(queue), 1),
        "middle": timed(lambda: queue[length // 2], 1),
    }


def run(effort: Effort) -> Answer:
    """Run one race of zrb-store against itself."""
    answer = Answer()
    long = effort(1_000_000, 100_000)
    names = {length: f"{length:,} live values" for length in (SHORT, long)}
    with ExitStack() as stack:
        turns = {}
        for length, name in names.items():
            path = new_folder(stack) / "store.db"
            _, attempt = stack.enter_context(live_attempt(path))
            add_values(path, attempt.xcom.queue_id("values"), length, attempt_id=attempt.id, taken=False)
            turns[name] = turn(attempt.xcom["values"], length, 20)
        race = Race(turns, effort(15, 5))
    answer.add(*ratios(race, OPERATIONS, names[SHORT]))
    for operation, name in ENDS.items():
        answer.goals.append(
            at_most(f"{name} in a queue of {names[long]}", 1.2, race.ratio(operation, names[long], names[SHORT]))
        )
    for operation in ("length", "middle"):
        seconds = race.seconds(operation, names[long]) or 0
        what = f"{OPERATIONS[operation]} of {names[long]}"
        answer.goals.append(Goal(what, "at most 50 ms", time_text(seconds), seconds <= 0.05))
    return answer
