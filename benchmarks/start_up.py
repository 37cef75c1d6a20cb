"""How long does a command take from start to end?

A new process that runs `zrb-store list` in a pipe is compared with one that imports SQLAlchemy and click and does
nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.report import Answer, Goal, at_most, ratios
from benchmarks.stuffing import add_sessions

IMPORTS = 'python -c "import sqlalchemy, click"'
LIST = "zrb-store list"
_LISTS = "import sys; from zrb_store.cli import run; code = run(['list'])"


def turn(code: str, path: Path) -> Contestant:
    """Return a turn that runs code in a new interpreter."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    return lambda: {
        "start": timed(lambda: subprocess.run(command, check=True, capture_output=True, env=environment), 1)
    }


def imported(path: Path) -> set[str]:
    """Return the packages that `zrb-store list` imports when it writes to a pipe."""
    code = f"{_LISTS}; print(' '.join(sys.modules), file=sys.stderr)"
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment, text=True)
    return {name.partition(".")[0] for name in process.stderr.split()}


def run(effort: Effort) -> Answer:
    """Run one race of processes."""
    answer = Answer()
    with ExitStack() as stack:
        path = new_folder(stack) / "store.db"
        add_sessions(path, 100)
        turns = {
            IMPORTS: turn("import sqlalchemy, click", path),
            LIST: turn(f"{_LISTS}; sys.exit(code)", path),
            "python -c pass": turn("pass", path),
        }
        race = Race(turns, effort(25, 7))
        unwanted = sorted(imported(path) & {"alembic", "psutil", "rich"})
    answer.add(*ratios(race, {"start": "start to end"}, IMPORTS))
    answer.goals += [
        at_most(
            "`zrb-store list`, process start to end, x importing SQLAlchemy and click",
            1.5,
            race.ratio("start", LIST, IMPORTS),
        ),
        Goal(
            "`zrb-store list` in a pipe imports",
            "no alembic, psutil, rich",
            ", ".join(unwanted) or "none of them",
            not unwanted,
        ),
    ]
    return answer
