"""What do values of 10 KB and of 1 MB cost?

The one is a list of 105 records, 10 KB as JSON, the other a text. The raw driver keeps the text in the row of its
value, and writes it again when the value is taken; the store has it in chunks. It writes once with our codec, to show
what the store adds, and once with the standard library's encoder, which does not check whether the value can be
restored. diskcache and persist-queue write pickle, which runs code on reading. Each record has texts of its own, as if
it came from a file or a database: pickle writes a text that is one object in several records only once.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from benchmarks.contest import new_folder, ours, theirs
from benchmarks.harness import Effort, Race
from benchmarks.queues import API, RAW, live_attempt
from benchmarks.raw import RawWithOurCodec
from benchmarks.report import Answer, at_most, ratios
from benchmarks.small_values import OPERATIONS, turn

SAME = "raw driver, our codec"
LARGE = [
    {
        "id": number,
        "name": f"customer {number:05}",
        "street": f"{number:03} Main Street, Springfield",
        "paid": number / 8,
    }
    for number in range(105)
]
HUGE = "customer \u00e9\n" * 80_000

assert 9_500 < len(json.dumps(LARGE)) < 10_500
assert 950_000 < len(HUGE.encode()) < 1_050_000


def run(effort: Effort) -> Answer:
    """Run a race for each value."""
    answer = Answer()
    _race(answer, "10 KB", LARGE, 20, effort(25, 5), effort(20, 5))
    _race(answer, "1 MB", HUGE, 4, effort(10, 4), effort(5, 2))
    return answer


def _race(answer: Answer, size: str, value: Any, times: int, rounds: int, turns: int) -> None:
    with ExitStack() as stack:
        queues = {**ours(stack), **theirs(stack, "NORMAL")}
        path = new_folder(stack) / "store.db"
        _, attempt = stack.enter_context(live_attempt(path))
        same = RawWithOurCodec(path, attempt)
        stack.callback(same.connection.close)
        queues = {SAME: same.queue(), **queues}
        race = Race({name: turn(queue, times, value) for name, queue in queues.items()}, rounds, turns)
    answer.add(f"Values of {size}:", "", *ratios(race, OPERATIONS, SAME))
    for operation in OPERATIONS:
        for raw, how in ((SAME, "the same serialiser"), (RAW, "the standard library's")):
            what = f"{operation} of a {size} value, x raw with {how}"
            answer.goals.append(at_most(what, 1.2, race.ratio(operation, API, raw)))
        if value is LARGE and "diskcache.Deque" in race.contestants:  # it keeps longer ones in files of their own
            ratio = race.ratio(operation, API, "diskcache.Deque")
            answer.goals.append(at_most(f"{operation} of a {size} value, x diskcache.Deque", 1.0, ratio))
