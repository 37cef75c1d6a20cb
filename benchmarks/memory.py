"""Does memory stay flat?

A new process iterates over a queue, or exports, copies or prunes a store; then another one does the same with ten times
as many values. Memory is flat if the peak of the second process is at most 8 MiB higher.
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
_PRINT_PEAK = """
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
    """Return the peak memory of a new process in MiB, without that of its parent, which ru_maxrss would include."""
    command = [sys.executable, "-c", _PRINT_PEAK + code.replace("{url}", str(path))]
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    process = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return int(process.stderr.rpartition("\n")[2]) / 1024


def filled(stack: ExitStack, values: int, sessions: int) -> Path:
    """Create a store with `values` values in one queue, and `sessions` sessions of ten values each."""
    path = new_folder(stack) / "store.db"
    add_sessions(path, sessions)
    with live_attempt(path) as (_, attempt):
        add_values(path, attempt.xcom.queue_id("values"), values, attempt_id=attempt.id, taken=False)
    return path


def run(effort: Effort) -> Answer:
    """Run each kind of work in new processes."""
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
