"""The command of a run, a step or a consumer that was killed with its guard does not work on beside its successor."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.faults.crash_commands import COMMAND, is_alive, kill_commands, pids
from tests.support.commands import Commands
from tests.support.places import Files, Places, Schemas
from tests.support.postgres import wait_until
from tests.support.rows import faults
from tests.support.scripts import Scripts, finished
from zrb_store import SessionBusy, Store, open_store
from zrb_store.queries import commands

pytestmark = pytest.mark.slow

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


@pytest.mark.promise(number=21)
@pytest.mark.parametrize("kind", START)
def test_a_start_ends_what_was_left(store: Store, location: str, tmp_path: Path, kind: str) -> None:
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


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_what_cannot_be_ended_refuses_the_start(
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
