"""What a consumer does with the output of a command, and with a command that does not read its stdin."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.shell.commands import Commands, ignore, is_gone
from tests.support.postgres import DEADLINE, wait_until
from zrb_store import masking
from zrb_store.shell import command as streams
from zrb_store.shell.command import KEPT, CommandRunner


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path)


def test_output_goes_on_unchanged(commands: Commands) -> None:
    data = bytes(range(256)) * 4000
    Path("data").write_bytes(data)
    outcome = commands.sh("cat data; cat data >&2; exit 1")
    assert (commands.out, commands.err) == (data, data)
    assert len(outcome.output.encode()) <= KEPT
    assert re.search(r"\\xff", outcome.output)
    assert (outcome.error or "").isprintable()


def test_output_goes_on_as_it_comes(commands: Commands) -> None:
    with ThreadPoolExecutor() as pool:
        done = pool.submit(commands.sh, "echo first; until [ -e go ]; do sleep 0.01; done; echo second")
        wait_until(lambda: Path("out").exists() and commands.out == b"first\n", lambda: "nothing comes")
        Path("go").touch()
        assert done.result().error is None
    assert commands.out == b"first\nsecond\n"


def test_the_end_of_a_flood_is_kept(commands: Commands) -> None:
    outcome = commands.sh("yes | head -c 20000000; echo; printf last; exit 1")
    assert len(commands.out) == 20_000_005
    assert outcome.output == commands.out[-KEPT:].decode()
    assert outcome.error == "sh exited with 1"  # what it wrote to stdout is no error
    long_line = commands.sh("yes | head -c 100000 | tr -d '\\n' >&2; exit 1").error
    assert long_line
    assert len(long_line) < 250


def test_secrets_that_a_command_prints_are_masked(commands: Commands) -> None:
    masking.remember("s3cret")
    outcome = commands.sh("echo the password is s3cret >&2; exit 1")
    assert (outcome.error, outcome.output) == ("sh exited with 1: the password is ***", "the password is ***\n")
    # Where the kept part begins, a secret is cut in two.
    outcome = commands.sh(f"printf s3cret; yes | head -c {KEPT - 3}; exit 1")
    assert "ret" not in outcome.output


def test_a_command_that_closes_everything(commands: Commands) -> None:
    outcome = commands.sh("exec <&- >&- 2>&-; sleep 0.1; exit 4", text="x" * 1_000_000)
    assert outcome.error == "sh exited with 4"


def test_a_command_that_reads_nothing_or_a_part(commands: Commands) -> None:
    assert commands("true", text="x" * 10_000_000).error is None
    assert commands("head", "-c", "3", text="x" * 10_000_000).error is None
    assert commands.out == b"xxx"


def test_a_background_process_that_holds_the_pipes(commands: Commands) -> None:
    """After success it is left alone, and what the command wrote before has arrived."""
    outcome = commands.sh("sleep 1000 & echo $!; yes | head -c 60000")
    background = int(commands.out.split()[0])
    try:
        assert outcome.error is None
        assert len(commands.out.partition(b"\n")[2]) == 60_000
        assert not is_gone(background)
    finally:
        os.kill(background, signal.SIGKILL)


def test_a_flood_from_the_background_ends_nothing(commands: Commands) -> None:
    assert commands.sh("yes & exit 0").error is None


def test_a_reader_that_goes_away_does_not_end_the_command(commands: Commands) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with CommandRunner(["sh", "-c", "yes | head -c 1000000; exit 3"], stdout=writing, stderr=writing) as runner:
        outcome = runner.run("value", None, ignore)
    os.close(writing)
    assert outcome.exit_code == 3
    assert outcome.error == "sh exited with 3"


def test_a_reader_that_pauses_hinders_no_timeout(commands: Commands) -> None:
    reading, writing = os.pipe()
    pids: list[int] = []

    def note(pid: int, started: str | None) -> None:
        pids.append(pid)

    with (
        CommandRunner(["yes"], stdout=writing, stderr=writing, timeout=0.5) as runner,
        ThreadPoolExecutor(8) as pool,
    ):
        running = [pool.submit(runner.run, "value", None, note) for _ in range(8)]
        wait_until(lambda: len(pids) == 8 and all(map(is_gone, pids)), lambda: "no timeout")
        runner.stop()  # otherwise what they have written would be waited for
        assert all(one.result().error for one in running)
    os.close(reading)
    os.close(writing)


def test_a_paused_reader_gets_everything(commands: Commands) -> None:
    reading, writing = os.pipe()
    script = "head -c 130000 /dev/zero; touch written"
    with CommandRunner(["sh", "-c", script], stdout=writing, stderr=writing) as runner, ThreadPoolExecutor() as pool:
        done = pool.submit(runner.run, "value", None, ignore)
        wait_until(Path("written").exists, lambda: "it does not write")
        received = 0
        while received < 130_000:
            received += len(os.read(reading, 1000))
        assert done.result().error is None
    os.close(reading)
    os.close(writing)


def test_two_commands_do_not_fill_the_last_place_of_a_pipe_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both see that there is one, and the slower one would wait for the reader."""
    is_ready, both = streams._is_ready, threading.Barrier(2)

    def look(target: int, events: int) -> bool:
        found = is_ready(target, events)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return found

    monkeypatch.setattr(streams, "_is_ready", look)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    os.read(reading, 4096)
    script = "head -c 4096 /dev/zero"
    with CommandRunner(["sh", "-c", script], stdout=writing, stderr=writing) as runner, ThreadPoolExecutor() as pool:
        running = [pool.submit(runner.run, "", None, ignore) for _ in range(2)]
        wait_until(lambda: any(one.done() for one in running), lambda: "neither writes")
        runner.stop()
        assert all(one.result(DEADLINE) for one in running)
    os.close(reading)
    os.close(writing)
