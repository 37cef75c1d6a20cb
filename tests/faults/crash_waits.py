"""Answer sessions at random moments while they park, and kill what runs them: no answer is lost, or used twice.

`make crash` races 5,000 times on each database, and 150 times with real zrb processes; `make test` a few times.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from tests.support.forks import fork
from tests.support.places import Files, Schemas
from tests.support.rows import faults
from zrb_store import SessionBusy, SessionCompleted, SessionWaiting, Store, Waiting, open_store, step, wait
from zrb_store.db.location import store_url
from zrb_store.queries import runs, sessions
from zrb_store.testing import crash_at

POINTS = [
    f"{change}:{place}" for change in ("start", "wait", "end", "complete") for place in ("before", "inside", "after")
]
_NOTHING_TO_DO = (Waiting, SessionWaiting, SessionCompleted, SessionBusy)
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_TRIES = 12

PROJECT = """\
from zrb import cli, make_task
from zrb_store import step, wait

@make_task(name="refund", group=cli, retries=2, retry_period=0)
def refund(ctx):
    step("plan", ctx.xcom["log"].push, "plan")
    ctx.xcom["outside"].push("given back when it parks")
    answer = wait("approve", timeout="2d", say="Refund?")
    ctx.xcom["taken"].push(answer)
    return answer
