"""Commands of `consume` in queues that are paused, while they are stopped, and while the store is away."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.shell.consumers import Shell
from tests.support.commands import Commands
from tests.support.consumers import deliveries_of, unavailable_at
from tests.support.rows import faults, query, states
from zrb_store import Store
from zrb_store.operations.values import set_paused
from zrb_store.run.deliveries import Consumer
from zrb_store.shell import consumer as shell_consumer
from zrb_store.shell.command import CommandRunner
from zrb_store.shell.consumer import ShellConsumer

pytestmark = pytest.mark.usefixtures("sound")

PAUSED = "`zrb-store queue inbox files --unpause`"


@pytest.mark.long_on_postgresql
def test_a_paused_queue_has_nothing(command: Commands, shell: Shell, inbox: Any) -> None:
    command.ok("queue", "inbox", "files", "--pause")
    for options in ([], ["--all"], ["--wait", "0.1"]):
        ended = shell("inbox", "files", *options, "--", "false")
        assert (ended.code, ended.out, ended.err.count("\n"), PAUSED in ended.err) == (3, "", 1, True)
        assert ended.err.startswith("zrb-store: ") == ("--wait" not in options), "a refusal has its program before it"


@pytest.mark.long_on_postgresql
def test_a_consumer_waits_and_goes_on(shell: Shell, store: Store, inbox: Any) -> None:
    set_paused(store.database, "inbox", "files", True)
    consumer = shell.start_sh('echo "$1" >> done', "--forever")
    consumer.wait_for(PAUSED)
    set_paused(store.database, "inbox", "files", False)
    consumer.wait_for("inbox/files#3: completed")
    set_paused(store.database, "inbox", "files", True)
    Shell.until(lambda: consumer.err.count(PAUSED) == 2, "it does not say that it waits again")
    consumer.is_told(signal.SIGTERM)
    assert consumer.wait().err.count(PAUSED) == 2
    assert (shell.folder / "done").read_text() == "a\nb\nc\n"


@pytest.mark.promise(number=5)
def test_a_consumer_finishes_the_command_in_hand(store: Store, shell: Shell, command: Commands) -> None:
    store.session("inbox").xcom["files"].extend(["a", "b", "c"])
    script = 'echo "$1" >>began; while [ ! -e go ]; do sleep 0.02; done; test "$1" = a'
    consumer = shell.start_sh(script, "--forever", "-j", "2", "--as", "me")
    shell.until(
        lambda: (shell.folder / "began").exists() and len((shell.folder / "began").read_text()) == 4, "no start"
    )
    result = command("stop", "me", "--timeout", "0s")
    assert result.code == 1
    (shell.folder / "go").touch()
    consumer.wait()
    assert store.session("me").status == "interrupted"
    assert sorted(query(store, "SELECT status FROM zrb_attempt")) == [("completed",), ("failed",)]
    assert [state for _, state in states(store, "inbox", "files")] == ["taken", "live", "live"]
    assert faults(store) == []


@pytest.mark.parametrize("point", ["complete:after", "fail:after"])
def test_workers_go_on_after_an_end_whose_commit_was_in_doubt(
    store: Store, inbox: Any, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(shell_consumer, "_PATIENCE", 0.01)
    monkeypatch.setattr(Consumer, "announced_pause", lambda self: 0.0)
    exit_code = int(point == "fail:after")
    with CommandRunner(["sh", "-c", f"exit {exit_code}"], stdout=1, stderr=2) as runner:
        unavailable_at(point)
        options: Any = {"name": "worker", "wait": 0.0, "only_one": False, "jobs": 1}
        consumer = ShellConsumer(store, inbox, runner, text=str, report=lambda line: None, **options)
        consumer.consume()
    assert consumer.tally == {"failed" if exit_code else "completed": 3}
    assert deliveries_of(store) == [exit_code] * 3
