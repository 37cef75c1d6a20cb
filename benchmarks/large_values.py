"""What do values of 10 KB cost?

The value is a list of 105 records, 10 KB as JSON. The raw driver writes it once with our codec, to show what the store
adds, and once with the standard library's encoder, which does not check whether the value can be restored. diskcache
and persist-queue write pickle, which runs code on reading. Each record has texts of its own, as if it came from a file
or a database: pickle writes a text that is one object in several records only once.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

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

assert 9_500 < len(json.dumps(LARGE)) < 10_500


def run(effort: Effort) -> Answer:
    """Run one race."""
    answer = Answer()
    with ExitStack() as stack:
        queues = {**ours(stack), **theirs(stack, "NORMAL")}
        path = new_folder(stack) / "store.db"
        _, attempt = stack.enter_context(live_attempt(path))
        same = RawWithOurCodec(path, attempt)
        stack.callback(same.connection.close)
        queues = {SAME: same.queue(), **queues}
        turns = {name: turn(queue, 20, LARGE) for name, queue in queues.items()}
        race = Race(turns, effort(25, 5), effort(20, 5))
    answer.add(*ratios(race, OPERATIONS, SAME))
    for operation in OPERATIONS:
        for raw, how in ((SAME, "the same serialiser"), (RAW, "the standard library's")):
            what = f"{operation} of a 10 KB value, x raw with {how}"
            answer.goals.append(at_most(what, 1.2, race.ratio(operation, API, raw)))
        if "diskcache.Deque" in race.contestants:
            ratio = race.ratio(operation, API, "diskcache.Deque")
            answer.goals.append(at_most(f"{operation} of a 10 KB value, x diskcache.Deque", 1.0, ratio))
    return answer
