"""Kill the primary of two replicated PostgreSQL servers again and again, while processes use a store.

Usage: python -m tests.faults.failovers [NUMBER]

Some push, some consume, one runs workflows. Each time the standby takes over, and before the next time the killed
server becomes its standby. Afterwards everything that was acknowledged is there once, every value has been consumed and
every workflow has completed, and nothing that had completed was done again.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.postgres import wait_until
from tests.support.replication import replicated
from tests.support.rows import faults, query
from zrb_store import Store, StoreUnavailable, ZrbStoreError, open_store

DEADLINE = 120.0
TASKS = ("extract", "transform", "load", "report")
ROLES = {"producer": 2, "consumer": 3, "workflow": 1}


@dataclass
class Figures:
    """What happened."""

    failovers: int = 0
    outages: list[float] = field(default_factory=list)
    pushed: int = 0
    unknown: int = 0
    consumed: int = 0
    tasks: int = 0
    repeated: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        outages = sorted(self.outages)
        errors = "; ".join(f"{count} x {error}" for error, count in self.errors.most_common())
        return (
            f"{self.failovers} failovers; between a kill and the next acknowledged change "
            f"{outages[len(outages) // 2]:.1f} s ({outages[-1]:.1f} s at most); "
            f"{self.pushed} values acknowledged as pushed, {self.consumed} as consumed, {self.tasks} "
            f"tasks as completed: lost 0, done twice 0; done again because their end was not "
            f"acknowledged: {self.repeated}; pushes of which nobody could tell: {self.unknown}; "
            f"errors: {errors or 'none'}"
        )


class Journal:
    """What a process did and what was acknowledged, as lines of a file that outlives it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.log"

    def __call__(self, what: str, which: object) -> None:
        with self._path.open("a") as file:
            file.write(f"{time.time()}\t{what}\t{which}\n")

    def error(self, error: ZrbStoreError) -> None:
        (line,) = str(error).splitlines()
        self("error", line)


def produce(store: Store, journal: Journal, name: str, stopped: Callable[[], bool]) -> None:
    """Push values alone and in pairs."""
    queue = store.session("inbox").xcom["values"]
    for number in itertools.count():
        if stopped():
            return
        values = [f"{name}-{number}"] if number % 2 else [f"{name}-{number}-a", f"{name}-{number}-b"]
        while True:
            try:
                if len(values) > 1:
                    queue.extend(values)
                else:
                    queue.push(values[0])
            except StoreUnavailable as error:
                journal.error(error)
                if "may have been made" not in str(error):
                    continue
                what = "unknown"
            else:
                what = "pushed"
            for value in values:
                journal(what, value)
            break


def consume(store: Store, journal: Journal, name: str, stopped: Callable[[], bool]) -> None:
    """Consume until the queue is empty and the process is stopped. Go on after an error."""
    queue, done = store.session("inbox").xcom["values"], store.session("outbox").xcom["done"]
    while not stopped():
        try:
            with store.session(name).run(again=True) as run:
                for delivery in run.consume(queue, wait=1):
                    pushed = False
                    with delivery as value:  # an error of the push fails the delivery, and is raised no further
                        journal("did", value)
                        done.push(value)
                        pushed = True
                    if pushed:
                        journal("consumed", value)
        except ZrbStoreError as error:
            journal.error(error)


def work(store: Store, journal: Journal, name: str, stopped: Callable[[], bool]) -> None:
    """Run one workflow after the other, and resume those that end with an error."""
    for number in itertools.count():
        session = store.session(f"{name}-{number}")
        completed = False
        while not completed:
            try:
                with session.run() as run:
                    for task in TASKS:
                        if run.completed(task) is None:
                            with run.attempt(task) as attempt:
                                journal("did", f"{session.name}/{task}")
                                attempt.step("first", str, 1)
                                attempt.xcom["results"].push(task)
                                attempt.complete(task)
                            journal("completed", f"{session.name}/{task}")
                completed = True
            except ZrbStoreError as error:
                journal.error(error)
        if stopped():
            return


WORK = {"producer": produce, "consumer": consume, "workflow": work}


