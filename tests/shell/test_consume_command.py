"""One command for one value: what it gets, what becomes of its output, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.shell.commands import Commands, ignore, is_gone
from tests.support.postgres import wait_until
from zrb_store import InvalidArgument, system
from zrb_store.process import has_living_member
from zrb_store.shell import command as command_module
from zrb_store.shell.command import Outcome, check_command
from zrb_store.system.portable import Portable

SHOW = 'for one in "$@"; do printf "<%s>" "$one"; done'


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path)


@pytest.mark.parametrize("text", ["", "a", "two words", "'\"$(id)`;*", "a\nb\n\n", "-n --x", "ü€😀", "\udcff", "a\\tb"])
def test_the_value_is_an_argument_and_stdin(commands: Commands, text: str) -> None:
    assert commands.sh(f"{SHOW}; printf '|'; cat", "{}", "--file={}", "{}{}", "x", text=text).error is None
    value = os.fsencode(text)
    assert commands.out == b"<%b><--file=%b><%b%b><x>|%b" % ((value,) * 5)


def test_other_lone_surrogates_are_escaped(commands: Commands) -> None:
    assert commands.sh(f"{SHOW}; cat", "{}", text="\ud800").error is None
    assert commands.out == b"<\\ud800>\\ud800"


def test_a_value_with_nul_can_only_be_read(commands: Commands) -> None:
    with pytest.raises(InvalidArgument, match=r"NUL.*read it from stdin"):
        commands.sh(SHOW, "{}", text="a\0b")
    assert commands("cat", text="a\0b").error is None
    assert commands.out == b"a\0b"


def test_a_long_value_can_only_be_read(commands: Commands) -> None:
    text = "x" * 5_000_000
    with pytest.raises(InvalidArgument, match=r"too long.*read it from stdin"):
        commands.sh(SHOW, "{}", text=text)
    assert commands("cat", text=text).error is None
    assert commands.out == text.encode()


def test_a_long_command_line_is_not_the_fault_of_the_value(commands: Commands) -> None:
    with pytest.raises(InvalidArgument, match="the command line"):
        commands.sh(SHOW, "x" * 5_000_000)


def test_a_command_that_cannot_run_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").write_text("")
    for command in (["no-such-command"], ["./missing.sh"], ["./data"], ["/"], ["{}"], [], [""]):
        with pytest.raises(InvalidArgument):
            check_command(command)


def test_a_command_gets_the_given_environment(commands: Commands) -> None:
    with commands.runner("sh", "-c", "echo $NAME") as runner:
        assert runner.run("", {**os.environ, "NAME": "x"}, ignore).error is None
    assert commands.out == b"x\n"


@pytest.mark.parametrize("code", [1, 2, 126, 127, 255])
def test_an_exit_code_is_told_with_a_line_of_output(commands: Commands, code: int) -> None:
    outcome = commands.sh(f"echo one; echo two >&2; echo; exit {code}")
    assert outcome.exit_code == code
    assert re.fullmatch(f"sh exited with {code}: (one|two)", outcome.error or "")
    assert sorted(outcome.output.split()) == ["one", "two"]


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM", "INT", "HUP", "PIPE"])
def test_a_command_killed_by_a_signal_names_it(commands: Commands, name: str) -> None:
    outcome = commands.sh(f"kill -{name} $$")
    assert (outcome.exit_code, outcome.error) == (-signal.Signals[f"SIG{name}"], f"sh was killed by SIG{name}")


def test_what_the_shell_cannot_start(commands: Commands) -> None:
    script = Path("script")
    script.write_text("exit 7")  # no #! line
    script.chmod(0o700)
    assert commands("./script").error == "script exited with 7"
    script.write_text("#!/no/such/interpreter\n")
    outcome = commands("./script")
    assert outcome.exit_code in (126, 127)
    assert "./script" in (outcome.error or "")


def test_nothing_is_left_after_a_failure(commands: Commands) -> None:
    outcome = commands.sh("trap '' TERM HUP; sleep 1000 & echo $!; exit 1")
    assert outcome.error
    assert is_gone(int(commands.out))


def run_and_stop(commands: Commands, script: str, ready: bytes, *, text: str = "value") -> Outcome:
    """Run a script, and stop it when it has written that it is ready."""
    with commands.runner("sh", "-c", script) as runner, ThreadPoolExecutor() as pool:
        done = pool.submit(runner.run, text, None, ignore)
        wait_until(lambda: ready in commands.out, lambda: "the script is never ready")
        runner.stop()
        return done.result()


def test_a_timeout_ends_the_command_and_its_children(commands: Commands) -> None:
    pids: list[int] = []
    with commands.runner("sh", "-c", "sleep 1000 & wait", timeout=0.3) as runner:
        outcome = runner.run("value", None, lambda pid, _: pids.append(pid))
    assert outcome.error == "sh timed out after 0.3 s"
    assert (outcome.exit_code, outcome.timed_out, outcome.stopped) == (-signal.SIGTERM, True, False)
    assert not has_living_member(pids[0])


def test_exit_0_after_a_stop_is_no_success(commands: Commands) -> None:
    outcome = run_and_stop(commands, "trap 'exit 0' TERM; echo ready; sleep 1000 & wait", b"ready")
    assert (outcome.exit_code, outcome.stopped) == (0, True)
    assert outcome.error == "sh was stopped"


def test_a_command_that_ignores_sigterm(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "GRACE", 0.3)
    outcome = run_and_stop(commands, "trap '' TERM; sleep 1000 & echo $! ready; wait", b"ready")
    assert (outcome.exit_code, outcome.stopped) == (-signal.SIGKILL, True)
    assert is_gone(int(commands.out.split()[0]))


def test_the_others_of_the_group_may_clean_up(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell dies from SIGTERM at once."""
    monkeypatch.setattr(command_module, "GRACE", 60.0)
    clean_up = "trap 'sleep 0.3; echo cleaned; exit' TERM; echo ready; while :; do sleep 0.01; done"
    assert run_and_stop(commands, f"({clean_up}) & wait", b"ready").exit_code == -signal.SIGTERM
    assert commands.out == b"ready\ncleaned\n"


