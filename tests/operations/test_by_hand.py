"""Who pushed or took a value from a shell: `show`, `trace` and `get` say by which user, host and pid."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.rows import faults
from tests.support.sessions import parse, parse_lines, show
from tests.support.terminals import MAIN
from zrb_store import Store
from zrb_store.db.tables import change
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.show import open_session
from zrb_store.queries import by_hand
from zrb_store.queries.by_hand import Act, record_change
from zrb_store.records import MAX_ROWS, Lazy, iso

ME = {"user": getpass.getuser(), "host": socket.gethostname()}


# The fixture names the store to the processes that these tests start.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("command")]


POP = ("pop", "inbox", "files")
PUSH = ("push", "--text", "inbox", "files", "a")


def process(*args: str) -> dict[str, Any]:
    """Run a command in a process of its own, and return who that was."""
    with subprocess.Popen([*MAIN, *args], stdout=subprocess.PIPE, text=True) as process:
        process.communicate()
    assert process.returncode == 0
    return {**ME, "pid": process.pid, "reason": None}


HERE = {**ME, "pid": os.getpid(), "reason": None}
"""Who runs a command in this process."""


def poppers(store: Store, name: str = "files", **options: Any) -> list[tuple[int, int | None]]:
    """Return the seq of each value that was taken, and the pid of who took it from a shell."""
    values = show(store.database, "inbox", **options)["queues"][name]["values"]
    taken = [value for value in values if value["state"] == "taken"]
    return [(value["seq"], value["taken_from"] and value["taken_from"]["pid"]) for value in taken]


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=3)
def test_show_trace_and_get_say_who_pushed_and_took_a_value(command: Commands, store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    sender = process(*PUSH)
    queue.extend(["b", "c", "d"])
    who = process(*POP)
    queue.pop()  # in Python, outside any attempt: nobody records it
    with store.session("s").run() as run, run.attempt("t"):
        store.session("inbox").xcom["files"].pop()
    values = parse("show", command.ok("show", "inbox", "--format", "json"))["queues"]["files"]["values"]
    assert [value["taken_from"] for value in values] == [who, None, None, None]
    assert [value["pushed_from"] for value in values] == [sender, None, None, None]
    assert [value["taken_by"] for value in values] == [None, None, "s/t#1", None]
    assert parse_lines("value", command.ok("show", "inbox", "--format", "jsonl")) == values
    text = command.ok("show", "inbox")
    clock = r"\d\d:\d\d:\d\dZ"
    assert re.search(rf"taken by {ME['user']}, pid {who['pid']} on {ME['host']}, at {clock}\n", text)
    assert re.search(rf"#1  .* {ME['user']}, pid {sender['pid']} on {ME['host']}  +taken by", text)
    assert re.search(r"#2  .* -  +taken at", text), "a push in Python"
    assert re.search(rf" taken at {clock}\n", text), "a pop in Python"
    assert "taken by s/t#1\n" in text

    traced = parse("trace", command.ok("trace", "inbox/files#1", "--format", "json"))
    assert traced["value"] == values[0]
    assert [(each["event"], each["by"], each["pushed_from"], each["taken_from"]) for each in traced["events"]] == [
        ("pushed", None, sender, None),
        ("taken", None, None, who),
    ]
    assert traced["events"][1]["at"] == values[0]["taken_at"]
    trace = command.ok("trace", "inbox/files#1")
    assert re.search(rf" pushed +{ME['user']}, pid {sender['pid']} on {ME['host']}$", trace, re.MULTILINE)
    state, event = (line for line in trace.splitlines() if "taken" in line)
    assert f"taken by {ME['user']}, pid {who['pid']} on {ME['host']}, at " in state
    assert f"{ME['user']}, pid {who['pid']} on {ME['host']}" in event
    got = command.ok("get", "inbox", "files", "--seq", "1", "--format", "table")
    assert f"pid {who['pid']} on" in got
    assert f" by {ME['user']}, pid {sender['pid']} on {ME['host']}\n" in got
    assert json.loads(command.ok("get", "inbox", "files", "--seq", "1", "--format", "json"))["taken_from"] == who
    assert json.loads(command.ok("get", "inbox", "files", "--seq", "2", "--format", "json"))["taken_from"] is None


def test_a_push_is_shown_at_every_moment_after_it(store: Store, command: Commands) -> None:
    command.ok(*PUSH)
    command.ok(*POP)
    (value,) = show(store.database, "inbox")["queues"]["files"]["values"]
    (then,) = show(store.database, "inbox", at=value["pushed_at"])["queues"]["files"]["values"]
    assert (then["state"], then["pushed_from"], then["taken_from"]) == ("live", HERE, None)


@pytest.mark.on_sqlite
def test_what_a_command_pushes_in_an_attempt_is_the_attempts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.session("inbox").run() as run, run.attempt("t") as attempt:
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
        process(*PUSH)
        (value,) = show(store.database, "inbox")["queues"]["files"]["values"]
    assert (value["pushed_by"], value["pushed_from"]) == ("t#1", None)


def test_before_it_was_taken_nobody_had_taken_it(store: Store, command: Commands) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.push("a")
    run = store.session("s").run().start()
    attempt = run.begin("t")
    store.session("inbox").xcom.bound_to(attempt)["files"].pop()
    attempt.fail(KeyError())
    run.end("failed")
    (held,) = show(store.database, "inbox")["queues"]["files"]["values"][0]["returns"]
    store.database.execute(sa.text("DELETE FROM zrb_session WHERE name = 's'"))
    command.ok(*POP)
    assert poppers(store) == [(1, HERE["pid"])]
    assert poppers(store, at=held["taken_at"]) == [(1, None)], "then an attempt held it, which was deleted since"
    assert poppers(store, at=held["returned_at"]) == []
    assert poppers(store, at="2099-01-01") == [(1, HERE["pid"])]


@pytest.mark.promise(number=3)
@pytest.mark.long_on_postgresql
def test_every_queue_and_number_finds_its_own(store: Store, command: Commands) -> None:
    session = store.session("inbox")
    names = ["files", "files#1", "#", "-", "7", "fi les-3"]
    for name in names:
        queue = session.xcom[name]
        queue.extend(range(MAX_ROWS if name == "files" else 30))
        queue.appendleft("first")  # its number is 0
        queue.appendleft("before")  # -1
        for number in range(4):
            command.ok("push", "inbox", name, str(number))
        for number in range(12):
            if number % 3:
                assert command.ok("pop", "inbox", name)
            else:
                queue.pop()
    # The same numbers in another session, and other things that were done by hand.
    other = store.session("other").xcom["files"]
    other.extend([1, 2])
    command.ok("pop", "other", "files")
    command.ok("pin", "inbox")
    store.database.execute(sa.update(change).values(pid=change.c.id))
    recorded, pushed = (
        {
            (session, detail): pid
            for session, detail, pid in store.database.execute(
                sa.select(change.c.session, change.c.detail, change.c.pid).where(change.c.action == action)
            )
        }
        for action in ("pop", "push")
    )
    assert (len(recorded), len(pushed)) == (8 * len(names) + 1, 4 * len(names))
    for name in names:
        found = poppers(store, name)
        assert found == [(seq, recorded.get(("inbox", f"{name}#{seq}"))) for seq, _ in found]
        assert [bool(pid) for _, pid in found] == [bool(number % 3) for number in range(12)]
        assert poppers(store, name, queue=name) == found
        values = list(show(store.database, "inbox")["queues"][name]["values"])
        senders = [value["pushed_from"] and value["pushed_from"]["pid"] for value in values]
        assert senders == [pushed.get(("inbox", f"{name}#{value['seq']}")) for value in values]
        assert [bool(pid) for pid in senders[-5:]] == [False, True, True, True, True]
    assert faults(store) == []


def test_a_queue_is_asked_for_once_and_only_if_it_may_know(
    store: Store, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[int, int]] = []
    acts_from = by_hand.acts_from

    def watched(transaction: Transaction, session: str, session_id: int, first: tuple[int, int]) -> Iterator[Act]:
        places.append(first)
        return acts_from(transaction, session, session_id, first)

    monkeypatch.setattr("zrb_store.inspect.value.acts_from", watched)
    with store.session("inbox").run() as run, run.attempt("t") as attempt:
        for number in range(5):
            attempt.xcom[f"q{number}"].extend([1, 2])
    show(store.database, "inbox")
    assert len(places) == 0, "an attempt pushed all of them, and nobody took any"
    for number in range(4):
        command.ok("pop", "inbox", f"q{number}")
        command.ok("push", "inbox", f"q{number}", "3")
    show(store.database, "inbox")
    assert len(places) == 4


def test_a_long_list_can_be_read_again(store: Store, command: Commands) -> None:
    store.session("inbox").xcom["files"].extend(range(MAX_ROWS + 1))
    for _ in range(3):
        command.ok("pop", "inbox", "files")
    with open_session(store.database, "inbox") as document:
        values = document.queues[0].values
        assert isinstance(values, Lazy)
        first, second = ([bool(value.taken_from) for value in values] for _ in range(2))
    assert first == second == [True] * 3 + [False] * (MAX_ROWS - 2)


def test_what_is_not_shown_is_not_read_to_its_end(store: Store, command: Commands) -> None:
    session = store.session("inbox")
    for name in ("files", "later"):
        session.xcom[name].extend(range(10))
        for _ in range(10):
            command.ok("pop", "inbox", name)
    shown = subprocess.run([*MAIN, "show", "inbox", "files", "--all"], capture_output=True, text=True, check=True)
    assert shown.stdout.count("taken by") == 10
    # A slow machine may say that its server takes long to answer, but nothing about what was not closed.
    assert [line for line in shown.stderr.splitlines() if not line.startswith("zrb-store: the store ")] == []


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "detail", ["", "files", "files#", "files#-", "files#1-1", "filesX2", "files#--1", "#1", "1", "files#" + "9" * 30]
)
def test_a_damaged_record_is_passed_over(store: Store, command: Commands, detail: str) -> None:
    store.session("inbox").xcom["files"].extend([1, 2])
    command.ok(*POP)
    store.session("inbox").xcom["files"].pop()
    store.database.transact(lambda transaction: record_change(transaction, "pop", "inbox", detail))
    store.database.transact(lambda transaction: record_change(transaction, "pop", "inbox"))
    assert poppers(store) == [(1, HERE["pid"]), (2, None)]
    assert "pid" not in command.ok("trace", "inbox/files#2")


def test_a_taker_without_a_name_is_somebody(store: Store, command: Commands) -> None:
    store.session("inbox").xcom["files"].push(1)
    command.ok("pop", "inbox", "files")
    store.database.execute(sa.update(change).values(user=None, host="db\n-1", pid=7))
    moment = show(store.database, "inbox")["queues"]["files"]["values"][0]["taken_at"]
    assert moment <= iso(store.database.execute(sa.select(change.c.at))[0][0])
    assert "taken by somebody, pid 7 on db -1, at " in command.ok("show", "inbox")
