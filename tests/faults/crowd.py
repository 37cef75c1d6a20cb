"""Many processes push to queues and pop from them at the same time."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.forks import fork
from zrb_store import open_store

DEADLINE = 600.0


@dataclass(frozen=True)
class Crowd:
    """What many processes did together.

    Attributes:
        values: How many values were pushed and popped.
        seconds: How long that took, from the first push to the last pop.
        pops: The seconds of each pop that took a value.
        pushes: The seconds of each push.
    """

    values: int
    seconds: float
    pops: list[float]
    pushes: list[float]

    @property
    def rate(self) -> float:
        """Values per second."""
        return self.values / self.seconds


def percentile(times: list[float], percent: int) -> float:
    """Return the time that so many percent of the times do not exceed."""
    return statistics.quantiles(times, n=100)[percent - 1]


def crowd(location: str, *, producers: int, consumers: int, queues: int, each: int) -> Crowd:
    """Let processes push `each` values, and others pop until they have all.

    Producers go round the queues, each beginning at another one. Consumers are spread over the queues.

    Raises:
        AssertionError: A value was lost or popped twice, or a producer's values left a queue in another order.
    """
    total = producers * each
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_store(location) as store:
            for queue in range(queues):
                store.session("crowd").xcom[f"q{queue}"].append(None)
                store.session("crowd").xcom[f"q{queue}"].pop()

        def produce(number: int) -> None:
            with open_store(location) as store:
                chosen = [store.session("crowd").xcom[f"q{(number + place) % queues}"] for place in range(queues)]
                _go(folder)
                times = []
                for place in range(each):
                    began = time.perf_counter()
                    chosen[place % queues].push([number, place])
                    times.append(time.perf_counter() - began)
                _write(folder / f"producer-{number}", {"times": times})

        def consume(number: int) -> None:
            with open_store(location) as store:
                step = min(consumers, queues)
                chosen = [store.session("crowd").xcom[f"q{place}"] for place in range(number % step, queues, step)]
                _go(folder)
                taken, times = [], []
                for of_queue, queue in itertools.cycle(enumerate(chosen)):
                    if (folder / "end").exists():
                        break
                    with contextlib.suppress(IndexError):
                        taken.append((of_queue, *queue.pop(wait=2 / len(chosen))))
                        # The waiting for a value to be pushed is no part of the pop.
                        times.append(time.monotonic() - store.database.began)
                _write(folder / f"consumer-{number}", {"times": times, "taken": taken})

        work: list[tuple[Callable[[int], None], int]] = [
            *((produce, number) for number in range(producers)),
            *((consume, number) for number in range(consumers)),
        ]
        children = [fork(lambda one=one, number=number: one(number)) for one, number in work]  # type: ignore[misc]
        with open_store(location) as store:
            _wait(lambda: len(list(folder.glob("ready-*"))) == len(children))
            began = time.perf_counter()
            (folder / "go").touch()
            _wait(lambda: len(list(folder.glob("producer-*"))) == producers)
            for queue in range(queues):
                left = store.session("crowd").xcom[f"q{queue}"]
                _wait(lambda left=left: not left)  # type: ignore[misc]
            seconds = time.perf_counter() - began
            (folder / "end").touch()
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)
        pushed = [json.loads(path.read_text())["times"] for path in folder.glob("producer-*")]
        popped = [json.loads(path.read_text()) for path in folder.glob("consumer-*")]
    taken = [(number, place) for one in popped for _, number, place in one["taken"]]
    assert sorted(taken) == [(number, place) for number in range(producers) for place in range(each)]
    for one in popped:
        places = defaultdict(list)
        for of_queue, number, place in one["taken"]:
            places[of_queue, number].append(place)
        assert all(found == sorted(found) for found in places.values())
    return Crowd(total, seconds, [each for one in popped for each in one["times"]], list(itertools.chain(*pushed)))


def _go(folder: Path) -> None:
    (folder / f"ready-{os.getpid()}").touch()
    _wait((folder / "go").exists)


def _wait(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def _write(path: Path, content: object) -> None:
    part = path.with_name(f".{path.name}")
    part.write_text(json.dumps(content))
    part.rename(path)