"""


def refund(queues: Any) -> Any:
    """Ask in the middle of some work."""
    step("plan", queues["log"].push, "plan")
    queues["outside"].push("given back when it parks")
    answer = wait("approve", timeout="2d", say="Refund?")
    queues["taken"].push(answer)
    return answer


def _run(location: str, name: str, point: str | None) -> None:
    """Run the session once, as the work of a child process, which dies at a point."""
    logging.getLogger("zrb_store").setLevel(logging.ERROR)  # what it waits for
    dying = crash_at(point, kill=True) if point else contextlib.nullcontext()
    with open_store(location) as store:
        session = store.session(name)
        with contextlib.suppress(*_NOTHING_TO_DO), dying, session.run() as run:
            run.task("refund", refund, session.xcom)


def _answer(location: str, name: str, delay: float) -> None:
    time.sleep(delay)
    with open_store(location) as store:
        store.session(name).xcom["approve"].push(f"yes to {name}")


def check(store: Store, name: str) -> str:
    """Check what must hold of a session at any time, and return its status."""
    session = store.session(name)
    if sessions.find(store.database, name) is None:
        return "open"  # it was killed before it began
    status = session.status
    if status == "waiting":
        last = runs.last(store.database, session.record().id)
        assert last is not None
        assert last.ended_at is not None, "a run waits that has not ended"
    assert len(session.xcom["taken"]) <= 1
    if status == "completed":
        assert list(session.xcom["taken"]) == [f"yes to {name}"]
        assert list(session.xcom["log"]) == ["plan"]
        assert len(session.xcom["outside"]) == 1
        assert list(session.xcom["approve"]) == []
    return status


def race(location: str, count: int, seed: int) -> str:
    """Race the answers of so many sessions with their runs, in a process without threads, and return the figures."""
    chance, began, usual = random.Random(seed), time.monotonic(), 0.05
    ends: Counter[str] = Counter()
    for number in range(count):
        name = f"race-{number}"
        before = time.monotonic()
        answering = fork(functools.partial(_answer, location, name, chance.uniform(0, 2 * usual)))
        for tries in range(_TRIES):
            if answering and os.waitpid(answering, 0 if tries > _TRIES // 2 else os.WNOHANG)[0]:
                answering = 0
            is_answered = not answering  # before this try
            is_disturbed = chance.random() < 0.6 and tries < _TRIES - 2
            how = chance.choice(("at a point", "at random", "twice")) if is_disturbed else ""
            twice, point = how == "twice", chance.choice(POINTS) if how == "at a point" else None
            running = [fork(functools.partial(_run, location, name, point)) for _ in range(2 if twice else 1)]
            if how == "at random":
                time.sleep(chance.uniform(0, usual))
                os.kill(running[0], signal.SIGKILL)
            codes = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in running]
            usual = usual if tries or how else time.monotonic() - before
            with open_store(location) as store:
                status = check(store, name)
            if -signal.SIGKILL in codes:
                ends[f"killed {how}"] += 1
            else:
                assert set(codes) == {0}, codes
                assert status == "completed" if is_answered else status in ("waiting", "completed"), status
            ends[f"{status}, with the answer there before" if is_answered else status] += 1
            ends["started twice"] += twice
            if status == "completed":
                break
        if answering:
            os.waitpid(answering, 0)
        assert status == "completed", f"{name} is {status}"
    with open_store(location) as store:
        assert faults(store) == []
    seconds = time.monotonic() - began
    return f"{count} answers raced with parking in {seconds:.0f} s ({_figures(ends)}): none was lost or used twice"


def race_zrb(folder: Path, location: str, count: int, seed: int) -> str:
    """Do the same with processes of zrb, which `resume --ready` continues."""
    chance, began = random.Random(seed), time.monotonic()
    folder.mkdir(parents=True)
    (folder / "zrb_init.py").write_text(PROJECT)
    zrb = Path(sys.executable).parent / "zrb"
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("ZRB_")},
        "ZRB_INIT_MODULES": "zrb_store.plugin:zrb_store.testing",
        "ZRB_STORE_URL": store_url(location).render_as_string(hide_password=False),
        "HOME": str(folder),
    }

    def run(*words: str, **more: str) -> int:
        nothing = subprocess.DEVNULL
        done = subprocess.run(
            [zrb, *words], cwd=folder, env={**environment, **more}, stdin=nothing, stdout=nothing, stderr=nothing
        )
        return done.returncode

    ends: Counter[str] = Counter()
    for number in range(count):
        name = f"race-{number}"
        answering = fork(functools.partial(_answer, location, name, chance.uniform(0, 2)))
        for tries in range(_TRIES):
            killed = {"ZRB_STORE_TESTING": f"crash_at={chance.choice(POINTS)}"} if chance.random() < 0.4 else {}
            code = run("refund", ZRB_STORE_SESSION=name, **(killed if tries < _TRIES - 2 else {}))
            with open_store(location) as store:
                status = check(store, name)
            ends[status] += 1
            ends["killed"] += code in _KILLED
            if status == "waiting":
                assert code in (75, *_KILLED), code
                here = [each.pid for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(folder)]
                assert here == [], "a process lives while the session waits"
                if answering:
                    os.waitpid(answering, 0)
                    answering = 0
                run("xcom", "resume", "--ready")
                with open_store(location) as store:
                    status = check(store, name)
                assert status == "completed", f"{name} is {status} though the answer is there"
            if status == "completed":
                break
        if answering:
            os.waitpid(answering, 0)
        assert status == "completed", f"{name} is {status}"
    with open_store(location) as store:
        assert faults(store) == []
    seconds = time.monotonic() - began
    return f"{count} answers raced with zrb in {seconds:.0f} s ({_figures(ends)}): none was lost or used twice"


def _figures(ends: Counter[str]) -> str:
    return "; ".join(f"{word}: {number}" for word, number in ends.most_common() if number)


def race_on_one_database(pipe: Connection, kind: str, where: str, count: int, zrb: int, seed: int) -> None:
    """Do both on one database and send the figures. This is the function of a child process without threads."""

    def nothing(location: str) -> None:
        open_store(location).close()

    places = Files(Path(where), nothing) if kind == "sqlite" else Schemas(where, f"waits_{os.getpid()}", nothing)
    folder = Path(tempfile.mkdtemp(prefix="zrb-waits-"))
    try:
        figures = race(places.new(), count, seed)
        pipe.send(f"{figures}; {race_zrb(folder / 'zrb', places.new(), zrb, seed)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
