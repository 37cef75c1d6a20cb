"""Kill the processes of a shell script with steps at random moments, until it is done: no step is done twice.

The script retries a step whose command or whose `zrb-store step` was killed, and ends at a step whose end is unknown.
`make crash` kills five hundred times on each database, `make test` forty times in all.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from tests.support.places import Files, Places, Schemas
from tests.support.postgres import DEADLINE
from tests.support.rows import faults, query
from tests.support.scripts import PROGRAM
from zrb_store import Store, open_store
from zrb_store.db.location import store_url
from zrb_store.process import identity, is_group_alive

KINDS = ("run", "script", "step", "command", "group of the script", "group of the command")
SESSION = "nightly"

SCRIPT = """\
set -eu
attempt() {  # the step runs again unless it is refused
    tries=0
    until v=$(zrb-store step "page $1" $2 -- ./work "$1"); do
        code=$?
        [ $code != 125 ] && [ $tries -lt 9 ] || exit $code
        tries=$((tries + 1))
    done
    echo "$v"
}
i=0
while [ $i -lt $STEPS ]; do
    case $((i % 4)) in
        0) attempt $i '' ;;
        1) attempt $i --once ;;
        2) attempt $i "--produces made-$i" ;;
        3) attempt $i '' >part & other=$!; attempt later-$i ''; wait $other; cat part ;;
    esac
    i=$((i + 1))
done
"""

WORK = """\
#!/bin/sh
set -eu
echo "$1" >>ran
case $1 in
    *0 | *2) file=$(zrb-store pop inbox files); zrb-store push @this done "\\"$1 $file\\"" ;;
esac
echo "made by $1" >"made-$1"
case $1 in
    *[13579]) sleep 0.6 ;;  # `once` steps, too, so that some are killed
    *) sleep 0.1 ;;
