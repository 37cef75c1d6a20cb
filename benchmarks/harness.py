"""The one harness: contestants take turns in every round, and only ratios within a round are compared.

A shared machine is now fast, now slow. Contestants that run one after the other meet different machines; contestants
that take turns meet the same one, so that the median of the per-round ratios holds still where times do not.
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
"""One turn: does the work and returns what it took."""


@dataclass(frozen=True)
class Effort:
    """How much work to put into a figure."""

    quick: bool

    def __call__(self, full: int, quick: int) -> int:
        """The number for this effort."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Ratio:
    """A median of per-round ratios, with the middle half of them as its spread."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.low)}-{figure(self.high)})"


def ratio_of(ratios: Sequence[float]) -> Ratio:
    """The median and the quartiles."""
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


class Race:
    """The rounds of some contestants.

    Attributes:
        contestants: Their names, in the order given.
    """

    def __init__(self, contestants: Mapping[str, Contestant], rounds: int, turns: int = 1) -> None:
        """Run it.

        Args:
            contestants: What takes part, by name.
            rounds: How many ratios there will be.
            turns: How often each comes up in one round. Many short turns spread what happens now and then, such as a
                checkpoint or another program's burst, over all of them.
        """
        self.contestants = list(contestants)
        self._samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        self._order = list(contestants.items())
        self._random = random.Random(rounds)
        self._round(turns)  # warms up
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

    def ratio(self, operation: str, of: str, to: str) -> Ratio | None:
        """How many times as long `of` takes as `to`; None if one of the two cannot do the operation."""
        pairs = zip(self._samples[of], self._samples[to], strict=True)
        ratios = [one[operation] / other[operation] for one, other in pairs if operation in one and operation in other]
        return ratio_of(ratios) if ratios else None

    def differences(self, of: tuple[str, str], minus: tuple[str, str]) -> list[float]:
        """The seconds of one contestant's operation minus those of another one, round by round."""
        pairs = zip(self._samples[of[0]], self._samples[minus[0]], strict=True)
        return [one[of[1]] - other[minus[1]] for one, other in pairs]

    def seconds(self, operation: str, of: str) -> float | None:
        """The median time; it tells the scale and is never compared."""
        times = [sample[operation] for sample in self._samples[of] if operation in sample]
        return statistics.median(times) if times else None


def _mean(samples: Sequence[Sample]) -> Sample:
    return {operation: statistics.fmean(sample[operation] for sample in samples) for operation in samples[0]}


def timed(operation: Callable[[], Any], times: int) -> float:
    """Seconds that one operation takes, over so many of them."""
    turns = range(times)
    began = time.perf_counter()
    for _ in turns:
        operation()
    return (time.perf_counter() - began) / times


def figure(number: float) -> str:
    """A ratio with two digits that mean something."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def time_text(seconds: float) -> str:
    """A time in the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
