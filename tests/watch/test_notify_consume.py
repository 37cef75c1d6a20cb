"""`zrb-store consume` starts the command of ZRB_STORE_NOTIFY, and after its death others do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell.consumers import Shell, shells
from tests.watch.alerts import Told, events
from zrb_store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path, location: str) -> Iterator[Shell]:
    (tmp_path / "shell").mkdir()
    yield from shells(tmp_path / "shell", location)


@pytest.fixture
def silent(tmp_path: Path) -> Told:
    """What was told, by processes that get the setting one by one."""
    return Told(tmp_path / "told")


def test_a_command_that_fails_and_the_value_that_dies(store: Store, shell: Shell, silent: Told) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.max_deliveries = 1
    queue.push("a")
    args = shell.script("exit 7", "--as", "worker")
    ended = shell(*args, ZRB_STORE_NOTIFY=silent.command)
    assert ended.code == 1
    told = silent.until(2)
    assert events(told) == [("dead", "inbox"), ("failed", "worker")]
    [dead] = [one for one in told if one["EVENT"] == "dead"]
    assert dead["VALUE"] == "inbox/files#1"
    assert dead["ERROR"].startswith("inbox/files: CommandFailed: ")


def test_it_tells_nothing_if_all_goes_well(store: Store, shell: Shell, silent: Told) -> None:
    store.session("inbox").xcom["files"].push("a")
    assert shell(*shell.script("exit 0"), ZRB_STORE_NOTIFY=silent.command).code == 0
    assert shell(*shell.script("exit 0"), ZRB_STORE_NOTIFY=silent.command).code == 3, "there is no value"
    assert silent.so_far() == []


def test_a_second_signal_interrupts_it(store: Store, shell: Shell, silent: Told) -> None:
    store.session("inbox").xcom["files"].push("a")
    args = shell.script("echo $1 > began; sleep 60", "--as", "worker")
    consumer = shell.start(*args, ZRB_STORE_NOTIFY=silent.command)
    shell.until_file("began")
    consumer.signal(signal.SIGINT)
    consumer.signal(signal.SIGTERM)
    consumer.wait()
    assert events(silent.until(1)) == [("interrupted", "worker")]


def test_after_a_kill_the_next_one_tells_of_it_once(store: Store, shell: Shell, silent: Told) -> None:
    store.session("inbox").xcom["files"].push("a")
    args = shell.script("echo $1 > began; sleep 60", "--as", "worker")
    consumer = shell.start(*args, ZRB_STORE_NOTIFY=silent.command)
    shell.until_file("began")
    consumer.kill()
    shell.until(lambda: store.session("worker").status == "stale", "it lives")
    for _ in range(2):
        ended = shell(*shell.script("exit 0", "--as", "next", "--wait", "60"), ZRB_STORE_NOTIFY=silent.command)
        assert ended.code == 0
        store.session("inbox").xcom["files"].push("b")
    assert events(silent.until(1)) == [("stale", "worker")]