esac
echo "out $1"
"""


def prepare(location: str) -> None:
    with open_store(location) as store:
        store.session("inbox").xcom["files"].extend(range(100, 200))


def contents(store: Store) -> dict[str, list[Any]]:
    """Return what the queues have at the end; which value a step got may differ."""
    done = sorted(value.split()[0] for value in store.session(SESSION).xcom["done"])
    return {"done": done, "files": [len(store.session("inbox").xcom["files"])]}


class Script:
    """One session in a store of its own, which is started again and again."""

    def __init__(self, location: str, folder: Path, steps: int) -> None:
        self.location, self.folder, self.steps = location, folder, steps
        for path in folder.glob("*"):
            path.unlink()
        (folder / "script.sh").write_text(SCRIPT)
        for name, content in (("work", WORK), ("zrb-store", PROGRAM)):
            (folder / name).write_text(content)
            (folder / name).chmod(0o755)
        url = store_url(location).render_as_string(hide_password=False)
        programs = f"{folder}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": programs, "ZRB_STORE_URL": url, "STEPS": str(steps)}
        self.completed: set[str] = set()
        self.runs: Counter[str] = Counter()

    def start(self) -> psutil.Popen:
        words = ["zrb-store", "run", SESSION, "--task", "pages", "--", "sh", "script.sh"]
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("ab") as err:
            return psutil.Popen(
                words,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def results(self) -> tuple[str, dict[str, str]]:
        """Return what the script has written at its end: to stdout, and to files."""
        made = {path.name: path.read_text() for path in sorted(self.folder.glob("made-*"))}
        return (self.folder / "out").read_text(), made

    def check(self) -> None:
        """Check that no completed step has run again, once nothing of the last run is left; settle uncertain steps."""
        with open_store(self.location) as store:
            me, asked = identity(), "SELECT command_pid, command_started FROM zrb_attempt WHERE command_pid IS NOT NULL"
            # By their start, too: among so many processes, others soon have their numbers.
            groups = [(me.boot_id, me.pid_namespace, *row) for row in query(store, asked)]
            deadline = time.monotonic() + DEADLINE
            while any(is_group_alive(*group) for group in groups):
                assert time.monotonic() < deadline, "a command has outlived its run"
                time.sleep(0.01)
            assert faults(store) == []
            rows = query(
                store,
                "SELECT step, status, given_back_at, once FROM zrb_attempt WHERE step_of IS NOT NULL AND id IN "
                "(SELECT max(id) FROM zrb_attempt WHERE step_of IS NOT NULL GROUP BY step)",
            )
        ran = self.folder / "ran"
        runs = Counter(f"page {line}" for line in (ran.read_text().splitlines() if ran.exists() else ()))
        completed = {name for name, status, given_back, _ in rows if status == "completed" and given_back is None}
        assert self.completed <= completed, "a completed step stands no longer"
        again = [name for name in self.completed if runs[name] != self.runs[name]]
        assert not again, f"{again} had completed and ran again"
        assert all(runs[f"page {number}"] <= 1 for number in range(1, self.steps, 4)), "a `once` step ran twice"
        self.completed, self.runs = completed, runs
        for name, status, _, once in rows:
            if once and status in ("running", "interrupted", "lost"):
                self.settle(name, happened=bool(runs[name]))

    def settle(self, step: str, *, happened: bool) -> None:
        """Do what a person does: find out what happened, and mark the step."""
        out = f'"out {step.split()[-1]}\\n"'
        words = ["completed", "--result", out] if happened else ["failed"]
        command = ["zrb-store", "mark", SESSION, "pages", "--step", step, *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        # The run may have died without an end: then the next one gives back what is running, and says so.
        assert done.returncode == 0, done.stderr


def victims(run: psutil.Popen) -> dict[str, psutil.Process]:
    """Return the processes that can be killed, by kind."""
    found: dict[str, psutil.Process] = {"run": run}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in run.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if words[-1:] == ["script.sh"]:
                    found.setdefault("script", process)
                elif "step" in words:
                    found["step"] = process
                elif any(word.endswith("work") for word in words):
                    found.setdefault("command", process)
    return found


def kill_one(run: psutil.Popen, generator: random.Random) -> str:
    """Kill a process or a group, and return its kind."""
    found = victims(run)
    kind = generator.choice([kind for kind in KINDS if kind.rpartition(" ")[2] in found])
    target = found[kind.rpartition(" ")[2]]
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if kind.startswith("group"):
            os.killpg(os.getpgid(target.pid), signal.SIGKILL)
        else:
            target.send_signal(signal.SIGKILL)
    return kind


@functools.cache
def undisturbed(steps: int) -> tuple[float, object, object]:
    """Return the seconds that a step takes, and what the script leaves: its results, and the queues on SQLite."""
    with tempfile.TemporaryDirectory(prefix="zrb-scripts-") as folder:
        location = Files(Path(folder), prepare).new()
        (Path(folder) / "work").mkdir()
        began = time.monotonic()
        script = Script(location, Path(folder) / "work", steps)
        assert script.start().wait(DEADLINE) == 0, (script.folder / "err").read_text()
        pause = (time.monotonic() - began) / steps
        script.check()
        with open_store(location) as store:
            return pause, script.results(), contents(store)


def kill_scripts(folder: Path, url: str | None, count: int, seed: int, steps: int = 50) -> str:
    """Kill the script `count` times, which may complete in between: then another session begins."""
    (folder / "stores").mkdir(parents=True)
    (folder / "work").mkdir()
    places: Places = Schemas(url, f"scripts_{os.getpid()}", prepare) if url else Files(folder / "stores", prepare)
    generator = random.Random(seed)
    pause, results, expected = undisturbed(steps)
    pause *= 4 if url else 1  # with SQLAlchemy, which PostgreSQL needs, a step begins so much later
    began = time.monotonic()
    kills: Counter[str] = Counter()
    sessions = again = 0
    while kills.total() < count:
        script = Script(places.new(), folder / "work", steps)
        code = None
        while code != 0:
            run = script.start()
            while run.poll() is None:
                with contextlib.suppress(psutil.TimeoutExpired):
                    run.wait(generator.uniform(0, pause))
                if run.poll() is None and kills.total() < count:
                    kills[kill_one(run, generator)] += 1
            code = run.wait()
            script.check()
        assert script.results() == results
        with open_store(script.location) as store:
            assert contents(store) == expected
            assert store.session(SESSION).status == "completed"
        sessions += 1
        again += script.runs.total() - len(script.runs)
    kinds = ", ".join(f"{number} of the {kind}" for kind, number in sorted(kills.items()))
    return (
        f"{kills.total()} kills of {sessions} scripts of {steps} steps in {time.monotonic() - began:.0f} s: {kinds}; "
        f"{again} commands ran again because they had been killed; completed steps that ran again: 0; `once` steps "
        "that ran twice: 0"
    )
