"""`zrb-store consume` when something dies under it: itself, its guard, its lease, the store, or who reads its words."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.shell.consumers import Consumer, Shell, fill
from tests.shell.fire import consume_in_shells_under_fire
from tests.support.commands import Commands
from tests.support.postgres import private_server
from tests.support.rows import faults, query, states
from zrb_store import SessionBusy, Store, open_store
from zrb_store.process import has_living_member

pytestmark = pytest.mark.long_on_postgresql

FAMILY = "sleep 1000 & echo $$ >group; wait"
"""A script that works for ever, with a child, and writes the number of its process group."""
LOOKS_DEAD = "UPDATE zrb_run SET boot_id = 'elsewhere', lease_expires_at = 1, suspected_at = 1 WHERE ended_at IS NULL"
ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)


def taken(store: Store) -> list[str]:
    return [state for _, state in states(store, "inbox", "files")]


def guard_of(consumer: Consumer) -> psutil.Process:
    (guard,) = [one for one in psutil.Process(consumer.pid).children() if "zrb-store-guard" in one.cmdline()]
    return guard


def kill_with_its_guard(consumer: Consumer) -> None:
    consumer.stop()  # so that it does not start another guard
    guard_of(consumer).kill()
    consumer.kill()


def test_the_value_of_a_killed_consumer_is_delivered_again(store: Store, shell: Shell, command: Commands) -> None:
    fill(store, "a")
    consumer = shell.start_sh(FAMILY, "--as", "me")
    group = int(shell.until_file("group"))
    consumer.kill()
    assert command.ok("pop", "inbox", "files", "--wait", "100") == "a\n"
    assert not has_living_member(group)
    assert query(store, "SELECT failed_deliveries FROM zrb_value") == [(1,)]
    assert query(store, "SELECT status FROM zrb_attempt") == [("lost",)]
    assert store.session("me").status == "stale"
    assert "reclaimed by pid" in command.ok("log", "me")
    assert faults(store) == []


def test_the_next_consumer_gets_the_value_of_a_dead_one(store: Store, shell: Shell) -> None:
    fill(store, "a")
    consumer = shell.start_sh(FAMILY)
    group = int(shell.until_file("group"))
    consumer.kill()
    shell.until(lambda: not has_living_member(group), "the command lives on")
    assert shell.sh('echo "$1"', "-q") == (0, "a\n", "")
    assert faults(store) == []


def test_a_consumer_inside_the_command_of_another(store: Store, shell: Shell) -> None:
    """Its deliveries are its own: what it has done stands, although the other command fails."""
    fill(store, "a")
    store.session("inbox").xcom["parts"].extend(["x", "y"])
    script = "zrb-store consume inbox parts --all -q --as inner -- cat; exit 1"
    ended = shell.sh(script, "-q", "--as", "outer")
    assert ended == (1, "xy", "")
    assert taken(store) == ["live"]
    assert [state for _, state in states(store, "inbox", "parts")] == ["taken", "taken"]
    assert faults(store) == []


def test_a_killed_consumer_with_its_guard(store: Store, shell: Shell, command: Commands) -> None:
    fill(store, "a", "b")
    consumer = shell.start_sh(FAMILY, "--as", "me")
    group = int(shell.until_file("group"))
    try:
        kill_with_its_guard(consumer)
        assert command.ok("pop", "inbox", "files") == "b\n"
        assert command("pop", "inbox", "files").code == 3
        assert shell.sh("exit 0", "--as", "me").code == 3, "its value is not given away while its command works on it"
        refused = command("rm", "me")
        assert (refused.code, "stop me" in refused.err) == (75, True), refused
    finally:
        os.killpg(group, signal.SIGKILL)
    assert command.ok("pop", "inbox", "files", "--wait", "100") == "a\n"
    assert shell.sh("exit 0", "--as", "me").code == 3
    assert faults(store) == []


def take_over(store: Store, name: str) -> None:
    """Take a session over, as if its run had been on another host that does not answer."""
    while True:
        store.database.transact(lambda transaction: transaction.driver.execute(LOOKS_DEAD))
        with suppress(SessionBusy):  # the lease has just been renewed
            store.session(name).run(task="inbox/files", again=True).start().end("completed")
            return


def test_a_lost_lease_ends_the_command(store: Store, shell: Shell) -> None:
    fill(store, "a", "b")
    consumer = shell.start_sh(FAMILY, "--all", "--as", "me", lease="4")
    group = int(shell.until_file("group"))
    take_over(store, "me")
    ended = consumer.wait()
    assert ended.code == 75
    assert not has_living_member(group)
    assert len(ended.err.splitlines()) == 1
    assert "session me was taken over" in ended.err
    assert taken(store) == ["live", "live"]
    assert faults(store) == []


@ON_SQLITE
def test_a_consumer_ends_when_its_file_is_replaced(store: Store, shell: Shell, location: str, tmp_path: Path) -> None:
    fill(store, "a", "b")
    script = "echo $$ >group; while [ ! -e go ]; do sleep 0.02; done"
    consumer = shell.start_sh(script, "--all")
    shell.until_file("group")
    Path(location).rename(tmp_path / "moved.db")
    (shell.folder / "go").touch()
    ended = consumer.wait()
    assert ended.code == 69
    said, error = ended.err.splitlines()
    assert said == "inbox/files#1: completed, but the store could not record it, so it may run again"
    assert "was deleted or replaced" in error
    assert not Path(location).exists()


@ON_SQLITE
def test_a_replaced_file_ends_a_command_that_works_on(
    store: Store, shell: Shell, location: str, tmp_path: Path
) -> None:
    fill(store, "a")
    consumer = shell.start_sh(FAMILY, "--all", lease="1")
    group = int(shell.until_file("group"))
    Path(location).rename(tmp_path / "moved.db")
    ended = consumer.wait()
    assert ended.code == 69
    assert len(ended.err.splitlines()) == 1
    assert not has_living_member(group)


@pytest.mark.slow
def test_a_server_that_is_away_for_a_while(tmp_path: Path) -> None:
    """What was done meanwhile is recorded when it is back, and a consumer that is to go on for ever does so."""
    with private_server() as server:
        shell = Shell(tmp_path, server.url)
        shell.environment["zrb_store.shell.consumer:_PATIENCE"] = "0.1"
        with open_store(server.url) as store:
            fill(store, "a")
        script = "echo $$ >group; while [ ! -e go ]; do sleep 0.02; done; echo done >>work"
        consumer = shell.start_sh(script, "--forever", turned="10")
        shell.until_file("group")
        server.stop()
        (tmp_path / "go").touch()
        consumer.turn_until("inbox/files#1: waiting for the store: ")
        server.start()
        consumer.wait_for("inbox/files#1: completed")
        server.stop()
        consumer.turn_until("\nwaiting for the store: ")
        server.start()
        with open_store(server.url) as store:
            fill(store, "b")
            consumer.wait_for("inbox/files#2: completed")
            consumer.signal(signal.SIGTERM)
            assert consumer.wait().code == 0
            assert (tmp_path / "work").read_text() == "done\ndone\n"
            assert taken(store) == ["taken", "taken"]
            assert query(store, "SELECT failed_deliveries FROM zrb_value") == [(0,), (0,)]
            assert faults(store) == []
        shell.close()


@pytest.mark.slow
def test_a_second_signal_ends_the_waiting_for_a_server(tmp_path: Path) -> None:
    with private_server() as server:
        shell = Shell(tmp_path, server.url)
        with open_store(server.url) as store:
            fill(store, "a", "b")
        consumer = shell.start_sh("echo $$ >group; while [ ! -e go ]; do sleep 0.02; done", "--all")
        group = int(shell.until_file("group"))
        server.stop()
        (tmp_path / "go").touch()
        shell.until(lambda: not has_living_member(group), "the command does not end")
        for number in (signal.SIGTERM, signal.SIGINT):  # two of one kind might arrive as one
            consumer.signal(number)
        ended = consumer.wait()
        assert ended.code == 69
        said, error = ended.err.splitlines()
        assert said == "inbox/files#1: completed, but the store could not record it, so it may run again"
        assert error.startswith("zrb-store: the store postgresql+psycopg:")
        assert not has_living_member(group)
        server.start()
        with open_store(server.url) as store:
            assert shell.sh("exit 0", "--all").code == 0
            assert taken(store) == ["taken", "taken"]
            assert faults(store) == []
        shell.close()


def run_in_shell(shell: Shell, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, in which `$zs` is the program."""
    environment = {name: text for name, text in shell.environment.items() if ":" not in name}
    return subprocess.run(
        ["sh", "-c", f"zs='{shell.folder}/zrb-store'\n{line}"],
        env={**os.environ, **environment},
        cwd=shell.folder,
        capture_output=True,
        text=True,
        input="ours\n",
        timeout=900,
    )


