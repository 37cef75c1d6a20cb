"""When a process is provably dead, so that its session can be taken over before its lease expires."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.crash_commands import COMMAND, is_alive, kill_commands, pids
from tests.support.commands import Commands
from tests.support.places import Files, Places, Schemas
from tests.support.postgres import wait_until
from tests.support.processes import Child
from tests.support.rows import faults
from tests.support.scripts import Scripts, finished
from tests.support.workers import have_a_child, wait
from zrb_store import SessionBusy, Store, open_store, process, system
from zrb_store.process import ProcessIdentity, identity, is_running, process_started
from zrb_store.queries import commands
from zrb_store.system.portable import Portable


def is_dead(who: ProcessIdentity) -> bool:
    return is_running(who.boot_id, who.pid_namespace, who.pid, who.process_started) is False


def identity_of(pid: int) -> ProcessIdentity:
    """Return the identity that a process with this pid would report."""
    return replace(identity(), pid=pid, process_started=process_started(pid))


def test_a_living_process_is_not_dead() -> None:
    assert not is_dead(identity())
    with Child(wait) as child:
        assert not is_dead(identity_of(child.pid))


def test_a_stopped_process_is_not_dead() -> None:
    with Child(wait) as child:
        who = identity_of(child.pid)
        child.stop()
        assert not is_dead(who)


@pytest.mark.promise(number=5)
def test_a_killed_process_is_dead() -> None:
    with Child(wait) as child:
        who = identity_of(child.pid)
        child.kill()
        assert is_dead(who)


def test_a_zombie_is_dead() -> None:
    """It has ended, and its parent has not yet read its exit status."""
    with Child(have_a_child) as parent:
        pid = parent.receive()
        who = identity_of(pid)
        assert not is_dead(who)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, lambda: "no zombie")
        assert is_dead(who)


@pytest.mark.promise(number=5)
def test_another_process_with_the_same_pid_is_not_taken_for_it() -> None:
    assert is_dead(replace(identity(), process_started="1"))


@pytest.mark.promise(number=5)
def test_another_boot_another_container_or_the_unknown_prove_nothing() -> None:
    with Child(wait) as child:
        gone = identity_of(child.pid)
        child.kill()
    assert is_dead(gone)
    for unlike in (
        {"boot_id": "another machine, or before it was started again"},
        {"pid_namespace": "pid:[1]"},
        {"boot_id": None},
        {"pid_namespace": None},
        {"process_started": None},
    ):
        assert not is_dead(replace(gone, **unlike)), unlike


def test_a_container_with_pid_1_and_a_fixed_host_name_is_not_declared_dead() -> None:
    """Two containers on one machine have the same host name, and both run as pid 1. Only the namespace differs."""
    theirs = replace(identity(), host="worker", pid=1, pid_namespace="pid:[4026532600]", process_started="1234")
    assert not is_dead(theirs)


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_a_process_that_is_hidden_is_not_dead(monkeypatch: pytest.MonkeyPatch, error: type[OSError]) -> None:
    """/proc may hide the processes of other users (hidepid), or may be missing."""
    with Child(wait) as child:
        who = identity_of(child.pid)

        def refuse(self: Path) -> str:
            raise error

        monkeypatch.setattr(Path, "read_text", refuse)
        assert not is_dead(who)
        with pytest.raises(PermissionError):
            process_started(child.pid)
        child.kill()
        assert is_dead(who)


def test_namespace_that_cannot_be_read_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Path:
        raise PermissionError

    unknown = replace(identity(), pid_namespace=None)  # read before it is refused, since it is kept
    monkeypatch.setattr(Path, "readlink", refuse)
    assert system.here().pid_namespace() is None
    monkeypatch.setattr(process, "identity", lambda: unknown)
    assert not is_dead(replace(process.identity(), process_started="1"))


def test_identity_is_that_of_the_running_process() -> None:
    me = identity()
    assert me.pid == os.getpid()
    assert (me.process_started or "").split("/")[0] == process_started(os.getpid())
    assert all(isinstance(field, str | int) for field in astuple(me))


class TestWithoutProc:
    """macOS and other systems, where psutil is used."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(system, "here", Portable)
        process.identity.cache_clear()
        yield
        process.identity.cache_clear()

    def test_a_killed_process_is_dead_and_a_living_one_is_not(self) -> None:
        with Child(wait) as child:
            who = identity_of(child.pid)
            assert not is_dead(who)
            child.kill()
            assert is_dead(who)

    def test_a_hidden_process_is_not_dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Child(wait) as child:
            who = identity_of(child.pid)

            def refuse(pid: int) -> psutil.Process:
                raise psutil.AccessDenied(pid)

            monkeypatch.setattr(psutil, "Process", refuse)
            assert not is_dead(who)


