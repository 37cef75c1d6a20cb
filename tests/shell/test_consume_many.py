"""`zrb-store consume` for many values: `--all`, `--forever` and `-j`, and the signals that end it."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.shell.consumers import Consumer, Shell, fill
from tests.support.rows import query, states
from zrb_store import Store
from zrb_store.shell.command import CommandRunner
from zrb_store.shell.consumer import ShellConsumer

pytestmark = [pytest.mark.long_on_postgresql, pytest.mark.usefixtures("sound")]

WORK = 'echo "$1" >>started; while [ ! -e go ]; do sleep 0.02; done; echo "$1" >>done'
"""A script that works until the file `go` is there."""

LIBC = ctypes.CDLL(None)


def taken(store: Store) -> list[str]:
    return [state for _, state in states(store, "inbox", "files")]


def deliveries(store: Store) -> list[int]:
    return [count for (count,) in query(store, "SELECT failed_deliveries FROM zrb_value ORDER BY seq")]


def until_started(shell: Shell, count: int) -> list[str]:
    """Wait until this many values are being worked on, and return them."""
    file = shell.folder / "started"
    shell.until(lambda: file.exists() and file.read_text().count("\n") >= count, "the scripts do not start")
    return sorted(file.read_text().split())


def test_all_takes_what_is_there_in_order(store: Store, shell: Shell) -> None:
    fill(store, *"abcd")
    ended = shell.sh('echo "$1"', "--all")
    assert (ended.code, ended.out) == (0, "a\nb\nc\nd\n")
    assert [line.partition(" ")[0] for line in ended.err.splitlines()] == [f"inbox/files#{seq}:" for seq in range(1, 5)]
    assert taken(store) == ["taken"] * 4
    assert query(store, "SELECT count(*), min(status), max(status) FROM zrb_attempt") == [(4, "completed", "completed")]


@pytest.mark.promise(number=10)
def test_all_passes_over_what_fails(store: Store, shell: Shell) -> None:
    fill(store, *"abcd")
    script = 'echo "$1"; [ "$1" != b ] && [ "$1" != c ]'
    ended = shell.sh(script, "--all")
    assert (ended.code, ended.out) == (1, "a\nb\nc\nd\n")
    assert taken(store) == ["taken", "live", "live", "taken"]
    assert shell.sh(script, "--all", "-q") == (1, "b\nc\n", "")  # another process tries them again
    assert shell.sh("exit 0", "--all", "--wait", "0.2").code == 0
    assert deliveries(store) == [0, 2, 2, 0]


def test_all_waits_for_the_next_value(store: Store, shell: Shell) -> None:
    fill(store, "a")
    consumer = shell.start_sh('echo "$1"; [ "$1" != c ]', "--all", "--wait", "300", "--as", "me")
    for value in "bc":
        shell.until(lambda: "live" not in taken(store), "a value is left")
        fill(store, value)
    shell.until(lambda: consumer.out == "a\nb\nc\n", "a value is left")
    consumer.wait_for("delivery 1)")
    consumer.signal(signal.SIGTERM)
    assert consumer.wait().code == 128 + signal.SIGTERM


def test_several_at_a_time(store: Store, shell: Shell) -> None:
    fill(store, *"abcde")
    consumer = shell.start_sh(f'{WORK}; [ "$1" != b ]', "--all", "-j", "3")
    assert until_started(shell, 3) == ["a", "b", "c"]
    assert query(store, "SELECT count(*) FROM zrb_attempt WHERE status = 'running'") == [(3,)]
    assert taken(store) == ["taken", "taken", "taken", "live", "live"]
    (shell.folder / "go").touch()
    assert consumer.wait().code == 1
    assert taken(store) == ["taken", "live", "taken", "taken", "taken"]
    assert sorted((shell.folder / "done").read_text().split()) == ["a", "b", "c", "d", "e"]
    assert query(store, "SELECT count(*) FROM zrb_run") == [(1,)]


def test_no_more_than_n_at_a_time(store: Store, shell: Shell) -> None:
    fill(store, *range(12))
    script = "mkdir on-$$; ls -d on-* | wc -l; rmdir on-$$"
    ended = shell.sh(script, "--all", "-j", "2", "-q")
    assert ended.code == 0
    assert set(ended.out.split()) <= {"1", "2"}
    assert taken(store) == ["taken"] * 12


@pytest.mark.on_sqlite
def test_the_lines_of_several_threads_are_not_mixed(store: Store, shell: Shell) -> None:
    fill(store, *range(60))
    ended = shell("inbox", "files", "--all", "-j", "20", "--", "true")
    assert ended.code == 0
    assert len(ended.err.splitlines()) == 60
    assert all(re.fullmatch(r"inbox/files#\d+: completed in \d+\.\d s", line) for line in ended.err.splitlines())


def test_it_is_no_fault_of_the_value_if_no_process_can_be_started(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    fill(store, "a")
    monkeypatch.setattr("zrb_store.shell.command.Child", refuse)
    said: list[str] = []
    files = store.session("inbox").xcom["files"]
    with (tmp_path / "out").open("w") as out, CommandRunner(["true"], stdout=out.fileno(), stderr=out.fileno()) as run:
        consumer = ShellConsumer(
            store, files, run, name="me", wait=0.0, only_one=True, jobs=1, text=str, report=said.append
        )
        consumer.consume()
    (line,) = said
    assert f"the system cannot start a command: [Errno {errno.EAGAIN}]" in line
    assert line.endswith(" (given back, and not counted as a delivery)")
    assert consumer.tally == {"failed": 1}
    assert deliveries(store) == [0]


@pytest.mark.promise(number=10)
def test_a_value_that_fails_too_often_dies(store: Store, shell: Shell) -> None:
    fill(store, "poison", "good")
    store.session("inbox").xcom["files"].max_deliveries = 2
    script = '[ "$1" != poison ]'
    ended = shell.sh(script, "--all")
    assert ended.code == 1
    assert "inbox/files#1: sh exited with 1 (given back, delivery 1 of 2)\n" in ended.err
    ended = shell.sh(script, "--all")
    assert ended.code == 1
    assert ended.err == (
        "inbox/files#1: sh exited with 1 (delivery 2 of 2: dead, `zrb-store show inbox files --dead` shows more)\n"
    )
    assert states(store, "inbox", "files") == [("poison", "dead"), ("good", "taken")]
    assert shell.sh(script, "--all").code == 3


def test_forever_tries_again_what_failed(store: Store, shell: Shell) -> None:
    fill(store, "a")
    consumer = shell.start_sh('echo "$1"; [ -e mended ] || [ "$1" = new ]', "--forever")
    shell.until(lambda: consumer.out.count("a\n") >= 3, "it does not try again")
    fill(store, "new")
    consumer.wait_for("#2: completed")
    (shell.folder / "mended").touch()
    consumer.wait_for("#1: completed")
    consumer.signal(signal.SIGTERM)
    assert consumer.wait().code == 1
    assert taken(store) == ["taken", "taken"]


def test_while_it_passes_over_a_value_new_ones_are_taken_at_once(store: Store, shell: Shell) -> None:
    fill(store, "a")
    first_pause = {"zrb_store.run.deliveries:_FIRST_PAUSE": "1000", "zrb_store.run.deliveries:_LONGEST_PAUSE": "1000"}
    consumer = shell.start_sh('[ "$1" != a ]', "--forever", **first_pause)
    consumer.wait_for("#1: sh exited with 1")
    fill(store, "b")
    consumer.wait_for("#2: completed")
    fill(store, "c")
    consumer.wait_for("#3: completed")
    consumer.signal(signal.SIGTERM)
    assert consumer.wait().code == 1
    assert deliveries(store) == [1, 0, 0]


@pytest.mark.on_sqlite
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_signal_lets_it_finish(store: Store, shell: Shell, number: signal.Signals, jobs: str) -> None:
    fill(store, *"abc")
    consumer = shell.start_sh(WORK, "--forever", "-j", jobs)
    working = until_started(shell, int(jobs))
    consumer.is_told(number)
    (shell.folder / "go").touch()
    ended = consumer.wait()
    assert ended.code == 0
    assert taken(store) == ["taken"] * int(jobs) + ["live"] * (3 - int(jobs))
    assert sorted((shell.folder / "done").read_text().split()) == working
    assert query(store, "SELECT status FROM zrb_run") == [("completed",)]


@pytest.mark.on_sqlite
@pytest.mark.parametrize("options", [(), ("--all",), ("--all", "-j", "2")])
def test_a_signal_is_in_the_exit_code_unless_it_was_to_go_on_for_ever(
    store: Store, shell: Shell, options: tuple[str, ...]
) -> None:
    fill(store, *"abc")
    consumer = shell.start_sh(WORK, *options)
    working = until_started(shell, 1 + ("-j" in options))
    consumer.is_told(signal.SIGTERM)
    (shell.folder / "go").touch()
    assert consumer.wait().code == 128 + signal.SIGTERM
    assert taken(store).count("taken") == len(working)


@pytest.mark.on_sqlite
@pytest.mark.promise(number=10)
@pytest.mark.parametrize("options", [(), ("--forever",), ("--forever", "-j", "2")])
def test_the_second_signal_gives_back_at_once(store: Store, shell: Shell, options: tuple[str, ...]) -> None:
    fill(store, *"ab")
    consumer = shell.start_sh(WORK, "--as", "me", *options)
    until_started(shell, 1 + ("-j" in options))
    pids = commands_of(consumer)
    assert pids
    consumer.signal(signal.SIGINT)
    consumer.signal(signal.SIGTERM)
    ended = consumer.wait()
    assert ended.code == 128 + signal.SIGINT
    assert "inbox/files#1: sh was stopped (given back, and not counted as a delivery)" in ended.err
    assert taken(store) == ["live", "live"]
    assert deliveries(store) == [0, 0]
    assert not any(map(psutil.pid_exists, pids))
    assert query(store, "SELECT DISTINCT status FROM zrb_attempt") == [("interrupted",)]
    assert query(store, "SELECT status FROM zrb_run") == [("interrupted",)]
    assert store.session("me").status == "interrupted"


def commands_of(consumer: Consumer) -> list[int]:
    """Return the pids of the commands of a consumer."""
    return [child.pid for child in psutil.Process(consumer.pid).children() if "zrb-store-guard" not in child.cmdline()]


@pytest.mark.parametrize("options", [("--wait", "300"), ("--forever",), ("--all", "--wait", "300", "-j", "2")])
def test_a_signal_ends_the_waiting(store: Store, shell: Shell, options: tuple[str, ...]) -> None:
    fill(store, "a")
    store.session("inbox").xcom["files"].popleft()
    consumer = shell.start_sh("exit 0", *options)
    # It has its handlers when it looks at the queue.
    shell.until(lambda: handles(consumer, signal.SIGTERM), "it never begins")
    consumer.signal(signal.SIGTERM)
    ended = consumer.wait()
    assert ended.code == (0 if "--forever" in options else 128 + signal.SIGTERM)
    assert len(ended.err.splitlines()) <= 1


def handles(consumer: Consumer, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{consumer.pid}/status").read_text()
    (mask,) = [line.partition(":")[2] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not hasattr(LIBC, "tgkill"), reason="a signal cannot be sent to a thread here")
@pytest.mark.on_sqlite
def test_a_signal_that_does_not_interrupt_the_main_thread(store: Store, shell: Shell) -> None:
    """As one that comes just before the main thread begins to wait."""
    fill(store, "a")
    consumer = shell.start_sh("exit 0", "--forever")
    consumer.wait_for("#1: completed")
    other = next(one.id for one in psutil.Process(consumer.pid).threads() if one.id != consumer.pid)
    LIBC.tgkill(consumer.pid, other, signal.SIGTERM)
    assert consumer.wait().code == 0


@pytest.mark.on_sqlite
def test_a_signal_ends_the_pause(store: Store, shell: Shell) -> None:
    fill(store, *"abc")
    pause = {"zrb_store.run.deliveries:_FIRST_PAUSE": "1000", "zrb_store.run.deliveries:_LONGEST_PAUSE": "1000"}
    consumer = shell.start_sh("exit 1", "--all", **pause)
    consumer.wait_for("#2: sh exited with 1")
    consumer.signal(signal.SIGTERM)
    assert consumer.wait().code == 128 + signal.SIGTERM
    assert deliveries(store) == [1, 1, 0]


@pytest.mark.on_sqlite
def test_ctrl_c_in_a_terminal_reaches_only_the_consumer(store: Store, shell: Shell) -> None:
    fill(store, "a")
    consumer = shell.start_sh(WORK, "--forever")
    until_started(shell, 1)
    os.killpg(consumer.pid, signal.SIGINT)
    (shell.folder / "go").touch()
    assert consumer.wait().code == 0
    assert taken(store) == ["taken"]


@pytest.mark.on_sqlite
def test_retention_applies_between_values(store: Store, shell: Shell) -> None:
    fill(store, *range(5))
    environment = {
        "ZRB_STORE_RETENTION": "0s,keep=1",
        "zrb_store.shell.consumer:_RETENTION_EVERY": "0",
        "zrb_store.operations.prune:_DAY": "0",
    }
    consumer = shell.start_sh("exit 0", "--forever", **environment)
    consumer.wait_for("#5: completed")
    shell.until(lambda: len(taken(store)) < 5, "nothing is pruned")
    consumer.signal(signal.SIGTERM)
    assert consumer.wait().code == 0
