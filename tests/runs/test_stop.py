"""`stop`: a session ends as interrupted whatever its process does, and nothing is counted."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.runs.stopping import run_two, work, work_elsewhere
from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.processes import Child
from tests.support.rows import query, states, until_it_lives
from tests.support.runners import hold_a_run
from zrb_store import Store
from zrb_store.operations.stop import _ask
from zrb_store.process import send_signal
from zrb_store.queries.clock import now_micros
from zrb_store.runtime.stop import end_runs

pytestmark = pytest.mark.promise(number=5)

CONTAINER = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Makes `unshare` run a program as process 1."""


def change(store: Store, sql: str) -> None:
    store.database.transact(lambda transaction: transaction.driver.execute(sql))


@pytest.mark.usefixtures("inbox", "sound")
@pytest.mark.parametrize(
    ("handler", "ignores_interrupts"),
    [
        ("none", False),
        ("os._exit", False),
        ("sys.exit", True),
        ("sys.exit(0)", True),
        ("os._exit", True),
        ("none", True),
    ],
)
def test_a_program_that_handles_sigterm_in_its_own_way(
    store: Store, location: str, command: Commands, handler: str, ignores_interrupts: bool
) -> None:
    store.session("inbox").xcom["files"].max_deliveries = 1
    with Child(work, location, handler, ignores_interrupts) as child:
        child.receive()
        out = command.ok("stop", "work")
        child.join()
    assert out == "work: interrupted\ninbox/files#1: interrupted\ninbox/files: 1 value given back\n"
    assert states(store, "inbox", "files") == [("a", "live"), ("b", "live"), ("c", "live")]
    assert query(store, "SELECT status FROM zrb_run UNION ALL SELECT status FROM zrb_attempt") == [("interrupted",)] * 2
    assert query(store, "SELECT max(failed_deliveries) FROM zrb_value") == [(0,)]


@pytest.mark.usefixtures("inbox", "sound")
def test_a_stopped_process_that_somebody_else_reclaims(store: Store, location: str) -> None:
    store.session("inbox").xcom["files"].max_deliveries = 1
    with Child(work, location, "none", True) as child:
        child.receive()
        change(store, "UPDATE zrb_run SET stop_requested_at = started_at")
        child.kill()
    assert store.session("inbox").xcom["files"].pop() == "a"
    assert query(store, "SELECT status FROM zrb_run WHERE origin <> 'reclaim'") == [("interrupted",)]
    assert query(store, "SELECT status FROM zrb_attempt") == [("interrupted",)]


@pytest.mark.usefixtures("inbox", "sound")
def test_a_process_that_does_not_end(store: Store, location: str, command: Commands) -> None:
    with Child(work, location, "ignores", True) as child:
        child.receive()
        result = command("stop", "work", "--timeout", "0s")
        assert (result.code, result.out) == (1, "")
        assert f"still runs 0 s after it was asked to stop: pid {child.pid} on" in result.err
        assert child.is_running
        assert "inbox/files: 1 value given back" in command.ok("stop", "work", "--timeout", "0s", "--kill")
        assert child.join() == -signal.SIGKILL
    assert "session work does not run (interrupted)" in command("stop", "work").err


@pytest.mark.usefixtures("inbox", "sound")
def test_a_process_that_runs_another_session(store: Store, location: str, command: Commands) -> None:
    with Child(work, location, "none", False, "other") as child:
        child.receive()
        result = command("stop", "work")
        assert result.code == 75
        assert f"pid {child.pid} on " in result.err
        assert "runs session work, and also other: nothing was stopped" in result.err
        assert query(store, "SELECT max(stop_requested_at) FROM zrb_run") == [(None,)]
        assert query(store, "SELECT count(*) FROM zrb_change WHERE action = 'stop'") == [(0,)]
        assert child.is_running


def test_a_session_that_does_not_run(store: Store, command: Commands) -> None:
    with store.session("done").run():
        pass
    result = command("stop", "done")
    assert (result.code, result.out) == (1, "")
    assert "session done does not run (completed)" in result.err


def test_a_stop_from_another_machine_ends_one_run_alone(store: Store, location: str, command: Commands) -> None:
    """The request is one run's: it does not end the next session of the process, and is obeyed once."""
    with Child(run_two, location) as child:
        assert child.receive() == "first"
        child.send("wait")
        assert "without --kill, it finds the request" in command("stop", "first", "--kill").err
        assert command.ok("stop", "first") == "first: interrupted\n"
        assert child.receive() == "first interrupted"
        assert child.receive() == "second"
        lease = "SELECT lease_expires_at FROM zrb_run WHERE ended_at IS NULL"
        before = query(store, lease)
        wait_until(lambda: query(store, lease) > before, lambda: "the lease is not renewed", 600)
        child.send("go on")
        assert child.receive() == "done"
    assert store.session("second").status == "completed"