def test_a_process_seen_from_another_time_namespace_is_not_declared_dead() -> None:
    """Its start time is different there (time_namespaces(7)), as in a container that was migrated."""
    who = identity()
    code = f"from zrb_store.process import is_running; print(is_running{astuple(who)[1:5]})"
    command = ["unshare", "--time", "--boottime", "86400", "--fork", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no time namespace can be made here: {done.stderr}")
    assert done.stdout == "None\n"
    assert is_running(*astuple(who)[1:5]) is True


START = {
    "run": ["zrb-store", "run", "night", "--task", "work", "--", "sh", "work"],
    "step": ["zrb-store", "run", "night", "--task", "work", "--", "sh", "script"],
    "consume": ["zrb-store", "consume", "inbox", "files", "--as", "night", "--", "sh", "work"],
}


def kill_with_guards(process: subprocess.Popen[str]) -> None:
    """Kill a process, and those of `zrb-store` below it, so that none of their guards does anything."""
    guards, programs = [], []
    for each in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = each.cmdline()
            guards += [each] * ("zrb-store-guard" in words)
            programs += [each] * ("part" in words)
    for each in guards:
        each.kill()
    for pid in [process.pid, *(each.pid for each in programs)]:
        os.kill(pid, signal.SIGKILL)
    finished(process)


@pytest.mark.slow
@pytest.mark.promise(number=21)
@pytest.mark.parametrize("kind", START)
def test_a_start_ends_the_command_that_was_left(store: Store, location: str, tmp_path: Path, kind: str) -> None:
    scripts = Scripts(tmp_path, location)
    scripts.write("work", COMMAND.replace("PREPARE", ""))
    scripts.write("script", "zrb-store step part -- sh work")
    store.session("inbox").xcom["files"].push("a.csv")
    started = scripts.start(*START[kind])
    wait_until(lambda: bool(pids(scripts.folder)), lambda: "the command does not start")
    kill_with_guards(started)
    (first,) = pids(scripts.folder)
    assert is_alive(first)
    store.session("inbox").xcom["files"].push("b.csv")  # a consumer that finds no value starts nothing
    again = scripts.start(*START[kind])
    wait_until(lambda: len(pids(scripts.folder)) == 2, lambda: "the command does not start again")
    assert not is_alive(first)
    scripts.write("enough", "")
    ended = finished(again)
    assert ended.code == 0, ended
    assert f"pid {first} (sh work) of " in ended.err
    assert pids(scripts.folder, "beside") == []
    assert faults(store) == []


@pytest.mark.promise(number=21)
def test_the_next_attempt_in_a_run_ends_what_was_left(store: Store) -> None:
    left = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        with store.session("night").run() as run:
            with contextlib.suppress(KeyboardInterrupt), run.attempt("load") as attempt:
                command = attempt.id, left.pid, process_started(left.pid)
                assert store.database.transact(lambda transaction: commands.set_command(transaction, *command))
                raise KeyboardInterrupt
            assert left.poll() is None
            run.begin("load").complete()
        assert left.poll() == -signal.SIGTERM
    finally:
        left.kill()
        left.wait()


@pytest.mark.slow
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_command_that_cannot_be_ended_refuses_the_start(
    store: Store, location: str, tmp_path: Path, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = Scripts(tmp_path, location)
    scripts.write("work", COMMAND.replace("PREPARE", ""))
    started = scripts.start(*START["run"])
    wait_until(lambda: bool(pids(scripts.folder)), lambda: "the command does not start")
    kill_with_guards(started)
    (first,) = pids(scripts.folder)
    with monkeypatch.context() as patch:
        patch.setattr(commands, "may_signal", lambda pid: pid != first)
        text = rf"pid {first} \(sh work\) of work#1 in session night has outlived .* `kill -- -{first}`"
        with pytest.raises(SessionBusy, match=text):
            store.session("night").run(task="work").start()
        assert store.session("night").record().fence == 1
        assert "a resume is refused until it has ended" in command("resume", "night", "--plan").err
    assert is_alive(first)
    assert command("rm", "night").code == 75
    assert command("stop", "night")[:2] == (0, "night: stale\n")
    wait_until(lambda: not is_alive(first), lambda: "it lives on")
    command.ok("rm", "night")


@pytest.mark.long_on_postgresql
@pytest.mark.slow
@pytest.mark.promise(number=21)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_two_commands_of_a_task_are_alive_at_one_moment(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    def nothing(location: str) -> None:
        open_store(location).close()

    places: Places = Files(tmp_path, nothing)
    if kind == "postgresql":
        places = Schemas(request.getfixturevalue("postgres_url"), f"commands_{os.getpid()}", nothing)
    figures = kill_commands(tmp_path / "work", places, 9, 1)
    print(f"{kind}: {figures}")
    assert "two commands at one moment: 0" in figures
