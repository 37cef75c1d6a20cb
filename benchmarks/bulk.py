"""What does a whole batch cost?

This measures `extend` by 10,000 small values in one transaction, and iteration over 1,000. The raw driver does
`executemany` in one transaction, and a SELECT. Peers that have no batches push the values one by one.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.contest import ours, theirs
from benchmarks.harness import Contestant, Effort, Race, Sample, timed
from benchmarks.queues import API, BELOW, RAW, SMALL, Queue
from benchmarks.report import Answer, at_most, ratios

OPERATIONS = {"extend": "extend by 10,000", "iterate": "iterate over 1,000"}


def turn(growing: Queue, still: Queue, many: list[object]) -> Contestant:
    """Return a turn that extends one queue and iterates over another."""

    def take_turn() -> Sample:
        sample = {}
        if growing.extend is not None:
            extend = growing.extend
            sample["extend"] = timed(lambda: extend(many), 1)
        if still.iterate is not None:
            iterate = still.iterate
            sample["iterate"] = timed(lambda: list(iterate()), 10)
        return sample

    return take_turn


def run(effort: Effort) -> Answer:
    """Run one race."""
    answer = Answer()
    many: list[object] = [SMALL] * effort(10_000, 2_000)
    with ExitStack() as stack:
        growing = {**ours(stack), **theirs(stack, "NORMAL")}
        still = {**ours(stack), **theirs(stack, "NORMAL")}
        del growing[BELOW]
        for name in growing:
            for _ in range(1_000):
                still[name].push(SMALL)
        turns = {name: turn(queue, still[name], many) for name, queue in growing.items()}
        race = Race(turns, effort(15, 5))
    answer.add(*ratios(race, OPERATIONS, RAW))
    answer.goals += [
        at_most("extend by 10,000", 1.2, race.ratio("extend", API, RAW)),
        at_most("iterate over 1,000", 1.2, race.ratio("iterate", API, RAW)),
    ]
    return answer
