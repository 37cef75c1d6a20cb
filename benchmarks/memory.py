"""Does memory stay flat?

The peak of a new process that goes through ten times as many values: iterating over a queue, exporting, copying and
pruning a store. Flat means that the tenfold costs at most 8 MiB more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contest import new_folder
from benchmarks.harness import Effort
from benchmarks.queues import live_attempt
from benchmarks.report import Answer, Goal, table
from benchmarks.stuffing import add_sessions, add_values

ALLOWED = 8  # MiB
_TELL_PEAK = """
import atexit, re, sys
from pathlib import Path
atexit.register(lambda: sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]))
"""
_COMMAND = "import sys; from zrb_store.cli import run; sys.exit(run({}))"
WORK = {
    "iterate over a queue": (
        "from zrb_store import open_store\n"
        "for value in open_store(read_only=True).session('benchmark').xcom['values']: pass"
    ),
    "`export`": _COMMAND.format("['export']"),
    "`copy`": _COMMAND.format("['copy', '{url}', '{url}.copy']"),
    "`prune`": _COMMAND.format("['prune', '--older-than', '1d']"),
}


def peak(code: str, path: Path) -> float:
    """MiB that a new process had at most. (The kernel's ru_maxrss counts the parent's memory before exec, too.)"""
    command = [sys.executable, "-c", _TELL_PEAK + code.replace("{url}", str(path))]
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    process = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return int(process.stderr.rpartition("\n")[2]) / 1024


def filled(stack: ExitStack, values: int, sessions: int) -> Path:
    """A store with so many values in one queue, and so many sessions of ten values."""
    path = new_folder(stack) / "store.db"
    add_sessions(path, sessions)
    with live_attempt(path) as (_, attempt):
        add_values(path, attempt.xcom.queue_id("values"), values, attempt_id=attempt.id, taken=False)
    return path


def run(effort: Effort) -> Answer:
    """Each in a process of its own."""
    answer = Answer()
    many = effort(1_000_000, 100_000)
    rows = []
    with ExitStack() as stack:
        stores = [filled(stack, size, size // 20) for size in (many // 10, many)]
        for what, code in WORK.items():
            little, much = (peak(code, path) for path in stores)
            rows.append([what, f"{little:.0f} MiB", f"{much:.0f} MiB"])
            goal = f"at most {ALLOWED} MiB more"
            answer.goals.append(
                Goal(
                    f"memory: {what}, {many:,} values", goal, f"{much - little:.1f} MiB more", much - little <= ALLOWED
                )
            )
    answer.add(*table(["", f"{many // 10:,} values", f"{many:,} values"], rows))
    return answer
