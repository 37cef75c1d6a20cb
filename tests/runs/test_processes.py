"""When a process is provably dead, so that its session can be taken over before its lease expires."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.postgres import wait_until
from tests.support.processes import Child
from tests.support.workers import have_a_child, wait
from zrb_store import process, system
from zrb_store.process import ProcessIdentity, identity, is_running, process_started
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
