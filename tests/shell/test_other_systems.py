"""What is not Linux with bash and GNU tools: /proc is hidden, /bin/sh is another shell, and PATH has nothing of GNU."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.postgres import DEADLINE, wait_until
from zrb_store.process import has_living_member
from zrb_store.shell import child
from zrb_store.shell.child import Child, Guard
from zrb_store.system.linux import Linux
from zrb_store.system.portable import Portable

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "zrb_store"
# What only Linux has, and how one asks which system it is.
SPECIFIC = re.compile(
    r"/proc\b|pidfd|inotify|\bprctl|\bO_PATH\b|epoll|sys\.platform|platform\.system|os\.uname|\bsetsid\b"
)
# As sitecustomize, it lets each Python of a command find another system.
OTHERWISE = {
    "macOS": "system.here = system.Portable",
    "Linux without /proc": "from zrb_store.system.linux import Linux; system.here = lambda: Linux(Path('/hidden'))",
}
SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "zsh": ["zsh", "--emulate", "sh"],
    "ksh": ["ksh"],
    "busybox": ["busybox", "sh"],
}


@pytest.mark.slow
def test_one_room_knows_one_system_from_another() -> None:
    found = {
        str(path.relative_to(PACKAGE)): SPECIFIC.findall(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
        if "system" not in path.relative_to(PACKAGE).parts
    }
    assert {path: names for path, names in found.items() if names} == {}


def test_each_answer_of_linux_replaces_one_that_any_system_has() -> None:
    def methods(of: type) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    assert methods(Linux) == methods(Portable)


def test_both_tell_the_same_of_this_process(tmp_path: Path) -> None:
    linux, other = Linux(), Portable()
    me = os.getpid()
    assert linux.ancestors() == other.ancestors()
    assert linux.command_line(me) == other.command_line(me)
    assert linux.environment(me, "PATH") == other.environment(me, "PATH") != {}
    assert linux.environment(me, "NO_SUCH_VARIABLE") == other.environment(me, "NO_SUCH_VARIABLE") == {}
    assert me in linux.pids()
    assert me in other.pids()
    assert not linux.is_stopped(me)
    assert not other.is_stopped(me)
    assert linux.file_system(tmp_path) == other.file_system(tmp_path)
    assert None not in (linux.started(me), other.started(me), other.boot_id(), other.pid_namespace())


def test_a_hidden_proc_tells_nothing(tmp_path: Path) -> None:
    hidden = Linux(tmp_path)
    me = os.getpid()
    assert (hidden.boot_id(), hidden.pid_namespace(), hidden.program(me), hidden.caught_signals(me)) == (None,) * 4
    assert (hidden.pids(), hidden.command_line(me), hidden.environment(me, "PATH")) == ([], [], {})
    assert (hidden.mount(tmp_path), hidden.file_system(tmp_path), hidden.lock_holder([tmp_path])) == (None,) * 3
    assert hidden.ancestors() == [me]
    with pytest.raises(PermissionError):
        hidden.started(me)


def test_only_who_may_write_holds_a_lock(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    file.touch()
    number = file.stat().st_ino
    locks = [
        f"1: POSIX ADVISORY READ 11 00:1b:{number} 124 124",
        f"2: FLOCK ADVISORY WRITE 12 00:1b:{number} 0 EOF",
        f"3: POSIX ADVISORY WRITE 13 00:1b:{number + 1} 120 120",
        f"4: POSIX ADVISORY WRITE 14 00:1b:{number} 120 120",
    ]
    (tmp_path / "locks").write_text("\n".join(locks))
    assert Linux(tmp_path).lock_holder([tmp_path / "none", file]) == 14


class Elsewhere:
    """Commands in a folder, with a PATH of nothing but zrb-store, on what is found to be another system."""

    def __init__(self, folder: Path, how: str) -> None:
        programs, modules = folder / "programs", folder / "modules"
        for made in (programs, modules):
            made.mkdir()
        code = f"from pathlib import Path\nfrom zrb_store import system\n{OTHERWISE[how]}\n"
        (modules / "sitecustomize.py").write_text(code)
        (programs / "zrb-store").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zrb_store "$@"\n')
        (programs / "zrb-store").chmod(0o755)
        self.folder = folder
        self.environment = {
            "PATH": str(programs),
            "HOME": str(folder),
            "PYTHONPATH": f"{modules}{os.pathsep}{ROOT}",
            "ZRB_STORE_URL": "runs.db",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        program = str(self.folder / "programs/zrb-store")
        return subprocess.Popen(
            [program, *arguments], cwd=self.folder, env=self.environment, text=True, stdout=-1, stderr=-1
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(params=OTHERWISE)
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path, request.param)


@pytest.mark.slow
def test_a_script_fails_and_continues(elsewhere: Elsewhere) -> None:
    (elsewhere.folder / "job.sh").write_text(
        "zrb-store step one -- /bin/sh -c 'echo one >>one' && zrb-store step two -- /bin/sh -c 'test -e ready'\n"
    )
    job = ("run", "job-1", "--", "/bin/sh", "job.sh")
    assert elsewhere.run(*job).returncode == 1
    assert elsewhere.run("show", "job-1").returncode == 0
    (elsewhere.folder / "ready").touch()
    done = elsewhere.run(*job)
    assert done.returncode == 0, done.stderr
    assert (elsewhere.folder / "one").read_text() == "one\n", "a completed step does not run again"
    healthy = elsewhere.run("doctor")
    assert "Traceback" not in healthy.stderr


@pytest.mark.slow
def test_a_killed_consumer_takes_its_command_along_and_its_value_comes_back(elsewhere: Elsewhere) -> None:
    assert elsewhere.run("push", "inbox", "files", "--text", "a.csv").returncode == 0
    command = "echo $$ >pid.new && mv pid.new pid && sleep 1000"
    elsewhere.environment["PATH"] += ":/bin:/usr/bin"  # for mv and sleep
    consumer = elsewhere.start("consume", "inbox", "files", "--", "/bin/sh", "-c", command)
    pid = elsewhere.folder / "pid"
    wait_until(pid.exists, lambda: str(consumer.poll()))
    # The shim executes Python in its place.
    consumer.send_signal(signal.SIGKILL)
    consumer.communicate(timeout=DEADLINE)
    wait_until(lambda: not has_living_member(int(pid.read_text())), lambda: "the command lives on")
    with contextlib.closing(sqlite3.connect(elsewhere.folder / "runs.db")) as file, file:
        file.execute("UPDATE zrb_run SET lease_expires_at = 1, suspected_at = 1")  # all that is known without /proc
    taken = elsewhere.run("pop", "inbox", "files")
    assert (taken.returncode, taken.stdout) == (0, "a.csv\n"), taken.stderr


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with each shell as /bin/sh: macOS has bash 3.2 or dash there, other systems have ksh or busybox."""
    program, *options = SHELLS[request.param]
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    monkeypatch.setattr(child, "_SHELL", (path, *options))


@pytest.mark.usefixtures("shell")
def test_any_shell_starts_a_command_behind_its_gate() -> None:
    environment = {"PATH": os.environ["PATH"], "not-a-name": "kept", "BASH_FUNC_f%%": "() { echo inherited; }"}
    started = Child([b"env"], environment)
    stdin, stdout, _ = started.pipes
    try:
        assert not select.select([stdout], [], [], 0.05)[0], "it waits for its line"
        stdin.write(b"\n")
        stdin.close()
        printed = stdout.read().decode().splitlines()
        assert {"not-a-name=kept", f"PATH={os.environ['PATH']}"} <= set(printed)
    finally:
        started.close()


@pytest.mark.usefixtures("shell")
def test_any_shell_guards_the_groups_of_a_dead_process() -> None:
    guard = Guard()
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as sleeper:
        guard.register(sleeper.pid)
        guard.close()
        end = time.monotonic() + DEADLINE
        while sleeper.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert sleeper.returncode == -signal.SIGKILL
