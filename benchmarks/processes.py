"""What do eight processes get done on one file?

Each pushes a value and pops one, as fast as it can, for two seconds. SQLite has one writer at a time, so more
processes cannot get more done; the question is whether they get less done, whether each has its share, and whether
every value goes to exactly one of them. The peers do the same with the durability that they ship.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.contest import new_folder
from benchmarks.harness import Effort, Ratio, figure, ratio_of
from benchmarks.queues import API, Queue
from benchmarks.report import Answer, Goal, at_least, table
from zrb_store import open_store

MANY = 8


@dataclass(frozen=True)
class Outcome:
    """What some processes did together.

    Attributes:
        rate: Operations per second.
        fairness: The slowest process's operations divided by the fastest one's.
        duplicates: Values that came twice.
        lost: Values that were pushed, and neither popped nor left.
    """

    rate: float
    fairness: float
    duplicates: int
    lost: int


def opened(name: str, folder: Path) -> Queue:
    """The queue as each process has it."""
    if name == API:
        xcom = open_store(folder / "store.db").session("shared").xcom["values"]
        return Queue(push=xcom.push, pop=xcom.pop)
    return peers.SQLITE[name][1](folder, peers.SHIPPED)


def pop_or_none(queue: Queue) -> list[int] | None:
    """A value, or None if the queue is empty (or the peer was confused by another process)."""
    with contextlib.suppress(Exception):
        value: list[int] = queue.pop()
        return value
    return None


def work(name: str, folder: Path, number: int, seconds: float) -> None:
    """One process: tell what it pushed and popped."""
    queue = opened(name, folder)
    pushed, popped = 0, []
    print("ready", flush=True)
    sys.stdin.readline()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # a peer that gives up on a locked database
            queue.push([number, pushed])
            pushed += 1
        value = pop_or_none(queue)
        if value is not None:
            popped.append(value)
    json.dump({"pushed": pushed, "popped": popped}, sys.stdout)


def together(name: str, processes: int, seconds: float) -> Outcome:
    """Let so many processes work on one new file."""
    with ExitStack() as stack:
        folder = new_folder(stack)
        first = opened(name, folder)
        command = [sys.executable, "-m", "benchmarks.processes", name, str(folder), str(seconds)]
        started = [
            subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(processes)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(process.communicate()[0]) for process in started]
        left = []
        while (value := pop_or_none(first)) is not None:
            left.append(value)
        first.close()
    seen = [tuple(value) for one in told for value in one["popped"]] + [tuple(value) for value in left]
    pushed = {(number, at) for number, one in enumerate(told) for at in range(one["pushed"])}
    counts = [one["pushed"] + len(one["popped"]) for one in told]
    return Outcome(
        rate=sum(counts) / seconds,
        fairness=min(counts) / max(counts),
        duplicates=len(seen) - len(set(seen)),
        lost=len(pushed - set(seen)),
    )


def run(effort: Effort) -> Answer:
    """Rounds of one process and of eight, each contestant in turn."""
    answer = Answer()
    names = [API, *peers.available()]
    rounds, seconds = effort(5, 1), 2.0 if not effort.quick else 1.0
    alone: dict[str, list[Outcome]] = {name: [] for name in names}
    crowd: dict[str, list[Outcome]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            alone[name].append(together(name, 1, seconds))
            crowd[name].append(together(name, MANY, seconds))
    rows = []
    for name in names:
        fairness = ratio_of([one.fairness for one in crowd[name]])
        duplicates, lost = sum(one.duplicates for one in crowd[name]), sum(one.lost for one in crowd[name])
        rate = ratio_of([one.rate for one in alone[name]]).median
        rows.append(
            [
                name,
                f"{rate:,.0f}/s",
                str(_throughput(alone[name], crowd[name])),
                str(fairness),
                f"{duplicates} / {lost}",
            ]
        )
    head = ["", "1 process", f"{MANY} processes, x 1 process", "fairness", "duplicate / lost"]
    answer.add(*table(head, rows))
    ours = crowd[API]
    fairness = ratio_of([one.fairness for one in ours])
    answer.goals += [
        at_least(f"{MANY} processes: throughput of one", 0.85, _throughput(alone[API], ours)),
        Goal(f"{MANY} processes: fairness", "at least 0.7", str(fairness), fairness.median >= 0.7),
        Goal(
            f"{MANY} processes: duplicates, losses",
            "none",
            figure(sum(one.duplicates + one.lost for one in ours)),
            not any(one.duplicates or one.lost for one in ours),
        ),
    ]
    return answer


def _throughput(alone: list[Outcome], crowd: list[Outcome]) -> Ratio:
    return ratio_of([many.rate / one.rate for one, many in zip(alone, crowd, strict=True)])


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[4]), float(sys.argv[3]))