def test_a_command_that_is_ended_takes_no_part_of_the_value_for_all(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads what the pipe holds, but no end of file."""
    monkeypatch.setattr(command_module, "GRACE", 60.0)
    pids: list[int] = []
    script = "trap 'cat; echo complete' TERM; echo ready; sleep 1000 & wait"
    with commands.runner("sh", "-c", script) as runner, ThreadPoolExecutor() as pool:
        done = pool.submit(runner.run, "x" * 1_000_000, None, lambda pid, _: pids.append(pid))
        wait_until(lambda: b"ready" in commands.out, lambda: "the script is never ready")
        runner.stop()
        wait_until(lambda: len(commands.out) > 65_000, lambda: "the script does not read")
        os.killpg(pids[0], signal.SIGKILL)
        assert done.result().stopped
    assert b"complete" not in commands.out


def test_stop_ends_all_commands_and_starts_no_more(commands: Commands) -> None:
    with commands.runner("sh", "-c", "echo $$; exec sleep 1000") as runner, ThreadPoolExecutor(8) as pool:
        running = [pool.submit(runner.run, "value", None, ignore) for _ in range(8)]
        wait_until(lambda: len(commands.out.split()) == 8, lambda: "not all run")
        runner.stop()
        for outcome in [one.result() for one in running]:
            assert (outcome.exit_code, outcome.stopped) == (-signal.SIGTERM, True)
            assert outcome.error == "sh was stopped"
        assert all(is_gone(int(pid)) for pid in commands.out.split())
        assert runner.run("value", None, ignore).stopped
        assert len(commands.out.split()) == 8, "no other command starts"


def test_an_error_when_it_has_started_ends_it(commands: Commands) -> None:
    pids: list[int] = []

    def fail(pid: int, started: str | None) -> None:
        pids.append(pid)
        raise LookupError

    with commands.runner("touch", "started") as runner, pytest.raises(LookupError):
        runner.run("value", None, fail)
    assert not has_living_member(pids[0])
    assert not Path("started").exists()


def test_it_waits_for_the_callback(commands: Commands) -> None:
    seen: list[bool] = []

    def look(pid: int, started: str | None) -> None:
        assert started
        assert os.getpgid(pid) == os.getsid(pid) == pid
        seen.append(Path("started").exists())

    with commands.runner("touch", "started") as runner:
        assert runner.run("value", None, look).error is None
    assert seen == [False]
    assert Path("started").exists()


def many(commands: Commands, count: int) -> None:
    """Run commands in eight threads, and look for what they leave."""
    me = psutil.Process()

    def resources() -> tuple[int, int, int]:
        return me.num_fds(), len(me.children()), threading.active_count()

    before = resources()
    with commands.runner("sh", "-c", 'read -r n; echo "$n"; exit $((n % 2))') as runner:
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda number: runner.run(f"{number}\n", None, ignore), range(count)))
        assert [outcome.exit_code for outcome in outcomes] == [number % 2 for number in range(count)]
        assert resources()[1] == before[1] + 1, "there is only the guard"
    assert all(now <= was for now, was in zip(resources(), before, strict=True))  # an earlier test's thread may end now
    assert sorted(map(int, commands.out.split())) == list(range(count))


@pytest.mark.slow
@pytest.mark.systems
def test_hundreds_of_commands_leave_nothing(commands: Commands) -> None:
    many(commands, 500)


def test_without_pidfd_and_waitid(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, before Python 3.13 and later."""
    monkeypatch.setattr(system, "here", Portable)
    assert commands.sh("echo x >&2; exit 3").error == "sh exited with 3: x"
    monkeypatch.delattr("os.waitid", raising=False)
    assert commands.sh("echo x >&2; exit 3").error == "sh exited with 3: x"
    monkeypatch.setattr(command_module, "GRACE", 60.0)
    run_and_stop(commands, "sleep 1000 & echo $! ready; wait", b"ready")
    assert is_gone(int(commands.out.split()[-2]))


@pytest.mark.slow
@pytest.mark.systems
def test_an_ignored_sigchld_is_never_taken_for_success(tmp_path: Path) -> None:
    """The system then throws exit codes away, and `subprocess` says 0."""
    script = """
import signal
from zrb_store.shell.command import CommandRunner
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with CommandRunner(["false"], stdout=1, stderr=2) as runner:
    print(runner.run("", None, lambda *_: None))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("ChildProcessError")