@pytest.mark.parametrize(
    "redirections",
    [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"],
)
@ON_SQLITE
def test_whatever_the_standard_streams_are(store: Store, shell: Shell, redirections: str) -> None:
    fill(store, "a", "b")
    script = 'cat >"got-$1"; echo out; echo err >&2; [ "$1" = a ]'
    done = run_in_shell(shell, f"$zs consume inbox files --all -- sh -c '{script}' sh {{}} {redirections}; echo $?")
    assert done.stdout.splitlines()[-1] == "1"
    assert taken(store) == ["taken", "live"]
    assert [(shell.folder / f"got-{value}").read_text() for value in "ab"] == ["a", "b"]
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    done = run_in_shell(shell, f"$zs consume inbox files -- true {redirections}; echo $?")
    assert done.stdout.splitlines()[-1] == "0"
    assert faults(store) == []


@ON_SQLITE
def test_stdin_of_the_consumer_is_left_alone(store: Store, shell: Shell) -> None:
    fill(store, "a", "b")
    done = run_in_shell(shell, "$zs consume inbox files --all -q -- sh -c 'cat; echo'; cat")
    assert done.stdout == "a\nb\nours\n"


@pytest.mark.slow
@pytest.mark.long_on_postgresql(False)
@pytest.mark.promise(number=10)
def test_consumers_under_fire_do_each_value_once(location: str, tmp_path: Path) -> None:
    consume_in_shells_under_fire(
        tmp_path, location, consumers=3, values=30, poison=1, kills=3, pause=0.3, max_deliveries=3
    )
