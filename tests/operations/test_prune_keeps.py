"""What `prune --keep-last N` keeps: the last results of each task, and its last failures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.pruning import DAY, age, names, pruned, run
from zrb_store import Store, open_store
from zrb_store.operations import prune
from zrb_store.operations.copy import copy
from zrb_store.operations.prune import Deletion, Policy
from zrb_store.run import RunSpec

pytestmark = pytest.mark.long_on_postgresql


def runs(store: Store, outcomes: Iterable[str]) -> None:
    """Run sessions with names like `3-failed`, the oldest first."""
    for number, status in enumerate(outcomes):
        run(store, f"{number}-{status}", status=status)


def test_failures_do_not_drive_out_the_last_results(store: Store) -> None:
    runs(store, ["completed", "failed", "completed", *["failed", "interrupted"] * 3])
    assert pruned(store, Policy(keep_last=2)) == ["1-failed", "3-failed", "4-interrupted", "5-failed", "6-interrupted"]
    assert names(store) == {"0-completed", "2-completed", "7-failed", "8-interrupted"}
    assert store.last("step") == "2-completed"


def test_a_task_that_never_completes_keeps_its_last_tries(store: Store) -> None:
    runs(store, ["failed"] * 5)
    assert pruned(store, Policy(keep_last=2)) == ["0-failed", "1-failed", "2-failed"]
    run(store, "at-last")
    assert pruned(store, Policy(keep_last=2)) == ["3-failed"]


def test_a_failure_that_newer_sessions_have_followed_goes(store: Store) -> None:
    runs(store, ["completed", "failed", "completed", "completed"])
    assert pruned(store, Policy(keep_last=2)) == ["0-completed", "1-failed"]


def test_what_completed_last_is_kept_although_it_began_first(store: Store) -> None:
    run(store, "began-first", status="failed")
    run(store, "began-second")
    run(store, "began-first")
    assert pruned(store, Policy(keep_last=1)) == ["began-second"]
    assert store.last("step") == "began-first"


def test_a_session_whose_main_task_was_skipped_is_no_result(store: Store) -> None:
    run(store, "result")
    for number in range(2):
        with store.session(f"skipped-{number}").run(task="load") as started:
            started.note_tasks({"load": "skipped"})
    assert {record.status for record in store.sessions()} == {"completed"}
    assert pruned(store, Policy(keep_last=1)) == ["skipped-0"]
    assert names(store) == {"result", "skipped-1"}
    assert store.last("step") == "result"


def test_running_sessions_do_not_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(store, ["failed", "failed"])
    with store.session("running").run(task="load"):
        assert pruned(store, Policy(keep_last=1)) == ["0-failed"]
        age(store, 1)
        monkeypatch.setattr("zrb_store.queries.lease.is_running", lambda *_: False)
        assert pruned(store, Policy(keep_last=1)) == ["1-failed"], "the dead session is kept as the last failure"
        assert names(store) == {"running"}
        monkeypatch.undo()


def test_a_status_that_is_asked_for_changes_nothing_about_what_is_kept(store: Store) -> None:
    runs(store, ["failed", "interrupted", "failed"])
    assert pruned(store, Policy(keep_last=2, statuses=("failed",))) == ["0-failed"]
    assert pruned(store, Policy(keep_last=2, statuses=("interrupted",))) == []


def test_the_rule_says_what_was_counted(store: Store) -> None:
    runs(store, ["failed", "completed", "failed", "completed"])
    with store.session("code").prepare(RunSpec(command=["-c"])):
        pass
    with store.session("program").prepare(RunSpec(command=["/opt/bin/celery", "-A", "app", "worker"])):
        pass
    age(store, 2)
    policy = Policy(older_than=DAY, keep_last=0)
    assert list(prune.prune(store.database, policy, dry_run=True)) == [
        Deletion("0-failed", "older than 1d, not among the last 0 of load"),
        Deletion("1-completed", "older than 1d, not among the last 0 completed of load"),
        Deletion("2-failed", "older than 1d, not among the last 0 of load"),
        Deletion("3-completed", "older than 1d, not among the last 0 completed of load"),
        Deletion("code", "older than 1d, not among the last 0 completed"),
        Deletion("program", "older than 1d, not among the last 0 completed of /opt/bin/celery"),
    ]


# What each of these programs runs, under the name of its first argument.
PROGRAM = """
import sys
from zrb_store import open_store
with open_store() as store, store.session(sys.argv[1]).run(task=(sys.argv[2:] or [None])[0]) as run:
    run.task("load", lambda: sys.argv[1])
