"""A command dies with its consumer, in whatever way that dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.shell.commands import consume, is_gone
from tests.support.postgres import wait_until
from tests.support.processes import Child
from zrb_store import system
from zrb_store.process import has_living_member, identity, is_group_alive, process_started
from zrb_store.shell import child as guards
from zrb_store.shell.child import Guard

# A command with a child and a grandchild, all of which ignore what can be ignored.
FAMILY = "trap '' TERM HUP INT; sleep 1000 & (sleep 1000 & wait) & wait"


def start(folder: Path, *command: str, **options: Any) -> tuple[Child, int, str]:
    """Start a consumer whose command runs in a folder. Return it, the pid of its command, and when that started."""
    child = Child(consume, "env", "-C", str(folder), *command, **options)
    pid, started = child.receive()
    return child, pid, started


def guard_of(consumer: int) -> int | None:
    """Return the pid of a consumer's guard, if there is one."""
    for child in psutil.Process(consumer).children():
        try:
            if "zrb-store-guard" in child.cmdline():
                return child.pid
        except psutil.Error:  # it has just ended
            continue
    return None


def family(pid: int) -> list[int]:
    """Wait until a command has its family, and return the pids of all."""
    wait_until(lambda: len(psutil.Process(pid).children(recursive=True)) >= 3, lambda: "the command does not start")
    return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]


def is_alive(pid: int, started: str | None) -> bool | None:
    """Whether something is left of a group of this host."""
    me = identity()
    return is_group_alive(me.boot_id, me.pid_namespace, pid, started)


@pytest.mark.promise(number=10)
def test_a_killed_consumer_takes_its_command_along(tmp_path: Path) -> None:
    child, pid, started = start(tmp_path, "sh", "-c", FAMILY)
    with child:
        pids = family(pid)
        guard = guard_of(child.pid)
        assert guard
        assert is_alive(pid, started)
        child.kill()
        wait_until(lambda: all(map(is_gone, pids)), lambda: "the command lives on")
        wait_until(lambda: is_gone(guard), lambda: "the guard lives on")
        assert is_alive(pid, started) is False


@pytest.mark.parametrize("place", ["register", "started"])
def test_a_consumer_that_dies_before_the_gate_starts_nothing(tmp_path: Path, place: str) -> None:
    child, pid, _ = start(tmp_path, "touch", "started", die=place)
    with child:
        assert child.join() == -signal.SIGKILL
        wait_until(lambda: not has_living_member(pid), lambda: "the gate waits for ever")
        assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_guard_is_replaced(number: int) -> None:
    killed = Guard()
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as sleeper:
        first = killed._process.pid
        os.kill(first, number)
        wait_until(lambda: is_gone(first), lambda: "the guard lives on")
        killed.register(sleeper.pid)
        replaced, lives = killed._process.pid, not is_gone(sleeper.pid)
        killed.close()
        assert sleeper.wait() == -signal.SIGKILL
        assert (replaced != first, lives) == (True, True)


@pytest.mark.promise(number=10)
def test_if_the_guard_dies_too_the_group_is_known_to_live(tmp_path: Path) -> None:
    child, pid, started = start(tmp_path, "sh", "-c", FAMILY)
    with child:
        pids = family(pid)
        guard = guard_of(child.pid)
        assert guard
        child.stop()
        os.kill(guard, signal.SIGKILL)
        child.kill()
        try:
            assert is_alive(pid, started) is True
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: is_gone(pid), lambda: "the leader lives on")
            assert is_alive(pid, started) is True, "the others of its group live"
        finally:
            os.killpg(pid, signal.SIGKILL)
        wait_until(lambda: is_alive(pid, started) is False, lambda: "the group counts as alive")
        assert all(map(is_gone, pids))


