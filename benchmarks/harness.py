"""The harness of all races: contestants take turns in every round, and only ratios within a round are compared.

A shared machine is sometimes fast and sometimes slow. Contestants that run one after the other meet it at different
speeds. If they take turns, they meet it at the same speed, so the median of the ratios of all rounds is stable even
where times are not.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = Mapping[str, float]
"""Seconds that each operation took in one round."""

Contestant = Callable[[], Sample]
"""A function that takes one turn: it does the work and returns how long that took."""


@dataclass(frozen=True)
class Effort:
    """How much work to put into a figure."""

    quick: bool

    def __call__(self, full: int, quick: int) -> int:
        """Return the number that belongs to this effort."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, and the range of the middle half of them."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.low)}-{figure(self.high)})"


def ratio_of(ratios: Sequence[float]) -> Ratio:
    """Return the median and the quartiles."""
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


class Race:
    """A race: the rounds of some contestants.

    Attributes:
        contestants: Their names, in the given order.
    """

    def __init__(self, contestants: Mapping[str, Contestant], rounds: int, turns: int = 1) -> None:
        """Run the race.

        Args:
            contestants: The contestants by name.
            rounds: How many rounds to run; each results in one ratio.
            turns: How many turns each contestant has in one round. With many short turns, occasional events such as a
                checkpoint, or a burst of work by another program, affect all contestants.
        """
        self.contestants = list(contestants)
        self._samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        self._order = list(contestants.items())
        self._random = random.Random(rounds)
        self._round(turns)  # for warming up
        for _ in range(rounds):
            for name, samples in self._round(turns).items():
                self._samples[name].append(_mean(samples))

    def _round(self, turns: int) -> dict[str, list[Sample]]:
        samples: dict[str, list[Sample]] = {name: [] for name in self.contestants}
        gc.collect()
        for _ in range(turns):
            self._random.shuffle(self._order)
            for name, contestant in self._order:
                samples[name].append(contestant())
        return samples

    def ratio(self, operation: str, contestant: str, base: str) -> Ratio | None:
        """Return how many times as long a contestant takes as `base`; None if one of them lacks the operation."""
        pairs = zip(self._samples[contestant], self._samples[base], strict=True)
        ratios = [one[operation] / other[operation] for one, other in pairs if operation in one and operation in other]
        return ratio_of(ratios) if ratios else None

    def samples(self, contestant: str, operation: str) -> list[float]:
        """Return the time of an operation in each round."""
        return [sample[operation] for sample in self._samples[contestant]]

    def differences(self, minuend: tuple[str, str], subtrahend: tuple[str, str]) -> list[float]:
        """Return the difference of two times in each round. Each time is given as contestant and operation."""
        pairs = zip(self._samples[minuend[0]], self._samples[subtrahend[0]], strict=True)
        return [one[minuend[1]] - other[subtrahend[1]] for one, other in pairs]

    def seconds(self, operation: str, contestant: str) -> float | None:
        """Return the median time, which shows the scale and is never compared."""
        times = [sample[operation] for sample in self._samples[contestant] if operation in sample]
        return statistics.median(times) if times else None


def _mean(samples: Sequence[Sample]) -> Sample:
    return {operation: statistics.fmean(sample[operation] for sample in samples) for operation in samples[0]}


def timed(operation: Callable[[], Any], times: int) -> float:
    """Run an operation several times, and return the seconds that one of them takes on average."""
    turns = range(times)
    began = time.perf_counter()
    for _ in turns:
        operation()
    return (time.perf_counter() - began) / times


def figure(number: float) -> str:
    """Format a ratio with the digits that are significant."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def time_text(seconds: float) -> str:
    """Format a time in a suitable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
