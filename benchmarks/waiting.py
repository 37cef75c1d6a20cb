"""What does it cost to wait for a value, and how soon is it there?

A process waits in `pop(wait=...)`, and another one pushes at random moments. The time runs from just before the push
until the value is in the hands of the one that waited. It is measured with one process that waits, and with eight of
which any may get the value. Then eight processes wait for a queue that stays empty. What they cost is their CPU time,
in percent of one core, once each has looked at the queue for the first time; the server's is that of its eight
sessions. On SQLite they sleep until the file is written, on PostgreSQL they ask eleven times a second. Most of that is
the price of waking up, which differs from machine to machine: the last column is what eight Python processes cost here
that only sleep, 33 times a second.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from benchmarks.contest import new_folder
from benchmarks.harness import Effort, Ratio, ratio_of, time_text
from benchmarks.report import Answer, Goal, table
from tests.support import postgres
from zrb_store import open_store

MANY = 8
_MOST_SECONDS = {"SQLite": 0.020, "PostgreSQL": 0.050}
_MOST_PERCENT = 2.0
_NAP = 0.03


def work(location: str, what: str, seconds: float) -> None:
    """Do the work of one process: take values until one is None, or report the CPU time of waiting or sleeping."""
    with open_store(location) as store:
        queue = store.session("inbox").xcom["values"]
        print("ready", flush=True)
        sys.stdin.readline()
        if what == "take":
            while (pushed := queue.pop(wait=3600)) is not None:
                print(json.dumps(time.monotonic() - pushed), flush=True)
            return
        with contextlib.suppress(IndexError):
            queue.pop(wait=0.1)  # it loads and compiles what the first look needs: that is no part of waiting
        began, spent = time.monotonic(), time.process_time()
        if what == "wait":
            with contextlib.suppress(IndexError):
                queue.pop(wait=seconds)
        else:
            while time.monotonic() - began < seconds:
                time.sleep(_NAP)
        print(json.dumps((time.process_time() - spent) / (time.monotonic() - began)), flush=True)


@contextmanager
def processes(location: str, count: int, what: str, seconds: float = 0.0) -> Iterator[list[subprocess.Popen[str]]]:
    """Start some processes, and let all begin at the same time."""
    command = [sys.executable, "-m", "benchmarks.waiting", location, what, str(seconds)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def delays(location: str, waiting: int, count: int) -> list[float]:
    """Push some values at random moments, and return how long each of them was on its way."""
    dice = random.Random(waiting)
    with processes(location, waiting, "take") as started, open_store(location) as store:
        queue = store.session("inbox").xcom["values"]
        for _ in range(count):
            time.sleep(dice.uniform(0.1, 0.3))
            queue.push(time.monotonic())
        while queue:
            time.sleep(0.1)
        queue.extend([None] * waiting)
        return [float(line) for process in started for line in process.communicate()[0].split()]


def cost(location: str, what: str, seconds: float) -> tuple[float, float | None]:
    """Return what eight processes cost that wait or sleep, and what the server's sessions cost, in percent."""
    with processes(location, MANY, what, seconds) as started:
        time.sleep(0.5)
        sessions = _server_sessions(location)
        began, before = time.monotonic(), _cpu(sessions)
        time.sleep(max(0.0, seconds - 1.0))
        server = 100 * (_cpu(sessions) - before) / (time.monotonic() - began) if sessions else None
        return 100 * sum(float(process.communicate()[0]) for process in started), server


def _server_sessions(location: str) -> list[psutil.Process]:
    if "postgresql" not in location:
        return []
    with open_store(location) as store:
        rows = store.database.transact(
            lambda t: t.driver.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
        )
    return [psutil.Process(pid) for (pid,) in rows]


def _cpu(sessions: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (session.cpu_times() for session in sessions))


def _milliseconds(seconds: Ratio) -> str:
    return f"{time_text(seconds.median)} ({time_text(seconds.low)}-{time_text(seconds.high)})"


def run(effort: Effort) -> Answer:
    """Measure on each database."""
    answer = Answer()
    rows = []
    with ExitStack() as stack:
        locations = {"SQLite": str(new_folder(stack) / "store.db")}
        if postgres.available():
            locations["PostgreSQL"] = stack.enter_context(postgres.private_server()).url
        for name, location in locations.items():
            with open_store(location) as store:
                store.session("inbox").xcom["values"].extend([])
            alone = ratio_of(delays(location, 1, effort(250, 10)))
            crowd = statistics.median(delays(location, MANY, effort(50, 10)))
            waiting, server = cost(location, "wait", effort(20, 4))
            sleeping, _ = cost(location, "sleep", effort(10, 3))
            server_text = "-" if server is None else f"{server:.2f} %"
            rows.append(
                [name, _milliseconds(alone), time_text(crowd), f"{waiting:.2f} %", server_text, f"{sleeping:.2f} %"]
            )
            most = _MOST_SECONDS[name]
            answer.goals += [
                Goal(
                    f"{name}: from a push to a process that waits",
                    f"at most {time_text(most)}",
                    _milliseconds(alone),
                    alone.median <= most,
                ),
                Goal(
                    f"{name}: CPU of {MANY} processes that wait",
                    f"under {_MOST_PERCENT:g} % of a core",
                    f"{waiting:.2f} %",
                    waiting < _MOST_PERCENT,
                ),
            ]
    head = ["", "one waits", f"{MANY} wait", f"cost of {MANY}", "at the server", f"{MANY} that only sleep"]
    answer.add(*table(head, rows))
    return answer


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], float(sys.argv[3]))