def run_role(role: str, name: str, url: str, folder: str) -> None:
    """Do the work of one process until it gets SIGTERM."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    journal = Journal(Path(folder), name)
    journal("began", name)
    with open_store(url) as store:
        was_committed = store.database.dialect.was_committed

        def asked(driver: Any, ticket: Any) -> bool:
            answer = was_committed(driver, ticket)
            journal("asked", f"{ticket}: {answer}")
            return answer

        store.database.dialect.was_committed = asked  # type: ignore[method-assign]
        WORK[role](store, journal, name, lambda: bool(told))


def start(role: str, name: str, url: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.failovers", role, name, url, str(folder)]
    with (folder / f"{name}.err").open("ab") as errors:
        return subprocess.Popen(command, stderr=errors)


def lines(folder: Path, what: str) -> list[tuple[float, str]]:
    """Return the lines of one kind in all journals: the time and what it is about."""
    found = (line.split("\t") for path in folder.glob("*.log") for line in path.read_text().splitlines())
    return [(float(moment), which) for moment, kind, which in found if kind == what]


def names(folder: Path, what: str) -> Counter[str]:
    return Counter(which for _, which in lines(folder, what))


def story(folder: Path, which: str) -> str:
    """Return all lines about a value or a task, and what the servers were asked, for an error message."""
    found = [
        (*line.split("\t"), path.stem)
        for path in folder.glob("*.log")
        for line in path.read_text().splitlines()
        if line.endswith(f"\t{which}") or "\tasked\t" in line or "\tkilled\t" in line or "\terror\t" in line
    ]
    return "\n".join(" ".join(line) for line in sorted(found))


def acknowledged_after(folder: Path, moment: float) -> list[float]:
    kinds = ("pushed", "consumed", "completed")
    return [at for kind in kinds for at, _ in lines(folder, kind) if at > moment]


def goes_on(folder: Path, since: float, count: int) -> None:
    """Wait until so many changes have been acknowledged since a moment."""
    wait_until(lambda: len(acknowledged_after(folder, since)) >= count, lambda: "nobody goes on", DEADLINE)


def fail_over(times: int, *, seed: int = 0) -> Figures:
    """Kill the primary this many times, and check what is there in the end."""
    chance = random.Random(seed)
    figures = Figures()
    with replicated() as servers, tempfile.TemporaryDirectory() as folder_name:
        folder, url = Path(folder_name), servers.url
        kills = Journal(folder, "kills")
        with open_store(url):
            pass
        processes = {
            role: [start(role, f"{role}-{number}", url, folder) for number in range(count)]
            for role, count in ROLES.items()
        }
        everyone = [process for group in processes.values() for process in group]
        try:
            # From then on each of them ends at SIGTERM when it has done its work.
            wait_until(lambda: len(lines(folder, "began")) == len(everyone), lambda: "not all begin", DEADLINE)
            for number in range(times):
                began = time.time()
                goes_on(folder, began, 20)
                wait_until(lambda: chance.random() < 0.02, lambda: "")  # at any moment
                (servers.primary.kill if number % 2 else servers.primary.stop_at_once)()
                killed = time.time()
                kills("killed", number)
                servers.promote()
                goes_on(folder, killed, 1)
                figures.outages.append(min(acknowledged_after(folder, killed)) - killed)
                figures.failovers += 1
                if number < times - 1:
                    servers.rejoin()
                assert all(process.poll() is None for process in everyone)
            stop(processes["producer"] + processes["workflow"])
            with open_store(url) as store:
                queue = store.session("inbox").xcom["values"]
                wait_until(lambda: len(queue) == 0, lambda: f"{len(queue)} values are left", DEADLINE)
                stop(processes["consumer"])
                check(store, folder, figures)
        finally:
            for process in everyone:
                process.kill()
                process.wait()
    return figures


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    assert [process.wait(DEADLINE) for process in processes] == [0] * len(processes)


def check(store: Store, folder: Path, figures: Figures) -> None:
    """Check what was acknowledged against what is stored, and count it."""
    assert faults(store) == []
    sql = (
        "SELECT v.data, v.state, a.status FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id "
        "LEFT JOIN zrb_attempt a ON a.id = v.taken_by WHERE q.name = 'values'"
    )
    rows = query(store, sql)
    stored = Counter(row[0].strip('"') for row in rows)
    pushed, unknown = names(folder, "pushed"), names(folder, "unknown")
    assert set(pushed) <= set(stored) <= set(pushed) | set(unknown)
    assert set(stored.values()) == {1}
    assert {row[1:] for row in rows} == {("taken", "completed")}
    consumed, completed, did = names(folder, "consumed"), names(folder, "completed"), names(folder, "did")
    for which, times in (consumed + completed).items():
        assert times == 1, story(folder, which)
    assert sorted(store.session("outbox").xcom["done"]) == sorted(stored)
    for acknowledged in ("consumed", "completed"):
        ended = dict[str, float]()
        for moment, which in lines(folder, acknowledged):
            ended[which] = moment
        assert [which for moment, which in lines(folder, "did") if moment > ended.get(which, moment)] == []
    flows = [record for record in store.sessions() if record.name.startswith("workflow")]
    assert {record.status for record in flows} == {"completed"}
    for record in flows:
        assert list(store.session(record.name).xcom["results"]) == list(TASKS)
    figures.pushed, figures.unknown = pushed.total(), unknown.total()
    figures.consumed, figures.tasks = consumed.total(), completed.total()
    figures.repeated = did.total() - len(did)
    errors = (re.sub(r"store \S+", "store ...", which) for _, which in lines(folder, "error"))
    figures.errors = Counter(error[:200] for error in errors)


def main(arguments: list[str]) -> None:
    """Run the program, or one of its processes."""
    if len(arguments) == 4:
        run_role(*arguments)
        return
    began = time.monotonic()
    figures = fail_over(int(arguments[0]) if arguments else 20)
    print(f"{figures}; {time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main(sys.argv[1:])