STOPPED = "work: interrupted\ninbox/files#1: interrupted\ninbox/files: 1 value given back\n"


@pytest.mark.usefixtures("inbox", "sound")
def test_from_another_machine_a_process_that_dies_of_the_signal(store: Store, location: str, command: Commands) -> None:
    """Nobody else could end its run before the lease has expired, so it does that itself first."""
    store.session("inbox").xcom["files"].max_deliveries = 1
    with Child(work_elsewhere, location) as child:
        child.receive()
        assert command.ok("stop", "work") == STOPPED
        assert child.join() == -signal.SIGTERM
    assert states(store, "inbox", "files") == [("a", "live"), ("b", "live"), ("c", "live")]
    assert query(store, "SELECT status FROM zrb_run UNION ALL SELECT status FROM zrb_attempt") == [("interrupted",)] * 2


WORK_AS_PROCESS_1 = """
import signal, sys, time
from zrb_store import open_store
from zrb_store.testing import short_lease
signal.signal(signal.SIGINT, signal.SIG_IGN)
with short_lease(1), open_store(sys.argv[1]) as store, store.session("work").run() as run:
    for delivery in run.consume(store.session("inbox").xcom["files"]):
        print("works", flush=True)
        time.sleep(1800)
"""


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.usefixtures("inbox", "sound")
def test_the_first_process_of_a_container(store: Store, location: str, command: Commands) -> None:
    """No signal that it does not handle reaches it. Where nobody may make a container, nothing is tested."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", *CONTAINER, "true"], check=False).returncode:
        pytest.skip("this machine lets this user make no container")
    program = [sys.executable, "-c", WORK_AS_PROCESS_1, location]
    with subprocess.Popen(["unshare", *CONTAINER, *program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"works\n"
        try:
            assert query(store, "SELECT pid FROM zrb_run") == [(1,)]
            assert command.ok("stop", "work") == STOPPED
            assert process.wait() == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert states(store, "inbox", "files") == [("a", "live"), ("b", "live"), ("c", "live")]


@pytest.mark.usefixtures("inbox", "sound")
def test_a_process_elsewhere_that_gives_no_sign_of_life(store: Store, location: str, command: Commands) -> None:
    """It may have died, so nobody says that it runs."""
    with Child(work_elsewhere, location) as child:
        child.receive()
        child.kill()
    renewed = now_micros(store.database) - 40_000_000
    change(store, f"UPDATE zrb_run SET started_at = {renewed}, lease_expires_at = {renewed + 60_000_000}")
    result = command("stop", "work", "--timeout", "0s")
    assert (result.code, result.out) == (1, "")
    assert "still runs" not in result.err
    assert re.search(r"session work may still run, 0 s after .* last gave a sign of life [34]\d s ago, ", result.err)


def test_no_other_process_gets_the_signal(location: str, store: Store) -> None:
    with Child(hold_a_run, location, "worker") as child:
        child.receive()
        [(boot, names, pid, started)] = query(store, "SELECT boot_id, pid_namespace, pid, process_started FROM zrb_run")
        for a_boot, some_names, a_start in (
            (boot, names, f"1{started}"),
            (f"{boot}0", names, started),
            (boot, "", started),
        ):
            assert not send_signal(a_boot, some_names, pid, a_start, signal.SIGKILL)
        assert send_signal(boot, names, pid, started, signal.SIGKILL)
        child.join()


@pytest.mark.usefixtures("inbox", "sound")
def test_a_stop_that_dies_at_any_statement(store: Store, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the run is asked to end, or nothing was recorded; and a dead one is ended whole, or not at all."""
    with Child(work, location, "os._exit", True) as child:
        child.receive()
        request = until_it_lives(
            store, monkeypatch, lambda: store.database.transact(lambda each: _ask(each, "work", kill=False), "stop")
        )
        child.kill()
    assert request is not None
    until_it_lives(store, monkeypatch, lambda: end_runs(store.database, request.live))
    assert store.session("work").status == "interrupted"
    assert states(store, "inbox", "files")[0] == ("a", "live")


@pytest.mark.on_sqlite
def test_a_session_of_the_web_server_is_not_stopped_alone(command: Commands, store: Store, location: str) -> None:
    with store.session("s").run():
        with contextlib.closing(sqlite3.connect(location)) as database, database:
            database.execute("UPDATE zrb_run SET origin = 'web'")
        assert "which would also end: nothing was stopped" in command("stop", "s").err
