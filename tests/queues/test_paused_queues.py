"""`queue --pause`: consumers and `pop` from a shell find nothing in the queue; everybody else goes on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.commands import Commands
from tests.support.consumers import taken
from tests.support.sessions import parse
from zrb_store import Store
from zrb_store.inspect.queues import queue_overview
from zrb_store.records import iso

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]

PAUSED = "queue 'files' of session inbox is paused: `zrb-store queue inbox files --unpause` lets consumers continue\n"


def test_consumers_and_the_shell_find_nothing_and_others_go_on(
    command: Commands, store: Store, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    command.ok("queue", "inbox", "files", "--pause")
    for wait in ([], ["--wait", "0.1"]):
        assert tuple(command("pop", "inbox", "files", *wait)) == (3, "", f"zrb-store: {PAUSED}")
    with store.session("worker").run() as run:
        assert taken(run, inbox, wait=0.1) == []
        assert [record.getMessage() for record in caplog.records] == [PAUSED.strip()]
        with run.attempt("load"):
            assert inbox.pop() == "a"
    inbox.push("d")
    assert inbox.pop() == "b"
    command.ok("queue", "inbox", "files", "--unpause")
    assert command.ok("pop", "inbox", "files") == "c\n"
    with store.session("worker").run(again=True) as run:
        assert taken(run, inbox) == ["d"]


def test_it_is_shown_and_recorded_once(command: Commands, store: Store, inbox: Any) -> None:
    shown = [parse("queue", command.ok("queue", "inbox", "files", "--pause", "--json")) for _ in range(2)]
    assert shown[0] == shown[1]
    assert "Paused          since 20" in command.ok("queue", "inbox", "files")
    queue = parse("show", command.ok("show", "inbox", "--json"))["queues"]["files"]
    assert queue["paused_at"] == shown[0]["paused_at"] is not None
    assert ", paused since " in command.ok("show", "inbox")
    (summary,), _ = queue_overview(store.database)
    assert iso(summary.state.paused_at) == shown[0]["paused_at"]
    command.ok("queue", "inbox", "files", "--unpause", "--max-deliveries", "5")
    changes = parse("log", command.ok("log", "inbox", "--json"))["changes"]
    assert [change["detail"] for change in changes] == ["files: paused", "files: max_deliveries 5", "files: unpaused"]
    assert "aused" not in command.ok("queue", "inbox", "files")
    wrong = command("queue", "inbox", "file", "--pause")
    assert (wrong.code, wrong.err) == (3, "zrb-store: session inbox has no queue 'file'; did you mean files?\n")