def test_ctrl_c_reaches_only_the_consumer(tmp_path: Path) -> None:
    child, _, _ = start(tmp_path, "sh", "-c", "until [ -e go ]; do sleep 0.01; done", handle=signal.SIGINT)
    with child:
        os.killpg(child.pid, signal.SIGINT)
        assert child.receive() == signal.SIGINT
        (tmp_path / "go").touch()
        assert child.receive().error is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_guard_is_deaf(tmp_path: Path, number: int) -> None:
    child, pid, _ = start(tmp_path, "sh", "-c", FAMILY)
    with child:
        pids = family(pid)
        guard = guard_of(child.pid)
        assert guard
        child.stop()  # it must not replace the guard
        os.kill(guard, number)
        child.kill()
        wait_until(lambda: all(map(is_gone, pids)), lambda: "the command lives on")


def test_the_guard_holds_nothing_open(tmp_path: Path) -> None:
    child, _, _ = start(tmp_path, "sh", "-c", "until [ -e go ]; do sleep 0.01; done")
    with child:
        wait_until(lambda: guard_of(child.pid) is not None, lambda: "there is no guard")
        guard = guard_of(child.pid)
        assert guard
        files = {link.name: os.readlink(link) for link in Path(f"/proc/{guard}/fd").iterdir()}  # noqa: PTH115 - a text
        assert {files[number] for number in files if number != "0"} == {os.devnull}
        assert (os.getsid(guard), psutil.Process(guard).cwd()) == (guard, "/")
        (tmp_path / "go").touch()
        assert child.receive().error is None
        assert child.join() == 0
        assert is_gone(guard)


def test_a_stopped_guard_with_a_full_pipe_is_replaced() -> None:
    stopped = Guard()
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as sleeper:
        first = stopped._process.pid
        os.kill(first, signal.SIGSTOP)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stopped._pipe, b"\n" * 4096)
        stopped.register(sleeper.pid)
        replaced, lives = stopped._process.pid, not is_gone(sleeper.pid)
        stopped.close()
        assert sleeper.wait() == -signal.SIGKILL
        assert (replaced != first, lives) == (True, True)


def test_a_stopped_guard_is_killed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "_PATIENCE", 0.1)
    stopped = Guard()
    pid = stopped._process.pid
    os.kill(pid, signal.SIGSTOP)
    stopped.close()
    assert is_gone(pid)


class TestIsGroupAlive:
    """Whether something is left of a group, seen from another process."""

    def test_another_start_time_means_that_it_is_gone(self) -> None:
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as sleeper:
            assert is_alive(sleeper.pid, process_started(sleeper.pid)) is True
            assert is_alive(sleeper.pid, "1") is False
            started = process_started(sleeper.pid)
            sleeper.kill()
            wait_until(lambda: is_gone(sleeper.pid), lambda: "it lives on")
            assert is_alive(sleeper.pid, started) is False, "a zombie counts for nothing"
        assert is_alive(sleeper.pid, started) is False

    def test_whether_a_group_elsewhere_lives_is_unknown(self) -> None:
        me = identity()
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as sleeper:
            started = process_started(sleeper.pid)
            assert is_group_alive("another boot", me.pid_namespace, sleeper.pid, started) is None
            assert is_group_alive(me.boot_id, "another container", sleeper.pid, started) is None
            assert is_group_alive(None, me.pid_namespace, sleeper.pid, started) is None
            assert is_group_alive(me.boot_id, me.pid_namespace, sleeper.pid, None) is None
            sleeper.kill()

    def test_a_zombie_that_is_reaped_while_one_looks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then the group has no members, which does not mean that they are hidden."""
        with subprocess.Popen(["true"], start_new_session=True) as ended:
            wait_until(lambda: is_gone(ended.pid), lambda: "it lives on")

            def pids() -> list[int]:
                ended.wait()
                return [os.getpid()]

            monkeypatch.setattr(system.here(), "pids", pids)
            assert not has_living_member(ended.pid)

    def test_a_group_of_another_user_is_alive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(group: int, number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "killpg", refuse)
        assert has_living_member(4_000_000) is True
