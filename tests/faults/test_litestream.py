"""A store that Litestream copies survives the loss of its machine: the job continues elsewhere from what was copied."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.postgres import DEADLINE, wait_until
from tests.support.programs import require
from tests.support.rows import faults
from tests.support.scripts import Scripts, finished
from zrb_store import open_store
from zrb_store.process import process_started

pytestmark = pytest.mark.slow

_EFFECTS = 4
_SCRIPT = """set -e
for number in 1 2 3 4; do
    zrb-store step "effect $number" -- sh -c '
        echo $$ >"$0/new"; mv "$0/new" "$0/begun.$1"
        while [ ! -e "$0/go.$1" ]; do sleep 0.02; done
        echo $1 >>"$0/effects"' "$WORLD" "$number"
done
"""


@contextmanager
def replicator(store: Path, copy: Path) -> Iterator[None]:
    """Copy a store until the block ends. Then it is killed."""
    words = [require("litestream"), "replicate", "-log-level", "error", str(store), f"file://{copy}"]
    with subprocess.Popen(words, umask=0o077, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def restore(copy: Path, store: Path) -> bool:
    """Restore a store from its copy; return False if there is nothing to restore yet."""
    words = [require("litestream"), "restore", "-o", str(store), f"file://{copy}"]
    done = subprocess.run(words, umask=0o077, capture_output=True, timeout=DEADLINE, check=False)
    return done.returncode == 0


def is_copied(copy: Path, probe: Path, completed: int) -> bool:
    """Whether so many steps have completed in the copy, and the next one has begun."""
    probe.unlink(missing_ok=True)
    if not copy.exists() or not restore(copy, probe):
        return False
    with closing(sqlite3.connect(probe)) as connection:
        rows = connection.execute("SELECT status FROM zrb_attempt WHERE step_of IS NOT NULL AND given_back_at IS NULL")
        statuses = sorted(status for (status,) in rows if status in ("completed", "running"))
    return statuses == ["completed"] * completed + ["running"]


@pytest.mark.promise(number=8)
@pytest.mark.promise(number=11)
def test_a_job_continues_on_another_machine_with_each_effect_once(tmp_path: Path) -> None:
    world = tmp_path / "world"
    world.mkdir()
    before: Path | None = None
    for number in range(1, _EFFECTS + 1):
        machine = Scripts(made(tmp_path / f"machine{number}"), str(tmp_path / f"machine{number}" / "jobs.db"))
        store, copy = machine.folder.parent / "jobs.db", tmp_path / f"copy{number}"
        machine.environment.update(WORLD=str(world), ZRB_STORE_PROJECT="jobs")
        machine.write("script.sh", _SCRIPT)
        if before is not None:
            assert restore(before, store)
            assert store.stat().st_mode & 0o777 == 0o600
            (world / f"begun.{number - 1}").unlink()
            (world / f"go.{number - 1}").touch()
        with replicator(store, copy):
            running = machine.start("zrb-store", "run", "night", "--task", "backup", "--", "sh", "script.sh")
            begun = world / f"begun.{number}"
            wait_until(begun.exists, lambda: f"effect {number} does not begin")  # noqa: B023
            wait_until(lambda: is_copied(copy, tmp_path / "probe.db", number - 1), lambda: "it is not copied")  # noqa: B023
            if number == _EFFECTS:
                (world / f"go.{number}").touch()
                assert finished(running).code == 0
            else:
                os.killpg(running.pid, signal.SIGKILL)
                running.communicate()
                command = int(begun.read_text())
                wait_until(lambda: process_started(command) is None, lambda: "the command lives")  # noqa: B023
        shutil.copytree(copy, tmp_path / f"lost{number}")
        before = tmp_path / f"lost{number}"
    assert (world / "effects").read_text().split() == [str(number) for number in range(1, _EFFECTS + 1)]
    with open_store(str(tmp_path / f"machine{_EFFECTS}" / "jobs.db")) as last:
        assert last.session("night").status == "completed"
        assert faults(last) == []


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
