"""What do values of 10 KB cost?

A list of 100 records, 10 KB as JSON. Raw writes the same JSON by the standard library's encoder; diskcache and
persist-queue write pickle, which is faster and runs code on reading.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

from benchmarks.contest import ours, theirs
from benchmarks.harness import Effort, Race
from benchmarks.queues import API, RAW
from benchmarks.report import Answer, at_most, ratios
from benchmarks.small_values import OPERATIONS, turn

LARGE = [{"id": number, "name": f"customer {number:05}", "city": "x" * 30, "paid": number / 8} for number in range(110)]

assert 9_500 < len(json.dumps(LARGE)) < 10_500


def run(effort: Effort) -> Answer:
    """One race."""
    answer = Answer()
    with ExitStack() as stack:
        queues = {**ours(stack), **theirs(stack, "NORMAL")}
        turns = {name: turn(queue, 20, LARGE) for name, queue in queues.items()}
        race = Race(turns, effort(25, 5), effort(20, 5))
    answer.add(*ratios(race, OPERATIONS, RAW))
    for operation in OPERATIONS:
        answer.goals.append(at_most(f"{operation} of a 10 KB value", 1.2, race.ratio(operation, API, RAW)))
    return answer
