"""How long does a command take from start to end?

New processes that run a command in a pipe, and that answer TAB, are compared with one that imports SQLAlchemy and click
and does nothing. Where that takes 0.2 s, TAB is answered before anybody feels it. On SQLite the commands run without
SQLAlchemy, since the SQL of their statements is stored (docs/adr/0019). This is why modules are imported inside
functions: what a command does not need, it does not load.
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
from zrb_store import open_store

IMPORTS = 'python -c "import sqlalchemy, click"'
LIST, PUSH, SHOW = "zrb-store list", "zrb-store push", "zrb-store show"
_RUNS = "import sys; from zrb_store.cli import run; code = run(sys.argv[1:])"
EMPTY_TAB, CROWDED_TAB = "TAB, empty store", "TAB, 100,000 sessions"
_TAB = "import sys; from zrb_store.cli import run; run(['__complete', 'bash', '1', 'zrb-store show ', ''])"


def turn(code: str, path: Path, *words: str) -> Contestant:
    """Return a turn that runs code in a new interpreter."""
    command = [sys.executable, "-c", code, *words]
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    return lambda: {
        "start": timed(lambda: subprocess.run(command, check=True, capture_output=True, env=environment), 1)
    }


def imported(path: Path) -> set[str]:
    """Return the packages that `zrb-store list` imports when it writes to a pipe."""
    code = f"{_RUNS}; print(' '.join(sys.modules), file=sys.stderr)"
    environment = {**os.environ, "ZRB_STORE_URL": str(path)}
    command = [sys.executable, "-c", code, "list"]
    process = subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
    return {name.partition(".")[0] for name in process.stderr.split()}


def run(effort: Effort) -> Answer:
    """Run one race of processes."""
    answer = Answer()
    with ExitStack() as stack:
        path = new_folder(stack) / "store.db"
        add_sessions(path, 100)
        crowded, empty = path.with_name("crowded.db"), path.with_name("empty.db")
        add_sessions(crowded, 100_000)
        open_store(empty).close()
        turns = {
            IMPORTS: turn("import sqlalchemy, click", path),
            LIST: turn(f"{_RUNS}; sys.exit(code)", path, "list"),
            PUSH: turn(f"{_RUNS}; sys.exit(code)", path, "push", "inbox", "files", "1"),
            SHOW: turn(f"{_RUNS}; sys.exit(code)", path, "show", "etl-42"),
            "python -c pass": turn("pass", path),
            EMPTY_TAB: turn(_TAB, empty),
            CROWDED_TAB: turn(_TAB, crowded),
        }
        race = Race(turns, effort(25, 7))
        unwanted = sorted(imported(path) & {"alembic", "psutil", "sqlalchemy"})
    answer.add(*ratios(race, {"start": "start to end"}, IMPORTS))
    answer.goals += [
        *(
            at_most(
                f"{name}, process start to end, x importing SQLAlchemy and click",
                1.0,
                race.ratio("start", name, IMPORTS),
            )
            for name in (EMPTY_TAB, CROWDED_TAB)
        ),
        *(
            at_most(
                f"`{name}`, process start to end, x importing SQLAlchemy and click",
                1.1,
                race.ratio("start", name, IMPORTS),
            )
            for name in (LIST, PUSH, SHOW)
        ),
        Goal(
            "`zrb-store list` in a pipe imports",
            "no alembic, psutil, sqlalchemy",
            ", ".join(unwanted) or "none of them",
            not unwanted,
        ),
    ]
    return answer