"""


@pytest.fixture(scope="module")
def after_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store after a program that ran at night, and then busy workers, each of several kinds."""
    folder = tmp_path_factory.mktemp("programs")
    for program in ("nightly", "worker"):
        (folder / f"{program}.py").write_text(PROGRAM)
    url = {"ZRB_STORE_URL": str(folder / "store.db")}
    environment = {**os.environ, **url, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(*args: str) -> None:
        subprocess.run([sys.executable, *args], cwd=folder, env=environment, check=True)

    start("-m", "nightly", "module-nightly")
    start("nightly.py", "script-nightly")
    start("nightly.py", "named-nightly", "night")
    start("-c", PROGRAM, "code-nightly")
    for number in (1, 2):
        start("-m", "worker", f"module-{number}")
        start("worker.py", f"script-{number}")
        start("worker.py", f"named-{number}", "work")
    return folder / "store.db"


@pytest.fixture
def programs(store: Store, after_programs: Path) -> Store:
    """A store with the sessions of these programs."""
    with open_store(after_programs, read_only=True) as source:
        copy(source.database, store.database)
    return store


@pytest.mark.slow
def test_busy_workers_do_not_displace_what_another_program_did(programs: Store, command: Commands) -> None:
    gone = [
        "module-nightly",
        "module-1",
        "script-1",
        "named-1",
        "module-2",
    ]  # a script and a module of one file are one
    assert pruned(programs, Policy(keep_last=1)) == gone
    text = command.ok("prune", "--keep-last", "0", "--dry-run")
    assert re.search(r"script-2 +all +not among the last 0 completed of /\S+/worker.py\n", text)
    assert re.search(r"named-nightly +all +not among the last 0 completed of night\n", text)
    assert re.search(r"code-nightly +all +not among the last 0 completed *\n", text)


# It dies while it holds a value of another session.
DYING = """
import os, sys
from zrb_store import open_store
with open_store() as store, store.session(sys.argv[1]).run() as run, run.attempt("load"):
    store.session("shared").xcom["q"].pop()
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("command")
def test_a_session_that_was_reclaimed_is_still_of_its_program(store: Store, tmp_path: Path) -> None:
    """Whoever reclaims it leaves a run, too, of which no program is known."""
    queue = store.session("shared").xcom["q"]
    queue.push(1)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for program in ("nightly", "worker"):
        (tmp_path / f"{program}.py").write_text(DYING)
        subprocess.run([sys.executable, "-m", program, program], cwd=tmp_path, env=environment, check=True)
        assert queue.pop() == 1, "it was reclaimed"
        queue.push(1)
    assert [store.session(name).status for name in ("nightly", "worker")] == ["stale"] * 2
    assert pruned(store, Policy(keep_last=1)) == []


@pytest.mark.slow
def test_last_finds_the_result_of_one_program(programs: Store, command: Commands) -> None:
    assert command.ok("last", "load") == "named-2\n"
    assert command.ok("last", "load", "--of", "night") == "named-nightly\n"
    assert command.ok("last", "load", "--of", "work") == "named-2\n"
    assert command.ok("last", "load", "--of", "nightly.py") == "script-nightly\n", "a script and a module of one file"
    assert command.ok("last", "load", "--of", "worker.py", "--any-project") == "script-2\n"
    path = json.loads(command.ok("show", "script-nightly", "--format", "json"))["task"]
    assert command.ok("last", "load", "--of", path) == "script-nightly\n"
    command.ok("rm", "script-nightly")
    assert (
        command.ok("last", "load", "--of", path)
        == command.ok("last", "load", "--of", "nightly.py")
        == "module-nightly\n"
    )
    assert programs.last("load", of="night") == "named-nightly"
    for of in ("nightly", "NIGHT", "", "ly.py", "%"):
        result = command("last", "load", "--of", of)
        assert (result.code, result.out) == (3, "")
        assert f"no completed session of {of!r} has a result of task 'load'" in result.err


def test_a_dry_run_without_anything_to_do_says_so(command: Commands, store: Store) -> None:
    run(store, "kept")
    assert command.ok("prune", "--keep-last", "1", "--dry-run") == "nothing to delete\n"
    assert command.ok("prune", "--keep-last", "1", "--dry-run", "--format", "json") == "[]\n"
    assert command.ok("prune", "--keep-last", "1") == "", "a cron job is silent if nothing happens"


@pytest.mark.parametrize("command_text", ["NULL", "'[]'", "'[\"\"]'"])
def test_a_command_that_says_nothing_is_no_reason_to_fail(store: Store, command_text: str) -> None:
    for number in (1, 2):
        with store.session(f"s{number}").run():
            pass
    store.database.execute(sa.text(f"UPDATE zrb_run SET command = {command_text}"))
    assert pruned(store, Policy(keep_last=1)) == ["s1"]


def test_retention_keeps_the_last_result(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(store, ["completed", "failed", "failed"])
    age(store, 31)
    monkeypatch.setenv("ZRB_STORE_RETENTION", "30d,keep=1")
    run(store, "new", status="failed")
    assert names(store) == {"0-completed", "new"}
    assert store.last("step") == "0-completed"
