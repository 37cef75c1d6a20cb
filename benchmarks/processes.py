"""What do eight processes get done on one file?

Each process pushes a value and pops one, as fast as it can, for two seconds. SQLite has one writer at a time, so more
processes cannot get more done. The question is whether they get less done, whether each gets its share, and whether
every value goes to exactly one of them. The peers do the same with their default durability.
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
        fairness: The operations of the slowest process divided by those of the fastest.
        duplicates: How many values were popped more than once.
        lost: How many values were pushed, but neither popped nor left in the queue.
    """

    rate: float
    fairness: float
    duplicates: int
    lost: int


def opened(name: str, folder: Path) -> Queue:
    """Open the queue, as each process does."""
    if name == API:
        xcom = open_store(folder / "store.db").session("shared").xcom["values"]
        return Queue(push=xcom.push, pop=xcom.pop)
    return peers.SQLITE[name][1](folder, peers.SHIPPED)


def pop_or_none(queue: Queue) -> list[int] | None:
    """Pop a value; None if the queue is empty, or if the peer raises an error because of another process."""
    with contextlib.suppress(Exception):
        value: list[int] = queue.pop()
        return value
    return None


def work(name: str, folder: Path, number: int, seconds: float) -> None:
    """Do the work of one process, and print what it pushed and popped."""
    queue = opened(name, folder)
    pushed, popped = 0, []
    print("ready", flush=True)
    sys.stdin.readline()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):  # a peer may give up on a locked database
            queue.push([number, pushed])
            pushed += 1
        value = pop_or_none(queue)
        if value is not None:
            popped.append(value)
    json.dump({"pushed": pushed, "popped": popped}, sys.stdout)


def together(name: str, processes: int, seconds: float) -> Outcome:
    """Let several processes work on one new file."""
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
        reports = [json.loads(process.communicate()[0]) for process in started]
        left = []
        while (value := pop_or_none(first)) is not None:
            left.append(value)
        first.close()
    seen = [tuple(value) for report in reports for value in report["popped"]] + [tuple(value) for value in left]
    pushed = {(number, place) for number, report in enumerate(reports) for place in range(report["pushed"])}
    counts = [report["pushed"] + len(report["popped"]) for report in reports]
    return Outcome(
        rate=sum(counts) / seconds,
        fairness=min(counts) / max(counts),
        duplicates=len(seen) - len(set(seen)),
        lost=len(pushed - set(seen)),
    )


def run(effort: Effort) -> Answer:
    """Run rounds of one process and of eight, with each contestant in turn."""
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
        at_least(f"{MANY} processes: throughput of one", 0.95, _throughput(alone[API], ours)),
        Goal(f"{MANY} processes: fairness", "at least 0.75", str(fairness), fairness.median >= 0.75),
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
