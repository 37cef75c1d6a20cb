"""What works how fast in a store of 20 million values: `python -m benchmarks.huge [VALUES]`.

The store is made in a temporary folder and not kept; that takes minutes, so `make bench` leaves it out. Each session
has two queues, of 9,000 values that were taken and of 1,000 live ones. Times are of the processor, in one process or in
that of the command, because a store of gigabytes is seldom alone on a machine.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import time_text
from benchmarks.queues import SMALL
from benchmarks.report import table
from benchmarks.stuffing import add_sessions, add_values
from zrb_store import open_store

IN_ONE = 10_000
_RUN = "import sys; from zrb_store.cli import run; sys.exit(run(sys.argv[1:]))"


def fill(path: Path, values: int) -> None:
    """Make the store."""
    sessions = values // IN_ONE
    add_sessions(path, sessions)
    for number in range(1, sessions + 1):
        add_values(path, number * 2, IN_ONE * 9 // 10, attempt_id=number * 2, taken=True, after=5)
        add_values(path, number * 2 + 1, IN_ONE // 10, attempt_id=number * 2, taken=False, after=5)


def by_hand(operation: Callable[[], object], times: int) -> float:
    """Return the processor time of an operation, on average."""
    began = time.process_time()
    for _ in range(times):
        operation()
    return (time.process_time() - began) / times


def by_command(path: Path, *words: str) -> float:
    """Return the processor time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    done = subprocess.run([sys.executable, "-c", _RUN, *words], check=False, capture_output=True, env=environment)
    assert done.returncode in (0, 1), done.stderr  # 1: `doctor` has something to say
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(path: Path, values: int) -> list[list[str]]:
    """Use the store, and return what took how long."""
    sessions, middle = values // IN_ONE, f"etl-{values // IN_ONE // 2}"
    rows = []
    with open_store(path) as store:
        queue = store.session(middle).xcom["load"]
        rows += [
            ["push", time_text(by_hand(lambda: queue.push(SMALL), 1000))],
            ["pop", time_text(by_hand(queue.pop, 1000))],
        ]
    commands = {
        "`list`": ["list"],
        f"`show` of a session of {IN_ONE:,} values": ["show", middle],
        "`get` of its newest value": ["get", middle, "load"],
        "`stats`": ["stats"],
        "`doctor`": ["doctor"],
        f"`prune` of half the sessions ({values // 2:,} values)": ["prune", "--keep-last", str(sessions // 2)],
    }
    for name, words in commands.items():
        rows.append([name, time_text(by_command(path, *words))])
        print(*rows[-1], flush=True)
    return rows


def size(path: Path) -> str:
    """Return the size of the file."""
    return f"{path.stat().st_size / 1e9:.2f} GB"


def main(values: int) -> None:
    """Make the store, use it, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        began = time.monotonic()
        fill(path, values)
        print(f"{values:,} values, {size(path)}, made in {time.monotonic() - began:.0f} s", flush=True)
        rows = measure(path, values)
        rows.append(["size after `prune`", size(path)])
        with contextlib.closing(sqlite3.connect(path)) as driver:
            rows.append(["VACUUM", time_text(by_hand(lambda: driver.execute("VACUUM"), 1))])
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows.append(["size after VACUUM", size(path)])
    print(*table([f"{values:,} values", "processor time"], rows), sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000)
